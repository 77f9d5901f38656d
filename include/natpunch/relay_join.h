/*
 * relay_join.h - home's way to a relayed connection: a connection to the reflector, the JOIN, and
 * its answer (relay.h). A state machine that is handed events and the time.
 *
 * Of the answer not one byte too many is read: what follows it is the session.
 */
#ifndef NATPUNCH_RELAY_JOIN_H
#define NATPUNCH_RELAY_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/relay.h"

#define RELAY_JOIN_TIMEOUT_MS 5000 /* so long the reflector waits for us */
#define RELAY_JOIN_ANSWER_MAX 256

enum relay_join_state {
	RELAY_JOIN_NONE, /* not in use */
	RELAY_JOIN_CONNECTING,
	RELAY_JOIN_ASKING,
	RELAY_JOIN_OPEN,   /* relay_join_take() */
	RELAY_JOIN_FAILED, /* `problem` says why */
};

struct relay_join {
	enum relay_join_state state;
	struct relay_ticket ticket;
	struct addr traveller; /* whom it leads to */
	int fd;
	uint64_t due; /* when it is given up */
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	uint8_t bytes[RELAY_JOIN_ANSWER_MAX];
	size_t received;
	const char *problem; /* static */
};

/* From where to where. */
struct relay_join_path {
	struct addr reflector;
	struct addr local;     /* its port does not count; ADDR_NONE: any address */
	const char *interface; /* SO_BINDTODEVICE, or NULL */
};

/* The state may already be FAILED. relay_join_end() must follow. */
void relay_join_start(struct relay_join *join, const struct relay_join_path *path,
	const struct relay_ticket *ticket, const struct addr *traveller, uint64_t now);

/* What to poll for; -1: nothing. */
int relay_join_fd(const struct relay_join *join);
short relay_join_events(const struct relay_join *join);

/* After an event on the descriptor (`happened`), or when `due` has come. */
void relay_join_advance(struct relay_join *join, bool happened, uint64_t now);

/* RELAY_JOIN_OPEN: hands out the socket, the caller's from now on. Leaves RELAY_JOIN_NONE. */
int relay_join_take(struct relay_join *join);

/* Closes what is open; leaves RELAY_JOIN_NONE. */
void relay_join_end(struct relay_join *join);

#endif
