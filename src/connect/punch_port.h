/*
 * punch_port.h - the local TCP port that the laptop's SYNs to home leave from, and that home
 * connects to.
 *
 * Several sockets share the port (SO_REUSEPORT): the connection to the reflector, each SYN to home,
 * and a listener. The listener also takes a SYN of home's that comes between two tries. It is not
 * for strangers: punch_port_accept() closes a connection that does not come from home's address.
 * That proves nothing; ssh asks for a proof from both sides.
 *
 * Never blocks. Calls only what POSIX has, and SO_REUSEPORT.
 */
#ifndef NATPUNCH_CONNECT_PUNCH_PORT_H
#define NATPUNCH_CONNECT_PUNCH_PORT_H

#include "natpunch/base/addr.h"

struct punch_port {
	enum addr_family family;
	struct addr local; /* port 0: none is chosen yet */
	int listener;      /* or -1 */
};

/* No port is chosen. */
void punch_port_init(struct punch_port *port, enum addr_family family);

/*
 * As punch_opener has it; the context is a struct punch_port. Connects from the port; where none is
 * chosen yet, the kernel's choice becomes the port.
 */
int punch_port_open(void *context, const struct addr *remote);

/* The same, from a port that no other socket leaves from. The port stays as it is. */
int punch_port_open_new(void *context, const struct addr *remote);

/* Makes the port that of `fd`. Returns 0, or -1 and errno. */
int punch_port_take(struct punch_port *port, int fd);

/* Listens for home. Where that fails, home cannot connect to the port, and a detail is logged. */
void punch_port_listen(struct punch_port *port);

/* Returns a connection from the address of `home`, the caller's from now on; -1: none is there. */
int punch_port_accept(const struct punch_port *port, const struct addr *home);

/* Closes the listener; no port is chosen any more. */
void punch_port_leave(struct punch_port *port);

#endif
