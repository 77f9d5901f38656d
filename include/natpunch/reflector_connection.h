/*
 * reflector_connection.h - one of the connections of a reflector_stream: what both who reads it
 * (reflector_stream.c) and who answers its messages (reflector_answer.c) do with it.
 *
 * A connection is its slot in the stream's table. Whoever talks on it does not end it, but returns
 * a fate, which reflector_stream.c carries out in one place: so none goes on with a slot that is
 * gone.
 */
#ifndef NATPUNCH_REFLECTOR_CONNECTION_H
#define NATPUNCH_REFLECTOR_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/loop.h"
#include "natpunch/reflector_stream.h"

enum reflector_fate {
	REFLECTOR_FATE_KEEP,
	REFLECTOR_FATE_CLOSE,
	REFLECTOR_FATE_FORGET,
	REFLECTOR_FATE_GIVEN,  /* the descriptor belongs to a relay now */
	REFLECTOR_FATE_HANDED, /* or to another thread, which goes on with it */
};

static inline struct reflector_connection *reflector_connection_at(
	struct reflector_stream *stream, uint32_t slot)
{
	return &stream->table.connections[slot];
}

/* Is it still the one that the tag was made for? */
bool reflector_connection_is_there(struct reflector_stream *stream, struct loop_tag tag);

struct loop_tag reflector_connection_tag(struct reflector_stream *stream, uint32_t slot);

/* For the log: what it did, or what became of it. */
void reflector_connection_tell(const struct reflector_connection *connection, const char *what);

/* Returns whether all of it went out at once; a client that does not read so little is gone. */
bool reflector_connection_send(
	const struct reflector_connection *connection, const void *data, size_t size);

/* The name that was registered over this connection, if any, is not held by it any more. */
void reflector_connection_release_name(
	struct reflector_stream *stream, uint32_t slot, uint64_t now);

/*
 * Takes it out of the loop, for a relay or another thread, once the `used` bytes of the stream's
 * output, answers to earlier requests, are sent. Returns whether they were. What the client has
 * sent behind the request at hand is the caller's to pass on.
 */
bool reflector_connection_give_away(struct reflector_stream *stream, uint32_t slot, size_t used);

#endif
