#include "natpunch/borrow/borrow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/port_owner.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/base/text.h"

static const struct borrow_method *const methods[] = {
	&borrow_method_bind,
	&borrow_method_repair,
	&borrow_method_rewrite,
	&borrow_method_raw,
};
/* What does not take the port comes first. */
static const struct borrow_method *const sparing_methods[] = {
	&borrow_method_rewrite,
	&borrow_method_raw,
	&borrow_method_bind,
	&borrow_method_repair,
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
 * What `method` needs, or none when no capability helps; NULL: what it takes to get a port that
 * somebody holds, or does not, by any method.
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

/* Those of the set that this process has. */
static uint64_t find_held(uint64_t set)
{
	uint64_t held = PRIVILEGES_NONE;

	for (uint64_t bit = 1; bit != 0 && bit <= set; bit <<= 1)
		if ((set & bit) != 0 && privileges_has(bit))
			held |= bit;
	return held;
}

/* As setcap(8) wants them. */
static const char *list_capabilities(uint64_t set, char *out, size_t size)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} rows[] = {
		{PRIVILEGES_NET_ADMIN, "cap_net_admin"},
		{PRIVILEGES_NET_RAW, "cap_net_raw"},
		{PRIVILEGES_NET_BIND_SERVICE, "cap_net_bind_service"},
	};
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if ((set & rows[i].bit) != 0 && used < size)
			used += (size_t)snprintf(
				out + used, size - used, "%s%s", used > 0 ? "," : "", rows[i].name);
	return out;
}

/* This program's file, as setcap(8) wants it: no symbolic link. */
static const char *show_program(char *out, size_t size)
{
	char path[PATH_MAX];
	ssize_t length = readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof(path));

	return length > 0 ? text_escape(out, size, path, (size_t)length) : "natpunch";
}

static void add_hint(const struct borrow_method *method, const struct borrow_request *request,
	struct error *error)
{
	char owner[96];
	char capabilities[64];
	char program[128];
	uint64_t needed;

	if (error->hint[0] != '\0')
		return;
	describe_owner(request, owner, sizeof(owner));
	needed = find_needed(method, request, owner[0] != '\0');
	if (geteuid() == 0)
		needed &= ~find_held(needed);
	list_capabilities(needed, capabilities, sizeof(capabilities));
	if (needed == PRIVILEGES_NONE)
		error_hint(error, "%suse another method: -m auto", owner);
	else if (geteuid() == 0)
		error_hint(error,
			"%sroot lacks %s here: a container or systemd's CapabilityBoundingSet "
			"takes it away",
			owner, capabilities);
	else
		error_hint(error, "%srun as root, or: setcap %s+ep %s", owner, capabilities,
			show_program(program, sizeof(program)));
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
