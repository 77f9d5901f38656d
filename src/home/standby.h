/*
 * standby.h - the other reflectors that a name is registered at: a held connection to each, beside
 * the one that keeps the mapping.
 *
 * Each address that the reflectors' names lead to has a place. The connection that keeps the
 * mapping (`kept`, the upkeep's) is at one of them; each other one is connected to from the same
 * port, and the name registered over it, so that an initiator finds it by whichever reflector it
 * asks. An address of SRV records is a reflector of its own; of a name with addresses, one of them
 * is enough. The names are looked up again from time to time, and what they lead to is followed.
 *
 * A state machine that is handed events and the time, and never blocks; standby.c says how it goes
 * on. It must stay where it is until standby_end(). Without a key it does nothing.
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

/* Addresses of one family. More are passed over, with a warning, once. */
#define STANDBY_MAX       16
#define STANDBY_WATCH_MAX (STANDBY_MAX + 1)

struct standby_times {
	uint64_t look_ms;       /* from one look-up of the names to the next, */
	uint64_t look_early_ms; /* and to one for which there is a reason, at least */
	uint64_t
		pause_first_ms; /* before the second try, twice that before the third, and so on, */
	uint64_t pause_max_ms;  /* up to this */
	uint64_t stood_ms;      /* a connection that was lost sooner counts as a try that failed */
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
	struct addr addr;  /* where it is asked; ADDR_NONE: the place is free */
	size_t reflector;  /* whose address that is: an index of the race's */
	bool by_service;   /* by SRV records */
	bool stale;        /* no name leads here any more */
	bool asking;       /* `client` is connecting, or asking for the first time */
	unsigned failures; /* in a row */
	uint64_t due;      /* the next try; while asking: the end of this one */
	struct binding_client client;
	struct held held;
};

struct standby {
	const struct key *key;                      /* or NULL */
	const struct mapping_race_request *probe;   /* whose reflectors these are */
	const struct mapping_race_request *request; /* how the kept one was asked: method, port */
	struct held *kept;
	struct standby_times times;
	struct standby_place places[STANDBY_MAX];
	bool warned_full;
	bool warned_alone;

	bool looking; /* a name is being looked up */
	size_t name;  /* which */
	struct resolve resolve;
	uint64_t look_due;                              /* the next round of look-ups */
	uint64_t looked_at;                             /* when the last one began */
	bool looked[MAPPING_RACE_REFLECTOR_MAX];        /* the name had addresses once */
	bool lookup_warned[MAPPING_RACE_REFLECTOR_MAX]; /* that it has none */
	bool tells_lookups;
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* which reflectors the port has spoken to */

	void (*invited)(void *context, const struct held *over, const struct invitation *invitation,
		uint64_t now);
	void *context;
};

/*
 * What is pointed at must outlive it. `kept` was initialised with the same key. `invited` is called
 * from standby_advance() for each genuine invitation, with what it came over. `tells_lookups`: it
 * is to warn of a name that cannot be looked up; of two families one does.
 */
void standby_init(struct standby *standby, const struct key *key,
	const struct mapping_race_request *probe, const struct mapping_race_request *request,
	struct held *kept, bool tells_lookups,
	void (*invited)(void *context, const struct held *over, const struct invitation *invitation,
		uint64_t now),
	void *context);

/*
 * Is there a name to register, and does the method by which the mapping is held leave room for
 * other connections from the same port?
 */
bool standby_serves(const struct standby *standby);

/* Fills all entries for poll(2); returns when standby_advance() wants to be called. */
uint64_t standby_watch(const struct standby *standby, struct pollfd fds[STANDBY_WATCH_MAX]);

/*
 * Goes on with what poll(2) found, and with the time. Returns a connection that has just answered,
 * if one did: it shows what the mapping is, and held_take_over() may follow.
 */
struct held *standby_advance(
	struct standby *standby, const struct pollfd fds[STANDBY_WATCH_MAX], uint64_t now);

/*
 * Where the kept one is at an address that its name does not lead to any more: the connection to
 * one where it leads now, once the name is registered over it. Else NULL.
 */
struct held *standby_successor(struct standby *standby);

/* The kept one is gone, or about to go: asks all, to find one that answers; looks up soon. */
void standby_ask(struct standby *standby, uint64_t now);

/* The network changed: what left from another address is made anew; asks the others. */
void standby_check_network(struct standby *standby, uint64_t now);

/* The local port is another one now: all are made anew. */
void standby_restart(struct standby *standby, uint64_t now);

/* Looks the names up at once, and tries what is missing. */
void standby_look_up(struct standby *standby, uint64_t now);

/* The key is another one now. */
void standby_renew(struct standby *standby, uint64_t now);

/* At how many reflectors the name is registered, the kept one among them, of how many. */
void standby_count(const struct standby *standby, size_t *registered, size_t *all);

/* Ends all in order. */
void standby_end(struct standby *standby);

#endif
