/*
 * attempt.h - the way to home by one address of the reflector: home is asked for there, then
 * punched to, then relayed to.
 *
 *   IDLE --start--> CALLING --> ASKING --> BUSY --> OPEN
 *                      |          |  \      |  \--> WAITING --relay--> BUSY
 *                      |          |   UNHELD --try--> BUSY
 *                      |__________|_________|_____> SILENT, VAIN, FAILED
 *
 * A state machine that is handed events and the time, and never blocks. Calls nothing that POSIX
 * does not have.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_H
#define NATPUNCH_CONNECT_ATTEMPT_H

#include <poll.h>
#include <stdint.h>

#include "connect/attempt_phase.h"

#define ATTEMPT_WATCH_MAX (1 + NEARBY_MAX + ATTEMPT_OWN_MAX) /* and the listener */

/* IDLE. The key and the times must outlive it. */
void attempt_init(struct attempt *attempt, const struct attempt_config *config);

/* From IDLE. *attempt stays where it is until attempt_end(). */
void attempt_start(struct attempt *attempt, uint64_t now);

/* Fills all entries for poll(2), and returns when attempt_advance() is wanted at the latest. */
uint64_t attempt_watch(const struct attempt *attempt, struct pollfd fds[ATTEMPT_WATCH_MAX]);
void attempt_advance(
	struct attempt *attempt, const struct pollfd fds[ATTEMPT_WATCH_MAX], uint64_t now);

/*
 * When a punch that has no connection is worth so many further attempts at the same address; from 1
 * on. TIMER_NONE: they would be of no use, or in its way.
 */
uint64_t attempt_company_due(const struct attempt *attempt, unsigned number);

/* From UNHELD: tries the address where home was last. */
void attempt_try(struct attempt *attempt, uint64_t now);

/* From WAITING. */
void attempt_relay(struct attempt *attempt, uint64_t now);

/* The time for the whole is up: FAILED or SILENT, if it has not ended. */
void attempt_expire(struct attempt *attempt);

/* OPEN: hands out the connection, the caller's from now on. */
int attempt_take(struct attempt *attempt);

/* Closes what is open; leaves IDLE. */
void attempt_end(struct attempt *attempt);

#endif
