/* Who has the most, against a plain model, through many random steps. */
#include "reflector/source_table.h"

#include "tap.h"

#define CAPACITY 13
#define SOURCES  5
#define STEPS    30000

static uint64_t memory[512];
static const uint8_t key[SIPHASH_KEY_SIZE] = {7};

static struct addr source_of(uint32_t number)
{
	return (struct addr){.family = ADDR_IPV4, .ip = {192, 0, 2, (uint8_t)number}};
}

/* Members in the order in which they joined; and when each source came to have what it has. */
struct model {
	uint32_t order[CAPACITY], count;
	uint32_t source[CAPACITY];
	bool in[CAPACITY];
	unsigned since[SOURCES], has[SOURCES];
};

static uint32_t heaviest(const struct model *model)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < SOURCES; i++)
		if (model->has[i] > model->has[best] ||
			(model->has[i] == model->has[best] && model->since[i] < model->since[best]))
			best = i;
	return best;
}

static uint32_t find_member(const struct model *model, uint32_t source, bool last)
{
	uint32_t found = SOURCE_TABLE_NONE;

	for (uint32_t i = 0; i < model->count; i++)
		if (model->source[model->order[i]] == source &&
			(last || found == SOURCE_TABLE_NONE))
			found = model->order[i];
	return found;
}

static void toggle(struct source_table *table, struct model *model, uint32_t member,
	uint32_t source, unsigned step)
{
	struct addr addr = source_of(source);
	uint32_t kept = 0;

	if (!model->in[member]) {
		source_table_join(table, member, &addr);
		model->order[model->count++] = member;
		model->source[member] = source;
	} else {
		source_table_leave(table, member);
		for (uint32_t i = 0; i < model->count; i++)
			if (model->order[i] != member)
				model->order[kept++] = model->order[i];
		model->count = kept;
	}
	source = model->source[member];
	model->has[source] += model->in[member] ? -1U : 1U;
	model->since[source] = step;
	model->in[member] = !model->in[member];
}

static bool as_in_model(const struct source_table *table, const struct model *model)
{
	uint32_t most = heaviest(model);

	for (uint32_t i = 0; i < SOURCES; i++) {
		struct addr addr = source_of(i);

		if (source_table_count(table, &addr) != model->has[i] ||
			source_table_oldest_of(table, &addr) != find_member(model, i, false))
			return false;
	}
	return table->most == model->has[most] &&
	       source_table_oldest(table) == find_member(model, most, false) &&
	       source_table_youngest(table) == find_member(model, most, true);
}

static void test_against_model(void)
{
	struct source_table table;
	struct model model = {.count = 0};
	uint64_t state = 1;
	unsigned wrong = 0;

	if (!ok(source_table_memory(CAPACITY) <= sizeof(memory), "it fits"))
		return;
	source_table_init(&table, memory, CAPACITY, SOURCE_TABLE_SOURCE_BITS, key);
	is_uint(source_table_oldest(&table), SOURCE_TABLE_NONE, "nobody is there");
	is_uint(source_table_youngest(&table), SOURCE_TABLE_NONE, "nor there");
	for (unsigned step = 1; step <= STEPS; step++) {
		uint32_t draw;

		/* A linear congruential generator, so that a failure comes again. */
		state = state * 6364136223846793005U + 1442695040888963407U;
		draw = (uint32_t)(state >> 33);
		toggle(&table, &model, draw % CAPACITY, draw / CAPACITY % SOURCES, step);
		wrong += !as_in_model(&table, &model);
	}
	is_uint(wrong, 0, "%d random steps, each as in the model", STEPS);
}

static void test_networks(void)
{
	struct source_table table;
	struct addr a, b, c;

	memset(memory, 0, sizeof(memory));
	source_table_init(&table, memory, 4, SOURCE_TABLE_SOURCE_BITS, key);
	ok(addr_parse_ip(&a, "2001:db8:1:2::1") == 0 &&
			addr_parse_ip(&b, "2001:db8:1:2:f::9") == 0 &&
			addr_parse_ip(&c, "2001:db8:1:3::1") == 0,
		"three addresses");
	source_table_join(&table, 0, &c);
	source_table_join(&table, 1, &a);
	source_table_join(&table, 2, &b);
	is_uint(source_table_count(&table, &b), 2, "two of one IPv6 network are one source");
	is_uint(source_table_oldest(&table), 1, "which has the most");
	memset(memory, 0, sizeof(memory));
	source_table_init(&table, memory, 4, SOURCE_TABLE_SITE_BITS, key);
	source_table_join(&table, 0, &c);
	source_table_join(&table, 1, &a);
	is_uint(source_table_count(&table, &b), 2,
		"two networks of one site are one, where sites count");
	memset(memory, 0, sizeof(memory));
	source_table_init(&table, memory, 4, SOURCE_TABLE_SOURCE_BITS, key);
	source_table_join(&table, 0, &c);
	source_table_join(&table, 1, &a);
	source_table_join(&table, 2, &b);
	source_table_leave(&table, 1);
	is_uint(source_table_oldest(&table), 0, "of two with one each, who has had it for longer");
}

int main(void)
{
	test_against_model();
	test_networks();
	return done_testing();
}
