/* The counters by HTTP: who is answered what, and what a slow or a greedy client can take. */
#include "reflector/metrics.h"

#include <sys/socket.h>

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define PORT 9399

static struct metrics metrics;
static struct loop loop;
static uint64_t now = 1000;
static unsigned collected;

static void collect(void *context, struct counters *out, uint64_t time)
{
	collected += context == &loop && time == now;
	out->values[COUNTER_UDP_REQUESTS] += 42;
}

/* Serves what is ready, until nothing is. */
static void turn(void)
{
	struct loop_event events[LOOP_BATCH];
	int count;

	while ((count = loop_wait(&loop, events, 0)) > 0)
		for (int i = 0; i < count; i++)
			metrics_event(&metrics, events[i].tag, now);
}

static const char *ask_for(const char *ip, const char *request)
{
	int fd = dial(ip, PORT);
	const char *answer;

	say(fd, request, strlen(request));
	turn();
	answer = hear_all(fd);
	close(fd);
	turn();
	return answer;
}

static void test_answers(void)
{
	const char *answer = ask_for("127.0.0.1", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");

	ok(strstr(answer, "HTTP/1.0 200 OK\r\n") == answer, "GET of the path is answered");
	ok(strstr(answer, "\r\n\r\n# HELP natpunch_requests_total") != NULL, "with the counters");
	ok(strstr(answer, "kind=\"binding\"} 42\n") != NULL, "as they are now");
	is_uint(collected, 1, "they were collected once");
	answer = ask_for("::1", "HEAD /metrics?a=b HTTP/1.0\n\n");
	ok(strstr(answer, "HTTP/1.0 200 OK\r\n") == answer, "HEAD over IPv6, and a query");
	ok(strstr(answer, "HELP") == NULL && strstr(answer, "\r\n\r\n") != NULL, "has no body");
	answer = ask_for("127.0.0.1", "GET / HTTP/1.0\r\n\r\n");
	ok(strstr(answer, "HTTP/1.0 404 Not Found\r\n") == answer, "another path is not found");
	answer = ask_for("127.0.0.1", "GET /metricsandmore HTTP/1.0\r\n\r\n");
	ok(strstr(answer, "HTTP/1.0 404 ") == answer, "nor is a longer one");
	answer = ask_for("127.0.0.1", "POST /metrics HTTP/1.0\r\n\r\n");
	ok(strstr(answer, "HTTP/1.0 405 ") == answer, "another method is not allowed");
	is_uint(collected, 2, "for those nothing was collected");
	is_uint(metrics_next(&metrics), TIMER_NONE, "all of them are gone");
}

/* In pieces; too long; too slow. */
static void test_bounds(void)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	static char long_line[METRICS_HEADERS + 1];
	int fd = dial("127.0.0.1", PORT);

	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		say(fd, request + i, 1);
		turn();
	}
	ok(strstr(hear_all(fd), "200 OK") != NULL, "a request in single bytes");
	close(fd);
	memset(long_line, 'a', sizeof(long_line));
	fd = dial("127.0.0.1", PORT);
	say(fd, long_line, sizeof(long_line));
	turn();
	ok(hear_end(fd), "one without an end is ended");
	close(fd);
	fd = dial("127.0.0.1", PORT);
	turn();
	is_uint(metrics_next(&metrics), now + METRICS_MS, "one has a deadline");
	now += METRICS_MS - 1;
	say(fd, request, 3);
	turn();
	metrics_expire(&metrics, now);
	ok(is_silent(fd), "which what it says does not put off");
	now++;
	metrics_expire(&metrics, now);
	ok(hear_end(fd), "and then it is ended");
	close(fd);
	fd = dial("127.0.0.1", PORT);
	say(fd, request, sizeof(request) - 1);
	turn();
	say(fd, "more", 4);
	turn();
	is_uint(metrics_next(&metrics), now + METRICS_MS, "one that was answered and does not go");
	now += METRICS_MS;
	metrics_expire(&metrics, now);
	is_uint(metrics_next(&metrics), TIMER_NONE, "is ended as well");
	close(fd);
}

static void test_crowd(void)
{
	int fds[3 * METRICS_CLIENTS];
	const size_t many = sizeof(fds) / sizeof(*fds);
	unsigned silent = 0;

	for (size_t i = 0; i < many; i++) {
		fds[i] = dial("127.0.0.1", PORT);
		turn();
	}
	for (size_t i = 0; i < many; i++)
		silent += is_silent(fds[i]);
	is_uint(silent, many, "while all places are new, others wait");
	is_uint(metrics_next(&metrics), now + METRICS_LEAST_MS, "for a while");
	for (int i = 0; i < 2; i++) {
		now += METRICS_LEAST_MS;
		metrics_expire(&metrics, now);
		turn();
	}
	silent = 0;
	for (size_t i = 0; i < many; i++)
		silent += is_silent(fds[i]);
	is_uint(silent, METRICS_CLIENTS, "then the oldest make room");
	now += METRICS_LEAST_MS;
	metrics_expire(&metrics, now);
	ok(strstr(ask_for("127.0.0.1", "GET /metrics HTTP/1.0\r\n\r\n"), "200 OK") != NULL,
		"and one that asks is answered");
	for (size_t i = 0; i < many; i++)
		close(fds[i]);
	turn();
}

static void test_elsewhere(void)
{
	struct addr addr = address("127.0.0.2", PORT);
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&addr, &sockaddr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ok(connect(fd, (struct sockaddr *)&sockaddr, size) != 0 && errno == ECONNREFUSED,
		"nobody listens on other addresses");
	close(fd);
}

int main(void)
{
	network_enter();
	if (loop_open(&loop) != 0 || metrics_open(&metrics, PORT, &loop, 1, collect, &loop) != 0)
		bail_out("it does not open: %s", strerror(errno));
	test_answers();
	test_bounds();
	test_crowd();
	test_elsewhere();
	metrics_close(&metrics);
	loop_close(&loop);
	return done_testing();
}
