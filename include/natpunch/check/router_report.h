/*
 * router_report.h - what the home router speaks, and with check -F whether it would forward the
 * port (router.h, forward.h).
 *
 * To look changes nothing at the router. A trial has it forward the port for ROUTER_TRIAL_LEASE
 * seconds, has the mapping dialled as a probe would (forward_next()), and takes the forward back,
 * also when a signal ends the program meanwhile; where even that fails, it lapses.
 *
 * A forward has no owner that a router would tell: a probe on this machine has the same nonce, so
 * the trial would shorten its lease and then take it away. So nothing is tried
 *   - where strangers get in already, by a forward or without one, or get through, and it is not
 *     proved to whom;
 *   - while a natpunch probe -k keeps the port;
 *   - where the router's port of that number is dialled first, as another was seen outside, and
 *     leads here already.
 * What is left is a forward of an earlier probe by which nobody gets in: that is taken back.
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
	int stop; /* a descriptor: when it is readable, the trial is to end; -1: none */
};

/*
 * Asks the gateway that leads to the reflector, once the mapping is known. Blocks for
 * ROUTER_SILENCE_MS where nobody answers, ROUTER_DEADLINE_MS at most.
 */
void router_report_look(const struct mapping_race_request *request, const struct addr *reflector,
	struct nat_report *report);

/*
 * The trial, once it is known whether strangers get in, and before more addresses are contacted
 * from the port. `seen`: what the race came to, its winner open; NULL over UDP, where nobody dials.
 * Blocks. May not return when a signal has come.
 */
void router_report_try(const struct mapping_race_request *request, const struct router_trial *trial,
	const struct mapping_race_result *seen, struct nat_report *report);

#endif
