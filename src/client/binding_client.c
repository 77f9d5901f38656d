#include "natpunch/client/binding_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"

#define BUSY_RETRY_MS 50
#define LINES_MAX     3

static void fail(struct binding_client *transaction)
{
	transaction->state = BINDING_CLIENT_FAILED;
	transaction->due = TIMER_NONE;
	borrow_close(&transaction->port);
}

static void set_error(struct binding_client *transaction, enum exit_status status, const char *what,
	const char *why)
{
	char remote[ADDR_TEXT_SIZE];

	addr_format(&transaction->request.remote, remote);
	error_set(&transaction->error, status, "%s %s: %s", what, remote, why);
}

static void fail_with(struct binding_client *transaction, enum exit_status status, const char *what,
	const char *why)
{
	set_error(transaction, status, what, why);
	fail(transaction);
}

static int send_once(struct binding_client *transaction)
{
	uint8_t bytes[128];
	size_t size;

	if (transaction->port.kind == BORROW_HANDSHAKE)
		return borrow_knock(&transaction->port);
	size = binding_write_request(&transaction->question, bytes, sizeof(bytes));
	return borrow_send(&transaction->port, bytes, size) < 0 ? -1 : 0;
}

/* Without a connection: sends the question, for the first time or again. */
static void send_again(struct binding_client *transaction, uint64_t now)
{
	/* What the network says of it, a full queue as well, is left to the next sending. */
	if (send_once(transaction) != 0 && errno == EPERM) {
		fail_with(transaction, EXIT_STATUS_LOCAL, "cannot ask", strerror(errno));
		return;
	}
	transaction->state = BINDING_CLIENT_ASKING;
	transaction->due = now + transaction->rto;
	transaction->rto *= 2;
}

static void open_port(struct binding_client *transaction, uint64_t now)
{
	enum borrow_result result = borrow_open(transaction->method, &transaction->request,
		&transaction->port, &transaction->error);

	if (result == BORROW_OPEN && transaction->port.kind != BORROW_STREAM) {
		send_again(transaction, now);
		return;
	}
	if (result == BORROW_OPEN) {
		transaction->state = BINDING_CLIENT_CONNECTING;
		transaction->due = TIMER_NONE;
		return;
	}
	if (result == BORROW_BUSY) {
		transaction->state = BINDING_CLIENT_WAITING;
		transaction->due = now + BUSY_RETRY_MS;
		return;
	}
	transaction->cannot = result == BORROW_CANNOT;
	fail(transaction);
}

static void renew_question(struct binding_client *transaction)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	stun_make_transaction(transaction->question.transaction, random);
	transaction->rto = BINDING_CLIENT_RTO_MS;
	transaction->received = 0;
}

void binding_client_start(struct binding_client *transaction, const struct borrow_method *method,
	const struct borrow_request *request, enum binding_mode mode, uint16_t hold_seconds,
	uint64_t now)
{
	memset(transaction, 0, sizeof(*transaction));
	transaction->method = method;
	transaction->request = *request;
	transaction->port = BORROWED_NOTHING;
	renew_question(transaction);
	transaction->question.mode = request->protocol == MAPPING_TCP ? mode : BINDING_MODE_NONE;
	transaction->question.seconds = hold_seconds;
	open_port(transaction, now);
}

int binding_client_fd(const struct binding_client *transaction)
{
	return transaction->port.fd;
}

short binding_client_events(const struct binding_client *transaction)
{
	if (transaction->state == BINDING_CLIENT_CONNECTING)
		return POLLOUT;
	return POLLIN;
}

void binding_client_set_listener(struct binding_client *transaction,
	void (*listener)(void *context, const void *data, size_t size), void *context)
{
	transaction->listener = listener;
	transaction->listener_context = context;
}

static void send_question(struct binding_client *transaction)
{
	uint8_t bytes[128];
	size_t size = binding_write_request(&transaction->question, bytes, sizeof(bytes));
	int problem = socket_take_error(transaction->port.fd);

	if (problem != 0) {
		/* What a router says, no route from there among it, is the network's word. */
		fail_with(transaction, EXIT_STATUS_NETWORK, "cannot connect to", strerror(problem));
		return;
	}
	/* An empty send buffer of a new connection takes a question whole. */
	if (send(transaction->port.fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
		fail_with(transaction, EXIT_STATUS_NETWORK, "cannot ask", strerror(errno));
		return;
	}
	transaction->state = BINDING_CLIENT_ASKING;
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

void binding_client_ask_again(struct binding_client *transaction, uint64_t now)
{
	renew_question(transaction);
	if (transaction->port.kind == BORROW_STREAM) {
		send_question(transaction);
		return;
	}
	if (transaction->port.kind == BORROW_HANDSHAKE)
		renew_handshake(&transaction->port.handshake);
	send_again(transaction, now);
}

static void judge(struct binding_client *transaction, const void *data, size_t size)
{
	const char *why = "";
	struct binding_answer answer;
	enum binding_outcome outcome = binding_read_answer(&transaction->question,
		(enum addr_family)transaction->request.remote.family, data, size, &answer, &why);

	switch (outcome) {
	case BINDING_MAPPED:
		transaction->answer = answer;
		transaction->local = transaction->port.local;
		transaction->due = TIMER_NONE;
		transaction->state = BINDING_CLIENT_ANSWERED;
		return;
	case BINDING_REFUSED:
		fail_with(transaction, EXIT_STATUS_NETWORK, "refused by",
			answer.reason[0] != '\0' ? answer.reason : "no reason given");
		return;
	case BINDING_UNRELATED:
	case BINDING_MALFORMED:
		if (transaction->port.kind == BORROW_DATAGRAM) {
			set_error(transaction, EXIT_STATUS_PEER, "bad answer from", why);
			return;
		}
		fail_with(transaction, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

/* Does it answer our question? Else it is unasked, or answers somebody else's on this port. */
static bool is_ours(const struct binding_client *transaction, const uint8_t *data, size_t size)
{
	bool response = size >= STUN_HEADER_SIZE && (data[0] & 0x01) != 0; /* RFC 8489 5 */

	return response &&
	       memcmp(data + 4, transaction->question.transaction, STUN_TRANSACTION_SIZE) == 0;
}

/* One whole message: an answer, or something for whoever else listens on this port. */
static void take_message(struct binding_client *transaction, const uint8_t *data, size_t size)
{
	if (transaction->listener != NULL && !is_ours(transaction, data, size))
		transaction->listener(transaction->listener_context, data, size);
	else if (transaction->state == BINDING_CLIENT_ASKING)
		judge(transaction, data, size);
}

/*
 * The line that a reflector sends to who says nothing for a while: our question was lost, and came
 * too late when it was sent again. A new connection has it asked again.
 */
static bool ask_anew(struct binding_client *transaction, uint64_t now)
{
	if (transaction->state != BINDING_CLIENT_ASKING || transaction->lines == LINES_MAX ||
		!first_bytes_is_line(transaction->bytes, transaction->received))
		return false;
	transaction->lines++;
	borrow_close(&transaction->port);
	renew_question(transaction);
	open_port(transaction, now);
	return true;
}

/* Cuts what was received into messages, until one fails the transaction. */
static void take_messages(struct binding_client *transaction, uint64_t now)
{
	size_t used = 0;

	while (transaction->state != BINDING_CLIENT_FAILED && used < transaction->received) {
		const uint8_t *data = transaction->bytes + used;
		size_t need;
		enum stun_frame frame = stun_frame(data, transaction->received - used, &need);
		if (frame == STUN_FRAME_NOT_STUN && ask_anew(transaction, now))
			return;
		if (frame == STUN_FRAME_NOT_STUN)
			fail_with(
				transaction, EXIT_STATUS_PEER, "bad answer from", "it is not STUN");
		if (frame != STUN_FRAME_COMPLETE)
			break;
		take_message(transaction, data, need);
		used += need;
	}
	transaction->received -= used;
	memmove(transaction->bytes, transaction->bytes + used, transaction->received);
}

static void receive_stream(struct binding_client *transaction, uint64_t now)
{
	size_t left = sizeof(transaction->bytes) - transaction->received;
	ssize_t got =
		recv(transaction->port.fd, transaction->bytes + transaction->received, left, 0);
	bool begun = transaction->received > 0;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0) {
		fail_with(transaction, EXIT_STATUS_NETWORK, "no answer from", strerror(errno));
		return;
	}
	if (got == 0) {
		fail_with(transaction, begun ? EXIT_STATUS_PEER : EXIT_STATUS_NETWORK,
			begun ? "bad answer from" : "no answer from",
			begun ? "it ends in the middle" : "it closed the connection");
		return;
	}
	transaction->received += (size_t)got;
	take_messages(transaction, now);
}

/* Takes all datagrams that are there, until one decides. */
static void receive_datagrams(struct binding_client *transaction)
{
	while (transaction->state == BINDING_CLIENT_ASKING) {
		ssize_t got = borrow_receive(
			&transaction->port, transaction->bytes, sizeof(transaction->bytes));
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got < 0)
			fail_with(transaction, EXIT_STATUS_NETWORK, "no answer from",
				strerror(errno));
		else
			take_message(transaction, transaction->bytes, (size_t)got);
	}
}

static void fail_without_option(
	struct binding_client *transaction, const char *what, const char *why)
{
	fail_with(transaction, EXIT_STATUS_NETWORK, what, why);
	error_hint(&transaction->error,
		"method raw needs that option; another method or another reflector may do");
}

/* Returns false when it decided. */
static bool judge_handshake(struct binding_client *transaction, enum raw_handshake_outcome outcome,
	const struct addr *mapped)
{
	switch (outcome) {
	case RAW_HANDSHAKE_MAPPED:
		memset(&transaction->answer, 0, sizeof(transaction->answer));
		transaction->answer.mapped = *mapped;
		transaction->local = transaction->port.local;
		transaction->due = TIMER_NONE;
		transaction->state = BINDING_CLIENT_ANSWERED;
		return false;
	case RAW_HANDSHAKE_STRIPPED:
		fail_without_option(transaction, "no raw answer from",
			"the TCP MD5 option was removed on the way, or is not known there");
		return false;
	case RAW_HANDSHAKE_RESET:
		fail_without_option(transaction, "refused by",
			"nothing listens there, or the TCP MD5 option was removed on the way");
		return false;
	case RAW_HANDSHAKE_MALFORMED:
		set_error(transaction, EXIT_STATUS_PEER, "bad answer from", "it is not for us");
		return true;
	case RAW_HANDSHAKE_UNRELATED:
		return true;
	}
	return true;
}

/* Takes all segments that are there, until one decides. */
static void receive_handshake(struct binding_client *transaction)
{
	enum raw_handshake_outcome outcome;
	struct addr mapped;

	while (borrow_hear(&transaction->port, &outcome, &mapped) == 0)
		if (!judge_handshake(transaction, outcome, &mapped))
			return;
	/* ICMP, which may be about another connection, is no verdict. */
	if (errno != EAGAIN && errno != EINTR)
		set_error(transaction, EXIT_STATUS_NETWORK, "no answer from", strerror(errno));
}

/* What comes between an answer and the next question would else be reported again and again. */
static void pass_over(struct binding_client *transaction)
{
	enum raw_handshake_outcome outcome;
	struct addr mapped;

	if (transaction->port.kind == BORROW_HANDSHAKE) {
		while (borrow_hear(&transaction->port, &outcome, &mapped) == 0)
			;
		return;
	}
	for (;;) {
		ssize_t got = borrow_receive(
			&transaction->port, transaction->bytes, sizeof(transaction->bytes));
		if (got < 0)
			return;
		take_message(transaction, transaction->bytes, (size_t)got);
	}
}

void binding_client_advance(struct binding_client *transaction, uint64_t now)
{
	switch (transaction->state) {
	case BINDING_CLIENT_WAITING:
		if (now >= transaction->due)
			open_port(transaction, now);
		return;
	case BINDING_CLIENT_CONNECTING:
		send_question(transaction);
		return;
	case BINDING_CLIENT_ASKING:
		if (transaction->port.kind == BORROW_STREAM) {
			receive_stream(transaction, now);
			return;
		}
		if (transaction->port.kind == BORROW_HANDSHAKE)
			receive_handshake(transaction);
		else
			receive_datagrams(transaction);
		if (transaction->state == BINDING_CLIENT_ASKING && now >= transaction->due)
			send_again(transaction, now);
		return;
	case BINDING_CLIENT_ANSWERED:
		if (transaction->port.kind == BORROW_STREAM)
			receive_stream(transaction, now);
		else
			pass_over(transaction);
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

void binding_client_end(struct binding_client *transaction)
{
	if (transaction->state == BINDING_CLIENT_ANSWERED &&
		transaction->port.kind == BORROW_STREAM) {
		if (transaction->answer.mode == BINDING_MODE_FORGET) {
			borrow_forget(&transaction->port);
			return;
		}
		if (transaction->answer.mode == BINDING_MODE_CLOSE)
			wait_for_fin(transaction->port.fd);
	}
	borrow_close(&transaction->port);
}
