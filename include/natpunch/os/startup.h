/*
 * startup.h - undoes what exec(2) keeps of the starting process: signals and closed descriptors.
 * Call it before anything else. Calls only what POSIX has.
 */
#ifndef NATPUNCH_OS_STARTUP_H
#define NATPUNCH_OS_STARTUP_H

#include "natpunch/base/error.h"

/*
 * Unblocks all signals, and ignores none, except SIGHUP, SIGINT and SIGQUIT, which nohup(1) and
 * shells may have set. With SIGCHLD ignored the kernel would reap children, and none would be seen
 * to end. The soft limit of the size of files becomes the hard one, and a write beyond that fails
 * with EFBIG instead of ending the process by SIGXFSZ. Call it once, before anything else.
 */
void startup_reset_signals(void);

/*
 * Opens 0, 1 and 2, if they are closed, on something that cannot be read or written, so that no
 * socket gets one of these numbers, and with it what is printed. Writing to such a
 * standard output fails with EBADF, as it should. Returns 0, or -1 with *error filled.
 */
int startup_fill_descriptors(struct error *error);

#endif
