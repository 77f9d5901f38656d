/*
 * forward_search.h - finds the address by which strangers get in once the router forwards its port
 * E to the local port. It is one of these, and must be proved from outside before it is printed:
 *
 *   FORWARD_SEEN    what the reflector saw: the router preserves ports, or there is no router
 *   FORWARD_PORT    that address, and port E: the router sends from another port than it forwards
 *   FORWARD_PUNCH   what the reflector sees of local port E, if that is not the forwarded one: a
 *                   router that preserves ports then sends from E, so a NAT beyond it has a mapping
 *                   of E
 *
 * A search has its owner dial them one after another, each address once; the owner may block or
 * not.
 */
#ifndef NATPUNCH_CLIENT_FORWARD_SEARCH_H
#define NATPUNCH_CLIENT_FORWARD_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/client/reachability.h"

/* Begins anew: a reflector saw this of the request's local port. */
void forward_search_begin(struct forward_search *search, const struct addr *seen);

/*
 * Returns the most likely candidate that was not tried yet, and notes it as tried;
 * FORWARD_CANDIDATE_COUNT when there is none. The first is never FORWARD_PUNCH.
 */
enum forward_candidate forward_search_next(struct forward_search *search,
	const struct forward *forward, const struct mapping_race_request *request);

/* The local port that it is punched from. */
uint16_t forward_search_port(const struct forward *forward, enum forward_candidate candidate,
	const struct mapping_race_request *request);

/*
 * Makes of *mapping, which a reflector saw of that local port, what is told: the address to use,
 * for the request's local port, and what the router does.
 */
void forward_search_tell(const struct forward *forward, enum forward_candidate candidate,
	const struct mapping_race_request *request, struct mapping *mapping);

/* Is it to be dialled? False when it was. */
bool forward_search_dials(struct forward_search *search, const struct addr *mapped);

/*
 * Strangers do not get in by this candidate: can they by another? Not if the dial-back arrived
 * here, as all candidates lead to the same port.
 */
bool forward_search_goes_on(const struct reachability *reachability);

/*
 * Makes *result, which is what the reflector saw and whose winner is open, the first candidate; and
 * after one that strangers do not get through, the next. The first may be the only one. May block
 * until `deadline`, as mapping_race_run() does.
 */
enum forward_step forward_next(struct forward *forward, const struct mapping_race_request *request,
	struct mapping_race_result *result, uint64_t deadline);

#endif
