/*
 * classify.h - finds out what kind of NAT is in front of a port (RFC 5780 sections 4.3 and 4.4).
 *
 * From the very port in question, as that is what counts: a NAT may treat ports differently. The
 * order matters. Filtering is looked at while only one address was contacted from the port; then
 * more addresses are asked for what they see. Over TCP strangers are reflectors that dial back
 * (reachability.h), over UDP answers to CHANGE-REQUEST. A tap (tap.h), where there is the right to
 * one, tells what the NAT dropped from what this machine's firewall did.
 */
#ifndef NATPUNCH_CLASSIFY_H
#define NATPUNCH_CLASSIFY_H

#include "natpunch/error.h"
#include "natpunch/nat.h"
#include "natpunch/probe.h"

#define CLASSIFY_SIGHT_MAX 8

/*
 * Fills in the whole report. `request` is as for probe_run(); its reflectors are asked in order,
 * one at a time, until one answers. Blocks, for some 10 s at most. Returns 0, or -1 with *error
 * filled when there is no mapping.
 */
int classify_run(
	const struct probe_request *request, struct nat_report *report, struct error *error);

/* For the two protocols: what both find out in the same way, once the mapping is known. */
void classify_surroundings(const struct probe_request *request, const struct addr *reflector,
	struct nat_report *report);

/* And: the mapping behaviour, with its evidence, from what was seen. */
void classify_judge_sights(
	const struct nat_sight *sights, size_t count, bool lie, struct nat_report *report);

/* Looks the request's reflector of that number up, up to a deadline. Returns 0, or -1 with *error
 * filled. */
int classify_look_up(const struct probe_request *request, size_t number, enum addr_family family,
	uint64_t deadline, struct addr *out, struct error *error);

#endif
