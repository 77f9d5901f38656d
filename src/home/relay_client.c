/*
 * Home's half of a relayed connection.
 *
 *   state       ends by                                 then
 *   CONNECTING  the TCP handshake (reflector_call.h)    ASKING, with the JOIN on its way
 *   ASKING      the answer                              OPEN, or FAILED if it is a refusal
 *               a close before it, or no STUN           PAUSING
 *   PAUSING     AGAIN_MS after the last call began      CONNECTING
 *
 * and each of them by `give_up`: FAILED. In OPEN the socket waits to be taken. The ticket is a
 * secret: it is wiped at the end.
 *
 * Loss. reflector_call.h sends a second SYN beside one that is lost. The kernel sends a lost JOIN
 * again after some 250 ms; the reflector, which takes a client that sends nothing for 200 ms for a
 * person, has sent its line and closed by then. So home calls again when the connection ends
 * without an answer. An answer that is lost comes again on the same connection: a ticket is taken
 * once, so there is never a second JOIN beside one that the reflector may have read.
 *
 * Threat: a host that answers in the reflector's place. Only an answer that proves the ticket's
 * token opens the connection; a host that closes at once has home connect once in AGAIN_MS, until
 * `give_up`.
 */
#include "home/relay_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define AGAIN_MS 100

static void fail_with(struct relay_client *client, const char *problem)
{
	client->state = RELAY_CLIENT_FAILED;
	client->problem = problem;
	client->due = TIMER_NONE;
	reflector_call_end(&client->call);
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

/* A punch_opener. */
static int open_call(void *context, const struct addr *remote)
{
	return relay_client_open(context, remote);
}

static void connect_again(struct relay_client *client, uint64_t now)
{
	client->state = RELAY_CLIENT_CONNECTING;
	client->began = now;
	if (reflector_call_start(
		    &client->call, &client->path.reflector, open_call, &client->path, now) != 0)
		fail_with(client, strerror(client->call.problem));
	else
		client->due = client->call.due;
}

/* Closes the connection, and calls again later. */
static void pause_with(struct relay_client *client, const char *problem)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->stream.received = 0;
	client->state = RELAY_CLIENT_PAUSING;
	client->problem = problem;
	client->due = client->began + AGAIN_MS;
}

void relay_client_start(struct relay_client *client, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now)
{
	memset(client, 0, sizeof(*client));
	client->ticket = *ticket;
	client->initiator = *initiator;
	client->path = *path;
	client->fd = -1;
	client->give_up = now + RELAY_CLIENT_TIMEOUT_MS;
	connect_again(client, now);
}

void relay_client_watch(
	const struct relay_client *client, struct pollfd fds[RELAY_CLIENT_WATCH_MAX])
{
	reflector_call_watch(&client->call, fds);
	if (client->state == RELAY_CLIENT_ASKING)
		fds[0] = (struct pollfd){.fd = client->fd, .events = POLLIN};
}

static void send_join(struct relay_client *client)
{
	uint8_t bytes[128];
	uint8_t random[12];
	size_t size;

	random_fill(random, sizeof(random));
	size = relay_message_write_join(
		&client->ticket, random, client->transaction, bytes, sizeof(bytes));
	client->state = RELAY_CLIENT_ASKING;
	client->due = client->give_up;
	if (stun_stream_send(client->fd, bytes, size) != NULL)
		pause_with(client, strerror(errno));
}

static void advance_call(
	struct relay_client *client, const struct pollfd fds[RELAY_CLIENT_WATCH_MAX], uint64_t now)
{
	client->fd = reflector_call_advance(&client->call, fds, now);
	client->due = client->call.due;
	if (client->fd >= 0)
		send_join(client);
	else if (client->call.problem == ECONNRESET) /* the connection was established */
		pause_with(client, strerror(ECONNRESET));
	else if (client->call.problem != 0)
		fail_with(client, strerror(client->call.problem));
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
		fail_with(client, "bad answer from the reflector");
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
		pause_with(client, "the reflector closed the connection");
		return;
	case STUN_STREAM_BROKEN:
		pause_with(client, stun_stream_explain(result));
		return;
	case STUN_STREAM_NOT_STUN:
		pause_with(client, "the JOIN came too late");
		return;
	}
}

static bool is_under_way(const struct relay_client *client)
{
	return client->state == RELAY_CLIENT_CONNECTING || client->state == RELAY_CLIENT_ASKING ||
	       client->state == RELAY_CLIENT_PAUSING;
}

void relay_client_advance(
	struct relay_client *client, const struct pollfd fds[RELAY_CLIENT_WATCH_MAX], uint64_t now)
{
	if (client->state == RELAY_CLIENT_CONNECTING)
		advance_call(client, fds, now);
	else if (client->state == RELAY_CLIENT_ASKING && fds[0].revents != 0)
		receive_answer(client);
	if (client->state == RELAY_CLIENT_PAUSING && now >= client->due)
		connect_again(client, now);
	if (!is_under_way(client))
		return;
	if (now >= client->give_up)
		fail_with(client, client->problem != NULL ? client->problem : "the time is up");
	else if (client->give_up < client->due)
		client->due = client->give_up;
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
	reflector_call_end(&client->call);
	secret_wipe(client, sizeof(*client));
}
