/*
 * flow.h - one direction of a spliced or relayed connection: copies from one stream socket to
 * another.
 *
 * Data moves by splice(2) through a pipe and never through this process. A flow is in one of these
 * states:
 *
 *   FILLING   the pipe is empty; waits for `from` to be readable
 *   DRAINING  the pipe holds something; waits for `to` to be writable
 *   ENDED     `from` has sent FIN, all before it was passed on, and so was the FIN
 *
 * A flow never reads while its pipe holds something. So splice(2) out of a socket cannot fail for a
 * full pipe, whose room is counted in fragments and not in bytes; EAGAIN has one meaning; and each
 * state watches one descriptor, so the loop does not spin on a side that is ready while the other
 * is not. The sockets' own buffers keep both sides busy meanwhile. That is back-pressure as well: a
 * receiver that does not read keeps its flow in DRAINING, and the sender's window fills up.
 */
#ifndef NATPUNCH_OS_FLOW_H
#define NATPUNCH_OS_FLOW_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/os/sandbox.h"

extern const struct sandbox_call flow_calls[];

#define FLOW_ENDLESS UINT_MAX

struct flow {
	int from; /* both are the caller's, and non-blocking */
	int to;
	int pipe[2];
	size_t held;     /* bytes in the pipe */
	uint64_t passed; /* bytes that went out so far */
	bool ended;
};

enum flow_result {
	FLOW_WAITING, /* for the one descriptor, see above */
	FLOW_MORE,    /* the turns were used up; there may be more to do at once */
	FLOW_ENDED,
	FLOW_BROKEN, /* errno; a side is gone */
};

/* Returns 0, or -1 and errno. flow_close() must follow in either case. */
int flow_open(struct flow *flow, int from, int to);

/* Closes the pipe; what it held is lost. */
void flow_close(struct flow *flow);

/*
 * Moves bytes until it would block, in at most `turns` turns of some 64 KiB in or out each. SIGPIPE
 * must be ignored.
 */
enum flow_result flow_advance(struct flow *flow, unsigned turns);

/* Closes a socket by RST, so that the peer does not take a stream that was cut for one that ended.
 */
void flow_abort(int fd);

#endif
