/*
 * One held connection, over TCP and UDP, to a reflector that is the test's own: it answers, falls
 * silent, closes and invites as the test likes. The clock is the test's as well.
 */
#include "home/held.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/socket_linux.h"
#include "unit/server.h"

#define START       1000000
#define INTERVAL_MS 25000
#define REFLECTOR   3 /* its index */
#define SEEN_AS     "192.0.2.1"
#define HOLDS       true
#define STRANGE     false

static struct home_facts facts;
static struct held held;
static struct key key = {.name = "home", .secret = {1, 2, 3}};
static uint16_t kept_port; /* 0: any */
static bool leave_free;
static unsigned invited;
static struct invitation invitation;

/* The reflector's end. */
static struct reflector_end {
	int type;
	int listener; /* over TCP */
	int fd;
	bool holds; /* what it is asked to hold; a stranger's server does not */
	struct addr seen_as;
} end;

static void take_invitation(void *context, const struct invitation *taken, uint64_t now)
{
	ok(context == &invited && now == START, "it comes with its context and the time");
	invitation = *taken;
	invited++;
}

static void init(const struct key *name)
{
	home_facts_init(&facts);
	held_init(&held, name, &facts, INTERVAL_MS, take_invitation, &invited);
}

static void open_reflector(int type, bool holds, struct addr *addr)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*addr = address("127.0.0.1", 0);
	be_patient(fd, PATIENCE);
	if (fd < 0 || socket_bind(fd, addr) != 0 || (type == SOCK_STREAM && listen(fd, 5) != 0) ||
		socket_local(fd, addr) != 0)
		bail_out("no reflector: %s", strerror(errno));
	end = (struct reflector_end){.type = type,
		.listener = type == SOCK_STREAM ? fd : -1,
		.fd = fd,
		.holds = holds,
		.seen_as = address(SEEN_AS, 4000)};
}

/* The stream that came, or whom the datagrams come from. */
static void meet(void)
{
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	char byte;

	if (end.type == SOCK_STREAM) {
		end.fd = accept(end.listener, NULL, NULL);
		be_patient(end.fd, PATIENCE);
	} else if (recvfrom(end.fd, &byte, 1, MSG_PEEK, (struct sockaddr *)&from, &size) != 1 ||
		   connect(end.fd, (struct sockaddr *)&from, size) != 0) {
		bail_out("nobody asks: %s", strerror(errno));
	}
}

static void leave(void)
{
	if (end.listener >= 0)
		close(end.listener);
	close(end.fd);
}

/* The next message, if it is a request of this method; it is left in bytes. Returns its size. */
static size_t hear_request(unsigned method, uint8_t bytes[STUN_MESSAGE_MAX])
{
	size_t size = hear_message(end.fd, end.type, bytes);
	struct stun_message message;

	if (size == 0 || stun_parse(&message, bytes, size) != 0 || message.class != STUN_REQUEST ||
		message.method != method)
		return 0;
	return size;
}

/* Answers the next Binding request. */
static bool answer(void)
{
	const struct binding_server server = {.stream = end.holds && end.type == SOCK_STREAM};
	uint8_t bytes[STUN_MESSAGE_MAX], out[STUN_MESSAGE_MAX];
	struct binding_request granted;
	size_t size = hear_request(STUN_METHOD_BINDING, bytes), out_size;

	return size > 0 &&
	       binding_write_answer(&server, &end.seen_as, bytes, size, out, sizeof(out), &out_size,
		       &granted) == BINDING_ANSWERED &&
	       say(end.fd, out, out_size);
}

static bool hear_question(unsigned method)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	return hear_request(method, bytes) > 0;
}

static void advance_binding(struct binding_client *binding)
{
	struct pollfd watch = {
		.fd = binding_client_fd(binding), .events = binding_client_events(binding)};

	if (poll(&watch, 1, PATIENCE) != 1)
		bail_out("the race is not won");
	binding_client_advance(binding, START);
}

/* What a race would have won. */
static struct mapping_race_result win(int type, bool holds)
{
	struct mapping_race_result result = {.reflector = REFLECTOR};
	struct borrow_request request = {
		.protocol = type == SOCK_STREAM ? MAPPING_TCP : MAPPING_UDP,
		.local = address("127.0.0.1", kept_port),
		.leave_free = leave_free};

	open_reflector(type, holds, &request.remote);
	binding_client_start(
		&result.winner, &borrow_method_bind, &request, BINDING_MODE_HOLD, 25, START);
	if (type == SOCK_STREAM)
		advance_binding(&result.winner);
	meet();
	if (!answer())
		bail_out("the question does not come");
	while (result.winner.state == BINDING_CLIENT_ASKING)
		advance_binding(&result.winner);
	if (result.winner.state != BINDING_CLIENT_ANSWERED)
		bail_out("no answer: %s", result.winner.error.text);
	result.mapping.protocol = request.protocol;
	result.mapping.public_addr = result.winner.answer.mapped;
	result.mapping.local = result.winner.local;
	return result;
}

static void begin(int type, bool holds, uint64_t lifetime_ms)
{
	struct mapping_race_result result = win(type, holds);

	held_begin(&held, &result, lifetime_ms, START);
}

static uint64_t due(void)
{
	struct pollfd fd;

	return held_watch(&held, &fd);
}

/* Until something happened, or PATIENCE is over. */
static enum held_event advance(uint64_t now)
{
	struct pollfd fd;

	held_watch(&held, &fd);
	return held_advance(&held, poll(&fd, 1, PATIENCE) == 1, now);
}

static void is_soon(uint64_t time, uint64_t now, const char *what)
{
	ok(time <= now + INTERVAL_MS && time >= now + INTERVAL_MS - INTERVAL_MS / 10, "%s", what);
}

static void is_closed(const char *what)
{
	struct pollfd fd;

	ok(!held.open, "%s", what);
	is_uint(held_watch(&held, &fd), TIMER_NONE, "no timer runs");
	is_int(fd.fd, -1, "and there is nothing to poll");
	is_int(held_advance(&held, true, START), HELD_NOTHING, "nothing comes");
	is_int(held_expire(&held, UINT64_MAX - 1), HELD_NOTHING, "nor is anything due");
	held_send_keepalive(&held, START);
	is_uint(due(), TIMER_NONE, "nor sent");
}

static void test_keepalive(int type)
{
	uint64_t now;

	init(NULL);
	begin(type, HOLDS, 0);
	now = due();
	is_soon(now, START, "a keep-alive is due after the interval, or a little sooner");
	is_int(held_expire(&held, now - 1), HELD_NOTHING, "not before");
	ok(is_silent(end.fd), "and none is sent before");
	is_int(held_expire(&held, now), HELD_NOTHING, "then one is");
	is_uint(held.answer_due, now + HELD_ANSWER_MS, "its answer is waited for");
	held_send_keepalive(&held, now + 1);
	is_uint(held.answer_due, now + HELD_ANSWER_MS, "no other while it is under way");
	ok(answer(), "it is a Binding request");
	ok(is_silent(end.fd), "and the only one");
	is_int(advance(now + 20), HELD_ANSWERED, "the answer is taken");
	ok(addr_equal(&held.mapping.public_addr, &end.seen_as), "it is the mapping");
	is_uint(held.answer_due, TIMER_NONE, "no answer is waited for any more");
	is_soon(due(), now + 20, "the next keep-alive is due an interval later");
	held_send_keepalive(&held, now + 30);
	ok(hear_question(STUN_METHOD_BINDING), "one can be sent at once");
	held_end(&held);
	is_closed("ended");
	leave();
}

/* Homes that began at the same moment must not send at the same moment. */
static void test_jitter(void)
{
	uint64_t first;
	bool differ = false;

	init(NULL);
	begin(SOCK_STREAM, HOLDS, 0);
	first = due();
	for (int i = 0; i < 20; i++) {
		held_set_interval(&held, INTERVAL_MS, START);
		differ = differ || due() != first;
	}
	ok(differ, "the interval differs a little each time");
	held_set_interval(&held, 5000, START);
	ok(due() <= START + 5000, "a shorter interval counts at once");
	held_end(&held);
	ok(hear_fin(end.fd), "at the end it is closed in order");
	leave();
}

static void test_silent(void)
{
	init(NULL);
	begin(SOCK_STREAM, HOLDS, 0);
	held_send_keepalive(&held, START);
	ok(hear_question(STUN_METHOD_BINDING), "a keep-alive that nobody answers");
	is_int(held_expire(&held, START + HELD_ANSWER_MS - 1), HELD_NOTHING, "it is waited for");
	is_int(held_expire(&held, START + HELD_ANSWER_MS), HELD_SILENT, "but not for ever");
	is_closed("given up");
	if (socket_can_forget())
		ok(is_silent(end.fd), "without a packet");
	else
		skip(1, "needs CAP_NET_ADMIN");
	leave();
}

/* Where a NAT does not bear that. */
static void test_in_order(void)
{
	init(NULL);
	held.in_order = true;
	begin(SOCK_STREAM, HOLDS, 0);
	held_release(&held);
	is_closed("given up");
	ok(hear_fin(end.fd), "in order");
	is_uint(held.released.family, ADDR_NONE, "so nothing was left behind");
	leave();
	init(NULL);
	begin(SOCK_STREAM, HOLDS, 0);
	held_release(&held);
	is_uint(held.released.family, ADDR_IPV4, "else it is known where");
	leave();
}

static void test_lost(void)
{
	init(NULL);
	begin(SOCK_STREAM, HOLDS, 0);
	leave();
	is_int(advance(START + 5000), HELD_LOST, "a reflector closes it");
	is_uint(held.loss.stood_ms, 5000, "it had been there for so long");
	is_uint(held.loss.reflector, REFLECTOR, "and this was it");
	ok(held.loss.promised, "it had promised to hold it");
	ok(!held.loss.idle, "no keep-alive was under way");
	ok(!held.loss.reset, "and no RST came");
	is_closed("lost");

	begin(SOCK_STREAM, STRANGE, 0);
	held_send_keepalive(&held, START);
	leave();
	is_int(advance(START + 1), HELD_LOST, "a stranger's server resets it");
	ok(!held.loss.promised, "it had promised nothing");
	ok(held.loss.idle, "it was lost before the keep-alive");
	ok(held.loss.reset, "by a RST");
}

static void test_ending(void)
{
	init(NULL);
	begin(SOCK_STREAM, STRANGE, 8000);
	is_uint(due(), START + 6000, "a new one is wanted after three quarters of the lifetime");
	is_int(held_expire(&held, START + 5999), HELD_NOTHING, "not before");
	is_int(held_expire(&held, START + 6000), HELD_ENDING, "then it is");
	is_int(held_expire(&held, START + 6000), HELD_NOTHING, "once");
	ok(held.open, "it is still there");
	held_end(&held);
	leave();
	begin(SOCK_STREAM, STRANGE, 1000);
	is_uint(due(), START + HELD_RENEW_MIN_MS, "but it is not made anew all the time");
	held_end(&held);
	leave();
}

static void test_replaced(void)
{
	struct reflector_end old;

	init(NULL);
	begin(SOCK_STREAM, HOLDS, 8000);
	old = end;
	held_send_keepalive(&held, START);
	begin(SOCK_STREAM, HOLDS, 0);
	is_soon(due(), START, "the timers are those of the new one");
	held_send_keepalive(&held, START);
	ok(answer(), "which is used now");
	is_int(advance(START), HELD_ANSWERED, "and answers");
	held_end(&held);
	leave();
	end = old;
	ok(hear_question(STUN_METHOD_BINDING) && hear_fin(end.fd), "the old one is ended in order");
	leave();
}

static bool invite(uint32_t number, const uint8_t secret[KEY_SECRET_SIZE])
{
	struct invitation sent = {.number = number, .initiator = address("192.0.2.9", 9)};
	uint8_t random[12], salt[NAME_MESSAGE_SALT_SIZE], bytes[INVITATION_SIZE_MAX];
	unsigned before = invited;
	size_t size;

	memcpy(sent.session, held.registration.expected.session, sizeof(sent.session));
	random_fill(random, sizeof(random));
	random_fill(salt, sizeof(salt));
	size = invitation_write(&sent, secret, random, salt, bytes, sizeof(bytes));
	if (!say(end.fd, bytes, size))
		bail_out("no invitation: %s", strerror(errno));
	is_int(advance(START), HELD_NOTHING, "an invitation is no event of the connection");
	return invited > before;
}

static void test_invitations(void)
{
	static const uint8_t other[KEY_SECRET_SIZE] = {3, 2, 1};

	init(&key);
	begin(SOCK_STREAM, HOLDS, 0);
	ok(hear_question(STUN_METHOD_REGISTER), "the name is registered over it");
	ok(invite(1, key.secret), "an invitation is passed on");
	ok(invitation.initiator.port == 9, "with the initiator's address");
	ok(!invite(1, key.secret), "but not twice");
	ok(!invite(2, other), "nor without the key");
	held_release(&held);
	is_uint(due(), TIMER_NONE, "released: the registration has ended too");
	leave();
}

/* Over UDP the NAT may forget and map anew while we go on. */
static void test_changed(void)
{
	init(&key);
	begin(SOCK_DGRAM, HOLDS, 0);
	ok(hear_question(STUN_METHOD_REGISTER), "the name is registered");
	held_send_keepalive(&held, START);
	ok(answer(), "a keep-alive");
	is_int(advance(START), HELD_ANSWERED, "the mapping is the same");
	ok(is_silent(end.fd), "so the name is not registered anew");
	held_send_keepalive(&held, START);
	end.seen_as.port++;
	ok(answer(), "a keep-alive");
	is_int(advance(START), HELD_ANSWERED, "the mapping is another one");
	ok(addr_equal(&held.mapping.public_addr, &end.seen_as), "and known");
	ok(hear_question(STUN_METHOD_REGISTER), "so the name is registered anew");
	held_end(&held);
	leave();
}

/* A daemon's socket on the kept port, or -1. */
static int start_daemon(void)
{
	struct addr addr = address("127.0.0.1", kept_port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (socket_bind(fd, &addr) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool is_free(void)
{
	int fd = start_daemon();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* A port whose daemon may be started later. */
static void test_left_free(void)
{
	int fd;

	kept_port = 5000;
	init(NULL);
	begin(SOCK_DGRAM, HOLDS, 0);
	ok(!is_free(), "a port is held all the while");
	held_end(&held);
	leave();

	leave_free = true;
	begin(SOCK_DGRAM, HOLDS, 0);
	ok(is_free(), "one that is to be left free is not");
	held_send_keepalive(&held, START);
	ok(!is_free(), "except for a question");
	ok(answer(), "a keep-alive, from the same port");
	is_int(advance(START), HELD_ANSWERED, "which is answered");
	ok(is_free(), "then it is free again");
	fd = start_daemon();
	held_send_keepalive(&held, START);
	is_int(held_expire(&held, START + HELD_ANSWER_MS), HELD_SILENT,
		"when the daemon has it, another way is wanted");
	close(fd);
	held_end(&held);
	leave();

	init(&key);
	begin(SOCK_DGRAM, HOLDS, 0);
	ok(!is_free() && hear_question(STUN_METHOD_REGISTER), "it is held to register a name");
	held_send_keepalive(&held, START);
	ok(answer(), "a keep-alive meanwhile");
	is_int(advance(START), HELD_ANSWERED, "is answered");
	ok(!is_free(), "and it is held still");
	is_int(held_advance(&held, false, START + BINDING_CLIENT_HOLD_MS - 1), HELD_NOTHING,
		"for a while");
	ok(!is_free(), "until that is over");
	is_int(held_advance(&held, false, START + BINDING_CLIENT_HOLD_MS), HELD_NOTHING, "then");
	ok(is_free(), "it is left");
	held_end(&held);
	leave();
	leave_free = false;
	kept_port = 0;
}

int main(void)
{
	network_enter();
	test_keepalive(SOCK_STREAM);
	test_keepalive(SOCK_DGRAM);
	test_jitter();
	test_silent();
	test_in_order();
	test_lost();
	test_ending();
	test_replaced();
	test_invitations();
	test_changed();
	test_left_free();
	return done_testing();
}
