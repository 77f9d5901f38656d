/*
 * attempt.h - the way to home by one address of the reflector: asks it for home, punches, then asks
 * it for a relay.
 *
 *   IDLE --start--> CALLING --> ASKING --> BUSY --> OPEN
 *                      |          |  \      |  \--> WAITING --relay--> BUSY
 *                      |          |   UNHELD --try--> BUSY
 *                      |__________|_________|_____> SILENT, VAIN, FAILED
 *
 * A state machine that takes events and the time. Never blocks. Calls only what POSIX has, and
 * SO_REUSEPORT.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_H
#define NATPUNCH_CONNECT_ATTEMPT_H

#include <poll.h>
#include <stdint.h>

#include "connect/attempt_phase.h"

#define ATTEMPT_WATCH_MAX (1 + NEARBY_MAX + ATTEMPT_OWN_MAX) /* and the listener */

/* Sets IDLE. The key and the times must outlive the attempt. */
void attempt_init(struct attempt *attempt, const struct attempt_config *config);

/* From IDLE. *attempt must stay where it is until attempt_end(). */
void attempt_start(struct attempt *attempt, uint64_t now);

/* Fills all entries for poll(2), and returns when to call attempt_advance() at the latest. */
uint64_t attempt_watch(const struct attempt *attempt, struct pollfd fds[ATTEMPT_WATCH_MAX]);
void attempt_advance(
	struct attempt *attempt, const struct pollfd fds[ATTEMPT_WATCH_MAX], uint64_t now);

/*
 * When the companion of this number, from 1 on, is to begin beside a punch that has no connection.
 * TIMER_NONE: it would be of no use, or take ports that the punch predicts.
 */
uint64_t attempt_company_due(const struct attempt *attempt, unsigned number);

/* From UNHELD: tries the address where home was last heard of. */
void attempt_try(struct attempt *attempt, uint64_t now);

/* From WAITING: asks for the relay. */
void attempt_relay(struct attempt *attempt, uint64_t now);

/* The time for the whole is up: an attempt that has not ended is FAILED or SILENT. */
void attempt_expire(struct attempt *attempt);

/* OPEN: returns the connection, the caller's from now on. */
int attempt_take(struct attempt *attempt);

/* Closes what is open; sets IDLE. */
void attempt_end(struct attempt *attempt);

#endif
