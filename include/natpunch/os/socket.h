/*
 * socket.h - sockets and their addresses.
 *
 * Every descriptor made here is close-on-exec and non-blocking. POSIX.1-2008 and nothing
 * else; the rest is in socket_linux.h.
 */
#ifndef NATPUNCH_OS_SOCKET_H
#define NATPUNCH_OS_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"

#ifndef MSG_NOSIGNAL /* then there is SO_NOSIGPIPE, and every socket has it set */
#define MSG_NOSIGNAL 0
#endif

/* Returns the length to hand to the kernel; ADDR_NONE gives 0. */
socklen_t socket_from_addr(const struct addr *addr, struct sockaddr_storage *out);

/* Other families give ADDR_NONE. IPv4-mapped IPv6 addresses come out as IPv4. */
void socket_to_addr(const struct sockaddr_storage *sockaddr, struct addr *out);

int socket_domain(enum addr_family family); /* AF_INET, AF_INET6 */

/*
 * Sets a mark (SO_MARK) on each socket that this process opens from now on; 0 for none. Rules of
 * this machine's firewall and routing can match it. Returns 0, or -1 and errno when that is
 * refused: then none is set.
 */
int socket_set_mark(uint32_t mark);
uint32_t socket_get_mark(void);

/* SOCK_STREAM or SOCK_DGRAM (or SOCK_RAW with a protocol). Returns a descriptor, or -1 and errno.
 */
int socket_open(enum addr_family family, int type, int protocol);

/* Each returns 0, or -1 and errno. */
int socket_set_flag(int fd, int level, int option, int value);
int socket_bind(int fd, const struct addr *addr);
int socket_connect(int fd, const struct addr *addr); /* 0 also when it is in progress */
int socket_accept(int listener, struct addr *peer);  /* or -1 and errno; not for hot paths */
int socket_local(int fd, struct addr *out);
int socket_peer(int fd, struct addr *out);
int socket_take_error(int fd); /* SO_ERROR: 0, or an errno value */

/*
 * Has an IPv6 socket send from a stable address, if this machine has one, and not from a temporary
 * one (RFC 5014 section 3, RFC 8981), which lasts for days only.
 */
void socket_prefer_public_source(int fd);

/* The address that packets to `remote` would leave from; returns 0, or -1 and errno (no route). */
int socket_source_for(const struct addr *remote, struct addr *out);

/*
 * Hints that this machine is offline, if there is no route out in any family; sends no packet.
 * Returns -1.
 */
int socket_hint_offline(struct error *error);

#endif
