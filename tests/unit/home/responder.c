/*
 * Where home connects to when it is invited, and how often: the invitations are those of a
 * reflector that has the key and means harm. The clock is the test's own.
 */
#include "home/responder.h"

#include "unit/server.h"

#define START      1000000
#define KEPT_PORT  5000
#define OWN        "192.0.2.77"
#define ELSEWHERE  "198.51.100.1" /* there is no way to it */
#define FIRST_PORT 20000          /* nobody listens there and above */
#define RUN_MS     3900           /* less than a punch lasts */

static char truth[] = "/bin/true";
static char *command[] = {truth, NULL};
static struct handover handover;
static struct registration registration;
static struct responder responder;
static struct held kept;
static struct standby standby; /* of no key: all places are free */

static void begin(void)
{
	standby.kept = &kept;
	handover_init(&handover, command, NULL);
	registration_init(&registration, NULL, NULL);
	responder_init(&responder, &handover);
}

static void finish(void)
{
	responder_end(&responder);
	while (handover.running > 0) {
		pause_briefly();
		handover_reap(&handover);
	}
	handover_end(&handover);
}

static void own_address(void)
{
	struct ifreq request = {.ifr_name = "lo:1"};
	struct addr own = address(OWN, 0);
	struct sockaddr_storage sockaddr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	socket_from_addr(&own, &sockaddr);
	memcpy(&request.ifr_addr, &sockaddr, sizeof(request.ifr_addr));
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) != 0)
		bail_out("no address: %s", strerror(errno));
	close(fd);
}

static void invite(const char *reflector, const char *ip, uint16_t port, enum invitation_kind kind)
{
	const struct responder_path path = {
		.local = {.port = KEPT_PORT},
		.method = &borrow_method_bind,
		.relay = {.reflector = address(reflector, 3478)},
		.other = address(reflector, 3479),
		.standby = &standby,
		.registration = &registration,
	};
	const struct invitation invitation = {
		.initiator = address(ip, port),
		.kind = kind,
		.prediction = {.port = port},
	};

	responder_meet(&responder, &path, &invitation, START);
}

static unsigned count_punches(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++)
		count += responder.punches[i].state != PUNCH_NONE;
	return count;
}

static bool follows(const char *reflector, const char *ip)
{
	bool follows;

	begin();
	invite(reflector, ip, FIRST_PORT, INVITATION_PUNCH);
	follows = count_punches() == 1;
	finish();
	return follows;
}

static void test_addresses(void)
{
	static const char *const impossible[] = {"127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3",
		"169.254.1.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", OWN, "::", "::1",
		"fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:203.0.113.2",
		"::ffff:192.168.1.5"};
	static const char *const possible[] = {
		"203.0.113.2", "192.168.1.5", "10.1.2.3", "100.64.1.2", "2001:db8::2", "fd00::2"};

	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
		ok(!follows(ELSEWHERE, impossible[i]), "nobody can be at %s", impossible[i]);
	for (size_t i = 0; i < sizeof(possible) / sizeof(possible[0]); i++)
		ok(follows(ELSEWHERE, possible[i]), "somebody can be at %s", possible[i]);
	ok(follows("127.0.0.1", "127.0.0.1"), "a reflector on loopback sees others there");
	ok(!follows(OWN, "127.0.0.1"), "one elsewhere on this machine does not");
	ok(follows(OWN, OWN), "but sees others on this machine");
	ok(!follows("127.0.0.1", "224.0.0.1"), "no reflector sees a group");
}

static void test_reflector(void)
{
	begin();
	invite(ELSEWHERE, ELSEWHERE, 3478, INVITATION_PUNCH);
	is_uint(count_punches(), 0, "the reflector is no initiator");
	invite(ELSEWHERE, ELSEWHERE, 3479, INVITATION_PUNCH);
	is_uint(count_punches(), 0, "nor at its other address");
	invite(ELSEWHERE, ELSEWHERE, FIRST_PORT, INVITATION_PUNCH);
	is_uint(count_punches(), 1, "somebody may be behind the same NAT as it");
	standby.places[1].addr = address("203.0.113.9", 3478);
	standby.places[1].held.open = true;
	standby.places[1].held.binding.answer.other = address("203.0.113.10", 3479);
	invite(ELSEWHERE, "203.0.113.9", 3478, INVITATION_PUNCH);
	invite(ELSEWHERE, "203.0.113.10", 3479, INVITATION_PUNCH);
	kept.open = true;
	kept.binding.request.remote = address("203.0.113.11", 3478);
	invite(ELSEWHERE, "203.0.113.11", 3478, INVITATION_PUNCH);
	is_uint(count_punches(), 1, "nor is another reflector of home, at any of its addresses");
	invite(ELSEWHERE, "203.0.113.9", FIRST_PORT, INVITATION_PUNCH);
	is_uint(count_punches(), 2, "and somebody may be on its host");
	finish();
	standby.places[1].addr.family = ADDR_NONE;
	standby.places[1].held.open = kept.open = false;
}

/* Our port is told to whoever asks, and nothing is sent to an address that cannot be. */
static void test_prediction(void)
{
	begin();
	invite(ELSEWHERE, "127.0.0.1", FIRST_PORT, INVITATION_PREDICTION);
	is_uint(responder.waiting_count, 0, "nor is a prediction for one at 127.0.0.1 made");
	is_int(responder.sampler.state, PORT_SAMPLER_NONE, "nothing is asked for it");
	finish();
}

/* All that happens until `end`, by the test's clock. Each SYN is refused at once. */
static void run_until(uint64_t end)
{
	for (uint64_t now = START; now < end; now += 10) {
		struct pollfd fds[RESPONDER_WATCH_MAX];

		responder_watch(&responder, fds);
		poll(fds, RESPONDER_WATCH_MAX, 0);
		responder_advance(&responder, fds, now);
	}
}

static unsigned count_tries(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++)
		count += responder.punches[i].tries + responder.company[i].tries;
	return count;
}

static void between_tries(const char *where, unsigned least, unsigned most)
{
	unsigned tries = count_tries();

	ok(tries >= least && tries <= most, "%s: %u SYNs, %u to %u", where, tries, least, most);
}

static void invite_to_many(unsigned addresses)
{
	begin();
	for (unsigned i = 0; i < RESPONDER_PUNCH_MAX; i++) {
		char ip[ADDR_IP_TEXT_SIZE];

		snprintf(ip, sizeof(ip), "127.0.1.%u", 1 + i % addresses);
		invite("127.0.0.1", ip, (uint16_t)(FIRST_PORT + i), INVITATION_PUNCH);
	}
	run_until(START + RUN_MS);
}

static void test_one_victim(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct addr addr = address("127.0.0.2", FIRST_PORT);
	struct pollfd watch = {.fd = listener, .events = POLLIN};

	invite_to_many(1);
	between_tries("to one address", 128, 128 + RUN_MS / 50 + 1);
	if (socket_bind(listener, &addr) != 0 || listen(listener, 1) != 0)
		bail_out("cannot listen: %s", strerror(errno));
	responder_end(&responder);
	invite("127.0.0.1", "127.0.0.2", FIRST_PORT, INVITATION_PUNCH);
	is_int(poll(&watch, 1, PATIENCE), 1, "another address is connected to meanwhile");
	close(listener);
	finish();
}

static void test_many_victims(void)
{
	invite_to_many(8);
	between_tries("to eight addresses", 256, 256 + RUN_MS / 20 + 1);
	finish();
}

/* The first SYN is dropped: another one leaves from another port, and both connections are
 * handed over, as the initiator chooses. */
static void test_company(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct addr addr = address("127.0.0.3", FIRST_PORT), peer;
	int fill;

	/* The one place in the queue is taken: the kernel drops what comes. */
	if (socket_bind(listener, &addr) != 0 || listen(listener, 0) != 0)
		bail_out("cannot listen: %s", strerror(errno));
	fill = dial("127.0.0.3", FIRST_PORT);
	begin();
	invite("127.0.0.1", "127.0.0.3", FIRST_PORT, INVITATION_PUNCH);
	run_until(START + 240);
	is_uint(count_tries(), 1, "one SYN");
	close(accept(listener, NULL, NULL));
	run_until(START + 300);
	is_uint(count_tries(), 2, "and another one, when there is no answer");
	for (int i = 0; i < 100 && responder.company[0].state != PUNCH_NONE; i++) {
		run_until(START + 20);
		pause_briefly();
	}
	is_uint(count_punches(), 1, "that is a connection; the first one may become one as well");
	be_patient(listener, PATIENCE);
	close(socket_accept(listener, &peer));
	ok(peer.port != KEPT_PORT, "it is not from the port that is kept");
	for (int i = 0; i < 3000 && count_punches() > 0; i++) {
		run_until(START + 20);
		pause_briefly();
	}
	is_uint(count_punches(), 0, "the first one's SYN is repeated, and the punch is over");
	be_patient(listener, PATIENCE);
	close(socket_accept(listener, &peer));
	is_uint(peer.port, KEPT_PORT, "by another connection, from the port that is kept");
	close(fill);
	close(listener);
	finish();
}

int main(void)
{
	network_enter();
	own_address();
	test_addresses();
	test_reflector();
	test_prediction();
	test_one_victim();
	test_many_victims();
	test_company();
	return done_testing();
}
