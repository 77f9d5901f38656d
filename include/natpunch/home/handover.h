/*
 * handover.h - a connection from outside goes to a command, to another address, or to the server
 * that listens on the local port.
 *
 * Each connection gets a child of its own, at most HANDOVER_MAX at once, and those of strangers
 * within their share; rule for more: the newcomer is closed and counted, and one a minute logged.
 * For one that was invited, the connection goes whose peer has not answered for longest
 * (keepalive.h), if there is one. A stranger who stays silent is ended. A child has the connection
 * as standard input and output, standard error, and no other descriptor; it leads a session of its
 * own, and a command gets no capability of ours. It outlives us: a session must not end because
 * natpunch probe does.
 *
 * Where a process or the system has no descriptor left, a newcomer is accepted and closed at once
 * by means of a spare one, so that it does not stay in the queue and the listener readable.
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

/* Besides, so many may still have a child that ends: its connection was dead, and has made room. */
#define HANDOVER_YIELDED 8
#define HANDOVER_PLACES  (HANDOVER_MAX + HANDOVER_YIELDED)

/*
 * A stranger is who came by the listener, from where no initiator was expected. How many places
 * strangers get, all together; one source of them, which is an address or an IPv6 network of 64
 * bits; and one site (rate_limit_site()).
 */
#define HANDOVER_STRANGERS  56
#define HANDOVER_SOURCE_MAX 24
#define HANDOVER_SITE_MAX   32

/* When they have so many, more are for a source and a site with fewer than these. */
#define HANDOVER_SCARCE     40
#define HANDOVER_SOURCE_FEW 4
#define HANDOVER_SITE_FEW   8

/* A stranger's connection is ended when its client has never spoken, and nobody for so long. */
#define HANDOVER_SILENCE_MS 30000

/* For so long the initiator of an invitation is expected, and so many of them. */
#define HANDOVER_GUEST_MS  10000
#define HANDOVER_GUEST_MAX 16

/* What the spare descriptor is of: a confined caller goes on to be able to read it. */
#define HANDOVER_SPARE_FILE "/dev/null"

struct handover_place {
	pid_t pid; /* of the child; 0: free */
	struct addr peer;
	bool invited;
	bool watched; /* for silence */
	bool yielded; /* shut down to make room */
	int fd;       /* the connection, which the child has as well; or -1 */
};

/* An initiator that was invited, and may get here by the listener. */
struct handover_guest {
	struct addr addr;
	uint64_t until;
};

struct handover {
	char *const *command; /* argv for execv(3), or NULL */
	struct host_port to;  /* else: spliced to this address; host "": to the port's server */
	struct handover_place places[HANDOVER_PLACES];
	size_t running; /* those that have not yielded */
	struct handover_guest guests[HANDOVER_GUEST_MAX];
	size_t guest_next;    /* the one that gives way to the next */
	uint64_t silence_ms;  /* HANDOVER_SILENCE_MS, unless a test is in a hurry */
	uint32_t dead_ms;     /* KEEPALIVE_DEAD_MS, likewise */
	uint64_t look_at;     /* TIMER_NONE: nobody is watched */
	unsigned yielded;     /* connections that made room, since handover_init() */
	unsigned refused;     /* newcomers that were closed, since handover_init() */
	uint64_t quiet_until; /* it was said that there is no room */
	int spare;            /* a descriptor to give up when there is no other; -1: none */
	const struct launcher *launcher; /* or NULL: by fork(2) */
	size_t task;                     /* with a launcher: its row with handover_task() in it */
};

/*
 * A launcher's row that takes connections of this one. It must live when the launcher is opened.
 * Beside launcher_calls a confined caller needs socket_calls, socket_option_calls and
 * file_read_calls.
 */
struct launcher_task handover_task(const struct handover *handover);

/*
 * `command` ends with NULL; it stays the caller's and must outlive the handover. `to` may be NULL
 * when there is a command. handover_end() closes what is open here; children go on.
 */
void handover_init(struct handover *handover, char *const *command, const struct host_port *to);
void handover_end(struct handover *handover);

/*
 * Hands `fd`, a connected TCP socket of somebody who was invited, to a child. It is the hand-over's
 * from then on in every case. The command gets a blocking socket. For the address: what splice.h
 * says, after a name was looked up, or the address found that the port's server listens on right
 * now (port_owner_find_server()). What goes wrong in the child is logged by the child, and the
 * connection closed. `peer` is for the log. The address must not be one that handover_listen()
 * listens on: the connection would come back. `now`: clock_now_ms(), here and below.
 */
void handover_give(struct handover *handover, int fd, const struct addr *peer, uint64_t now);

/* An invitation has come from there: the initiator may get to the listener by itself. */
void handover_expect(struct handover *handover, const struct addr *initiator, uint64_t now);

/* To be called after SIGCHLD. Waits for its own children and for no others. */
void handover_reap(struct handover *handover);

/*
 * Listens on a port beside our own connections from it (SO_REUSEADDR and SO_REUSEPORT, which those
 * must have set as well before they were bound). local ADDR_NONE: all addresses, IPv6 and IPv4 in
 * one socket, or IPv4 alone where there is no IPv6. interface NULL: all. Returns a descriptor, or
 * -1 with *error filled (EXIT_STATUS_LOCAL), for a port where somebody else listens among others.
 */
int handover_listen(const struct addr *local, const char *interface, struct error *error);

/* Takes connections that wait at the listener, up to HANDOVER_MAX, and hands each over. */
void handover_accept(struct handover *handover, int listener, uint64_t now);

/* When handover_expire() wants to be called, or TIMER_NONE. */
uint64_t handover_due(const struct handover *handover);

/* Ends the connections of strangers who have been silent for too long. */
void handover_expire(struct handover *handover, uint64_t now);

#endif
