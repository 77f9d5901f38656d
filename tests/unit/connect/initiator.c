/*
 * The way to a home, over the loopback: past reflectors that are well, silent, mad or false, to a
 * home that is the test's own. Each try is a process, whose exit status is natpunch's.
 */
#include "natpunch/connect/initiator.h"

#include <stdlib.h>

#include "natpunch/proto/invitation.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/os/signals.h"
#include "unit/server.h"

#define PLAIN_PORT 3479 /* a reflector without names */
#define TWO_PORT   5478 /* a reflector with two addresses; 5479 is its other port */
#define HOME_PORT  22022
#define NEXT_PORT  23000 /* what home predicts */
#define FALSE_PORT 24000 /* what others do */
#define WELL       "hello from the road"

static struct key home, stranger, wrong;
static struct server server, plain, two;
static char keys_path[] = "/tmp/natpunch-initiator-XXXXXX";

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

/* An initiator in a process of its own; what it says of an error goes to a file in memory. */
struct road {
	pid_t pid;
	int said;
};

static struct road travel(const char *ip, uint16_t port, const struct key *key, uint64_t timeout_ms)
{
	struct road road = {.said = memfd_create("said", MFD_CLOEXEC)};
	struct host_port reflector = {.port = port};
	struct initiator_request request = {
		.reflector = &reflector, .key = key, .timeout_ms = timeout_ms};
	struct error error;
	int fd;

	memcpy(reflector.host, ip, strlen(ip) + 1);
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
	_exit(send(fd, WELL, sizeof(WELL), MSG_NOSIGNAL) == sizeof(WELL) ? 0 : 99);
}

static const char *said(const struct road *road)
{
	static char text[4096];
	ssize_t size = pread(road->said, text, sizeof(text) - 1, 0);

	text[size > 0 ? size : 0] = '\0';
	return text;
}

static void arrives(struct road *road, int status, const char *words, const char *name)
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

/* ---- the test's home ---------------------------------------------------------------------- */

/* Registers from HOME_PORT and holds. Sets what invitations are to be. */
static int register_home_at(uint16_t port, struct invitation *expected)
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
	question.registration.protocol = MAPPING_TCP;
	question.registration.local_port = HOME_PORT;
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
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 5000);

	arrives(&road, EXIT_STATUS_NETWORK, "home was never heard of there", "nobody at home");
	road = travel("::1", SERVER_PORT, &home, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "home was never heard of there", "nobody, over IPv6");
	road = travel("127.0.0.1", SERVER_PORT, &wrong, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "the key is refused by 127.0.0.1:3478", "a wrong key");
	road = travel("127.0.0.1", SERVER_PORT, &stranger, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "the key is refused by 127.0.0.1:3478",
		"an unknown name");
	road = travel("127.0.0.1", PLAIN_PORT, &home, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "no names are kept by 127.0.0.1:3479",
		"a reflector without names");
	road = travel("127.0.0.1", 9, &home, 5000);
	arrives(&road, EXIT_STATUS_NETWORK, "cannot connect to 127.0.0.1:9: Connection refused",
		"nobody at all");
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

/* Registered, held, and deaf: nothing listens, and the invitation is not followed. */
static void test_no_way(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("127.0.0.1", SERVER_PORT, &home, 700);

	arrives(&road, EXIT_STATUS_UNREACHABLE,
		"no direct way to home at 127.0.0.1:22022: Connection refused", "no way");
	road = travel("127.0.0.1", SERVER_PORT, &home, 700);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "\nhint: by way of a third host", "no way");
	end_home(held);
	road = travel("127.0.0.1", SERVER_PORT, &home, 700);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "was last heard of", "a home that went");
}

static void test_family(void)
{
	struct invitation expected;
	int held = register_home(&expected);
	struct road road = travel("::1", SERVER_PORT, &home, 5000);

	arrives(&road, EXIT_STATUS_NETWORK, "it is known in the other family", "the other family");
	end_home(held);
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

static bool got_nobody(int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	return poll(&ready, 1, 0) == 0;
}

/* Of those who may not predict for home, nobody is heard. */
static void test_false_predictions(void)
{
	int listener = listen_on("127.0.0.1", NEXT_PORT);
	int false_listener = listen_on("127.0.0.1", FALSE_PORT);
	struct invitation expected;
	int held = register_home_at(TWO_PORT, &expected);
	struct road road = travel("127.0.0.1", TWO_PORT, &home, 8000);
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
	struct road road = travel("127.0.0.1", TWO_PORT, &home, 8000);

	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	predict(held, &expected.asker, &home, NEXT_PORT, 2);
	is_greeted(accept_patiently(listener), "the last of the handful");
	arrives(&road, 0, "connected to 127.0.0.1:23008 at try 1", "a neighbour");
	close(listener);
	listener = listen_on("127.0.0.1", NEXT_PORT + 2 * PORT_PREDICTION_CANDIDATES);
	end_home(held);
	held = register_home_at(TWO_PORT, &expected);
	road = travel("127.0.0.1", TWO_PORT, &home, 8000);
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
	struct road road = travel("127.0.0.1", TWO_PORT, &home, 8000);
	uint64_t began;

	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	began = clock_now_ms();
	predict(held, &expected.asker, &home, 0, 0);
	arrives(&road, EXIT_STATUS_UNREACHABLE, "home's port cannot be predicted", "random ports");
	ok(clock_now_ms() - began < 1000, "at once");
	road = travel("127.0.0.1", TWO_PORT, &home, 8000);
	if (!is_asked_for_prediction(held, &expected))
		bail_out("no second try: %s", said(&road));
	is_int(server_stop(&two), EXIT_STATUS_DONE, "the reflector goes");
	arrives(&road, EXIT_STATUS_UNREACHABLE, "; the reflector is gone", "no reflector");
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

/* Answers the first request so; the initiator is then at its end, or waits in vain. */
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
		return;
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
		say(fd, bytes, size - 1);
		return;
	case HALF_THEN_SILENCE:
		say(fd, bytes, size - 1);
		break;
	case UNPROVEN:
	case OTHERS_ANSWERS:
		say(fd, bytes, size);
		break;
	case LINE:
		say(fd, "192.0.2.7 40022\n", 16);
		return;
	case TOO_LONG:
		bytes[2] = 0xff;
		bytes[3] = 0xfc;
		say(fd, bytes, sizeof(bytes));
		break;
	}
	hear_end(fd);
}

static void test_manner(enum manner manner, int status, const char *words, const char *name)
{
	int listener = listen_on("127.0.0.1", 4000);
	struct road road = travel("127.0.0.1", 4000, &home, 500);
	int fd = accept_patiently(listener);

	if (ok(fd >= 0, "%s: it asks", name)) {
		answer_so(fd, manner);
		close(fd);
	}
	arrives(&road, status, words, name);
	close(listener);
}

static void test_bad_reflectors(void)
{
	test_manner(CLOSES, EXIT_STATUS_NETWORK, "no answer from 127.0.0.1:4000", "closes");
	test_manner(SILENT, EXIT_STATUS_NETWORK, "the time is up", "silent");
	test_manner(SPEAKS_SSH, EXIT_STATUS_PEER, "bad answer from 127.0.0.1:4000: it is not STUN",
		"another protocol");
	test_manner(NOISE, EXIT_STATUS_PEER, "it is not STUN", "noise");
	test_manner(HALF_THEN_END, EXIT_STATUS_NETWORK, "it closed the connection", "half of one");
	test_manner(HALF_THEN_SILENCE, EXIT_STATUS_NETWORK, "the time is up", "half, and silence");
	test_manner(UNPROVEN, EXIT_STATUS_PEER, "bad answer from", "an answer without proof");
	test_manner(OTHERS_ANSWERS, EXIT_STATUS_NETWORK, "the time is up", "another's answer");
	test_manner(TOO_LONG, EXIT_STATUS_PEER, "it is not STUN", "a length beyond all bounds");
}

/* A reflector that hears nothing for a while takes who is there for a person: that is no end. */
static void test_late(void)
{
	int listener = listen_on("127.0.0.1", 4000);
	struct road road = travel("127.0.0.1", 4000, &home, 5000);

	for (int i = 0; i < 3; i++) {
		int fd = accept_patiently(listener);
		if (!ok(fd >= 0, "it asks, time %d", i + 1))
			break;
		answer_so(fd, i < 2 ? LINE : UNPROVEN);
		close(fd);
	}
	arrives(&road, EXIT_STATUS_PEER, "the question came too late", "late");
	close(listener);
}

int main(void)
{
	network_enter();
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
	test_direct();
	test_arrival();
	test_simultaneous();
	test_no_way();
	test_family();
	test_false_predictions();
	test_neighbours();
	test_no_prediction();
	server_stop(&plain);
	server_stop(&server);
	unlink(keys_path);
	return done_testing();
}
