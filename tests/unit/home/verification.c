/*
 * A mapping's reachability is asked about again and again, and what is new of it is reported.
 *
 * The mapping is a door on the loopback: a listener that says a banner, so that no reflector waits
 * for one. The clock is the test's own.
 */
#include "home/verification.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define OPEN_MS      600000
#define AGAIN_MS     60000
#define NO_DIAL_PORT 3479 /* a reflector that dials nobody */
#define NOBODY_PORT  3480
#define CUT_PORT     3481 /* connections end without a word */
#define BANNER       "SSH-2.0-door\r\n"

static struct verification verification;
static struct mapping_race_request probe;
static struct mapping mapping;
static int door = -1;
static struct server server;

static void open_door(void)
{
	door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (door < 0 || socket_set_flag(door, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_bind(door, &mapping.public_addr) != 0 || listen(door, 5) != 0 ||
		socket_local(door, &mapping.public_addr) != 0)
		bail_out("no door: %s", strerror(errno));
	mapping.local = mapping.public_addr;
}

static void close_door(void)
{
	close(door);
	door = -1;
}

static void greet(void)
{
	int fd = accept(door, NULL, NULL);

	if (fd < 0 || !say(fd, BANNER, sizeof(BANNER) - 1))
		diag("nobody is greeted");
	close(fd);
}

/* Each test has a reflector of its own, as one dials only so often. */
static void start_reflector(void)
{
	server_init(&server);
	server_start(&server);
}

static void stop_reflector(void)
{
	is_int(server_stop(&server), 0, "the reflector ends cleanly");
}

static void start(uint16_t port, uint64_t now)
{
	struct addr asked = address("127.0.0.1", port);

	verification_start(&verification, &mapping, &asked, 0, now);
}

/* Until the run has ended. The clock stands still at `now` while the kernel's goes on. */
static enum verification_event await(uint64_t now)
{
	enum verification_event event = VERIFICATION_NOTHING;
	struct pollfd fds[REACHABILITY_WATCH_MAX + 1];

	while (verification.running) {
		verification_watch(&verification, fds);
		fds[REACHABILITY_WATCH_MAX] = (struct pollfd){.fd = door, .events = POLLIN};
		if (poll(fds, REACHABILITY_WATCH_MAX + 1, PATIENCE) <= 0)
			return VERIFICATION_NOTHING;
		if (fds[REACHABILITY_WATCH_MAX].revents != 0)
			greet();
		event = verification_advance(&verification, fds, now);
	}
	if (event != VERIFICATION_SHUT)
		return event;
	return verification_conclude(&verification, &verification.mapping)
		       ? VERIFICATION_UNREACHABLE
		       : VERIFICATION_NOTHING;
}

static enum verification_event ask_again_at(uint64_t now)
{
	start(SERVER_PORT, now);
	return await(now);
}

static enum verification_event ask_again(uint64_t *now)
{
	*now = verification.due;
	return ask_again_at(*now);
}

static void test_again_and_again(void)
{
	struct pollfd fds[REACHABILITY_WATCH_MAX];
	uint64_t now = 1000;

	start_reflector();
	open_door();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	is_uint(verification.due, TIMER_NONE, "nobody has asked yet");
	start(SERVER_PORT, now);
	is_uint(verification.due, now + AGAIN_MS, "where no verdict comes, asked again soon");
	ok(!verification.judged, "there was no verdict yet");
	is_int(await(now), VERIFICATION_REACHABLE, "it gets through");
	ok(verification.judged, "that was a verdict");
	is_uint(verification.due, now + OPEN_MS, "asked again after a long while");
	is_int(verification_advance(&verification, fds, now), VERIFICATION_NOTHING,
		"a verdict comes once");
	is_int(ask_again(&now), VERIFICATION_NOTHING, "the same again is not reported");
	is_uint(verification.due, now + OPEN_MS, "asked again after a long while, still");

	close_door();
	is_int(ask_again(&now), VERIFICATION_UNREACHABLE, "then it does not");
	is_uint(verification.due, now + AGAIN_MS, "asked again soon");
	is_int(ask_again(&now), VERIFICATION_NOTHING, "nor is this reported twice");

	open_door();
	is_int(ask_again(&now), VERIFICATION_REACHABLE, "and does once more");
	is_uint(verification.due, now + OPEN_MS, "asked again after a long while");
	close_door();

	verification_postpone(&verification, now);
	is_uint(verification.due, now + AGAIN_MS, "nobody to ask: soon");
	start(SERVER_PORT, now);
	verification_end(&verification);
	is_uint(verification.due, TIMER_NONE, "ended: not asked again");
	is_uint(verification_watch(&verification, fds), TIMER_NONE, "and nothing is waited for");
	stop_reflector();
}

static void test_another_mapping(void)
{
	uint64_t now = 1000;

	start_reflector();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	open_door();
	start(SERVER_PORT, now);
	is_int(await(now), VERIFICATION_REACHABLE, "one mapping gets through");
	close_door();
	mapping.public_addr.port = 0;
	open_door();
	is_int(ask_again(&now), VERIFICATION_REACHABLE, "another one too, and that is reported");
	is_int(ask_again(&now), VERIFICATION_NOTHING, "but not twice");
	verification_forget(&verification);
	is_uint(verification.due, TIMER_NONE, "one that is down is not asked about by itself");
	start(SERVER_PORT, now);
	is_int(await(now), VERIFICATION_REACHABLE, "but reported when it is back");
	close_door();
	verification_end(&verification);
	stop_reflector();
}

/* As if nothing came to this machine: a tap of no protocol. */
static void go_deaf(void)
{
	struct arrivals *arrivals = &verification.reachability.arrivals;

	arrivals_close(arrivals);
	arrivals->tap = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (arrivals->tap < 0)
		bail_out("no packet socket: %s", strerror(errno));
}

static bool doubts(const char *text)
{
	char why[ARRIVALS_WHY_SIZE];

	return reachability_find_doubt(&verification.reachability, why) &&
	       strstr(why, text) != NULL;
}

/* Whoever answers is believed to be this machine if the dial-back came to it. */
static void test_elsewhere(void)
{
	struct reachability *reachability = &verification.reachability;
	struct error error;
	uint64_t now = 1000;

	start_reflector();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	open_door();
	start(SERVER_PORT, now);
	is_int(await(now), VERIFICATION_REACHABLE, "it comes to this machine");
	is_int(reachability->evidence_arrival, ARRIVAL_SEEN, "that was seen");
	ok(!doubts(""), "there is no doubt");
	start(SERVER_PORT, now);
	go_deaf();
	is_int(await(now), VERIFICATION_UNREACHABLE, "answered, and nothing came: unreachable");
	is_uint(verification.due, now + AGAIN_MS, "asked again soon");
	reachability_explain(reachability, &mapping, &error);
	is_int(error.status, EXIT_STATUS_UNREACHABLE, "its status");
	ok(strstr(error.text, "by another machine: nothing arrived here (its greeting: "
			      "SSH-2.0-door)") != NULL,
		"%s", error.text);
	ok(strstr(error.hint, "forward that to 127.0.0.1,") != NULL, "%s", error.hint);
	start(SERVER_PORT, now);
	go_deaf();
	reachability->arrivals.lost = true;
	is_int(await(now), VERIFICATION_REACHABLE, "not all was seen: believed");
	ok(doubts("more came at once"), "with a doubt");
	start(SERVER_PORT, now);
	arrivals_close(&reachability->arrivals);
	reachability->arrivals.problem = EPERM;
	is_int(await(now), VERIFICATION_NOTHING, "nothing could be seen: believed");
	ok(doubts("CAP_NET_RAW"), "with a doubt");
	close_door();
	start(SERVER_PORT, now);
	go_deaf();
	is_int(await(now), VERIFICATION_UNREACHABLE, "refused, and nothing came: unreachable");
	ok(!doubts(""), "which is no matter of doubt");
	reachability_explain(reachability, &mapping, &error);
	ok(strstr(error.hint, "it was not this machine that refused") != NULL, "%s", error.hint);
	verification_end(&verification);
	stop_reflector();
}

/* The reflector is gone: no verdict about the mapping, and another try soon. */
static void test_untold(void)
{
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	start(NOBODY_PORT, 1000);
	is_int(await(1000), VERIFICATION_NOTHING, "nobody there to dial: untold");
	ok(!verification.running && verification.judged, "that counts as a verdict");
	ok(verification.doubted, "there was a warning");
	is_uint(verification.due, 1000 + AGAIN_MS, "asked again soon");
	verification_end(&verification);
}

static void test_impossible(void)
{
	uint64_t now = 1000;

	start_reflector();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	start(NO_DIAL_PORT, now);
	is_int(await(now), VERIFICATION_IMPOSSIBLE, "no reflector dials: impossible");
	ok(strstr(verification.error.text, "no reflector dials back") != NULL, "and it says so");
	open_door();
	start(SERVER_PORT, now);
	is_int(await(now), VERIFICATION_REACHABLE, "with one that does, it gets through");
	close_door();
	start(NO_DIAL_PORT, now);
	is_int(await(now), VERIFICATION_NOTHING, "what was reported then stands without one");
	verification_end(&verification);
	stop_reflector();
}

static int cutter = -1;

static void open_cutter(void)
{
	struct addr addr = address("127.0.0.1", CUT_PORT);

	cutter = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (cutter < 0 || socket_set_flag(cutter, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_bind(cutter, &addr) != 0 || listen(cutter, 5) != 0)
		bail_out("no cutter: %s", strerror(errno));
}

/* Takes the connection of a question, ends it, and lets that be seen. */
static enum verification_event cut_one(uint64_t now)
{
	enum verification_event event = VERIFICATION_NOTHING;
	struct pollfd fds[REACHABILITY_WATCH_MAX];
	int fd = accept(cutter, NULL, NULL);

	shutdown(fd, SHUT_WR);
	while (verification.running && !verification.reachability.lanes[0].waiting) {
		verification_watch(&verification, fds);
		if (poll(fds, REACHABILITY_WATCH_MAX, PATIENCE) <= 0)
			break;
		event = verification_advance(&verification, fds, now);
	}
	close(fd);
	return event;
}

/* All questions of a run are cut. */
static enum verification_event ask_in_vain(uint64_t *now)
{
	struct pollfd fds[REACHABILITY_WATCH_MAX];

	start(CUT_PORT, *now);
	cut_one(*now);
	*now = verification_watch(&verification, fds);
	verification_advance(&verification, fds, *now);
	return cut_one(*now);
}

/* A connection that is cut says nothing about who dials and who does not. */
static void test_cut(void)
{
	struct pollfd fds[REACHABILITY_WATCH_MAX];
	uint64_t now = 1000;

	open_cutter();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	start(CUT_PORT, now);
	is_int(cut_one(now), VERIFICATION_NOTHING, "a question is cut: nothing is told");
	close(cutter);
	server_init(&server);
	for (size_t i = 0; i < server.config.listen_count; i++)
		server.config.listen[i].addr.port = CUT_PORT;
	server_start(&server);
	open_door();
	now = verification_watch(&verification, fds);
	is_uint(now, 1000 + REACHABILITY_AGAIN_MS, "it is asked once more, soon");
	is_int(verification_advance(&verification, fds, now), VERIFICATION_NOTHING, "then");
	is_int(await(now), VERIFICATION_REACHABLE, "it gets through");
	close_door();
	verification_end(&verification);
	stop_reflector();
}

static void test_silence(void)
{
	uint64_t now = 1000;

	open_cutter();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	for (unsigned i = 1; i < VERIFICATION_SILENCE_MAX; i++)
		is_int(ask_in_vain(&now), VERIFICATION_NOTHING, "in vain, time %u: untold", i);
	ok(verification.due != TIMER_NONE, "it will be asked again");
	ok(strstr(verification.reachability.error.text, "closed the connection") != NULL,
		"what was seen is said: %s", verification.reachability.error.text);
	close(cutter);
	start(NOBODY_PORT, now);
	is_int(await(now), VERIFICATION_NOTHING, "nobody there");
	open_cutter();
	for (unsigned i = 1; i < VERIFICATION_SILENCE_MAX; i++)
		is_int(ask_in_vain(&now), VERIFICATION_NOTHING, "it counts anew, time %u", i);
	is_int(ask_in_vain(&now), VERIFICATION_IMPOSSIBLE, "always in vain: impossible");
	verification_end(&verification);
	close(cutter);
}

/* It dials one address so often, and the rest of the minute it does not. */
static void test_limited(void)
{
	uint64_t now = 1000;

	start_reflector();
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	open_door();
	for (int i = 0; i < 50 && !verification.doubted; i++)
		ask_again_at(now);
	ok(verification.doubted, "at last it dials no more");
	ok(strstr(verification.reachability.error.hint, "a few times a minute") != NULL,
		"that it will again is said: %s", verification.reachability.error.hint);
	close_door();
	verification_end(&verification);
	stop_reflector();
}

static bool passes_for_stranger(void)
{
	bool stranger;

	start(SERVER_PORT, 1000);
	stranger = verification.reachability.lanes[1].stranger;
	verification_end(&verification);
	return stranger;
}

static void test_contacted(void)
{
	static const bool contacted[MAPPING_RACE_REFLECTOR_MAX] = {false, true};

	probe.reflector_count = 2;
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	ok(passes_for_stranger(), "a reflector that was never asked is a stranger");
	verification_add_contacted(&verification, contacted);
	ok(!passes_for_stranger(), "one that was contacted is none");
	verification_init(&verification, &probe, OPEN_MS, AGAIN_MS);
	verification_add_contacted(&verification, NULL);
	ok(!passes_for_stranger(), "nor is any when all may have been");
}

int main(void)
{
	const struct host_port reflectors[] = {
		{.host = "127.0.0.1", .port = SERVER_PORT},
		{.host = "127.0.0.1", .port = SERVER_PORT},
	};
	struct server no_dial;

	network_enter();
	probe = (struct mapping_race_request){.reflectors = reflectors, .reflector_count = 1};
	mapping = (struct mapping){.protocol = MAPPING_TCP, .public_addr = address("127.0.0.1", 0)};
	server_init(&no_dial);
	for (size_t i = 0; i < no_dial.config.listen_count; i++)
		no_dial.config.listen[i].addr.port = NO_DIAL_PORT;
	no_dial.config.no_dial = true;
	server_start(&no_dial);
	test_again_and_again();
	test_another_mapping();
	test_elsewhere();
	test_untold();
	test_impossible();
	test_cut();
	test_silence();
	test_limited();
	test_contacted();
	is_int(server_stop(&no_dial), 0, "the one that does not dial ends cleanly");
	return done_testing();
}
