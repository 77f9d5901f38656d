/*
 * udp_forward.h - passes on the datagrams that come to a UDP port to a server at another address,
 * and its answers back. The server sees them come from this machine, one port for each peer.
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
	uint64_t heard; /* when the remote's last datagram came */
	bool answered;  /* the server has sent one */
};

struct udp_forward {
	struct addr to;
	int listeners[UDP_FORWARD_LISTENERS]; /* IPv4 and IPv6, or the one of `local`; or -1 */
	struct udp_forward_flow flows[UDP_FORWARD_MAX];
	uint64_t warn_again;
};

/*
 * Takes the port, at `local` or, without a family, at each address; sockets of ours that are
 * connected may share it (borrow_request.shared). Looks up the server, which blocks. Returns 0, or
 * -1 with *error filled and nothing open.
 */
int udp_forward_open(struct udp_forward *forward, const struct addr *local, const char *interface,
	const struct host_port *to, struct error *error);

/* Fills all entries for poll(2); returns when udp_forward_advance() wants to be called. */
uint64_t udp_forward_watch(
	const struct udp_forward *forward, struct pollfd fds[UDP_FORWARD_WATCH_MAX]);

/* Passes on what poll(2) found, and ends what is idle. */
void udp_forward_advance(
	struct udp_forward *forward, const struct pollfd fds[UDP_FORWARD_WATCH_MAX], uint64_t now);

/* Closes all; twice is once. */
void udp_forward_end(struct udp_forward *forward);

#endif
