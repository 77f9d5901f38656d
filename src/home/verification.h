/*
 * verification.h - finds out again and again, by reflectors that dial, whether a mapping lets
 * strangers in, and what there is to report of it.
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
	VERIFICATION_NOTHING,     /* no verdict, or one that changes nothing */
	VERIFICATION_REACHABLE,   /* strangers get in, and this is news of this mapping */
	VERIFICATION_SHUT,        /* strangers do not get in: on each such verdict */
	VERIFICATION_UNREACHABLE, /* verification_conclude() has reported that */
	VERIFICATION_IMPOSSIBLE, /* no reflector dials, and nothing is reported: `error` says why */
};

/* Reflectors that close silently so many times in a row count as ones that do not dial. */
#define VERIFICATION_SILENCE_MAX 3

struct verification {
	const struct mapping_race_request *probe; /* whose reflectors are asked */
	uint64_t open_ms;  /* from a verdict that strangers get in to the next run, */
	uint64_t again_ms; /* and from any other verdict, or none */
	uint64_t due;      /* when the owner is to call verification_start(), or TIMER_NONE */
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* the port has sent to them */
	udp_arrivals_stray *stray; /* as reachability_request has it; the owner may set it */
	void *context;

	struct mapping mapping;           /* of the last run */
	bool running;                     /* a run is under way */
	struct reachability reachability; /* of the last run: the grounds of its verdict */

	enum verification_event reported; /* NOTHING, REACHABLE or UNREACHABLE */
	struct mapping told;              /* the mapping that `reported` is of */
	bool judged;                      /* a run has ended, with any verdict */
	bool doubted;                     /* a warning said that there is no verdict */
	unsigned silences;  /* runs in a row in which all reflectors closed silently */
	struct error error; /* IMPOSSIBLE: says why */
};

/* `probe` must outlive it. */
void verification_init(struct verification *verification, const struct mapping_race_request *probe,
	uint64_t open_ms, uint64_t again_ms);

/* The port has sent something to these reflectors: they are no strangers. NULL: perhaps to all. */
void verification_add_contacted(
	struct verification *verification, const bool contacted[MAPPING_RACE_REFLECTOR_MAX]);

/*
 * Begins a run for this mapping; ends one that is under way. `asked` is the address of the
 * reflector that saw the mapping, `reflector` its index.
 */
void verification_start(struct verification *verification, const struct mapping *mapping,
	const struct addr *asked, size_t reflector, uint64_t now);

/* No reflector can be asked now: ends a run that is under way, and sets `due` to later. */
void verification_postpone(struct verification *verification, uint64_t now);

/*
 * Fills all entries for poll(2); returns when verification_advance() or the owner has something to
 * do.
 */
uint64_t verification_watch(
	const struct verification *verification, struct pollfd fds[REACHABILITY_WATCH_MAX]);

/* Goes on with what poll(2) found. Returns each verdict once. */
enum verification_event verification_advance(struct verification *verification,
	const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now);

/*
 * After VERIFICATION_SHUT: the owner keeps this mapping, though strangers do not get in. Returns
 * whether that is to be reported.
 */
bool verification_conclude(struct verification *verification, const struct mapping *mapping);

/* The mapping is down: what was reported does not hold any more, and no run is due. */
void verification_forget(struct verification *verification);

/* Ends the run that is under way, and has none due. */
void verification_end(struct verification *verification);

#endif
