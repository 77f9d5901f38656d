#include "natpunch/base/rate_limit.h"

#include <string.h>

#include "natpunch/base/relaxed_counter.h"

#define IPV6_NETWORK_SIZE 8 /* bytes */
#define IPV6_SITE_SIZE    6
#define US_PER_MS         1000U
#define US_PER_S          1000000U

int rate_limit_open(
	struct rate_limit *rate, struct rate_limit_rule each, struct rate_limit_rule all)
{
	uint64_t longest = (uint64_t)each.interval_ms * each.burst;

	memset(rate, 0, sizeof(*rate));
	if (each.interval_ms == 0 || each.burst == 0 || all.interval_ms == 0 || all.burst == 0)
		return -1;
	rate->each = each;
	rate->all = all;
	return all.burst + longest / all.interval_ms + 1 < RATE_LIMIT_SOURCE_MAX ? 0 : -1;
}

void rate_limit_network(const struct addr *source, uint8_t out[RATE_LIMIT_NETWORK_SIZE])
{
	memset(out, 0, RATE_LIMIT_NETWORK_SIZE);
	if (source->family == ADDR_IPV6) {
		memcpy(out, source->ip, IPV6_NETWORK_SIZE);
		return;
	}
	/* As in ::ffff:0:0/96, which is no source of IPv6. */
	out[10] = 0xff;
	out[11] = 0xff;
	memcpy(out + 12, source->ip, 4);
}

struct addr rate_limit_site(const struct addr *source)
{
	struct addr site = *source;

	if (site.family == ADDR_IPV6)
		memset(site.ip + IPV6_SITE_SIZE, 0, sizeof(site.ip) - IPV6_SITE_SIZE);
	return site;
}

bool rate_limit_same_source(const struct addr *a, const struct addr *b)
{
	uint8_t one[RATE_LIMIT_NETWORK_SIZE], other[RATE_LIMIT_NETWORK_SIZE];

	rate_limit_network(a, one);
	rate_limit_network(b, other);
	return memcmp(one, other, sizeof(one)) == 0;
}

/* One more, with so many left then? */
static bool has_one(const struct rate_limit_rule *rule, uint64_t spent, uint32_t left, uint64_t now)
{
	return rule->burst > left &&
	       (spent <= now ||
		       spent - now <= (uint64_t)rule->interval_ms * (rule->burst - 1 - left));
}

static void take_one(const struct rate_limit_rule *rule, uint64_t *spent, uint64_t now)
{
	*spent = (*spent > now ? *spent : now) + rule->interval_ms;
}

/* The entry of a network, or a free one. */
static struct rate_limit_source *find_source(
	struct rate_limit *rate, const uint8_t network[RATE_LIMIT_NETWORK_SIZE], uint64_t now)
{
	struct rate_limit_source *free = NULL;

	for (struct rate_limit_source *entry = rate->sources;
		entry != rate->sources + RATE_LIMIT_SOURCE_MAX; entry++) {
		if (entry->spent <= now)
			free = free == NULL ? entry : free;
		else if (memcmp(entry->network, network, sizeof(entry->network)) == 0)
			return entry;
	}
	return free;
}

/* The entry of a source that may have one, or NULL. */
static struct rate_limit_source *find_admitted(
	struct rate_limit *rate, const uint8_t network[RATE_LIMIT_NETWORK_SIZE], uint64_t now)
{
	struct rate_limit_source *entry;
	uint32_t left;

	if (!has_one(&rate->all, rate->spent, 0, now))
		return NULL;
	entry = find_source(rate, network, now);
	if (entry == NULL || !has_one(&rate->each, entry->spent, 0, now))
		return NULL;
	left = has_one(&rate->each, entry->spent, rate->each.burst - 1 - rate->each.burst / 4, now)
		       ? 0
		       : rate->reserve;
	return has_one(&rate->all, rate->spent, left, now) ? entry : NULL;
}

bool rate_limit_has(struct rate_limit *rate, const struct addr *source, uint64_t now)
{
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];

	rate_limit_network(source, network);
	return find_admitted(rate, network, now) != NULL;
}

bool rate_limit_take(struct rate_limit *rate, const struct addr *source, uint64_t now)
{
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];
	struct rate_limit_source *entry;

	rate_limit_network(source, network);
	entry = find_admitted(rate, network, now);
	if (entry == NULL)
		return false;
	memcpy(entry->network, network, sizeof(network));
	take_one(&rate->each, &entry->spent, now);
	take_one(&rate->all, &rate->spent, now);
	return true;
}

uint64_t rate_limit_wait(const struct rate_limit_quota *quota, uint64_t spent_us, uint64_t now)
{
	uint64_t interval = US_PER_S / quota->per_second;
	uint64_t least = now * US_PER_MS + interval * (quota->burst - 1);

	return spent_us <= least ? 0 : (spent_us - least + US_PER_MS - 1) / US_PER_MS;
}

void rate_limit_charge(
	const struct rate_limit_quota *quota, uint64_t *spent_us, uint32_t number, uint64_t now)
{
	uint64_t interval = US_PER_S / quota->per_second;
	uint64_t from = *spent_us > now * US_PER_MS ? *spent_us : now * US_PER_MS;

	relaxed_counter_store(spent_us, from + interval * number);
}

void rate_limit_table_init(struct rate_limit_table *table, struct rate_limit_source *sources,
	unsigned bits, struct rate_limit_quota each, const uint8_t key[SIPHASH_KEY_SIZE])
{
	*table = (struct rate_limit_table){
		.each = each, .sources = sources, .mask = (1U << bits) - 1};
	memcpy(table->key, key, sizeof(table->key));
}

uint64_t *rate_limit_table_find(
	struct rate_limit_table *table, const struct addr *source, uint64_t now)
{
	uint8_t network[RATE_LIMIT_NETWORK_SIZE];
	struct rate_limit_source *set, *least;

	rate_limit_network(source, network);
	set = table->sources +
	      (size_t)(siphash(table->key, network, sizeof(network)) & table->mask) *
		      RATE_LIMIT_SET;
	least = set;
	for (struct rate_limit_source *entry = set; entry != set + RATE_LIMIT_SET; entry++) {
		if (memcmp(entry->network, network, sizeof(network)) == 0)
			return &entry->spent;
		if (entry->spent < least->spent)
			least = entry;
	}
	if (least->spent > now * US_PER_MS) {
		table->dropped++;
		if (rate_limit_wait(&table->each, least->spent, now) > 0)
			return NULL;
	}
	memcpy(least->network, network, sizeof(network));
	relaxed_counter_store(&least->spent, 0);
	return &least->spent;
}

uint32_t rate_limit_table_count(const struct rate_limit_table *table, uint64_t now)
{
	uint32_t count = 0;

	for (size_t i = 0; i < ((size_t)table->mask + 1) * RATE_LIMIT_SET; i++)
		count += relaxed_counter_load(&table->sources[i].spent) > now * US_PER_MS;
	return count;
}
