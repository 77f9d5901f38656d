/*
 * high_port.h - a port of our own beside a low one, for a router that forwards to no low ports.
 *
 * Many routers forward to ports from FORWARD_LOW_PORTS on only. So another local port is kept in
 * the place of the low one, and what comes to it is handed over (handover.h) to the server of the
 * low one. IPv4 alone: in IPv6 nothing is forwarded, and these rules do not hold for what a
 * firewall lets in.
 */
#ifndef NATPUNCH_HOME_HIGH_PORT_H
#define NATPUNCH_HOME_HIGH_PORT_H

#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"

#define HIGH_PORT_TRIES 8

/*
 * Listens in the place of the request's local port on *port, or on one of those that follow when it
 * is taken; *port is then that one. Returns the descriptor, the caller's, or -1 with *error filled.
 */
int high_port_listen(
	const struct mapping_race_request *request, uint16_t *port, struct error *error);

#endif
