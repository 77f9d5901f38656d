/*
 * companions.h - further attempts at an address of the reflector where one is punching already: a
 * SYN to home that was lost, or home's, or the invitation, is not to wait for the kernel's second.
 *
 * From another port home's NAT lets in only what home was told of. So a companion is a whole
 * attempt, with a CONNECT of its own, and home connects to its port as well. It is made where the
 * first has no connection after the time of its company (attempt.h), and the next one after twice
 * that time. One that leads nowhere ends and is not told of; the attempt that it accompanies says
 * why there is no way, and asks for the relay.
 *
 * Not beside a second try, which needs the ports that both NATs take next, and not where home says
 * that its NAT's cannot be predicted: there only home can get through.
 *
 * Table: COMPANIONS_MAX in one race; there are no more.
 *
 * Nothing here waits. Calls nothing that POSIX does not have.
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

/* When `attempt` is to have the next one; TIMER_NONE: it is to have none. */
uint64_t companions_due(const struct companions *companions, const struct attempt *attempt);

/* After companions_due() has come. */
void companions_begin(struct companions *companions, const struct attempt *attempt, uint64_t now);

/* Fills all entries for poll(2), and returns when companions_advance() is wanted at the latest. */
uint64_t companions_watch(
	const struct companions *companions, struct pollfd fds[COMPANIONS_WATCH_MAX]);
void companions_advance(
	struct companions *companions, const struct pollfd fds[COMPANIONS_WATCH_MAX], uint64_t now);

/* The one that is OPEN, to be taken from; or NULL. */
struct attempt *companions_find_open(struct companions *companions);

void companions_end(struct companions *companions);

#endif
