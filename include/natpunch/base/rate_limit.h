/*
 * rate_limit.h - how often something may be done: for one source, and for all of them together.
 *
 * The measure is a token bucket, kept as one time (the generic cell rate algorithm, ITU-T I.371):
 * `spent` is when the bucket will be full again. Taking one postpones it by an interval, and is
 * granted while it is less than a whole bucket away.
 *
 * A source is an IPv4 address, or the first 64 bits of an IPv6 address: a host with one address of
 * such a network can have them all. The table of sources is fixed; an entry whose bucket is full is
 * free. The table never becomes full: the rule for all together lets fewer sources begin than it
 * has entries, until the first of them is free again. rate_limit_open() checks the numbers.
 *
 * Without a rule for all together a table can become full. struct rate_limit_table has room for
 * more sources: a keyed hash finds the set of a source, and only that set is looked at, so that a
 * look-up costs the same however many sources there are. When a set is full, a source beyond its
 * measure stays; of the others, the one that has used least is forgotten, and so gets that little
 * back. When all of the set are beyond their measure, a newcomer is not measured: one source too
 * many is better than an honest one refused.
 */
#ifndef NATPUNCH_BASE_RATE_LIMIT_H
#define NATPUNCH_BASE_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/siphash.h"

#define RATE_LIMIT_SOURCE_MAX   1024
#define RATE_LIMIT_NETWORK_SIZE 16
#define RATE_LIMIT_SET          8 /* sources that a newcomer can take the place of */

struct rate_limit_rule {
	uint32_t interval_ms; /* one each, in the long run; 1 or more */
	uint32_t burst;       /* so many at once after a rest; 1 or more */
};

struct rate_limit_source {
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];
	uint64_t spent;
};

struct rate_limit {
	struct rate_limit_rule each;
	struct rate_limit_rule all;
	uint32_t reserve; /* of `all`: for sources that have used little; 0 unless it is set */
	uint64_t spent;
	struct rate_limit_source sources[RATE_LIMIT_SOURCE_MAX];
};

/* Returns 0, or -1 when the table could become full under these rules. */
int rate_limit_open(struct rate_limit *rate, struct rate_limit_rule each,
	struct rate_limit_rule all) __attribute__((warn_unused_result));

/*
 * May `source` have one, at `now` in milliseconds? The last `reserve` of the burst for all together
 * are for sources that have used at most a quarter of their own: else a few that ask without end
 * would leave none for the others.
 */
bool rate_limit_has(struct rate_limit *rate, const struct addr *source, uint64_t now);

/* Takes one if rate_limit_has() grants it. A refusal costs nothing. */
bool rate_limit_take(struct rate_limit *rate, const struct addr *source, uint64_t now);

/* The same source, as far as this is concerned? */
bool rate_limit_same_source(const struct addr *a, const struct addr *b);

/*
 * The site of a source, as an address: the largest network that a provider gives one customer
 * (RFC 6177), which can have sources anywhere in it. In IPv6 the first 48 bits; an IPv4 address is
 * its own site.
 */
struct addr rate_limit_site(const struct addr *source);

/* What a source is known by. */
void rate_limit_network(const struct addr *source, uint8_t out[RATE_LIMIT_NETWORK_SIZE]);

/* A rate per second in the long run, and `burst` at once after a rest; 1 to 1000000 each. */
struct rate_limit_quota {
	uint32_t per_second;
	uint32_t burst;
};

/*
 * The same measure as a single time in microseconds, 0 at first, for a user that has room for it.
 * rate_limit_wait() returns for how many ms after `now` no more may be had; rate_limit_charge()
 * takes, even more than is left, so that the next wait is longer.
 */
uint64_t rate_limit_wait(const struct rate_limit_quota *quota, uint64_t spent_us, uint64_t now);
void rate_limit_charge(
	const struct rate_limit_quota *quota, uint64_t *spent_us, uint32_t number, uint64_t now);

struct rate_limit_table {
	struct rate_limit_quota each;
	uint8_t key[SIPHASH_KEY_SIZE];
	struct rate_limit_source *sources; /* `spent` in microseconds */
	uint32_t mask;
	uint64_t dropped; /* sources forgotten or not measured, as a set was full */
};

/* `sources`: memory for 2^bits sets, all zero, the caller's. `key` is random. */
void rate_limit_table_init(struct rate_limit_table *table, struct rate_limit_source *sources,
	unsigned bits, struct rate_limit_quota each, const uint8_t key[SIPHASH_KEY_SIZE]);

/* The measure of a source, until the next call; NULL: there is no room, and it has no limit. */
uint64_t *rate_limit_table_find(
	struct rate_limit_table *table, const struct addr *source, uint64_t now);

/* Counts the sources whose bucket is not full, over the whole table. Any thread may call it while
 * another changes the table. */
uint32_t rate_limit_table_count(const struct rate_limit_table *table, uint64_t now);

#endif
