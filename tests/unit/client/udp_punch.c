/*
 * Two punches that meet on loopback, with a clock of the test's own; and what somebody who sees all
 * of it can send: his own, theirs again, theirs back.
 */
#include "natpunch/client/udp_punch.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define START     1000000ULL
#define LASTS     1000
#define HERE_PORT 6000
#define HOME_PORT 5000

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3};
static const uint8_t other[KEY_SECRET_SIZE] = {1, 2, 4};
static struct udp_punch here, home;
static bool forbidden;

static bool may_send(void *context, const struct addr *remote, uint64_t now)
{
	(void)context;
	(void)remote;
	(void)now;
	return !forbidden;
}

static void begin(struct udp_punch *punch, enum udp_check_role role, const uint8_t *key)
{
	bool is_home = role == UDP_CHECK_HOME;
	const struct udp_punch_config config = {
		.role = role,
		.secret = key,
		.method = &borrow_method_bind,
		.local = address("127.0.0.1", is_home ? HOME_PORT : HERE_PORT),
		.remote = address("127.0.0.1", is_home ? HERE_PORT : HOME_PORT),
		.may_send = may_send,
	};
	struct error error;

	if (udp_punch_start(punch, &config, START + LASTS, START, &error) != 0)
		bail_out("no punch: %s", error.text);
}

static void finish(void)
{
	udp_punch_end(&here);
	udp_punch_end(&home);
	forbidden = false;
}

/* Both go on until that time, as the one clock has it. */
static void run(uint64_t from, uint64_t until)
{
	for (uint64_t now = from; now <= until; now += 10) {
		udp_punch_advance(&here, now);
		udp_punch_advance(&home, now);
	}
}

static void test_both(void)
{
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, secret);
	run(START, START + 200);
	is_int(here.state, UDP_PUNCH_THROUGH, "the initiator is through");
	is_int(home.state, UDP_PUNCH_THROUGH, "and home");
	ok(here.due == TIMER_NONE, "then no more is sent");
	udp_punch_end(&here);
	is_int(here.state, UDP_PUNCH_NONE, "it ends");
	run(START + 210, START + 220);
	is_int(home.state, UDP_PUNCH_DONE, "and home knows that it need not wait");
	finish();
}

static void test_alone(void)
{
	begin(&here, UDP_CHECK_INITIATOR, secret);
	run(START, START + LASTS - 10);
	is_int(here.state, UDP_PUNCH_TRYING, "nobody there: it tries");
	ok(here.sent >= 4 && here.sent <= 10, "some times: %u", here.sent);
	run(START + LASTS, START + LASTS);
	is_int(here.state, UDP_PUNCH_FAILED, "until its deadline");
	is_int(udp_punch_fd(&here), -1, "then the port is free");
	finish();
}

static void test_other_key(void)
{
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, other);
	run(START, START + 500);
	is_int(here.state, UDP_PUNCH_TRYING, "home has another key: it is not believed");
	is_int(home.state, UDP_PUNCH_TRYING, "nor does it believe");
	is_uint(here.heard, 0, "as if nothing came");
	finish();
}

/* Its own role: what is sent back by whoever holds the other end. */
static void test_sent_back(void)
{
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, secret);
	home.config.role = UDP_CHECK_INITIATOR;
	run(START, START + 500);
	is_int(here.state, UDP_PUNCH_TRYING, "a check of its own role is none");
	is_uint(home.heard, 0, "for neither");
	finish();
}

static void send_to_here(const struct udp_check *check)
{
	uint8_t bytes[UDP_CHECK_SIZE];
	size_t size = udp_check_write(check, secret, bytes, sizeof(bytes));

	if (borrow_send(&home.port, bytes, size) != (ssize_t)size)
		bail_out("cannot send: %s", strerror(errno));
}

static void test_answers(void)
{
	struct udp_check check = {.response = true, .role = UDP_CHECK_HOME};

	stun_make_transaction(check.transaction, (const uint8_t[12]){1});
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, secret);
	while (recv(home.port.fd, (char[UDP_CHECK_SIZE]){0}, UDP_CHECK_SIZE, 0) > 0)
		;
	forbidden = true;
	udp_punch_advance(&here, START + 1);
	is_int(here.state, UDP_PUNCH_TRYING, "home's check alone is no answer");
	send_to_here(&check);
	udp_punch_advance(&here, START + 2);
	is_int(here.state, UDP_PUNCH_TRYING, "nor is the answer to another check");
	check.response = false;
	check.through = true;
	send_to_here(&check);
	udp_punch_advance(&here, START + 3);
	is_int(here.state, UDP_PUNCH_TRYING,
		"nor that home was through once, caught and sent again");
	check.response = true;
	memcpy(check.transaction, here.transaction, sizeof(check.transaction));
	send_to_here(&check);
	udp_punch_advance(&here, START + 4);
	is_int(here.state, UDP_PUNCH_THROUGH, "that to its own is");
	finish();
}

/* The initiator is through and gone before home's own check has come to it. */
static void test_gone(void)
{
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, secret);
	here.state = UDP_PUNCH_THROUGH;
	udp_punch_end(&here);
	udp_punch_advance(&home, START + 10);
	is_int(home.state, UDP_PUNCH_DONE,
		"home does not go on for one that was through and is gone");
	finish();
}

/* Each check is answered once, by as much; and of our own no more goes out than is allowed. */
static void test_repeated(void)
{
	struct udp_check check = {.role = UDP_CHECK_HOME};
	uint8_t bytes[STUN_DATAGRAM_MAX];
	unsigned count = 0;

	stun_make_transaction(check.transaction, (const uint8_t[12]){1});
	begin(&here, UDP_CHECK_INITIATOR, secret);
	begin(&home, UDP_CHECK_HOME, secret);
	udp_punch_advance(&here, START + 1);
	forbidden = true;
	while (recv(home.port.fd, bytes, sizeof(bytes), 0) > 0)
		;
	for (int i = 0; i < 20; i++)
		send_to_here(&check);
	for (uint64_t now = START + 10; now < START + LASTS; now += 10)
		udp_punch_advance(&here, now);
	for (; recv(home.port.fd, bytes, sizeof(bytes), 0) == UDP_CHECK_SIZE; count++)
		;
	is_uint(count, 20,
		"twenty checks, twenty answers, and none of its own that it may not send");
	finish();
}

int main(void)
{
	network_enter();
	test_both();
	test_alone();
	test_other_key();
	test_sent_back();
	test_answers();
	test_gone();
	test_repeated();
	return done_testing();
}
