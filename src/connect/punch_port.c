#include "connect/punch_port.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"

#define ARRIVALS_MAX 16 /* that wait on the port; rule for more: the kernel drops their SYNs */

void punch_port_init(struct punch_port *port, enum addr_family family)
{
	*port = (struct punch_port){.family = family, .listener = -1};
}

/* Closes and keeps errno. */
static int give_up(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

/* A socket on that port; 0: on one that the kernel chooses. Returns -1 and errno. */
static int bind_to_port(const struct punch_port *port, const struct addr *wanted)
{
	struct addr local = *wanted;
	int fd = socket_open(port->family, SOCK_STREAM, IPPROTO_TCP);

	local.family = (uint8_t)port->family;
	if (fd < 0)
		return -1;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0 ||
		socket_bind(fd, &local) != 0)
		return give_up(fd);
	return fd;
}

int punch_port_open(void *context, const struct addr *remote)
{
	struct punch_port *port = context;
	int fd = bind_to_port(port, &port->local);

	if (fd < 0)
		return -1;
	if (socket_connect(fd, remote) != 0 ||
		(port->local.port == 0 && socket_local(fd, &port->local) != 0))
		return give_up(fd);
	return fd;
}

int punch_port_open_new(void *context, const struct addr *remote)
{
	const struct addr none = {.port = 0};
	int fd = bind_to_port(context, &none);

	return fd >= 0 && socket_connect(fd, remote) != 0 ? give_up(fd) : fd;
}

int punch_port_take(struct punch_port *port, int fd)
{
	return socket_local(fd, &port->local);
}

void punch_port_listen(struct punch_port *port)
{
	int fd = bind_to_port(port, &port->local);

	if (fd >= 0 && listen(fd, ARRIVALS_MAX) != 0)
		fd = give_up(fd);
	if (fd < 0)
		log_detail("cannot listen for home: %s", strerror(errno));
	port->listener = fd;
}

int punch_port_accept(const struct punch_port *port, const struct addr *home)
{
	char text[ADDR_TEXT_SIZE];
	struct addr peer;

	/* What does not fit into one turn is there at the next. */
	for (int i = 0; i < ARRIVALS_MAX; i++) {
		int fd = socket_accept(port->listener, &peer);

		if (fd < 0)
			return -1;
		addr_format(&peer, text);
		if (addr_equal_ip(&peer, home)) {
			log_detail("home connected to us, from %s", text);
			return fd;
		}
		log_detail("%s is not home: closed", text);
		close(fd);
	}
	return -1;
}

void punch_port_leave(struct punch_port *port)
{
	if (port->listener >= 0)
		close(port->listener);
	punch_port_init(port, port->family);
}
