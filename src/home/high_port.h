/*
 * high_port.h - takes another local port in place of a low one, for a router that does not forward
 * to low ports.
 *
 * Many routers forward only to ports from FORWARD_LOW_PORTS on. Then the mapping of another local
 * port is kept instead, and a connection to that port is handed over (handover.h) to the server of
 * the low port. This is for IPv4 alone: in IPv6 nothing is forwarded, and no such rule holds for
 * the ports that a firewall opens.
 */
#ifndef NATPUNCH_HOME_HIGH_PORT_H
#define NATPUNCH_HOME_HIGH_PORT_H

#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"

#define HIGH_PORT_TRIES 8

/*
 * Listens, in place of the request's local port, on *port, or on one of the HIGH_PORT_TRIES - 1
 * ports that follow if it is taken; *port is then that one. Returns the descriptor, which the
 * caller owns, or -1 with *error filled.
 */
int high_port_listen(
	const struct mapping_race_request *request, uint16_t *port, struct error *error);

#endif
