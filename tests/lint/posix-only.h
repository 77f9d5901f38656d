/*
 * Included before everything else when connect is compiled as for a system with POSIX.1-2008 and
 * SO_REUSEPORT and no more. The headers of libc show what POSIX reserves a prefix for, though
 * _POSIX_C_SOURCE does not ask for it: SOCK_CLOEXEC, CLOCK_BOOTTIME. So they are read here, and
 * what is not in POSIX.1-2008 is taken away.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#undef CLOCK_BOOTTIME
#undef CLOCK_MONOTONIC_RAW
#undef CLOCK_TAI
#undef MSG_DONTWAIT
#undef MSG_ERRQUEUE
#undef SOCK_CLOEXEC
#undef SOCK_NONBLOCK
#undef SO_BINDTODEVICE
#undef SO_MARK
#undef TCP_QUICKACK
#undef TCP_REPAIR

/* Its number differs between systems; Linux's, so that the program runs here. */
#ifndef SO_REUSEPORT
#define SO_REUSEPORT 15
#endif
