/*
 * classify.h - finds out what kind of NAT is in front of a port (RFC 5780 sections 4.3 and 4.4).
 *
 * From the very port in question, as that is what counts: a NAT may treat ports differently. The
 * order matters. Filtering is looked at while only one address was contacted from the port; then
 * more addresses are asked for what they see. Over TCP strangers are reflectors that dial back
 * (reachability.h), over UDP answers to CHANGE-REQUEST. A tap (tap.h), where there is the right to
 * one, tells what the NAT dropped from what this machine's firewall did.
 */
#ifndef NATPUNCH_CHECK_CLASSIFY_H
#define NATPUNCH_CHECK_CLASSIFY_H

#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/check/router_report.h"
#include "natpunch/client/mapping_race.h"

/*
 * Fills in the whole report. `request` is as for mapping_race_run(); its reflectors are asked in
 * order, one at a time, until one answers. Blocks, for some 10 s at most. Returns 0, or -1 with
 * *error filled when there is no mapping; of the report `spoke` and `cannot` are valid then.
 * `trial`: or NULL, for a router that is only asked what it speaks; it takes some 20 s more.
 */
int classify_run(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error);

#endif
