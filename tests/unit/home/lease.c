/*
 * The test plays the router, at an address of a network of its own, and moves the clock.
 */
#include "home/lease.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/proto/pcp.h"
#include "unit/server.h"

#define START   UINT64_C(1000000)
#define SECONDS 1000

static struct forward_options options = {
	.wanted = true,
	.methods = 1U << ROUTER_PCP,
	.lease = 7200,
	.secret = {.bytes = "a machine", .size = 9},
};
static struct mapping_race_request probe = {.protocol = MAPPING_TCP};

struct scene {
	int fd; /* the router's */
	struct lease lease;
	struct addr client;
	uint8_t asked[PCP_REQUEST_MAX];
};

static void make_network(void)
{
	network_enter();
	if (system("ip addr add 10.0.0.1/24 dev lo && ip addr add 10.0.0.3/24 dev lo") != 0)
		bail_out("no addresses");
	options.router = address("10.0.0.1", 0);
	probe.local = address("10.0.0.3", 22);
}

static int listen_there(void)
{
	struct addr router = address("10.0.0.1", PCP_PORT);
	int fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);

	if (fd < 0 || socket_bind(fd, &router) != 0)
		bail_out("no router: %s", strerror(errno));
	return fd;
}

static int take_requests(struct scene *scene)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	int count = 0;

	while (recvfrom(scene->fd, scene->asked, sizeof(scene->asked), 0, (struct sockaddr *)&from,
		       &length) > 0) {
		socket_to_addr(&from, &scene->client);
		count++;
		length = sizeof(from);
	}
	return count;
}

static void answer(struct scene *scene, uint8_t result, uint16_t port, uint8_t seconds)
{
	uint8_t bytes[PCP_REQUEST_MAX] = {2, 0x81, 0, result, 0, 0, 0, seconds, 0, 0, 0, 77};
	struct sockaddr_storage to;
	socklen_t length = socket_from_addr(&scene->client, &to);

	memcpy(bytes + 24, scene->asked + 24, 18);
	bytes[42] = (uint8_t)(port >> 8);
	bytes[43] = (uint8_t)port;
	if (sendto(scene->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&to, length) < 0)
		bail_out("sendto: %s", strerror(errno));
}

static uint16_t wish_of(const struct scene *scene)
{
	return (uint16_t)(scene->asked[42] << 8 | scene->asked[43]);
}

/* What there is after forward_ask(): a forward of 200 s, or a refusal. */
static struct scene begin(enum router_state state)
{
	struct scene scene = {.fd = listen_there()};
	struct forward forward = {.asked = true,
		.state = state,
		.remote = address("10.0.0.1", 3478),
		.result = {.method = ROUTER_PCP, .epoch = 77}};

	if (state == ROUTER_DONE) {
		forward.result.port = 22;
		forward.result.lease = 200;
	}
	forward.result.router = options.router;
	lease_init(&scene.lease, &options, &probe);
	lease_begin(&scene.lease, &forward, START);
	return scene;
}

static void finish(struct scene *scene)
{
	lease_end(&scene->lease, true);
	close(scene->fd);
}

static uint64_t due(const struct scene *scene)
{
	struct pollfd fds[LEASE_WATCH_MAX];

	return lease_watch(&scene->lease, fds) - START;
}

static bool at(struct scene *scene, uint64_t ms)
{
	return lease_advance(&scene->lease, START + ms);
}

static void test_renewal(void)
{
	struct scene scene = begin(ROUTER_DONE);
	uint64_t first = due(&scene);

	diag("a lease of 200 s");
	ok(first >= 100 * SECONDS && first <= 125 * SECONDS, "a half to five eighths: %ju",
		(uintmax_t)first);
	at(&scene, first - 1);
	is_int(take_requests(&scene), 0, "not before");
	ok(!at(&scene, first), "asking is no news");
	is_int(take_requests(&scene), 1, "then it is renewed");
	is_uint(wish_of(&scene), 22, "for the same port");
	answer(&scene, 0, 22, 200);
	ok(!at(&scene, first + 5), "nor is the same answer");
	ok(due(&scene) - first > 100 * SECONDS, "and so on");
	finish(&scene);
	is_int(take_requests(&scene) <= 1, true, "at the end it is given back");
}

static void test_other_port(void)
{
	struct scene scene = begin(ROUTER_DONE);

	at(&scene, due(&scene));
	take_requests(&scene);
	answer(&scene, 0, 1024, 200);
	ok(at(&scene, 130 * SECONDS), "another port is news");
	is_uint(scene.lease.forward.result.port, 1024, "that one");
	at(&scene, due(&scene));
	take_requests(&scene);
	is_uint(wish_of(&scene), 1024, "which is asked for again");
	finish(&scene);
}

static void test_silence(void)
{
	struct scene scene = begin(ROUTER_DONE);
	uint64_t first = due(&scene), second;

	diag("a router that is silent at the renewal");
	at(&scene, first);
	take_requests(&scene);
	ok(!at(&scene, first + ROUTER_SILENCE_MS), "the forward stands");
	second = due(&scene);
	ok(second - first > 30 * SECONDS && second < 175 * SECONDS, "it is asked again");
	while (due(&scene) < 200 * SECONDS) {
		uint64_t next = due(&scene);

		ok(!at(&scene, next) && forward_is_granted(&scene.lease.forward), "it stands");
	}
	ok(at(&scene, 200 * SECONDS), "until it has lapsed");
	ok(!forward_is_granted(&scene.lease.forward), "then there is none");
	ok(take_requests(&scene) < 12, "without a flood of questions");
	finish(&scene);
	is_int(take_requests(&scene), 0, "and nothing to give back");
}

static void test_refusal(void)
{
	struct scene scene = begin(ROUTER_REFUSED);
	uint64_t again = due(&scene);

	diag("a router that refuses");
	ok(again > 200 * SECONDS && again <= LEASE_AGAIN_MS, "is asked again, later");
	at(&scene, again);
	take_requests(&scene);
	answer(&scene, 0, 22, 200);
	ok(at(&scene, again + 5), "that it forwards now is news");
	finish(&scene);
}

static void test_other_local_port(void)
{
	struct scene scene = begin(ROUTER_REFUSED);

	diag("another local port");
	probe.local.port = 2222;
	lease_change_port(&scene.lease, START + 1000);
	ok(!scene.lease.forward.asked, "what was said is of the other");
	is_uint(due(&scene), LEASE_CALM_MS, "it is asked for, but not too often");
	at(&scene, LEASE_CALM_MS);
	is_int(take_requests(&scene), 1, "then");
	is_uint(wish_of(&scene), 2222, "for that port");
	answer(&scene, 0, 2222, 200);
	ok(at(&scene, LEASE_CALM_MS + 5), "that it forwards is news");
	finish(&scene);
	probe.local.port = 22;
}

static void test_network(void)
{
	struct scene scene = begin(ROUTER_DONE);
	struct addr remote = address("10.0.0.1", 3478);

	diag("the network changes");
	lease_hurry(&scene.lease, START + 1000);
	is_uint(due(&scene), LEASE_CALM_MS, "soon, but not too often");
	lease_hurry(&scene.lease, START + 60 * SECONDS);
	at(&scene, 60 * SECONDS);
	is_int(take_requests(&scene), 1, "and else at once");
	answer(&scene, 0, 22, 200);
	at(&scene, 60 * SECONDS + 5);
	lease_set_remote(&scene.lease, &remote, START + 90 * SECONDS);
	ok(due(&scene) > 120 * SECONDS, "the same reflector is no change");
	remote.ip[3] = 3;
	lease_set_remote(&scene.lease, &remote, START + 90 * SECONDS);
	is_uint(due(&scene), 90 * SECONDS, "another one is");
	finish(&scene);
}

static void announce(int fd, const void *data, size_t size)
{
	struct addr to = address("10.0.0.3", PCP_CLIENT_PORT);
	struct sockaddr_storage there;
	socklen_t length = socket_from_addr(&to, &there);

	if (sendto(fd, data, size, 0, (struct sockaddr *)&there, length) < 0)
		bail_out("sendto: %s", strerror(errno));
}

static void test_announcement(void)
{
	static const uint8_t started[24] = {2, 0x80};
	struct scene scene = begin(ROUTER_DONE);
	struct addr elsewhere = address("10.0.0.3", 0);
	int stranger = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);

	diag("the router announces that it has started");
	if (socket_bind(stranger, &elsewhere) != 0)
		bail_out("bind: %s", strerror(errno));
	announce(stranger, started, sizeof(started));
	announce(scene.fd, started, 20);
	at(&scene, 60 * SECONDS);
	is_int(take_requests(&scene), 0, "another host, or a part of one, is no reason to ask");
	announce(scene.fd, started, sizeof(started));
	at(&scene, 61 * SECONDS);
	is_int(take_requests(&scene), 1, "the router is");
	answer(&scene, 0, 22, 200);
	at(&scene, 61 * SECONDS + 5);
	announce(scene.fd, started, sizeof(started));
	at(&scene, 62 * SECONDS);
	is_int(take_requests(&scene), 0, "but not too often");
	at(&scene, 66 * SECONDS);
	is_int(take_requests(&scene), 1, "so a little later");
	close(stranger);
	finish(&scene);
}

static void test_end(void)
{
	struct scene scene = begin(ROUTER_DONE);

	lease_end(&scene.lease, false);
	is_int(take_requests(&scene), 0, "it is left to who holds the mapping");
	lease_end(&scene.lease, true);
	is_int(take_requests(&scene), 1, "the forward is given back");
	ok(scene.asked[1] == 1 && memcmp(scene.asked + 4, "\0\0\0", 4) == 0, "by lifetime 0");
	lease_end(&scene.lease, true);
	is_int(take_requests(&scene), 0, "once");
	close(scene.fd);
}

static void test_none(void)
{
	struct lease lease;
	struct pollfd fds[LEASE_WATCH_MAX];
	struct addr remote = address("10.0.0.1", 3478);

	lease_init(&lease, NULL, &probe);
	lease_set_remote(&lease, &remote, START);
	lease_hurry(&lease, START);
	ok(lease_watch(&lease, fds) == TIMER_NONE, "without -F nothing is due");
	ok(!lease_advance(&lease, START + 1000 * SECONDS), "ever");
	lease_end(&lease, true);
}

int main(void)
{
	log_set_level(LOG_LEVEL_QUIET);
	make_network();
	test_renewal();
	test_other_port();
	test_silence();
	test_refusal();
	test_other_local_port();
	test_network();
	test_announcement();
	test_end();
	test_none();
	return done_testing();
}
