/*
 * The way to a home, over the loopback: past reflectors that are well, silent, mad or false, to a
 * home that is the test's own. Each try is a process, whose exit status is natpunch's. Those that
 * do not disturb each other run at once; what a phase waits for is made short where it is waited
 * for in vain, and long where it must not matter.
 */
#include "natpunch/connect/initiator.h"

#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "natpunch/proto/invitation.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/os/signals.h"
#include "unit/server.h"

#define PLAIN_PORT 3479 /* a reflector without names */
#define TWO_PORT   5478 /* a reflector with two addresses; 5479 is its other port */
#define HOME_PORT  22022
#define OWN_IP     "fd00::7" /* of home's own */
#define NEXT_PORT  23000     /* what home predicts */
#define FALSE_PORT 24000     /* what others do */
#define WELL       "hello from the road"
#define BOTH       "both.test" /* ::1, then 127.0.0.1 */

/* For the second try: the first ends soon, and so does the wait for connections. */
static const struct initiator_times soon = {.nonce = 30,
	.next_address = 5000,
	.answer = 5000,
	.first = 150,
	.second_after = 150,
	.prediction = 5000,
	.second = 300,
	.relay = 5000};

static struct key home, stranger, wrong;
static struct server server, plain, two;
static struct addr own_host; /* that home registers with; ADDR_NONE: none */
static char keys_path[] = "/tmp/natpunch-initiator-XXXXXX";
static char hosts_path[] = "/tmp/natpunch-hosts-XXXXXX";

static struct key make_key(const char *name)
{
	struct key key = {.name = ""};

	memcpy(key.name, name, strlen(name) + 1);
	random_fill(key.secret, sizeof(key.secret));
	return key;
}

static void write_keys(void)
{
	int fd = mkstemp(keys_path);
	char line[KEY_LINE_SIZE];

	if (fd < 0 || dprintf(fd, "%s\n", key_format(&home, line)) < 0)
		bail_out("no key file: %s", strerror(errno));
	close(fd);
}

/* For this process and its children. */
static void name_addresses(void)
{
	int fd = mkstemp(hosts_path);

	if (fd < 0 || dprintf(fd, "::1 " BOTH "\n127.0.0.1 " BOTH "\n") < 0 ||
		fchmod(fd, 0644) != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount(hosts_path, "/etc/hosts", NULL, MS_BIND, NULL) != 0)
		bail_out("no names: %s", strerror(errno));
	close(fd);
	unlink(hosts_path);
}

/* An initiator in a process of its own; what it says of an error goes to a file in memory. */
struct road {
	pid_t pid;
	int said;
};

/* As ssh would have it: a key goes out at once, and a peer that is gone is noticed. */
static bool feels_like_ssh(int fd)
{
	int nodelay = 0, keepalive = 0;
	socklen_t size = sizeof(int);

	return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size) == 0 && nodelay != 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &size) == 0 && keepalive != 0;
}

/* What comes from the other end is shown, as far as it comes at once. */
static int greet(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char text[64];
	ssize_t got;

	if (!feels_like_ssh(fd))
		return 98;
	if (send(fd, WELL, sizeof(WELL), MSG_NOSIGNAL) != sizeof(WELL))
		return 99;
	poll(&ready, 1, PATIENCE);
	got = recv(fd, text, sizeof(text), 0);
	if (got > 0)
		dprintf(STDERR_FILENO, "it said: %.*s\n", (int)got, text);
	return 0;
}

static struct road travel_by(const struct reflector_list *reflectors, const struct key *key,
	uint64_t timeout_ms, const struct initiator_times *times)
{
	struct road road = {.said = memfd_create("said", MFD_CLOEXEC)};
	struct initiator_request request = {
		.reflectors = reflectors, .key = key, .timeout_ms = timeout_ms, .times = times};
	struct error error;
	int fd;

	fflush(stdout);
	road.pid = fork();
	if (road.pid != 0)
		return road;
	dup2(road.said, STDERR_FILENO);
	log_set_command("connect");
	log_set_level(LOG_LEVEL_VERBOSE);
	fd = initiator_connect(&request, &error);
	if (fd < 0) {
		log_print_error(&error);
		_exit((int)error.status);
	}
	_exit(greet(fd));
}

static void add_reflector(struct reflector_list *reflectors, const char *ip, uint16_t port)
{
	struct host_port *reflector = &reflectors->all[reflectors->count++];

	reflector->port = port;
	memcpy(reflector->host, ip, strlen(ip) + 1);
}

static struct road travel_for(const char *ip, uint16_t port, const struct key *key,
	uint64_t timeout_ms, const struct initiator_times *times)
{
	struct reflector_list reflectors = {.count = 0};

	add_reflector(&reflectors, ip, port);
	return travel_by(&reflectors, key, timeout_ms, times);
}

static struct road travel(const char *ip, uint16_t port, const struct key *key, uint64_t timeout_ms)
{
	return travel_for(ip, port, key, timeout_ms, NULL);
}

static struct road travel_soon(uint16_t port)
{
	return travel_for("127.0.0.1", port, &home, 8000, &soon);
}

static const char *said(const struct road *road)
{
	static char text[4096];
	ssize_t size = pread(road->said, text, sizeof(text) - 1, 0);

	text[size > 0 ? size : 0] = '\0';
	return text;
}

static void wait_for_end(struct road *road, int status, const char *name)
{
	uint64_t end = clock_now_ms() + PATIENCE;
	int result = -1;

	while (waitpid(road->pid, &result, WNOHANG) == 0 && clock_now_ms() <= end)
		pause_briefly();
	if (clock_now_ms() > end) {
		kill(road->pid, SIGKILL);
		waitpid(road->pid, &result, 0);
	}
	is_int(WIFEXITED(result) ? WEXITSTATUS(result) : 1000, status, "%s: exit status", name);
}

static void arrives(struct road *road, int status, const char *words, const char *name)
{
	wait_for_end(road, status, name);
	if (!ok(strstr(said(road), words) != NULL, "%s: \"%s\"", name, words))
		diag("%s", said(road));
	close(road->said);
}

static int listen_on(const char *ip, uint16_t port)
{
	struct addr addr = address(ip, port);
	int fd = socket_open((enum addr_family)addr.family, SOCK_STREAM, IPPROTO_TCP);

	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (socket_bind(fd, &addr) != 0 || listen(fd, 16) != 0)
		bail_out("listen: %s", strerror(errno));
	return fd;
}

static int accept_patiently(int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	int fd = -1;

	if (poll(&ready, 1, PATIENCE) == 1)
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		be_patient(fd, PATIENCE);
	return fd;
}

static bool got_nobody(int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	return poll(&ready, 1, 0) == 0;
}

/* ---- the test's home ---------------------------------------------------------------------- */

/* Registers from HOME_PORT and holds. Sets what invitations are to be. */
static int register_place(
	uint16_t port, enum mapping_protocol protocol, struct invitation *expected)
{
	struct addr from = address("127.0.0.1", HOME_PORT);
	struct addr to = address("127.0.0.1", port);
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&to, &sockaddr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enum name_message_outcome outcome = NAME_MESSAGE_AGAIN;
	struct name_question question;
	const char *why;

	be_patient(fd, PATIENCE);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (socket_bind(fd, &from) != 0 || connect(fd, (struct sockaddr *)&sockaddr, size) != 0)
		bail_out("home cannot connect: %s", strerror(errno));
	name_message_start(&question, STUN_METHOD_REGISTER, &home);
	question.mode = BINDING_MODE_HOLD;
	question.mode_seconds = 60;
	question.registration.protocol = protocol;
	question.registration.local_port = HOME_PORT;
	question.registration.mapped_port = protocol == MAPPING_UDP ? HOME_PORT : 0;
	question.hosts[0] = own_host;
	question.host_count = own_host.family != ADDR_NONE;
	while (outcome == NAME_MESSAGE_AGAIN) {
		uint8_t bytes[STUN_MESSAGE_MAX];
		uint8_t random[12];
		random_fill(random, sizeof(random));
		say(fd, bytes, name_message_write(&question, random, bytes, sizeof(bytes)));
		outcome = name_message_read(
			&question, bytes, hear_message(fd, SOCK_STREAM, bytes), &why);
	}
	if (outcome != NAME_MESSAGE_DONE)
		bail_out("home is not registered: %d", (int)outcome);
	memset(expected, 0, sizeof(*expected));
	memcpy(expected->session, question.transaction + 4, sizeof(expected->session));
	return fd;
}

static int register_home_at(uint16_t port, struct invitation *expected)
{
	return register_place(port, MAPPING_TCP, expected);
}

static int register_home(struct invitation *expected)
{
	return register_home_at(SERVER_PORT, expected);
}

static void end_home(int fd)
{
	struct linger reset = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static bool take_invitation(int held, struct invitation *expected)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	return invitation_read(
		       expected, home.secret, bytes, hear_message(held, SOCK_STREAM, bytes)) == 0;
}

static void is_greeted(int fd, const char *name)
{
	char text[sizeof(WELL)] = "";

	ok(fd >= 0 && hear(fd, text, sizeof(WELL)) && strcmp(text, WELL) == 0,
		"%s: the initiator is at the other end", name);
	if (fd >= 0)
		close(fd);
}

/* ---- reflectors that are well ------------------------------------------------------------- */

static void test_refusals(void)
{
	static const struct {
		const char *ip;
		uint16_t port;
		const struct key *key;
		const char *words, *name;
	} rows[] = {
		{"127.0.0.1", SERVER_PORT, &home, "knows no address of home", "nobody at home"},
		{"::1", SERVER_PORT, &home, "knows no address of home", "nobody, over IPv6"},
		{"127.0.0.1", SERVER_PORT, &wrong, "127.0.0.1:3478 refuses the key for ",
			"a wrong key"},
		{"127.0.0.1", SERVER_PORT, &stranger, "127.0.0.1:3478 refuses the key for ",
			"an unknown name"},
		{"127.0.0.1", PLAIN_PORT, &home, "127.0.0.1:3479 keeps no names",
			"a reflector without names"},
		{"127.0.0.1", 9, &home, "cannot connect to 127.0.0.1:9: Connection refused",
			"nobody at all"},
	};
	struct road roads[sizeof(rows) / sizeof(rows[0])];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		roads[i] = travel(rows[i].ip, rows[i].port, rows[i].key, 5000);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		arrives(&roads[i], EXIT_STATUS_NETWORK, rows[i].words, rows[i].name);
}

/* A UDP port is no way for a connection, and who keeps one is not told of any. */
static void test_udp_alone(void)
{
	struct invitation expected;
	int held = register_place(SERVER_PORT, MAPPING_UDP, &expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);

	arrives(&road, EXIT_STATUS_NETWORK, "knows no TCP address of home", "a UDP port alone");
	ok(is_silent(held), "and home is told of nobody");
	end_home(held);
}

static void test_direct(void)
{
	int listener = listen_on("127.0.0.1", HOME_PORT);
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);

	is_greeted(accept_patiently(listener), "who listens at home gets it");
	arrives(&road, 0, "connected to 127.0.0.1:22022 at try 1", "straight in");
	ok(take_invitation(held, &expected), "home was told all the same");
	is_uint(expected.number, 1, "it is the first invitation");
	end_home(held);
	close(listener);
}

/* Nobody listens at home; it connects from another port, as behind a symmetric NAT. */
static void test_arrival(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);
	struct addr from = address("127.0.0.2", 0);
	int other, fd;

	if (!ok(take_invitation(held, &expected), "home is told who comes"))
		bail_out("nothing to connect to");
	other = connect_from(&from, SOCK_STREAM, "127.0.0.1", expected.initiator.port);
	ok(other >= 0, "a stranger gets to the initiator's port");
	ok(hear_end(other), "and is closed");
	fd = dial("127.0.0.1", expected.initiator.port);
	is_greeted(fd, "home's own connection is taken");
	arrives(&road, 0, "home connected to us, from 127.0.0.1:", "home came");
	close(other);
	end_home(held);
}

/* Both connect to each other's port at once, and each refuses the other's first SYN or not. */
static void test_simultaneous(void)
{
	struct addr from = address("127.0.0.1", HOME_PORT);
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);
	int fd = -1;

	if (!ok(take_invitation(held, &expected), "home is told who comes"))
		bail_out("nothing to connect to");
	for (int i = 0; i < 1000 && fd < 0; i++) {
		struct sockaddr_storage sockaddr;
		socklen_t size = socket_from_addr(&expected.initiator, &sockaddr);

		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		be_patient(fd, PATIENCE);
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		if (socket_bind(fd, &from) == 0 &&
			connect(fd, (struct sockaddr *)&sockaddr, size) == 0)
			break;
		close(fd);
		fd = -1;
		pause_briefly();
	}
	is_greeted(fd, "from the port that is registered");
	arrives(&road, 0, "127.0.0.1:22022", "one of both");
	end_home(held);
}

/*
 * What home was told, or what it sent then, is lost: it is told of other ports, twice, while the
 * first one is still tried, and gets through to the last.
 */
static void test_companions(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);
	uint16_t ports[3];

	for (unsigned i = 0; i < 3; i++) {
		if (!ok(take_invitation(held, &expected), "home is told, time %u", i + 1))
			bail_out("nothing to connect to");
		is_uint(expected.number, i + 1, "an invitation of its own");
		ports[i] = expected.initiator.port;
	}
	ok(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2],
		"each time of another port");
	is_greeted(dial("127.0.0.1", ports[2]), "the last is taken");
	arrives(&road, 0, "trying from another port as well", "in company");
	end_home(held);
}

/* Registered, held, and deaf: nothing listens, and the invitation is not followed. */
static void test_no_way(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 400);
	struct road other = travel("127.0.0.1", SERVER_PORT, &home, 400);

	arrives(&road, EXIT_STATUS_UNREACHABLE,
		"no direct way to home at 127.0.0.1:22022: Connection refused", "no way");
	arrives(&other, EXIT_STATUS_UNREACHABLE, "\nhint: by way of a third host", "no way");
	end_home(held);
	road = travel("127.0.0.1", SERVER_PORT, &home, 400);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "was last heard of", "a home that went");
}

/*
 * We are seen where home is: its own address is tried as well, and comes after the direct way.
 * Last, as with such an address names are looked up otherwise.
 */
static void test_own_address(void)
{
	struct invitation expected;
	int own, listener, held;
	struct road road;

	loopback_add(OWN_IP);
	own = listen_on(OWN_IP, HOME_PORT);
	own_host = address(OWN_IP, HOME_PORT);
	held = register_home(&expected);
	road = travel("127.0.0.1", SERVER_PORT, &home, 5000);
	is_greeted(accept_patiently(own), "who listens at home's own address gets it");
	arrives(&road, 0, "connected to [fd00::7]:22022, home's own address", "from beside home");
	listener = listen_on("127.0.0.1", HOME_PORT);
	road = travel("127.0.0.1", SERVER_PORT, &home, 5000);
	is_greeted(accept_patiently(listener), "the mapping leads there as well, and is preferred");
	arrives(&road, 0, "connected to 127.0.0.1:22022 at try 1", "not by its own address");
	close(listener);
	close(own);
	road = travel("127.0.0.1", SERVER_PORT, &home, 400);
	arrives(&road, EXIT_STATUS_UNREACHABLE,
		"\nhint: home is behind the same NAT as this machine, and does not answer at its "
		"own address (Connection refused); look why: ssh -p 22022 fd00::7",
		"no way at all");
	own_host.family = ADDR_NONE;
	end_home(held);
}

static void test_family(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("::1", SERVER_PORT, &home, 5000);

	arrives(&road, EXIT_STATUS_NETWORK, "only one of the other family; ", "the other family");
	end_home(held);
}

/* ---- both families ------------------------------------------------------------------------ */

/* The first is known to the reflector, and home is not known in it. */
static void test_other_family(void)
{
	int listener = listen_on("127.0.0.1", HOME_PORT);
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel(BOTH, SERVER_PORT, &home, 5000);

	is_greeted(accept_patiently(listener), "home is asked for in the other one");
	arrives(&road, 0, "home is not known in IPv6, but in the other family", "the other family");
	close(listener);
	end_home(held);
}

/* One that says nothing costs 250 ms, and not what an address may take. */
static void test_dead_family(void)
{
	int listener = listen_on("127.0.0.1", HOME_PORT);
	int full = listen_on("::1", TWO_PORT);
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	uint64_t began;
	struct road road;
	int fill;

	/* The one place in the queue is taken: the kernel drops what comes. */
	listen(full, 0);
	fill = dial("::1", TWO_PORT);
	times.next_address = PATIENCE;
	began = clock_now_ms();
	road = travel_for(BOTH, TWO_PORT, &home, PATIENCE, &times);
	is_greeted(accept_patiently(listener), "the other family is not waited for");
	ok(clock_now_ms() - began < PATIENCE / 2, "nor what has no answer");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "a dead family");
	end_home(held);
	close(fill);
	close(full);
	close(listener);
}

/* Both families fail, and each says why: the end is what tells most. */
static void test_both_fail(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel(BOTH, SERVER_PORT, &home, 400);

	arrives(&road, EXIT_STATUS_UNREACHABLE, "no direct way to home at 127.0.0.1:22022",
		"known in one, and no way to it");
	end_home(held);
	road = travel(BOTH, 9, &home, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "cannot connect to 127.0.0.1:9: Connection refused",
		"nobody in either");
}

/* ---- several reflectors ------------------------------------------------------------------- */

#define DEAD_PORT 9
#define FULL_PORT 4200

/* A reflector at FULL_PORT that says nothing, not even in the handshake; close both. */
static int be_silent(int *fill)
{
	int full = listen_on("127.0.0.1", FULL_PORT);

	listen(full, 0);
	*fill = dial("127.0.0.1", FULL_PORT);
	return full;
}

/* Home is held by the second: whatever the first is, or says, home is reached by that. */
static void test_next_reflector(void)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *words, *name;
	} rows[] = {
		{"127.0.0.1", DEAD_PORT, "cannot connect to 127.0.0.1:9: Connection refused",
			"nobody there"},
		{"127.0.0.1", PLAIN_PORT, "127.0.0.1:3479 keeps no names", "no names"},
		{"127.0.0.1", FULL_PORT, "connected to 127.0.0.1:22022", "a silent one"},
		{"no..where", DEAD_PORT, "cannot look up no..where: ", "no address"},
	};
	int listener = listen_on("127.0.0.1", HOME_PORT);
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected), fill;
	int full = be_silent(&fill);
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;

	times.next_address = PATIENCE;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reflector_list reflectors = {.count = 0};
		uint64_t began = clock_now_ms();
		struct road road;

		add_reflector(&reflectors, rows[i].host, rows[i].port);
		add_reflector(&reflectors, "127.0.0.1", TWO_PORT);
		road = travel_by(&reflectors, &home, PATIENCE, &times);
		is_greeted(accept_patiently(listener), rows[i].name);
		ok(clock_now_ms() - began < PATIENCE / 2, "%s is not waited for", rows[i].name);
		arrives(&road, 0, rows[i].words, rows[i].name);
	}
	end_home(held);
	close(full);
	close(fill);
	close(listener);
}

/* What holds home is asked alone, and nobody else hears of us. */
static void test_first_holds(void)
{
	int listener = listen_on("127.0.0.1", HOME_PORT), other = listen_on("127.0.0.1", FULL_PORT);
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	struct reflector_list reflectors = {.count = 0};
	struct road road;

	add_reflector(&reflectors, "127.0.0.1", TWO_PORT);
	add_reflector(&reflectors, "127.0.0.1", FULL_PORT);
	road = travel_by(&reflectors, &home, PATIENCE, NULL);
	is_greeted(accept_patiently(listener), "by the first");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "the first holds home");
	ok(got_nobody(other), "the second is not asked");
	end_home(held);
	close(other);
	close(listener);
}

/* Where home was last is tried after all else, and that it is so is told then alone. */
static void test_unheld(void)
{
	int listener = listen_on("127.0.0.1", HOME_PORT), fill;
	int full = be_silent(&fill);
	struct invitation expected;
	struct reflector_list reflectors = {.count = 0};
	struct road road;
	int held;

	end_home(register_home(&expected));
	held = register_home_at(TWO_PORT, &expected);
	add_reflector(&reflectors, "127.0.0.1", SERVER_PORT);
	add_reflector(&reflectors, "127.0.0.1", TWO_PORT);
	road = travel_by(&reflectors, &home, PATIENCE, NULL);
	ok(take_invitation(held, &expected), "home is told by who holds it");
	is_greeted(accept_patiently(listener), "another holds home");
	arrives(&road, 0, "; asking on", "not held by the first");
	reflectors.all[1].port = FULL_PORT;
	road = travel_by(&reflectors, &home, PATIENCE, NULL);
	is_greeted(accept_patiently(listener), "nobody holds home");
	arrives(&road, 0, "at 127.0.0.1:22022; trying that",
		"an old address, and a dead reflector");
	end_home(held);
	close(full);
	close(fill);
	close(listener);
}

/* Nothing comes of the one that holds home: the next one is asked as well. */
static void test_held_in_vain(void)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	struct invitation in_vain, expected;
	int deaf = register_home(&in_vain);
	int held = register_home_at(TWO_PORT, &expected);
	struct reflector_list reflectors = {.count = 0};
	struct road road;
	uint64_t began;

	times.stagger = 1500; /* a busy machine is slower than 50 ms */
	times.held = 1600;
	times.first = times.second_after = PATIENCE;
	add_reflector(&reflectors, "127.0.0.1", SERVER_PORT);
	add_reflector(&reflectors, "127.0.0.1", TWO_PORT);
	began = clock_now_ms();
	road = travel_by(&reflectors, &home, PATIENCE, &times);
	ok(take_invitation(deaf, &in_vain), "home is told by the first");
	if (ok(take_invitation(held, &expected), "and then by the second"))
		is_greeted(dial("127.0.0.1", expected.initiator.port), "by the second");
	ok(clock_now_ms() - began >= 1500, "which is not asked before");
	ok(take_invitation(deaf, &in_vain) && take_invitation(deaf, &in_vain) && is_silent(deaf),
		"the first has told of companions");
	arrives(&road, 0, "home connected to us", "the second leads home");
	end_home(deaf);
	end_home(held);
}

/* While home's ports may be predicted, its reflector is asked alone for a time, and no longer. */
static void test_held_alone(void)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	struct invitation in_vain, expected;
	int deaf = register_home_at(TWO_PORT, &in_vain);
	int held = register_home(&expected);
	struct reflector_list reflectors = {.count = 0};
	struct road road;
	uint64_t began;

	times.stagger = 300;
	times.held = 1500;
	times.first = times.second_after = PATIENCE;
	add_reflector(&reflectors, "127.0.0.1", TWO_PORT);
	add_reflector(&reflectors, "127.0.0.1", SERVER_PORT);
	began = clock_now_ms();
	road = travel_by(&reflectors, &home, PATIENCE, &times);
	ok(take_invitation(deaf, &in_vain), "a time alone: home is told by the first");
	ok(take_invitation(held, &expected), "and then by the second");
	ok(clock_now_ms() - began >= times.held, "which is not asked before");
	ok(clock_now_ms() - began < PATIENCE / 3, "but long before the relay");
	is_greeted(dial("127.0.0.1", expected.initiator.port), "by the second");
	arrives(&road, 0, "home connected to us", "a time alone");
	end_home(deaf);
	end_home(held);
}

static void is_last_error(struct road *road, const char *words, const char *name)
{
	const char *last = NULL;

	for (const char *at = said(road); (at = strstr(at, "\nnatpunch connect:")) != NULL; at++)
		last = at;
	if (!ok(last != NULL && strncmp(last, words, strlen(words)) == 0, "%s: \"%s\"", name,
		    words))
		diag("%s", said(road));
	close(road->said);
}

/* All fail: the one that tells most is told. */
static void test_all_fail(void)
{
	static const struct {
		uint16_t ports[2];
		const struct key *key;
		int status;
		const char *words, *name;
	} rows[] = {
		{{DEAD_PORT, SERVER_PORT}, &wrong, EXIT_STATUS_NETWORK,
			"\nnatpunch connect: 127.0.0.1:3478 refuses the key for ", "a key refused"},
		{{FULL_PORT, SERVER_PORT}, &wrong, EXIT_STATUS_NETWORK,
			"\nnatpunch connect: 127.0.0.1:3478 refuses the key for ",
			"a key refused, and silence"},
		{{SERVER_PORT, TWO_PORT}, &home, EXIT_STATUS_UNREACHABLE,
			"\nnatpunch connect: no direct way to home at 127.0.0.1:22022",
			"no way, and an unknown name"},
	};
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected), fill;
	int full = be_silent(&fill);
	struct initiator_times times = soon;

	/* Silence is noted before the refusal. */
	times.next_address = 100;
	times.stagger = 400;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reflector_list reflectors = {.count = 0};
		struct road road;

		add_reflector(&reflectors, "127.0.0.1", rows[i].ports[0]);
		add_reflector(&reflectors, "127.0.0.1", rows[i].ports[1]);
		road = travel_by(&reflectors, rows[i].key, 1000, &times);
		wait_for_end(&road, rows[i].status, rows[i].name);
		is_last_error(&road, rows[i].words, rows[i].name);
	}
	end_home(held);
	close(full);
	close(fill);
}

/* ---- the second try ----------------------------------------------------------------------- */

static void predict(int fd, const struct invitation_asker *asker, const struct key *key,
	uint16_t port, int16_t step)
{
	const struct port_prediction prediction = {.port = port, .step = step};
	uint8_t bytes[INVITATION_SIZE_MAX];
	uint8_t random[12];

	random_fill(random, sizeof(random));
	say(fd, bytes,
		invitation_write_prediction(asker, &prediction, key, random, bytes, sizeof(bytes)));
}

/* Home is asked to come in vain, and then for its prediction. */
static bool is_asked_for_prediction(int held, struct invitation *expected)
{
	return ok(take_invitation(held, expected) && expected->kind == INVITATION_PUNCH,
		       "home is told who comes") &&
	       ok(take_invitation(held, expected) && expected->kind == INVITATION_PREDICTION,
		       "and then what port it will come from") &&
	       ok(expected->prediction.port != expected->initiator.port &&
			       expected->prediction.port != 0 && expected->prediction.step == 0,
		       "which is another than before, and the same for all");
}

/* Of those who may not predict for home, nobody is heard. */
static void test_false_predictions(void)
{
	int listener = listen_on("127.0.0.1", NEXT_PORT);
	int false_listener = listen_on("127.0.0.1", FALSE_PORT);
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	struct road road = travel_soon(TWO_PORT);
	int other = dial("127.0.0.1", TWO_PORT);
	struct invitation_asker replayed;
	int fd;

	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	replayed = expected.asker;
	replayed.transaction[0] ^= 1;
	predict(held, &expected.asker, &wrong, FALSE_PORT, 0);
	predict(held, &expected.asker, &stranger, FALSE_PORT, 0);
	ok(ask_mode(held, SOCK_STREAM, BINDING_MODE_HOLD, 60, NULL),
		"the reflector has heard those without the key,");
	is_uint(server_said(&two, "was told home's prediction"), 0, "and told nobody");
	predict(held, &replayed, &home, FALSE_PORT, 0);
	/* With home's own key, but not over the connection that holds the name. */
	predict(other, &expected.asker, &home, FALSE_PORT, 0);
	ok(ask(other, SOCK_STREAM), "the reflector has heard it all");
	/* Home does not say something to whomever it likes. */
	for (uint64_t slot = 0; slot < 32; slot++)
		for (uint64_t generation = 0; generation < 4; generation++) {
			replayed.connection = slot << 32 | generation;
			predict(held, &replayed, &home, FALSE_PORT, 0);
		}
	predict(held, &expected.asker, &home, NEXT_PORT, 0);
	fd = accept_patiently(listener);
	is_greeted(fd, "home's own prediction is followed");
	arrives(&road, 0, "connected to 127.0.0.1:23000 at try 1", "a port that was predicted");
	ok(got_nobody(false_listener), "and no other was");
	ok(is_silent(other), "who asked for nothing is told nothing");
	close(other);
	close(listener);
	close(false_listener);
	end_home(held);
}

/* The port that was predicted went to another: one of the next is it. */
static void test_neighbours(void)
{
	int listener = listen_on("127.0.0.1", NEXT_PORT + 2 * (PORT_PREDICTION_CANDIDATES - 1));
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	struct road road = travel_soon(TWO_PORT);

	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	predict(held, &expected.asker, &home, NEXT_PORT, 2);
	is_greeted(accept_patiently(listener), "the last of the handful");
	arrives(&road, 0, "connected to 127.0.0.1:23008 at try 1", "a neighbour");
	close(listener);
	listener = listen_on("127.0.0.1", NEXT_PORT + 2 * PORT_PREDICTION_CANDIDATES);
	end_home(held);
	held = register_home_at(TWO_PORT, &expected);
	road = travel_soon(TWO_PORT);
	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	predict(held, &expected.asker, &home, NEXT_PORT, 2);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "the reflector does not relay", "one more");
	ok(got_nobody(listener), "is not tried: it is no scan");
	close(listener);
	end_home(held);
}

/* Home cannot tell, or the reflector goes meanwhile: it ends, and says so. */
static void test_no_prediction(void)
{
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	struct road road = travel_soon(TWO_PORT);
	uint64_t began;

	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	began = clock_now_ms();
	predict(held, &expected.asker, &home, 0, 0);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "home's port cannot be predicted", "random ports");
	ok(clock_now_ms() - began < PATIENCE / 2, "at once");
	road = travel_soon(TWO_PORT);
	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	is_int(server_stop(&two), EXIT_STATUS_DONE, "the reflector goes");
	arrives(&road, EXIT_STATUS_UNREACHABLE, "; the reflector closed the connection",
		"no reflector");
	end_home(held);
}

/* ---- reflectors that are not -------------------------------------------------------------- */

enum manner {
	CLOSES,
	SILENT,
	SPEAKS_SSH,
	NOISE,
	HALF_THEN_END,
	HALF_THEN_SILENCE,
	UNPROVEN,
	OTHERS_ANSWERS,
	TOO_LONG,
	LINE,
};

/* Answers the first request so. The initiator is at its end when fd is closed, or waits in vain. */
static void answer_so(int fd, enum manner manner)
{
	uint8_t request[STUN_MESSAGE_MAX];
	uint8_t bytes[2048];
	struct wire_writer writer;
	size_t size = hear_message(fd, SOCK_STREAM, request);

	if (manner == OTHERS_ANSWERS)
		request[STUN_HEADER_SIZE - 1] ^= 1;
	stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_CONNECT, request + 4);
	stun_put_fingerprint(&writer);
	size = stun_finish(&writer);
	switch (manner) {
	case CLOSES:
	case SILENT:
		break;
	case SPEAKS_SSH:
		say(fd, "SSH-2.0-OpenSSH_9.2\r\n", 21);
		break;
	case NOISE:
		memset(bytes, 0xff, sizeof(bytes));
		say(fd, bytes, sizeof(bytes));
		break;
	case HALF_THEN_END:
	case HALF_THEN_SILENCE:
		say(fd, bytes, size - 1);
		break;
	case UNPROVEN:
	case OTHERS_ANSWERS:
		say(fd, bytes, size);
		break;
	case LINE:
		say(fd, "192.0.2.7 40022\n", 16);
		break;
	case TOO_LONG:
		bytes[2] = 0xff;
		bytes[3] = 0xfc;
		say(fd, bytes, sizeof(bytes));
		break;
	}
}

/* Only the time that the initiator has will end it: it asks once more where it was not heard. */
static bool is_silence(enum manner manner)
{
	return manner == SILENT || manner == HALF_THEN_SILENCE || manner == OTHERS_ANSWERS ||
	       manner == CLOSES || manner == HALF_THEN_END;
}

static bool is_at_its_end(enum manner manner)
{
	return manner == CLOSES || manner == HALF_THEN_END || manner == LINE;
}

static void test_bad_reflectors(void)
{
	static const struct {
		enum manner manner;
		int status;
		const char *words, *name;
	} rows[] = {
		{CLOSES, EXIT_STATUS_NETWORK,
			"no answer from 127.0.0.1:4000: it closed the connection", "closes"},
		{SILENT, EXIT_STATUS_NETWORK, "the time is up", "silent"},
		{SPEAKS_SSH, EXIT_STATUS_PEER, "bad answer from 127.0.0.1:4002: it is not STUN",
			"another protocol"},
		{NOISE, EXIT_STATUS_PEER, "it is not STUN", "noise"},
		{HALF_THEN_END, EXIT_STATUS_NETWORK, "it closed the connection", "half of one"},
		{HALF_THEN_SILENCE, EXIT_STATUS_NETWORK, "the time is up", "half, and silence"},
		{UNPROVEN, EXIT_STATUS_PEER, "bad answer from", "an answer without proof"},
		{OTHERS_ANSWERS, EXIT_STATUS_NETWORK, "the time is up", "another's answer"},
		{TOO_LONG, EXIT_STATUS_PEER, "it is not STUN", "a length beyond all bounds"},
	};
	enum {
		COUNT = sizeof(rows) / sizeof(rows[0])
	};
	struct road roads[COUNT];
	int listeners[COUNT], fds[COUNT];
	uint64_t began = clock_now_ms();

	for (size_t i = 0; i < COUNT; i++) {
		uint16_t port = (uint16_t)(4000 + i);
		listeners[i] = listen_on("127.0.0.1", port);
		roads[i] =
			travel("127.0.0.1", port, &home, is_silence(rows[i].manner) ? 500 : 4000);
	}
	for (size_t i = 0; i < COUNT; i++) {
		fds[i] = accept_patiently(listeners[i]);
		if (ok(fds[i] >= 0, "%s: it asks", rows[i].name))
			answer_so(fds[i], rows[i].manner);
		if (is_at_its_end(rows[i].manner))
			close(fds[i]);
	}
	for (size_t i = 0; i < COUNT; i++) {
		arrives(&roads[i], rows[i].status, rows[i].words, rows[i].name);
		if (!is_at_its_end(rows[i].manner))
			close(fds[i]);
		close(listeners[i]);
	}
	ok(clock_now_ms() - began < PATIENCE, "none takes longer than it may");
}

/*
 * A reflector that hears nothing for a while takes who is there for a person, and answers the
 * question that comes then by a RST. That is no end, nor is a connection that is closed.
 */
static void test_late(void)
{
	static const enum manner manners[] = {LINE, CLOSES, HALF_THEN_END, LINE, UNPROVEN};
	int listener = listen_on("127.0.0.1", 4000);
	struct road road = travel("127.0.0.1", 4000, &home, PATIENCE);

	for (unsigned i = 0; i < sizeof(manners) / sizeof(manners[0]); i++) {
		int fd = accept_patiently(listener);
		if (!ok(fd >= 0, "it asks, time %u", i + 1))
			break;
		answer_so(fd, manners[i]);
		if (manners[i] == CLOSES)
			end_home(fd);
		else
			close(fd);
	}
	arrives(&road, EXIT_STATUS_PEER, "the question came too late", "late");
	close(listener);
}

/* One that never answers is not asked without end. */
static void test_always_closes(void)
{
	int listener = listen_on("127.0.0.1", 4000);
	struct road road = travel("127.0.0.1", 4000, &home, PATIENCE);
	unsigned count = 0;
	int fd;

	for (; count < 6 && (fd = accept_patiently(listener)) >= 0; count++)
		end_home(fd);
	/* By a RST where the question was still to come, else by a FIN. */
	arrives(&road, EXIT_STATUS_NETWORK, " 127.0.0.1:4000: ", "always closed");
	is_uint(count, 6, "it asks six times");
	ok(got_nobody(listener), "and not once more");
	close(listener);
}

/* How many SYNs has the kernel sent to this port of the loopback that nobody has answered? */
static unsigned count_called(uint16_t port)
{
	FILE *table = fopen("/proc/net/tcp", "re");
	char line[256], wanted[32];
	unsigned count = 0;

	snprintf(wanted, sizeof(wanted), "0100007F:%04X 02 ", port);
	while (table != NULL && fgets(line, sizeof(line), table) != NULL)
		count += strstr(line, wanted) != NULL;
	if (table != NULL)
		fclose(table);
	return count;
}

/* The first SYN is dropped: another one is sent beside it, and does not wait for the call to end.
 */
static void test_lost_syn(void)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	int listener = listen_on("127.0.0.1", 4000);
	uint64_t end = clock_now_ms() + PATIENCE;
	struct road road;
	int fill, fd;

	/* The one place in the queue is taken: the kernel drops what comes. */
	listen(listener, 0);
	fill = dial("127.0.0.1", 4000);
	times.next_address = PATIENCE;
	road = travel_for("127.0.0.1", 4000, &home, PATIENCE, &times);
	while (count_called(4000) < 2 && clock_now_ms() < end)
		pause_briefly();
	ok(count_called(4000) >= 2, "a SYN that was lost is not waited for");
	close(accept_patiently(listener));
	fd = accept_patiently(listener);
	answer_so(fd, UNPROVEN);
	arrives(&road, EXIT_STATUS_PEER, "bad answer from", "a lost SYN");
	close(fd);
	close(fill);
	close(listener);
}

/* It is bad in one family, and nobody is there in the other: the first says more. */
static void test_telling(void)
{
	int listener = listen_on("::1", 4000);
	struct road road = travel(BOTH, 4000, &home, 5000);
	int fd = accept_patiently(listener);

	ok(fd >= 0, "it asks in the first family");
	answer_so(fd, UNPROVEN);
	arrives(&road, EXIT_STATUS_PEER, "cannot connect to 127.0.0.1:4000: Connection refused",
		"what tells most");
	close(fd);
	close(listener);
}

/* ---- each phase and its end, at a reflector that the test plays ---------------------------- */

#define PLAYED_PORT 4100
#define NONCE       "a nonce of the test's"
#define BEHIND      "SSH-2.0-behind"

enum grant {
	GRANTS_NOTHING,
	GRANTS_RECORD, /* home, at HOME_PORT, and an offer to relay */
	GRANTS_RANDOM, /* the same, and that home's ports cannot be predicted */
};

static void refuse_with_nonce(int fd, const uint8_t *request)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_CONNECT, request + 4);
	stun_put_error(&writer, 401, "nonce");
	stun_put(&writer, STUN_NONCE, NONCE, strlen(NONCE));
	stun_put_fingerprint(&writer);
	say(fd, bytes, stun_finish(&writer));
}

static size_t grant(
	uint16_t method, const uint8_t *request, enum grant what, uint8_t bytes[STUN_MESSAGE_MAX])
{
	const struct name_message_record record = {.addr = address("127.0.0.1", HOME_PORT),
		.protocol = MAPPING_TCP,
		.local_port = HOME_PORT,
		.held = true};
	const struct addr other = address("127.0.0.2", PLAYED_PORT + 1);
	uint8_t salt[NAME_MESSAGE_SALT_SIZE];
	struct wire_writer writer;

	random_fill(salt, sizeof(salt));
	stun_begin(&writer, bytes, STUN_MESSAGE_MAX, STUN_SUCCESS, method, request + 4);
	if (what == GRANTS_RANDOM) {
		stun_put_address(&writer, STUN_OTHER_ADDRESS, &other);
		stun_put_zeros(&writer, STUN_NATPUNCH_RANDOM_PORTS, 0);
	}
	if (what != GRANTS_NOTHING) {
		name_message_put_record(&writer, &record, home.secret, salt);
		stun_put(&writer, STUN_NATPUNCH_OFFER, NONCE, strlen(NONCE));
	}
	stun_auth_put(&writer, home.secret, sizeof(home.secret));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* Answers CONNECT, with home. Returns the connection; the initiator punches then. */
static int play_connect_so(int listener, enum grant what)
{
	uint8_t request[STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	int fd = accept_patiently(listener);

	ok(fd >= 0 && hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a nonce");
	refuse_with_nonce(fd, request);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "and then for home");
	say(fd, bytes, grant(STUN_METHOD_CONNECT, request, what, bytes));
	return fd;
}

static int play_connect(int listener)
{
	return play_connect_so(listener, GRANTS_RECORD);
}

static struct addr initiator_of(int fd)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	struct addr addr = {.port = 0};

	if (getpeername(fd, (struct sockaddr *)&sockaddr, &size) != 0)
		bail_out("no initiator");
	socket_to_addr(&sockaddr, &addr);
	return addr;
}

/* There is no second address, so the relay is asked for after the first try. */
static struct road travel_played(const struct initiator_times *times)
{
	return travel_for("127.0.0.1", PLAYED_PORT, &home, 9000, times);
}

/* The session may come in one segment with the answer to RELAY: it is all the caller's. */
static void test_relay_granted(int listener)
{
	struct road road = travel_played(&soon);
	uint8_t request[STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	int fd = play_connect(listener);
	size_t size;

	ok(hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a relay");
	size = grant(STUN_METHOD_RELAY, request, GRANTS_NOTHING, bytes);
	memcpy(bytes + size, BEHIND, strlen(BEHIND));
	say(fd, bytes, size + strlen(BEHIND));
	is_greeted(fd, "by the relay");
	arrives(&road, 0, "it said: " BEHIND, "what stands behind the answer");
}

/* A reflector that is dead does not hold up the relay of another, nor does one that refuses. */
static void test_relay_of_another(int listener)
{
	int fill, full = be_silent(&fill), refusing, fd;
	uint8_t request[STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	struct reflector_list reflectors = {.count = 0};
	struct initiator_times times = soon;
	uint64_t began = clock_now_ms();
	struct road road;

	times.stagger = 100;
	times.next_address = PATIENCE;
	add_reflector(&reflectors, "127.0.0.1", PLAYED_PORT);
	add_reflector(&reflectors, "127.0.0.1", FULL_PORT);
	add_reflector(&reflectors, "127.0.0.2", PLAYED_PORT);
	road = travel_by(&reflectors, &home, PATIENCE, &times);
	refusing = play_connect(listener);
	fd = play_connect(listener);
	ok(hear_message(refusing, SOCK_STREAM, request) > 0, "it asks the first for a relay");
	close(refusing);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "and then another");
	say(fd, bytes, grant(STUN_METHOD_RELAY, request, GRANTS_NOTHING, bytes));
	is_greeted(fd, "by the relay of another");
	ok(clock_now_ms() - began < PATIENCE / 2, "the dead one is not waited for");
	arrives(&road, 0, "; the reflector closed the connection", "a relay that is gone");
	close(fill);
	close(full);
}

/* Home is not known in our family: there is nothing to try before. */
static void test_relay_at_once(void)
{
	int listener = listen_on("::1", PLAYED_PORT);
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	uint8_t request[STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	struct road road;
	int fd;

	times.first = times.second_after = PATIENCE;
	road = travel_for("::1", PLAYED_PORT, &home, 9000, &times);
	fd = play_connect(listener);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a relay");
	say(fd, bytes, grant(STUN_METHOD_RELAY, request, GRANTS_NOTHING, bytes));
	is_greeted(fd, "by the relay");
	arrives(&road, 0, "no family in common with home; asking for a relay", "no family");
	close(listener);
}

/* The places where the initiator looks what its NAT does, in its order. */
static void listen_at_places(int places[PORT_PREDICTION_SAMPLES])
{
	places[0] = listen_on("127.0.0.1", PLAYED_PORT + 1);
	places[1] = listen_on("127.0.0.2", PLAYED_PORT);
	places[2] = listen_on("127.0.0.2", PLAYED_PORT + 1);
}

/* Answers there that it was seen from these ports; 0: the answer is lost. */
static void play_places(
	int places[PORT_PREDICTION_SAMPLES], const uint16_t ports[PORT_PREDICTION_SAMPLES])
{
	uint8_t requests[PORT_PREDICTION_SAMPLES][STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	int fds[PORT_PREDICTION_SAMPLES];

	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		fds[i] = accept_patiently(places[i]);
		ok(fds[i] >= 0 && hear_message(fds[i], SOCK_STREAM, requests[i]) > 0,
			"it looks what its NAT does, at place %zu", i);
	}
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		const struct addr seen = address("192.0.2.7", ports[i]);
		struct wire_writer writer;

		if (ports[i] == 0)
			continue;
		stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_BINDING,
			requests[i] + 4);
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &seen);
		stun_put_fingerprint(&writer);
		say(fds[i], bytes, stun_finish(&writer));
	}
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		ok(hear_end(fds[i]), "and closes");
		close(fds[i]);
		close(places[i]);
	}
}

static struct road travel_patiently(void)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;

	times.first = times.second_after = times.relay = 2 * PATIENCE;
	return travel_for("127.0.0.1", PLAYED_PORT, &home, 2 * PATIENCE, &times);
}

/*
 * Neither port can be predicted, which two answers tell: the relay is asked for, and the punch goes
 * on beside it.
 */
static void test_early_relay(int listener)
{
	static const uint16_t random_ports[] = {40007, 0, 18881};
	int places[PORT_PREDICTION_SAMPLES];
	uint8_t request[STUN_MESSAGE_MAX], bytes[STUN_MESSAGE_MAX];
	struct road road;
	uint64_t began;
	int fd, at_home;

	listen_at_places(places);
	road = travel_patiently();
	fd = play_connect_so(listener, GRANTS_RANDOM);
	began = clock_now_ms();
	play_places(places, random_ports);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a relay");
	ok(clock_now_ms() - began < 1000, "and waits for no third answer");
	say(fd, bytes, grant(STUN_METHOD_RELAY, request, GRANTS_NOTHING, bytes));
	is_greeted(fd, "by the relay");
	arrives(&road, 0, "neither home's port nor ours can be predicted", "random ports");

	listen_at_places(places);
	road = travel_patiently();
	fd = play_connect_so(listener, GRANTS_RANDOM);
	play_places(places, random_ports);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a relay");
	at_home = listen_on("127.0.0.1", HOME_PORT);
	is_greeted(accept_patiently(at_home), "home lets it in meanwhile");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "faster than the relay");
	close(at_home);
	close(fd);
}

/* No second try is offered: the relay is asked for in time, and the punch goes on beside it. */
static void test_relay_in_time(int listener)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	uint8_t request[STUN_MESSAGE_MAX];
	struct road road;
	int fd, at_home;

	times.first = times.relay = 2 * PATIENCE;
	times.second_after = 100;
	road = travel_for("127.0.0.1", PLAYED_PORT, &home, 2 * PATIENCE, &times);
	fd = play_connect(listener);
	ok(hear_message(fd, SOCK_STREAM, request) > 0, "it asks for a relay in time");
	at_home = listen_on("127.0.0.1", HOME_PORT);
	is_greeted(accept_patiently(at_home), "home lets it in meanwhile");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "the punch goes on");
	close(at_home);
	close(fd);
}

/* Ours can be predicted: what home could be punched by is waited for. */
static void test_no_early_relay(int listener)
{
	static const uint16_t same[] = {40007, 40007, 40007};
	int places[PORT_PREDICTION_SAMPLES];
	struct pollfd quiet = {.events = POLLIN};
	struct road road;
	int fd, at_home;

	listen_at_places(places);
	road = travel_patiently();
	fd = play_connect_so(listener, GRANTS_RANDOM);
	play_places(places, same);
	quiet.fd = fd;
	is_int(poll(&quiet, 1, 100), 0, "no relay is asked for");
	at_home = listen_on("127.0.0.1", HOME_PORT);
	is_greeted(accept_patiently(at_home), "home lets it in");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "ports in order");
	close(at_home);
	close(fd);
}

/* The first SYN to home is dropped as well: what comes before the kernel's is from another port. */
static void test_lost_punch(int listener)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	int at_home = listen_on("127.0.0.1", HOME_PORT);
	uint64_t end = clock_now_ms() + PATIENCE;
	struct road road;
	int fill, fd;

	listen(at_home, 0);
	fill = dial("127.0.0.1", HOME_PORT);
	times.first = 950;
	road = travel_played(&times);
	fd = play_connect(listener);
	while (count_called(HOME_PORT) == 0 && clock_now_ms() < end)
		pause_briefly();
	close(accept_patiently(at_home));
	is_greeted(accept_patiently(at_home), "a SYN that was lost has company");
	arrives(&road, 0, "connected to 127.0.0.1:22022", "a lost SYN to home");
	/* Companions, which nobody answered. */
	while (!got_nobody(listener))
		close(accept_patiently(listener));
	close(fill);
	close(fd);
	close(at_home);
}

/* While it is asked for, home still gets through; or the reflector does not answer, goes, or raves.
 */
static void test_relay_not_granted(int listener)
{
	struct initiator_times times = soon;
	uint8_t request[STUN_MESSAGE_MAX];
	struct road roads[4];
	int fds[4];

	times.relay = 200;
	for (size_t i = 0; i < 4; i++) {
		roads[i] = travel_played(i == 0 ? &times : &soon);
		fds[i] = play_connect(listener);
	}
	for (size_t i = 0; i < 4; i++)
		ok(hear_message(fds[i], SOCK_STREAM, request) > 0, "it asks for a relay");
	arrives(&roads[0], EXIT_STATUS_UNREACHABLE, "no answer from the reflector's relay",
		"no answer to RELAY");
	is_greeted(dial("127.0.0.1", initiator_of(fds[1]).port), "home comes while RELAY is asked");
	arrives(&roads[1], 0, "home connected to us", "home was faster than the relay");
	say(fds[2], "not STUN", 8);
	arrives(&roads[2], EXIT_STATUS_UNREACHABLE,
		"; bad answer from the reflector: it is not STUN", "noise for RELAY");
	close(fds[3]);
	arrives(&roads[3], EXIT_STATUS_UNREACHABLE, "; the reflector closed the connection",
		"an end for RELAY");
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
}

/* What is to be done with the reflector is done. */
static void test_reflector_goes(int listener)
{
	struct road road = travel_played(NULL);
	int fd = play_connect(listener);
	struct addr initiator = initiator_of(fd);

	end_home(fd);
	pause_briefly();
	is_greeted(dial("127.0.0.1", initiator.port), "home comes when the reflector is gone");
	arrives(&road, 0, "home connected to us", "a reflector that goes while we punch");
}

/* By UDP, while the handshake is done already: it is worth waiting for. */
static void test_nonce(int listener)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	struct addr from = address("127.0.0.1", PLAYED_PORT), peer;
	int datagram = socket_open(ADDR_IPV4, SOCK_DGRAM, IPPROTO_UDP);
	uint8_t request[STUN_MESSAGE_MAX];
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	struct stun_message message;
	struct stun_attribute nonce;
	struct pollfd ready = {.fd = datagram, .events = POLLIN}, quiet;
	struct road road;
	int fd;

	times.nonce = PATIENCE;
	if (datagram < 0 || socket_bind(datagram, &from) != 0)
		bail_out("no UDP");
	road = travel_played(&times);
	fd = accept_patiently(listener);
	poll(&ready, 1, PATIENCE);
	ok(recvfrom(datagram, request, sizeof(request), 0, (struct sockaddr *)&sockaddr, &size) > 0,
		"it asks for the nonce by UDP");
	quiet = (struct pollfd){.fd = fd, .events = POLLIN};
	is_int(poll(&quiet, 1, 100), 0, "and nothing else before that is there");
	socket_to_addr(&sockaddr, &peer);
	socket_connect(datagram, &peer);
	refuse_with_nonce(datagram, request);
	ok(stun_parse(&message, request, hear_message(fd, SOCK_STREAM, request)) == 0 &&
			stun_find(&message, STUN_NONCE, &nonce) && nonce.size == strlen(NONCE) &&
			memcmp(nonce.value, NONCE, nonce.size) == 0,
		"and has it in the first question");
	say(fd, "not STUN", 8);
	arrives(&road, EXIT_STATUS_PEER, "it is not STUN", "the nonce by UDP");
	close(fd);
	close(datagram);
}

/* No answer to our SYN, or to our question: the address is tried again, until the time is up. */
static void test_next_address(int listener)
{
	struct initiator_times times = INITIATOR_TIMES_DEFAULT;
	static const char silence[] =
		"\nnatpunch connect: no answer from 127.0.0.1:4101: the time is up";
	int full = listen_on("127.0.0.1", PLAYED_PORT + 1), fill, first, second;
	const char *again;
	uint64_t began;
	struct road road;

	/* The one place in the queue is taken: the kernel drops what comes. */
	listen(full, 0);
	fill = dial("127.0.0.1", PLAYED_PORT + 1);
	times.next_address = 100; /* before the kernel sends the SYN again */
	times.answer = 100;
	began = clock_now_ms();
	road = travel_for("127.0.0.1", PLAYED_PORT + 1, &home, 1000, &times);
	wait_for_end(&road, EXIT_STATUS_NETWORK, "no answer to the SYN");
	again = strstr(said(&road), silence);
	ok(again != NULL && strstr(again + 1, silence) != NULL, "it is tried again");
	is_last_error(&road, silence, "no answer to the SYN");
	ok(clock_now_ms() - began >= 1000, "for as long as it may try");
	road = travel_for("127.0.0.1", PLAYED_PORT + 1, &home, PATIENCE, &times);
	pause_briefly();
	close(accept_patiently(full));
	first = accept_patiently(full);
	ok(first >= 0, "once there is a place for it, it comes");
	close(first);
	kill(road.pid, SIGKILL);
	waitpid(road.pid, NULL, 0);
	close(road.said);
	times.next_address = PATIENCE;
	road = travel_played(&times);
	first = accept_patiently(listener);
	second = accept_patiently(listener);
	ok(first >= 0 && second >= 0, "no answer to CONNECT: it asks again");
	close(first);
	answer_so(second, UNPROVEN);
	arrives(&road, EXIT_STATUS_PEER, "no answer from 127.0.0.1:4100: the time is up",
		"no answer to CONNECT");
	close(second);
	close(fill);
	close(full);
}

static void test_phases(void)
{
	int listener = listen_on("0.0.0.0", PLAYED_PORT);

	test_next_address(listener);
	test_nonce(listener);
	test_reflector_goes(listener);
	test_relay_granted(listener);
	test_relay_of_another(listener);
	test_relay_at_once();
	test_relay_in_time(listener);
	test_early_relay(listener);
	test_no_early_relay(listener);
	test_lost_punch(listener);
	test_relay_not_granted(listener);
	close(listener);
}

/* Home says nothing; or does not say, and comes. */
static void test_prediction_does_not_come(void)
{
	struct initiator_times times = soon;
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	uint64_t began = clock_now_ms();
	struct road road;

	times.prediction = 200;
	road = travel_for("127.0.0.1", TWO_PORT, &home, 9000, &times);
	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	arrives(&road, EXIT_STATUS_UNREACHABLE, "; the reflector does not relay",
		"a home that says nothing");
	ok(clock_now_ms() - began < 8000, "is waited for shortly, and the first try was too");
	road = travel_soon(TWO_PORT);
	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	is_greeted(dial("127.0.0.1", expected.prediction.port), "home comes unpredicted");
	arrives(&road, 0, "home connected to us", "it is taken beside the prediction");
	end_home(held);
}

int main(void)
{
	network_enter();
	name_addresses();
	signal(SIGPIPE, SIG_IGN);
	home = make_key("home");
	wrong = make_key("home");
	stranger = make_key("stranger");
	write_keys();
	server_init(&server);
	server.config.keys_path = keys_path;
	server_start(&server);
	server_init(&plain);
	plain.config.listen_count = 0;
	server_listen(&plain, "127.0.0.1", PLAIN_PORT, REFLECTOR_FULL);
	server_start(&plain);
	server_init(&two);
	two.config.keys_path = keys_path;
	two.config.listen_count = 0;
	server_listen(&two, "0.0.0.0", TWO_PORT, REFLECTOR_FULL);
	two.config.alternates[0] = address("127.0.0.2", 0);
	server_start(&two);
	test_refusals();
	test_bad_reflectors();
	test_late();
	test_always_closes();
	test_lost_syn();
	test_telling();
	test_udp_alone();
	test_direct();
	test_arrival();
	test_simultaneous();
	test_companions();
	test_no_way();
	test_family();
	test_other_family();
	test_dead_family();
	test_both_fail();
	test_next_reflector();
	test_first_holds();
	test_unheld();
	test_held_in_vain();
	test_held_alone();
	test_all_fail();
	test_false_predictions();
	test_neighbours();
	test_phases();
	test_prediction_does_not_come();
	test_no_prediction();
	test_own_address();
	server_stop(&plain);
	server_stop(&server);
	unlink(keys_path);
	return done_testing();
}
