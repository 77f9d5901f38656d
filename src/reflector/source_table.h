/*
 * source_table.h - the members of a table by their source (rate_limit_network()), and which source
 * has the most: that one gives up a member when room is needed.
 *
 * A member is the number of a slot in the caller's table, below `capacity`.
 *
 * A source may be a wider network than that of rate_limit.h: a table can take the first
 * SOURCE_TABLE_SITE_BITS of an IPv6 address as its source, the largest network that a provider
 * gives one customer (RFC 6177).
 */
#ifndef NATPUNCH_REFLECTOR_SOURCE_TABLE_H
#define NATPUNCH_REFLECTOR_SOURCE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/siphash.h"

#define SOURCE_TABLE_NONE        UINT32_MAX
#define SOURCE_TABLE_SOURCE_BITS 64
#define SOURCE_TABLE_SITE_BITS   48

struct source_table {
	uint8_t key[SIPHASH_KEY_SIZE];
	struct source_table_member *members;
	struct source_table_source *sources;
	struct source_table_rank *ranks; /* by the number of members, from 1 */
	uint32_t *index;                 /* first source of each chain + 1, or 0 */
	uint32_t mask;
	uint32_t fresh; /* sources from here on were never used */
	uint32_t free;  /* first of the free ones below that + 1, or 0 */
	uint32_t most;
	uint32_t bits; /* of an IPv6 address that are one source */
};

/* How many bytes a source table takes, of the alignment of malloc(3). capacity is 1 to 2^24. */
size_t source_table_memory(uint32_t capacity);

/*
 * `memory` is all zero, and the caller's; what is not used of it is not touched. `bits`: 64, or 48
 * for sites. `key` is random.
 */
void source_table_init(struct source_table *table, void *memory, uint32_t capacity, uint32_t bits,
	const uint8_t key[SIPHASH_KEY_SIZE]);

/* The member must not be in it; it is its source's youngest. */
void source_table_join(struct source_table *table, uint32_t member, const struct addr *source);

/* The member must be in it. */
void source_table_leave(struct source_table *table, uint32_t member);

/* How many the source has. */
uint32_t source_table_count(const struct source_table *table, const struct addr *source);

/*
 * The oldest and the youngest member of the source that has the most; if several have as many, of
 * the one that has had them for longest. SOURCE_TABLE_NONE when there is no member.
 */
uint32_t source_table_oldest(const struct source_table *table);
uint32_t source_table_youngest(const struct source_table *table);

/* Do both members, which must be in it, belong to one source? */
bool source_table_are_together(const struct source_table *table, uint32_t one, uint32_t other);

/* The oldest member of that source, or SOURCE_TABLE_NONE when it has none. */
uint32_t source_table_oldest_of(const struct source_table *table, const struct addr *source);

#endif
