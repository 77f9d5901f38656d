/*
 * bind: the port is free, or a connection that is over has left it. Below 1024 it needs the right
 * to bind there.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/borrow/method.h"
#include "natpunch/os/socket.h"

static int bind_free(int fd, const struct addr *local)
{
	/* Else a daemon could not bind its port again while this connection lives. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	/* A listener of our own on the port asks for this of all beside it. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		return -1;
	return socket_bind(fd, local);
}

/*
 * Over UDP, SO_REUSEADDR would let two sockets take each other's datagrams. SO_REUSEPORT lets our
 * own sockets share the port: each is connected to another address, except one, which gets the
 * rest. It is set after the bind, so that the first socket shares the port with no other program.
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

/* As borrow_method_open_socket(), and not connected. */
static enum borrow_result open_any_port(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	int (*bind_port)(int fd, const struct addr *local) =
		request->shared ? bind_shared_datagram : bind_datagram;
	struct addr local = borrow_method_local(request);
	enum borrow_result result;
	int fd;

	result = borrow_method_make_socket(request, &fd, error);
	if (result != BORROW_OPEN)
		return result;
	if (bind_port(fd, &local) != 0) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot bind port %u: %s", local.port,
			strerror(errno));
		close(fd);
		return BORROW_CANNOT;
	}
	*out = (struct borrowed){
		.method = &borrow_method_bind,
		.kind = BORROW_DATAGRAM,
		.fd = fd,
		.guard = -1,
		.local = local,
		.remote = request->remote,
		.any_port = true,
	};
	return BORROW_OPEN;
}

static ssize_t bind_send(struct borrowed *borrowed, const void *data, size_t size)
{
	struct sockaddr_storage remote;
	socklen_t remote_size;

	if (!borrowed->any_port)
		return send(borrowed->fd, data, size, MSG_NOSIGNAL);
	remote_size = socket_from_addr(&borrowed->remote, &remote);
	return sendto(
		borrowed->fd, data, size, MSG_NOSIGNAL, (struct sockaddr *)&remote, remote_size);
}

static ssize_t bind_receive(struct borrowed *borrowed, void *out, size_t capacity)
{
	struct sockaddr_storage sockaddr;
	struct addr from;
	ssize_t got;

	if (!borrowed->any_port)
		return recv(borrowed->fd, out, capacity, 0);
	do {
		socklen_t size = sizeof(sockaddr);

		got = recvfrom(borrowed->fd, out, capacity, 0, (struct sockaddr *)&sockaddr, &size);
		if (got >= 0)
			socket_to_addr(&sockaddr, &from);
	} while (got >= 0 && !borrow_method_is_from(borrowed, &borrowed->remote, &from));
	return got;
}

static enum borrow_result bind_open(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	int (*bind_port)(int fd, const struct addr *local) = bind_free;

	if (request->protocol == MAPPING_UDP && request->any_port)
		return open_any_port(request, out, error);
	if (request->protocol == MAPPING_UDP)
		bind_port = request->shared ? bind_shared_datagram : bind_datagram;
	return borrow_method_open_socket(
		&borrow_method_bind, request, bind_port, "bind", out, error);
}

const struct borrow_method borrow_method_bind = {
	.name = "bind",
	.binds = true,
	.open = bind_open,
	.send = bind_send,
	.receive = bind_receive,
};
