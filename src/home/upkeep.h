/*
 * upkeep.h - keeps the mapping of one family: finds it, keeps it alive, watches it, finds it again.
 *
 * A state machine that is handed events and the time, and never blocks; upkeep.c lists its parts,
 * states, events and timers. It must stay where it is until upkeep_end().
 */
#ifndef NATPUNCH_HOME_UPKEEP_H
#define NATPUNCH_HOME_UPKEEP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/held.h"
#include "home/invitations.h"
#include "home/lease.h"
#include "home/mapping_report.h"
#include "home/mapping_search.h"
#include "home/standby.h"
#include "home/trial.h"
#include "home/verification.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/home/keep_config.h"

/* Entries for poll(2). */
enum upkeep_watch {
	UPKEEP_WATCH_HELD,
	UPKEEP_WATCH_INVITATIONS,
	UPKEEP_WATCH_VERIFICATION = UPKEEP_WATCH_INVITATIONS + INVITATIONS_WATCH_MAX,
	UPKEEP_WATCH_LEASE = UPKEEP_WATCH_VERIFICATION + REACHABILITY_WATCH_MAX,
	UPKEEP_WATCH_TRIAL = UPKEEP_WATCH_LEASE + LEASE_WATCH_MAX,
	UPKEEP_WATCH_STANDBY = UPKEEP_WATCH_TRIAL + TRIAL_WATCH_MAX,
	UPKEEP_WATCH_RACE = UPKEEP_WATCH_STANDBY + STANDBY_WATCH_MAX,
	UPKEEP_WATCH_MAX = UPKEEP_WATCH_RACE + MAPPING_RACE_WATCH_MAX,
};

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct upkeep {
	const struct keep_config *config;
	const struct mapping_race_request *probe; /* the request of the user */

	struct mapping_report report;
	struct mapping_search search;
	struct held held;
	struct standby standby; /* the other reflectors that the name is registered at */
	struct invitations invitations;
	struct verification verification; /* with `verify` */
	struct lease lease;               /* of a router that forwards */
	struct trial trial; /* with `verify`: the other mappings that the router may have made */

	enum forward_candidate candidate; /* the one of the router's forward that is kept */
	bool lost_while_idle; /* if there is another mapping now, it changed while nothing was sent
			       */
	unsigned short_lived; /* connections in a row */
	bool compared;        /* there was a second opinion, or will be soon */
	uint64_t down_due;
};

/*
 * `probe` is the request of this family; it and the config must outlive the upkeep. `other` is the
 * upkeep of the other family, or NULL. The config's report() is called from upkeep_advance() and
 * upkeep_end().
 */
void upkeep_init(struct upkeep *upkeep, const struct keep_config *config,
	const struct mapping_race_request *probe, const struct upkeep *other);

/* Begins to look for a mapping. */
void upkeep_start(struct upkeep *upkeep, uint64_t now);

/*
 * Links, addresses or routes have changed, or the user says so: checks whether the held connection
 * still leaves from the same local address.
 */
void upkeep_check_network(struct upkeep *upkeep, uint64_t now);

/* The local port of `probe` has changed: looks for the mapping of the new one. */
void upkeep_change_port(struct upkeep *upkeep, uint64_t now);

/* Fills all entries for poll(2); returns when upkeep_advance() wants to be called. */
uint64_t upkeep_watch(const struct upkeep *upkeep, struct pollfd fds[UPKEEP_WATCH_MAX]);

/* Goes on with what poll(2) found, and with the time. */
void upkeep_advance(struct upkeep *upkeep, const struct pollfd fds[UPKEEP_WATCH_MAX], uint64_t now);

/* Looks up the reflectors' names at once. */
void upkeep_look_up(struct upkeep *upkeep, uint64_t now);

/* The key of the name has changed. */
void upkeep_renew_name(struct upkeep *upkeep, uint64_t now);

/* Can this family have no mapping? */
bool upkeep_is_hopeless(const struct upkeep *upkeep);

/* Ends all, and reports a mapping that was reported as down. */
void upkeep_end(struct upkeep *upkeep);

#endif
