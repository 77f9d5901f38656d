/*
 * lease.h - keeps a router's forward (forward.h): renews it in time, asks again when it may be
 * lost, gives it back.
 *
 * A state machine that is handed events and the time, and never blocks, except in lease_end().
 */
#ifndef NATPUNCH_HOME_LEASE_H
#define NATPUNCH_HOME_LEASE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"

#define LEASE_AGAIN_MS 300000 /* from a refusal, or no answer, to the next request */
#define LEASE_CALM_MS  5000   /* from one request to the next, at least */
#define LEASE_HURRY_MS 4000   /* from a failed renewal to the next, at least (RFC 6887, 11.2.1) */

struct lease {
	const struct forward_options *options; /* NULL: no forward is wanted */
	const struct mapping_race_request *probe;
	struct forward forward; /* the router's last answer */
	struct addr remote;     /* the reflector on whose path the router is, or ADDR_NONE */
	struct router router;
	bool asking;
	int announcements; /* a socket for the router's announcements, or -1 */
	bool told;         /* the user was told that there is no router to ask */
	struct pcp_epoch epoch;
	uint64_t asked_at; /* times are clock_now_ms(); TIMER_NONE: not set */
	uint64_t expires;  /* the forward's end, if it has one */
	uint64_t due;
};

/* Both must outlive it. */
void lease_init(struct lease *lease, const struct forward_options *options,
	const struct mapping_race_request *probe);

/* Takes the result of forward_ask(). */
void lease_begin(struct lease *lease, const struct forward *forward, uint64_t now);

/*
 * Notes the reflector's address, which tells the router on the path. Asks at once if it is another
 * IP address.
 */
void lease_set_remote(struct lease *lease, const struct addr *remote, uint64_t now);

/*
 * The network changed, or strangers do not get in: asks at once, or LEASE_CALM_MS after the last
 * request.
 */
void lease_hurry(struct lease *lease, uint64_t now);

/* The local port has changed: the router's last answer does not hold for the new one. */
void lease_change_port(struct lease *lease, uint64_t now);

#define LEASE_WATCH_MAX (ROUTER_WATCH_MAX + 1)

/* Fills all entries for poll(2); returns when lease_advance() wants to be called. */
uint64_t lease_watch(const struct lease *lease, struct pollfd fds[LEASE_WATCH_MAX]);

/* Goes on. Returns whether the router's forward has changed. */
bool lease_advance(struct lease *lease, uint64_t now);

/*
 * Ends all. With `gives_back`, asks the router to end its forward, and blocks for ROUTER_SILENCE_MS
 * at most.
 */
void lease_end(struct lease *lease, bool gives_back);

#endif
