/*
 * file.h - reads small files, and replaces them as a whole or not at all.
 */
#ifndef NATPUNCH_OS_FILE_H
#define NATPUNCH_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/error.h"
#include "natpunch/os/sandbox.h"

/* What file_read() and file_read_secret() take, which is the first two, and besides that
 * file_replace_alone(). */
extern const struct sandbox_call file_status_calls[]; /* stdio's, too, at its first output */
extern const struct sandbox_call file_read_calls[];
extern const struct sandbox_call file_write_calls[];
extern const struct sandbox_call file_lock_calls[]; /* and file_check_writable() */

/*
 * Reads a regular file of at most `capacity` bytes. Returns the number of bytes, or -1 with *error
 * filled (EXIT_STATUS_LOCAL), also for a larger file. A file that does not exist is 0 bytes with
 * *missing set to 1.
 */
ssize_t file_read(const char *path, void *out, size_t capacity, int *missing, struct error *error);

/*
 * The same for a file of at most `max` bytes, with as much memory as it has: *out is the caller's,
 * to be freed. A file that does not exist is NULL. Returns 0, or -1 with *error filled.
 */
int file_read_whole(const char *path, size_t max, char **out, size_t *size, struct error *error);

/*
 * Reads a regular file of at most `max` bytes, and refuses it if group or others may read or write
 * it. *out is the caller's, to be wiped and freed. Returns 0, or -1 with *error filled
 * (EXIT_STATUS_LOCAL), also if there is no such file; if this user may not read it, with a hint
 * that names the user.
 */
int file_read_secret(const char *path, size_t max, char **out, size_t *size, struct error *error);

/*
 * Puts `size` bytes into path: written to a new file beside it (path.XXXXXX, mode), fsync, rename,
 * fsync of the directory. Readers see the old content or the new, also after a crash; on failure
 * the old file is as it was and the new one is gone. Returns 0, or -1 with *error filled.
 */
int file_replace(const char *path, const void *data, size_t size, mode_t mode, struct error *error);

/*
 * The same for a file that is there, which keeps its owner and its mode; a symbolic link is
 * refused.
 */
int file_replace_content(const char *path, const void *data, size_t size, struct error *error);

/*
 * Would file_replace() be allowed to? Finds a missing or unwritable directory before there is
 * anything to lose. Returns 0, or -1 with *error filled.
 */
int file_check_writable(const char *path, struct error *error);

/*
 * The same, with errno set as well, for a file that only one process writes: the new file is always
 * path.new, so a killed writer leaves one file, which the next writer removes.
 */
int file_replace_alone(
	const char *path, const void *data, size_t size, mode_t mode, struct error *error);

/*
 * The directory that holds path; `flags` of open(2) say what for. Returns a descriptor to close, or
 * -1 and errno.
 */
int file_open_directory(const char *path, int flags);

/* Do both paths lead to the same existing file? */
bool file_is_same(const char *one, const char *other);

/* Renames path to path.damaged, over an older one. Returns 0, or -1 with *error filled. */
int file_set_aside(const char *path, struct error *error);

/*
 * Takes an exclusive lock, so that only one run at a time reads, compares and replaces path. The
 * lock is on path.lock, which only its owner can open: any reader of a file can lock it. Waits
 * until `deadline` (clock_now_ms). Returns a descriptor for file_unlock(), or -1 with *error
 * filled.
 */
int file_lock(const char *path, uint64_t deadline, struct error *error);

/* Removes the lock file and closes the descriptor. */
void file_unlock(const char *path, int lock);

#endif
