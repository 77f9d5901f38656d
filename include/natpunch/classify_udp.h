/*
 * classify_udp.h - the part of classify.h that goes over UDP.
 */
#ifndef NATPUNCH_CLASSIFY_UDP_H
#define NATPUNCH_CLASSIFY_UDP_H

#include "natpunch/error.h"
#include "natpunch/nat.h"
#include "natpunch/probe.h"

/* As classify_run(), all but nat_judge(). */
int classify_udp(
	const struct probe_request *request, struct nat_report *report, struct error *error);

#endif
