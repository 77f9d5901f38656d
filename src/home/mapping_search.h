/*
 * mapping_search.h - the races for a mapping (mapping_race.h), one at a time: which reflector
 * first, by which method, after which pause.
 *
 * A state machine that is handed events and the time, and never blocks; mapping_search.c lists its
 * states, events and timers. The owner keeps what a race finds.
 */
#ifndef NATPUNCH_HOME_MAPPING_SEARCH_H
#define NATPUNCH_HOME_MAPPING_SEARCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/held.h"
#include "home/mapping_report.h"
#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"
#include "natpunch/client/mapping_race.h"

enum mapping_search_purpose {
	MAPPING_SEARCH_REPLACE, /* the winner becomes the held connection */
	MAPPING_SEARCH_COMPARE, /* the winner is a second opinion, once */
};

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct mapping_search {
	const struct mapping_race_request *probe; /* the request of the user, */
	struct mapping_race_request request;      /* and that of the next race */
	struct host_port ports[2]; /* of a single reflector: its port, and the spare one */
	struct held *held;         /* the owner's */
	const struct mapping_report *report; /* the owner's */

	struct mapping_race *race; /* or NULL */
	enum mapping_search_purpose purpose;
	/* Of each server's connections, in ms; 0: not known. */
	uint64_t lifetime_ms[MAPPING_RACE_REFLECTOR_MAX];
	uint64_t due; /* the next race */

	/* Of the last race, if it was lost: */
	struct error error;
	bool cannot; /* this machine refuses */
	bool spoke;  /* there was an address to ask, and a way to it */
};

/*
 * All that the arguments point to must outlive it. The races ask for connections to hold, and
 * promise a keep-alive each `interval_ms`.
 */
void mapping_search_init(struct mapping_search *search, const struct mapping_race_request *probe,
	uint64_t interval_ms, struct held *held, const struct mapping_report *report);

/* Begins a race, unless there is one. Returns whether it tried to. */
bool mapping_search_start(
	struct mapping_search *search, enum mapping_search_purpose purpose, uint64_t now);

/* Has the next race begin `wait` ms later, unless there is one already. */
void mapping_search_put_off(struct mapping_search *search, uint64_t wait, uint64_t now);

/* Returns how long to wait after so many failures in a row, in ms. */
uint64_t mapping_search_pause_ms(const struct mapping_search *search, unsigned failures);

/* If there is a single reflector: from now on races ask its spare port too. */
void mapping_search_add_spare_port(struct mapping_search *search);

/* Is there a race that is to replace the held connection? */
bool mapping_search_replaces(const struct mapping_search *search);

/* Ends the race, if there is one. */
void mapping_search_abandon(struct mapping_search *search);

/* Ends the race, and has none due: a mapping was found another way. */
void mapping_search_stop(struct mapping_search *search);

/* Fills MAPPING_RACE_WATCH_MAX entries for poll(2), if there is a race; returns when it is due. */
uint64_t mapping_search_watch(
	const struct mapping_search *search, struct pollfd fds[MAPPING_RACE_WATCH_MAX]);

enum mapping_search_event {
	MAPPING_SEARCH_NOTHING,
	MAPPING_SEARCH_WON,  /* of `purpose`: *result.winner is the caller's */
	MAPPING_SEARCH_LOST, /* of `purpose`: see `error` */
};

/* Goes on with what poll(2) found; fds NULL: with the time alone. The race is over after an event.
 */
enum mapping_search_event mapping_search_advance(struct mapping_search *search,
	const struct pollfd *fds, struct mapping_race_result *result, uint64_t now);

#endif
