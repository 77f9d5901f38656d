/*
 * relay.h - relays between the connections of an initiator and a home (relay_messages.h), in a
 * table fixed at the start.
 */
#ifndef NATPUNCH_REFLECTOR_RELAY_H
#define NATPUNCH_REFLECTOR_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "reflector/counters.h"
#include "natpunch/base/key.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/sandbox.h"
#include "natpunch/proto/relay_messages.h"
#include "natpunch/reflector/config.h"

#define RELAY_DESCRIPTORS 6   /* of one relay */
#define RELAY_ANSWER      128 /* longest answer to RELAY or JOIN */

extern const struct sandbox_call relay_calls[]; /* beside those of sockets and flows */

struct relay_slot;

struct relay {
	struct relay_limits limits;
	struct relay_slot *slots;
	uint32_t used; /* slots that are not FREE */
	struct loop *loop;
	uint8_t tag_kind;
	struct counters *counters; /* the caller's, set after _open(); or NULL */
	uint64_t sessions;         /* that came to FLOWING, so far */
	uint64_t passed;           /* bytes of those that have ended */
};

/* tag_kind marks the events for relay_event(). Returns 0, or -1: no memory. */
int relay_open(struct relay *relay, struct loop *loop, uint8_t tag_kind,
	const struct relay_limits *limits);

/* Closes every connection; says how many there were. Fine on one that is all zero. */
void relay_close(struct relay *relay);

/* Adds how many relays there are and can be, and what the present ones have passed on so far. */
void relay_count(const struct relay *relay, struct counters *counters);

/*
 * Takes a slot for the name, whose key the caller has seen proven, and makes its ticket; if there
 * is no room, ends a relay that is dead. Returns 0, or RELAY_MESSAGE_NAME_FULL or
 * RELAY_MESSAGE_FULL. relay_wait() must follow for the ticket's number before anything else is
 * asked.
 */
unsigned relay_reserve(
	struct relay *relay, const char *name, struct relay_ticket *ticket, uint64_t now);

/* A request RELAY, and what it is to be answered once home is there. */
struct relay_initiator {
	int fd; /* the relay's from then on, in every case; in no event loop */
	struct addr peer;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	const uint8_t *answer; /* copied */
	size_t answer_size;    /* RELAY_ANSWER at most */
};

/* `told`: home could be told; if not, the initiator gets an error. */
void relay_wait(struct relay *relay, uint64_t number, const struct relay_initiator *initiator,
	bool told, uint64_t now);

enum relay_verdict {
	RELAY_VERDICT_OTHER,   /* not a JOIN */
	RELAY_VERDICT_REFUSED, /* the answer says so; then the connection is to be closed */
	RELAY_VERDICT_JOINED,  /* relay_begin() must follow, with this answer */
};

/* Judges one whole message of a connection. The answer fits RELAY_ANSWER bytes. */
enum relay_verdict relay_answer_join(struct relay *relay, const void *data, size_t data_size,
	void *out, size_t capacity, size_t *size, uint64_t *number);

/*
 * Sends the answers to both and begins. `fd` is home's connection, in no event loop, and the
 * relay's from then on in every case.
 */
void relay_begin(struct relay *relay, uint64_t number, int fd, const struct addr *peer,
	const void *answer, size_t answer_size, uint64_t now);

/* Something happened to a connection; an event of one that is gone is ignored. */
void relay_event(struct relay *relay, struct loop_tag tag, uint32_t events, uint64_t now);

/* When relay_expire() has something to do next, or TIMER_NONE. */
uint64_t relay_next(const struct relay *relay);
void relay_expire(struct relay *relay, uint64_t now);

#endif
