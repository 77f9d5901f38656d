/* What one source can take of a reflector over TCP, and what the others have meanwhile. */
#include "reflector/counters.h"
#include "unit/server.h"

#define METRICS_PORT 9399

static const char greedy[] = "127.0.0.66";

static int come_from(const char *ip)
{
	struct addr from = address(ip, 0);
	int fd = connect_from(&from, SOCK_STREAM, "127.0.0.1", SERVER_PORT);

	if (fd < 0)
		bail_out("the reflector does not listen");
	return fd;
}

/* Sends so many requests at once; returns how many answers come. */
static int pipeline(int fd, int many)
{
	static struct question questions[400];
	int answered = 0;

	for (int i = 0; i < many; i++) {
		questions[i] = question_make(BINDING_MODE_NONE, 0);
		say(fd, questions[i].bytes, questions[i].size);
	}
	while (answered < many && hear_answer(fd, SOCK_STREAM, &questions[answered], NULL))
		answered++;
	return answered;
}

/* The value of a sample, as the server tells it by HTTP; -1 when it is not there. */
static long sample(const char *name)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	static char text[COUNTERS_TEXT_SIZE + 256];
	int fd = dial("127.0.0.1", METRICS_PORT);
	size_t used = 0;
	ssize_t got = 0;
	const char *at;
	long value = 0;

	say(fd, request, sizeof(request) - 1);
	while ((got = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)got;
	close(fd);
	text[used] = '\0';
	at = strstr(text, name);
	if (at == NULL || at[strlen(name)] != ' ')
		return -1;
	for (at += strlen(name) + 1; *at >= '0' && *at <= '9'; at++)
		value = 10 * value + (*at - '0');
	return value;
}

static void start(struct server *server)
{
	server_init(server);
	server->config.metrics_port = METRICS_PORT;
	server->config.limits.source = (struct rate_limit_quota){.per_second = 200, .burst = 50};
	server->config.limits.loopback = true;
	server_start(server);
}

static void test_rate(void)
{
	uint64_t began, took, slowest = 0;
	struct question question;
	struct server server;
	int fd, other, served = 0;

	start(&server);
	fd = come_from(greedy);
	began = clock_now_ms();
	is_int(pipeline(fd, 200) + pipeline(fd, 200), 400,
		"who asks too often is answered all the same");
	took = clock_now_ms() - began;
	/* What is read at once may be too much, once. */
	ok(took >= 700, "but no faster than he may: %llu ms for 400", (unsigned long long)took);
	ok(sample("natpunch_limited_total{what=\"source\"}") >= 1, "which is counted");
	is_int(sample("natpunch_answers_total{transport=\"tcp\",kind=\"binding\"}"), 400,
		"as the answers are");
	ok(server_said(&server, "is put off: its address asks too often") >= 1, "and told");
	/* In debt again, for a while: others are served, also by a new connection. */
	question = question_make(BINDING_MODE_NONE, 0);
	for (int i = 0; i < 200; i++)
		say(fd, question.bytes, question.size);
	barrier();
	other = come_from(greedy);
	say(other, question.bytes, question.size);
	for (int i = 0; i < 20; i++) {
		uint64_t start = clock_now_ms();

		served += is_served(SOCK_STREAM, "127.0.0.1");
		if (clock_now_ms() - start > slowest)
			slowest = clock_now_ms() - start;
	}
	is_int(served, 20, "another source is answered meanwhile");
	ok(slowest < 100, "at once: the slowest took %llu ms", (unsigned long long)slowest);
	ok(is_silent(other), "another connection does not help");
	ok(hear_answer(other, SOCK_STREAM, &question, NULL), "but is answered in its time");
	close(other);
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

/* Many connections of one source: each waits for its turn, and not all for every one. */
static void test_turns(void)
{
	enum {
		CROWD = 60,
		ROUNDS = 6
	};
	struct question questions[CROWD];
	struct server server;
	int crowd[CROWD];
	int answered = 0;
	long pauses;

	start(&server);
	for (int i = 0; i < CROWD; i++)
		crowd[i] = come_from(greedy);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CROWD; i++) {
			questions[i] = question_make(BINDING_MODE_NONE, 0);
			say(crowd[i], questions[i].bytes, questions[i].size);
		}
		for (int i = 0; i < CROWD; i++)
			answered += hear_answer(crowd[i], SOCK_STREAM, &questions[i], NULL) ? 1 : 0;
	}
	is_int(answered, CROWD * ROUNDS, "many connections of one source are answered");
	pauses = sample("natpunch_limited_total{what=\"source\"}");
	ok(pauses >= CROWD && pauses < 3 * CROWD * ROUNDS, "and were put off %ld times", pauses);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
	is_int(server_stop(&server), 0, "it ends");
}

/* Who came before his source had asked too much does not wait for it when his silence ends. */
static void test_silent(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	struct server server;
	uint64_t began;
	int fd, silent;
	char byte;

	server_init(&server);
	server.config.limits.source = (struct rate_limit_quota){.per_second = 1, .burst = 10};
	server.config.limits.loopback = true;
	server.config.times.silence = 1000;
	server_start(&server);
	silent = come_from(greedy);
	fd = come_from(greedy);
	for (int i = 0; i < 100; i++)
		say(fd, question.bytes, question.size);
	/* A reflector that came late has read them all at once; then the next is too many. */
	if (recv(fd, &byte, 1, 0) == 1)
		say(fd, question.bytes, question.size);
	ok(server_says(&server, "is put off", 1), "a source is beyond its measure");
	began = clock_now_ms();
	ok(strstr(hear_all(silent), greedy) != NULL,
		"who says nothing gets the line all the same,");
	ok(clock_now_ms() - began < 5000, "when his time is over");
	close(silent);
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

/* A paused connection that is cut off does not stay, nor does one whose time is up. */
static void test_paused(void)
{
	struct linger cut = {.l_onoff = 1, .l_linger = 0};
	struct question question = question_make(BINDING_MODE_NONE, 0);
	struct server server;
	int fd, i;

	start(&server);
	fd = come_from(greedy);
	for (i = 0; i < 400; i++)
		say(fd, question.bytes, question.size);
	ok(server_says(&server, "is put off", 1), "one is paused");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof(cut));
	close(fd);
	for (i = 0; i < PATIENCE && sample("natpunch_entries{what=\"connections\"}") != 0; i++)
		pause_briefly();
	is_int(sample("natpunch_entries{what=\"connections\"}"), 0, "cut off, it is gone");
	is_int(sample("natpunch_connections_ended_total{reason=\"done\"}"), 1, "and counted");
	ok(sample("natpunch_limited_total{what=\"source\"}") < 5,
		"and was not looked at in between");
	is_int(server_stop(&server), 0, "it ends");
}

static bool has_ended_own(long least)
{
	long evicted = sample("natpunch_connections_ended_total{reason=\"evicted\"}");

	return evicted >= least && sample("natpunch_limited_total{what=\"connection\"}") == evicted;
}

/* A full table: the flood makes room, and he who was there before does not. */
static void test_flood(void)
{
	enum {
		FLOOD = 300
	};
	static int flood[FLOOD];
	struct server server;
	int honest, held, served = 0;

	server_init(&server);
	server.config.metrics_port = METRICS_PORT;
	server.config.connections = 16;
	server_start(&server);
	honest = come_from("127.0.0.7");
	held = come_from("127.0.0.8");
	ok(ask(honest, SOCK_STREAM), "one idles");
	ok(ask_mode(held, SOCK_STREAM, BINDING_MODE_HOLD, 5, NULL), "one is held");
	for (int i = 0; i < FLOOD; i++) {
		flood[i] = come_from(greedy);
		if (i % 2 == 0)
			say(flood[i], "\x00\x01", 2);
		if (i % 30 == 0)
			served += is_served(SOCK_STREAM, "127.0.0.1");
	}
	is_int(served, FLOOD / 30, "newcomers are answered");
	ok(ask(honest, SOCK_STREAM), "and who was there before");
	ok(ask_mode(held, SOCK_STREAM, BINDING_MODE_HOLD, 5, NULL), "also the held one");
	/* The last of the flood may still wait to be accepted. */
	for (int i = 0; i < PATIENCE && !has_ended_own(FLOOD - 14); i++)
		pause_briefly();
	ok(has_ended_own(FLOOD - 14), "the flood has ended its own, each by the limit");
	is_int(sample("natpunch_entries{what=\"held\"}"), 1, "one is held");
	for (int i = 0; i < FLOOD; i++)
		close(flood[i]);
	close(honest);
	close(held);
	is_int(server_stop(&server), 0, "it ends");
}

/* What SIGUSR1 has written is what is told by HTTP. */
static void test_signal(void)
{
	struct counters none = {.values = {0}};
	char line[COUNTERS_LINE_SIZE];
	struct server server;
	unsigned missing = 0;

	server_init(&server);
	server.config.metrics_port = METRICS_PORT;
	server_start(&server);
	ok(is_served(SOCK_STREAM, "127.0.0.1") && is_served(SOCK_DGRAM, "::1"), "two ask");
	kill(server.pid, SIGUSR1);
	ok(server_says(&server, "natpunch reflect: natpunch_capacity{what=\"sources\"} 0\n", 1),
		"a signal has the counters written");
	for (unsigned i = 0; i < COUNTER_COUNT; i++) {
		char name[COUNTERS_LINE_SIZE], wanted[COUNTERS_LINE_SIZE + 32];

		snprintf(name, sizeof(name), "%s", counters_format(&none, (enum counter)i, line));
		*strrchr(name, ' ') = '\0';
		snprintf(wanted, sizeof(wanted), "reflect: %s %ld\n", name, sample(name));
		missing += server_said(&server, wanted) != 1;
	}
	is_uint(missing, 0, "each once, and as by HTTP");
	is_uint(server_said(&server, "kind=\"binding\"} 1\n"), 4, "two questions, two answers");
	is_int(server_stop(&server), 0, "it ends");
}

/* Whoever asks for it too often is granted CLOSE, and the next one FORGET as ever. */
static void test_forgetting(void)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	struct server server;
	unsigned forgets = 0, closes = 0;
	int fd;

	server_init(&server);
	server.config.limits.forget = (struct rate_limit_quota){.per_second = 1, .burst = 5};
	server.config.limits.forget_site = (struct rate_limit_quota){.per_second = 1, .burst = 5};
	server.config.limits.loopback = true;
	server_start(&server);
	for (int i = 0; i < 20; i++) {
		fd = come_from(greedy);
		if (!ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, &answer))
			bail_out("no answer");
		forgets += answer.mode == BINDING_MODE_FORGET;
		closes += answer.mode == BINDING_MODE_CLOSE;
		close(fd);
	}
	ok(forgets >= 5 && forgets < 10, "%u of 20 are forgotten", forgets);
	is_uint(forgets + closes, 20, "and the others closed");
	fd = come_from("127.0.0.67");
	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, &answer),
		"another source is answered");
	is_int(answer.mode, BINDING_MODE_FORGET, "and forgotten");
	close(fd);
	is_int(server_stop(&server), 0, "the reflector ends cleanly");
}

int main(void)
{
	network_enter();
	test_rate();
	test_turns();
	test_silent();
	test_paused();
	test_flood();
	test_forgetting();
	test_signal();
	return done_testing();
}
