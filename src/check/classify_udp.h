/*
 * classify_udp.h - the part of classify.h that goes over UDP.
 */
#ifndef NATPUNCH_CHECK_CLASSIFY_UDP_H
#define NATPUNCH_CHECK_CLASSIFY_UDP_H

#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/check/router_report.h"
#include "natpunch/client/mapping_race.h"

/* As classify_run(), all but nat_report_judge(). */
int classify_udp(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error);

#endif
