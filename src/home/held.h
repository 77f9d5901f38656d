/*
 * held.h - one held connection to one reflector (or, over UDP and raw, one borrowed port): it keeps
 * a mapping alive, sees the mapping in each answer, and carries the registration of a name.
 *
 * A state machine that is handed events and the time, and never blocks; held.c lists its states,
 * events and timers. It must stay where it is while it is open.
 */
#ifndef NATPUNCH_HOME_HELD_H
#define NATPUNCH_HOME_HELD_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/registration.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/binding_client.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/proto/invitation.h"

#define HELD_ANSWER_MS     1000  /* how long an answer may take, at least, */
#define HELD_ANSWER_MAX_MS 10000 /* and at most, on a path with long round trips */
#define HELD_RENEW_MIN_MS  2000  /* at least, however soon a server closes */

enum held_event {
	HELD_NOTHING,
	HELD_ANSWERED, /* `mapping` is up to date */
	HELD_ENDING,   /* its server will close it soon: make the next connection */
	HELD_LOST,     /* the server or the network closed it: see `loss`; not open any more */
	HELD_SILENT,   /* a keep-alive got no answer; not open any more */
};

/* How a connection was lost. */
struct held_loss {
	size_t reflector;
	uint64_t stood_ms; /* how long it was open */
	bool idle;         /* it was lost between two keep-alives, and the next one showed it */
	bool promised;     /* the reflector had promised to hold it */
	bool reset;        /* by a RST: the server does not know the connection */
};

struct held {
	bool open;
	struct binding_client binding;    /* when open: ANSWERED, or asking again */
	struct mapping mapping;           /* what the reflector saw last */
	size_t reflector;                 /* its index in the race's request */
	struct registration registration; /* of a name, over this connection */
	uint64_t interval_ms;             /* between two keep-alives */
	struct held_loss loss;            /* of the last one */
	bool in_order;                    /* set by the owner: close in order always */
	struct addr released; /* reflector of the last one that was closed silently, or NONE */

	uint64_t opened_at;
	uint64_t now;           /* as held_advance() got it */
	uint64_t keepalive_due; /* the next keep-alive */
	uint64_t answer_due;    /* the end of waiting for an answer */
	uint64_t renew_due;     /* time for HELD_ENDING */

	void (*invited)(void *context, const struct invitation *invitation, uint64_t now);
	void *context;
};

/*
 * Opens nothing. `key` is of the name to register, with `facts`, or NULL; both must outlive the
 * held. `invited` is called from held_advance() for each genuine invitation.
 */
void held_init(struct held *held, const struct key *key, struct home_facts *facts,
	uint64_t interval_ms,
	void (*invited)(void *context, const struct invitation *invitation, uint64_t now),
	void *context);

/*
 * Holds the connection that won a race, and owns result->winner from now on. Then ends the one that
 * was held before, in order. `lifetime_ms`: after how long this server closes, or 0 if that is
 * unknown; HELD_ENDING comes after three quarters of it.
 */
void held_begin(struct held *held, const struct mapping_race_result *result, uint64_t lifetime_ms,
	uint64_t now);

/*
 * Holds the connection of `from`, which is not open afterwards. Then ends the one that was held
 * before, as held_begin() does. `from` must be open, with no keep-alive unanswered.
 */
void held_take_over(struct held *held, struct held *from, uint64_t now);

/* Sets the interval, which counts from now. */
void held_set_interval(struct held *held, uint64_t interval_ms, uint64_t now);

/* Sends a keep-alive at once, unless one is unanswered or nothing is open. */
void held_send_keepalive(struct held *held, uint64_t now);

/* Fills one entry for poll(2); returns when held_advance() and held_expire() want to be called. */
uint64_t held_watch(const struct held *held, struct pollfd *fd);

/* Goes on after an event on the descriptor (`happened`), or with the time alone. */
enum held_event held_advance(struct held *held, bool happened, uint64_t now);

/* Does what is due. Returns one event at a time: call it again for the rest. */
enum held_event held_expire(struct held *held, uint64_t now);

/*
 * Closes the connection silently if that is possible, so that the NAT's entry stays as it is, or in
 * order if `in_order` is set. May be called again.
 */
void held_release(struct held *held);

/* Closes the connection in order. May be called again. */
void held_end(struct held *held);

#endif
