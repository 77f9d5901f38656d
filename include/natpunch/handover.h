/*
 * handover.h - a connection from outside goes to a command or to another address.
 *
 * Each connection gets a child of its own, at most HANDOVER_MAX at once; rule for more: the
 * newcomer is closed, counted and logged. A child has the connection and standard error, and no
 * other descriptor. It outlives us: a session must not end because the keeper of the mapping does.
 */
#ifndef NATPUNCH_HANDOVER_H
#define NATPUNCH_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "natpunch/addr.h"
#include "natpunch/error.h"
#include "natpunch/parse.h"

#define HANDOVER_MAX 64

struct handover {
	char *const *command; /* argv for execvp(3), the connection as stdin and stdout; or NULL */
	struct parse_host_port to;    /* else: spliced to this address */
	pid_t children[HANDOVER_MAX]; /* 0: free */
	unsigned refused;
};

/* The strings stay the caller's and must outlive it. */
void handover_init(
	struct handover *handover, char *const *command, const struct parse_host_port *to);

/*
 * Hands `fd`, a connected TCP socket, to a child. It is closed here in every case. The command gets
 * a blocking socket. For the address: data is moved with splice(2) in both directions with
 * back-pressure, a FIN of one side becomes a FIN of the other (half-close), there is no time limit.
 */
void handover_give(struct handover *handover, int fd, const struct addr *peer);

/* To be called after SIGCHLD. */
void handover_reap(struct handover *handover);

/*
 * Listens on a port beside our own connections from it (SO_REUSEPORT, which the method bind sets
 * as well). Returns a descriptor, or -1 with *error filled.
 */
int handover_listen(const struct addr *local, const char *interface, struct error *error);

/* Takes all connections that wait at the listener and hands each over. */
void handover_accept(struct handover *handover, int listener);

#endif
