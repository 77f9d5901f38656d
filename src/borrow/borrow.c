#include "natpunch/borrow/borrow.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/port_owner.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static const struct borrow_method *const methods[] = {
	&borrow_method_bind,
#ifndef NATPUNCH_PORTABLE
	&borrow_method_repair,
	&borrow_method_rewrite,
	&borrow_method_raw,
#endif
};
/* Methods that do not take the port come first. */
static const struct borrow_method *const sparing_methods[] = {
#ifndef NATPUNCH_PORTABLE
	&borrow_method_rewrite,
	&borrow_method_raw,
#endif
	&borrow_method_bind,
#ifndef NATPUNCH_PORTABLE
	&borrow_method_repair,
#endif
};
#define PRIVILEGED_PORTS 1024 /* below it CAP_NET_BIND_SERVICE is needed (ip(7)) */
#define METHOD_COUNT     (sizeof(methods) / sizeof(methods[0]))

const struct borrow_method *borrow_find(const char *name)
{
	for (size_t i = 0; i < METHOD_COUNT; i++)
		if (strcmp(methods[i]->name, name) == 0)
			return methods[i];
	return NULL;
}

static void describe_owner(const struct borrow_request *request, char out[PORT_OWNER_HOLDER_SIZE])
{
	struct addr local = borrow_method_local(request);
	struct port_owner owner;

	if (port_owner_find_again(request->protocol, (enum addr_family)local.family, local.port,
		    request->owner, &owner) != 0)
		owner.listens = false;
	port_owner_describe_holder(&owner, out);
}

/*
 * The capabilities that `method` needs, or none when no capability helps. NULL: those that some
 * method needs for the port, whether a program holds it or not.
 */
static uint64_t find_needed(
	const struct borrow_method *method, const struct borrow_request *request, bool held)
{
	uint64_t low = request->local.port < PRIVILEGED_PORTS ? PRIVILEGES_NET_BIND_SERVICE
							      : PRIVILEGES_NONE;

	if (method == NULL && !held)
		return low;
	if (method == NULL)
		return PRIVILEGES_NET_ADMIN |
		       (request->protocol == MAPPING_TCP ? low : PRIVILEGES_NONE);
	if (method->capability == PRIVILEGES_NONE && held)
		return PRIVILEGES_NONE;
	return method->capability | (method->binds ? low : PRIVILEGES_NONE);
}

static void add_hint(const struct borrow_method *method, const struct borrow_request *request,
	struct error *error)
{
	char owner[PORT_OWNER_HOLDER_SIZE];

	if (error->hint[0] != '\0')
		return;
	describe_owner(request, owner);
	if (!privileges_hint(error, find_needed(method, request, owner[0] != '\0'), owner))
		error_hint(error, "%suse another method: -m auto", owner);
}

static enum borrow_result open_first(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	bool sparing = request->leave_free && request->protocol == MAPPING_UDP;
	const struct borrow_method *const *order = sparing ? sparing_methods : methods;
	bool skipping = request->after != NULL;
	bool told = false;

	error_set(error, EXIT_STATUS_LOCAL, "no other method is left");
	for (size_t i = 0; i < METHOD_COUNT; i++) {
		enum borrow_result result;
		struct error reason;

		if (skipping) {
			skipping = order[i] != request->after;
			continue;
		}
		result = order[i]->open(request, out, &reason);
		if (result == BORROW_OPEN)
			return result;
		if (!told || order[i] == &borrow_method_bind || result != BORROW_CANNOT)
			*error = reason;
		told = true;
		if (result != BORROW_CANNOT)
			return result;
		if (!request->again)
			log_detail("method %s passed over: %s", order[i]->name, reason.text);
	}
	return BORROW_CANNOT;
}

enum borrow_result borrow_open(const struct borrow_method *method,
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	enum borrow_result result;

	if (method != NULL)
		result = method->open(request, out, error);
	else
		result = open_first(request, out, error);
	if (result == BORROW_CANNOT)
		add_hint(method, request, error);
	/* Why other methods were passed over is logged already. */
	if (result == BORROW_OPEN)
		memset(error, 0, sizeof(*error));
	return result;
}

ssize_t borrow_send(struct borrowed *borrowed, const void *data, size_t size)
{
	if (borrowed->method->send != NULL)
		return borrowed->method->send(borrowed, data, size);
	return send(borrowed->fd, data, size, MSG_NOSIGNAL);
}

ssize_t borrow_receive(struct borrowed *borrowed, void *out, size_t capacity)
{
	if (borrowed->method->receive != NULL)
		return borrowed->method->receive(borrowed, out, capacity);
	return recv(borrowed->fd, out, capacity, 0);
}

bool borrow_turn(struct borrowed *borrowed)
{
	if (!borrowed->any_port || addr_equal(&borrowed->from, &borrowed->remote))
		return false;
	borrowed->remote = borrowed->handshake.remote = borrowed->from;
	return true;
}

int borrow_knock(struct borrowed *borrowed)
{
	return borrowed->method->knock(borrowed);
}

int borrow_hear(struct borrowed *borrowed, enum raw_handshake_outcome *outcome, struct addr *mapped)
{
	return borrowed->method->hear(borrowed, outcome, mapped);
}

bool borrow_is_in_the_way(const struct borrowed *borrowed, const struct borrow_request *request)
{
	return request->leave_free && borrowed->kind == BORROW_DATAGRAM &&
	       borrowed->method == &borrow_method_bind;
}

void borrow_let_go(struct borrowed *borrowed)
{
	close(borrowed->fd);
	borrowed->fd = -1;
}

static void end(struct borrowed *borrowed, bool silently)
{
	if (borrowed->fd >= 0 && borrowed->method->end != NULL)
		borrowed->method->end(borrowed, silently);
	if (silently && borrowed->fd >= 0 && socket_forget(borrowed->fd))
		borrowed->fd = -1;
	if (borrowed->fd >= 0)
		close(borrowed->fd);
	if (borrowed->guard >= 0)
		close(borrowed->guard);
	*borrowed = BORROWED_NOTHING;
}

void borrow_close(struct borrowed *borrowed)
{
	end(borrowed, false);
}

void borrow_forget(struct borrowed *borrowed)
{
	end(borrowed, true);
}
