/*
 * rate_limit.h - how often something may be done: for one source, and for all of them together.
 *
 * The measure is a token bucket, kept as one time (the generic cell rate algorithm, ITU-T I.371):
 * `spent` is when the bucket will be full again. One is taken by putting that off by an interval,
 * which may be done while it is less than a whole bucket away.
 *
 * A source is an IPv4 address, or the first 64 bits of an IPv6 address: whoever has one address of
 * such a network has all of them. Sources stand in a fixed table; an entry whose bucket is full is
 * free. The table is never full: so many entries as it has cannot be begun, by the rule for all
 * together, before the first of them is free again. rate_limit_open() holds the numbers to that.
 *
 * Where there is no rule for all together, a table of sources can become full: struct
 * rate_limit_table, which has room for more, looks at one set of it at a time, and finds that by a
 * keyed hash. What it is asked costs the same however many sources there are. Its rule for a full
 * set: a source that is beyond its measure stays; of the others, the one that is furthest from that
 * is forgotten. That gives it back what little it has used. Where all of the set are beyond their
 * measure, a newcomer is not measured: better one too many than an honest one refused.
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
 * May `source` have one, at `now` in milliseconds? The last `reserve` that all together may have at
 * once are for sources that have used up to a quarter of their own: else a few that ask without end
 * would leave none for anybody.
 */
bool rate_limit_has(struct rate_limit *rate, const struct addr *source, uint64_t now);

/* Takes it if so; refused ones count nothing. */
bool rate_limit_take(struct rate_limit *rate, const struct addr *source, uint64_t now);

/* The same source, as far as this is concerned? */
bool rate_limit_same_source(const struct addr *a, const struct addr *b);

/*
 * The site of a source, as an address that stands for it: what a provider hands to one customer at
 * the most (RFC 6177), and so what one customer can have sources in. Of IPv6 the first 48 bits; an
 * IPv4 address is its own.
 */
struct addr rate_limit_site(const struct addr *source);

/* What a source is known by. */
void rate_limit_network(const struct addr *source, uint8_t out[RATE_LIMIT_NETWORK_SIZE]);

/* So many in a second in the long run, `burst` at once after a rest; 1 to 1000000 each. */
struct rate_limit_quota {
	uint32_t per_second;
	uint32_t burst;
};

/*
 * The same measure as one time alone, in microseconds, where what it is for has a place of its own;
 * 0 in the beginning. rate_limit_wait() says for how many ms no more may be had at `now`,
 * rate_limit_charge() takes: also more than is left, which is waited for then.
 */
uint64_t rate_limit_wait(const struct rate_limit_quota *quota, uint64_t spent_us, uint64_t now);
void rate_limit_charge(
	const struct rate_limit_quota *quota, uint64_t *spent_us, uint32_t number, uint64_t now);

struct rate_limit_table {
	struct rate_limit_quota each;
	uint8_t key[SIPHASH_KEY_SIZE];
	struct rate_limit_source *sources; /* `spent` in microseconds */
	uint32_t mask;
	uint64_t dropped; /* sources that were forgotten, or not measured, for want of room */
};

/* `sources`: memory for 2^bits sets, all zero, the caller's. `key` is random. */
void rate_limit_table_init(struct rate_limit_table *table, struct rate_limit_source *sources,
	unsigned bits, struct rate_limit_quota each, const uint8_t key[SIPHASH_KEY_SIZE]);

/* The measure of a source, until the next call; NULL: there is no room, and it has no limit. */
uint64_t *rate_limit_table_find(
	struct rate_limit_table *table, const struct addr *source, uint64_t now);

/* How many sources have used something and not yet got all of it back. Looks at all. By any
 * thread, while one changes the table. */
uint32_t rate_limit_table_count(const struct rate_limit_table *table, uint64_t now);

#endif
