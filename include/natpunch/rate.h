/*
 * rate.h - how often something may be done: for one source, and for all of them together.
 *
 * The measure is a token bucket, kept as one time (the generic cell rate algorithm, ITU-T I.371):
 * `spent` is when the bucket will be full again. One is taken by putting that off by an interval,
 * which may be done while it is less than a whole bucket away.
 *
 * A source is an IPv4 address, or the first 64 bits of an IPv6 address: whoever has one address of
 * such a network has all of them. Sources stand in a fixed table; an entry whose bucket is full is
 * free. The table is never full: so many entries as it has cannot be begun, by the rule for all
 * together, before the first of them is free again. rate_open() holds the numbers to that.
 */
#ifndef NATPUNCH_RATE_H
#define NATPUNCH_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/addr.h"

#define RATE_SOURCE_MAX 1024

struct rate_rule {
	uint32_t interval_ms; /* one each, in the long run; 1 or more */
	uint32_t burst;       /* so many at once after a rest; 1 or more */
};

struct rate_source {
	uint8_t network[16];
	uint64_t spent;
};

struct rate {
	struct rate_rule each;
	struct rate_rule all;
	uint64_t spent;
	struct rate_source sources[RATE_SOURCE_MAX];
};

/* Returns 0, or -1 when the table could become full under these rules. */
int rate_open(struct rate *rate, struct rate_rule each, struct rate_rule all)
	__attribute__((warn_unused_result));

/* May `source` have one, at `now` in milliseconds? Takes it if so; refused ones count nothing. */
bool rate_take(struct rate *rate, const struct addr *source, uint64_t now);

/* The same source, as far as this is concerned? */
bool rate_same_source(const struct addr *a, const struct addr *b);

#endif
