/*
 * Home's own addresses, tried over the loopback: when the first that stands is used, what is left
 * of the others, and what refusals come to. The time is the test's own.
 */
#include "connect/nearby.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define START_MS 1000000U

static struct addr hosts[NEARBY_MAX + 1];
static int listeners[NEARBY_MAX];
static struct pollfd fds[NEARBY_MAX];

/* The first `listening` of `count` ports listen. */
static void prepare(size_t count, size_t listening)
{
	for (size_t i = 0; i < count; i++) {
		hosts[i] = address("127.0.0.1", (uint16_t)(5000 + i));
		if (i >= listening)
			continue;
		listeners[i] = socket_open(ADDR_IPV4, SOCK_STREAM, 0);
		if (socket_set_flag(listeners[i], SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
			socket_bind(listeners[i], &hosts[i]) != 0 || listen(listeners[i], 4) != 0)
			bail_out("listen: %s", strerror(errno));
	}
}

static void close_listeners(size_t listening)
{
	for (size_t i = 0; i < listening; i++)
		close(listeners[i]);
}

static bool advance(struct nearby *nearby, bool alone, uint64_t now)
{
	nearby_watch(nearby, fds);
	poll(fds, NEARBY_MAX, PATIENCE);
	return nearby_advance(nearby, fds, alone, now);
}

static void test_grace(void)
{
	struct nearby nearby;
	int fd;

	prepare(2, 2);
	nearby_init(&nearby);
	is_uint(nearby_watch(&nearby, fds), TIMER_NONE, "without hosts nothing is wanted");
	ok(fds[0].fd < 0 && fds[NEARBY_MAX - 1].fd < 0, "nor watched");
	ok(!nearby_advance(&nearby, fds, true, START_MS), "and there is no connection");
	nearby_start(&nearby, hosts, 2);
	ok(!advance(&nearby, false, START_MS), "one stands, and is not used yet");
	is_uint(nearby_watch(&nearby, fds), START_MS + NEARBY_GRACE_MS, "but a moment later");
	ok(fds[0].fd < 0 && fds[1].fd < 0, "no other one is tried any more");
	ok(!nearby_advance(&nearby, fds, false, START_MS + NEARBY_GRACE_MS - 1), "not before");
	ok(nearby_advance(&nearby, fds, false, START_MS + NEARBY_GRACE_MS), "then it is");
	fd = nearby_take(&nearby);
	ok(fd >= 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1, "it is connected");
	ok(!nearby_advance(&nearby, fds, true, START_MS + NEARBY_GRACE_MS), "and taken once");
	nearby_end(&nearby);
	is_int(fcntl(fd, F_GETFD), FD_CLOEXEC, "the end leaves it, which is the caller's");
	close(fd);
	nearby_start(&nearby, hosts, 1);
	ok(advance(&nearby, true, START_MS), "where nothing else is tried it is used at once");
	fd = nearby.connection;
	nearby_end(&nearby);
	is_int(fcntl(fd, F_GETFD), -1, "one that is not taken is closed");
	close_listeners(2);
}

static void test_refusals(void)
{
	struct nearby nearby;
	int first;

	prepare(NEARBY_MAX + 1, 0);
	nearby_init(&nearby);
	nearby_start(&nearby, hosts, NEARBY_MAX + 1);
	is_uint(nearby.count, NEARBY_MAX, "no more are tried than there is room for");
	first = nearby.fds[0];
	for (int i = 0; i < NEARBY_MAX && nearby.fds[0] >= 0; i++)
		ok(!advance(&nearby, true, START_MS), "who refuses is no connection");
	is_int(nearby.problem, ECONNREFUSED, "why is known");
	is_int(fcntl(first, F_GETFD), -1, "and nothing stays open");
	nearby_end(&nearby);
	hosts[0] = address("203.0.113.1", 22);
	nearby_start(&nearby, hosts, 1);
	is_int(nearby.problem, ENETUNREACH, "nor is there a way without a route");
	is_uint(nearby_watch(&nearby, fds), TIMER_NONE, "and nothing to wait for");
	nearby_end(&nearby);
	is_uint(nearby.count, 0, "the end forgets them");
	prepare(2, 1);
	hosts[2] = hosts[0];
	hosts[0] = address("127.0.0.1", 9);
	hosts[1] = hosts[2];
	nearby_start(&nearby, hosts, 2);
	while (nearby.connection < 0 && (nearby.fds[0] >= 0 || nearby.fds[1] >= 0))
		(void)advance(&nearby, true, START_MS);
	ok(nearby.connection >= 0, "one that refuses does not hinder the other");
	nearby_end(&nearby);
	close_listeners(1);
}

int main(void)
{
	network_enter();
	log_set_level(LOG_LEVEL_QUIET);
	test_grace();
	test_refusals();
	return done_testing();
}
