/*
 * raw_answer.h - the reflector's end of the raw handshake (raw_handshake.h), in batches.
 *
 * A raw socket for each family, with a filter in the kernel for our ports and for SYNs with more
 * options than an ordinary one, so that ordinary connections do not wake this process. It keeps no
 * state of a client; each SYN gets one answer or none, never a larger one. With a helper process
 * (conntrack.h) the ACKs that complete a handshake are read as well, and the helper deletes that
 * connection from this host's connection tracking.
 */
#ifndef NATPUNCH_REFLECTOR_RAW_ANSWER_H
#define NATPUNCH_REFLECTOR_RAW_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "reflector/conntrack.h"
#include "reflector/counters.h"
#include "natpunch/reflector/config.h"

#define RAW_ANSWER_SOCKETS 2

struct raw_answer;

/*
 * Opens what it can for those of `listen` that are REFLECTOR_FULL, and logs which family is
 * missing; the array and `conntrack` must outlive it. Returns NULL with *why, a constant or what
 * strerror(3) says, when this machine cannot: no CAP_NET_RAW, no memory, or a kernel that would
 * answer such a SYN itself.
 */
struct raw_answer *raw_answer_open(const struct reflector_listen *listen, size_t listen_count,
	const struct conntrack *conntrack, const char **why);
void raw_answer_close(struct raw_answer *raw); /* NULL is fine */

/* The descriptor to watch, 0 <= index < RAW_ANSWER_SOCKETS; -1 where there is none. */
int raw_answer_fd(const struct raw_answer *raw, size_t index);

/*
 * Answers what waits at a socket, up to a bound, so that other clients get their turn. `counters`
 * may be NULL.
 */
void raw_answer_serve(struct raw_answer *raw, size_t index, struct counters *counters);

#endif
