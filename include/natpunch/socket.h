/*
 * socket.h - sockets and their addresses.
 *
 * Every descriptor made here is close-on-exec and non-blocking.
 */
#ifndef NATPUNCH_SOCKET_H
#define NATPUNCH_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "natpunch/addr.h"

/* Returns the length to hand to the kernel; ADDR_NONE gives 0. */
socklen_t socket_from_addr(const struct addr *addr, struct sockaddr_storage *out);

/* Other families give ADDR_NONE. IPv4-mapped IPv6 addresses come out as IPv4. */
void socket_to_addr(const struct sockaddr_storage *sockaddr, struct addr *out);

int socket_domain(enum addr_family family); /* AF_INET, AF_INET6 */

/* SOCK_STREAM or SOCK_DGRAM (or SOCK_RAW with a protocol). Returns a descriptor, or -1 and errno.
 */
int socket_open(enum addr_family family, int type, int protocol);

/* Each returns 0, or -1 and errno. */
int socket_set_flag(int fd, int level, int option, int value);
int socket_bind(int fd, const struct addr *addr);
int socket_bind_interface(int fd, const char *interface); /* SO_BINDTODEVICE */
int socket_connect(int fd, const struct addr *addr);      /* 0 also when it is in progress */
int socket_local(int fd, struct addr *out);
int socket_peer(int fd, struct addr *out);
int socket_take_error(int fd); /* SO_ERROR: 0, or an errno value */

/*
 * Closes a connected TCP socket without FIN or RST: what the peer and the NATs on the way know of
 * it stays as it is. First acknowledges what was received (a lost delayed ACK would make the peer
 * send again, into a port where the answer is a RST). Needs CAP_NET_ADMIN. Returns false, with the
 * socket still open, when the kernel refuses; true when it is closed.
 */
bool socket_forget(int fd);

/* Is there CAP_NET_ADMIN in this network namespace for TCP_REPAIR? Tries on a socket of its own. */
bool socket_can_forget(void);

/* Bytes sent that the peer has not acknowledged (SIOCOUTQ); -1 when it cannot be told. */
int socket_unacknowledged(int fd);

/*
 * After how many milliseconds without acknowledgement the kernel would send again on this connected
 * TCP socket: a round trip and what it varies by, but at least 200 (RFC 6298). -1 when it cannot be
 * told.
 */
int socket_retransmission_ms(int fd);

/* Is this one of this machine's own addresses (getifaddrs, port ignored)? */
bool socket_is_local_ip(const struct addr *addr);

/* The address that packets to `remote` would leave from; returns 0, or -1 and errno (no route). */
int socket_source_for(const struct addr *remote, struct addr *out);

#endif
