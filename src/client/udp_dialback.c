#include "natpunch/client/udp_dialback.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define SENDINGS    3
#define RTO_MS      300  /* then twice that, and again */
#define CALL_MS     2100 /* that is for the answers to the last sending */
#define RECEIVE_MAX 64   /* datagrams at once; the rest has its turn at the next poll(2) */

static void fail_with(
	struct udp_dialback *dialback, enum exit_status status, const char *what, const char *why)
{
	struct dialback_client *client = dialback->client;
	char remote[ADDR_TEXT_SIZE];

	error_set(&client->error, status, "%s %s: %s", what,
		addr_format(&client->reflector, remote), why);
	client->state = DIALBACK_CLIENT_FAILED;
	dialback_client_end(client);
}

static void fail_unsupported(struct udp_dialback *dialback, const char *why)
{
	dialback->client->unsupported = true;
	fail_with(dialback, EXIT_STATUS_NETWORK, "no dial-back by", why);
}

static int open_socket(
	struct dialback_client *client, const struct dialback_client_request *request)
{
	client->fd = socket_open((enum addr_family)request->reflector.family, SOCK_DGRAM, 0);
	if (client->fd < 0)
		return -1;
	if (request->interface != NULL &&
		socket_bind_interface(client->fd, request->interface) != 0)
		return -1;
	if (request->local.family != ADDR_NONE && socket_bind(client->fd, &request->local) != 0)
		return -1;
	return socket_connect(client->fd, &request->reflector);
}

static void renew(struct binding_request *question)
{
	uint8_t random[12];

	memset(question, 0, sizeof(*question));
	random_fill(random, sizeof(random));
	stun_make_transaction(question->transaction, random);
}

/* What the network says of it is left to the next sending. */
static void send_question(
	const struct udp_dialback *dialback, const struct binding_request *question)
{
	uint8_t bytes[128];
	size_t size = binding_write_request(question, bytes, sizeof(bytes));

	(void)send(dialback->client->fd, bytes, size, MSG_NOSIGNAL);
}

static void send_next(struct udp_dialback *dialback, uint64_t now)
{
	dialback->again = now + ((uint64_t)RTO_MS << dialback->sent++);
	if (dialback->sent == SENDINGS)
		dialback->again = TIMER_NONE;
	if (!dialback->calling)
		send_question(dialback, &dialback->question);
	for (size_t i = 0; i < DIALBACK_RESULT_MAX; i++)
		if (dialback->calls[i] != NULL && !dialback->calls[i]->heard)
			send_question(dialback, &dialback->calls[i]->question);
}

static void begin(struct udp_dialback *dialback, uint64_t now)
{
	dialback->began = now;
	dialback->sent = 0;
	send_next(dialback, now);
}

void udp_dialback_start(struct udp_dialback *dialback, struct dialback_client *client,
	struct udp_arrivals *arrivals, const struct dialback_client_request *request, uint64_t now)
{
	memset(dialback, 0, sizeof(*dialback));
	memset(client, 0, sizeof(*client));
	dialback->client = client;
	dialback->arrivals = arrivals;
	dialback->port = request->port;
	client->reflector = request->reflector;
	client->state = DIALBACK_CLIENT_ASKING;
	client->fd = -1;
	if (open_socket(client, request) != 0) {
		fail_with(dialback, EXIT_STATUS_LOCAL, "cannot ask", strerror(errno));
		return;
	}
	renew(&dialback->question);
	begin(dialback, now);
	client->due = now;
}

/* One result: of what is to come from `place`, where that is another one than was asked. */
static void add_call(struct udp_dialback *dialback, uint8_t place, const struct addr *from,
	struct binding_request question)
{
	struct dialback_answer *answer = &dialback->client->answer;
	struct dialback_result *result = &answer->results[answer->count];

	question.response_port = dialback->port;
	result->place = place;
	result->outcome = DIALBACK_NO_PLACE;
	if (!addr_equal(from, &dialback->client->reflector)) {
		result->outcome = DIALBACK_TIMED_OUT;
		result->from = *from;
		dialback->calls[answer->count] = udp_arrivals_expect(dialback->arrivals, &question);
	}
	answer->count++;
}

static void call(struct udp_dialback *dialback, const struct binding_answer *answer, uint64_t now)
{
	struct dialback_client *client = dialback->client;
	struct addr known = client->reflector;
	struct addr other = answer->other;
	struct binding_request question;

	if (other.family != client->reflector.family || other.port == client->reflector.port) {
		fail_unsupported(dialback, "it has no second address (reflect -a)");
		return;
	}
	client->answer.target = answer->mapped;
	client->answer.target.port = dialback->port;
	dialback->calling = true;
	renew(&question);
	question.change_port = true;
	known.port = other.port;
	add_call(dialback, DIALBACK_SAME_ADDRESS, &known, question);
	renew(&question);
	question.change_ip = question.change_port = true;
	if (addr_equal_ip(&other, &client->reflector))
		other = client->reflector;
	add_call(dialback, DIALBACK_OTHER_ADDRESS, &other, question);
	begin(dialback, now);
}

/* The socket gets answers to the first question, and says of the others that they are refused. */
static void judge(struct udp_dialback *dialback, const void *data, size_t size, uint64_t now)
{
	enum addr_family family = (enum addr_family)dialback->client->reflector.family;
	struct binding_answer answer;
	const char *why;

	if (!dialback->calling) {
		enum binding_outcome outcome =
			binding_read_answer(&dialback->question, family, data, size, &answer, &why);

		if (outcome == BINDING_MAPPED)
			call(dialback, &answer, now);
		else if (outcome == BINDING_REFUSED)
			fail_with(dialback, EXIT_STATUS_NETWORK, "refused by", answer.reason);
		return;
	}
	for (size_t i = 0; i < DIALBACK_RESULT_MAX; i++) {
		enum binding_outcome outcome;

		if (dialback->calls[i] == NULL)
			continue;
		outcome = binding_read_answer(
			&dialback->calls[i]->question, family, data, size, &answer, &why);
		if (outcome != BINDING_MAPPED && outcome != BINDING_REFUSED)
			continue;
		fail_unsupported(dialback, "it does not answer to another port");
		return;
	}
}

static void receive(struct udp_dialback *dialback, uint64_t now)
{
	const struct dialback_client *client = dialback->client;
	uint8_t bytes[STUN_DATAGRAM_MAX];

	for (unsigned i = 0; i < RECEIVE_MAX && client->state == DIALBACK_CLIENT_ASKING; i++) {
		ssize_t got = recv(client->fd, bytes, sizeof(bytes), 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got >= 0)
			judge(dialback, bytes, (size_t)got, now);
	}
}

static bool is_over(const struct udp_dialback *dialback, uint64_t now)
{
	bool all = true;

	for (size_t i = 0; i < DIALBACK_RESULT_MAX; i++)
		all = all && (dialback->calls[i] == NULL || dialback->calls[i]->heard);
	return all || now >= dialback->began + CALL_MS;
}

static void finish(struct udp_dialback *dialback)
{
	struct dialback_client *client = dialback->client;

	for (size_t i = 0; i < client->answer.count; i++) {
		const struct udp_arrival *arrival = dialback->calls[i];
		struct dialback_result *result = &client->answer.results[i];

		if (arrival == NULL)
			continue;
		if (arrival->arrived)
			result->from = arrival->source;
		if (arrival->heard)
			result->outcome = DIALBACK_CONNECTED;
	}
	client->state = DIALBACK_CLIENT_DONE;
	dialback_client_end(client);
}

void udp_dialback_advance(struct udp_dialback *dialback, uint64_t now)
{
	struct dialback_client *client = dialback->client;
	uint64_t end;

	if (client->state != DIALBACK_CLIENT_ASKING)
		return;
	receive(dialback, now);
	if (client->state != DIALBACK_CLIENT_ASKING)
		return;
	end = dialback->began + CALL_MS;
	if (dialback->calling && is_over(dialback, now)) {
		finish(dialback);
		return;
	}
	if (now >= end) {
		fail_with(dialback, EXIT_STATUS_NETWORK, "no answer from", "the time is up");
		return;
	}
	if (now >= dialback->again)
		send_next(dialback, now);
	client->due = dialback->again < end ? dialback->again : end;
}
