/*
 * companions.h - further attempts at an address of the reflector where an attempt punches already.
 * So a SYN to home that is lost, or home's SYN, or the invitation, does not wait until the kernel
 * sends it again after a second.
 *
 * A filtering NAT at home lets in a SYN from another port of ours only if home has sent one there.
 * So a companion is a whole attempt, with a CONNECT of its own, and home connects to its port as
 * well. It begins when the attempt has no connection after the time of attempt_company_due(), and
 * the next one after twice that time. A companion that leads nowhere ends, and nothing is said of
 * it; the attempt beside it says why there is no way, and asks for the relay.
 *
 * None is made where a second try can follow, which needs the ports that both NATs allocate next,
 * and none where the ports of home's NAT cannot be predicted: there only home can get through.
 *
 * Table: COMPANIONS_MAX in one race. Rule for more: they do not begin.
 *
 * Never blocks. Calls only what POSIX has.
 */
#ifndef NATPUNCH_CONNECT_COMPANIONS_H
#define NATPUNCH_CONNECT_COMPANIONS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "connect/attempt.h"

#define COMPANIONS_MAX       2
#define COMPANIONS_WATCH_MAX (COMPANIONS_MAX * ATTEMPT_WATCH_MAX)

struct companions {
	struct attempt all[COMPANIONS_MAX];
	size_t count; /* that were begun */
};

/* When the next companion of `attempt` is to begin; TIMER_NONE: there is to be none. */
uint64_t companions_due(const struct companions *companions, const struct attempt *attempt);

/* Begins one; call when companions_due() has come. */
void companions_begin(struct companions *companions, const struct attempt *attempt, uint64_t now);

/* Fills all entries for poll(2), and returns when to call companions_advance() at the latest. */
uint64_t companions_watch(
	const struct companions *companions, struct pollfd fds[COMPANIONS_WATCH_MAX]);
void companions_advance(
	struct companions *companions, const struct pollfd fds[COMPANIONS_WATCH_MAX], uint64_t now);

/* Returns one that is OPEN, for attempt_take(); or NULL. */
struct attempt *companions_find_open(struct companions *companions);

void companions_end(struct companions *companions);

#endif
