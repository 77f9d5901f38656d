/*
 * startup.h - what a process does before anything else, so that it does not depend on what its
 * starter left it, which exec keeps. Calls nothing that POSIX does not have.
 */
#ifndef NATPUNCH_OS_STARTUP_H
#define NATPUNCH_OS_STARTUP_H

#include "natpunch/base/error.h"

/*
 * No signal is blocked, and none ignored, except SIGHUP, SIGINT and SIGQUIT, as nohup(1) and shells
 * want it. An ignored SIGCHLD would have the kernel reap children, so that none is ever seen to
 * end. The soft limit of the size of files becomes the hard one, and a write beyond that fails with
 * EFBIG instead of ending the process by SIGXFSZ. Call it once, before anything else.
 */
void startup_reset_signals(void);

/*
 * Gives 0, 1 and 2, where they are closed, to something that cannot be read or written, so that no
 * socket gets one of these numbers and what is printed goes to nobody else. Writing to such a
 * standard output fails with EBADF, as it should. Returns 0, or -1 with *error filled.
 */
int startup_fill_descriptors(struct error *error);

#endif
