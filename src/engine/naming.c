#include "natpunch/naming.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/clock.h"
#include "natpunch/deadline.h"
#include "natpunch/loop.h"
#include "natpunch/random.h"
#include "natpunch/transaction.h"

#define SETTLE_MS 1000 /* for the question how a connection goes on after a failure */

static void fail(struct naming *naming)
{
	naming->state = NAMING_FAILED;
	naming->due = DEADLINE_NONE;
}

static void send_request(struct naming *naming, uint64_t now)
{
	bool stream = naming->port->kind == BORROW_STREAM;
	ssize_t sent =
		stream ? send(naming->port->fd, naming->request, naming->request_size, MSG_NOSIGNAL)
		       : borrow_send(naming->port, naming->request, naming->request_size);

	if (!stream) {
		/* What the network says of it is left to the next sending. */
		naming->due = now + naming->rto;
		naming->rto *= 2;
		return;
	}
	if (sent == (ssize_t)naming->request_size)
		return;
	error_set(&naming->error, EXIT_STATUS_NETWORK, "cannot ask %s: %s", naming->reflector,
		sent < 0 ? strerror(errno) : "it does not read");
	fail(naming);
}

static void ask_next(struct naming *naming, uint64_t now)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	naming->request_size = rendezvous_write(
		&naming->rendezvous, random, naming->request, sizeof(naming->request));
	naming->rto = NAMING_RTO_MS;
	send_request(naming, now);
}

void naming_start(struct naming *naming, struct borrowed *port, const char *reflector,
	const struct rendezvous *rendezvous, uint64_t now)
{
	memset(naming, 0, sizeof(*naming));
	naming->port = port;
	naming->reflector = reflector;
	naming->rendezvous = *rendezvous;
	naming->due = DEADLINE_NONE;
	ask_next(naming, now);
}

static void refuse(struct naming *naming)
{
	error_set(&naming->error, EXIT_STATUS_NETWORK, "%s refuses the key for %s",
		naming->reflector, naming->rendezvous.key->name);
	error_hint(&naming->error, "the same line must stand in the reflector's key file");
	fail(naming);
}

static void give_up(struct naming *naming, enum rendezvous_outcome outcome, const char *why)
{
	const char *reflector = naming->reflector;

	switch (outcome) {
	case RENDEZVOUS_UNSUPPORTED:
		error_set(&naming->error, EXIT_STATUS_NETWORK, "%s keeps no names", reflector);
		error_hint(&naming->error, "that takes natpunch reflect with -K");
		break;
	case RENDEZVOUS_FAILED:
		error_set(&naming->error, EXIT_STATUS_NETWORK,
			"%s does not answer for %s (error %u)", reflector,
			naming->rendezvous.key->name, naming->rendezvous.code);
		break;
	default:
		error_set(
			&naming->error, EXIT_STATUS_PEER, "bad answer from %s: %s", reflector, why);
	}
	/* Anybody can send a datagram; the true answer may still come. */
	if (outcome != RENDEZVOUS_MALFORMED || naming->port->kind != BORROW_DATAGRAM)
		fail(naming);
}

void naming_take(struct naming *naming, const void *data, size_t size, uint64_t now)
{
	const char *why = "";
	enum rendezvous_outcome outcome;

	if (naming->state != NAMING_ASKING)
		return;
	outcome = rendezvous_read(&naming->rendezvous, data, size, &why);
	switch (outcome) {
	case RENDEZVOUS_AGAIN:
		ask_next(naming, now);
		return;
	case RENDEZVOUS_DONE:
		naming->state = NAMING_DONE;
		naming->due = DEADLINE_NONE;
		return;
	case RENDEZVOUS_REFUSED:
		refuse(naming);
		return;
	case RENDEZVOUS_UNRELATED:
		return;
	default:
		give_up(naming, outcome, why);
	}
}

void naming_expire(struct naming *naming, uint64_t now)
{
	if (naming->state == NAMING_ASKING && now >= naming->due)
		send_request(naming, now);
}

/* What has been received of a stream, and is not a whole message yet. */
struct inbox {
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;
};

static void lose(struct naming *naming, const char *why)
{
	error_set(&naming->error, EXIT_STATUS_NETWORK, "no answer from %s: %s", naming->reflector,
		why);
	fail(naming);
}

static void read_stream(struct naming *naming, struct inbox *inbox, uint64_t now)
{
	ssize_t got = recv(naming->port->fd, inbox->bytes + inbox->size,
		sizeof(inbox->bytes) - inbox->size, 0);
	size_t need;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		lose(naming, got == 0 ? "it closed the connection" : strerror(errno));
		return;
	}
	inbox->size += (size_t)got;
	while (naming->state == NAMING_ASKING) {
		switch (stun_frame(inbox->bytes, inbox->size, &need)) {
		case STUN_FRAME_NOT_STUN:
			give_up(naming, RENDEZVOUS_MALFORMED, "it is not STUN");
			return;
		case STUN_FRAME_PARTIAL:
			return;
		case STUN_FRAME_COMPLETE:
			naming_take(naming, inbox->bytes, need, now);
			inbox->size -= need;
			memmove(inbox->bytes, inbox->bytes + need, inbox->size);
		}
	}
}

static void read_datagrams(struct naming *naming, struct inbox *inbox, uint64_t now)
{
	while (naming->state == NAMING_ASKING) {
		ssize_t got = borrow_receive(naming->port, inbox->bytes, sizeof(inbox->bytes));
		if (got < 0)
			return;
		naming_take(naming, inbox->bytes, (size_t)got, now);
	}
}

int naming_run(struct naming *naming, uint64_t deadline, struct error *error)
{
	struct pollfd watch = {.fd = naming->port->fd, .events = POLLIN};
	struct inbox inbox = {.size = 0};
	uint64_t now = clock_now_ms();

	while (naming->state == NAMING_ASKING && now < deadline) {
		uint64_t due = naming->due < deadline ? naming->due : deadline;

		poll(&watch, 1, loop_timeout(now, due));
		now = clock_now_ms();
		if (watch.revents != 0 && naming->port->kind == BORROW_STREAM)
			read_stream(naming, &inbox, now);
		else if (watch.revents != 0)
			read_datagrams(naming, &inbox, now);
		naming_expire(naming, now);
	}
	if (naming->state == NAMING_ASKING && naming->error.text[0] == '\0')
		lose(naming, "the time is up");
	if (naming->state == NAMING_DONE)
		return 0;
	*error = naming->error;
	return -1;
}

/* Asks once more how the connection goes on; without an answer it is closed in order. */
static void settle(struct transaction *transaction, enum binding_mode mode)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + SETTLE_MS;

	transaction->answer.mode = BINDING_MODE_NONE;
	transaction->question.mode = mode;
	transaction_ask_again(transaction, now);
	while (transaction->state == TRANSACTION_ASKING && now < deadline) {
		struct pollfd watch = {.fd = transaction_fd(transaction), .events = POLLIN};

		poll(&watch, 1, loop_timeout(now, deadline));
		now = clock_now_ms();
		transaction_advance(transaction, now);
	}
}

static int ask_over(struct borrowed *port, struct rendezvous *rendezvous, const char *reflector,
	uint64_t deadline, struct error *error)
{
	struct naming naming;
	int result;

	naming_start(&naming, port, reflector, rendezvous, clock_now_ms());
	result = naming_run(&naming, deadline, error);
	*rendezvous = naming.rendezvous;
	return result;
}

/* Raw has no connection: one from any port says which port was found. */
static int register_by_number(const struct probe_request *request,
	const struct probe_result *result, struct rendezvous *rendezvous, uint64_t deadline,
	struct error *error)
{
	struct probe_request own = {
		.reflectors = {request->reflectors[result->reflector]},
		.reflector_count = 1,
		.protocol = MAPPING_TCP,
		.local = result->winner.local,
		.family = (enum addr_family)result->winner.local.family,
		.interface = request->interface,
		.method = &borrow_method_bind,
		.resolver = request->resolver,
	};
	uint64_t now = clock_now_ms();
	struct probe_result second;
	int status;

	own.local.port = 0;
	own.timeout_ms = deadline > now ? deadline - now : 1;
	if (probe_run(&own, &second, error) != 0)
		return -1;
	rendezvous->registration.mapped_port = result->mapping.public_addr.port;
	status = ask_over(
		&second.winner.port, rendezvous, result->mapping.reflector, deadline, error);
	transaction_end(&second.winner);
	return status;
}

static int register_over(struct probe_result *result, struct rendezvous *rendezvous,
	enum binding_mode mode, uint64_t deadline, struct error *error)
{
	struct transaction *winner = &result->winner;
	bool stream = winner->port.kind == BORROW_STREAM;
	int status;

	if (stream && winner->answer.mode != BINDING_MODE_HOLD) {
		error_set(error, EXIT_STATUS_NETWORK, "%s keeps no names: it is no natpunch",
			result->mapping.reflector);
		return error_hint(error, "-n needs the reflector of natpunch reflect -K");
	}
	if (stream)
		rendezvous->mode = mode;
	status = ask_over(&winner->port, rendezvous, result->mapping.reflector, deadline, error);
	if (!stream)
		return status;
	if (status == 0)
		winner->answer.mode = rendezvous->granted;
	else
		settle(winner, mode);
	return status;
}

int naming_register(const struct probe_request *request, struct probe_result *result,
	const struct key *key, enum binding_mode mode, uint64_t deadline,
	struct rendezvous_record *registered, struct error *error)
{
	struct rendezvous rendezvous;
	int status;

	rendezvous_start(&rendezvous, STUN_METHOD_REGISTER, key);
	rendezvous.registration = (struct rendezvous_registration){
		.protocol = result->mapping.protocol,
		.local_port = result->mapping.local.port,
	};
	if (result->winner.port.kind == BORROW_HANDSHAKE)
		status = register_by_number(request, result, &rendezvous, deadline, error);
	else
		status = register_over(result, &rendezvous, mode, deadline, error);
	if (status == 0)
		*registered = rendezvous.records[0];
	return status;
}
