/*
 * nearby.h - home's own addresses, tried while the NATs are punched through: for a laptop in home's
 * network, for one behind the same NAT, and for home itself. There a NAT that does not hairpin
 * (RFC 5382 REQ-8) lets nothing through, and nothing need go through it.
 *
 *   all at once   an ordinary connect() to each, from any port. The first that stands is the one.
 *   not at once   it is used NEARBY_GRACE_MS later, unless the way through the NATs stands before;
 *                 a relay is not waited for
 *   given up      an address that refuses, or that no route leads to; silence until the end
 *
 * Threat: 192.168.1.10 is another host in each network, and its sshd would be taken for home. ssh
 * notices that by the host key, and then there is no session. So:
 *
 *   - the reflector tells these addresses only to who is seen at home's own public address (or in
 *     its IPv6 /64), and to nobody else (name_messages.h). In a café there are none to try.
 *   - home tells those of one interface alone, the one that leads to the reflector (own_hosts.h):
 *     not those of its virtual bridges, which the laptop may have itself.
 *   - behind a carrier's NAT two customers can have one public address and the same numbers at
 *     home. That one visits the other, and finds a server at just that address and port, is seldom.
 *     Where such a NAT hairpins, the way through it takes a round trip or two to the carrier: the
 *     grace is for that, and costs those at home a tenth of a second.
 *
 * That a laptop has an address of the same network itself is no further sign, as all networks are
 * numbered alike, and would lock out who is in a guest network beside that of home. A connection
 * that stands is not asked who it is: sshd speaks, but does not say whose it is.
 *
 * Nothing here waits. Calls nothing that POSIX does not have.
 */
#ifndef NATPUNCH_CONNECT_NEARBY_H
#define NATPUNCH_CONNECT_NEARBY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/name_messages.h"

#define NEARBY_MAX      NAME_MESSAGE_HOST_MAX
#define NEARBY_GRACE_MS 100

struct nearby {
	struct addr hosts[NEARBY_MAX];
	int fds[NEARBY_MAX]; /* connecting; or -1 */
	size_t count;        /* of hosts; 0: there are none to try */
	int connection;      /* the first that stands; or -1 */
	uint64_t due;        /* with a connection: when it may be used */
	int problem;         /* errno of the last that failed; 0: none did */
};

void nearby_init(struct nearby *nearby);

/* After nearby_init() or nearby_end(). Of more than NEARBY_MAX the first are tried. */
void nearby_start(struct nearby *nearby, const struct addr *hosts, size_t count);

/* Fills all entries for poll(2), and returns when nearby_advance() is wanted at the latest. */
uint64_t nearby_watch(const struct nearby *nearby, struct pollfd fds[NEARBY_MAX]);

/*
 * Returns true once there is a connection to be used: nearby_take(). `alone`: no other direct way
 * is tried, so there is nothing to wait for.
 */
bool nearby_advance(
	struct nearby *nearby, const struct pollfd fds[NEARBY_MAX], bool alone, uint64_t now);

/* Hands out the connection, the caller's from now on. */
int nearby_take(struct nearby *nearby);

/* Closes what is open, and forgets the hosts. */
void nearby_end(struct nearby *nearby);

#endif
