/*
 * socket_pass.h - passes a connection to the program that started this one, as `nc -F` does for
 * ssh's `ProxyUseFdpass yes`.
 *
 * One byte, 0, is sent over standard output, a UNIX socket, and with it the descriptor
 * (SCM_RIGHTS). The program at the other end then has the connection itself: nothing is copied, and
 * this process can end. So no byte from the peer may have been read before.
 *
 * Portable: sendmsg(2) of POSIX, and CMSG_LEN() and CMSG_SPACE(), which each system with OpenSSH
 * has as well.
 */
#ifndef NATPUNCH_CONNECT_SOCKET_PASS_H
#define NATPUNCH_CONNECT_SOCKET_PASS_H

#include "natpunch/base/error.h"

/*
 * Returns 0 if a descriptor can be passed over `output`, or -1 with *error filled
 * (EXIT_STATUS_USAGE).
 */
int socket_pass_check(int output, struct error *error);

/*
 * Makes `fd`, a connected socket, blocking, as programs expect one; passes it, and closes it here
 * in every case. Blocks until the other end reads. SIGPIPE must be ignored. Returns 0, or -1 with
 * *error filled (EXIT_STATUS_LOCAL).
 */
int socket_pass_run(int output, int fd, struct error *error);

#endif
