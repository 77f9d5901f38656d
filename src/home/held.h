/*
 * held.h - one held connection to one reflector (or, over UDP and raw, one borrowed port): it keeps
 * a mapping alive, sees what the mapping is, and carries the registration of a name.
 *
 * A state machine that is handed events and the time, and never blocks; held.c says how it goes
 * on. A struct held is all that there is of it. It must stay where it is while it is open.
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

#define HELD_ANSWER_MS     1000  /* how long an answer may take before it is doubted, */
#define HELD_ANSWER_MAX_MS 10000 /* and where the way is long */
#define HELD_RENEW_MIN_MS  2000  /* however impatient a stranger's server is */

enum held_event {
	HELD_NOTHING,
	HELD_ANSWERED, /* `mapping` is what it is right now */
	HELD_ENDING,   /* its server will close it soon: the next connection is to be made */
	HELD_LOST,     /* the server closed it, or the network did: `loss`; not open any more */
	HELD_SILENT,   /* no answer came to a keep-alive; not open any more */
};

/* How a connection was lost. */
struct held_loss {
	size_t reflector;
	uint64_t stood_ms; /* how long it had been there */
	bool idle;         /* it was while nothing was sent: the next keep-alive showed it */
	bool promised;     /* that reflector had promised to hold it */
	bool reset;        /* by a RST: the server does not know where it is asked from */
};

struct held {
	bool open;
	struct binding_client binding;    /* when open: ANSWERED, or asking again */
	struct mapping mapping;           /* what its reflector saw last */
	size_t reflector;                 /* which one that is: an index of the race's */
	struct registration registration; /* of a name, said over it */
	uint64_t interval_ms;             /* between two keep-alives */
	struct held_loss loss;            /* of the last one */
	bool in_order;                    /* always closes in order: the owner's to set */
	struct addr released; /* where the last one that was ended without a packet led, or NONE */

	uint64_t opened_at;
	uint64_t now;           /* as handed to held_advance() */
	uint64_t keepalive_due; /* the next keep-alive */
	uint64_t answer_due;    /* an answer is waited for until then */
	uint64_t renew_due;     /* the server will close it soon */

	void (*invited)(void *context, const struct invitation *invitation, uint64_t now);
	void *context;
};

/*
 * Nothing is open yet. `key` is the name to register, with `facts`, or NULL; both must outlive the
 * held. `invited` is called from held_advance() for each genuine invitation.
 */
void held_init(struct held *held, const struct key *key, struct home_facts *facts,
	uint64_t interval_ms,
	void (*invited)(void *context, const struct invitation *invitation, uint64_t now),
	void *context);

/*
 * Holds what a race has won, and owns result->winner from now on; what was held before is ended in
 * order, now that the new one is there. `lifetime_ms`: after which its server is known to close, or
 * 0; HELD_ENDING comes after three quarters of it.
 */
void held_begin(struct held *held, const struct mapping_race_result *result, uint64_t lifetime_ms,
	uint64_t now);

/*
 * Goes on with what `from` holds, which is not open any more then; the same goes for what was held
 * before as in held_begin(). `from` must be open, and no answer must be waited for.
 */
void held_take_over(struct held *held, struct held *from, uint64_t now);

/* Another interval, from now on. */
void held_set_interval(struct held *held, uint64_t interval_ms, uint64_t now);

/* Sends a keep-alive at once; does nothing while one is unanswered, and when nothing is open. */
void held_send_keepalive(struct held *held, uint64_t now);

/* Fills one entry for poll(2); returns when held_advance() or held_expire() wants to be called. */
uint64_t held_watch(const struct held *held, struct pollfd *fd);

/* Goes on after an event on the descriptor (`happened`), or with the time alone. */
enum held_event held_advance(struct held *held, bool happened, uint64_t now);

/* Does what is due. One event at a time: what is left stays due. */
enum held_event held_expire(struct held *held, uint64_t now);

/*
 * Ends it without a packet where possible, so that the NAT's entry stays as it is, unless
 * `in_order`; twice is once.
 */
void held_release(struct held *held);

/* Ends it in order; twice is once. */
void held_end(struct held *held);

#endif
