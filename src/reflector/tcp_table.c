/*
 * A slot is free, or it holds a connection. Those that may be ended to make room stand in one
 * table of sources (source_table.h), the held ones (BINDING_MODE_HOLD) in another: by the source
 * that they come from.
 *
 * The rule for a full table: of the connections that are not held, the source with the most gives
 * up its oldest one; if no source has more than the new connection's, that source does. So a client
 * that floods the table ends its own connections, and none of a client with fewer. While there is
 * room a source has no limit: behind one address of a carrier there may be many homes. The source
 * must be of the site that has the most (source_table.h); if it is not, that site gives up its
 * oldest connection, whatever its source: a client with 65536 sources can flood with one connection
 * from each.
 *
 * Age decides, not the nearest deadline, because a client can choose its deadline: a connection
 * that has begun a request, or idles after its answer, would outlast every new one, which has sent
 * nothing yet. By age a client has as long as it takes to fill a whole table again, whatever the
 * others do.
 *
 * One eighth of a table of eight or more can never be held, so that nobody locks others out by
 * holding all; in a smaller table, when all are held, a new connection is closed. When the other
 * seven eighths are held, the site (source_table.h; in IPv4 the source) that holds the most gives
 * the place of its youngest to a site that holds fewer by two or more: that connection does not
 * end, but can, as any other, when room is needed. A source takes a place from another source by
 * the same rule, except from one whose site holds fewer than its own. By sources alone, a client
 * with 65536 of them could hold a whole table by one connection from each, and take places from
 * clients that share an address.
 *
 * Before that rule, a home that registers a name and has proven its key takes the place of a held
 * connection whose client has missed two keep-alives (tcp.c), whatever their sources. That
 * connection does not end either, and is held again when it speaks and there is room.
 *
 * A connection that is not read for a while, because its source has asked too much, is in `waiting`
 * as well, which counts how many of its source wait before it.
 *
 * Invariants: a slot is in `passing` and `passing_sites`, or in `holding` and `sites`, just when
 * its connection is there, and in `waiting` just when that is paused; a generation belongs to one
 * connection only, so that a late event for the one before it is recognised.
 */
#include "reflector/tcp_table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/random.h"
#include "natpunch/proto/stun.h"

static int open_source_tables(struct tcp_table *table)
{
	size_t size = source_table_memory(table->capacity);
	uint8_t key[SIPHASH_KEY_SIZE];
	char *memory = calloc(5, size);

	table->tables_memory = memory;
	if (memory == NULL)
		return -1;
	random_fill(key, sizeof(key));
	source_table_init(&table->passing, memory, table->capacity, SOURCE_TABLE_SOURCE_BITS, key);
	source_table_init(
		&table->holding, memory + size, table->capacity, SOURCE_TABLE_SOURCE_BITS, key);
	source_table_init(
		&table->sites, memory + 2 * size, table->capacity, SOURCE_TABLE_SITE_BITS, key);
	source_table_init(
		&table->waiting, memory + 3 * size, table->capacity, SOURCE_TABLE_SOURCE_BITS, key);
	source_table_init(&table->passing_sites, memory + 4 * size, table->capacity,
		SOURCE_TABLE_SITE_BITS, key);
	return 0;
}

int tcp_table_open(struct tcp_table *table, uint32_t capacity)
{
	memset(table, 0, sizeof(*table));
	table->capacity = capacity;
	table->free = TCP_TABLE_NONE;
	table->connections = calloc(capacity, sizeof(*table->connections));
	table->partials = calloc(capacity, STUN_MESSAGE_MAX);
	table->entries = calloc(capacity, sizeof(*table->entries));
	if (table->connections == NULL || table->partials == NULL || table->entries == NULL ||
		open_source_tables(table) != 0) {
		tcp_table_close(table);
		return -1;
	}
	timer_heap_init(&table->deadlines, table->entries, capacity);
	return 0;
}

void tcp_table_close(struct tcp_table *table)
{
	/* No slot was fresh while there are no connections; the analyser forgets that. */
	for (uint32_t slot = 0; slot < table->fresh; slot++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		if (table->connections[slot].fd >= 0)
			close(table->connections[slot].fd);
	free(table->connections);
	free(table->partials);
	free(table->entries);
	free(table->tables_memory);
	memset(table, 0, sizeof(*table));
}

static uint32_t find_free(struct tcp_table *table)
{
	uint32_t slot = table->free;

	if (slot != TCP_TABLE_NONE) {
		table->free = table->connections[slot].next_free;
		return slot;
	}
	if (table->fresh == table->capacity)
		return TCP_TABLE_NONE;
	return table->fresh++;
}

/* By its source and by its site, among those that are held or those that are not. */
static void join(struct tcp_table *table, uint32_t slot, const struct addr *peer, bool held)
{
	source_table_join(held ? &table->holding : &table->passing, slot, peer);
	source_table_join(held ? &table->sites : &table->passing_sites, slot, peer);
}

static void leave(struct tcp_table *table, uint32_t slot, bool held)
{
	source_table_leave(held ? &table->holding : &table->passing, slot);
	source_table_leave(held ? &table->sites : &table->passing_sites, slot);
}

uint32_t tcp_table_take(struct tcp_table *table, int fd, const struct addr *peer)
{
	uint32_t slot = find_free(table);
	struct tcp_connection *connection;
	uint32_t generation;

	if (slot == TCP_TABLE_NONE)
		return slot;
	connection = &table->connections[slot];
	generation = connection->generation;
	memset(connection, 0, sizeof(*connection));
	connection->generation = generation;
	connection->fd = fd;
	connection->peer = *peer;
	join(table, slot, peer, false);
	table->used++;
	return slot;
}

void tcp_table_release(struct tcp_table *table, uint32_t slot)
{
	struct tcp_connection *connection = &table->connections[slot];

	tcp_table_pause(table, slot, false);
	leave(table, slot, connection->held);
	table->held -= connection->held ? 1 : 0;
	table->used--;
	timer_heap_set(&table->deadlines, slot, TIMER_NONE);
	connection->fd = -1;
	connection->generation++;
	connection->next_free = table->free;
	table->free = slot;
}

/* The oldest of the source, or site, that has the most; of the newcomer's when none has more. */
static uint32_t find_oldest(const struct source_table *sources, const struct addr *newcomer)
{
	if (sources->most > 0 && source_table_count(sources, newcomer) == sources->most)
		return source_table_oldest_of(sources, newcomer);
	return source_table_oldest(sources);
}

uint32_t tcp_table_victim(const struct tcp_table *table, const struct addr *newcomer)
{
	uint32_t of_source = find_oldest(&table->passing, newcomer);
	uint32_t of_site = find_oldest(&table->passing_sites, newcomer);

	if (of_source == SOURCE_TABLE_NONE ||
		source_table_are_together(&table->passing_sites, of_source, of_site))
		return of_source;
	return of_site;
}

/* The last eighth is never held: else a client that holds all would lock out everybody. */
uint32_t tcp_table_hold_max(const struct tcp_table *table)
{
	return table->capacity - table->capacity / 8;
}

static void change_table(struct tcp_table *table, uint32_t slot, bool held)
{
	struct tcp_connection *connection = &table->connections[slot];

	leave(table, slot, !held);
	join(table, slot, &connection->peer, held);
	connection->held = held;
	table->held = held ? table->held + 1 : table->held - 1;
}

static const struct addr *peer_of(const struct tcp_table *table, uint32_t slot)
{
	return &table->connections[slot].peer;
}

/*
 * The held connection to let go for one of that source, or SOURCE_TABLE_NONE when no site or source
 * holds two more. Of the site that holds the most; its largest source's, if that is the largest of
 * all.
 */
static uint32_t find_excess(const struct tcp_table *table, const struct addr *source)
{
	uint32_t of_source = source_table_youngest(&table->holding);
	uint32_t of_site = source_table_youngest(&table->sites);
	uint32_t site = source_table_count(&table->sites, source);

	if (of_source == SOURCE_TABLE_NONE)
		return SOURCE_TABLE_NONE;
	if (site + 1 < table->sites.most)
		return source_table_are_together(&table->sites, of_source, of_site) ? of_source
										    : of_site;
	if (source_table_count(&table->holding, source) + 1 < table->holding.most &&
		source_table_count(&table->sites, peer_of(table, of_source)) >= site)
		return of_source;
	return SOURCE_TABLE_NONE;
}

void tcp_table_hold(struct tcp_table *table, uint32_t slot, bool held)
{
	const struct tcp_connection *connection = &table->connections[slot];

	if (connection->held == held)
		return;
	if (held && table->held >= tcp_table_hold_max(table)) {
		uint32_t youngest = find_excess(table, &connection->peer);

		table->unheld++;
		if (youngest == SOURCE_TABLE_NONE)
			return;
		change_table(table, youngest, false);
	}
	change_table(table, slot, held);
}

void tcp_table_pause(struct tcp_table *table, uint32_t slot, bool paused)
{
	struct tcp_connection *connection = &table->connections[slot];

	if (connection->paused == paused)
		return;
	connection->paused = paused;
	if (paused)
		source_table_join(&table->waiting, slot, &connection->peer);
	else
		source_table_leave(&table->waiting, slot);
}

uint32_t tcp_table_waiting(const struct tcp_table *table, const struct addr *source)
{
	return source_table_count(&table->waiting, source);
}

uint8_t *tcp_table_partial(struct tcp_table *table, uint32_t slot)
{
	return table->partials + (size_t)slot * STUN_MESSAGE_MAX;
}
