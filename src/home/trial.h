/*
 * trial.h - when strangers do not get in by the mapping that is kept, though a router forwards:
 * tries the other mappings that the router may have made (forward_search.h), one after another.
 *
 * A state machine that is handed events and the time, and never blocks; its owner dials. The
 * mapping that is kept stays as it is meanwhile.
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
	TRIAL_RACING,  /* a race asks reflectors from another local port */
	TRIAL_READY,   /* the owner is to dial `mapping` */
};

struct trial {
	enum trial_state state;
	const struct mapping_race_request *probe; /* has the port that is forwarded to */
	const struct forward *forward;
	struct forward_search search;
	uint64_t rest_until; /* no trial begins before */
	struct error why;    /* why strangers do not get in by the kept mapping */

	struct mapping_race_request request; /* of the race */
	struct mapping_race *race;           /* in RACING, else NULL */
	enum forward_candidate candidate;
	struct mapping mapping;            /* READY: to be dialled, and reported if that gets in */
	struct mapping_race_result result; /* READY: what the reflector saw */
	bool punched; /* READY: it has a local port of its own, and result.winner is open */
};

/* Both must outlive it. */
void trial_init(struct trial *trial, const struct mapping_race_request *probe,
	const struct forward *forward);

/*
 * Strangers do not get in by `told`, the address that `candidate` gave, which is kept. `request`:
 * how that mapping was asked for. Returns whether there are others to try: trial_next() is to
 * follow.
 */
bool trial_begin(struct trial *trial, const struct mapping_race_request *request,
	enum forward_candidate candidate, const struct addr *told, uint64_t now);

/*
 * Goes on to the next candidate. `kept` is the kept mapping, as a reflector saw it. TRIAL_RESTING:
 * there is none left, and no trial begins before `rest_ms` are over.
 */
enum trial_state trial_next(struct trial *trial, const struct mapping_race_result *kept,
	uint64_t rest_ms, uint64_t now);

/* Fills all entries for poll(2); returns when trial_advance() wants to be called. */
uint64_t trial_watch(const struct trial *trial, struct pollfd fds[TRIAL_WATCH_MAX]);

enum trial_event {
	TRIAL_NOTHING,
	TRIAL_FOUND, /* the state is READY now */
	TRIAL_LOST,  /* this candidate has no mapping: trial_next() is to follow */
};

/* Goes on with what poll(2) found. */
enum trial_event trial_advance(
	struct trial *trial, const struct pollfd fds[TRIAL_WATCH_MAX], uint64_t now);

/*
 * READY, and a stranger got in: the caller keeps this mapping. Returns whether the caller owns
 * result.winner from now on. The trial is over, except that the results in the struct stay
 * readable.
 */
bool trial_take(struct trial *trial);

/* Ends what is under way; may be called again. */
void trial_end(struct trial *trial);

/*
 * Ends what is under way, and the next trial may begin at once: the mapping, or the router's
 * forward, has changed.
 */
void trial_forget(struct trial *trial);

#endif
