/*
 * stdio_pump.h - copies standard input to a connection, and the connection to standard output, as a
 * ProxyCommand does.
 *
 * The end of standard input becomes a FIN, and the other direction goes on. The peer's FIN is the
 * end, once all before it was written out. Each direction has one buffer, and is not read while it
 * holds anything. There is no time limit. Calls only what POSIX has.
 */
#ifndef NATPUNCH_CONNECT_STDIO_PUMP_H
#define NATPUNCH_CONNECT_STDIO_PUMP_H

#include "natpunch/base/error.h"

/*
 * Blocks until the end. `input` and `output` are not closed, and not left non-blocking; `fd`, a
 * connected non-blocking socket, is closed in every case. SIGPIPE must be ignored. Returns 0, or -1
 * with *error filled: EXIT_STATUS_NETWORK when the connection was cut, EXIT_STATUS_LOCAL when
 * `input` cannot be read or `output` not be written.
 */
int stdio_pump_run(int input, int output, int fd, struct error *error);

#endif
