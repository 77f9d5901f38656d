/*
 * One question, over each kind of borrowed port. The events of each state:
 *
 *   state        over a stream               datagrams, a handshake
 *   WAITING      `due`: opens the port again after BUSY_RETRY_MS
 *   CONNECTING   writable: sends, if it goes -
 *                to where it should
 *   ASKING       readable: one message       readable: all that is there; `due`: sends again
 *   ANSWERED     readable: one message       readable: all that is there is passed over;
 *                                            `due`: a port that is to be left free is let go
 *   FAILED       nothing: the port is closed
 *
 * Without a method, one that opens the port and then may not send (EPERM) is passed over as well.
 *
 * These decide in ASKING: the answer with our transaction id, a refusal, and over a stream also its
 * end, its failure, and bytes that are not STUN. There are two exceptions. After the text line of a
 * reflector that got no question in time, the question is asked over a new connection, up to
 * LINES_MAX times. After error 300 it is asked once at the server that the error names.
 *
 * Threat: the server, and without a connection everybody who can send to the port. A wrong datagram
 * or segment decides nothing; over a stream it ends the question. Messages that are not ours go to
 * the listener, unjudged.
 */
#include "natpunch/client/binding_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define BUSY_RETRY_MS 50
#define LINES_MAX     3

static void set_failed(struct binding_client *client)
{
	client->state = BINDING_CLIENT_FAILED;
	client->due = TIMER_NONE;
	borrow_close(&client->port);
}

static void set_error(
	struct binding_client *client, enum exit_status status, const char *what, const char *why)
{
	char remote[ADDR_TEXT_SIZE];

	addr_format(&client->request.remote, remote);
	error_set(&client->error, status, "%s %s: %s", what, remote, why);
}

static void fail_with(
	struct binding_client *client, enum exit_status status, const char *what, const char *why)
{
	set_error(client, status, what, why);
	set_failed(client);
}

static int send_once(struct binding_client *client)
{
	uint8_t bytes[128];
	size_t size;

	if (client->port.kind == BORROW_HANDSHAKE)
		return borrow_knock(&client->port);
	size = binding_write_request(&client->question, bytes, sizeof(bytes));
	return borrow_send(&client->port, bytes, size) < 0 ? -1 : 0;
}

/* NOLINTBEGIN(misc-no-recursion): as deep as there are methods. */
static void open_port(struct binding_client *client, uint64_t now);

/* The next method, where any will do. */
static bool open_by_next(struct binding_client *client, uint64_t now)
{
	if (client->method != NULL)
		return false;
	client->request.after = client->port.method;
	borrow_close(&client->port);
	open_port(client, now);
	return client->state != BINDING_CLIENT_FAILED;
}

/* Without a connection: sends the question, for the first time or again. */
static void send_again(struct binding_client *client, uint64_t now)
{
	/* After any other error, also of a full queue, the next sending tries again. */
	if (send_once(client) != 0 && errno == EPERM) {
		if (open_by_next(client, now))
			return;
		fail_with(client, EXIT_STATUS_LOCAL, "cannot ask", strerror(EPERM));
		client->cannot = false;
		return;
	}
	client->state = BINDING_CLIENT_ASKING;
	client->due = now + client->rto;
	client->rto *= 2;
}

static void open_port(struct binding_client *client, uint64_t now)
{
	enum borrow_result result =
		borrow_open(client->method, &client->request, &client->port, &client->error);

	if (result == BORROW_OPEN && client->port.kind != BORROW_STREAM) {
		send_again(client, now);
		return;
	}
	if (result == BORROW_OPEN) {
		client->state = BINDING_CLIENT_CONNECTING;
		client->stream.received = 0;
		client->due = TIMER_NONE;
		return;
	}
	if (result == BORROW_BUSY) {
		client->state = BINDING_CLIENT_WAITING;
		client->request.again = true;
		client->due = now + BUSY_RETRY_MS;
		return;
	}
	client->cannot = result == BORROW_CANNOT;
	set_failed(client);
}
/* NOLINTEND(misc-no-recursion) */

static void renew_question(struct binding_client *client)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	stun_make_transaction(client->question.transaction, random);
	client->rto = BINDING_CLIENT_RTO_MS;
	client->error = (struct error){.text = ""};
}

void binding_client_start(struct binding_client *client, const struct borrow_method *method,
	const struct borrow_request *request, enum binding_mode mode, uint16_t hold_seconds,
	uint64_t now)
{
	memset(client, 0, sizeof(*client));
	client->method = method;
	client->request = *request;
	client->port = BORROWED_NOTHING;
	renew_question(client);
	client->question.mode = request->protocol == MAPPING_TCP ? mode : BINDING_MODE_NONE;
	client->question.seconds = hold_seconds;
	open_port(client, now);
}

int binding_client_fd(const struct binding_client *client)
{
	return client->port.fd;
}

short binding_client_events(const struct binding_client *client)
{
	if (client->state == BINDING_CLIENT_CONNECTING)
		return POLLOUT;
	return POLLIN;
}

void binding_client_set_listener(struct binding_client *client,
	void (*listener)(void *context, const void *data, size_t size), void *context)
{
	client->listener = listener;
	client->listener_context = context;
}

static void send_question(struct binding_client *client)
{
	uint8_t bytes[128];
	size_t size = binding_write_request(&client->question, bytes, sizeof(bytes));
	const char *problem = stun_stream_send(client->port.fd, bytes, size);

	/* A router's answer, also "no route", is an error of the network. */
	if (problem != NULL)
		fail_with(client, EXIT_STATUS_NETWORK, problem, strerror(errno));
	else
		client->state = BINDING_CLIENT_ASKING;
}

/*
 * Does a process of this machine have the other end of a connection to elsewhere? Then a rule of
 * this machine redirects it to a transparent proxy, and the server sees a port of the proxy. That
 * does no harm for a port that was not chosen.
 */
static bool is_redirected(const struct binding_client *client, struct addr *proxy)
{
	struct addr local;

	return client->port.kind == BORROW_STREAM && client->request.local.port != 0 &&
	       socket_local(client->port.fd, &local) == 0 &&
	       port_owner_find_other_end(&local, proxy) &&
	       !socket_is_local_ip(&client->request.remote);
}

static void fail_redirected(struct binding_client *client, const struct addr *proxy)
{
	char remote[ADDR_TEXT_SIZE];
	char text[ADDR_TEXT_SIZE];

	error_set(&client->error, EXIT_STATUS_LOCAL,
		"a NAT rule of this machine redirects the connection to %s to %s: what is seen "
		"outside is that proxy's port, not %u",
		addr_format(&client->request.remote, remote), addr_format(proxy, text),
		client->request.local.port);
	error_hint(&client->error,
		"exempt natpunch from the rule, or have it send as the proxy itself does: --mark");
	set_failed(client);
}

static void take_connection(struct binding_client *client)
{
	struct addr proxy;

	if (is_redirected(client, &proxy))
		fail_redirected(client, &proxy);
	else
		send_question(client);
}

/* Another handshake on the same two addresses: NATs take it for a connection begun anew. */
static void renew_handshake(struct raw_handshake *handshake)
{
	struct addr local = handshake->local;
	struct addr remote = handshake->remote;
	uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE];

	random_fill(random, sizeof(random));
	raw_handshake_start(handshake, &local, &remote, random);
}

void binding_client_ask_again(struct binding_client *client, uint64_t now)
{
	renew_question(client);
	if (client->port.kind == BORROW_STREAM) {
		send_question(client);
		return;
	}
	if (client->port.fd < 0) {
		open_port(client, now);
		return;
	}
	if (client->port.kind == BORROW_HANDSHAKE)
		renew_handshake(&client->port.handshake);
	send_again(client, now);
}

/* Leaves a port that is to be free, unless it is needed for a while. */
static void let_go(struct binding_client *client, uint64_t now)
{
	client->due = TIMER_NONE;
	if (client->port.fd < 0 || !borrow_is_in_the_way(&client->port, &client->request))
		return;
	if (now < client->hold_until) {
		client->due = client->hold_until;
		return;
	}
	client->method = client->port.method;
	borrow_let_go(&client->port);
}

void binding_client_hold(struct binding_client *client, uint64_t now)
{
	if (!borrow_is_in_the_way(&client->port, &client->request))
		return;
	client->hold_until = now + BINDING_CLIENT_HOLD_MS;
	if (client->port.fd < 0 && borrow_open(client->method, &client->request, &client->port,
					   &client->error) != BORROW_OPEN)
		return;
	if (client->state == BINDING_CLIENT_ANSWERED)
		client->due = client->hold_until;
}

/* A server may name any address: an address that it could not reach itself, or ours, is refused. */
static bool may_follow(const struct binding_client *client, const struct addr *alternate)
{
	enum addr_class class = addr_classify(alternate);

	return !client->followed && alternate->port != 0 &&
	       alternate->family == client->request.remote.family &&
	       (class == ADDR_CLASS_PUBLIC || class == addr_classify(&client->request.remote)) &&
	       !socket_is_local_ip(alternate);
}

static void take_refusal(
	struct binding_client *client, const struct binding_answer *answer, uint64_t now)
{
	const char *reason = answer->reason[0] != '\0' ? answer->reason : "no reason given";
	char alternate[ADDR_TEXT_SIZE];
	char why[sizeof(answer->reason) + ADDR_TEXT_SIZE + 16];

	if (may_follow(client, &answer->alternate)) {
		client->followed = true;
		client->request.remote = answer->alternate;
		borrow_close(&client->port);
		renew_question(client);
		open_port(client, now);
		return;
	}
	if (answer->alternate.family == ADDR_NONE) {
		fail_with(client, EXIT_STATUS_NETWORK, "refused by", reason);
		return;
	}
	addr_format(&answer->alternate, alternate);
	snprintf(why, sizeof(why), "%s (it names %s)", reason, alternate);
	fail_with(client, EXIT_STATUS_NETWORK, "refused by", why);
}

static void judge_answer(struct binding_client *client, const void *data, size_t size, uint64_t now)
{
	const char *why = "";
	struct binding_answer answer;
	enum binding_outcome outcome = binding_read_answer(&client->question,
		(enum addr_family)client->request.remote.family, data, size, &answer, &why);

	switch (outcome) {
	case BINDING_MAPPED:
		client->answer = answer;
		client->local = client->port.local;
		client->state = BINDING_CLIENT_ANSWERED;
		let_go(client, now);
		return;
	case BINDING_REFUSED:
		take_refusal(client, &answer, now);
		return;
	case BINDING_UNRELATED:
		set_error(client, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	case BINDING_MALFORMED:
		if (client->port.kind == BORROW_DATAGRAM) {
			set_error(client, EXIT_STATUS_PEER, "bad answer from", why);
			return;
		}
		fail_with(client, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

/* Does it answer our question, and not another one from this port, or none? */
static bool is_ours(const struct binding_client *client, const uint8_t *data, size_t size)
{
	bool response = size >= STUN_HEADER_SIZE && (data[0] & 0x01) != 0; /* RFC 8489 5 */

	return response &&
	       memcmp(data + 4, client->question.transaction, STUN_TRANSACTION_SIZE) == 0;
}

/* One whole message: an answer, or one for the listener. */
static void take_message(
	struct binding_client *client, const uint8_t *data, size_t size, uint64_t now)
{
	if (client->listener != NULL && !is_ours(client, data, size))
		client->listener(client->listener_context, data, size);
	else if (client->state == BINDING_CLIENT_ASKING)
		judge_answer(client, data, size, now);
}

/*
 * The text line that a reflector sends to a client that is silent for a while: our question was
 * lost, and came too late when it was sent again. It is asked again over a new connection. Returns
 * false when this is no such line, or one too many.
 */
static bool ask_anew(struct binding_client *client, uint64_t now)
{
	if (client->state != BINDING_CLIENT_ASKING || client->lines == LINES_MAX ||
		!first_bytes_is_line(client->stream.bytes, client->stream.received))
		return false;
	client->lines++;
	borrow_close(&client->port);
	renew_question(client);
	open_port(client, now);
	return true;
}

/*
 * Takes one message at most: the caller must see the answer before what comes next, which may be
 * the end of the connection.
 */
static void receive_stream(struct binding_client *client, uint64_t now)
{
	enum stun_stream_result result = stun_stream_read(&client->stream, client->port.fd);

	client->reset = result == STUN_STREAM_BROKEN && errno == ECONNRESET;
	switch (result) {
	case STUN_STREAM_MESSAGE:
		take_message(client, client->stream.bytes, client->stream.received, now);
		return;
	case STUN_STREAM_WAITING:
		return;
	case STUN_STREAM_CLOSED:
	case STUN_STREAM_BROKEN:
		/* An error before the end says more than the end. */
		if (client->state == BINDING_CLIENT_ASKING &&
			client->error.status == EXIT_STATUS_PEER) {
			set_failed(client);
			return;
		}
		fail_with(
			client, EXIT_STATUS_NETWORK, "no answer from", stun_stream_explain(result));
		return;
	case STUN_STREAM_CUT:
		fail_with(client, EXIT_STATUS_PEER, "bad answer from", "it ends in the middle");
		return;
	case STUN_STREAM_NOT_STUN:
		if (!ask_anew(client, now))
			fail_with(client, EXIT_STATUS_PEER, "bad answer from",
				stun_stream_explain(result));
		return;
	}
}

/* Takes all datagrams that are there, until one decides. */
static void receive_datagrams(struct binding_client *client, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	while (client->state == BINDING_CLIENT_ASKING) {
		ssize_t got = borrow_receive(&client->port, bytes, sizeof(bytes));
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got < 0)
			fail_with(client, EXIT_STATUS_NETWORK, "no answer from", strerror(errno));
		else
			take_message(client, bytes, (size_t)got, now);
	}
}

static void fail_without_option(struct binding_client *client, const char *what, const char *why)
{
	fail_with(client, EXIT_STATUS_NETWORK, what, why);
	error_hint(&client->error,
		"method raw needs that option; another method or another reflector may do");
}

/* Returns false when it decided. */
static bool judge_handshake(struct binding_client *client, enum raw_handshake_outcome outcome,
	const struct addr *mapped)
{
	switch (outcome) {
	case RAW_HANDSHAKE_MAPPED:
		memset(&client->answer, 0, sizeof(client->answer));
		client->answer.mapped = *mapped;
		client->local = client->port.local;
		client->due = TIMER_NONE;
		client->state = BINDING_CLIENT_ANSWERED;
		return false;
	case RAW_HANDSHAKE_STRIPPED:
		fail_without_option(client, "no raw answer from",
			"the TCP MD5 option was removed on the way, or is not known there");
		return false;
	case RAW_HANDSHAKE_RESET:
		fail_without_option(client, "refused by",
			"nothing listens there, or the TCP MD5 option was removed on the way");
		return false;
	case RAW_HANDSHAKE_MALFORMED:
		set_error(client, EXIT_STATUS_PEER, "bad answer from", "it is not for us");
		return true;
	case RAW_HANDSHAKE_UNRELATED:
		return true;
	}
	return true;
}

/* Takes all segments that are there, until one decides. */
static void receive_handshake(struct binding_client *client)
{
	enum raw_handshake_outcome outcome;
	struct addr mapped;

	while (borrow_hear(&client->port, &outcome, &mapped) == 0)
		if (!judge_handshake(client, outcome, &mapped))
			return;
	/* An ICMP error may be about another connection, so it decides nothing. */
	if (errno != EAGAIN && errno != EINTR)
		set_error(client, EXIT_STATUS_NETWORK, "no answer from", strerror(errno));
}

/* Reads what comes between an answer and the next question, or poll(2) would report it for ever. */
static void pass_over(struct binding_client *client, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	enum raw_handshake_outcome outcome;
	struct addr mapped;

	if (client->port.kind == BORROW_HANDSHAKE) {
		while (borrow_hear(&client->port, &outcome, &mapped) == 0)
			;
		return;
	}
	for (;;) {
		ssize_t got = borrow_receive(&client->port, bytes, sizeof(bytes));
		if (got < 0)
			return;
		take_message(client, bytes, (size_t)got, now);
	}
}

void binding_client_advance(struct binding_client *client, uint64_t now)
{
	switch (client->state) {
	case BINDING_CLIENT_WAITING:
		if (now >= client->due)
			open_port(client, now);
		return;
	case BINDING_CLIENT_CONNECTING:
		take_connection(client);
		return;
	case BINDING_CLIENT_ASKING:
		if (client->port.kind == BORROW_STREAM) {
			receive_stream(client, now);
			return;
		}
		if (client->port.kind == BORROW_HANDSHAKE)
			receive_handshake(client);
		else
			receive_datagrams(client, now);
		if (client->state == BINDING_CLIENT_ASKING && now >= client->due)
			send_again(client, now);
		return;
	case BINDING_CLIENT_ANSWERED:
		if (client->port.kind == BORROW_STREAM)
			receive_stream(client, now);
		else
			pass_over(client, now);
		if (now >= client->due)
			let_go(client, now);
		return;
	case BINDING_CLIENT_FAILED:
		return;
	}
}

static void wait_for_fin(int fd)
{
	struct pollfd watch = {.fd = fd, .events = POLLIN};

	poll(&watch, 1, BINDING_CLIENT_FIN_WAIT_MS);
}

void binding_client_end(struct binding_client *client)
{
	if (client->state == BINDING_CLIENT_ANSWERED && client->port.kind == BORROW_STREAM) {
		if (client->answer.mode == BINDING_MODE_FORGET) {
			borrow_forget(&client->port);
			return;
		}
		if (client->answer.mode == BINDING_MODE_CLOSE)
			wait_for_fin(client->port.fd);
	}
	borrow_close(&client->port);
}
