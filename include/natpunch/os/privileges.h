/*
 * privileges.h - gives up rights that are no longer needed: the user, capabilities, limits.
 *
 * capabilities(7) by the kernel's own calls, as libc has none. All of it is for one thread: call
 * it before others are started.
 */
#ifndef NATPUNCH_OS_PRIVILEGES_H
#define NATPUNCH_OS_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/error.h"

/* A set of capabilities; linux/capability.h has the numbers, which are the bits. */
#define PRIVILEGES_DAC_OVERRIDE     (UINT64_C(1) << 1)
#define PRIVILEGES_DAC_READ_SEARCH  (UINT64_C(1) << 2)
#define PRIVILEGES_KILL             (UINT64_C(1) << 5)
#define PRIVILEGES_NET_BIND_SERVICE (UINT64_C(1) << 10)
#define PRIVILEGES_NET_ADMIN        (UINT64_C(1) << 12)
#define PRIVILEGES_NET_RAW          (UINT64_C(1) << 13)
#define PRIVILEGES_NONE             UINT64_C(0)

/* The capabilities that a method of borrow.h may need. */
#define PRIVILEGES_PORT (PRIVILEGES_NET_ADMIN | PRIVILEGES_NET_RAW | PRIVILEGES_NET_BIND_SERVICE)

struct privileges_user {
	uid_t uid;
	gid_t gid; /* its primary group; no other is kept */
};

/*
 * A name, or a number that is a user's. Root is refused, as nothing would be dropped.
 * Returns 0, or -1 with *error filled (EXIT_STATUS_USAGE).
 */
int privileges_find_user(const char *name, struct privileges_user *out, struct error *error);

/*
 * Becomes that user: real, effective and saved ids, and no supplementary group. Of the
 * capabilities those in `keep` stay that the process has; all others go, as by privileges_keep().
 * That it cannot be undone is tried. Returns 0, or -1 with *error filled: end the process then.
 */
int privileges_become(const struct privileges_user *user, uint64_t keep, struct error *error);

/*
 * Keeps only the capabilities in `keep`, if the process has them: permitted and effective; none is
 * inheritable or ambient, and the bounding set is empty if it may be changed. So a program that is
 * run from now on has none, whatever its file has. If that is refused, as by the filter of a
 * service manager, and there are other capabilities, logs a warning.
 */
void privileges_keep(uint64_t keep);

/*
 * Makes no capability inheritable or ambient, so that a program that is executed gets none from
 * this process, only those of its file or user. Call it in a child, before exec(2); needs no
 * privilege. Returns 0, or -1 and errno.
 */
int privileges_clear_inheritable(void) __attribute__((warn_unused_result));

/* Are all of these effective now? */
bool privileges_has(uint64_t wanted);

/*
 * Hints at how to get what is needed and may be missing: "BEFORErun as root, or: setcap ...", with
 * the path of this program. Returns false, with no hint, when root lacks none of it, or nothing is.
 */
bool privileges_hint(struct error *error, uint64_t needed, const char *before);

/*
 * Finds by a try which of PRIVILEGES_DAC_READ_SEARCH and PRIVILEGES_DAC_OVERRIDE are needed, beside
 * `keep`, to read the file, and if `written` to replace it: root can do so with files of others.
 * path NULL: none.
 */
uint64_t privileges_for_file(uint64_t keep, const char *path, bool written);

/* No executed program gets more rights than this process, and no memory goes to a core file. */
void privileges_lock(void);

/*
 * No other process of the same user can look into this one's memory, where keys are. Undone by the
 * kernel when the user is changed or a program executed: call it after that.
 */
void privileges_hide(void);

/* No new process: the limit is not for root. */
void privileges_forbid_processes(void);

#endif
