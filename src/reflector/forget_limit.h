/*
 * forget_limit.h - how often a source, and a site, may have connections forgotten (FORGET).
 *
 * A source that asks for more is granted CLOSE instead; nothing is refused.
 */
#ifndef NATPUNCH_REFLECTOR_FORGET_LIMIT_H
#define NATPUNCH_REFLECTOR_FORGET_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/reflector/config.h"

struct forget_limit {
	struct rate_limit_table sources;
	struct rate_limit_table sites;
	struct rate_limit_source *memory; /* NULL: no limit */
	bool loopback;                    /* also for sources on this host */
};

/* Returns 0, or -1 when there is no memory. `limit` is all zero. */
int forget_limit_open(struct forget_limit *limit, const struct reflector_limits *limits);
void forget_limit_close(struct forget_limit *limit);

/* May it have one more at `now`, in ms? */
bool forget_limit_admits(struct forget_limit *limit, const struct addr *source, uint64_t now);

/* It has had one. */
void forget_limit_charge(struct forget_limit *limit, const struct addr *source, uint64_t now);

#endif
