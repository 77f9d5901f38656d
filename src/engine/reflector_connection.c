#include "natpunch/reflector_connection.h"

#include <sys/socket.h>

#include "natpunch/log.h"

void reflector_connection_tell(const struct reflector_connection *connection, const char *what)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("tcp %s %s", addr_format(&connection->peer, text), what);
}

bool reflector_connection_is_there(struct reflector_stream *stream, struct loop_tag tag)
{
	return tag.slot < stream->table.fresh &&
	       reflector_connection_at(stream, tag.slot)->fd >= 0 &&
	       reflector_connection_at(stream, tag.slot)->generation == tag.generation;
}

struct loop_tag reflector_connection_tag(struct reflector_stream *stream, uint32_t slot)
{
	return (struct loop_tag){
		.kind = stream->tag_kind,
		.slot = slot,
		.generation = reflector_connection_at(stream, slot)->generation,
	};
}

void reflector_connection_release_name(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);

	if (connection->name != 0)
		reflector_names_release(
			stream->names, connection->name - 1, slot, connection->generation, now);
	connection->name = 0;
}

bool reflector_connection_send(
	const struct reflector_connection *connection, const void *data, size_t size)
{
	return size == 0 || send(connection->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool reflector_connection_give_away(struct reflector_stream *stream, uint32_t slot, size_t used)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);

	/* One that has just come is not in the loop yet. */
	loop_remove(stream->loop, connection->fd);
	return reflector_connection_send(connection, stream->output, used);
}
