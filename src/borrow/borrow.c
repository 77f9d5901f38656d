#include "natpunch/borrow/borrow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/port_owner.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/base/text.h"

static const struct borrow_method *const methods[] = {
	&borrow_method_bind,
	&borrow_method_repair,
	&borrow_method_rewrite,
	&borrow_method_raw,
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

/* Who holds the port, as the beginning of a hint: "sshd holds it (pid 12); ". */
static void describe_owner(const struct borrow_request *request, char *out, size_t size)
{
	struct addr local = borrow_method_local(request);
	struct port_owner owner;

	out[0] = '\0';
	if (port_owner_find_again(request->protocol, (enum addr_family)local.family, local.port,
		    request->owner, &owner) != 0 ||
		!owner.listens)
		return;
	if (owner.pid == 0)
		snprintf(out, size, "another process holds it; ");
	else
		snprintf(out, size, "%s holds it (pid %ld); ", owner.name, (long)owner.pid);
}

/*
 * What `method` needs, or nothing when no capability helps; NULL: what it takes to get a port that
 * somebody holds, or does not, by any method.
 */
static void name_capabilities(const struct borrow_method *method,
	const struct borrow_request *request, bool held, char *out, size_t size)
{
	bool low = request->local.port < PRIVILEGED_PORTS;
	const char *capability;

	if (method == NULL) {
		snprintf(out, size, "%s",
			held ? "cap_net_admin,cap_net_raw" : "cap_net_bind_service");
		return;
	}
	capability = method->capability != NULL ? method->capability : "";
	out[0] = '\0';
	if (method->capability != NULL || !held)
		snprintf(out, size, "%s%s%s", capability,
			capability[0] != '\0' && method->binds && low ? "," : "",
			method->binds && low ? "cap_net_bind_service" : "");
}

static void add_hint(const struct borrow_method *method, const struct borrow_request *request,
	struct error *error)
{
	char owner[96];
	char capabilities[64];

	if (error->hint[0] != '\0')
		return;
	describe_owner(request, owner, sizeof(owner));
	name_capabilities(method, request, owner[0] != '\0', capabilities, sizeof(capabilities));
	if (capabilities[0] != '\0')
		error_hint(error, "%srun as root, or: setcap %s+ep natpunch", owner, capabilities);
	else
		error_hint(error, "%suse another method: -m auto", owner);
}

static enum borrow_result open_first(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	enum borrow_result result = BORROW_CANNOT;

	for (size_t i = 0; i < METHOD_COUNT; i++) {
		struct error reason;
		result = methods[i]->open(request, out, &reason);
		if (result == BORROW_OPEN)
			return result;
		if (i == 0 || result != BORROW_CANNOT)
			*error = reason;
		if (result != BORROW_CANNOT)
			return result;
		log_detail("method %s passed over: %s", methods[i]->name, reason.text);
	}
	return result;
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
	/* The reasons why other methods were passed over are told and done with. */
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

int borrow_knock(struct borrowed *borrowed)
{
	return borrowed->method->knock(borrowed);
}

int borrow_hear(struct borrowed *borrowed, enum raw_handshake_outcome *outcome, struct addr *mapped)
{
	return borrowed->method->hear(borrowed, outcome, mapped);
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
