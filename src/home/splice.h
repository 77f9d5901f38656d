/*
 * splice.h - joins two connected stream sockets: what comes in at one goes out at the other.
 *
 * Data moves by splice(2) through one pipe for each direction, and never through this process. A
 * FIN of one side becomes a FIN of the other, in its place in the stream, and the other direction
 * goes on (half-close). An abort of one side (RST, a dead peer) becomes a RST to the other, so that
 * the other side cannot take a stream that was cut for one that ended. When one side does not read,
 * the other waits: the pipe and the sockets' buffers bound what is held. There is no time limit.
 */
#ifndef NATPUNCH_HOME_SPLICE_H
#define NATPUNCH_HOME_SPLICE_H

#include "natpunch/base/error.h"

/*
 * Blocks until both directions have ended. Makes both sockets non-blocking, and sets TCP_NODELAY on
 * those of TCP. Closes both in every case. SIGPIPE must be ignored. Returns 0 after an orderly end,
 * or -1 with *error filled.
 */
int splice_run(int one, int other, struct error *error);

#endif
