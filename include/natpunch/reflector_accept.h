/*
 * reflector_accept.h - new TCP connections, also when there is no descriptor left for them.
 *
 * The rule for EMFILE and ENFILE: one spare descriptor is kept; it is given up, the newcomer is
 * accepted in its place and closed at once, and the spare is opened again. So the newcomer learns
 * that there is no room, the queue gets shorter and the listener, which would stay readable, does
 * not spin. When even that fails (or memory does), ACCEPT_STARVED asks the caller to leave the
 * listeners alone for a while.
 */
#ifndef NATPUNCH_REFLECTOR_ACCEPT_H
#define NATPUNCH_REFLECTOR_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/counters.h"

#define ACCEPT_NONE    (-1) /* nobody waits any more */
#define ACCEPT_DROPPED (-2) /* a newcomer went away or was turned away; there may be another */
#define ACCEPT_STARVED (-3) /* out of descriptors or memory */

struct reflector_accept {
	int spare;
	struct counters *counters; /* the caller's, or NULL */
};

/*
 * A listening socket bound to addr, or -1 and errno. `shared`: one of several, among which the
 * kernel shares out who comes (SO_REUSEPORT); all of them must be.
 */
int reflector_accept_listen(const struct addr *addr, bool shared);

/* Returns 0, or -1 and errno. */
int reflector_accept_open(struct reflector_accept *acceptor);
void reflector_accept_close(struct reflector_accept *acceptor);

/*
 * The next connection of a listener: a non-blocking descriptor, which is the caller's, and its
 * peer; or one of the codes above.
 */
int reflector_accept_next(struct reflector_accept *acceptor, int listener, struct addr *peer);

/*
 * How many newcomers of a listener to accept before the others have their turn. To be told that
 * there is no other one costs as much as a short visit, for the kernel has made the descriptor by
 * then; so no more are asked for than came of late, and more only when as many come again and
 * again. The size is from 1 to REFLECTOR_ACCEPT_BATCH_MAX.
 */
#define REFLECTOR_ACCEPT_BATCH_MAX   64
#define REFLECTOR_ACCEPT_BATCH_START ((struct reflector_accept_batch){.size = 1})

struct reflector_accept_batch {
	uint32_t size;
	uint32_t full; /* in a row */
};

/* `accepted`, at most batch->size, came this time. */
void reflector_accept_adapt(struct reflector_accept_batch *batch, uint32_t accepted);

/* The whole service of REFLECTOR_TEXT: sends the line and closes fd. Never waits. */
void reflector_accept_answer_text(
	const struct reflector_accept *acceptor, int fd, const struct addr *peer);

#endif
