/*
 * lease.h - a router's forward, kept: renewed in time, asked for again, given back (forward.h).
 *
 * A state machine that is handed events and the time, and never blocks, except for its end.
 */
#ifndef NATPUNCH_HOME_LEASE_H
#define NATPUNCH_HOME_LEASE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"

#define LEASE_AGAIN_MS 300000 /* after a refusal, or silence */
#define LEASE_CALM_MS  5000   /* from one question to the next, whatever happens */
#define LEASE_HURRY_MS 4000   /* a renewal that failed, at the end (RFC 6887 section 11.2.1) */

struct lease {
	const struct forward_options *options; /* NULL: nothing is asked for */
	const struct mapping_race_request *probe;
	struct forward forward; /* what the router does */
	struct addr remote;     /* the reflector that it is on the way to, or ADDR_NONE */
	struct router router;
	bool asking;
	int announcements; /* a socket for what the router tells everybody, or -1 */
	bool told;         /* that there is nobody to ask */
	struct pcp_epoch epoch;
	uint64_t asked_at; /* clock_now_ms(), as all of these */
	uint64_t expires;  /* with a forward */
	uint64_t due;
};

/* What these point at must outlive it. */
void lease_init(struct lease *lease, const struct forward_options *options,
	const struct mapping_race_request *probe);

/* Takes what came of forward_ask(). */
void lease_begin(struct lease *lease, const struct forward *forward, uint64_t now);

/* The reflector that is asked is there; only the first matters, and one of another address. */
void lease_set_remote(struct lease *lease, const struct addr *remote, uint64_t now);

/* The network changed, or nobody gets in: asks at once, unless it has asked just now. */
void lease_hurry(struct lease *lease, uint64_t now);

/* The local port is another one: what was said of the one before does not hold. */
void lease_change_port(struct lease *lease, uint64_t now);

#define LEASE_WATCH_MAX (ROUTER_WATCH_MAX + 1)

/* Fills all entries for poll(2); returns when lease_advance() wants to be called. */
uint64_t lease_watch(const struct lease *lease, struct pollfd fds[LEASE_WATCH_MAX]);

/* Goes on. Returns whether what the router does is something else now. */
bool lease_advance(struct lease *lease, uint64_t now);

/* The end; may give the forward back, and then blocks for ROUTER_SILENCE_MS at most. */
void lease_end(struct lease *lease, bool gives_back);

#endif
