/*
 * initiator.h - from the road to a home: found by its name, reached from one local port.
 *
 *   the nonce      by UDP, while the TCP handshake with the reflector is under way: it is bound to
 *                  our address and not to the port, and so saves a round trip
 *   CONNECT        over TCP, from our port: the reflector sees our mapping, answers with home's and
 *                  tells home ours
 *   connect()      from the same port to home's mapping, while home connects to ours: the first SYN
 *                  that finds the other side's NAT open, or a NAT that lets strangers in, makes it
 *
 *   RELAY          where that did not come to stand and the reflector offers it: the connection to
 *                  the reflector becomes the one to home
 *
 * All of a reflector's addresses are tried, those of both families by turns, and of each family
 * one at a time once it answers (RFC 8305): so both families punch at once, and one that is dead
 * costs a quarter of a second. So does a reflector that is dead: there may be several, each of
 * which home registers at by itself, and they share nothing. They are tried in the order given
 * until one of them leads home. The relay is for when there is no other way by any of them.
 *
 * Uses no call that only Linux has: POSIX.1-2008 and SO_REUSEPORT.
 */
#ifndef NATPUNCH_CONNECT_INITIATOR_H
#define NATPUNCH_CONNECT_INITIATOR_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/reflector_list.h"
#include "natpunch/connect/times.h"
#include "natpunch/os/resolve.h"

struct initiator_request {
	const struct reflector_list *reflectors; /* one or more */
	const struct key *key;
	enum addr_family family;               /* ADDR_NONE: both */
	uint64_t timeout_ms;                   /* for the whole */
	const struct resolve_helper *resolver; /* who looks names up, or NULL */
	const struct initiator_times *times;   /* NULL: INITIATOR_TIMES_DEFAULT */
};

/*
 * Returns a connected, non-blocking socket with TCP_NODELAY and SO_KEEPALIVE set, of which not a
 * byte has been read, the caller's; or -1 with *error filled:
 * the most telling of the failures. EXIT_STATUS_NETWORK when no reflector can be asked or knows an
 * address, none of our family included that it would relay to,
 * EXIT_STATUS_UNREACHABLE when home is known and there is no way to it.
 */
int initiator_connect(const struct initiator_request *request, struct error *error);

#endif
