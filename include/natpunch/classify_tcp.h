/*
 * classify_tcp.h - the part of classify.h that goes over TCP.
 */
#ifndef NATPUNCH_CLASSIFY_TCP_H
#define NATPUNCH_CLASSIFY_TCP_H

#include "natpunch/error.h"
#include "natpunch/nat.h"
#include "natpunch/probe.h"

/* As classify_run(), all but nat_judge(). */
int classify_tcp(
	const struct probe_request *request, struct nat_report *report, struct error *error);

#endif
