/*
 * Fuzzes what home hears over the connection, or the port, that it holds: answers to its Binding
 * requests and to its registration, invitations, all else that a server or a stranger can say, ends
 * and silence. The input says what the server does, step by step, and so does a true answer where
 * one is due: whole, or with a byte changed.
 *
 * What must hold: nobody is invited and nothing is registered but by what was proven with the key,
 * and once; a mapping is an address that can be one; of the timers those run that held.c says.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "steps.h"
#include "home/held.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/os/log.h"
#include "natpunch/proto/stun_auth.h"

#define START_MS    100000U
#define INTERVAL_MS 25000U
#define STEPS       100
#define HEARD_MAX   4096

static const struct key key = {.name = "home", .secret = {1, 2, 3}};

static enum borrow_result open_pair(
	const struct borrow_request *request, struct borrowed *out, struct error *error);

static const struct borrow_method method = {.name = "fuzz", .open = open_pair};

/* The server, and what it has heard last. */
static struct {
	int fd; /* or -1 */
	bool stream;
	uint8_t heard[HEARD_MAX];
	size_t size;
	uint8_t binding[STUN_MESSAGE_MAX], question[STUN_MESSAGE_MAX];
	size_t binding_size, question_size;
	uint8_t session[INVITATION_SESSION_SIZE]; /* of the registration that it has granted */
	uint32_t invited;                         /* by messages that home must believe */
} server;

static struct binding_client client; /* until there is a mapping, */
static struct home_facts facts;
static struct held held; /* and then */
static bool holds;
static uint32_t invited, number;
static uint8_t session[INVITATION_SESSION_SIZE];
static uint64_t now;

static enum borrow_result open_pair(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	int type = request->protocol == MAPPING_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int pair[2];

	(void)error;
	fuzz_check(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	if (server.fd >= 0)
		close(server.fd);
	server.fd = pair[1];
	server.stream = request->protocol == MAPPING_TCP;
	server.size = 0;
	*out = BORROWED_NOTHING;
	out->method = &method;
	out->kind = server.stream ? BORROW_STREAM : BORROW_DATAGRAM;
	out->fd = pair[0];
	out->local = request->local;
	out->remote = request->remote;
	return BORROW_OPEN;
}

static void take_invitation(void *context, const struct invitation *invitation, uint64_t when)
{
	fuzz_check(context == &invited && when == now);
	/* Each registration counts anew. */
	if (memcmp(invitation->session, session, sizeof(session)) != 0)
		number = 0;
	fuzz_check(invitation->number > number);
	fuzz_check(memcmp(invitation->session, server.session, sizeof(server.session)) == 0);
	memcpy(session, invitation->session, sizeof(session));
	number = invitation->number;
	invited++;
	fuzz_check(invited <= server.invited);
}

/* ---- the server --------------------------------------------------------------------------- */

static void note(const uint8_t *data, size_t size)
{
	if (stun_peek_method(data, size) == STUN_METHOD_BINDING) {
		memcpy(server.binding, data, size);
		server.binding_size = size;
	} else {
		memcpy(server.question, data, size);
		server.question_size = size;
	}
}

/* Home writes nothing but whole messages. */
static void hear(void)
{
	ssize_t got;
	size_t need;

	while (server.fd >= 0 && (got = recv(server.fd, server.heard + server.size,
					  HEARD_MAX - server.size, 0)) > 0) {
		server.size += (size_t)got;
		while (stun_frame(server.heard, server.size, &need) == STUN_FRAME_COMPLETE) {
			note(server.heard, need);
			server.size -= need;
			memmove(server.heard, server.heard + need, server.size);
		}
		fuzz_check(server.size == 0);
	}
}

/* Returns whether it goes out as it is. */
static bool say(uint8_t *data, size_t size, bool bent)
{
	if (size == 0 || server.fd < 0)
		return false;
	if (bent) {
		size_t at = take();
		uint8_t change = take();

		data[at % size] ^= change;
		bent = change != 0;
	}
	return send(server.fd, data, size, MSG_NOSIGNAL) == (ssize_t)size && !bent;
}

static void answer_binding(bool bent)
{
	const struct binding_server as = {.stream = server.stream, .can_forget = true};
	struct addr seen = {.family = ADDR_IPV4, .ip = {203, 0, 113, 2}, .port = 40000};
	uint8_t out[STUN_MESSAGE_MAX];
	struct binding_request granted;
	size_t size;

	seen.port = (uint16_t)(seen.port + take() % 4);
	if (binding_write_answer(&as, &seen, server.binding, server.binding_size, out, sizeof(out),
		    &size, &granted) == BINDING_ANSWERED)
		(void)say(out, size, bent);
}

static void put_place(struct wire_writer *writer, bool rival)
{
	static uint8_t salt[NAME_MESSAGE_SALT_SIZE];
	struct name_message_record record = {
		.addr = {.family = ADDR_IPV4, .ip = {203, 0, 113, 2}, .port = 40000},
		.protocol = MAPPING_TCP,
	};

	salt[0]++;
	if (rival)
		name_message_put_rival(writer, &record, key.secret, salt);
	else
		name_message_put_record(writer, &record, key.secret, salt);
}

/* To the last REGISTER: the way of an answer is chosen by the input. */
static void answer_question(bool bent)
{
	uint8_t out[STUN_MESSAGE_MAX];
	struct stun_message asked;
	struct wire_writer writer;
	uint8_t how = take();
	bool granted = (how & 3) != 0;
	size_t size;

	if (stun_parse(&asked, server.question, server.question_size) < 0)
		return;
	stun_begin(&writer, out, sizeof(out), granted ? STUN_SUCCESS : STUN_ERROR, asked.method,
		asked.transaction);
	if (granted) {
		put_place(&writer, false);
		if ((how & 4) != 0)
			put_place(&writer, true);
		stun_auth_put(&writer, key.secret, sizeof(key.secret));
	} else {
		stun_put_error(&writer, (how & 4) != 0 ? 438 : 401, "");
		stun_put(&writer, STUN_NONCE, "nonce", 5);
	}
	stun_put_fingerprint(&writer);
	size = stun_finish(&writer);
	if (say(out, size, bent) && granted)
		memcpy(server.session, asked.transaction + 4, sizeof(server.session));
}

static void invite(bool bent)
{
	struct invitation invitation = {.number = 1 + take() % 8U,
		.initiator = {.family = ADDR_IPV4, .ip = {192, 0, 2, 9}, .port = 9},
		.ticket = {.number = 1},
		.prediction = {.port = 40000, .step = 1}};
	const uint8_t random[12] = {1}, salt[NAME_MESSAGE_SALT_SIZE] = {2};
	uint8_t out[INVITATION_SIZE_MAX];
	size_t size;

	invitation.kind = (enum invitation_kind)(take() % 3);
	memcpy(invitation.session, server.session, sizeof(invitation.session));
	size = invitation_write(&invitation, key.secret, random, salt, out, sizeof(out));
	fuzz_check(size > 0);
	/* A changed FINGERPRINT is noticed as well. */
	server.invited += say(out, size, bent);
}

static void say_anything(void)
{
	uint8_t bytes[63];
	size_t size = take() % sizeof(bytes);

	for (size_t i = 0; i < size; i++)
		bytes[i] = take();
	(void)say(bytes, size, false);
}

static void end_server(void)
{
	if (server.fd >= 0)
		close(server.fd);
	server.fd = -1;
}

/* ---- home --------------------------------------------------------------------------------- */

static void check_held(enum held_event event)
{
	enum addr_class class = addr_classify(&held.mapping.public_addr);

	if (event == HELD_LOST || event == HELD_SILENT)
		fuzz_check(!held.open);
	fuzz_check(held.keepalive_due == TIMER_NONE || held.answer_due == TIMER_NONE);
	fuzz_check(held.open || held.registration.over == NULL);
	if (!held.open)
		return;
	fuzz_check(held.mapping.public_addr.port != 0);
	fuzz_check(class != ADDR_CLASS_UNSPECIFIED && class != ADDR_CLASS_MULTICAST);
}

static void begin_to_hold(void)
{
	static struct mapping_race_result result;

	memset(&result, 0, sizeof(result));
	result.winner = client;
	result.mapping.public_addr = client.answer.mapped;
	result.mapping.local = client.local;
	result.mapping.protocol = server.stream ? MAPPING_TCP : MAPPING_UDP;
	held_begin(&held, &result, 0, now);
	holds = true;
	check_held(HELD_NOTHING);
}

/* Until nothing is left to be read. */
static void turn(void)
{
	for (int i = 0; i < 20; i++) {
		if (holds) {
			check_held(held_advance(&held, true, now));
		} else if (client.state != BINDING_CLIENT_FAILED) {
			binding_client_advance(&client, now);
			if (client.state == BINDING_CLIENT_ANSWERED)
				begin_to_hold();
		}
	}
	if (holds)
		check_held(held_expire(&held, now));
	hear();
}

static void step(void)
{
	uint8_t what = take();
	bool bent = (what & 8) != 0;

	switch (what % 8) {
	case 0:
	case 1:
		answer_binding(bent);
		break;
	case 2:
	case 3:
		answer_question(bent);
		break;
	case 4:
		invite(bent);
		break;
	case 5:
		say_anything();
		break;
	case 6:
		now += (uint64_t)take() * (bent ? 1000 : 20);
		break;
	default:
		if (bent)
			end_server();
		else if (holds)
			held_send_keepalive(&held, now);
	}
	turn();
}

static void begin(bool stream)
{
	struct borrow_request request = {
		.protocol = stream ? MAPPING_TCP : MAPPING_UDP,
		.local = {.family = ADDR_IPV4, .ip = {192, 168, 1, 2}, .port = 22},
		.remote = {.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3478},
	};

	memset(&server, 0, sizeof(server));
	server.fd = -1;
	holds = false;
	invited = number = 0;
	now = START_MS;
	home_facts_init(&facts);
	held_init(&held, &key, &facts, INTERVAL_MS, take_invitation, &invited);
	binding_client_start(
		&client, &method, &request, BINDING_MODE_HOLD, INTERVAL_MS / 1000, now);
	turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_LEVEL_QUIET);
	input = data;
	left = size;
	begin((take() & 1) != 0);
	for (int i = 0; i < STEPS && left > 0; i++)
		step();
	if (holds)
		held_end(&held);
	else
		binding_client_end(&client);
	end_server();
	return 0;
}
