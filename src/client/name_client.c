/*
 * A question about a name takes one request or more: a server may want its nonce used, and each
 * NAME_MESSAGE_AGAIN sends the next. name_client_take() decides in ASKING; DONE and FAILED
 * stay. Over datagrams `due` sends again; over a stream nothing is due, and its end, its failure
 * and what is not STUN end the question.
 *
 * Threat: the server, and over datagrams everybody who can send to the port: there, a malformed
 * message is noted and ignored. No byte behind the last answer is read from a stream, as the
 * connection goes on afterwards.
 */
#include "natpunch/client/name_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/client/stun_stream.h"

static void set_failed(struct name_client *client)
{
	client->state = NAME_CLIENT_FAILED;
	client->due = TIMER_NONE;
}

static void send_datagram(struct name_client *client, uint64_t now)
{
	/* After an error the next sending tries again. */
	(void)borrow_send(client->port, client->request, client->request_size);
	client->due = now + client->rto;
	client->rto *= 2;
}

static void send_request(struct name_client *client, uint64_t now)
{
	if (client->port->kind != BORROW_STREAM) {
		send_datagram(client, now);
		return;
	}
	if (stun_stream_send(client->port->fd, client->request, client->request_size) == NULL)
		return;
	error_set(&client->error, EXIT_STATUS_NETWORK, "cannot ask %s: %s", client->reflector,
		errno == EAGAIN ? "it does not read" : strerror(errno));
	set_failed(client);
}

static void ask_next(struct name_client *client, uint64_t now)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	client->request_size = name_message_write(
		&client->question, random, client->request, sizeof(client->request));
	client->rto = NAME_CLIENT_RTO_MS;
	send_request(client, now);
}

void name_client_start(struct name_client *client, struct borrowed *port, const char *reflector,
	const struct name_question *question, uint64_t now)
{
	memset(client, 0, sizeof(*client));
	client->port = port;
	client->reflector = reflector;
	client->question = *question;
	client->due = TIMER_NONE;
	ask_next(client, now);
}

int name_client_set_unsupported(const char *reflector, struct error *error)
{
	error_set(error, EXIT_STATUS_NETWORK, "%s keeps no names", reflector);
	return error_hint(error, "names need a reflector that runs natpunch reflect -K FILE");
}

int name_client_set_refused(const char *reflector, const struct key *key, struct error *error)
{
	error_set(error, EXIT_STATUS_NETWORK, "%s refuses the key for %s", reflector, key->name);
	return error_hint(error, "the same line must stand in the reflector's key file");
}

static void fail_refused(struct name_client *client)
{
	name_client_set_refused(client->reflector, client->question.key, &client->error);
	client->refused = true;
	set_failed(client);
}

static void give_up(struct name_client *client, enum name_message_outcome outcome, const char *why)
{
	const char *reflector = client->reflector;

	switch (outcome) {
	case NAME_MESSAGE_UNSUPPORTED:
		name_client_set_unsupported(reflector, &client->error);
		break;
	case NAME_MESSAGE_FAILED:
		error_set(&client->error, EXIT_STATUS_NETWORK,
			"%s does not answer for %s (error %u)", reflector,
			client->question.key->name, client->question.code);
		break;
	default:
		error_set(
			&client->error, EXIT_STATUS_PEER, "bad answer from %s: %s", reflector, why);
	}
	/* Anybody can send a datagram; the true answer may still come. */
	if (outcome != NAME_MESSAGE_MALFORMED || client->port->kind != BORROW_DATAGRAM)
		set_failed(client);
}

void name_client_take(struct name_client *client, const void *data, size_t size, uint64_t now)
{
	const char *why = "";
	enum name_message_outcome outcome;

	if (client->state != NAME_CLIENT_ASKING)
		return;
	outcome = name_message_read(&client->question, data, size, &why);
	switch (outcome) {
	case NAME_MESSAGE_AGAIN:
		ask_next(client, now);
		return;
	case NAME_MESSAGE_DONE:
		client->state = NAME_CLIENT_DONE;
		client->due = TIMER_NONE;
		return;
	case NAME_MESSAGE_REFUSED:
		fail_refused(client);
		return;
	case NAME_MESSAGE_UNRELATED:
		return;
	default:
		give_up(client, outcome, why);
	}
}

void name_client_expire(struct name_client *client, uint64_t now)
{
	if (client->state == NAME_CLIENT_ASKING && now >= client->due)
		send_request(client, now);
}

static void fail_unanswered(struct name_client *client, const char *why)
{
	error_set(&client->error, EXIT_STATUS_NETWORK, "no answer from %s: %s", client->reflector,
		why);
	set_failed(client);
}

static void read_stream(struct name_client *client, struct stun_stream *stream, uint64_t now)
{
	enum stun_stream_result result = stun_stream_read(stream, client->port->fd);

	switch (result) {
	case STUN_STREAM_MESSAGE:
		name_client_take(client, stream->bytes, stream->received, now);
		return;
	case STUN_STREAM_WAITING:
		return;
	case STUN_STREAM_CLOSED:
	case STUN_STREAM_CUT:
	case STUN_STREAM_BROKEN:
		fail_unanswered(client, stun_stream_explain(result));
		return;
	case STUN_STREAM_NOT_STUN:
		give_up(client, NAME_MESSAGE_MALFORMED, stun_stream_explain(result));
		return;
	}
}

static void read_datagrams(struct name_client *client, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	while (client->state == NAME_CLIENT_ASKING) {
		ssize_t got = borrow_receive(client->port, bytes, sizeof(bytes));
		if (got < 0)
			return;
		name_client_take(client, bytes, (size_t)got, now);
	}
}

int name_client_run(struct name_client *client, uint64_t deadline, struct error *error)
{
	struct pollfd watch = {.fd = client->port->fd, .events = POLLIN};
	struct stun_stream stream = {.received = 0};
	uint64_t now = clock_now_ms();

	while (client->state == NAME_CLIENT_ASKING && now < deadline) {
		uint64_t due = client->due < deadline ? client->due : deadline;

		poll(&watch, 1, clock_poll_ms(now, due));
		now = clock_now_ms();
		if (watch.revents != 0 && client->port->kind == BORROW_STREAM)
			read_stream(client, &stream, now);
		else if (watch.revents != 0)
			read_datagrams(client, now);
		name_client_expire(client, now);
	}
	if (client->state == NAME_CLIENT_ASKING && client->error.text[0] == '\0')
		fail_unanswered(client, "the time is up");
	if (client->state == NAME_CLIENT_DONE)
		return 0;
	*error = client->error;
	return -1;
}

bool name_client_report_rival(const struct name_question *question, bool again)
{
	const struct addr *rival = &question->rival.addr;
	const char *name = question->key->name;
	char text[ADDR_TEXT_SIZE];

	if (rival->family == ADDR_NONE)
		return false;
	addr_format(rival, text);
	if (again)
		log_detail("another machine, seen as %s, is still registered as %s", text, name);
	else
		log_warning("another %s, seen as %s, is registered as %s too: connections go now "
			    "here, now there; give each a name and a key of its own (natpunch "
			    "keygen)",
			addr_equal_ip(rival, &question->records[0].addr) ? "machine or probe here"
									 : "machine",
			text, name);
	return true;
}
