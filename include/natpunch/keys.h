/*
 * keys.h - a whole key file in memory.
 */
#ifndef NATPUNCH_KEYS_H
#define NATPUNCH_KEYS_H

#include <stddef.h>

#include "natpunch/error.h"
#include "natpunch/keyfile.h"

#define KEYS_MAX 100000

struct keys {
	struct key *rows; /* in the order of their names */
	size_t count;
};

/*
 * Reads path whole or not at all. Returns 0, and keys_free() must follow; or -1 with *error
 * filled (EXIT_STATUS_LOCAL): unreadable, open to others, a bad line, a name twice, more than
 * KEYS_MAX; what concerns a line is named by its number.
 */
int keys_load(const char *path, struct keys *out, struct error *error);

/* Wipes and frees; what memset() left behind is fine. */
void keys_free(struct keys *keys);

/* The key of a name, or NULL. */
const struct key *keys_find(const struct keys *keys, const char *name);

/*
 * The one key of `name`, for those who speak for one name only. Returns 0, or -1 with *error
 * filled, also when the file has other names alone. The caller wipes *out.
 */
int keys_load_one(const char *path, const char *name, struct key *out, struct error *error);

#endif
