/*
 * udp_forward.h - forwards the datagrams that come to a UDP port to a server at another address,
 * and the server's answers back. The server sees them come from this machine, one port for each
 * peer.
 *
 * A state machine that is handed events and the time, and never blocks; udp_forward.c says what
 * happens when, and when its table is full.
 */
#ifndef NATPUNCH_HOME_UDP_FORWARD_H
#define NATPUNCH_HOME_UDP_FORWARD_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"

#define UDP_FORWARD_MAX       64
#define UDP_FORWARD_IDLE_MS   300000 /* RFC 4787 REQ-5: 5 minutes are recommended */
#define UDP_FORWARD_LISTENERS 2
#define UDP_FORWARD_WATCH_MAX (UDP_FORWARD_MAX + UDP_FORWARD_LISTENERS)

struct udp_forward_flow {
	int fd; /* connected to the server, or -1 */
	size_t listener;
	struct addr remote;
	uint64_t heard; /* when the last datagram came from the remote */
	bool answered;  /* the server has sent a datagram */
};

struct udp_forward {
	struct addr to;
	int listeners[UDP_FORWARD_LISTENERS]; /* of IPv4 and IPv6, or of `local` alone; or -1 */
	struct udp_forward_flow flows[UDP_FORWARD_MAX];
	uint64_t warn_again;
};

/*
 * Binds the port at `local`, or at each address if `local` has no family; connected sockets of ours
 * may share the port (borrow_request.shared). Looks up the server, and blocks for that. Returns 0,
 * or -1 with *error filled and nothing open.
 */
int udp_forward_open(struct udp_forward *forward, const struct addr *local, const char *interface,
	const struct host_port *to, struct error *error);

/* Fills all entries for poll(2); returns when udp_forward_advance() wants to be called. */
uint64_t udp_forward_watch(
	const struct udp_forward *forward, struct pollfd fds[UDP_FORWARD_WATCH_MAX]);

/* Forwards the datagrams that poll(2) found, and ends idle flows. */
void udp_forward_advance(
	struct udp_forward *forward, const struct pollfd fds[UDP_FORWARD_WATCH_MAX], uint64_t now);

/* Passes on a datagram that came to the port by another socket. */
void udp_forward_pass(struct udp_forward *forward, const struct addr *remote, const void *data,
	size_t size, uint64_t now);

/* Closes all sockets; may be called again. */
void udp_forward_end(struct udp_forward *forward);

#endif
