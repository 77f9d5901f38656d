#include "natpunch/borrow/method.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/text.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

bool borrow_method_is_from(
	struct borrowed *borrowed, const struct addr *remote, const struct addr *from)
{
	if (borrowed->any_port ? !addr_equal_ip(from, remote) : !addr_equal(from, remote))
		return false;
	borrowed->from = *from;
	return true;
}

struct addr borrow_method_local(const struct borrow_request *request)
{
	struct addr local = request->local;

	if (local.family == ADDR_NONE)
		local.family = request->remote.family;
	return local;
}

static void hint_at_keeper(const struct port_owner *owner, struct error *error)
{
	static const char otherwise[] = "ask another reflector (-r), or one with -a";

	if (owner == NULL || owner->keeper == 0)
		error_hint(error, "stop a natpunch probe -k that holds it, or %s", otherwise);
	else if (owner->unit[0] == '\0')
		error_hint(error, "natpunch (pid %ld) holds it; %s, or stop it meanwhile",
			(long)owner->keeper, otherwise);
	else
		error_hint(error,
			"natpunch (pid %ld) holds it; %s, or stop it meanwhile: systemctl stop %s",
			(long)owner->keeper, otherwise, owner->unit);
}

enum borrow_result borrow_method_connect(
	int fd, const struct borrow_request *request, struct error *error)
{
	char remote[ADDR_TEXT_SIZE];

	if (socket_connect(fd, &request->remote) == 0)
		return BORROW_OPEN;
	addr_format(&request->remote, remote);
	if (errno == EADDRNOTAVAIL) {
		error_set(error, EXIT_STATUS_LOCAL, "port %u already has a connection to %s",
			request->local.port, remote);
		hint_at_keeper(request->owner, error);
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
	if (errno == ENETUNREACH)
		socket_hint_offline(error);
	return BORROW_UNREACHABLE;
}

void borrow_method_fail_interface(const struct borrow_request *request, struct error *error)
{
	int number = errno;
	char safe[64];

	text_escape(safe, sizeof(safe), request->interface, strlen(request->interface));
	error_set(error, EXIT_STATUS_LOCAL, "cannot use interface %s: %s", safe, strerror(number));
}

enum borrow_result borrow_method_make_socket(
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
		borrow_method_fail_interface(request, error);
		close(*fd);
		return BORROW_UNREACHABLE;
	}
	/* An IPv6 wildcard must not claim the port of IPv4 as well. */
	if (request->remote.family == ADDR_IPV6) {
		socket_set_flag(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		socket_prefer_public_source(*fd);
	}
	return BORROW_OPEN;
}

enum borrow_result borrow_method_open_socket(const struct borrow_method *method,
	const struct borrow_request *request, int (*bind_port)(int fd, const struct addr *local),
	const char *verb, struct borrowed *out, struct error *error)
{
	struct addr local = borrow_method_local(request);
	enum borrow_result result;
	int fd;

	result = borrow_method_make_socket(request, &fd, error);
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
	result = borrow_method_connect(fd, request, error);
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
