#include "natpunch/rate.h"

#include <string.h>

#define IPV6_NETWORK_SIZE 8 /* bytes */

int rate_open(struct rate *rate, struct rate_rule each, struct rate_rule all)
{
	uint64_t longest = (uint64_t)each.interval_ms * each.burst;

	memset(rate, 0, sizeof(*rate));
	if (each.interval_ms == 0 || each.burst == 0 || all.interval_ms == 0 || all.burst == 0)
		return -1;
	rate->each = each;
	rate->all = all;
	return all.burst + longest / all.interval_ms + 1 < RATE_SOURCE_MAX ? 0 : -1;
}

static void network_of(const struct addr *source, uint8_t out[16])
{
	memset(out, 0, 16);
	if (source->family == ADDR_IPV6) {
		memcpy(out, source->ip, IPV6_NETWORK_SIZE);
		return;
	}
	/* As in ::ffff:0:0/96, which is no source of IPv6. */
	out[10] = 0xff;
	out[11] = 0xff;
	memcpy(out + 12, source->ip, 4);
}

bool rate_same_source(const struct addr *a, const struct addr *b)
{
	uint8_t one[16], other[16];

	network_of(a, one);
	network_of(b, other);
	return memcmp(one, other, sizeof(one)) == 0;
}

static bool has_one(const struct rate_rule *rule, uint64_t spent, uint64_t now)
{
	return spent <= now || spent - now <= (uint64_t)rule->interval_ms * (rule->burst - 1);
}

static void take_one(const struct rate_rule *rule, uint64_t *spent, uint64_t now)
{
	*spent = (*spent > now ? *spent : now) + rule->interval_ms;
}

/* The entry of a network, or a free one. */
static struct rate_source *find_source(struct rate *rate, const uint8_t network[16], uint64_t now)
{
	struct rate_source *free = NULL;

	for (struct rate_source *entry = rate->sources; entry != rate->sources + RATE_SOURCE_MAX;
		entry++) {
		if (entry->spent <= now)
			free = free == NULL ? entry : free;
		else if (memcmp(entry->network, network, sizeof(entry->network)) == 0)
			return entry;
	}
	return free;
}

bool rate_take(struct rate *rate, const struct addr *source, uint64_t now)
{
	uint8_t network[16];
	struct rate_source *entry;

	if (!has_one(&rate->all, rate->spent, now))
		return false;
	network_of(source, network);
	entry = find_source(rate, network, now);
	if (entry == NULL || !has_one(&rate->each, entry->spent, now))
		return false;
	memcpy(entry->network, network, sizeof(network));
	take_one(&rate->each, &entry->spent, now);
	take_one(&rate->all, &rate->spent, now);
	return true;
}
