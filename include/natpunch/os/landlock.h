/*
 * landlock.h - forbids all files except those that a program is known to use (Landlock, Linux
 * 5.13).
 *
 * Rights are given for a directory, as files there are replaced by others of the same name. What
 * was opened before stays open. The process can no longer look into others; on newer kernels it can
 * neither send them signals nor reach their abstract unix sockets.
 */
#ifndef NATPUNCH_OS_LANDLOCK_H
#define NATPUNCH_OS_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

enum landlock_right {
	LANDLOCK_READ_FILE, /* this very file; nothing when it is not there */
	LANDLOCK_READ,      /* files in the directory of this file */
	LANDLOCK_LIST,      /* and to list directories there */
	LANDLOCK_WRITE,     /* and to make, replace and remove them */
};

struct landlock_rule {
	const char *path; /* of a file, be it there or not; NULL: no rule */
	enum landlock_right right;
};

enum landlock_result {
	LANDLOCK_ON,
	LANDLOCK_MISSING, /* this kernel has none, or it is switched off */
	LANDLOCK_FAILED,  /* errno: a directory that cannot be opened, among others */
};

/*
 * Confines this thread and what it starts, for good. Sets no_new_privs. `signals`: it may still
 * send signals to processes outside, as a caller with a launcher must.
 */
enum landlock_result landlock_enter(const struct landlock_rule *rules, size_t count, bool signals);

#endif
