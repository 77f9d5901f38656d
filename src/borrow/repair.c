/*
 * repair: TCP_REPAIR makes the kernel share the port of a listener that does not share it.
 *
 * While a socket is in repair mode, bind() takes any port, held or not (the kernel sets
 * SK_FORCE_REUSE so that a checkpointed server and its connections can be restored). The mode is
 * left again before connect(), so that the connection is an ordinary one, with an ordinary
 * handshake. Then:
 *  - the peer sees our port as the source, and the listener goes on accepting: inbound SYNs match
 *    its socket, answers to our SYN match ours, the four-tuple being more specific;
 *  - leaving the mode also clears the reuse flag, so it is set again: else a restart of the
 *    listener's daemon would fail with EADDRINUSE while this socket, or its TIME_WAIT, lives;
 *  - the mode is left with TCP_REPAIR_OFF_NO_WP, as leaving it with 0 sends a window probe.
 * Needs CAP_NET_ADMIN, and below port 1024 CAP_NET_BIND_SERVICE.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "natpunch/borrow/method.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"

#ifndef TCP_REPAIR_OFF_NO_WP
#define TCP_REPAIR_OFF_NO_WP (-1) /* linux/tcp.h */
#endif

/* Returns 0, or -1 and errno. */
static int bind_shared(int fd, const struct addr *local)
{
	int result = -1;
	int saved;

	if (socket_set_flag(fd, IPPROTO_TCP, TCP_REPAIR, 1) != 0)
		return -1;
	result = socket_bind(fd, local);
	saved = errno;
	if (socket_set_flag(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP) != 0)
		return -1;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	errno = saved;
	return result;
}

static enum borrow_result repair_open(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	if (request->protocol != MAPPING_TCP) {
		error_set(error, EXIT_STATUS_LOCAL, "method repair is for TCP");
		error_hint(error, "for UDP there are bind, rewrite and raw: -m auto");
		return BORROW_CANNOT;
	}
	return borrow_method_open_socket(
		&borrow_method_repair, request, bind_shared, "share", out, error);
}

const struct borrow_method borrow_method_repair = {
	.name = "repair",
	.capability = PRIVILEGES_NET_ADMIN,
	.binds = true,
	.open = repair_open,
};
