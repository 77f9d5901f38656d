/*
 *   ranks     1 ─ source ─ source      those with one member, longest in this rank first
 *             2 ─ source
 *             5 ─ source               `most`: 5
 *
 * Joining and leaving move a source by one rank, so each costs the same however many sources there
 * are. A source is here while it has a member, so there are never more sources than members, and
 * this table cannot become full before the caller's. A keyed hash finds a source: nobody can choose
 * addresses that collide.
 *
 * Links are numbers + 1, so that 0, as in fresh memory, means none.
 */
#include "reflector/source_table.h"

#include <string.h>

#include "natpunch/base/rate_limit.h"

struct source_table_member {
	uint32_t source; /* number */
	uint32_t older, younger;
};

struct source_table_source {
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];
	uint32_t count;
	uint32_t oldest, youngest; /* members */
	uint32_t longer, shorter;  /* neighbours in the rank; `shorter` also links free ones */
	uint32_t next;             /* in the chain of the hash, */
	uint32_t chain;            /* which is this one */
};

struct source_table_rank {
	uint32_t longest, shortest;
};

/* A power of two, as many chains as members or more. */
static uint32_t chains(uint32_t capacity)
{
	uint32_t count = 1;

	while (count < capacity)
		count *= 2;
	return count;
}

size_t source_table_memory(uint32_t capacity)
{
	return capacity *
		       (sizeof(struct source_table_member) + sizeof(struct source_table_source)) +
	       ((size_t)capacity + 1) * sizeof(struct source_table_rank) +
	       chains(capacity) * sizeof(uint32_t);
}

void source_table_init(struct source_table *table, void *memory, uint32_t capacity, uint32_t bits,
	const uint8_t key[SIPHASH_KEY_SIZE])
{
	memset(table, 0, sizeof(*table));
	table->bits = bits;
	memcpy(table->key, key, sizeof(table->key));
	table->sources = memory;
	table->members = (void *)(table->sources + capacity);
	table->ranks = (void *)(table->members + capacity);
	table->index = (void *)(table->ranks + capacity + 1);
	table->mask = chains(capacity) - 1;
}

static void find_network(const struct source_table *table, const struct addr *source,
	uint8_t out[RATE_LIMIT_NETWORK_SIZE])
{
	rate_limit_network(source, out);
	if (source->family == ADDR_IPV6)
		memset(out + table->bits / 8, 0, RATE_LIMIT_NETWORK_SIZE - table->bits / 8);
}

static uint32_t chain_of(
	const struct source_table *table, const uint8_t network[RATE_LIMIT_NETWORK_SIZE])
{
	return (uint32_t)siphash(table->key, network, RATE_LIMIT_NETWORK_SIZE) & table->mask;
}

/* Number + 1 of the source in its chain, or 0. */
static uint32_t find(const struct source_table *table, uint32_t chain,
	const uint8_t network[RATE_LIMIT_NETWORK_SIZE])
{
	uint32_t link = table->index[chain];

	while (link != 0 &&
		memcmp(table->sources[link - 1].network, network, RATE_LIMIT_NETWORK_SIZE) != 0)
		link = table->sources[link - 1].next;
	return link;
}

static uint32_t find_source(const struct source_table *table, const struct addr *source)
{
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];

	find_network(table, source, network);
	return find(table, chain_of(table, network), network);
}

static uint32_t add_source(
	struct source_table *table, uint32_t chain, const uint8_t network[RATE_LIMIT_NETWORK_SIZE])
{
	uint32_t link = table->free;
	struct source_table_source *source;

	if (link != 0)
		table->free = table->sources[link - 1].shorter;
	else
		link = ++table->fresh;
	source = &table->sources[link - 1];
	memset(source, 0, sizeof(*source));
	memcpy(source->network, network, sizeof(source->network));
	source->chain = chain;
	source->next = table->index[chain];
	table->index[chain] = link;
	return link;
}

static void remove_source(struct source_table *table, uint32_t link)
{
	struct source_table_source *source = &table->sources[link - 1];
	uint32_t *at = &table->index[source->chain];

	while (*at != link)
		at = &table->sources[*at - 1].next;
	*at = source->next;
	source->shorter = table->free;
	table->free = link;
}

static void enter_rank(struct source_table *table, uint32_t link)
{
	struct source_table_source *source = &table->sources[link - 1];
	struct source_table_rank *rank = &table->ranks[source->count];

	source->longer = rank->shortest;
	source->shorter = 0;
	if (rank->shortest == 0)
		rank->longest = link;
	else
		table->sources[rank->shortest - 1].shorter = link;
	rank->shortest = link;
}

static void leave_rank(struct source_table *table, uint32_t link)
{
	const struct source_table_source *source = &table->sources[link - 1];
	struct source_table_rank *rank = &table->ranks[source->count];

	if (source->longer == 0)
		rank->longest = source->shorter;
	else
		table->sources[source->longer - 1].shorter = source->shorter;
	if (source->shorter == 0)
		rank->shortest = source->longer;
	else
		table->sources[source->shorter - 1].longer = source->longer;
}

void source_table_join(struct source_table *table, uint32_t member, const struct addr *source)
{
	struct source_table_member *joining = &table->members[member];
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];
	struct source_table_source *own;
	uint32_t chain, link;

	find_network(table, source, network);
	chain = chain_of(table, network);
	link = find(table, chain, network);
	if (link == 0)
		link = add_source(table, chain, network);
	else
		leave_rank(table, link);
	own = &table->sources[link - 1];
	*joining = (struct source_table_member){.source = link - 1, .older = own->youngest};
	if (own->youngest == 0)
		own->oldest = member + 1;
	else
		table->members[own->youngest - 1].younger = member + 1;
	own->youngest = member + 1;
	own->count++;
	enter_rank(table, link);
	if (own->count > table->most)
		table->most = own->count;
}

void source_table_leave(struct source_table *table, uint32_t member)
{
	const struct source_table_member *leaving = &table->members[member];
	uint32_t link = leaving->source + 1;
	struct source_table_source *own = &table->sources[leaving->source];

	if (leaving->older == 0)
		own->oldest = leaving->younger;
	else
		table->members[leaving->older - 1].younger = leaving->younger;
	if (leaving->younger == 0)
		own->youngest = leaving->older;
	else
		table->members[leaving->younger - 1].older = leaving->older;
	leave_rank(table, link);
	if (own->count == table->most && table->ranks[own->count].longest == 0)
		table->most--;
	own->count--;
	if (own->count > 0)
		enter_rank(table, link);
	else
		remove_source(table, link);
}

uint32_t source_table_count(const struct source_table *table, const struct addr *source)
{
	uint32_t link = find_source(table, source);

	return link != 0 ? table->sources[link - 1].count : 0;
}

uint32_t source_table_oldest(const struct source_table *table)
{
	if (table->most == 0)
		return SOURCE_TABLE_NONE;
	return table->sources[table->ranks[table->most].longest - 1].oldest - 1;
}

uint32_t source_table_youngest(const struct source_table *table)
{
	if (table->most == 0)
		return SOURCE_TABLE_NONE;
	return table->sources[table->ranks[table->most].longest - 1].youngest - 1;
}

bool source_table_are_together(const struct source_table *table, uint32_t one, uint32_t other)
{
	return table->members[one].source == table->members[other].source;
}

uint32_t source_table_oldest_of(const struct source_table *table, const struct addr *source)
{
	uint32_t link = find_source(table, source);

	return link != 0 ? table->sources[link - 1].oldest - 1 : SOURCE_TABLE_NONE;
}
