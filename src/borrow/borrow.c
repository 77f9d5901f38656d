#include "natpunch/borrow.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/holder.h"
#include "natpunch/log.h"
#include "natpunch/socket.h"
#include "natpunch/socket_linux.h"
#include "natpunch/text.h"

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

struct addr borrow_local(const struct borrow_request *request)
{
	struct addr local = request->local;

	if (local.family == ADDR_NONE)
		local.family = request->remote.family;
	return local;
}

enum borrow_result borrow_connect(int fd, const struct borrow_request *request, struct error *error)
{
	char remote[ADDR_TEXT_SIZE];

	if (socket_connect(fd, &request->remote) == 0)
		return BORROW_OPEN;
	addr_format(&request->remote, remote);
	if (errno == EADDRNOTAVAIL) {
		error_set(error, EXIT_STATUS_LOCAL, "port %u already has a connection to %s",
			request->local.port, remote);
		return BORROW_BUSY;
	}
	if (errno == EPERM || errno == EACCES) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot connect to %s: %s", remote,
			strerror(errno));
		error_hint(error, "a firewall on this machine forbids it");
		return BORROW_UNREACHABLE;
	}
	/* A refusal comes from the network; the rest (no route, no such family) from this machine.
	 */
	error_set(error, errno == ECONNREFUSED ? EXIT_STATUS_NETWORK : EXIT_STATUS_LOCAL,
		"cannot connect to %s: %s", remote, strerror(errno));
	return BORROW_UNREACHABLE;
}

void borrow_fail_interface(const struct borrow_request *request, struct error *error)
{
	int number = errno;
	char safe[64];

	text_escape(safe, sizeof(safe), request->interface, strlen(request->interface));
	error_set(error, EXIT_STATUS_LOCAL, "cannot use interface %s: %s", safe, strerror(number));
}

enum borrow_result borrow_make_socket(
	const struct borrow_request *request, int *fd, struct error *error)
{
	*fd = socket_open((enum addr_family)request->remote.family,
		request->protocol == MAPPING_TCP ? SOCK_STREAM : SOCK_DGRAM,
		(int)request->protocol);
	if (*fd < 0) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot open a socket: %s", strerror(errno));
		return BORROW_UNREACHABLE;
	}
	if (request->interface != NULL && socket_bind_interface(*fd, request->interface) != 0) {
		borrow_fail_interface(request, error);
		close(*fd);
		return BORROW_UNREACHABLE;
	}
	/* An IPv6 wildcard must not claim the port of IPv4 as well. */
	if (request->remote.family == ADDR_IPV6)
		socket_set_flag(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return BORROW_OPEN;
}

enum borrow_result borrow_open_socket(const struct borrow_method *method,
	const struct borrow_request *request, int (*bind_port)(int fd, const struct addr *local),
	const char *verb, struct borrowed *out, struct error *error)
{
	struct addr local = borrow_local(request);
	enum borrow_result result;
	int fd;

	result = borrow_make_socket(request, &fd, error);
	if (result != BORROW_OPEN)
		return result;
	result = BORROW_CANNOT;
	if (bind_port(fd, &local) != 0) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot %s port %u: %s", verb, local.port,
			strerror(errno));
		if (errno == EADDRNOTAVAIL)
			error_hint(error, "the address of -b is not one of this machine's");
		goto failed;
	}
	result = borrow_connect(fd, request, error);
	if (result != BORROW_OPEN)
		goto failed;
	socket_local(fd, &local);
	*out = (struct borrowed){
		.method = method,
		.kind = request->protocol == MAPPING_TCP ? BORROW_STREAM : BORROW_DATAGRAM,
		.fd = fd,
		.guard = -1,
		.local = local,
		.remote = request->remote,
	};
	return BORROW_OPEN;
failed:
	close(fd);
	return result;
}

/* Who holds the port, as the beginning of a hint: "sshd holds it (pid 12); ". */
static void describe_holder(const struct borrow_request *request, char *out, size_t size)
{
	struct addr local = borrow_local(request);
	struct holder holder;

	out[0] = '\0';
	if (holder_find_again(request->protocol, (enum addr_family)local.family, local.port,
		    request->holder, &holder) != 0 ||
		!holder.listens)
		return;
	if (holder.pid == 0)
		snprintf(out, size, "another process holds it; ");
	else
		snprintf(out, size, "%s holds it (pid %ld); ", holder.name, (long)holder.pid);
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
	char holder[96];
	char capabilities[64];

	if (error->hint[0] != '\0')
		return;
	describe_holder(request, holder, sizeof(holder));
	name_capabilities(method, request, holder[0] != '\0', capabilities, sizeof(capabilities));
	if (capabilities[0] != '\0')
		error_hint(error, "%srun as root, or: setcap %s+ep natpunch", holder, capabilities);
	else
		error_hint(error, "%suse another method: -m auto", holder);
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

int borrow_hear(struct borrowed *borrowed, enum handshake_outcome *outcome, struct addr *mapped)
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
