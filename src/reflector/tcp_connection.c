#include "reflector/tcp_connection.h"

#include <sys/socket.h>

#include "natpunch/os/log.h"

void tcp_connection_log(const struct tcp_connection *connection, const char *what)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("tcp %s %s", addr_format(&connection->peer, text), what);
}

bool tcp_connection_is_there(struct tcp_server *tcp, struct loop_tag tag)
{
	return tag.slot < tcp->table.fresh && tcp_connection_at(tcp, tag.slot)->fd >= 0 &&
	       tcp_connection_at(tcp, tag.slot)->generation == tag.generation;
}

struct loop_tag tcp_connection_tag(struct tcp_server *tcp, uint32_t slot)
{
	return (struct loop_tag){
		.kind = tcp->tag_kind,
		.slot = slot,
		.generation = tcp_connection_at(tcp, slot)->generation,
	};
}

void tcp_connection_release_name(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	if (connection->name != 0)
		names_release(tcp->names, connection->name - 1, slot, connection->generation, now);
	connection->name = 0;
}

bool tcp_connection_send(const struct tcp_connection *connection, const void *data, size_t size)
{
	return size == 0 || send(connection->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool tcp_connection_give_away(struct tcp_server *tcp, uint32_t slot, size_t used)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	/* One that has just come is not in the loop yet. */
	loop_remove(tcp->loop, connection->fd);
	return tcp_connection_send(connection, tcp->output, used);
}
