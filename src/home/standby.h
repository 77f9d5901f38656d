/*
 * standby.h - keeps a name registered at the other reflectors: a held connection to each, beside
 * the one that keeps the mapping.
 *
 * There is a place for each address that the reflectors' names resolve to. The connection that
 * keeps the mapping (`kept`, the upkeep's) is at one of these addresses. Home connects to each
 * other one from the same port and registers the name over that connection, so that an initiator
 * finds home by any reflector that it asks. Each address of an SRV record is a reflector of its
 * own; of the addresses of a host name, one is enough. The names are looked up again from time to
 * time, and places follow their new addresses.
 *
 * A state machine that is handed events and the time, and never blocks; standby.c lists its states,
 * events and timers. It must stay where it is until standby_end(). Without a key it does nothing.
 */
#ifndef NATPUNCH_HOME_STANDBY_H
#define NATPUNCH_HOME_STANDBY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/held.h"
#include "natpunch/base/addr.h"
#include "natpunch/client/binding_client.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/os/resolve.h"

/* Addresses of one family. Rule for more: they are not used, with one warning. */
#define STANDBY_MAX       16
#define STANDBY_WATCH_MAX (STANDBY_MAX + 1)

struct standby_times {
	uint64_t look_ms;        /* from one round of look-ups to the next, */
	uint64_t look_early_ms;  /* and to one that has a reason, at least */
	uint64_t pause_first_ms; /* before the second try; it doubles with each failure, */
	uint64_t pause_max_ms;   /* up to this */
	uint64_t stood_ms;       /* a connection that is lost sooner counts as a failure */
};

#define STANDBY_TIMES_DEFAULT                                                                      \
	((struct standby_times){.look_ms = 600000,                                                 \
		.look_early_ms = 5000,                                                             \
		.pause_first_ms = 1000,                                                            \
		.pause_max_ms = 60000,                                                             \
		.stood_ms = 2000})

struct standby;

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct standby_place {
	struct standby *standby;
	struct addr addr;  /* of the reflector; ADDR_NONE: the place is free */
	size_t reflector;  /* its index in the race's request */
	bool by_service;   /* the address came from an SRV record */
	bool stale;        /* the name resolves to this address no more */
	bool asking;       /* `client` is connecting, or waits for the first answer */
	unsigned failures; /* in a row */
	uint64_t due;      /* the next try; while asking: the end of this try */
	struct binding_client client;
	struct held held;
};

struct standby {
	const struct key *key;                      /* or NULL */
	const struct mapping_race_request *probe;   /* whose reflectors these are */
	const struct mapping_race_request *request; /* the upkeep's: method, port */
	struct held *kept;
	struct standby_times times;
	struct standby_place places[STANDBY_MAX];
	bool warned_full;

	bool looking; /* a look-up is under way */
	size_t name;  /* the index of the name */
	struct resolve resolve;
	uint64_t look_due;                              /* the next round of look-ups */
	uint64_t looked_at;                             /* when the last round began */
	bool looked[MAPPING_RACE_REFLECTOR_MAX];        /* a look-up of the name has succeeded */
	bool lookup_warned[MAPPING_RACE_REFLECTOR_MAX]; /* that a look-up failed */
	bool tells_lookups;
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* the port has sent to this reflector */

	void (*invited)(void *context, const struct held *over, const struct invitation *invitation,
		uint64_t now);
	void *context;
};

/*
 * All that the arguments point to must outlive it. `kept` must be initialised with the same key.
 * `invited` is called from standby_advance() for each genuine invitation, with the connection that
 * it came over. `tells_lookups`: warn of a name that cannot be looked up; of two families, one
 * does.
 */
void standby_init(struct standby *standby, const struct key *key,
	const struct mapping_race_request *probe, const struct mapping_race_request *request,
	struct held *kept, bool tells_lookups,
	void (*invited)(void *context, const struct held *over, const struct invitation *invitation,
		uint64_t now),
	void *context);

/*
 * Is there a name to register, and does the method that holds the mapping allow other connections
 * from the same port?
 */
bool standby_serves(const struct standby *standby);

/* Is that where a reflector of home is, its OTHER-ADDRESS included? */
bool standby_is_reflector(const struct standby *standby, const struct addr *addr);

/* Fills all entries for poll(2); returns when standby_advance() wants to be called. */
uint64_t standby_watch(const struct standby *standby, struct pollfd fds[STANDBY_WATCH_MAX]);

/*
 * Goes on with what poll(2) found, and with the time. Returns a connection that has just answered,
 * or NULL: its answer shows the mapping, and held_take_over() may follow.
 */
struct held *standby_advance(
	struct standby *standby, const struct pollfd fds[STANDBY_WATCH_MAX], uint64_t now);

/*
 * If the kept connection is at an address that its name resolves to no more: returns the connection
 * to an address that the name resolves to now, once the name is registered over it. Else NULL.
 */
struct held *standby_successor(struct standby *standby);

/*
 * The kept connection is gone, or will be soon: sends a keep-alive over all others, to find one
 * that answers, and looks the names up soon.
 */
void standby_ask(struct standby *standby, uint64_t now);

/*
 * The network changed: connects anew where the local address is another one now; sends a keep-alive
 * over the others.
 */
void standby_check_network(struct standby *standby, uint64_t now);

/* The local port has changed: connects anew to all. */
void standby_restart(struct standby *standby, uint64_t now);

/* Looks up the names at once. */
void standby_look_up(struct standby *standby, uint64_t now);

/* The key has changed: registers anew over all. */
void standby_renew(struct standby *standby, uint64_t now);

/*
 * Sets *all to the number of reflectors, and *registered to how many of them the name is registered
 * at, the kept one included.
 */
void standby_count(const struct standby *standby, size_t *registered, size_t *all);

/* Closes all connections in order. */
void standby_end(struct standby *standby);

#endif
