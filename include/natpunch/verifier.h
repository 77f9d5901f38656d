/*
 * verifier.h - a mapping's reachability, asked about now and again.
 *
 * Each time is one run of reachability.h. After a verdict that strangers get in it is asked again
 * after `open_ms`; after any other, and when none comes, after `again_ms`. Never two at once: a
 * new question ends the one that is under way.
 */
#ifndef NATPUNCH_VERIFIER_H
#define NATPUNCH_VERIFIER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/reachability.h"

struct verifier {
	struct reachability reachability; /* of the last run: what the verdict rests on */
	bool running;
	uint64_t open_ms;  /* until it is asked again, */
	uint64_t again_ms; /* and when strangers did not get in */
	uint64_t due;      /* clock_now_ms(); when verifier_start() is wanted; DEADLINE_NONE */
};

void verifier_init(struct verifier *verifier, uint64_t open_ms, uint64_t again_ms);

/* Asks. What `request` points to must outlive the question. */
void verifier_start(
	struct verifier *verifier, const struct reachability_request *request, uint64_t now);

/* There is nobody to ask right now: later. */
void verifier_postpone(struct verifier *verifier, uint64_t now);

/* Fills all entries for poll(2); returns when verifier_advance() wants to be called. */
uint64_t verifier_watch(const struct verifier *verifier, struct pollfd fds[REACHABILITY_WATCH_MAX]);

/*
 * Goes on with what poll(2) found. A verdict is returned once, and REACHABILITY_PENDING else.
 * REACHABILITY_UNTOLD: the reason is in reachability.error.
 */
enum reachability_verdict verifier_advance(
	struct verifier *verifier, const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now);

/* No question is under way after this, nor one due. */
void verifier_end(struct verifier *verifier);

#endif
