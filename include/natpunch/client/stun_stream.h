/*
 * stun_stream.h - STUN over a TCP connection (RFC 8489 6.2.2), for each client of a reflector:
 * sends a request whole, and reads one message at a time.
 *
 * No byte behind a message is read before the next call, so that a connection can be passed to
 * another program after any message (RELAY, JOIN): what follows is still in the kernel.
 *
 * Threat: the other end can send any bytes, in pieces of any size, or none. Calls only what POSIX
 * has.
 */
#ifndef NATPUNCH_CLIENT_STUN_STREAM_H
#define NATPUNCH_CLIENT_STUN_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/stun.h"

/* Bytes of one message, or of its beginning. All zero is a stream of which nothing was read. */
struct stun_stream {
	size_t received;
	uint8_t bytes[STUN_MESSAGE_MAX];
};

enum stun_stream_result {
	STUN_STREAM_MESSAGE, /* `bytes` and `received` are one whole message, until the next call */
	STUN_STREAM_WAITING, /* nothing more for now */
	STUN_STREAM_CLOSED,  /* the peer closed, between two messages */
	STUN_STREAM_CUT,     /* the peer closed, in the middle of one */
	STUN_STREAM_BROKEN,  /* errno says why */
	STUN_STREAM_NOT_STUN, /* `bytes` and `received` are what came instead */
};

/*
 * Sends a request over a connection that has just become writable, or over one that is open.
 * Returns NULL, or what failed ("cannot connect to", "cannot ask") with errno.
 */
const char *stun_stream_send(int fd, const void *request, size_t size);

/*
 * Reads from a non-blocking fd what there is of one message. After MESSAGE there may be more, of
 * which poll(2) tells; after CLOSED, CUT, BROKEN and NOT_STUN the connection is of no use.
 */
enum stun_stream_result stun_stream_read(struct stun_stream *stream, int fd);

/*
 * Why no message can follow: "it closed the connection" (CUT as well), "it is not STUN", or for
 * BROKEN what errno says. Empty for MESSAGE and WAITING.
 */
const char *stun_stream_explain(enum stun_stream_result result);

#endif
