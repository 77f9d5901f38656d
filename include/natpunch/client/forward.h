/*
 * forward.h - asks the home router to forward before a probe (router.h), and uses its answer.
 *
 * The router is the gateway towards the reflector, for packets of the address that the probe sends
 * from. No router is asked if there is no gateway, or if that address is not a private one. In IPv6
 * the router opens its firewall.
 *
 * The router forwards its port E to the local port. A stranger then gets in by one of up to three
 * addresses; forward_search.h finds which.
 */
#ifndef NATPUNCH_CLIENT_FORWARD_H
#define NATPUNCH_CLIENT_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/client/reachability.h"
#include "natpunch/client/router.h"

#define FORWARD_LOW_PORTS 1024 /* ports below this one: many routers do not forward to them */

struct forward_options {
	bool wanted;
	unsigned methods;   /* router.h */
	struct addr router; /* to be asked instead of the gateway; ADDR_NONE: the gateway */
	uint32_t lease;     /* seconds; 0: take the forward back */
	uint16_t wish[2];   /* IPv4, IPv6: the port that was granted last, or 0, */
	uint16_t wish_port; /* for this local one */
	uint16_t high_port; /* with -k: see high_port.h; 0: not to be taken */
	struct router_secret secret;
};

enum forward_candidate {
	FORWARD_SEEN,
	FORWARD_PORT,
	FORWARD_PUNCH,
	FORWARD_CANDIDATE_COUNT,
};

enum forward_step {
	FORWARD_TRY,  /* a candidate, with its winner open */
	FORWARD_END,  /* there is no other; the winner is open still */
	FORWARD_LOST, /* nor a winner */
};

/* See forward_search.h. */
struct forward_search {
	struct addr seen; /* by the reflector, of the local port */
	unsigned tried;   /* bits 1 << candidate; 0: none yet */
	struct addr dialled[FORWARD_CANDIDATE_COUNT];
	size_t count; /* of these */
};

struct forward {
	bool asked; /* there was somebody to ask: `result` says what came of it */
	enum router_state state;
	struct router_result result;
	struct addr remote; /* the reflector that it was on the way to; ADDR_NONE: unknown */
	struct forward_search search; /* forward_next()'s */
};

/*
 * Asks the routers of `count` probes (one or two) at the same time, and says on stderr what they
 * do. Blocks: for ROUTER_SILENCE_MS if no router answers, ROUTER_DEADLINE_MS at most; and until
 * `deadline` (clock_now_ms()) for the look-up of a reflector's name.
 */
void forward_ask(struct forward *const forwards[], const struct mapping_race_request *requests[],
	size_t count, const struct forward_options *options, uint64_t deadline);

/*
 * The same in steps, for a caller that asks again and again: fills in *out for router_start(), for
 * a reflector at `remote`. Returns false when there is nobody to ask; `tell`: and says why.
 */
bool forward_plan(const struct mapping_race_request *request, const struct forward_options *options,
	const struct addr *remote, bool tell, struct router_request *out);

/* Takes a router's answer, and logs it unless it is the same as before. */
void forward_take(struct forward *forward, const struct router *router,
	const struct mapping_race_request *request, const struct forward_options *options);

/* Does the router forward? */
bool forward_is_granted(const struct forward *forward);

/* Does the router refuse to forward to that port of this machine? IPv4 alone. */
bool forward_is_forbidden(const struct forward *forward);

/* Writes into the mapping what the router forwards, or that none does. */
void forward_note(const struct forward *forward, struct mapping *mapping);

/* Refused, or silent: why it does not forward the port to this machine's, and what to do. */
void forward_explain_failure(const struct forward *forward,
	const struct mapping_race_request *request, struct error *error);

/* Strangers are stopped on the way: hints how the router matters to that. */
void forward_hint(const struct forward *forward, const struct mapping_race_request *request,
	struct error *error);

/* A dial-back that is SHUT: reachability_explain(), and where it was stopped on the way that hint.
 */
void forward_explain_shut(const struct forward *forward, const struct mapping_race_request *request,
	const struct reachability *reachability, const struct mapping *mapping,
	struct error *error);

/* --lease 0: is it forgotten? Returns the status to exit with. */
int forward_taken_back(const struct forward *forward, struct error *error);

#endif
