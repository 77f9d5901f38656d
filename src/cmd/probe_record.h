/*
 * probe_record.h - the FILE of -c: which mapping was printed last, and whether the hook has taken
 * it; of each family. IPv4 is the last, so that a shell that reads all lines ends with that one.
 *
 * A line is the mapping's record (mapping.h). While the hook has not taken that mapping, a second
 * line follows, which is a comment to a shell.
 */
#ifndef NATPUNCH_CMD_PROBE_RECORD_H
#define NATPUNCH_CMD_PROBE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"

struct probe_record {
	bool known; /* false: there is none */
	bool told;  /* the hook has taken it, or there was no hook */
	struct mapping mapping;
};

struct probe_records {
	struct probe_record ipv4;
	struct probe_record ipv6;
};

/* The record of the family that a mapping is of. */
struct probe_record *probe_record_of(struct probe_records *records, const struct mapping *mapping);

/*
 * Both return 0, or -1 with *error filled (EXIT_STATUS_LOCAL). No FILE: nothing is known. A damaged
 * FILE is left as it is.
 */
int probe_record_read(const char *path, struct probe_records *out, struct error *error);
int probe_record_write(const char *path, const struct probe_records *records, struct error *error);

/* The seconds since FILE was written; 0: it is not there, or from the future. */
uint64_t probe_record_age(const char *path);

/* The lock for a read and a write (file.h); -1 with *error filled. */
int probe_record_lock(const char *path, struct error *error);

/*
 * Notes in FILE, under the lock, whether the hook has taken this mapping; ignores a mapping that
 * FILE does not hold. Returns 0, or -1 with *error filled.
 */
int probe_record_note(
	const char *path, const struct mapping *mapping, bool told, struct error *error);

#endif
