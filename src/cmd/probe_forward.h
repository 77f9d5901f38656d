/*
 * probe_forward.h - -F of a probe: asks the router, and reports what it did.
 */
#ifndef NATPUNCH_CMD_PROBE_FORWARD_H
#define NATPUNCH_CMD_PROBE_FORWARD_H

#include <stdint.h>

#include "cmd/probe_options.h"
#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/both_families.h"
#include "natpunch/client/forward.h"

struct probe_forward {
	struct forward_options options; /* `wanted` with -F alone */
	uint64_t run_before_s;          /* -c without -k: so long ago, with a forward; or 0 */
};

/* Reads FILE of -c and the machine's secret, before the confinement. Returns 0 or -1. */
int probe_forward_prepare(
	struct probe_forward *forward, const struct probe_options *options, struct error *error);

/* A one-shot asks the routers, and warns where the lease may run out before the next run. */
void probe_forward_ask(
	const struct probe_forward *forward, struct both_families *both, uint64_t deadline);

/* --lease 0: has the routers forget it. Returns the status to exit with; a failure is printed. */
int probe_forward_take_back(
	const struct probe_forward *forward, struct both_families *both, uint64_t deadline);

/* Without -V: hints how the router would forward. With -V, the error has the hint. */
void probe_forward_hint(const struct both_families *both);

/* Without -V: warns where a router forwards another port than the mapping has. */
void probe_forward_log_unproved(const struct mapping *mapping);

#endif
