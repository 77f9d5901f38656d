/*
 * socket_pass.h - a connection passed to the program that started this one: what a ProxyCommand
 * does for ssh's `ProxyUseFdpass yes`, as `nc -F`.
 *
 * Over standard output, a UNIX socket, goes one byte, 0, and with it the descriptor (SCM_RIGHTS).
 * The program at its other end then has the connection itself: nothing is copied, and this process
 * can end. So nothing of what the peer said may have been read.
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
 * Passes `fd`, a connected socket, made blocking as programs expect one, and closes it in every
 * case. Waits for as long as the other end does not read. SIGPIPE must be ignored. Returns 0, or -1
 * with *error filled (EXIT_STATUS_LOCAL).
 */
int socket_pass_run(int output, int fd, struct error *error);

#endif
