/*
 * handover.h - hands a connection from outside over to a command, to another address, or to the
 * server that listens on the local port.
 *
 * Each connection gets a child process of its own, HANDOVER_MAX at once at most, and strangers get
 * no more than their share. Rule for more: the newcomer is closed and counted, and one refusal a
 * minute is logged as a warning. An invited newcomer takes the place of the connection whose peer
 * has not answered for longest (keepalive.h), if there is one. A stranger's connection is ended
 * when its client stays silent. The child has the connection as standard input and output, standard
 * error, and no other descriptor; it leads a session of its own, and a command gets none of our
 * capabilities. The child outlives us: a session must not end because natpunch probe does.
 *
 * When the process or the system has no descriptor left, the spare one is given up to accept the
 * newcomer and close it at once. In the queue the newcomer would keep the listener readable.
 */
#ifndef NATPUNCH_HOME_HANDOVER_H
#define NATPUNCH_HOME_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/os/launcher.h"
#include "natpunch/base/host_port.h"

#define HANDOVER_MAX 64

/*
 * Places beyond HANDOVER_MAX, for children that still end: their connections were dead and have
 * made room.
 */
#define HANDOVER_YIELDED 8
#define HANDOVER_PLACES  (HANDOVER_MAX + HANDOVER_YIELDED)

/*
 * A stranger is a client that came by the listener from an address where no initiator was expected.
 * These bound the places of all strangers; of one source, which is an address or an IPv6 network of
 * 64 bits; and of one site (rate_limit_site()).
 */
#define HANDOVER_STRANGERS  56
#define HANDOVER_SOURCE_MAX 24
#define HANDOVER_SITE_MAX   32

/*
 * When strangers have HANDOVER_SCARCE places, a newcomer gets one only if its source and its site
 * have fewer than these.
 */
#define HANDOVER_SCARCE     40
#define HANDOVER_SOURCE_FEW 4
#define HANDOVER_SITE_FEW   8

/*
 * How long a stranger's connection may last in which the client has sent nothing yet, since the
 * last byte of the server's.
 */
#define HANDOVER_SILENCE_MS 30000

/* How long the initiator of an invitation is expected, and how many initiators at once. */
#define HANDOVER_GUEST_MS  10000
#define HANDOVER_GUEST_MAX 16

/* The spare descriptor is of this file, which a confined caller must be able to open again. */
#define HANDOVER_SPARE_FILE "/dev/null"

struct handover_place {
	pid_t pid; /* of the child; 0: free */
	struct addr peer;
	bool invited;
	bool watched; /* it is a stranger's, and its client has sent nothing yet */
	bool yielded; /* shut down to make room */
	int fd;       /* the connection, which the child has open too; or -1 */
};

/* An initiator that was invited, and may reach the listener by itself. */
struct handover_guest {
	struct addr addr;
	uint64_t until;
};

struct handover {
	char *const *command; /* argv for execv(3), or NULL: `to` is used */
	struct host_port to;  /* where to connect to; host "": to the port's server */
	struct handover_place places[HANDOVER_PLACES];
	size_t running; /* places with a child, without those that yielded */
	struct handover_guest guests[HANDOVER_GUEST_MAX];
	size_t guest_next;    /* the place of the next guest, whose last guest is forgotten */
	uint64_t silence_ms;  /* HANDOVER_SILENCE_MS; tests set less */
	uint32_t dead_ms;     /* KEEPALIVE_DEAD_MS; tests set less */
	uint64_t look_at;     /* the next look at what is watched; TIMER_NONE: nothing is */
	unsigned yielded;     /* connections that made room, since handover_init() */
	unsigned refused;     /* newcomers that were closed, since handover_init() */
	uint64_t quiet_until; /* no further warning of a refusal before that */
	int spare;            /* of HANDOVER_SPARE_FILE; -1: none */
	const struct launcher *launcher; /* NULL: fork(2) makes the children */
	size_t task; /* with a launcher: the index of handover_task() among its rows */
};

/*
 * The launcher's row for connections of this hand-over, which must be initialised before the
 * launcher is opened. Besides launcher_calls a confined caller needs socket_calls,
 * socket_option_calls and file_read_calls.
 */
struct launcher_task handover_task(const struct handover *handover);

/*
 * `command` ends with NULL, stays the caller's and must outlive the handover. `to` may be NULL if
 * there is a command. handover_end() closes our descriptors; children go on.
 */
void handover_init(struct handover *handover, char *const *command, const struct host_port *to);
void handover_end(struct handover *handover);

/*
 * Hands `fd`, the connected TCP socket of an invited initiator, to a child, and owns it in every
 * case. A command gets a blocking socket. For an address, the child looks its name up, or finds
 * where the port's server listens (port_owner_find_server()), connects to it, and does what
 * splice.h says. If that fails, the child logs why and aborts the connection. `peer` is for the log
 * and for shares. The address must not be one where handover_listen() listens: the connection would
 * come back. `now`: clock_now_ms(), here and below.
 */
void handover_give(struct handover *handover, int fd, const struct addr *peer, uint64_t now);

/*
 * Notes that this initiator was invited: it may reach the listener by itself, and is no stranger
 * then.
 */
void handover_expect(struct handover *handover, const struct addr *initiator, uint64_t now);

/* Call it after SIGCHLD. Frees the places of children that ended; waits for no other child. */
void handover_reap(struct handover *handover);

/*
 * Listens on a port beside our own connections from it, which must have set SO_REUSEADDR and
 * SO_REUSEPORT before they were bound, as this socket does. local ADDR_NONE: at all addresses, of
 * IPv6 and IPv4 in one socket, or of IPv4 alone when there is no IPv6. interface NULL: all. Returns
 * a descriptor, or -1 with *error filled (EXIT_STATUS_LOCAL), also if another program listens on
 * the port.
 */
int handover_listen(const struct addr *local, const char *interface, struct error *error);

/* Accepts connections that wait at the listener, HANDOVER_MAX at most, and hands each one over. */
void handover_accept(struct handover *handover, int listener, uint64_t now);

/* When handover_expire() wants to be called, or TIMER_NONE. */
uint64_t handover_due(const struct handover *handover);

/* Ends strangers' connections whose clients have been silent for too long. */
void handover_expire(struct handover *handover, uint64_t now);

#endif
