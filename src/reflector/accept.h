/*
 * accept.h - accepts TCP connections, and turns them away when no descriptor is left.
 */
#ifndef NATPUNCH_REFLECTOR_ACCEPT_H
#define NATPUNCH_REFLECTOR_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "reflector/counters.h"

#define ACCEPT_NONE    (-1) /* nobody waits any more */
#define ACCEPT_DROPPED (-2) /* a newcomer went away or was turned away; there may be another */
#define ACCEPT_STARVED (-3) /* out of descriptors or memory */

struct acceptor {
	int spare;
	struct counters *counters; /* the caller's, or NULL */
};

/*
 * Opens a listening socket bound to addr; returns it, or -1 and errno. `shared`: one of several
 * among which the kernel distributes connections (SO_REUSEPORT); then all must be.
 */
int accept_listen(const struct addr *addr, bool shared);

/* Returns 0, or -1 and errno. */
int accept_open(struct acceptor *acceptor);
void accept_close(struct acceptor *acceptor);

/*
 * The next connection of a listener: a non-blocking descriptor, which is the caller's, and its
 * peer; or one of the codes above.
 */
int accept_next(struct acceptor *acceptor, int listener, struct addr *peer);

/*
 * How many connections of a listener to accept before the others have their turn. An accept(2) that
 * finds none costs as much as a short connection, as the kernel has allocated the descriptor by
 * then. So the size follows how many came lately, and grows only when batches are full several
 * times in a row. It is from 1 to ACCEPT_BATCH_MAX.
 */
#define ACCEPT_BATCH_MAX   64
#define ACCEPT_BATCH_START ((struct accept_batch){.size = 1})

struct accept_batch {
	uint32_t size;
	uint32_t full; /* in a row */
};

/* `accepted`, at most batch->size, came this time. */
void accept_adapt(struct accept_batch *batch, uint32_t accepted);

/* The whole service of REFLECTOR_TEXT: sends the line and closes fd. Never waits. */
void accept_answer_text(const struct acceptor *acceptor, int fd, const struct addr *peer);

#endif
