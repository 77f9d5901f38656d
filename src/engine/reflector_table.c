#include "natpunch/reflector_table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/stun.h"

int reflector_table_open(struct reflector_table *table, uint32_t capacity)
{
	memset(table, 0, sizeof(*table));
	table->capacity = capacity;
	table->free = REFLECTOR_TABLE_NONE;
	table->oldest = REFLECTOR_TABLE_NONE;
	table->youngest = REFLECTOR_TABLE_NONE;
	table->connections = calloc(capacity, sizeof(*table->connections));
	table->partials = calloc(capacity, STUN_MESSAGE_MAX);
	table->entries = calloc(capacity, sizeof(*table->entries));
	if (table->connections == NULL || table->partials == NULL || table->entries == NULL) {
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
	memset(table, 0, sizeof(*table));
}

static void list_append(struct reflector_table *table, uint32_t slot)
{
	struct reflector_connection *connection = &table->connections[slot];

	connection->older = table->youngest;
	connection->younger = REFLECTOR_TABLE_NONE;
	if (table->youngest == REFLECTOR_TABLE_NONE)
		table->oldest = slot;
	else
		table->connections[table->youngest].younger = slot;
	table->youngest = slot;
}

static void list_remove(struct reflector_table *table, uint32_t slot)
{
	const struct reflector_connection *connection = &table->connections[slot];

	if (connection->older == REFLECTOR_TABLE_NONE)
		table->oldest = connection->younger;
	else
		table->connections[connection->older].younger = connection->younger;
	if (connection->younger == REFLECTOR_TABLE_NONE)
		table->youngest = connection->older;
	else
		table->connections[connection->younger].older = connection->older;
}

static uint32_t find_free(struct reflector_table *table)
{
	uint32_t slot = table->free;

	if (slot != REFLECTOR_TABLE_NONE) {
		table->free = table->connections[slot].younger;
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
	list_append(table, slot);
	return slot;
}

void reflector_table_release(struct reflector_table *table, uint32_t slot)
{
	struct reflector_connection *connection = &table->connections[slot];

	if (connection->held)
		table->held--;
	else
		list_remove(table, slot);
	deadline_set(&table->deadlines, slot, DEADLINE_NONE);
	connection->fd = -1;
	connection->generation++;
	connection->younger = table->free;
	table->free = slot;
}

uint32_t reflector_table_oldest(const struct reflector_table *table)
{
	return table->oldest;
}

void reflector_table_hold(struct reflector_table *table, uint32_t slot, bool held)
{
	struct reflector_connection *connection = &table->connections[slot];

	if (connection->held == held)
		return;
	/* The last eighth is never held: else whoever holds all could lock everybody out. */
	if (held && table->held >= table->capacity - table->capacity / 8)
		return;
	connection->held = held;
	table->held = held ? table->held + 1 : table->held - 1;
	if (held)
		list_remove(table, slot);
	else
		list_append(table, slot);
}

uint8_t *reflector_table_partial(struct reflector_table *table, uint32_t slot)
{
	return table->partials + (size_t)slot * STUN_MESSAGE_MAX;
}
