#include "natpunch/reflector_table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/random.h"
#include "natpunch/stun.h"

static int open_crowds(struct reflector_table *table)
{
	size_t size = crowd_memory(table->capacity);
	uint8_t key[SIPHASH_KEY_SIZE];
	char *memory = calloc(4, size);

	table->crowds = memory;
	if (memory == NULL)
		return -1;
	random_fill(key, sizeof(key));
	crowd_init(&table->passing, memory, table->capacity, CROWD_SOURCE_BITS, key);
	crowd_init(&table->holding, memory + size, table->capacity, CROWD_SOURCE_BITS, key);
	crowd_init(&table->sites, memory + 2 * size, table->capacity, CROWD_SITE_BITS, key);
	crowd_init(&table->waiting, memory + 3 * size, table->capacity, CROWD_SOURCE_BITS, key);
	return 0;
}

int reflector_table_open(struct reflector_table *table, uint32_t capacity)
{
	memset(table, 0, sizeof(*table));
	table->capacity = capacity;
	table->free = REFLECTOR_TABLE_NONE;
	table->connections = calloc(capacity, sizeof(*table->connections));
	table->partials = calloc(capacity, STUN_MESSAGE_MAX);
	table->entries = calloc(capacity, sizeof(*table->entries));
	if (table->connections == NULL || table->partials == NULL || table->entries == NULL ||
		open_crowds(table) != 0) {
		reflector_table_close(table);
		return -1;
	}
	deadline_init(&table->deadlines, table->entries, capacity);
	return 0;
}

void reflector_table_close(struct reflector_table *table)
{
	/* No slot was fresh while there are no connections; the analyser forgets that. */
	for (uint32_t slot = 0; slot < table->fresh; slot++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		if (table->connections[slot].fd >= 0)
			close(table->connections[slot].fd);
	free(table->connections);
	free(table->partials);
	free(table->entries);
	free(table->crowds);
	memset(table, 0, sizeof(*table));
}

static uint32_t find_free(struct reflector_table *table)
{
	uint32_t slot = table->free;

	if (slot != REFLECTOR_TABLE_NONE) {
		table->free = table->connections[slot].next_free;
		return slot;
	}
	if (table->fresh == table->capacity)
		return REFLECTOR_TABLE_NONE;
	return table->fresh++;
}

uint32_t reflector_table_take(struct reflector_table *table, int fd, const struct addr *peer)
{
	uint32_t slot = find_free(table);
	struct reflector_connection *connection;
	uint32_t generation;

	if (slot == REFLECTOR_TABLE_NONE)
		return slot;
	connection = &table->connections[slot];
	generation = connection->generation;
	memset(connection, 0, sizeof(*connection));
	connection->generation = generation;
	connection->fd = fd;
	connection->peer = *peer;
	crowd_join(&table->passing, slot, peer);
	table->used++;
	return slot;
}

void reflector_table_release(struct reflector_table *table, uint32_t slot)
{
	struct reflector_connection *connection = &table->connections[slot];

	reflector_table_pause(table, slot, false);
	crowd_leave(connection->held ? &table->holding : &table->passing, slot);
	if (connection->held)
		crowd_leave(&table->sites, slot);
	table->held -= connection->held ? 1 : 0;
	table->used--;
	deadline_set(&table->deadlines, slot, DEADLINE_NONE);
	connection->fd = -1;
	connection->generation++;
	connection->next_free = table->free;
	table->free = slot;
}

uint32_t reflector_table_victim(const struct reflector_table *table, const struct addr *newcomer)
{
	const struct crowd *crowd = &table->passing;

	if (crowd->most > 0 && crowd_count(crowd, newcomer) == crowd->most)
		return crowd_oldest_of(crowd, newcomer);
	return crowd_oldest(crowd);
}

/* The last eighth is never held: else whoever holds all could lock everybody out. */
uint32_t reflector_table_hold_max(const struct reflector_table *table)
{
	return table->capacity - table->capacity / 8;
}

static void change_crowd(struct reflector_table *table, uint32_t slot, bool held)
{
	struct reflector_connection *connection = &table->connections[slot];

	crowd_leave(held ? &table->passing : &table->holding, slot);
	crowd_join(held ? &table->holding : &table->passing, slot, &connection->peer);
	if (held)
		crowd_join(&table->sites, slot, &connection->peer);
	else
		crowd_leave(&table->sites, slot);
	connection->held = held;
	table->held = held ? table->held + 1 : table->held - 1;
}

static const struct addr *peer_of(const struct reflector_table *table, uint32_t slot)
{
	return &table->connections[slot].peer;
}

/*
 * The held one to let go for one of that source, or CROWD_NONE: nobody has so many more. Of the
 * site that holds the most, its largest source's where that is the largest of all.
 */
static uint32_t find_excess(const struct reflector_table *table, const struct addr *source)
{
	uint32_t of_source = crowd_youngest(&table->holding);
	uint32_t of_site = crowd_youngest(&table->sites);
	uint32_t site = crowd_count(&table->sites, source);

	if (of_source == CROWD_NONE)
		return CROWD_NONE;
	if (site + 1 < table->sites.most)
		return crowd_are_together(&table->sites, of_source, of_site) ? of_source : of_site;
	if (crowd_count(&table->holding, source) + 1 < table->holding.most &&
		crowd_count(&table->sites, peer_of(table, of_source)) >= site)
		return of_source;
	return CROWD_NONE;
}

void reflector_table_hold(struct reflector_table *table, uint32_t slot, bool held)
{
	const struct reflector_connection *connection = &table->connections[slot];

	if (connection->held == held)
		return;
	if (held && table->held >= reflector_table_hold_max(table)) {
		uint32_t youngest = find_excess(table, &connection->peer);

		table->unheld++;
		if (youngest == CROWD_NONE)
			return;
		change_crowd(table, youngest, false);
	}
	change_crowd(table, slot, held);
}

void reflector_table_pause(struct reflector_table *table, uint32_t slot, bool paused)
{
	struct reflector_connection *connection = &table->connections[slot];

	if (connection->paused == paused)
		return;
	connection->paused = paused;
	if (paused)
		crowd_join(&table->waiting, slot, &connection->peer);
	else
		crowd_leave(&table->waiting, slot);
}

uint32_t reflector_table_waiting(const struct reflector_table *table, const struct addr *source)
{
	return crowd_count(&table->waiting, source);
}

uint8_t *reflector_table_partial(struct reflector_table *table, uint32_t slot)
{
	return table->partials + (size_t)slot * STUN_MESSAGE_MAX;
}
