/*
 * privileges.h - giving up what is not needed any more: the user, capabilities, limits.
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

/* What speaking from a port may take (borrow.h). */
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
 * Keeps of the capabilities those in `keep` that there are: permitted and effective; none can be
 * inherited, none is ambient, and the bounding set is empty where it may be changed. So what is
 * run from here on has none, whatever file it is. Where that is refused, as by the filter of a
 * service manager, and there are others, it is told with a warning.
 */
void privileges_keep(uint64_t keep);

/*
 * What this process executes gets no capability from it: none is inheritable, none is ambient. What
 * the file or the user gives it stays. To be called in a child, before exec(2); takes no privilege.
 * Returns 0, or -1 and errno.
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
 * What of PRIVILEGES_DAC_READ_SEARCH and PRIVILEGES_DAC_OVERRIDE it takes, beside `keep`, to read
 * the file, and if `written` to replace it, as is possible now: root reads the files of others. It
 * is tried. path NULL: nothing.
 */
uint64_t privileges_for_file(uint64_t keep, const char *path, bool written);

/* Nothing that is executed gets more rights than this process, and no memory goes to a core file.
 */
void privileges_lock(void);

/*
 * No other process of the same user can look into this one's memory, where keys are. Undone by the
 * kernel when the user is changed or a program executed: call it after that.
 */
void privileges_hide(void);

/* No new process: the limit is not for root. */
void privileges_forbid_processes(void);

#endif
