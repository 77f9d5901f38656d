/*
 * verification.h - does a mapping let strangers in? Asked of reflectors now and again; what they
 * say becomes what there is to report.
 *
 * Each time is one run of reachability.h; verification.c says when, and what a verdict means. A
 * state machine that is handed events and the time.
 */
#ifndef NATPUNCH_HOME_VERIFICATION_H
#define NATPUNCH_HOME_VERIFICATION_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/reachability.h"

/* What there is to report. */
enum verification_event {
	VERIFICATION_NOTHING,     /* no verdict yet, or one that changes nothing */
	VERIFICATION_REACHABLE,   /* strangers get in: again, or through another mapping */
	VERIFICATION_SHUT,        /* they do not, as `reachability` has it: on each such verdict */
	VERIFICATION_UNREACHABLE, /* what verification_conclude() reports of that */
	VERIFICATION_IMPOSSIBLE,  /* no reflector dials back, and nothing was reported: `error` */
};

/* So often in a row reflectors end the connection without a word, until that counts as a no. */
#define VERIFICATION_SILENCE_MAX 3

struct verification {
	const struct mapping_race_request *probe; /* whose reflectors are asked */
	uint64_t open_ms;                         /* until it is asked again, */
	uint64_t again_ms;                        /* and when strangers did not get in */
	uint64_t due; /* when verification_start() is wanted; TIMER_NONE */
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* which of them the port has spoken to */

	struct mapping mapping;           /* that was asked about last */
	bool running;                     /* a question is under way */
	struct reachability reachability; /* of the last run: what the verdict rests on */

	enum verification_event reported; /* NOTHING, REACHABLE or UNREACHABLE */
	struct mapping told;              /* of which mapping that was */
	bool judged;                      /* there was a verdict, be it that there is none */
	bool doubted;                     /* said already that it cannot be told */
	unsigned silences;                /* runs in a row in which no reflector said a word */
	struct error error;               /* IMPOSSIBLE: why */
};

/* `probe` must outlive it. */
void verification_init(struct verification *verification, const struct mapping_race_request *probe,
	uint64_t open_ms, uint64_t again_ms);

/* The port has spoken to these reflectors too: they are no strangers. NULL: perhaps to all. */
void verification_add_contacted(
	struct verification *verification, const bool contacted[MAPPING_RACE_REFLECTOR_MAX]);

/*
 * Asks about a mapping; a question that is under way is ended. `asked` is the address of the
 * reflector that saw the mapping, `reflector` its index.
 */
void verification_start(struct verification *verification, const struct mapping *mapping,
	const struct addr *asked, size_t reflector, uint64_t now);

/* There is nobody to ask right now: later. */
void verification_postpone(struct verification *verification, uint64_t now);

/* Fills all entries for poll(2); returns when something is due. */
uint64_t verification_watch(
	const struct verification *verification, struct pollfd fds[REACHABILITY_WATCH_MAX]);

/* Goes on with what poll(2) found. Each verdict comes once. */
enum verification_event verification_advance(struct verification *verification,
	const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now);

/*
 * After VERIFICATION_SHUT: strangers do not get in, and this is the mapping all the same. Returns
 * whether that is to be reported.
 */
bool verification_conclude(struct verification *verification, const struct mapping *mapping);

/* The mapping is down: what was reported holds no more, and it is not asked about by itself. */
void verification_forget(struct verification *verification);

/* No question is under way after this, nor one due. */
void verification_end(struct verification *verification);

#endif
