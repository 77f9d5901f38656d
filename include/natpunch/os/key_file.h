/*
 * key_file.h - a whole key file in memory.
 *
 * A name has one key; while it is changed it may have two, of which the first one in the file is
 * the new one.
 */
#ifndef NATPUNCH_OS_KEY_FILE_H
#define NATPUNCH_OS_KEY_FILE_H

#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"

#define KEY_FILE_MAX 100000

struct key_file {
	struct key
		*rows; /* in the order of their names; the new key of a name before its old one */
	size_t count;
};

/*
 * Reads path whole or not at all. Returns 0, and key_file_free() must follow; or -1 with *error
 * filled (EXIT_STATUS_LOCAL): unreadable, open to others, a bad line, a third key for a name, more
 * than KEY_FILE_MAX; what concerns a line is named by its number.
 */
int key_file_load(const char *path, struct key_file *out, struct error *error);

/* Wipes and frees; what memset() left behind is fine. */
void key_file_free(struct key_file *keys);

/* The key of a name, the new one of two; or NULL. */
const struct key *key_file_find(const struct key_file *keys, const char *name);

/*
 * The key of `name`, the new one of two, for a command about one name. Returns 0, or -1 with *error
 * filled, also when the file has only other names. The caller wipes *out.
 */
int key_file_load_one(const char *path, const char *name, struct key *out, struct error *error);

/*
 * Has the name one key, so that a change can begin? Ask before the new key is given away. Returns
 * 0, or -1 with *error filled.
 */
int key_file_check_one(const char *path, const char *name, struct error *error);

/*
 * The first begins a change of a name with one key: puts the new key on a line before it. The
 * second ends it for a name with two keys: removes the old one. The rest of the file, its owner and
 * its mode stay as they are. Both return 0, or -1 with *error filled, and the file is as it was.
 */
int key_file_put_new(const char *path, const struct key *key, struct error *error);
int key_file_remove_old(const char *path, const char *name, struct error *error);

#endif
