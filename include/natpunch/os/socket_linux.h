/*
 * socket_linux.h - the socket functions that POSIX lacks; a portable build does without.
 */
#ifndef NATPUNCH_OS_SOCKET_LINUX_H
#define NATPUNCH_OS_SOCKET_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "natpunch/base/addr.h"
#include "natpunch/os/sandbox.h"

struct mmsghdr; /* of sys/socket.h */

/* TCP and UDP over IPv4 and IPv6, with socket.h and without; but no setsockopt(2). */
extern const struct sandbox_call socket_calls[];
extern const struct sandbox_call socket_option_calls[];    /* any of that; or a list of rows, */
extern const struct sandbox_call socket_forget_calls[];    /* as socket_forget()'s */
extern const struct sandbox_call socket_interface_calls[]; /* asking for own addresses */

/*
 * One option of one level. A process with CAP_NET_ADMIN must not have all: some change what other
 * programs of this host send.
 */
#define SOCKET_OPTION_ROW(level, name)                                                             \
	SANDBOX_WHEN2(setsockopt, 1, SANDBOX_WHOLE, (level), 2, SANDBOX_WHOLE, (name))

int socket_bind_interface(int fd, const char *interface); /* SO_BINDTODEVICE; 0, or -1 and errno */

/*
 * Closes a connected TCP socket without FIN or RST: what the peer and the NATs on the way know of
 * it stays as it is. First acknowledges what was received (a lost delayed ACK would make the peer
 * send again, into a port where the answer is a RST). Needs CAP_NET_ADMIN. Returns false, with the
 * socket still open, when the kernel refuses; true when it is closed.
 */
bool socket_forget(int fd);

/* Ends a connection by a RST and closes the socket, which leaves no TIME_WAIT here. */
void socket_abort(int fd);

/* Is there CAP_NET_ADMIN in this network namespace for TCP_REPAIR? Tries on a socket of its own. */
bool socket_can_forget(void);

/*
 * Sends a connection's last bytes and its FIN, in one segment. Then close the connection, or
 * read it until the other end has gone. Returns whether all went out at once.
 *
 * By MSG_MORE and shutdown(2): close() alone would send a RST instead where bytes of the other end
 * are unread, and the last bytes would be lost.
 */
bool socket_send_last(int fd, const void *data, size_t size);

/*
 * Sends all (sendmmsg). Skips a message that cannot be sent (no route, say), and without buffers
 * the rest as well.
 */
void socket_send_each(int fd, struct mmsghdr *messages, size_t count);

/* Bytes sent that the peer has not acknowledged (SIOCOUTQ); -1 when it cannot be told. */
int socket_unacknowledged(int fd);

/*
 * After how many milliseconds without acknowledgement the kernel would send again on this connected
 * TCP socket: a round trip and what it varies by, but at least 200 (RFC 6298). -1 when it cannot be
 * told.
 */
int socket_retransmission_ms(int fd);

/* Packets that were dropped because the socket's buffer was full (SO_MEMINFO, Linux 4.12), or 0. */
uint32_t socket_dropped(int fd);

/* Is this one of this machine's own addresses (getifaddrs, or loopback; port ignored)? */
bool socket_is_local_ip(const struct addr *addr);

/*
 * The same without a netlink socket, by binding one (port ignored). Where the system lets sockets
 * be bound to any address (ip_nonlocal_bind, ip(7)) every one is: a yes means that it may be.
 */
bool socket_can_bind_ip(const struct addr *addr);

#define SOCKET_INTERFACE_SIZE 16 /* IFNAMSIZ of linux/if.h */

/* The name of the interface with this address (port ignored). Returns 0, or -1 for none. */
int socket_interface_of(const struct addr *ip, char out[SOCKET_INTERFACE_SIZE]);

/*
 * The addresses of the interface that has `ip`, with port 0: `ip` first, then its private and
 * carrier-grade ones (addr_classify()). Returns how many, `max` at most; 0: no interface has `ip`.
 */
size_t socket_addresses_beside(const struct addr *ip, struct addr *out, size_t max);

/*
 * Another address of this machine of the same family as `ip`: the first of the same class
 * (addr_classify()), public beside public. Returns 0, or -1 when there is none. Its port is 0.
 */
int socket_other_ip(const struct addr *ip, struct addr *out);

#endif
