/*
 * initiator.h - connects the laptop to a home that has a name.
 *
 *   CONNECT        over TCP: the reflector sees the mapping of our port, answers with home's, and
 *                  tells home ours
 *   connect()      from the same port to home's mapping, while home connects to ours: a SYN that
 * the other side's NAT lets in establishes the connection RELAY          where no connection is
 * established and the reflector offers it: the connection to the reflector becomes the one to home
 *
 * All addresses of a reflector are tried, those of both families by turns, and of each family one
 * at a time once it answers (RFC 8305). So both families punch at the same time, and a dead family
 * costs a quarter of a second. So does a dead reflector: there may be several, which share nothing,
 * as home registers at each of them. They are tried in the order given until one leads home. A
 * relay is asked for when no reflector leads to a direct way.
 *
 * Calls only what POSIX.1-2008 has, and SO_REUSEPORT.
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
	const struct resolve_helper *resolver; /* that looks names up, or NULL */
	const struct initiator_times *times;   /* NULL: INITIATOR_TIMES_DEFAULT */
};

/*
 * Blocks until there is a connection, or none can be. Returns a connected, non-blocking socket, the
 * caller's, with TCP_NODELAY and SO_KEEPALIVE set, of which no byte was read; or -1 with *error
 * filled, the failure that tells most. EXIT_STATUS_NETWORK: no reflector can be asked, or none
 * knows an address of home that it leads to. EXIT_STATUS_UNREACHABLE: home is known, and there is
 * no way to it.
 */
int initiator_connect(const struct initiator_request *request, struct error *error);

#endif
