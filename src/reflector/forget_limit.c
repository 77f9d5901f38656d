/*
 * A forgotten connection stays established for days in every connection tracking table on the way:
 * also in that of a firewall in front of the reflector, say, which conntrack.h does not reach.
 *
 * A site is an IPv4 address, or the first 48 bits of an IPv6 address (rate_limit_site()): it has
 * more than a source, as several customers may share one.
 */
#include "reflector/forget_limit.h"

#include <stdlib.h>

#include "natpunch/os/random.h"

#define TABLE_SIZE ((size_t)RATE_LIMIT_SET << REFLECTOR_SOURCES_BITS)

int forget_limit_open(struct forget_limit *limit, const struct reflector_limits *limits)
{
	uint8_t key[SIPHASH_KEY_SIZE];

	if (limits->forget.per_second == 0)
		return 0;
	limit->memory = calloc(2 * TABLE_SIZE, sizeof(*limit->memory));
	if (limit->memory == NULL)
		return -1;
	random_fill(key, sizeof(key));
	rate_limit_table_init(
		&limit->sources, limit->memory, REFLECTOR_SOURCES_BITS, limits->forget, key);
	rate_limit_table_init(&limit->sites, limit->memory + TABLE_SIZE, REFLECTOR_SOURCES_BITS,
		limits->forget_site, key);
	limit->loopback = limits->loopback;
	return 0;
}

void forget_limit_close(struct forget_limit *limit)
{
	free(limit->memory);
	limit->memory = NULL;
}

static bool is_limited(const struct forget_limit *limit, const struct addr *source)
{
	return limit->memory != NULL &&
	       (limit->loopback || addr_classify(source) != ADDR_CLASS_LOOPBACK);
}

static bool admits(struct rate_limit_table *table, const struct addr *source, uint64_t now)
{
	const uint64_t *spent = rate_limit_table_find(table, source, now);

	return spent == NULL || rate_limit_wait(&table->each, *spent, now) == 0;
}

bool forget_limit_admits(struct forget_limit *limit, const struct addr *source, uint64_t now)
{
	struct addr site = rate_limit_site(source);

	return !is_limited(limit, source) ||
	       (admits(&limit->sources, source, now) && admits(&limit->sites, &site, now));
}

static void charge(struct rate_limit_table *table, const struct addr *source, uint64_t now)
{
	uint64_t *spent = rate_limit_table_find(table, source, now);

	if (spent != NULL)
		rate_limit_charge(&table->each, spent, 1, now);
}

void forget_limit_charge(struct forget_limit *limit, const struct addr *source, uint64_t now)
{
	struct addr site = rate_limit_site(source);

	if (!is_limited(limit, source))
		return;
	charge(&limit->sources, source, now);
	charge(&limit->sites, &site, now);
}
