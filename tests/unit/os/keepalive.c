/*
 * Who is dead and who only idle, by real connections on loopback. A peer dies by a filter on its
 * socket that drops all that comes: no answer, and no RST.
 */
#include "natpunch/os/keepalive.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/socket.h"
#include "tap.h"
#include "unit/deaf.h"

#define DEAD_MS  1500
#define DEADLINE 15000

/* Asks each second: the least that the kernel takes. */
static void ask_often(int fd)
{
	keepalive_start(fd);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
}

static bool dies(int fd)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	while (keepalive_dead_ms(fd, DEAD_MS) == 0)
		if (clock_now_ms() >= end || poll(NULL, 0, 20) != 0)
			return false;
	return true;
}

static void fill(int fd)
{
	static char bytes[65536];

	for (int idle = 0; idle < 5; poll(NULL, 0, 5))
		idle = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) > 0 ? 0
										       : idle + 1;
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	getsockopt(fd, level, option, &value, &size);
	return value;
}

static void test_options(int fd)
{
	keepalive_start(fd);
	ok(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) != 0, "the peer is asked");
	is_int(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), KEEPALIVE_IDLE_S, "after so long");
	is_int(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), KEEPALIVE_PROBE_S, "and again");
	is_int(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), KEEPALIVE_PROBES, "so many times");
}

int main(void)
{
	struct loopback idle = loopback_connect(), deaf = loopback_connect();
	struct loopback busy = loopback_connect(), full = loopback_connect();
	int pair[2];

	test_options(idle.ours);
	ask_often(idle.ours);
	ask_often(full.ours);
	fill(full.ours);
	ask_often(deaf.ours);
	become_deaf(deaf.theirs);
	is_uint(keepalive_dead_ms(deaf.ours, 0), 0, "nobody has asked yet: not dead");
	ok(dies(deaf.ours), "keep-alives that are not answered tell who is dead");
	ok(keepalive_dead_ms(deaf.ours, DEAD_MS) >= DEAD_MS, "and since when");
	is_uint(keepalive_dead_ms(deaf.ours, DEADLINE), 0, "which may be too short");
	is_uint(keepalive_dead_ms(idle.ours, 0), 0, "who is idle and answers lives");
	is_uint(keepalive_dead_ms(full.ours, 0), 0, "who does not read lives");
	hear_again(deaf.theirs);
	poll(NULL, 0, 1500);
	is_uint(keepalive_dead_ms(deaf.ours, 0), 0, "who comes back lives");

	become_deaf(busy.theirs);
	is_int(send(busy.ours, "x", 1, MSG_NOSIGNAL), 1, "something is said");
	ok(dies(busy.ours), "what is sent again and again tells it as well");

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		bail_out("socketpair: %s", strerror(errno));
	keepalive_start(pair[0]);
	is_uint(keepalive_dead_ms(pair[0], 0), 0, "of what is not TCP nothing is known");
	is_uint(keepalive_dead_ms(-1, 0), 0, "nor of what is not open");
	return done_testing();
}
