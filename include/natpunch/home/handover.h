/*
 * handover.h - a connection from outside goes to a command or to another address.
 *
 * Each connection gets a child of its own, at most HANDOVER_MAX at once; rule for more: the
 * newcomer is closed and counted, and the first of them logged. A child has the connection as
 * standard input and output, standard error, and no other descriptor; it leads a session of its
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
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/os/launcher.h"
#include "natpunch/base/host_port.h"

#define HANDOVER_MAX 64

/* What the spare descriptor is of: a confined caller goes on to be able to read it. */
#define HANDOVER_SPARE_FILE "/dev/null"

/*
 * A connection that is idle is asked after this time whether its peer is there, which also keeps
 * the NATs on its way from forgetting it (down to 30 s have been seen; from the second question on
 * Linux waits HANDOVER_PROBE_S). An answer starts the time anew. Without answers it is given up
 * after HANDOVER_IDLE_S + HANDOVER_PROBES * HANDOVER_PROBE_S, some 53 minutes.
 */
#define HANDOVER_IDLE_S  25
#define HANDOVER_PROBE_S 25
#define HANDOVER_PROBES  127 /* the most that Linux takes */

struct handover {
	char *const *command;         /* argv for execv(3), or NULL */
	struct host_port to;          /* else: spliced to this address */
	pid_t children[HANDOVER_MAX]; /* 0: free */
	size_t running;
	unsigned refused; /* newcomers that were closed, since handover_init() */
	bool full;        /* it has been said that there is no room, and there was none since */
	int spare;        /* a descriptor to give up when there is no other; -1: none */
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
 * when there is a command. handover_end() closes the spare descriptor; children go on.
 */
void handover_init(struct handover *handover, char *const *command, const struct host_port *to);
void handover_end(struct handover *handover);

/*
 * Hands `fd`, a connected TCP socket, to a child. It is closed here in every case. The command gets
 * a blocking socket. For the address: what splice.h says, after a name was looked up. What goes
 * wrong in the child is logged by the child, and the connection closed. `peer` is for the log. The
 * address must not be one that handover_listen() listens on: the connection would come back.
 */
void handover_give(struct handover *handover, int fd, const struct addr *peer);

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
void handover_accept(struct handover *handover, int listener);

#endif
