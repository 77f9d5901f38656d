/* How often something may be done: by one source, and by all. */
#include "natpunch/base/rate_limit.h"

#include "tap.h"

static struct rate_limit rate;

static struct addr v4(uint32_t number)
{
	return (struct addr){.family = ADDR_IPV4,
		.ip = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
			(uint8_t)number}};
}

static void open_both(struct rate_limit_rule each, struct rate_limit_rule all)
{
	if (rate_limit_open(&rate, each, all) != 0)
		fail("rules that should do");
}

static unsigned take_all(const struct addr *source, uint64_t now)
{
	unsigned count = 0;

	while (count < 10000 && rate_limit_take(&rate, source, now))
		count++;
	return count;
}

static void test_each(void)
{
	struct addr one = v4(1), other = v4(2);

	open_both((struct rate_limit_rule){1000, 5}, (struct rate_limit_rule){10, 400});
	is_uint(take_all(&one, 0), 5, "a burst, also at the begin of time");
	is_uint(take_all(&one, 999), 0, "then none");
	is_uint(take_all(&one, 1000), 1, "until an interval has passed");
	is_uint(take_all(&one, 3500), 2, "two after two and a half");
	is_uint(take_all(&one, 3999), 0, "the half is not lost");
	is_uint(take_all(&one, 4000), 1, "nor given twice");
	is_uint(take_all(&other, 4000), 5, "another source has its own");
	is_uint(take_all(&one, 1000000), 5, "after a long rest no more than the burst");
}

/* Who has used much leaves the last ones to who has used little. */
static void test_reserve(void)
{
	struct addr one = v4(1), other = v4(2);
	unsigned count = 0;

	open_both((struct rate_limit_rule){1000, 8}, (struct rate_limit_rule){1000, 10});
	rate.reserve = 5;
	is_uint(take_all(&one, 0), 5, "who asks for much gets what is not kept");
	ok(!rate_limit_has(&rate, &one, 0), "and no more");
	while (rate_limit_has(&rate, &other, 0) && rate_limit_take(&rate, &other, 0))
		count++;
	is_uint(count, 3, "another, until it has used more than a quarter of its own");
	other = v4(3);
	ok(rate_limit_has(&rate, &other, 0), "and so does the next");
}

static void test_refused_costs_nothing(void)
{
	struct addr one = v4(1);
	unsigned count = 0;

	open_both((struct rate_limit_rule){1000, 2}, (struct rate_limit_rule){10, 400});
	for (uint64_t now = 0; now < 10000; now++)
		count += rate_limit_take(&rate, &one, now);
	is_uint(count, 2 + 9, "asked every millisecond for ten seconds");
}

static void test_all(void)
{
	unsigned count = 0;

	open_both((struct rate_limit_rule){8000, 8}, (struct rate_limit_rule){100, 32});
	for (uint32_t i = 0; i < 100; i++) {
		struct addr source = v4(i);
		count += rate_limit_take(&rate, &source, 0);
	}
	is_uint(count, 32, "a hundred sources at once: the burst of all");
	for (uint32_t i = 0; i < 100000; i++) {
		struct addr source = v4(1000 + i);
		count += rate_limit_take(&rate, &source, i);
	}
	is_uint(count, 32 + 999, "a new source each millisecond: one in a tenth of a second");
}

/* The table never refuses what the rules allow: the slowest of sources, as many as can be. */
static void test_never_full(void)
{
	struct rate_limit_rule each = {1, 10010}, all = {10, 22};
	unsigned refused = 0;

	is_int(rate_limit_open(&rate, each, all), -1, "a table that could become full is refused");
	is_int(rate_limit_open(
		       &rate, (struct rate_limit_rule){10000, 1}, (struct rate_limit_rule){10, 23}),
		-1, "by one");
	is_int(rate_limit_open(&rate, (struct rate_limit_rule){0, 1}, all), -1,
		"and so is no interval");
	is_int(rate_limit_open(&rate, each, (struct rate_limit_rule){1, 0}), -1, "or no burst");
	open_both((struct rate_limit_rule){10000, 1}, all);
	for (uint32_t i = 0; i < 5000; i++) {
		struct addr source = v4(i);
		refused += !rate_limit_take(&rate, &source, (uint64_t)i * 10);
	}
	is_uint(refused, 0, "at the limit nobody is refused for want of room");
}

static void test_sources(void)
{
	struct addr a, b;

	ok(addr_parse_ip(&a, "2001:db8:1:2::1") == 0 &&
			addr_parse_ip(&b, "2001:db8:1:2:ffff::9") == 0 &&
			rate_limit_same_source(&a, &b),
		"two of one IPv6 network are the same source");
	ok(addr_parse_ip(&b, "2001:db8:1:3::1") == 0 && !rate_limit_same_source(&a, &b),
		"two networks are not");
	ok(addr_parse_ip(&a, "192.0.2.1") == 0 && addr_parse_ip(&b, "192.0.2.2") == 0 &&
			!rate_limit_same_source(&a, &b),
		"two IPv4 addresses are not");
	b = a;
	b.port = 22;
	ok(rate_limit_same_source(&a, &b), "the port does not matter");
	ok(addr_parse_ip(&b, "::") == 0 && !rate_limit_same_source(&a, &b),
		"families are told apart");
	open_both((struct rate_limit_rule){1000, 1}, (struct rate_limit_rule){10, 400});
	ok(addr_parse_ip(&a, "2001:db8::1") == 0 && addr_parse_ip(&b, "2001:db8::2") == 0,
		"two neighbours");
	ok(rate_limit_take(&rate, &a, 5) && !rate_limit_take(&rate, &b, 5), "share one measure");
}

static void test_quota(void)
{
	const struct rate_limit_quota quota = {.per_second = 2000, .burst = 10};
	uint64_t spent = 0;
	unsigned count = 0;

	for (uint64_t now = 5000; now < 6000; now++)
		while (rate_limit_wait(&quota, spent, now) == 0) {
			rate_limit_charge(&quota, &spent, 1, now);
			count++;
		}
	is_uint(count, 10 + 2 * 999, "two in a millisecond, after the burst");
	rate_limit_charge(&quota, &spent, 300, 6000);
	is_uint(rate_limit_wait(&quota, spent, 6000), 150, "more than there is is waited for");
	is_uint(rate_limit_wait(&quota, spent, 6149), 1, "to the end");
	is_uint(rate_limit_wait(&quota, spent, 6150), 0, "and then there is one");
	is_uint(rate_limit_wait(&quota, 0, 0), 0, "also at the begin of time");
}

/* Sources that fall into one set, found by trying: whoever has the key can, and nobody else. */
static unsigned same_set(struct rate_limit_table *table, struct addr *out, unsigned want)
{
	unsigned found = 0;

	for (uint32_t i = 1; found < want && i < 100000; i++) {
		uint8_t network[RATE_LIMIT_NETWORK_SIZE];

		out[found] = v4(i);
		rate_limit_network(&out[found], network);
		found += (siphash(table->key, network, sizeof(network)) & table->mask) == 3;
	}
	return found;
}

static void test_full_set(void)
{
	static struct rate_limit_source memory[16 * RATE_LIMIT_SET];
	const uint8_t key[SIPHASH_KEY_SIZE] = {1, 2, 3};
	const struct rate_limit_quota quota = {.per_second = 1000, .burst = 5};
	struct addr sources[RATE_LIMIT_SET + 3];
	struct rate_limit_table table;

	rate_limit_table_init(&table, memory, 4, quota, key);
	is_uint(same_set(&table, sources, RATE_LIMIT_SET + 3), RATE_LIMIT_SET + 3,
		"some fall together");
	for (unsigned i = 0; i < RATE_LIMIT_SET; i++)
		rate_limit_charge(&quota, rate_limit_table_find(&table, &sources[i], 1000),
			i == 5 ? 1 : 9, 1000);
	is_uint(rate_limit_table_count(&table, 1000), RATE_LIMIT_SET, "all of a set are counted");
	is_uint(*rate_limit_table_find(&table, &sources[2], 1000), 1009000, "each keeps its own");
	is_uint(table.dropped, 0, "and none was dropped");
	ok(rate_limit_table_find(&table, &sources[RATE_LIMIT_SET], 1000) != NULL,
		"one more finds a place");
	is_uint(table.dropped, 1, "of another, which is counted");
	rate_limit_charge(
		&quota, rate_limit_table_find(&table, &sources[RATE_LIMIT_SET], 1000), 9, 1000);
	is_uint(*rate_limit_table_find(&table, &sources[4], 1000), 1009000, "who is beyond stays");
	ok(rate_limit_table_find(&table, &sources[RATE_LIMIT_SET + 1], 1000) == NULL,
		"where all are beyond, a newcomer is not measured");
	is_uint(table.dropped, 2, "and counted");
	ok(rate_limit_table_find(&table, &sources[5], 1000) == NULL, "nor is who was forgotten");
	ok(rate_limit_table_find(&table, &sources[RATE_LIMIT_SET + 2], 1009) != NULL,
		"until one has it back");
	is_uint(table.dropped, 3, "dropped were three in all");
	is_uint(rate_limit_table_count(&table, 1009), 0, "then none has used anything");
}

int main(void)
{
	test_quota();
	test_full_set();
	test_each();
	test_refused_costs_nothing();
	test_reserve();
	test_all();
	test_never_full();
	test_sources();
	return done_testing();
}
