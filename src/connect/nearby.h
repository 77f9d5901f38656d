/*
 * nearby.h - connects to home's own addresses beside the punch: for a laptop in home's network, for
 * one behind the same NAT, and for home itself. There a NAT that does not hairpin (RFC 5382 REQ-8)
 * lets nothing through, and nothing need go through it.
 *
 *   begin   an ordinary connect() to each address at the same time, from any port
 *   grace   the first connection is used NEARBY_GRACE_MS after it is established, except where a
 *           direct way through the NATs is established before. A relay is not waited for
 *   end     an address is given up when it refuses, or no route leads to it; one that is silent is
 *           tried until the end
 *
 * Threat: 192.168.1.10 is another host in each network, and its sshd would be taken for home. ssh
 * notices that by the host key, and then there is no session. So:
 *
 *   - the reflector tells these addresses only to a laptop that it sees at home's own public
 * address or in its IPv6 /64 (name_messages.h). In a café there are none to try.
 *   - home tells the addresses of one interface only, that to the reflector (own_hosts.h), and not
 *     those of its virtual bridges, which the laptop may have as well.
 *   - behind a provider's NAT two customers can have one public address, and the same private
 *     addresses at home. It is rare that one visits the other and finds a server at that address
 *     and port. Where such a NAT hairpins, the way through it takes a round trip or two to the
 *     provider: the grace is for that, and costs laptops at home a tenth of a second.
 *
 * Two tests are not made. A laptop's own address in the same network proves nothing, as most
 * networks have the same numbers, and would shut out a laptop in a guest network beside home's. And
 * sshd, once connected to, does not say whose it is.
 *
 * Never blocks. Calls only what POSIX has.
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
	int connection;      /* the first to be established; or -1 */
	uint64_t due;        /* with a connection: when it may be used */
	int problem;         /* errno of the last that failed; 0: none did */
};

void nearby_init(struct nearby *nearby);

/* After nearby_init() or nearby_end(). Of more than NEARBY_MAX hosts the first ones are tried. */
void nearby_start(struct nearby *nearby, const struct addr *hosts, size_t count);

/* Fills all entries for poll(2), and returns when to call nearby_advance() at the latest. */
uint64_t nearby_watch(const struct nearby *nearby, struct pollfd fds[NEARBY_MAX]);

/*
 * Returns true once nearby_take() has a connection to be used. `alone`: no other direct way is
 * tried, and the grace is left out.
 */
bool nearby_advance(
	struct nearby *nearby, const struct pollfd fds[NEARBY_MAX], bool alone, uint64_t now);

/* Returns the connection, the caller's from now on. */
int nearby_take(struct nearby *nearby);

/* Closes what is open, and forgets the hosts. */
void nearby_end(struct nearby *nearby);

#endif
