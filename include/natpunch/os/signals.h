/*
 * signals.h - signals as bits and as a readable descriptor.
 */
#ifndef NATPUNCH_OS_SIGNALS_H
#define NATPUNCH_OS_SIGNALS_H

#include <stdbool.h>

#include "natpunch/os/sandbox.h"

extern const struct sandbox_call signals_calls[];

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
