/*
 * trial.h - when strangers do not get in by the mapping that is kept, though a router forwards: the
 * other ones that this may have made (forward_search.h), to be dialled one after another.
 *
 * A state machine that is handed events and the time, and never blocks; its owner dials. What is
 * kept stays as it is meanwhile.
 */
#ifndef NATPUNCH_HOME_TRIAL_H
#define NATPUNCH_HOME_TRIAL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/client/forward_search.h"
#include "natpunch/client/mapping_race.h"

#define TRIAL_WATCH_MAX MAPPING_RACE_WATCH_MAX

enum trial_state {
	TRIAL_RESTING, /* nothing is tried */
	TRIAL_RACING,  /* a reflector is asked, from another local port */
	TRIAL_READY,   /* `mapping` is to be dialled */
};

struct trial {
	enum trial_state state;
	const struct mapping_race_request *probe; /* whose local port is forwarded to */
	const struct forward *forward;
	struct forward_search search;
	uint64_t rest_until; /* nothing is tried before */
	struct error why;    /* strangers do not get in by what is kept */

	struct mapping_race_request request; /* of the race; */
	struct mapping_race *race;           /* RACING */
	enum forward_candidate candidate;
	struct mapping mapping;            /* READY: as it is told */
	struct mapping_race_result result; /* READY: what the reflector saw */
	bool punched; /* READY: from a port of its own: result.winner is open */
};

/* What these point at must outlive it. */
void trial_init(struct trial *trial, const struct mapping_race_request *probe,
	const struct forward *forward);

/*
 * Strangers do not get in by `told`, which is `candidate`; that is what is kept. `request`: how
 * that was asked for. Returns whether others may be tried: trial_next().
 */
bool trial_begin(struct trial *trial, const struct mapping_race_request *request,
	enum forward_candidate candidate, const struct addr *told, uint64_t now);

/*
 * Turns to the next one. `kept` is what the reflector saw of what is kept. TRIAL_RESTING: there is
 * none left, and a trial is to be begun `rest_ms` later at the earliest.
 */
enum trial_state trial_next(struct trial *trial, const struct mapping_race_result *kept,
	uint64_t rest_ms, uint64_t now);

/* Fills all entries for poll(2); returns when something is due. */
uint64_t trial_watch(const struct trial *trial, struct pollfd fds[TRIAL_WATCH_MAX]);

enum trial_event {
	TRIAL_NOTHING,
	TRIAL_FOUND, /* it is READY now */
	TRIAL_LOST,  /* no mapping: trial_next() */
};

/* Goes on with what poll(2) found. */
enum trial_event trial_advance(
	struct trial *trial, const struct pollfd fds[TRIAL_WATCH_MAX], uint64_t now);

/*
 * READY, and a stranger got in: the caller keeps it. Returns whether result.winner is the caller's
 * from now on. It is over then, but for what is in the struct.
 */
bool trial_take(struct trial *trial);

/* Ends what is under way; twice is once. */
void trial_end(struct trial *trial);

/* The same, and the next one may begin at once: another mapping, or the router does other things.
 */
void trial_forget(struct trial *trial);

#endif
