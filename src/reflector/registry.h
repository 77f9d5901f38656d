/*
 * registry.h - the names that a reflector serves, their keys, and where each was last seen.
 *
 * The table has room for KEY_FILE_MAX names, and an entry is in use for each name of the key file:
 * only these can be registered, so nobody can fill the table, and no entry is evicted for another.
 * A name keeps its entry's number while it is in the key file.
 *
 * Memory is reserved once and untouched, so without cost, until it is used. A look-up costs the
 * same for ten names and for a hundred thousand.
 */
#ifndef NATPUNCH_REFLECTOR_REGISTRY_H
#define NATPUNCH_REFLECTOR_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/os/key_file.h"
#include "natpunch/base/mapping.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/proto/nonce.h"

#define REGISTRY_NONE     UINT32_MAX
#define REGISTRY_PLACES   4  /* TCP by IPv4, by IPv6, UDP by IPv4, by IPv6: in that order */
#define REGISTRY_USED_MAX 16 /* nonces remembered; rule for more: all that were issued are void */

/* After so long unheard of, a place is forgotten. */
#define REGISTRY_AGE_MAX_MS (30LL * 24 * 3600 * 1000)

/*
 * The quotas of a name. Each request works and counts once, except a LOOKUP: an attacker can replay
 * a captured one while its nonce is fresh. So LOOKUP has a quota of its own, so that nothing else
 * is refused for it; and another one over UDP, where the attacker can send in its sender's name.
 */
enum registry_measure {
	REGISTRY_MEASURE_CHANGES,
	REGISTRY_MEASURE_LOOKUPS,
	REGISTRY_MEASURE_DATAGRAM_LOOKUPS,
	REGISTRY_MEASURES,
};

/* Where a name was seen in one family and by one protocol. */
struct registry_place {
	struct addr addr; /* ADDR_NONE: nowhere */
	int64_t heard;    /* ms of the same clock as `now`; before its zero: negative */
	uint32_t slot;    /* the connection that it is held by, or REGISTRY_NONE */
	uint32_t generation;
	struct addr via; /* said over UDP: what address of ours it came to; or ADDR_NONE */
	uint16_t local_port;
	uint16_t seconds;
	uint8_t protocol;                     /* enum mapping_protocol */
	bool by_old;                          /* said with the name's old key */
	bool random_ports;                    /* name_messages.h; not in the state file */
	uint16_t proved_port;                 /* likewise; 0: that of `addr` */
	uint8_t session[12];                  /* transaction id of the REGISTER (invitation.h) */
	uint32_t invitations;                 /* sent for that */
	uint8_t home[NAME_MESSAGE_HOME_SIZE]; /* who said so; all zero: did not tell */
	uint8_t replaced[NAME_MESSAGE_HOME_SIZE]; /* whose place it was before, another one's */
	/* Home's own addresses. Not written to the state file: it says them again within a minute.
	 */
	struct addr hosts[NAME_MESSAGE_HOST_MAX];
	uint8_t host_count;
};

struct registry_entry {
	struct key key;               /* name "": free */
	uint8_t old[KEY_SECRET_SIZE]; /* with has_old: the key before, which is good as well */
	bool has_old;
	uint32_t changes; /* another number after each change (nonce.h); never 0 */
	/* Salts of the nonces that were used up since; of those before no nonce is good any more.
	 */
	uint8_t used[REGISTRY_USED_MAX][NONCE_SALT_SIZE];
	uint8_t used_count;
	bool marked;
	uint64_t spent_us[REGISTRY_MEASURES]; /* rate_limit.h */
	struct registry_place places[REGISTRY_PLACES];
};

struct registry {
	struct registry_entry *entries;
	uint32_t *index;  /* open addressing: entry number + 1, or 0 */
	uint32_t fresh;   /* entries from here on were never used */
	uint32_t count;   /* names */
	uint32_t changes; /* made so far */
	bool changed;     /* since registry_file_save() looked */

	/* Set after registry_open(), or NULL: called when the registry forgets what was registered
	 * over this connection, as its key is no longer valid. */
	void (*ended)(void *context, uint32_t slot, uint32_t generation);
	void *context;
};

/* Returns 0, or -1 when there is no memory. */
int registry_open(struct registry *registry);

/* Wipes all keys and frees. */
void registry_close(struct registry *registry);

/*
 * Takes over the keys: names that are new begin empty, names that are gone are forgotten, and so is
 * what was said with a key that is neither the name's new one nor its old one now. ended() is
 * called for each connection that held something of it.
 */
void registry_set_keys(struct registry *registry, const struct key_file *keys);

/* How many names have an old key as well. */
uint32_t registry_count_old(const struct registry *registry);

/* The secret of a key that a name has; `old` only where there is one. */
const uint8_t *registry_secret(const struct registry_entry *entry, bool old);

/* The entry of a name, or REGISTRY_NONE. */
uint32_t registry_find(const struct registry *registry, const char *name);

/* Which of its places is that of this family and protocol. */
struct registry_place *registry_place_of(const struct registry *registry, uint32_t entry,
	enum addr_family family, enum mapping_protocol protocol);

/* Writes down where a name is, in the place that is of this family and protocol. */
void registry_put(struct registry *registry, uint32_t entry, const struct registry_place *place);

/*
 * Does the present place belong to another home that runs beside the one that registers `place`
 * now? Two of three signs must say so: it is held; it has another address; it has replaced the home
 * that registers now. One sign alone is also there when a home was started again, has changed its
 * address, or is gone. An IPv6 address counts by its /64, in which one machine has many.
 */
bool registry_is_rival(
	const struct registry_place *there, const struct registry_place *place, uint64_t now);

/*
 * Uses up a fresh nonce (nonce.h), for a request that must work only once although it does not
 * change the name. Returns false when the nonce was used before.
 */
bool registry_use(struct registry *registry, uint32_t entry, const uint8_t salt[NONCE_SALT_SIZE]);

/* The connection is no longer held: its place was last heard of now. */
void registry_release(struct registry *registry, uint32_t entry, uint32_t slot, uint32_t generation,
	uint64_t now);

/* Whether there is a place that is not too old to be told. */
bool registry_is_known(const struct registry_place *place, uint64_t now);

/* Whether home is there now: by its connection, or because it promised to be heard in time. */
bool registry_is_held(const struct registry_place *place, uint64_t now);

/* Seconds since it was heard of; 0 while a connection holds it. */
uint32_t registry_age(const struct registry_place *place, uint64_t now);

#endif
