/*
 * verification.h - a mapping's reachability, asked about now and again.
 *
 * Each time is one run of reachability.h. After a verdict that strangers get in it is asked again
 * after `open_ms`; after any other, and when none comes, after `again_ms`. Never two at once: a
 * new question ends the one that is under way.
 */
#ifndef NATPUNCH_HOME_VERIFICATION_H
#define NATPUNCH_HOME_VERIFICATION_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/client/reachability.h"

struct verification {
	struct reachability reachability; /* of the last run: what the verdict rests on */
	bool running;
	uint64_t open_ms;  /* until it is asked again, */
	uint64_t again_ms; /* and when strangers did not get in */
	uint64_t due;      /* clock_now_ms(); when verification_start() is wanted; TIMER_NONE */
};

void verification_init(struct verification *verification, uint64_t open_ms, uint64_t again_ms);

/* Asks. What `request` points to must outlive the question. */
void verification_start(struct verification *verification,
	const struct reachability_request *request, uint64_t now);

/* There is nobody to ask right now: later. */
void verification_postpone(struct verification *verification, uint64_t now);

/* Fills all entries for poll(2); returns when verification_advance() wants to be called. */
uint64_t verification_watch(
	const struct verification *verification, struct pollfd fds[REACHABILITY_WATCH_MAX]);

/*
 * Goes on with what poll(2) found. A verdict is returned once, and REACHABILITY_PENDING else.
 * REACHABILITY_UNTOLD: the reason is in reachability.error.
 */
enum reachability_verdict verification_advance(struct verification *verification,
	const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now);

/* No question is under way after this, nor one due. */
void verification_end(struct verification *verification);

#endif
