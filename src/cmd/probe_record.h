/*
 * probe_record.h - the FILE of -c: which mapping was printed last, and whether the hook has taken
 * it. The first line is the mapping's record (mapping.h). A second one, a comment to a shell, is
 * there as long as the hook has not taken it; a FILE without one is of a mapping that needs no more
 * telling.
 */
#ifndef NATPUNCH_CMD_PROBE_RECORD_H
#define NATPUNCH_CMD_PROBE_RECORD_H

#include <stdbool.h>

#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"

struct probe_record {
	bool known; /* false: there is no FILE yet */
	bool told;  /* the hook has taken it, or there was no hook */
	struct mapping mapping;
};

/* Both return 0, or -1 with *error filled (EXIT_STATUS_LOCAL). A damaged FILE is left as it is. */
int probe_record_read(const char *path, struct probe_record *out, struct error *error);
int probe_record_write(
	const char *path, const struct mapping *mapping, bool told, struct error *error);

/* The lock for a read and a write (file.h); -1 with *error filled. */
int probe_record_lock(const char *path, struct error *error);

/*
 * Notes in FILE, under the lock, whether the hook has taken this mapping; one that FILE does not
 * hold is passed over. Returns 0, or -1 with *error filled.
 */
int probe_record_note(
	const char *path, const struct mapping *mapping, bool told, struct error *error);

#endif
