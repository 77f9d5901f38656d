/*
 * Stands in for the Linux functions that shared code calls: each has the contract of its header,
 * and says that nothing was found or that it cannot be done.
 */
#include <errno.h>
#include <unistd.h>

#include "natpunch/os/port_owner.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

int socket_bind_interface(int fd, const char *interface)
{
	(void)fd;
	(void)interface;
	errno = ENOTSUP;
	return -1;
}

bool socket_forget(int fd)
{
	(void)fd;
	return false;
}

/* No other address can be bound. */
bool socket_is_local_ip(const struct addr *addr)
{
	struct addr any_port = *addr;
	bool bound;
	int fd;

	any_port.port = 0;
	fd = socket_open((enum addr_family)addr->family, SOCK_DGRAM, 0);
	if (fd < 0)
		return false;
	bound = socket_bind(fd, &any_port) == 0;
	close(fd);
	return bound;
}

int socket_interface_of(const struct addr *ip, char out[SOCKET_INTERFACE_SIZE])
{
	(void)ip;
	(void)out;
	return -1;
}

int port_owner_find_again(enum mapping_protocol protocol, enum addr_family family, uint16_t port,
	const struct port_owner *before, struct port_owner *out)
{
	(void)protocol;
	(void)family;
	(void)port;
	(void)before;
	(void)out;
	return -1;
}

const char *port_owner_describe_holder(
	const struct port_owner *owner, char out[PORT_OWNER_HOLDER_SIZE])
{
	(void)owner;
	out[0] = '\0';
	return out;
}

bool port_owner_find_other_end(const struct addr *end, struct addr *out)
{
	(void)end;
	(void)out;
	return false;
}

bool privileges_hint(struct error *error, uint64_t needed, const char *before)
{
	(void)error;
	(void)needed;
	(void)before;
	return false;
}
