/*
 * What comes to the port goes to the server and back, peer by peer; and who makes room when there
 * is none. All on the loopback, with a clock of the test's own.
 */
#include "natpunch/home/udp_forward.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define START       1000000
#define PORT        5000
#define TO_PORT     6000
#define FIRST_PORT  20000
#define PEERS_COUNT (UDP_FORWARD_MAX + 1)

static struct udp_forward forward;
static uint64_t now;
static int server;
static int peers[PEERS_COUNT];

static int open_end(uint16_t own, uint16_t other)
{
	const struct addr local = address("127.0.0.1", own);
	const struct addr remote = address("127.0.0.1", other);
	int fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);

	if (fd < 0 || socket_bind(fd, &local) != 0 ||
		(other != 0 && socket_connect(fd, &remote) != 0))
		bail_out("socket: %s", strerror(errno));
	return fd;
}

static void start(void)
{
	const struct addr local = {.family = ADDR_NONE, .port = PORT};
	const struct host_port to = {.host = "127.0.0.1", .port = TO_PORT};
	struct error error;

	now = START;
	if (udp_forward_open(&forward, &local, NULL, &to, &error) != 0)
		bail_out("%s", error.text);
	server = open_end(TO_PORT, 0);
	for (unsigned i = 0; i < PEERS_COUNT; i++)
		peers[i] = open_end((uint16_t)(FIRST_PORT + i), PORT);
}

static void finish(void)
{
	udp_forward_end(&forward);
	close(server);
	for (unsigned i = 0; i < PEERS_COUNT; i++)
		close(peers[i]);
}

static void advance(void)
{
	struct pollfd fds[UDP_FORWARD_WATCH_MAX];

	udp_forward_watch(&forward, fds);
	poll(fds, UDP_FORWARD_WATCH_MAX, 0);
	udp_forward_advance(&forward, fds, now);
}

static void say_to(int fd, const char *text)
{
	if (send(fd, text, strlen(text), 0) < 0)
		bail_out("send: %s", strerror(errno));
	advance();
}

/* What the server gets; with `answer` it says that back. */
static bool server_hears(const char *text, bool answer)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	char got[64] = "";
	ssize_t size = recvfrom(
		server, got, sizeof(got) - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &length);

	if (size < 0)
		return false;
	if (answer)
		sendto(server, got, (size_t)size, 0, (struct sockaddr *)&from, length);
	advance();
	return strcmp(got, text) == 0;
}

static bool hears(int fd, const char *text)
{
	char got[64] = "";

	return recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT) >= 0 && strcmp(got, text) == 0;
}

static unsigned count_flows(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < UDP_FORWARD_MAX; i++)
		count += forward.flows[i].fd >= 0;
	return count;
}

static void test_both_ways(void)
{
	struct pollfd fds[UDP_FORWARD_WATCH_MAX];

	start();
	ok(udp_forward_watch(&forward, fds) == TIMER_NONE, "nobody: nothing to wait for");
	say_to(peers[0], "one");
	say_to(peers[1], "two");
	ok(server_hears("one", true), "the server hears the first");
	ok(server_hears("two", true), "and the second");
	ok(hears(peers[0], "one"), "the first has its answer");
	ok(hears(peers[1], "two"), "and the second");
	ok(!hears(peers[0], "two"), "each its own alone");
	say_to(peers[0], "again");
	ok(server_hears("again", false), "it goes on");
	is_uint(count_flows(), 2, "by the flow that is there");
	now += UDP_FORWARD_IDLE_MS - 1;
	say_to(peers[1], "still here");
	now++;
	advance();
	is_uint(count_flows(), 1, "who is silent for long is forgotten, and nobody else");
	finish();
	is_uint(count_flows(), 0, "at the end all are");
}

static void test_room(void)
{
	start();
	for (unsigned i = 0; i < UDP_FORWARD_MAX; i++) {
		now++;
		say_to(peers[i], "hello");
		ok(server_hears("hello", i != 5), "%u is served", i);
	}
	now++;
	say_to(peers[UDP_FORWARD_MAX], "hello");
	ok(server_hears("hello", true), "one more is, too");
	is_uint(count_flows(), UDP_FORWARD_MAX, "in the place of one");
	ok(addr_equal_ip(&forward.flows[5].remote, &forward.flows[4].remote) &&
			forward.flows[5].remote.port == FIRST_PORT + UDP_FORWARD_MAX,
		"that the server never answered");
	say_to(peers[5], "hello");
	ok(!server_hears("hello", false), "where all were answered, a newcomer is not served");
	say_to(peers[0], "still");
	ok(server_hears("still", true), "and whoever is there is");
	finish();
}

static void test_refused(void)
{
	const struct addr local = address("127.0.0.1", PORT);
	const struct host_port to = {.host = "127.0.0.1", .port = TO_PORT};
	int taken = open_end(PORT, 0);
	struct error error;

	is_int(udp_forward_open(&forward, &local, NULL, &to, &error), -1, "the port is taken");
	ok(strstr(error.text, "cannot bind port 5000") != NULL, "it says so: %s", error.text);
	close(taken);
}

/* Names and other ways to write an address of ours lead here as well. */
static void test_itself(void)
{
	static const char *const hosts[] = {
		"127.0.0.1", "localhost", "127.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"};
	const struct addr any = {.family = ADDR_NONE, .port = PORT};
	const struct addr local = address("127.0.0.1", PORT);
	struct host_port to = {.port = PORT};
	struct error error;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		snprintf(to.host, sizeof(to.host), "%s", hosts[i]);
		is_int(udp_forward_open(&forward, &any, NULL, &to, &error), -1,
			"%s is this machine", hosts[i]);
		is_int(error.status, EXIT_STATUS_USAGE, "and that is no place to pass on to");
	}
	snprintf(to.host, sizeof(to.host), "127.0.0.2");
	is_int(udp_forward_open(&forward, &local, NULL, &to, &error), 0,
		"with one address of ours, another one is another server's");
	udp_forward_end(&forward);
}

int main(void)
{
	network_enter();
	test_itself();
	test_both_ways();
	test_room();
	test_refused();
	return done_testing();
}
