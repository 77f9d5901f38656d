/*
 * stdio_pump.h - standard input and output made one with a connection: what a ProxyCommand does.
 *
 * Portable: poll(2), read(2) and write(2). The end of standard input becomes a FIN (the other
 * direction goes on); the peer's FIN, once all of it was written out, is the end. Each direction
 * has one buffer, and is not read while that is full. There is no time limit.
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
