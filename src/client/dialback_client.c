/*
 * Asking for a dial-back. Writable in CONNECTING: the question is sent; readable in ASKING: one
 * message is taken, which decides. `due` ends both. DONE and FAILED have closed the connection.
 *
 * `unsupported` tells a server that cannot dial from one that is broken: it refused. `silent`
 * leaves it open. Threat: the server, whose bytes proto/dialback judges.
 */
#include "natpunch/client/dialback_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static void fail_with(
	struct dialback_client *client, enum exit_status status, const char *what, const char *why)
{
	char remote[ADDR_TEXT_SIZE];

	error_set(&client->error, status, "%s %s: %s", what,
		addr_format(&client->reflector, remote), why);
	client->state = DIALBACK_CLIENT_FAILED;
	dialback_client_end(client);
}

static enum exit_status judge_errno(int value)
{
	return value == ENETUNREACH || value == EHOSTUNREACH || value == EPERM ||
			       value == EADDRINUSE || value == EADDRNOTAVAIL
		       ? EXIT_STATUS_LOCAL
		       : EXIT_STATUS_NETWORK;
}

static int open_socket(
	struct dialback_client *client, const struct dialback_client_request *request)
{
	enum addr_family family = (enum addr_family)request->reflector.family;

	client->fd = socket_open(family, SOCK_STREAM, 0);
	if (client->fd < 0)
		return -1;
	if (request->interface != NULL &&
		socket_bind_interface(client->fd, request->interface) != 0)
		return -1;
	/* Our TIME_WAIT must not keep a daemon from listening on that port again. */
	if (socket_set_flag(client->fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	if (request->local.family != ADDR_NONE && socket_bind(client->fd, &request->local) != 0)
		return -1;
	return socket_connect(client->fd, &request->reflector);
}

void dialback_client_start(
	struct dialback_client *client, const struct dialback_client_request *request, uint64_t now)
{
	uint8_t random[12];

	memset(client, 0, sizeof(*client));
	client->fd = -1;
	client->reflector = request->reflector;
	client->question.places = request->places;
	client->question.port = request->port;
	random_fill(random, sizeof(random));
	stun_make_transaction(client->question.transaction, random);
	client->due = now + DIALBACK_CLIENT_TIMEOUT_MS;
	if (open_socket(client, request) != 0)
		fail_with(client, judge_errno(errno), "cannot connect to", strerror(errno));
}

int dialback_client_fd(const struct dialback_client *client)
{
	return client->fd;
}

short dialback_client_events(const struct dialback_client *client)
{
	return client->state == DIALBACK_CLIENT_CONNECTING ? POLLOUT : POLLIN;
}

static void send_question(struct dialback_client *client)
{
	uint8_t bytes[DIALBACK_REQUEST_MAX];
	size_t size = dialback_write_request(&client->question, bytes, sizeof(bytes));
	struct pollfd ready = {.fd = client->fd, .events = POLLOUT};
	const char *problem;

	/* Called because of the time alone: not connected yet. */
	if (poll(&ready, 1, 0) == 0)
		return;
	problem = stun_stream_send(client->fd, bytes, size);
	if (problem != NULL)
		fail_with(client, judge_errno(errno), problem, strerror(errno));
	else
		client->state = DIALBACK_CLIENT_ASKING;
}

static void take_answer(struct dialback_client *client)
{
	const char *why = "";

	switch (dialback_read_answer(&client->question, client->stream.bytes,
		client->stream.received, &client->answer, &why)) {
	case DIALBACK_ANSWERED:
		client->state = DIALBACK_CLIENT_DONE;
		dialback_client_end(client);
		return;
	case DIALBACK_REFUSAL:
		client->unsupported = true;
		fail_with(client, EXIT_STATUS_NETWORK, "no dial-back by", "it does not offer that");
		return;
	case DIALBACK_UNRELATED:
	case DIALBACK_MALFORMED:
		fail_with(client, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

static void receive_answer(struct dialback_client *client)
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
	case STUN_STREAM_BROKEN:
		/* Servers that do not know the method may close without an answer. */
		client->silent = client->stream.received == 0;
		fail_with(
			client, EXIT_STATUS_NETWORK, "no answer from", stun_stream_explain(result));
		return;
	case STUN_STREAM_NOT_STUN:
		fail_with(client, EXIT_STATUS_PEER, "bad answer from", stun_stream_explain(result));
		return;
	}
}

void dialback_client_advance(struct dialback_client *client, uint64_t now)
{
	if (client->state == DIALBACK_CLIENT_CONNECTING)
		send_question(client);
	else if (client->state == DIALBACK_CLIENT_ASKING)
		receive_answer(client);
	if (client->state != DIALBACK_CLIENT_DONE && client->state != DIALBACK_CLIENT_FAILED &&
		now >= client->due)
		fail_with(client, EXIT_STATUS_NETWORK, "no answer from", "the time is up");
}

void dialback_client_end(struct dialback_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->due = TIMER_NONE;
}

bool dialback_client_is_about(const struct dialback_client *client, const struct addr *mapped)
{
	return client->state == DIALBACK_CLIENT_DONE && addr_equal(&client->answer.target, mapped);
}
