/*
 * udp_initiator.h - opens both NATs between a UDP port of the laptop and that of a home with a
 * name, for the daemons that have these ports. Linux only, as the port may be borrowed (borrow.h).
 */
#ifndef NATPUNCH_CONNECT_UDP_INITIATOR_H
#define NATPUNCH_CONNECT_UDP_INITIATOR_H

#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/mapping_race.h"

struct udp_initiator_request {
	/* The reflectors, the local port and address, the family and so on;
	 * udp_initiator_run() sets the protocol and the timeout. */
	struct mapping_race_request race;
	const struct key *key; /* of the home */
	uint64_t timeout_ms;
};

/*
 * Blocks until both ways are open, or the time is up. Returns 0: home is at out->public_addr, the
 * rest of *out is about our port, and the port is as it was. Or -1 with *error filled:
 * EXIT_STATUS_UNREACHABLE where home is known, and there is no way to it.
 */
int udp_initiator_run(
	const struct udp_initiator_request *request, struct mapping *out, struct error *error);

#endif
