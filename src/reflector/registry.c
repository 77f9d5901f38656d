#include "reflector/registry.h"

#include <stdlib.h>
#include <string.h>

#include "natpunch/base/secret.h"

#define INDEX_SIZE 262144 /* a power of two, more than twice KEY_FILE_MAX: probes stay short */

_Static_assert(INDEX_SIZE >= 2 * KEY_FILE_MAX, "the index would get slow");

int registry_open(struct registry *registry)
{
	memset(registry, 0, sizeof(*registry));
	registry->entries = calloc(KEY_FILE_MAX, sizeof(*registry->entries));
	registry->index = calloc(INDEX_SIZE, sizeof(*registry->index));
	if (registry->entries != NULL && registry->index != NULL)
		return 0;
	registry_close(registry);
	return -1;
}

void registry_close(struct registry *registry)
{
	if (registry->entries != NULL)
		secret_wipe(registry->entries, registry->fresh * sizeof(*registry->entries));
	free(registry->entries);
	free(registry->index);
	memset(registry, 0, sizeof(*registry));
}

/* FNV-1a. Only the writer of the key file chooses names, so nobody else can make them collide. */
static uint32_t hash_name(const char *name)
{
	uint32_t hash = 2166136261U;

	for (; *name != '\0'; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619U;
	return hash;
}

/* Where the name stands in the index, or would. */
static uint32_t find_position(const struct registry *registry, const char *name)
{
	uint32_t at = hash_name(name) % INDEX_SIZE;

	while (registry->index[at] != 0 &&
		strcmp(registry->entries[registry->index[at] - 1].key.name, name) != 0)
		at = (at + 1) % INDEX_SIZE;
	return at;
}

uint32_t registry_find(const struct registry *registry, const char *name)
{
	uint32_t found = registry->index[find_position(registry, name)];

	return found == 0 ? REGISTRY_NONE : found - 1;
}

/* Counted for all names together, so that one that is removed and comes back begins anew. */
static uint32_t next_change(struct registry *registry)
{
	registry->changes = registry->changes == UINT32_MAX ? 1 : registry->changes + 1;
	return registry->changes;
}

const uint8_t *registry_secret(const struct registry_entry *entry, bool old)
{
	return old ? entry->old : entry->key.secret;
}

static void forget_place(struct registry *registry, struct registry_place *place)
{
	struct registry_place before = *place;

	*place = (struct registry_place){.slot = REGISTRY_NONE};
	registry->changed = true;
	if (before.addr.family != ADDR_NONE && before.slot != REGISTRY_NONE &&
		registry->ended != NULL)
		registry->ended(registry->context, before.slot, before.generation);
}

static void drop_entry(struct registry *registry, struct registry_entry *entry)
{
	if (entry->key.name[0] != '\0')
		for (size_t i = 0; i < REGISTRY_PLACES; i++)
			forget_place(registry, &entry->places[i]);
	secret_wipe(entry, sizeof(*entry));
}

static void drop_unmarked(struct registry *registry)
{
	for (uint32_t i = 0; i < registry->fresh; i++) {
		struct registry_entry *entry = &registry->entries[i];

		if (!entry->marked)
			drop_entry(registry, entry);
	}
	/* Open addressing does not allow to remove single names: all are added again. */
	memset(registry->index, 0, INDEX_SIZE * sizeof(*registry->index));
	registry->count = 0;
	for (uint32_t i = 0; i < registry->fresh; i++) {
		const struct registry_entry *entry = &registry->entries[i];

		if (entry->key.name[0] == '\0')
			continue;
		registry->index[find_position(registry, entry->key.name)] = i + 1;
		registry->count++;
	}
}

static void put_keys(struct registry_entry *entry, const struct key *key, const struct key *old)
{
	entry->key = *key;
	entry->has_old = old != NULL;
	if (old != NULL)
		memcpy(entry->old, old->secret, sizeof(entry->old));
	else
		secret_wipe(entry->old, sizeof(entry->old));
}

static void add_name(struct registry *registry, const struct key *key, const struct key *old,
	uint32_t *free_from)
{
	uint32_t i = *free_from;
	struct registry_entry *entry;

	while (i < registry->fresh && registry->entries[i].key.name[0] != '\0')
		i++;
	if (i == registry->fresh)
		registry->fresh++;
	*free_from = i + 1;
	entry = &registry->entries[i];
	memset(entry, 0, sizeof(*entry));
	put_keys(entry, key, old);
	entry->changes = next_change(registry);
	/* 0 is a connection like any other. */
	for (size_t place = 0; place < REGISTRY_PLACES; place++)
		entry->places[place].slot = REGISTRY_NONE;
	registry->index[find_position(registry, key->name)] = i + 1;
	registry->count++;
}

static bool has_keys(
	const struct registry_entry *entry, const struct key *key, const struct key *old)
{
	return secret_equal(entry->key.secret, key->secret, KEY_SECRET_SIZE) &&
	       entry->has_old == (old != NULL) &&
	       (old == NULL || secret_equal(entry->old, old->secret, KEY_SECRET_SIZE));
}

/* A place that was registered with another key may be that of a person whom the new key shuts out.
 */
static void judge_place(struct registry *registry, const struct registry_entry *entry,
	struct registry_place *place, const uint8_t secret[KEY_SECRET_SIZE])
{
	place->by_old = !secret_equal(entry->key.secret, secret, KEY_SECRET_SIZE);
	if (place->by_old && !(entry->has_old && secret_equal(entry->old, secret, KEY_SECRET_SIZE)))
		forget_place(registry, place);
}

static void change_keys(struct registry *registry, struct registry_entry *entry,
	const struct key *key, const struct key *old)
{
	struct registry_entry before = *entry;

	put_keys(entry, key, old);
	entry->changes = next_change(registry);
	entry->used_count = 0;
	memset(entry->spent_us, 0, sizeof(entry->spent_us));
	registry->changed = true;
	for (size_t i = 0; i < REGISTRY_PLACES; i++)
		judge_place(registry, entry, &entry->places[i],
			registry_secret(&before, before.places[i].by_old));
	secret_wipe(&before, sizeof(before));
}

/* The old key that follows the new one at `i`, or NULL. */
static const struct key *find_old(const struct key_file *keys, size_t i)
{
	if (i + 1 == keys->count || strcmp(keys->rows[i].name, keys->rows[i + 1].name) != 0)
		return NULL;
	return &keys->rows[i + 1];
}

/* Is this the new key of its name, or the only one? */
static bool is_first(const struct key_file *keys, size_t i)
{
	return i == 0 || strcmp(keys->rows[i - 1].name, keys->rows[i].name) != 0;
}

void registry_set_keys(struct registry *registry, const struct key_file *keys)
{
	uint32_t free_from = 0;

	for (uint32_t i = 0; i < registry->fresh; i++)
		registry->entries[i].marked = false;
	for (size_t i = 0; i < keys->count; i++) {
		const struct key *key = &keys->rows[i];
		uint32_t found = registry_find(registry, key->name);
		struct registry_entry *entry;

		if (found == REGISTRY_NONE || !is_first(keys, i))
			continue;
		entry = &registry->entries[found];
		if (!has_keys(entry, key, find_old(keys, i)))
			change_keys(registry, entry, key, find_old(keys, i));
		entry->marked = true;
	}
	drop_unmarked(registry);
	for (size_t i = 0; i < keys->count; i++)
		if (registry_find(registry, keys->rows[i].name) == REGISTRY_NONE)
			add_name(registry, &keys->rows[i], find_old(keys, i), &free_from);
}

uint32_t registry_count_old(const struct registry *registry)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < registry->fresh; i++)
		count += registry->entries[i].has_old;
	return count;
}

struct registry_place *registry_place_of(const struct registry *registry, uint32_t entry,
	enum addr_family family, enum mapping_protocol protocol)
{
	size_t at = (protocol == MAPPING_UDP ? 2U : 0U) + (family == ADDR_IPV6 ? 1U : 0U);

	return &registry->entries[entry].places[at];
}

static bool is_same_home(
	const uint8_t a[NAME_MESSAGE_HOME_SIZE], const uint8_t b[NAME_MESSAGE_HOME_SIZE])
{
	return memcmp(a, b, NAME_MESSAGE_HOME_SIZE) == 0;
}

void registry_put(struct registry *registry, uint32_t entry, const struct registry_place *place)
{
	struct registry_entry *to = &registry->entries[entry];
	struct registry_place *at = registry_place_of(registry, entry,
		(enum addr_family)place->addr.family, (enum mapping_protocol)place->protocol);
	struct registry_place before = *at;

	*at = *place;
	memcpy(at->replaced, is_same_home(before.home, at->home) ? before.replaced : before.home,
		sizeof(at->replaced));
	to->changes = next_change(registry);
	to->used_count = 0;
	registry->changed = true;
}

bool registry_is_rival(
	const struct registry_place *there, const struct registry_place *place, uint64_t now)
{
	static const uint8_t not_told[NAME_MESSAGE_HOME_SIZE];
	size_t network = place->addr.family == ADDR_IPV6 ? 8 : 4;
	int signs = 0;

	if (there->addr.family == ADDR_NONE || is_same_home(place->home, not_told) ||
		is_same_home(place->home, there->home))
		return false;
	signs += registry_is_held(there, now);
	signs += memcmp(there->addr.ip, place->addr.ip, network) != 0;
	signs += is_same_home(there->replaced, place->home);
	return signs >= 2;
}

bool registry_use(struct registry *registry, uint32_t entry, const uint8_t salt[NONCE_SALT_SIZE])
{
	struct registry_entry *of = &registry->entries[entry];

	for (size_t i = 0; i < of->used_count; i++)
		if (memcmp(of->used[i], salt, NONCE_SALT_SIZE) == 0)
			return false;
	if (of->used_count == REGISTRY_USED_MAX) {
		of->changes = next_change(registry);
		of->used_count = 0;
		return true;
	}
	memcpy(of->used[of->used_count++], salt, NONCE_SALT_SIZE);
	return true;
}

void registry_release(
	struct registry *registry, uint32_t entry, uint32_t slot, uint32_t generation, uint64_t now)
{
	for (size_t i = 0; i < REGISTRY_PLACES; i++) {
		struct registry_place *place = &registry->entries[entry].places[i];

		if (place->addr.family == ADDR_NONE || place->slot != slot ||
			place->generation != generation)
			continue;
		place->slot = REGISTRY_NONE;
		place->seconds = 0;
		place->heard = (int64_t)now;
		registry->changed = true;
	}
}

static int64_t age_ms(const struct registry_place *place, uint64_t now)
{
	if (place->slot != REGISTRY_NONE || (int64_t)now < place->heard)
		return 0;
	return (int64_t)now - place->heard;
}

bool registry_is_known(const struct registry_place *place, uint64_t now)
{
	return place->addr.family != ADDR_NONE && age_ms(place, now) <= REGISTRY_AGE_MAX_MS;
}

bool registry_is_held(const struct registry_place *place, uint64_t now)
{
	return place->slot != REGISTRY_NONE || age_ms(place, now) < place->seconds * 1000LL;
}

uint32_t registry_age(const struct registry_place *place, uint64_t now)
{
	return (uint32_t)(age_ms(place, now) / 1000);
}
