/*
 * What is tried when strangers do not get in by what is kept. A reflector on the loopback sees each
 * local port as it is; nobody dials here.
 */
#include "home/trial.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "unit/server.h"

#define LOCAL  22
#define REST   60000
#define NOBODY 1

static struct server server;
static struct host_port reflector = {.host = "127.0.0.1", .port = SERVER_PORT};
static struct mapping_race_request probe = {
	.reflectors = &reflector,
	.reflector_count = 1,
	.protocol = MAPPING_TCP,
	.local = {.port = LOCAL},
	.family = ADDR_IPV4,
	.mode = BINDING_MODE_CLOSE,
	.timeout_ms = 5000,
};
static struct forward forward;
static struct mapping_race_result kept;
static struct trial trial;
static uint64_t now;

/* The router forwards its port; a reflector saw `seen` of the local one, which is kept. */
static void start(uint16_t port, uint16_t seen)
{
	forward = (struct forward){.asked = true,
		.state = ROUTER_DONE,
		.result = {.method = ROUTER_PCP, .port = port, .lease = 7200}};
	forward.result.router = address("10.0.0.1", 0);
	kept = (struct mapping_race_result){.winner.port.fd = -1};
	kept.mapping.public_addr = address("127.0.0.1", seen);
	kept.mapping.local = address("127.0.0.1", LOCAL);
	now = clock_now_ms();
	trial_init(&trial, &probe, &forward);
}

static bool begin(void)
{
	return trial_begin(&trial, &probe, FORWARD_SEEN, &kept.mapping.public_addr, now);
}

static enum trial_state next(void)
{
	return trial_next(&trial, &kept, REST, now);
}

static enum trial_event await(void)
{
	enum trial_event event = TRIAL_NOTHING;
	struct pollfd fds[TRIAL_WATCH_MAX];

	while (event == TRIAL_NOTHING && trial.state == TRIAL_RACING) {
		uint64_t due = trial_watch(&trial, fds);

		poll(fds, TRIAL_WATCH_MAX, clock_poll_ms(clock_now_ms(), due));
		event = trial_advance(&trial, fds, clock_now_ms());
	}
	return event;
}

static void test_port(void)
{
	diag("a router that changes ports");
	start(LOCAL, 201);
	ok(begin(), "there may be others");
	is_int(next(), TRIAL_READY, "at once:");
	is_uint(trial.mapping.public_addr.port, LOCAL, "the port of the router");
	is_uint(trial.mapping.router_port, LOCAL, "which is noted");
	ok(!trial.punched, "by the connection that is kept");
	is_int(next(), TRIAL_RESTING, "then no other");
	ok(!begin(), "nor for a while");
	now += REST;
	ok(begin(), "then again");
	is_int(next(), TRIAL_READY, "the same");
	trial_forget(&trial);
	ok(begin(), "and at once when things are others");
	is_int(next(), TRIAL_READY, "the same");
	ok(!trial_take(&trial), "a stranger gets in: no connection is handed over");
	is_int(trial.state, TRIAL_RESTING, "and it is over");
}

static void test_none(void)
{
	diag("nothing else that may help");
	start(LOCAL, LOCAL);
	ok(begin(), "all ports are one");
	is_int(next(), TRIAL_RESTING, "so there is no other");
	start(LOCAL, 201);
	forward.state = ROUTER_REFUSED;
	ok(!begin(), "nor where the router does not forward");
}

static void test_punch(void)
{
	diag("a router that grants another port");
	server_init(&server);
	server_start(&server);
	start(1024, 201);
	ok(begin(), "there may be others");
	is_int(next(), TRIAL_RACING, "the local port of that number is asked from");
	is_int(await(), TRIAL_FOUND, "and an answer comes");
	is_uint(trial.mapping.public_addr.port, 1024, "what is seen of it");
	is_uint(trial.mapping.local.port, LOCAL, "is told of the port that is forwarded to");
	is_uint(trial.result.mapping.local.port, 1024, "and kept from its own");
	is_int(next(), TRIAL_RESTING, "the same address is not tried once more");
	ok(!trial.punched, "nor is anything open");

	trial_forget(&trial);
	ok(begin() && next() == TRIAL_RACING && await() == TRIAL_FOUND, "once more");
	ok(trial_take(&trial), "a stranger gets in: the connection is handed over");
	binding_client_end(&trial.result.winner);
	is_int(server_stop(&server), 0, "the reflector ends cleanly");
}

static void test_lost(void)
{
	diag("nobody answers there");
	reflector.port = NOBODY;
	start(1024, 201);
	ok(begin() && next() == TRIAL_RACING, "asked");
	is_int(await(), TRIAL_LOST, "in vain");
	is_int(next(), TRIAL_READY, "the next:");
	is_uint(trial.mapping.public_addr.port, 1024, "the port of the router");
	is_uint(trial.mapping.local.port, LOCAL, "for the local one");
	trial_end(&trial);
	reflector.port = SERVER_PORT;
}

int main(void)
{
	log_set_level(LOG_LEVEL_QUIET);
	network_enter();
	test_port();
	test_none();
	test_punch();
	test_lost();
	return done_testing();
}
