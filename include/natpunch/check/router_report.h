/*
 * router_report.h - what the home router speaks, and, with check -F, whether it would forward the
 * port (router.h, forward.h).
 *
 * To look changes nothing at the router. A trial has the router forward the port for
 * ROUTER_TRIAL_LEASE seconds, has the mapping dialled as a probe would (forward_next()), and takes
 * the forward back, also when a signal ends the program meanwhile. If even that fails, the lease
 * runs out.
 *
 * A router does not say which program asked for a forward: a probe on this machine has the same
 * nonce, so a trial would shorten the lease of the probe's forward and then take that forward back.
 * So nothing is tried
 *   - if strangers get in already, by a forward or without one, or get through without proof that
 *     it is to this machine;
 *   - while a natpunch probe -k keeps the port;
 *   - if the public port is not the local one, and the router's port with the local number, which
 *     is dialled first, leads here already.
 * One case is left: a forward of an earlier probe by which nobody gets in. The trial takes it back.
 */
#ifndef NATPUNCH_CHECK_ROUTER_REPORT_H
#define NATPUNCH_CHECK_ROUTER_REPORT_H

#include "natpunch/base/addr.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/client/mapping_race.h"

#define ROUTER_TRIAL_LEASE 120 /* seconds */

struct forward_options;

struct router_trial {
	const struct forward_options *options;
	int stop; /* a descriptor: once it is readable, the trial ends; -1: none */
};

/*
 * Asks the gateway on the way to the reflector what it speaks. Call it once the mapping is known.
 * Blocks for ROUTER_SILENCE_MS if the gateway does not answer, and for ROUTER_DEADLINE_MS at most.
 */
void router_report_look(const struct mapping_race_request *request, const struct addr *reflector,
	struct nat_report *report);

/*
 * Runs the trial. Call it once the report says whether strangers get in, and before further
 * addresses are contacted from the port. `seen`: the result of the race, with its winner open; NULL
 * over UDP, where no reflector dials. Blocks. A signal that came meanwhile may end the program
 * before this returns.
 */
void router_report_try(const struct mapping_race_request *request, const struct router_trial *trial,
	const struct mapping_race_result *seen, struct nat_report *report);

#endif
