/*
 * upkeep.h - the upkeep of one mapping, in one family: found, kept alive, watched, found again.
 *
 * A state machine that is handed events and the time, and never blocks; upkeep.c lists its states,
 * events and timers. It must stay where it is until upkeep_end().
 */
#ifndef NATPUNCH_HOME_UPKEEP_H
#define NATPUNCH_HOME_UPKEEP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/held.h"
#include "home/lease.h"
#include "home/responder.h"
#include "home/standby.h"
#include "home/trial.h"
#include "home/udp_responder.h"
#include "home/verification.h"
#include "natpunch/base/error.h"
#include "natpunch/client/home_facts.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/home/keep_config.h"

#define UPKEEP_STATUS_SIZE 256

/* Entries for poll(2). */
enum upkeep_watch {
	UPKEEP_WATCH_HELD,
	UPKEEP_WATCH_RESPONDER,
	UPKEEP_WATCH_UDP_RESPONDER = UPKEEP_WATCH_RESPONDER + RESPONDER_WATCH_MAX,
	UPKEEP_WATCH_VERIFICATION = UPKEEP_WATCH_UDP_RESPONDER + UDP_RESPONDER_MAX,
	UPKEEP_WATCH_LEASE = UPKEEP_WATCH_VERIFICATION + REACHABILITY_WATCH_MAX,
	UPKEEP_WATCH_TRIAL = UPKEEP_WATCH_LEASE + LEASE_WATCH_MAX,
	UPKEEP_WATCH_STANDBY = UPKEEP_WATCH_TRIAL + TRIAL_WATCH_MAX,
	UPKEEP_WATCH_RACE = UPKEEP_WATCH_STANDBY + STANDBY_WATCH_MAX,
	UPKEEP_WATCH_MAX = UPKEEP_WATCH_RACE + MAPPING_RACE_WATCH_MAX,
};

enum upkeep_state {
	UPKEEP_UNREPORTED,
	UPKEEP_UP,
	UPKEEP_UNREACHABLE,
	UPKEEP_DOWN,
};

enum upkeep_purpose {
	UPKEEP_REPLACE, /* the race's winner becomes the held connection */
	UPKEEP_COMPARE, /* a second opinion, once */
};

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct upkeep {
	const struct keep_config *config;
	const struct mapping_race_request *probe; /* what is asked, and */
	struct mapping_race_request request;      /* what of it is asked this time */
	struct host_port ports[2];  /* of a single reflector: its port, and the spare one */
	const struct upkeep *other; /* the upkeep in the other family, or NULL */

	enum upkeep_state state;
	/* The mapping as it is told, which was seen last; its winner is not used. */
	struct mapping_race_result known;
	bool has_known;
	enum forward_candidate candidate; /* what of the router's forward it is */

	struct home_facts facts; /* of all registrations */
	struct mapping looked;   /* of which facts.random_ports is known */

	struct held held;
	struct standby standby; /* the other reflectors that the name is registered at */
	size_t known_at;        /* that `status` tells: at how many, */
	size_t known_of;        /* of how many */
	bool lost_while_idle;
	unsigned short_lived; /* connections in a row */
	/* Of a server's connections; 0: not known. */
	uint64_t lifetime_ms[MAPPING_RACE_REFLECTOR_MAX];

	struct mapping_race *race; /* or NULL */
	enum upkeep_purpose purpose;
	unsigned races_lost; /* in a row */
	bool warned;         /* of that */
	bool spoke;          /* there was an address of the family to ask, and a way to it */
	bool compared;

	struct verification verification; /* with `verify` */
	struct responder responder;
	struct udp_responder udp_responder; /* of a UDP port */
	struct lease lease;                 /* of a router that forwards */
	struct trial trial;                 /* with `verify`: what else it may have made possible */

	uint64_t race_due;
	uint64_t down_due;

	bool refused; /* there never was a mapping, and this machine refuses one: error says why */
	struct error error;
	char status[UPKEEP_STATUS_SIZE]; /* for the service manager; "": nothing to say */
};

/*
 * `probe` says what is asked, in which family; it and the config must outlive the upkeep. The
 * config's report() is called from upkeep_advance() and upkeep_end().
 */
void upkeep_init(struct upkeep *upkeep, const struct keep_config *config,
	const struct mapping_race_request *probe, const struct upkeep *other);

/* Begins to look for a mapping. */
void upkeep_start(struct upkeep *upkeep, uint64_t now);

/* Links, addresses or routes changed, or somebody says so. */
void upkeep_check_network(struct upkeep *upkeep, uint64_t now);

/* The local port that `probe` names is another one now: the mapping of that one is looked for. */
void upkeep_change_port(struct upkeep *upkeep, uint64_t now);

/* Fills all entries for poll(2); returns when upkeep_advance() wants to be called. */
uint64_t upkeep_watch(const struct upkeep *upkeep, struct pollfd fds[UPKEEP_WATCH_MAX]);

/* Goes on with what poll(2) found, and with the time. */
void upkeep_advance(struct upkeep *upkeep, const struct pollfd fds[UPKEEP_WATCH_MAX], uint64_t now);

/* Looks up at once where the reflectors are. */
void upkeep_look_up(struct upkeep *upkeep, uint64_t now);

/* The key of the name is another one now. */
void upkeep_renew_name(struct upkeep *upkeep, uint64_t now);

/* Is there nothing to hope for, as far as this family goes? */
bool upkeep_is_hopeless(const struct upkeep *upkeep);

/* Ends all; a mapping that was reported is reported as down. */
void upkeep_end(struct upkeep *upkeep);

#endif
