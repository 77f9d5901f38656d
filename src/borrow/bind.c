/*
 * bind: the port is free, or was left by a connection that is over. Nothing special is needed but,
 * below 1024, the right to bind there.
 */
#include <sys/socket.h>

#include "natpunch/borrow/method.h"
#include "natpunch/os/socket.h"

static int bind_free(int fd, const struct addr *local)
{
	/* Without it a daemon could not bind its port again while this connection lives. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	/* A listener of our own on the port asks for this of all beside it. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		return -1;
	return socket_bind(fd, local);
}

/*
 * On UDP, SO_REUSEADDR would let two sockets take each other's datagrams. SO_REUSEPORT lets our own
 * share the port with each other, as each is connected to another address. It is set once the port
 * is ours, so that the first of them never shares it with anybody.
 */
static int bind_datagram(int fd, const struct addr *local)
{
	if (socket_bind(fd, local) != 0)
		return -1;
	return socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

static int bind_shared_datagram(int fd, const struct addr *local)
{
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		return -1;
	return socket_bind(fd, local);
}

static enum borrow_result bind_open(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	int (*bind_port)(int fd, const struct addr *local) = bind_free;

	if (request->protocol == MAPPING_UDP)
		bind_port = request->shared ? bind_shared_datagram : bind_datagram;
	return borrow_method_open_socket(
		&borrow_method_bind, request, bind_port, "bind", out, error);
}

const struct borrow_method borrow_method_bind = {
	.name = "bind",
	.binds = true,
	.open = bind_open,
};
