/*
 * reflector_call.h - the TCP connection to a reflector, which is not to wait for the kernel when a
 * SYN is lost: after REFLECTOR_CALL_STAGGER_MS without an answer another one is sent, from another
 * port, and once more after that. The first connection to be established is taken, the others are
 * closed. The kernel sends each SYN again after a second.
 *
 * On a way that is longer than that, the reflector sees connections on which nothing is said.
 *
 * Never blocks. Calls nothing that POSIX does not have.
 */
#ifndef NATPUNCH_CLIENT_REFLECTOR_CALL_H
#define NATPUNCH_CLIENT_REFLECTOR_CALL_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/client/punch.h"

#define REFLECTOR_CALL_MAX        3 /* SYNs of ours at once */
#define REFLECTOR_CALL_STAGGER_MS 250

struct reflector_call {
	struct addr remote;
	punch_opener *open; /* each time from a port of its own */
	void *context;
	int fds[REFLECTOR_CALL_MAX]; /* that are connecting */
	size_t count;
	uint64_t due; /* when reflector_call_advance() is wanted without an event */
	int problem;  /* errno, once a call has failed; 0: none has */
};

/* The first SYN. Returns -1 where it cannot be sent: `problem`. */
int reflector_call_start(struct reflector_call *call, const struct addr *remote, punch_opener *open,
	void *context, uint64_t now);

/* Fills all entries for poll(2). */
void reflector_call_watch(const struct reflector_call *call, struct pollfd fds[REFLECTOR_CALL_MAX]);

/*
 * Goes on with what poll(2) found, or when `due` has come. Returns the connection, the caller's
 * from now on, and closes the others; -1 as long as there is none, or when `problem` is set.
 */
int reflector_call_advance(
	struct reflector_call *call, const struct pollfd fds[REFLECTOR_CALL_MAX], uint64_t now);

/* Closes what is open; twice is once. */
void reflector_call_end(struct reflector_call *call);

#endif
