/*
 * registry_format.h - where a name was last seen, as a line of the registry's state file.
 *
 *   natpunch-registry-2 COUNT
 *   NAME PROTOCOL ADDR PORT LOCAL-PORT SECONDS LAST-HEARD KEY    COUNT times
 *   sha256 HASH                                                  of all lines before this one
 *
 * PROTOCOL is tcp or udp, LAST-HEARD is in seconds since 1970, KEY is key_number() of the key that
 * registered it: a record of a key that the name no longer has is not believed. A file that
 * is not exactly this, to the byte, is damaged: it is not read in part.
 */
#ifndef NATPUNCH_REFLECTOR_REGISTRY_FORMAT_H
#define NATPUNCH_REFLECTOR_REGISTRY_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"

#define REGISTRY_FORMAT_RECORD_SIZE 192 /* the longest line, with newline and NUL */
#define REGISTRY_FORMAT_HEAD_SIZE   48
#define REGISTRY_FORMAT_TAIL_SIZE   80

struct registry_record {
	char name[KEY_NAME_SIZE];
	struct addr addr;
	enum mapping_protocol protocol;
	uint16_t local_port;
	uint16_t seconds;
	uint64_t heard; /* seconds since 1970 */
	uint32_t key;   /* key_number() */
};

/* Each writes a line with its newline and returns its size, without the NUL. */
size_t registry_format_write_head(uint32_t count, char out[REGISTRY_FORMAT_HEAD_SIZE]);
size_t registry_format_write_record(
	const struct registry_record *record, char out[REGISTRY_FORMAT_RECORD_SIZE]);
size_t registry_format_write_tail(
	const void *before, size_t size, char out[REGISTRY_FORMAT_TAIL_SIZE]);

/* Goes through a whole file that registry_format_check() found undamaged. Start with offset 0. */
struct registry_reader {
	const char *data;
	size_t size;
	size_t offset;
	uint32_t left; /* records to come */
};

/* Returns 0 when the bytes are a whole file: head, checksum. Else -1 with a constant in *problem.
 */
int registry_format_check(struct registry_reader *reader, const void *data, size_t size,
	const char **problem) __attribute__((warn_unused_result));

/* Returns 1 with the next record, 0 after the last, or -1 when a line is not one. */
int registry_format_next(struct registry_reader *reader, struct registry_record *out)
	__attribute__((warn_unused_result));

#endif
