/*
 * evidence.h - what classify_tcp.c and classify_udp.c find out in the same way.
 */
#ifndef NATPUNCH_CHECK_EVIDENCE_H
#define NATPUNCH_CHECK_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/client/mapping_race.h"

#define EVIDENCE_SAMPLE_MAX 8

/*
 * Finds out who listens, whether there is a NAT, which hops are on the way and what the router
 * speaks, and compares the ports. Call it once the mapping is known.
 */
void evidence_find_surroundings(const struct mapping_race_request *request,
	const struct addr *reflector, struct nat_report *report);

/*
 * Judges the mapping from the samples, with its evidence. `lie`: the reflector's OTHER-ADDRESS has
 * the IP address that was asked.
 */
void evidence_judge_mapping(
	const struct nat_sample *samples, size_t count, bool lie, struct nat_report *report);

/*
 * Looks up the request's reflector of that number, until the deadline at most. Returns 0, or -1
 * with *error filled.
 */
int evidence_look_up(const struct mapping_race_request *request, size_t number,
	enum addr_family family, uint64_t deadline, struct addr *out, struct error *error);

#endif
