/*
 * signals.h - signals as bits and as a readable descriptor.
 */
#ifndef NATPUNCH_OS_SIGNALS_H
#define NATPUNCH_OS_SIGNALS_H

#include <stdbool.h>

#include "natpunch/os/sandbox.h"

extern const struct sandbox_call signals_calls[];

/*
 * Makes this process independent of what its starter left it, which exec keeps: no signal is
 * blocked, and none ignored, except SIGHUP, SIGINT and SIGQUIT, as nohup(1) and shells want it. An
 * ignored SIGCHLD would have the kernel reap children, so that none is ever seen to end. The soft
 * limit of the size of files becomes the hard one, and a write beyond that fails with EFBIG instead
 * of ending the process by SIGXFSZ. Call it once, before anything else.
 */
void signals_reset(void);

/*
 * Blocks SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGCHLD and returns a non-blocking signalfd that
 * delivers them, or -1 and errno. SIGPIPE is ignored. A child must call signals_restore() before
 * exec.
 */
int signals_open(void);
void signals_restore(void);

/* Takes one signal number from the descriptor, or 0 when none waits. */
int signals_take(int fd);

#endif
