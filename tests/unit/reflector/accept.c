/* New connections: the text service, a full table, and a lack of descriptors. */
#include "reflector/accept.h"

#include "unit/server.h"

static void test_text_service(const char *ip)
{
	int fd = dial(ip, TEXT_PORT);

	is_str(hear_all(fd), own_line(fd), "%s: the line without a word", ip);
	close(fd);
}

/* The client's words are there before it is accepted: closing with them unread would be a RST. */
static void test_text_early_words(struct server *server)
{
	int fd;

	kill(server->pid, SIGSTOP);
	fd = dial("127.0.0.1", TEXT_PORT);
	say(fd, "hello\n", 6);
	kill(server->pid, SIGCONT);
	is_str(hear_all(fd), own_line(fd), "the line, whatever the client says");
	barrier();
	ok(was_closed_in_order(fd), "closed in order");
	close(fd);
}

/* The oldest connection that is not held goes, and only that. */
static void test_full_table(void)
{
	struct server server;
	int held, first, second, third;

	server_init(&server);
	server.config.connections = 4;
	server_start(&server);
	held = dial("127.0.0.1", SERVER_PORT);
	ok(ask_mode(held, SOCK_STREAM, BINDING_MODE_HOLD, 60, NULL), "one is held");
	first = dial("127.0.0.1", SERVER_PORT);
	ok(ask(first, SOCK_STREAM), "one idles after its answer");
	second = dial("127.0.0.1", SERVER_PORT);
	say(second, "\0", 1);
	third = dial("::1", SERVER_PORT);
	barrier();
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "full: a newcomer is answered");
	ok(hear_end(first), "the oldest that is not held is closed");
	ok(is_silent(held) && is_silent(second) && is_silent(third), "and no other");

	/* The newcomer has gone. Two more: one takes its place, one that of the next oldest. */
	first = dial("127.0.0.1", SERVER_PORT);
	ok(ask(first, SOCK_STREAM), "the next one");
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "and the next");
	ok(hear_end(second), "the next oldest is closed");
	ok(is_silent(held) && is_silent(third) && is_silent(first), "and no other");
	ok(ask(held, SOCK_STREAM), "the held one can still ask");
	is_int(server_stop(&server), 0, "it ends cleanly");
	close(held);
	close(third);
}

static void test_all_held(void)
{
	struct server server;
	int held[3];
	int fd;

	server_init(&server);
	server.config.connections = 3;
	server_start(&server);
	for (int i = 0; i < 3; i++) {
		held[i] = dial("127.0.0.1", SERVER_PORT);
		ok(ask_mode(held[i], SOCK_STREAM, BINDING_MODE_HOLD, 60, NULL), "held");
	}
	fd = dial("127.0.0.1", SERVER_PORT);
	ok(hear_end(fd), "all held: the newcomer is closed");
	ok(is_silent(held[0]) && is_silent(held[1]) && is_silent(held[2]), "and none of them");
	ok(ask(held[1], SOCK_STREAM), "one asks as an ordinary client");
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "then there is room for a newcomer");
	ok(hear_end(held[1]) && is_silent(held[0]) && is_silent(held[2]), "in its place");
	ok(is_served(SOCK_DGRAM, "127.0.0.1"), "and UDP needs none");
	is_int(server_stop(&server), 0, "it ends cleanly");
	close(held[0]);
	close(held[2]);
}

/* Slots are used again and again, also by clients that leave in the middle. */
static void test_reuse(void)
{
	struct server server;
	int served = 0;

	server_init(&server);
	server.config.connections = 2;
	server_start(&server);
	for (int i = 0; i < 200; i++) {
		int fd = dial("127.0.0.1", SERVER_PORT);
		if (i % 3 == 0)
			say(fd, "\0\1\0", 3);
		if (i % 3 == 1)
			served += ask(fd, SOCK_STREAM) ? 1 : 0;
		close(fd);
	}
	is_int(served, 67, "two slots serve two hundred clients");
	is_int(server_stop(&server), 0, "it ends cleanly");
}

/* Descriptors run out before slots do. */
static void test_no_descriptors(void)
{
	struct server server;
	int fds[6];
	unsigned away;

	server_init(&server);
	server.descriptors = 3;
	server_start(&server);
	for (int i = 0; i < 6; i++)
		fds[i] = dial("127.0.0.1", SERVER_PORT);
	ok(hear_end(fds[3]) && hear_end(fds[4]) && hear_end(fds[5]),
		"no descriptor left: the newcomers are closed");
	ok(is_silent(fds[0]) && is_silent(fds[1]) && is_silent(fds[2]), "and not the others");
	ok(ask(fds[0], SOCK_STREAM) && is_served(SOCK_DGRAM, "127.0.0.1"), "who are served");
	away = server_said(&server, "turned away: no descriptor left\n");
	is_uint(away, 3, "it did not spin");
	close(fds[0]);
	close(fds[1]);
	ok(ask(fds[2], SOCK_STREAM), "two leave");
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "there is room again");
	is_int(server_stop(&server), 0, "it ends cleanly");
	for (int i = 2; i < 6; i++)
		close(fds[i]);
}

/* Not even the spare helps: the listeners are left alone for a while, not for ever. */
static void test_starved(void)
{
	struct server server;
	struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
	const char *word = "no descriptor or memory left for new connections\n";
	uint64_t start = clock_now_ms();
	unsigned pauses;
	int fd;

	server_init(&server);
	server.descriptors = NO_DESCRIPTORS;
	server_start(&server);
	fd = dial("127.0.0.1", SERVER_PORT);
	ok(server_says(&server, word, 3), "no descriptor at all: it waits and tries again");
	pauses = server_said(&server, word);
	ok(pauses <= 2 + (clock_now_ms() - start) / 100, "without spinning: %u times in %llu ms",
		pauses, (unsigned long long)(clock_now_ms() - start));
	ok(is_served(SOCK_DGRAM, "127.0.0.1"), "UDP is served meanwhile");
	is_int(prlimit(server.pid, RLIMIT_NOFILE, &limit, NULL), 0, "there are descriptors again");
	ok(ask(fd, SOCK_STREAM), "who waited is served");
	is_int(server_stop(&server), 0, "it ends cleanly");
	close(fd);
}

/* Returns the size after `times` batches in which so many came as were asked for, or `most`. */
static unsigned grow(struct accept_batch *batch, int times, uint32_t most)
{
	for (int i = 0; i < times; i++)
		accept_adapt(batch, batch->size < most ? batch->size : most);
	return batch->size;
}

static void test_batch(void)
{
	struct accept_batch batch = ACCEPT_BATCH_START;

	is_uint(batch.size, 1, "one is accepted at first");
	is_uint(grow(&batch, 100, 1), 1, "one at a time stays one, but for a try now and then");
	is_uint(grow(&batch, 1000, UINT32_MAX), ACCEPT_BATCH_MAX,
		"a flood is accepted in batches, which have a limit");
	is_uint(grow(&batch, 1, 5), 5, "not more than came of late");
	is_uint(grow(&batch, 1, 0), 1, "and one when none did");
	is_uint(grow(&batch, 1, 1), 1, "a full one alone is no reason for more");
}

int main(void)
{
	struct server server;

	test_batch();
	network_enter();
	server_init(&server);
	server_listen(&server, "0.0.0.0", TEXT_PORT, REFLECTOR_TEXT);
	server_listen(&server, "::", TEXT_PORT, REFLECTOR_TEXT);
	server_start(&server);
	test_text_service("127.0.0.1");
	test_text_service("::1");
	test_text_early_words(&server);
	is_int(server_stop(&server), 0, "it ends cleanly");
	test_full_table();
	test_all_held();
	test_reuse();
	test_no_descriptors();
	test_starved();
	return done_testing();
}
