/*
 * Home's half of a relayed connection. Writable in CONNECTING: the JOIN is sent; readable in
 * ASKING: its answer is taken, and not a byte behind it. `due` ends both. In OPEN the socket waits
 * to be taken; FAILED keeps it until relay_client_end(). The ticket is a secret: it is wiped at the
 * end.
 *
 * Threat: whoever answers in the reflector's place. Only an answer that proves the ticket's token
 * opens the connection.
 */
#include "home/relay_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static void fail_with(struct relay_client *client, const char *problem)
{
	client->state = RELAY_CLIENT_FAILED;
	client->problem = problem;
	client->due = TIMER_NONE;
}

int relay_client_open(const struct relay_client_path *path, const struct addr *remote)
{
	struct addr local = path->local;
	int saved;
	int fd = socket_open((enum addr_family)remote->family, SOCK_STREAM, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	local.port = 0;
	if ((path->interface == NULL || socket_bind_interface(fd, path->interface) == 0) &&
		(local.family != remote->family || socket_bind(fd, &local) == 0) &&
		socket_connect(fd, remote) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

void relay_client_start(struct relay_client *client, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now)
{
	memset(client, 0, sizeof(*client));
	client->state = RELAY_CLIENT_CONNECTING;
	client->ticket = *ticket;
	client->initiator = *initiator;
	client->due = now + RELAY_CLIENT_TIMEOUT_MS;
	client->fd = relay_client_open(path, &path->reflector);
	if (client->fd < 0)
		fail_with(client, strerror(errno));
}

int relay_client_fd(const struct relay_client *client)
{
	bool waits =
		client->state == RELAY_CLIENT_CONNECTING || client->state == RELAY_CLIENT_ASKING;

	return waits ? client->fd : -1;
}

short relay_client_events(const struct relay_client *client)
{
	return client->state == RELAY_CLIENT_CONNECTING ? POLLOUT : POLLIN;
}

static void send_join(struct relay_client *client)
{
	uint8_t bytes[128];
	uint8_t random[12];
	size_t size;

	random_fill(random, sizeof(random));
	size = relay_message_write_join(
		&client->ticket, random, client->transaction, bytes, sizeof(bytes));
	if (stun_stream_send(client->fd, bytes, size) != NULL)
		fail_with(client, strerror(errno));
	else
		client->state = RELAY_CLIENT_ASKING;
}

static void take_answer(struct relay_client *client)
{
	unsigned code = 0;

	switch (relay_message_read_answer(&client->ticket, client->transaction,
		client->stream.bytes, client->stream.received, &code)) {
	case RELAY_MESSAGE_JOINED:
		client->state = RELAY_CLIENT_OPEN;
		client->due = TIMER_NONE;
		return;
	case RELAY_MESSAGE_REFUSED:
		fail_with(client, code == RELAY_MESSAGE_UNPROVEN ? "the initiator is gone"
								 : relay_message_reason(code));
		return;
	case RELAY_MESSAGE_MALFORMED:
		fail_with(client, "not an answer");
	}
}

static void receive_answer(struct relay_client *client)
{
	enum stun_stream_result result = stun_stream_read(&client->stream, client->fd);

	switch (result) {
	case STUN_STREAM_MESSAGE:
		take_answer(client);
		return;
	case STUN_STREAM_WAITING:
		return;
	case STUN_STREAM_CLOSED:
	case STUN_STREAM_CUT:
		fail_with(client, "the reflector closed the connection");
		return;
	case STUN_STREAM_BROKEN:
		fail_with(client, stun_stream_explain(result));
		return;
	case STUN_STREAM_NOT_STUN:
		fail_with(client, "not an answer");
		return;
	}
}

void relay_client_advance(struct relay_client *client, bool happened, uint64_t now)
{
	if (relay_client_fd(client) < 0)
		return;
	if (happened && client->state == RELAY_CLIENT_CONNECTING)
		send_join(client);
	else if (happened)
		receive_answer(client);
	if (relay_client_fd(client) >= 0 && now >= client->due)
		fail_with(client, "the time is up");
}

int relay_client_take(struct relay_client *client)
{
	int fd = client->fd;

	secret_wipe(client, sizeof(*client));
	return fd;
}

void relay_client_end(struct relay_client *client)
{
	if (client->state != RELAY_CLIENT_NONE && client->fd >= 0)
		close(client->fd);
	secret_wipe(client, sizeof(*client));
}
