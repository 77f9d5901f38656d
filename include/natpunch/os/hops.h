/*
 * hops.h - the first routers on the way to an address, by what they say of a packet whose time to
 * live ends at them (ICMP "time exceeded", RFC 792; RFC 4443 3.3).
 *
 * One small datagram for each hop, all at once. The kernel hands the answers to the socket's error
 * queue (IP_RECVERR), so that no privilege is needed.
 */
#ifndef NATPUNCH_OS_HOPS_H
#define NATPUNCH_OS_HOPS_H

#include <stdint.h>

#include "natpunch/base/addr.h"

#define HOPS_MAX 6

struct hops {
	struct addr at[HOPS_MAX]; /* ADDR_NONE: nobody answered for that one */
	int fds[HOPS_MAX];        /* until hops_finish() */
};

/*
 * Finds them; waits for `timeout_ms` at most, and no longer than until all have answered. Blocks.
 * A way that cannot be gone leaves all of them ADDR_NONE. `interface`: or NULL.
 */
void hops_find(
	struct hops *hops, const struct addr *remote, const char *interface, uint64_t timeout_ms);

/*
 * The same for a caller that does something else meanwhile: hops_finish() takes what has come by
 * then, waits until `deadline` (clock_now_ms()) at most, and must follow.
 */
void hops_start(struct hops *hops, const struct addr *remote, const char *interface);
void hops_finish(struct hops *hops, uint64_t deadline);

#endif
