/*
 * registry_file.h - where names were seen, kept in a file over restarts.
 */
#ifndef NATPUNCH_REFLECTOR_REGISTRY_FILE_H
#define NATPUNCH_REFLECTOR_REGISTRY_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/error.h"
#include "reflector/registry.h"
#include "natpunch/os/sandbox.h"

#define REGISTRY_FILE_SAVE_DELAY_MS     1000
#define REGISTRY_FILE_SAVE_DELAY_MAX_MS 60000
#define REGISTRY_FILE_SAVE_RETRY_MS     30000 /* after one that failed */
#define REGISTRY_FILE_SAVE_REFRESH_MS                                                              \
	3600000 /* for what is held, and so heard of all the while                                 \
		 */

/* The writer's own; it also takes those of fork(2) and of file_write_calls. */
extern const struct sandbox_call registry_file_calls[];

struct registry_file {
	const char *path; /* NULL: nothing is kept */
	pid_t writer;     /* 0: none */
	uint64_t due;     /* TIMER_NONE: nothing to write */
	uint64_t refresh;
	uint64_t last; /* when the file was last written, or begun to be */
};

/*
 * Reads the file into the registry, which has its keys already; names without a key are left out.
 * A file that is damaged is set aside, with a warning, and the registry begins empty; so does a
 * missing one. The path must outlive the state. Returns 0, or -1 with *error filled when the file
 * cannot be read or set aside, or a new one could not be written beside it.
 */
int registry_file_open(struct registry_file *state, const char *path, struct registry *registry,
	uint64_t now, struct error *error);

/* When registry_file_save() wants to be called, or TIMER_NONE. Looks at registry->changed. */
uint64_t registry_file_next(struct registry_file *state, struct registry *registry, uint64_t now);

/* Starts a writer if one is due. */
void registry_file_save(struct registry_file *state, struct registry *registry, uint64_t now);

/* After SIGCHLD: notes how the writer ended, if it did. */
void registry_file_reap(struct registry_file *state, struct registry *registry, uint64_t now);

/* Waits for the writer and writes what is not written yet. */
void registry_file_close(struct registry_file *state, struct registry *registry, uint64_t now);

#endif
