/* The table of connections against a plain model, through many random steps. */
#include "reflector/tcp_table.h"

#include <fcntl.h>
#include <unistd.h>

#include "natpunch/proto/stun.h"
#include "tap.h"

#define CAPACITY 7
#define STEPS    20000

static const struct addr nobody = {.family = ADDR_IPV4, .port = 1};

/* Slots in the order in which they would be ended, oldest first. */
struct model {
	uint32_t order[CAPACITY];
	uint32_t count;
	bool taken[CAPACITY];
	bool held[CAPACITY];
};

static void model_remove(struct model *model, uint32_t slot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < model->count; i++)
		if (model->order[i] != slot)
			model->order[kept++] = model->order[i];
	model->count = kept;
}

static uint32_t model_taken(const struct model *model)
{
	uint32_t taken = 0;

	for (uint32_t slot = 0; slot < CAPACITY; slot++)
		taken += model->taken[slot] ? 1 : 0;
	return taken;
}

/* A linear congruential generator, so that a failure comes again (Knuth, MMIX). */
static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005U + 1442695040888963407U;
	return (uint32_t)(*state >> 33);
}

static bool step_take(struct tcp_table *table, struct model *model)
{
	uint32_t slot = tcp_table_take(table, -1, &nobody);

	if (model_taken(model) == CAPACITY)
		return slot == TCP_TABLE_NONE;
	if (slot >= CAPACITY || model->taken[slot] || table->connections[slot].held)
		return false;
	model->taken[slot] = true;
	model->held[slot] = false;
	model->order[model->count++] = slot;
	return true;
}

static bool step_release(struct tcp_table *table, struct model *model, uint32_t slot)
{
	uint32_t generation = table->connections[slot].generation;

	if (!model->taken[slot])
		return true;
	tcp_table_release(table, slot);
	model_remove(model, slot);
	model->taken[slot] = false;
	return table->connections[slot].generation != generation;
}

static bool step_hold(struct tcp_table *table, struct model *model, uint32_t slot, bool held)
{
	if (!model->taken[slot])
		return true;
	tcp_table_hold(table, slot, held);
	if (held)
		model_remove(model, slot);
	else if (model->held[slot])
		model->order[model->count++] = slot;
	model->held[slot] = held;
	return table->connections[slot].held == held;
}

/* All are of one source: its oldest goes first. */
static bool same_order(const struct tcp_table *table, const struct model *model)
{
	uint32_t first = model->count > 0 ? model->order[0] : TCP_TABLE_NONE;

	return tcp_table_victim(table, &nobody) == first &&
	       source_table_count(&table->passing, &nobody) == model->count &&
	       table->used == model_taken(model);
}

static void test_against_model(void)
{
	struct tcp_table table;
	struct model model = {.count = 0};
	uint64_t seed = 1;
	unsigned wrong = 0;
	unsigned full = 0;

	if (!is_int(tcp_table_open(&table, CAPACITY), 0, "opened"))
		return;
	for (int i = 0; i < STEPS; i++) {
		uint32_t slot = next_random(&seed) % CAPACITY;
		bool held = next_random(&seed) % 2 == 0;
		bool right = true;
		switch (next_random(&seed) % 5) {
		case 0:
			right = step_release(&table, &model, slot);
			break;
		case 1:
			right = step_hold(&table, &model, slot, held);
			break;
		default:
			right = step_take(&table, &model);
		}
		full += model_taken(&model) == CAPACITY ? 1 : 0;
		wrong += right && same_order(&table, &model) ? 0 : 1;
	}
	is_uint(wrong, 0, "%d random steps, each as in the model", STEPS);
	ok(full > STEPS / 10 && full < STEPS, "full in %u of them", full);
	tcp_table_close(&table);
}

static void test_slots(void)
{
	struct tcp_table table;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint32_t slot;
	uint32_t due_slot;

	if (!is_int(tcp_table_open(&table, 2), 0, "opened"))
		return;
	slot = tcp_table_take(&table, fd, &nobody);
	memset(tcp_table_partial(&table, slot), 1, STUN_MESSAGE_MAX);
	table.connections[slot].partial_size = 9;
	table.connections[slot].mode = 3;
	timer_heap_set(&table.deadlines, slot, 5);
	close(fd);
	tcp_table_release(&table, slot);
	ok(!timer_heap_pop(&table.deadlines, 9, &due_slot), "a freed slot has no deadline");
	is_uint(tcp_table_take(&table, open("/dev/null", O_RDONLY | O_CLOEXEC), &nobody), slot,
		"it is used again");
	is_uint(table.connections[slot].partial_size, 0, "with nothing of the one before");
	is_uint(table.connections[slot].mode, 0, "nor its mode");
	fd = table.connections[slot].fd;
	tcp_table_close(&table);
	is_int(fcntl(fd, F_GETFD), -1, "the end closes what is open");
}

/* Who holds as many as it can still leaves an eighth for others. */
static void test_reserve(void)
{
	struct tcp_table table;
	uint32_t held = 0;

	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t slot = tcp_table_take(&table, -1, &nobody);
		tcp_table_hold(&table, slot, true);
		held += table.connections[slot].held ? 1 : 0;
	}
	is_uint(held, 14, "of 16 at most 14 are held");
	is_uint(tcp_table_victim(&table, &nobody), 14, "the others make room");
	tcp_table_release(&table, 3);
	tcp_table_hold(&table, 14, true);
	ok(table.connections[14].held, "one more is held when one is gone");
	tcp_table_close(&table);
}

static struct addr source(uint8_t number)
{
	return (struct addr){.family = ADDR_IPV4, .ip = {192, 0, 2, number}, .port = 9};
}

static uint32_t come_from(struct tcp_table *table, const struct addr *peer, bool held)
{
	uint32_t slot = tcp_table_take(table, -1, peer);

	if (slot == TCP_TABLE_NONE) {
		uint32_t victim = tcp_table_victim(table, peer);

		if (victim == TCP_TABLE_NONE)
			return victim;
		tcp_table_release(table, victim);
		slot = tcp_table_take(table, -1, peer);
	}
	if (held)
		tcp_table_hold(table, slot, true);
	return slot;
}

static uint32_t come(struct tcp_table *table, uint8_t number, bool held)
{
	struct addr peer = source(number);

	return come_from(table, &peer, held);
}

static bool belongs(const struct tcp_table *table, uint32_t slot, uint8_t number)
{
	return table->connections[slot].peer.ip[3] == number;
}

/* One source floods; those that have fewer are not ended for it. */
static void test_flood(void)
{
	struct tcp_table table;
	uint32_t one, other;

	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	one = come(&table, 1, false);
	other = come(&table, 2, false);
	for (int i = 0; i < 1000; i++)
		come(&table, 66, false);
	ok(belongs(&table, one, 1) && belongs(&table, other, 2),
		"a thousand of one source end none of others");
	come(&table, 3, false);
	is_uint(source_table_count(
			&table.passing, &(struct addr){.family = ADDR_IPV4, .ip = {192, 0, 2, 66}}),
		13, "a newcomer gets room from it");
	for (uint8_t i = 0; i < 100; i++)
		come(&table, (uint8_t)(100 + i), false);
	ok(table.connections[one].generation > 0, "of many with one each, the oldest goes");
	tcp_table_close(&table);
}

/* One site floods with a connection from each of its sources; it ends its own. */
static void test_flood_of_site(void)
{
	struct tcp_table table;
	struct addr flood = {.family = ADDR_IPV6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 66}, .port = 9};
	struct addr home = {.family = ADDR_IPV6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 1}, .port = 9};
	uint32_t one, other;

	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	one = come(&table, 1, false);
	other = come_from(&table, &home, false);
	for (int i = 0; i < 1000; i++) {
		flood.ip[6] = (uint8_t)(i >> 8);
		flood.ip[7] = (uint8_t)i;
		come_from(&table, &flood, false);
	}
	ok(belongs(&table, one, 1) && table.connections[other].peer.ip[5] == 1,
		"a thousand sources of one site end none of others");
	come(&table, 3, false);
	is_uint(source_table_count(&table.passing_sites, &flood), 13,
		"a newcomer gets room from it");
	/* A neighbour in the site has one; another of it floods by itself. */
	for (int i = 0; i < 100; i++)
		come_from(&table, &flood, false);
	home = flood;
	home.ip[6] = 99;
	one = come_from(&table, &home, false);
	for (int i = 0; i < 100; i++)
		come_from(&table, &flood, false);
	is_uint(table.connections[one].peer.ip[6], 99, "nor the only one of a neighbour in it");
	tcp_table_close(&table);
}

/* One connection from each of many networks of one site, which hold all; and others come. */
static void test_site(void)
{
	struct tcp_table table;
	struct addr hoarder = {.family = ADDR_IPV6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 66}, .port = 9};
	struct addr home = {.family = ADDR_IPV6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 1}, .port = 9};

	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	for (uint8_t i = 0; i < 14; i++) {
		hoarder.ip[7] = i;
		come_from(&table, &hoarder, true);
	}
	is_uint(source_table_count(&table.sites, &hoarder), 14,
		"one site holds all that can be held");
	for (uint8_t i = 0; i < 4; i++) {
		home.ip[5] = i;
		come_from(&table, &home, true);
	}
	come(&table, 5, true);
	is_uint(table.held, 14, "as many are held as can be");
	is_uint(source_table_count(&table.sites, &hoarder), 9,
		"it lets go of one for each that comes");
	is_uint(source_table_count(&table.holding, &home), 1, "and that is held");
	for (uint8_t i = 0; i < 14; i++) {
		home.ip[7] = (uint8_t)(1 + i);
		come_from(&table, &home, true);
	}
	is_uint(source_table_count(&table.sites, &hoarder), source_table_count(&table.sites, &home),
		"another that hoards gets no more than it");
	tcp_table_close(&table);

	/* Three homes behind one address, and a site that comes from another network each time. */
	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	for (int i = 0; i < 3; i++)
		come(&table, 5, true);
	for (uint8_t i = 0; i < 100; i++) {
		hoarder.ip[7] = i;
		come_from(&table, &hoarder, true);
	}
	is_uint(source_table_count(
			&table.holding, &(struct addr){.family = ADDR_IPV4, .ip = {192, 0, 2, 5}}),
		3, "a large site takes nothing from a small one");
	tcp_table_close(&table);
	is_uint(table.held, 0, "closed");
}

/* One source holds all that can be held; it lets go of some for others, which are not ended. */
static void test_hoard(void)
{
	struct tcp_table table;
	struct addr hoarder = source(66), another = source(5);

	if (!is_int(tcp_table_open(&table, 16), 0, "opened"))
		return;
	for (int i = 0; i < 14; i++)
		come(&table, 66, true);
	for (int i = 0; i < 10; i++)
		come(&table, 5, true);
	is_uint(table.held, 14, "as many are held as can be");
	is_uint(source_table_count(&table.holding, &another), 7,
		"another source holds half of them");
	is_uint(source_table_count(&table.holding, &hoarder), 7, "and the hoarder the other half");
	is_uint(table.unheld, 10, "which was counted");
	ok(table.connections[0].held && belongs(&table, 0, 66) && belongs(&table, 6, 66) &&
			!(belongs(&table, 7, 66) && table.connections[7].held),
		"its oldest stay held");
	is_uint(table.used, 16, "the table is full");
	tcp_table_close(&table);
}

int main(void)
{
	ok(sizeof(struct tcp_connection) + sizeof(struct timer_heap_entry) < 200,
		"a connection takes %zu bytes, its deadline %zu", sizeof(struct tcp_connection),
		sizeof(struct timer_heap_entry));
	test_slots();
	test_against_model();
	test_reserve();
	test_flood();
	test_flood_of_site();
	test_hoard();
	test_site();
	return done_testing();
}
