/*
 * A reflector of several threads: whichever the kernel gives a client to, it is answered as by one,
 * and what is about names or dial-back by the first.
 */
#include "natpunch/proto/dialback.h"
#include "natpunch/base/key.h"
#include "natpunch/os/key_file.h"
#include "natpunch/proto/nonce.h"
#include "reflector/worker_queue.h"
#include "natpunch/proto/name_messages.h"
#include "unit/server.h"

#define JOBS    4
#define CLIENTS 48 /* so many that each thread has some */

static char path[] = "/tmp/natpunch-jobs-XXXXXX";
static struct key home = {.name = "home"};

static void write_key(void)
{
	char line[KEY_LINE_SIZE];
	int fd = mkstemp(path);

	random_fill(home.secret, sizeof(home.secret));
	if (fd < 0 || dprintf(fd, "%s\n", key_format(&home, line)) < 0)
		bail_out("no key file");
	close(fd);
}

static void start(struct server *server)
{
	server_init(server);
	server->config.jobs = JOBS;
	server->config.connections = 100 * JOBS;
	server->config.keys_path = path;
	server_listen(server, "127.0.0.1", TEXT_PORT, REFLECTOR_TEXT);
	server_start(server);
}

/* One question about the name after the other, until it is answered; the outcome. */
static enum name_message_outcome converse(int fd, int type, struct name_question *client)
{
	enum name_message_outcome outcome = NAME_MESSAGE_AGAIN;

	while (outcome == NAME_MESSAGE_AGAIN) {
		uint8_t bytes[STUN_MESSAGE_MAX], random[12];
		const char *why;
		size_t size;

		random_fill(random, sizeof(random));
		size = name_message_write(client, random, bytes, sizeof(bytes));
		say(fd, bytes, size);
		size = hear_message(fd, type, bytes);
		if (size == 0)
			return NAME_MESSAGE_FAILED;
		outcome = name_message_read(client, bytes, size, &why);
	}
	return outcome;
}

static bool ask_name(int fd, int type, uint16_t method, enum binding_mode mode)
{
	struct name_question client;

	name_message_start(&client, method, &home);
	client.mode = mode;
	client.registration = (struct name_message_registration){
		.protocol = type == SOCK_STREAM ? MAPPING_TCP : MAPPING_UDP, .local_port = 22};
	return converse(fd, type, &client) == NAME_MESSAGE_DONE;
}

static void test_everybody(void)
{
	unsigned streams = 0, datagrams = 0, lines = 0;

	for (int i = 0; i < CLIENTS; i++) {
		int fd = dial("127.0.0.1", TEXT_PORT);
		const char *line = own_line(fd);

		lines += strcmp(hear_all(fd), line) == 0;
		close(fd);
		streams += is_served(SOCK_STREAM, i % 2 ? "127.0.0.1" : "::1");
		datagrams += is_served(SOCK_DGRAM, i % 2 ? "127.0.0.1" : "::1");
	}
	is_uint(lines, CLIENTS, "each gets its line");
	is_uint(streams, CLIENTS, "each is answered over TCP");
	is_uint(datagrams, CLIENTS, "and over UDP");
}

/* Bindings before and after, also in one piece with the question. */
static void test_names(void)
{
	unsigned registered = 0, found = 0, others = 0;

	for (int i = 0; i < CLIENTS; i++) {
		int fd = dial("127.0.0.1", SERVER_PORT);
		int datagram = connect_from(NULL, SOCK_DGRAM, "::1", SERVER_PORT);

		others += ask(fd, SOCK_STREAM);
		registered += ask_name(fd, SOCK_STREAM, STUN_METHOD_REGISTER, BINDING_MODE_HOLD);
		others += ask_mode(fd, SOCK_STREAM, BINDING_MODE_HOLD, 5, NULL);
		found += ask_name(datagram, SOCK_DGRAM, STUN_METHOD_LOOKUP, BINDING_MODE_NONE);
		close(fd);
		close(datagram);
	}
	is_uint(registered, CLIENTS, "a name is registered over any connection");
	is_uint(found, CLIENTS, "and found over UDP");
	is_uint(others, 2 * CLIENTS, "which are answered before, and after");
}

static void test_pieces(void)
{
	unsigned answered = 0;

	for (int i = 0; i < CLIENTS; i++) {
		struct question first = question_make(BINDING_MODE_NONE, 0);
		struct question last = question_make(BINDING_MODE_NONE, 0);
		struct name_question client;
		uint8_t bytes[3 * STUN_MESSAGE_MAX], random[12];
		size_t size = first.size;
		const char *why;
		int fd = dial("::1", SERVER_PORT);

		name_message_start(&client, STUN_METHOD_LOOKUP, &home);
		random_fill(random, sizeof(random));
		memcpy(bytes, first.bytes, first.size);
		size += name_message_write(&client, random, bytes + size, STUN_MESSAGE_MAX);
		memcpy(bytes + size, last.bytes, last.size);
		say(fd, bytes, size + 7);
		if (hear_answer(fd, SOCK_STREAM, &first, NULL)) {
			size_t got = hear_message(fd, SOCK_STREAM, bytes);

			say(fd, last.bytes + 7, last.size - 7);
			answered += name_message_read(&client, bytes, got, &why) ==
					    NAME_MESSAGE_AGAIN &&
				    hear_answer(fd, SOCK_STREAM, &last, NULL);
		}
		close(fd);
	}
	is_uint(answered, CLIENTS, "in one piece, and cut behind the question: in their order");
}

static void test_dial(void)
{
	unsigned answered = 0;

	for (int i = 0; i < CLIENTS; i++) {
		struct dialback_request request = {.places = 1, .port = 9};
		uint8_t bytes[STUN_MESSAGE_MAX], random[12];
		struct dialback_answer answer;
		int fd = dial("127.0.0.1", SERVER_PORT);
		const char *why;

		random_fill(random, sizeof(random));
		stun_make_transaction(request.transaction, random);
		say(fd, bytes, dialback_write_request(&request, bytes, sizeof(bytes)));
		answered +=
			dialback_read_answer(&request, bytes, hear_message(fd, SOCK_STREAM, bytes),
				&answer, &why) == DIALBACK_ANSWERED;
		close(fd);
	}
	is_uint(answered, CLIENTS, "dial-back is answered over any connection");
}

static long told(const struct server *server, const char *name)
{
	static char log[1 << 20];
	ssize_t size = pread(server->log, log, sizeof(log) - 1, 0);
	const char *at;
	long value = 0;

	log[size > 0 ? size : 0] = '\0';
	at = strstr(log, name);
	if (at == NULL)
		return -1;
	for (at += strlen(name) + 1; *at >= '0' && *at <= '9'; at++)
		value = 10 * value + (*at - '0');
	return value;
}

/* The counters are those of all threads. */
static void test_counters(struct server *server)
{
	kill(server->pid, SIGUSR1);
	ok(server_says(server, "natpunch_capacity{what=\"sources\"}", 1), "they are told");
	is_int(told(server, "requests_total{transport=\"udp\",kind=\"binding\"}"), CLIENTS,
		"datagrams");
	is_int(told(server, "requests_total{transport=\"tcp\",kind=\"binding\"}"), 5 * CLIENTS,
		"requests over TCP");
	is_int(told(server, "answers_total{transport=\"tcp\",kind=\"register\"}"), CLIENTS,
		"registrations");
	is_int(told(server, "answers_total{transport=\"udp\",kind=\"lookup\"}"), CLIENTS,
		"look-ups");
	is_int(told(server, "connections_total{result=\"accepted\"}"), 5 * CLIENTS, "connections");
	is_int(told(server, "capacity{what=\"connections\"}"), 100 * JOBS, "places for them");
}

/* The first thread tells of all how many they have: the kernel has given them some each. */
static void test_levels(struct server *server)
{
	enum {
		CROWD = 16 * JOBS
	};
	int crowd[CROWD];
	char wanted[96];
	int held = 0;

	for (int i = 0; i < CROWD; i++) {
		crowd[i] = dial("127.0.0.1", SERVER_PORT);
		held += ask_mode(crowd[i], SOCK_STREAM, BINDING_MODE_HOLD, 25, NULL);
	}
	is_int(held, CROWD, "a crowd is held");
	snprintf(wanted, sizeof(wanted), "natpunch_entries{what=\"held\"} %d\n", CROWD);
	/* A thread says how many it has once it has nothing else to do, after its last answer. */
	for (int i = 0; i < PATIENCE / 100 && server_said(server, wanted) == 0; i++) {
		kill(server->pid, SIGUSR1);
		poll(NULL, 0, 100);
	}
	ok(server_said(server, wanted) > 0, "by all threads together");
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
}

/* As few bytes as a question about a name can have. */
static size_t write_small(uint8_t out[64])
{
	uint8_t random[12], transaction[STUN_TRANSACTION_SIZE];
	struct wire_writer writer;

	random_fill(random, sizeof(random));
	stun_make_transaction(transaction, random);
	stun_begin(&writer, out, 64, STUN_REQUEST, STUN_METHOD_LOOKUP, transaction);
	stun_put(&writer, STUN_USERNAME, home.name, strlen(home.name));
	return stun_finish(&writer);
}

/* How many have come so far. */
static size_t count_answers(int fd)
{
	static uint8_t bytes[65536];
	size_t count = 0;
	ssize_t got;

	while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		for (ssize_t at = 0; at + 8 <= got; at++)
			count += memcmp(bytes + at + 4, "\x21\x12\xa4\x42", 4) == 0;
	return count;
}

/* What is handed over counts for its source where it was read. */
static void test_limit(void)
{
	enum {
		GREEDY = 16,
		MANY = 100
	};
	static uint8_t bytes[MANY * 64];
	int fds[GREEDY];
	struct server server;
	size_t answered = 0;

	server_init(&server);
	server.config.jobs = 2;
	server.config.connections = 100 * 2;
	server.config.keys_path = path;
	server.config.limits.source = (struct rate_limit_quota){.per_second = 1, .burst = 10};
	server.config.limits.loopback = true;
	server_start(&server);
	for (int i = 0; i < GREEDY; i++) {
		size_t size = 0;

		for (int k = 0; k < MANY; k++)
			size += write_small(bytes + size);
		fds[i] = dial("127.0.0.1", SERVER_PORT);
		say(fds[i], bytes, size);
	}
	/* As long as answers would come that must not, but for a busy machine. */
	for (uint64_t end = clock_now_ms() + 700; clock_now_ms() < end; pause_briefly())
		for (int i = 0; i < GREEDY; i++)
			answered += count_answers(fds[i]);
	for (int i = 0; i < GREEDY; i++)
		close(fds[i]);
	ok(answered >= MANY && answered <= 2 * MANY,
		"of %d questions of one source, %zu are answered", GREEDY * MANY, answered);
	is_int(server_stop(&server), 0, "it ends");
}

/* Questions with a false proof, as fast as they go, until it is killed. */
static void flood(void)
{
	int fds[8];
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct name_question client;
	struct key wrong = home;
	uint8_t random[12];
	size_t size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(wrong.secret, 0, sizeof(wrong.secret));
	name_message_start(&client, STUN_METHOD_LOOKUP, &wrong);
	memset(client.nonce, 'A', NONCE_SIZE);
	client.nonce_size = NONCE_SIZE;
	random_fill(random, sizeof(random));
	size = name_message_write(&client, random, bytes, sizeof(bytes));
	for (int i = 0; i < 8; i++)
		fds[i] = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	for (unsigned i = 0;; i++)
		send(fds[i % 8], bytes, size, MSG_DONTWAIT);
}

/* Datagrams have no limit; none of them may cost a connection its answer. */
static void test_flood(void)
{
	enum {
		TRIES = 100
	};
	pid_t flooder = fork();
	int answered = 0;

	if (flooder == 0)
		flood();
	for (int i = 0; i < TRIES; i++) {
		int fd = dial("127.0.0.1", SERVER_PORT);

		answered += ask_name(fd, SOCK_STREAM, STUN_METHOD_LOOKUP, BINDING_MODE_NONE);
		close(fd);
	}
	kill(flooder, SIGKILL);
	waitpid(flooder, NULL, 0);
	is_int(answered, TRIES, "names are told while a flood asks for them");
}

static void test_twice(void)
{
	struct server second;

	server_init(&second);
	second.config.jobs = JOBS;
	server_spawn(&second);
	is_int(server_wait(&second), EXIT_STATUS_LOCAL, "a second one does not share the ports");
}

/* A record that is not whole, or larger than it can be. */
static void test_records(void)
{
	static struct worker_queue_item handed, received;
	struct worker_queue handoff;
	unsigned sent = 0;

	if (worker_queue_open(&handoff) != 0)
		bail_out("no socket pair");
	handed.size = 5;
	handed.fd = 77;
	memcpy(handed.bytes, "abcde", 5);
	ok(!worker_queue_receive(&handoff, &received), "nothing comes of itself");
	ok(worker_queue_send(&handoff, &handed), "a record is sent");
	ok(worker_queue_receive(&handoff, &received) && received.fd == 77 && received.size == 5 &&
			memcmp(received.bytes, "abcde", 5) == 0,
		"and comes as it was");
	handed.size = sizeof(handed.bytes) + 1;
	ok(!worker_queue_send(&handoff, &handed), "one that is too long is not sent");
	handed.size = sizeof(handed.bytes);
	while (sent < 10000 && worker_queue_send(&handoff, &handed))
		sent++;
	ok(sent > 4 && sent < 10000, "when %u wait, no more are taken", sent);
	worker_queue_close(&handoff);
}

int main(void)
{
	struct server server;

	network_enter();
	write_key();
	test_records();
	start(&server);
	test_everybody();
	test_names();
	test_pieces();
	test_dial();
	test_counters(&server);
	test_levels(&server);
	test_twice();
	test_flood();
	is_int(server_stop(&server), 0, "it ends cleanly");
	test_limit();
	unlink(path);
	return done_testing();
}
