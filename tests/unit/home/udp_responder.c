/*
 * Whom home sends datagrams to when it is invited over UDP, and how many: the invitations are those
 * of a reflector that has the key and means harm. The clock is the test's own.
 */
#include "home/udp_responder.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define START      1000000
#define KEPT_PORT  5000
#define ELSEWHERE  "198.51.100.1"
#define FIRST_PORT 20000

static const struct key key = {.name = "home", .secret = {1, 2, 3}};
static struct udp_responder responder;
static struct held kept;
static struct standby standby = {.kept = &kept};

static void invite(const char *reflector, const char *ip, uint16_t port)
{
	const struct udp_responder_path path = {
		.local = {.port = KEPT_PORT},
		.reflector = address(reflector, 3478),
		.standby = &standby,
		.method = &borrow_method_bind,
		.key = &key,
	};
	const struct addr initiator = address(ip, port);

	udp_responder_meet(&responder, &path, &initiator, START);
}

static unsigned count_punches(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++)
		count += responder.punches[i].state != UDP_PUNCH_NONE;
	return count;
}

static unsigned count_sent(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++)
		count += responder.punches[i].sent;
	return count;
}

static bool follows(const char *reflector, const char *ip, uint16_t port)
{
	bool follows;

	udp_responder_init(&responder);
	invite(reflector, ip, port);
	follows = count_punches() == 1;
	udp_responder_end(&responder);
	return follows;
}

static void test_addresses(void)
{
	static const char *const impossible[] = {"127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1",
		"255.255.255.255", "::1", "fe80::1", "ff02::1"};

	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
		ok(!follows(ELSEWHERE, impossible[i], FIRST_PORT), "nobody can be at %s",
			impossible[i]);
	ok(follows("127.0.0.1", "127.0.0.2", FIRST_PORT),
		"a reflector on loopback sees others there");
	ok(!follows("127.0.0.1", "127.0.0.1", 3478), "and itself is none");
	standby.places[0].addr = address("127.0.0.2", 3478);
	ok(!follows("127.0.0.1", "127.0.0.2", 3478), "nor is another reflector of home");
	ok(follows("127.0.0.1", "127.0.0.2", FIRST_PORT), "but somebody on its host may be one");
	standby.places[0].addr.family = ADDR_NONE;
}

static void run(uint64_t from, uint64_t until)
{
	for (uint64_t now = from; now < until; now += 10)
		udp_responder_advance(&responder, now);
}

static void test_one(void)
{
	struct pollfd fds[UDP_RESPONDER_MAX];

	udp_responder_init(&responder);
	ok(udp_responder_watch(&responder, fds) == TIMER_NONE && fds[0].fd < 0,
		"nobody: nothing to wait for");
	invite("127.0.0.1", "127.0.0.2", FIRST_PORT);
	invite("127.0.0.1", "127.0.0.2", FIRST_PORT);
	is_uint(count_punches(), 1, "who asks twice is met once");
	is_uint(count_sent(), 1, "a datagram leaves at once");
	ok(udp_responder_watch(&responder, fds) > START && fds[0].fd >= 0, "the next one is due");
	run(START, START + UDP_PUNCH_TIMEOUT_MS);
	ok(count_sent() >= 8 && count_sent() <= 16, "some more follow: %u", count_sent());
	is_uint(count_punches(), 1, "for as long as it takes");
	run(START + UDP_PUNCH_TIMEOUT_MS, START + UDP_PUNCH_TIMEOUT_MS + 20);
	is_uint(count_punches(), 0, "and then it is over");
	udp_responder_end(&responder);
}

/* Invited again and again, to one address by other ports. */
static void test_limits(void)
{
	unsigned sent = 0;

	udp_responder_init(&responder);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i <= UDP_RESPONDER_MAX; i++)
			invite("127.0.0.1", "127.0.0.2", (uint16_t)(FIRST_PORT + 10 * round + i));
		if (count_punches() != UDP_RESPONDER_MAX)
			bail_out("%u punches", count_punches());
		sent += count_sent();
		udp_responder_end(&responder);
	}
	is_uint(sent, 128, "to one address no more than its measure");
}

int main(void)
{
	network_enter();
	test_addresses();
	test_one();
	test_limits();
	return done_testing();
}
