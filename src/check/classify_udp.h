/*
 * classify_udp.h - classify_run() over UDP.
 */
#ifndef NATPUNCH_CHECK_CLASSIFY_UDP_H
#define NATPUNCH_CHECK_CLASSIFY_UDP_H

#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/check/router_report.h"
#include "natpunch/client/mapping_race.h"

/* As classify_run(), except that it does not judge the report. */
int classify_udp(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error);

#endif
