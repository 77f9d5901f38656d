/*
 * The retries of a simultaneous open, with a made-up clock and an opener that does as it is told.
 * Its sockets are real ones where an error must be found on them.
 */
#include "natpunch/client/punch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "tap.h"

#define START 1000000ULL

enum outcome {
	CONNECTS,    /* a socket without an error */
	REFUSED,     /* one that finds ECONNREFUSED */
	UNAVAILABLE, /* none: EADDRNOTAVAIL */
	NOT_NOW,     /* none: EAGAIN */
};

struct opener {
	enum outcome outcome;
	unsigned calls;
	int last; /* the descriptor that was handed out */
	struct addr remote;
};

/* Not connected and not connecting: SO_ERROR is 0. */
static int open_quiet(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* The error of a refused connection waits on it. */
static int open_refused(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	int closed = open_quiet();
	int fd = open_quiet();
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	/* Bound, so that nobody else has the port, and not listening. */
	if (bind(closed, (struct sockaddr *)&address, size) != 0 ||
		getsockname(closed, (struct sockaddr *)&address, &size) != 0)
		bail_out("loopback: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, size) != 0 && errno != EINPROGRESS)
		bail_out("a refusal at once: %s", strerror(errno));
	poll(&ready, 1, 5000);
	close(closed);
	return fd;
}

static int do_as_told(void *context, const struct addr *remote)
{
	struct opener *opener = context;

	opener->calls++;
	opener->remote = *remote;
	opener->last = -1;
	if (opener->outcome == UNAVAILABLE)
		errno = EADDRNOTAVAIL;
	else if (opener->outcome == NOT_NOW)
		errno = EAGAIN;
	else
		opener->last = opener->outcome == REFUSED ? open_refused() : open_quiet();
	return opener->last;
}

static struct addr somewhere(void)
{
	struct addr addr;

	if (addr_parse_ip(&addr, "192.0.2.2") != 0)
		bail_out("no address");
	addr.port = 40000;
	return addr;
}

static void start(struct punch *punch, struct opener *opener, enum outcome outcome, uint64_t at)
{
	struct addr remote = somewhere();

	*opener = (struct opener){.outcome = outcome, .last = -1};
	punch_start(punch, &remote, do_as_told, opener, at, PUNCH_TIMEOUT_MS, START);
}

static bool is_open(int fd)
{
	return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

static void test_success(void)
{
	struct punch punch;
	struct opener opener;
	struct addr remote = somewhere();

	start(&punch, &opener, CONNECTS, START);
	is_int(punch.state, PUNCH_TRYING, "a try is under way");
	is_uint(opener.calls, 1, "at once");
	ok(addr_equal(&opener.remote, &remote), "to the address");
	is_int(punch_fd(&punch), opener.last, "its socket is to be watched");
	is_uint(punch.due, START + PUNCH_TIMEOUT_MS, "until the time is up");
	punch_advance(&punch, false, START + 100);
	is_int(punch.state, PUNCH_TRYING, "without an event and before that, nothing happens");
	punch_advance(&punch, true, START + 200);
	is_int(punch.state, PUNCH_OPEN, "it stands");
	is_int(punch_fd(&punch), -1, "nothing is to be watched any more");
	ok(punch.due == TIMER_NONE, "nor is anything due");
	is_int(punch_take(&punch), opener.last, "the socket is handed out");
	is_int(punch.state, PUNCH_NONE, "and no punch is left");
	punch_end(&punch);
	ok(is_open(opener.last), "its end does not close what was handed out");
	close(opener.last);
}

static void test_refused(void)
{
	struct punch punch;
	struct opener opener;
	int first;

	start(&punch, &opener, REFUSED, START);
	first = opener.last;
	punch_advance(&punch, true, START + 80);
	is_int(punch.state, PUNCH_TRYING, "a RST is not the end");
	ok(!is_open(first), "its socket is closed");
	is_int(punch_fd(&punch), -1, "and nothing is watched for a while");
	ok(punch.due >= START + 80 + PUNCH_RETRY_MS && punch.due <= START + 80 + 2 * PUNCH_RETRY_MS,
		"the next try is due %d to %d ms later", PUNCH_RETRY_MS, 2 * PUNCH_RETRY_MS);
	punch_advance(&punch, false, punch.due - 1);
	is_uint(opener.calls, 1, "not before");
	punch_advance(&punch, true, punch.due - 1);
	is_uint(opener.calls, 1, "also not for an event of a socket that is gone");
	opener.outcome = CONNECTS;
	punch_advance(&punch, false, punch.due);
	is_uint(opener.calls, 2, "but then");
	is_uint(punch.tries, 2, "it is counted");
	punch_advance(&punch, true, START + 300);
	is_int(punch.state, PUNCH_OPEN, "and stands");
	close(punch_take(&punch));
}

/* Two that refuse each other in turn must not stay in step. */
static void test_jitter(void)
{
	struct punch punch;
	struct opener opener;
	uint64_t least = UINT64_MAX;
	uint64_t most = 0;

	for (int i = 0; i < 200; i++) {
		start(&punch, &opener, UNAVAILABLE, START);
		least = punch.due < least ? punch.due : least;
		most = punch.due > most ? punch.due : most;
		punch_end(&punch);
	}
	ok(most - least > PUNCH_RETRY_MS / 2, "the time between two tries varies");
	ok(least >= START + PUNCH_RETRY_MS && most <= START + 2 * PUNCH_RETRY_MS, "within bounds");
}

/* Runs until it is over, as fast as it is due. Returns when that was. */
static uint64_t run_out(struct punch *punch, bool events)
{
	uint64_t now = START;

	for (int i = 0; i < 1000 && punch->state == PUNCH_TRYING; i++) {
		if (punch_fd(punch) < 0 || !events)
			now = punch->due;
		punch_advance(punch, events && punch_fd(punch) >= 0, now);
	}
	return now;
}

static void test_unavailable(void)
{
	struct punch punch;
	struct opener opener;
	uint64_t end;

	start(&punch, &opener, UNAVAILABLE, START);
	is_int(punch.state, PUNCH_TRYING, "a pair of addresses in use is not the end");
	end = run_out(&punch, false);
	is_int(punch.state, PUNCH_FAILED, "for ever it is");
	is_errno(punch.problem, EADDRNOTAVAIL, "the problem is kept");
	ok(end > START + PUNCH_TIMEOUT_MS - 3 * PUNCH_RETRY_MS && end <= START + PUNCH_TIMEOUT_MS,
		"it ends when the time is up");
	ok(opener.calls >= PUNCH_TIMEOUT_MS / (2 * PUNCH_RETRY_MS) &&
			opener.calls <= PUNCH_TIMEOUT_MS / PUNCH_RETRY_MS + 1,
		"after as many tries as fit: %u", opener.calls);
	ok(punch.due == TIMER_NONE, "nothing is due");
	punch_advance(&punch, true, START + 2 * PUNCH_TIMEOUT_MS);
	is_int(punch.state, PUNCH_FAILED, "and nothing brings it back");
}

static void test_not_now(void)
{
	struct punch punch;
	struct opener opener;

	start(&punch, &opener, NOT_NOW, START);
	is_int(punch.state, PUNCH_TRYING, "a try that may not be made yet is not the end");
	is_uint(punch.tries, 0, "and does not count as one");
	ok(punch.due >= START + PUNCH_RETRY_MS, "it is made later");
	opener.outcome = CONNECTS;
	punch_advance(&punch, false, punch.due);
	is_uint(punch.tries, 1, "then it counts");
	punch_end(&punch);
}

static void test_refused_for_ever(void)
{
	struct punch punch;
	struct opener opener;

	start(&punch, &opener, REFUSED, START);
	run_out(&punch, true);
	is_int(punch.state, PUNCH_FAILED, "refused each time");
	is_errno(punch.problem, ECONNREFUSED, "the problem is kept");
	ok(!is_open(opener.last), "the last socket is closed");
}

static void test_silence(void)
{
	struct punch punch;
	struct opener opener;

	start(&punch, &opener, CONNECTS, START);
	run_out(&punch, false);
	is_int(punch.state, PUNCH_FAILED, "no answer at all");
	is_uint(opener.calls, 1, "the kernel repeats the SYN, we do not");
	is_errno(punch.problem, ETIMEDOUT, "the problem");
	ok(!is_open(opener.last), "the socket is closed");
}

static void test_start_moment(void)
{
	struct punch punch;
	struct opener opener;

	start(&punch, &opener, CONNECTS, START + 500);
	is_uint(opener.calls, 0, "before the agreed moment nothing is sent");
	is_uint(punch.due, START + 500, "it is due then");
	punch_advance(&punch, false, START + 499);
	is_uint(opener.calls, 0, "also not a little before");
	punch_advance(&punch, false, START + 500);
	is_uint(opener.calls, 1, "but then");
	is_uint(punch.due, START + 500 + PUNCH_TIMEOUT_MS, "and the time counts from there");
	punch_end(&punch);
	ok(!is_open(opener.last), "the end closes what is open");
	is_int(punch.state, PUNCH_NONE, "and leaves nothing");
	punch_end(&punch);
	ok(true, "it may be ended twice");
}

int main(void)
{
	test_success();
	test_refused();
	test_jitter();
	test_unavailable();
	test_not_now();
	test_refused_for_ever();
	test_silence();
	test_start_moment();
	return done_testing();
}
