/*
 * both_families.h - the mapping of a local port in IPv4 and the one in IPv6.
 *
 * Each family has a side: a race of its own (mapping_race.h). The two run at the same time, and an
 * answer in one does not decide about the other. Once one side has a mapping, the other gets
 * BOTH_FAMILIES_GRACE_MS more, unless the caller wants both: then each has all of the time. So a
 * dead family costs a quarter of a second, and a family that this machine lacks costs nothing: its
 * race ends at once.
 *
 * There is only one side if the request names a family, or if all reflectors are addresses of one
 * family.
 */
#ifndef NATPUNCH_CLIENT_BOTH_FAMILIES_H
#define NATPUNCH_CLIENT_BOTH_FAMILIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"
#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"

#define BOTH_FAMILIES_GRACE_MS MAPPING_RACE_STAGGER_MS

struct family_side {
	struct host_port reflectors[MAPPING_RACE_REFLECTOR_MAX]; /* that may be of the family */
	struct mapping_race_request request;                     /* to these */
	struct mapping_race *race;                               /* under way, or NULL */
	bool mapped; /* result holds a mapping, and its winner is open */
	bool spoke;  /* there was an address of the family to ask */
	bool cannot; /* this machine refused */
	struct mapping_race_result result;
	struct forward forward; /* what a router has to do with it */
	bool judged;            /* verified: mapped says with which verdict */
	struct error
		error; /* when not mapped, or not verified: why not; "": was not wanted any more */
};

struct both_families {
	bool all;                    /* both are wanted */
	size_t count;                /* 1 or 2 */
	struct family_side sides[2]; /* of two, IPv4 is the first */
};

/*
 * `all`: both are wanted, so there are two sides in every case. *both stays where it is; what the
 * request points at must outlive it. both_families_end() must follow.
 */
void both_families_init(
	struct both_families *both, const struct mapping_race_request *request, bool all);

/*
 * Asks the routers of both sides (forward.h); what they do becomes part of the mappings. Optional,
 * before both_families_find(). Returns how many were asked.
 */
size_t both_families_ask_routers(
	struct both_families *both, const struct forward_options *options, uint64_t deadline);

/*
 * Blocks until it is known which sides have a mapping. Returns 0 when one has; else -1 with *error
 * filled, the most telling of the failures: a refusal of this machine's, which holds for both; then
 * that of a side that had an address to ask; then in the order PEER, NETWORK, LOCAL.
 */
int both_families_find(struct both_families *both, struct error *error);

/* Which side's failure says most, by `error`, `spoke` and `cannot`? No side has a mapping. */
size_t both_families_most_telling(const struct both_families *both);

/*
 * Has the mappings dialled from outside (reachability.h), side by side, until `deadline`
 * (clock_now_ms()) at most. A side that no stranger got through to loses its mapping, and its error
 * says why. Without `each`, the first open side ends the run, and the other is given up. If a
 * side's router forwards, each address that this may have opened is dialled, and the first open one
 * becomes the mapping. Returns 0 when a side is left, else -1.
 */
int both_families_verify(struct both_families *both, bool each, uint64_t deadline);

/* Ends the connections (binding_client_end()). The mappings stay to be read. */
void both_families_end(struct both_families *both);

#endif
