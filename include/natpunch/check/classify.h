/*
 * classify.h - finds out what kind of NAT is in front of a port (RFC 5780 sections 4.3 and 4.4).
 *
 * All questions leave from the port in question, as a NAT may treat ports differently. Their order
 * matters: the filtering is found out first, while only one address was contacted from the port;
 * then further addresses are asked which mapping they see. Over TCP a stranger is a reflector that
 * dials (reachability.h), over UDP the address that a CHANGE-REQUEST is answered from. A tap
 * (tap.h) shows whether the NAT or this machine's firewall dropped a packet; it takes CAP_NET_RAW.
 */
#ifndef NATPUNCH_CHECK_CLASSIFY_H
#define NATPUNCH_CHECK_CLASSIFY_H

#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/check/router_report.h"
#include "natpunch/client/mapping_race.h"

/*
 * Fills in the report, except for its lifetime. `request` is as for mapping_race_run(); its
 * reflectors are asked in order, one at a time, until one answers. `trial`: has the router forward
 * the port for a moment; with NULL the router is only asked what it speaks. Blocks for some 10 s at
 * most, with a trial for some 20 s more. Returns 0, or -1 with *error filled when there is no
 * mapping; then only `spoke` and `cannot` of the report are valid.
 */
int classify_run(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error);

#endif
