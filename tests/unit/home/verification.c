/* A mapping's reachability is asked about again and again, as long as somebody wants to know. */
#include "home/verification.h"

#include "natpunch/base/timer_heap.h"
#include "unit/server.h"

#define OPEN_MS  600000
#define AGAIN_MS 60000

static struct verification verification;
static struct mapping_race_request probe;
static struct reachability_request question;

static int open_door(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || socket_bind(fd, &question.mapped) != 0 || listen(fd, 5) != 0 ||
		socket_local(fd, &question.mapped) != 0)
		bail_out("no door: %s", strerror(errno));
	return fd;
}

/* The clock stands still at `now` while the kernel's goes on. */
static enum reachability_verdict await_verdict(uint64_t now)
{
	enum reachability_verdict verdict = REACHABILITY_PENDING;
	struct pollfd fds[REACHABILITY_WATCH_MAX];

	while (verdict == REACHABILITY_PENDING) {
		verification_watch(&verification, fds);
		if (poll(fds, REACHABILITY_WATCH_MAX, PATIENCE) <= 0)
			return verdict;
		verdict = verification_advance(&verification, fds, now);
	}
	return verdict;
}

static void test_again_and_again(void)
{
	struct pollfd fds[REACHABILITY_WATCH_MAX];
	uint64_t now = 1000;
	int door = open_door();

	verification_init(&verification, OPEN_MS, AGAIN_MS);
	is_uint(verification.due, TIMER_NONE, "nobody has asked yet");
	verification_start(&verification, &question, now);
	is_int(await_verdict(now), REACHABILITY_KNOWN, "it gets through");
	is_uint(verification.due, now + OPEN_MS, "asked again after a long while");
	is_int(verification_advance(&verification, fds, now), REACHABILITY_PENDING,
		"a verdict comes once");

	close(door);
	now = verification.due;
	verification_start(&verification, &question, now);
	is_int(await_verdict(now), REACHABILITY_SHUT, "then it does not");
	is_uint(verification.due, now + AGAIN_MS, "asked again soon");

	door = open_door();
	now = verification.due;
	verification_start(&verification, &question, now);
	is_int(await_verdict(now), REACHABILITY_KNOWN, "and does once more");
	is_uint(verification.due, now + OPEN_MS, "asked again after a long while");
	close(door);

	verification_postpone(&verification, now);
	is_uint(verification.due, now + AGAIN_MS, "nobody to ask: soon");
	verification_start(&verification, &question, now);
	verification_end(&verification);
	is_uint(verification.due, TIMER_NONE, "ended: not asked again");
	is_uint(verification_watch(&verification, fds), TIMER_NONE, "and nothing is waited for");
}

/* The reflector is gone: no verdict about the mapping, and another try soon. */
static void test_untold(void)
{
	verification_init(&verification, OPEN_MS, AGAIN_MS);
	verification_start(&verification, &question, 1000);
	is_int(await_verdict(1000), REACHABILITY_UNTOLD, "nobody there to dial: untold");
	is_uint(verification.due, 1000 + AGAIN_MS, "asked again soon");
	verification_end(&verification);
}

int main(void)
{
	const struct host_port reflector = {.host = "127.0.0.1", .port = SERVER_PORT};
	struct server server;

	network_enter();
	probe = (struct mapping_race_request){.reflectors = &reflector, .reflector_count = 1};
	question = (struct reachability_request){
		.mapped = address("127.0.0.1", 0),
		.asked = address("127.0.0.1", SERVER_PORT),
		.probe = &probe,
		.timeout_ms = DIALBACK_CLIENT_TIMEOUT_MS,
	};
	server_init(&server);
	server_start(&server);
	test_again_and_again();
	is_int(server_stop(&server), 0, "the reflector ends cleanly");
	test_untold();
	return done_testing();
}
