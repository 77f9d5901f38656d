/*
 * splice.h - two connected stream sockets made one: what comes in at either goes out at the other.
 *
 * Data moves by splice(2) through a pipe for each direction and never through this process. A FIN
 * of one side becomes a FIN of the other, in its place in the stream, and the other direction goes
 * on for as long as it likes (half-close). An abort of one side (RST, a dead peer) becomes a RST to
 * the other, so that a stream that was cut is not taken for one that ended. A side that does not
 * read is waited for: what is held for it is what fits the pipe and the sockets' buffers. There is
 * no time limit.
 */
#ifndef NATPUNCH_HOME_SPLICE_H
#define NATPUNCH_HOME_SPLICE_H

#include "natpunch/base/error.h"

/*
 * Blocks until both directions have ended. Makes both sockets non-blocking and sets TCP_NODELAY
 * where they are TCP. Both are closed in every case; SIGPIPE must be ignored. Returns 0 after an
 * orderly end, or -1 with *error filled.
 */
int splice_run(int one, int other, struct error *error);

#endif
