/* The reflector over TCP: what is said on a connection, and how long it may take. */
#include "unit/server.h"

#include "reflector/tcp.h"

static void test_plain(const char *ip)
{
	int fd = dial(ip, SERVER_PORT);

	ok(ask(fd, SOCK_STREAM), "%s: a STUN request is answered", ip);
	ok(ask(fd, SOCK_STREAM), "%s: and another on the same connection", ip);
	shutdown(fd, SHUT_WR);
	ok(hear_fin(fd), "%s: a client that ends is ended with in order", ip);
	close(fd);
}

/* A request in two parts, cut at every byte, and in single bytes. */
static void test_pieces(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	size_t whole = 0;
	int fd = dial("127.0.0.1", SERVER_PORT);

	for (size_t cut = 1; cut < question.size; cut++) {
		int cut_fd = dial("127.0.0.1", SERVER_PORT);
		say(cut_fd, question.bytes, cut);
		barrier();
		say(cut_fd, question.bytes + cut, question.size - cut);
		if (hear_answer(cut_fd, SOCK_STREAM, &question, NULL))
			whole++;
		close(cut_fd);
	}
	is_uint(whole, question.size - 1, "a request cut in two, at every byte");
	for (size_t i = 0; i < question.size; i++) {
		say(fd, question.bytes + i, 1);
		barrier();
	}
	ok(hear_answer(fd, SOCK_STREAM, &question, NULL), "a request in single bytes");
	ok(ask(fd, SOCK_STREAM), "and a whole one after it");
	close(fd);
}

/* More at once than is read at once, and than fits into the output. The last one is cut. */
static void test_pipeline(void)
{
	enum {
		MANY = 300
	};
	static struct question questions[MANY];
	static uint8_t bytes[MANY * sizeof(questions[0].bytes)];
	int fd = dial("::1", SERVER_PORT);
	size_t used = 0;
	int answered = 0;

	for (int i = 0; i < MANY; i++) {
		questions[i] = question_make(BINDING_MODE_NONE, 0);
		memcpy(bytes + used, questions[i].bytes, questions[i].size);
		used += questions[i].size;
	}
	say(fd, bytes, used - 5);
	while (answered < MANY - 1 && hear_answer(fd, SOCK_STREAM, &questions[answered], NULL))
		answered++;
	is_int(answered, MANY - 1, "many requests at once: answered, in their order");
	say(fd, bytes + used - 5, 5);
	ok(hear_answer(fd, SOCK_STREAM, &questions[MANY - 1], NULL), "the rest of a request later");
	close(fd);
}

static void test_unknown_attribute(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	int fd = dial("127.0.0.1", SERVER_PORT);
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct binding_answer answer;
	const char *why;
	size_t size;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_BINDING,
		question.request.transaction);
	stun_put(&writer, 0x7fff, "what", 4);
	say(fd, bytes, stun_finish(&writer));
	size = hear_message(fd, SOCK_STREAM, bytes);
	is_int(binding_read_answer(&question.request, ADDR_IPV4, bytes, size, &answer, &why),
		BINDING_REFUSED, "an unknown attribute: refused");
	is_uint(answer.code, 420, "an unknown attribute: 420");
	ok(ask(fd, SOCK_STREAM), "and the connection goes on");
	close(fd);
}

static void test_indication(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	int fd = dial("127.0.0.1", SERVER_PORT);
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_INDICATION, STUN_METHOD_BINDING,
		question.request.transaction);
	say(fd, bytes, stun_finish(&writer));
	ok(ask(fd, SOCK_STREAM), "an indication gets no answer, the request after it does");
	close(fd);
}

static void test_garbage(const char *name, const void *bytes, size_t size)
{
	int fd = dial("127.0.0.1", SERVER_PORT);

	say(fd, bytes, size);
	ok(hear_end(fd), "%s: closed without a word", name);
	close(fd);
}

static void test_all_garbage(void)
{
	static const uint8_t no_cookie[20] = {0, 1, 0, 0, 1, 2, 3, 4};
	static const uint8_t too_long[20] = {0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42};
	static const uint8_t overrun[24] = {
		0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, [20] = 0x80, 0x22, 0x40, 0};
	struct question question = question_make(BINDING_MODE_NONE, 0);
	uint8_t both[STUN_MESSAGE_MAX + 3];
	int fd = dial("127.0.0.1", SERVER_PORT);

	test_garbage("letters", "SSH-2.0-x\r\n", 11);
	test_garbage("another HTTP method", "POST / HTTP/1.1\r\n\r\n", 19);
	test_garbage("almost GET", "GETTY", 5);
	test_garbage("a high byte", "\xff", 1);
	test_garbage("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9);
	test_garbage("a STUN header without the cookie", no_cookie, sizeof(no_cookie));
	test_garbage("a STUN message longer than any", too_long, sizeof(too_long));
	test_garbage("an attribute longer than its message", overrun, sizeof(overrun));
	memcpy(both, question.bytes, question.size);
	memcpy(both + question.size, "xyz", 3);
	say(fd, both, question.size + 3);
	ok(hear_answer(fd, SOCK_STREAM, &question, NULL) && hear_end(fd),
		"garbage behind a request: answered, then closed");
	close(fd);
}

/* Sends the text, in pieces of `step` bytes, and compares the whole answer. */
static void test_text(const char *name, const char *text, size_t step, const char *format)
{
	int fd = dial("127.0.0.1", SERVER_PORT);
	size_t size = strlen(text);
	const char *line = own_line(fd);
	char want[512];

	snprintf(want, sizeof(want), format, strlen(line), line);
	for (size_t at = 0; at < size; at += step) {
		say(fd, text + at, size - at < step ? size - at : step);
		if (step < size)
			barrier();
	}
	is_str(hear_all(fd), want, "%s", name);
	barrier();
	ok(was_closed_in_order(fd), "%s: closed in order", name);
	close(fd);
}

#define ANSWER                                                                                     \
	"HTTP/1.0 200 OK\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Length: %zu\r\n" \
	"Cache-Control: no-store\r\nConnection: close\r\n\r\n"

static void test_http(void)
{
	const char *browser = "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
	static char long_request[9000];
	int fd;

	test_text("GET", browser, 1000, ANSWER "%s");
	test_text("GET in pieces", browser, 3, ANSWER "%s");
	test_text("GET in single bytes", "GET / HTTP/1.0\r\n\r\n", 1, ANSWER "%s");
	test_text("GET with bare LF", "GET /x\n\n", 1000, ANSWER "%s");
	test_text("GET with a body behind it", "GET / HTTP/1.1\r\n\r\nbody", 1000, ANSWER "%s");
	test_text("HEAD", "HEAD / HTTP/1.1\r\n\r\n", 1000, ANSWER);
	memset(long_request, 'a', sizeof(long_request) - 1);
	memcpy(long_request, "GET /", 5);
	test_text("GET without an end", long_request, 8999, ANSWER "%s");

	fd = dial("127.0.0.1", SERVER_PORT);
	say(fd, "GET /\r\n", 7);
	barrier();
	ok(is_silent(fd), "GET is not answered before the empty line");
	shutdown(fd, SHUT_WR);
	ok(strstr(hear_all(fd), own_line(fd)) != NULL, "but when nothing more can come");
	close(fd);
}

static void test_line(const char *ip)
{
	int fd = dial(ip, SERVER_PORT);

	say(fd, "\n", 1);
	is_str(hear_all(fd), own_line(fd), "%s: a newline gets the line", ip);
	close(fd);
	fd = dial(ip, SERVER_PORT);
	say(fd, "\r\nand more", 10);
	is_str(hear_all(fd), own_line(fd), "%s: so does a CR", ip);
	say(fd, "and more", 8);
	barrier();
	ok(was_closed_in_order(fd), "%s: what the client says after it does no harm", ip);
	close(fd);
	fd = dial(ip, SERVER_PORT);
	shutdown(fd, SHUT_WR);
	is_str(hear_all(fd), own_line(fd), "%s: and an end without a word", ip);
	close(fd);
}

/* With the times of nearly for ever. */
static void test_talk(void)
{
	struct server server;

	server_init(&server);
	server_start(&server);
	test_plain("127.0.0.1");
	test_plain("::1");
	test_pieces();
	test_pipeline();
	test_unknown_attribute();
	test_indication();
	test_all_garbage();
	test_line("127.0.0.1");
	test_line("::1");
	test_http();
	is_int(server_stop(&server), 0, "it ends cleanly");
}

/* A server that had no time when the question came: it was in time all the same. */
static void test_stalled(
	struct server *server, const char *name, const char *text, const char *wanted)
{
	enum {
		CROWD = 150 /* more than one turn of the loop takes */
	};
	int crowd[CROWD];
	int answered = 0;

	for (int i = 0; i < CROWD; i++)
		crowd[i] = dial("127.0.0.1", SERVER_PORT);
	barrier();
	kill(server->pid, SIGSTOP);
	for (int i = 0; i < CROWD; i++)
		say(crowd[i], text, strlen(text));
	poll(NULL, 0, 200); /* which the silence of all of them ends in */
	kill(server->pid, SIGCONT);
	for (int i = 0; i < CROWD; i++) {
		answered +=
			strstr(hear_all(crowd[i]), wanted) != NULL && was_closed_in_order(crowd[i]);
		close(crowd[i]);
	}
	is_int(answered, CROWD, "%s: all are answered after a stall", name);
}

/* How long until the end comes, in milliseconds, while `drip` is said again and again. */
static uint64_t time_to_end(int fd, const char *drip)
{
	uint64_t start = clock_now_ms();
	struct pollfd watched = {.fd = fd, .events = POLLIN};

	while (poll(&watched, 1, drip != NULL ? 10 : PATIENCE) == 0 && drip != NULL)
		if (clock_now_ms() - start > PATIENCE || !say(fd, drip, 1))
			break;
	return hear_end(fd) ? clock_now_ms() - start : UINT64_MAX;
}

static void test_slow(const char *name, const void *begin, size_t size, const char *drip)
{
	int fd = dial("127.0.0.1", SERVER_PORT);
	uint64_t taken;

	say(fd, begin, size);
	taken = time_to_end(fd, drip);
	ok(taken >= 280 && taken < 2000, "%s: closed after %llu ms, when 300 are allowed", name,
		(unsigned long long)taken);
	close(fd);
}

static void test_deadlines(void)
{
	/* A header that announces 1000 bytes, so that zeros can drip for long. */
	static const uint8_t header[20] = {0, 1, 3, 0xe8, 0x21, 0x12, 0xa4, 0x42};
	struct server server;
	uint64_t start;
	int fd;

	server_init(&server);
	server.config.connections = 200;
	server.config.times.silence = 150;
	server.config.times.request = 300;
	server.config.times.idle = 300;
	server.config.times.linger = 300;
	server_start(&server);

	start = clock_now_ms();
	fd = dial("::1", SERVER_PORT);
	is_str(hear_all(fd), own_line(fd), "who says nothing gets the line");
	ok(clock_now_ms() - start >= 140, "but not before the time of silence has passed");
	close(fd);

	test_stalled(&server, "GET", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.");
	test_stalled(&server, "a newline", "\n", "127.0.0.1 ");

	test_slow("half a request", header, 10, NULL);
	test_slow("a byte of STUN now and then", header, sizeof(header), "");
	test_slow("a byte of HTTP headers now and then", "GET / HTTP/1.0\r\n", 16, "a");
	test_slow("the begin of a word", "GE", 2, NULL);

	fd = dial("127.0.0.1", SERVER_PORT);
	ok(ask(fd, SOCK_STREAM), "after an answer");
	start = time_to_end(fd, NULL);
	ok(start >= 280 && start < 2000, "the connection is closed when it idles");
	close(fd);

	fd = dial("127.0.0.1", SERVER_PORT);
	say(fd, "\n", 1);
	is_str(hear_all(fd), own_line(fd), "who stays after the line");
	for (start = clock_now_ms(); say(fd, "x", 1) && clock_now_ms() < start + PATIENCE;)
		pause_briefly();
	start = clock_now_ms() - start;
	ok(start > 280 && start < 2000, "is listened to for %llu ms, when 300 are allowed",
		(unsigned long long)start);
	close(fd);
	is_int(server_stop(&server), 0, "it ends cleanly");
}

static void test_silent_crowd(void)
{
	enum {
		CROWD = 1000
	};
	static int crowd[CROWD];
	struct rlimit limit = {.rlim_cur = 2 * CROWD, .rlim_max = 2 * CROWD};
	struct server server;
	uint64_t slowest = 0;
	int open = 0;
	int served = 0;

	setrlimit(RLIMIT_NOFILE, &limit);
	server_init(&server);
	server.config.connections = CROWD + 10;
	server_start(&server);
	while (open < CROWD && (crowd[open] = dial("127.0.0.1", SERVER_PORT)) >= 0)
		open++;
	is_int(open, CROWD, "a thousand connections that say nothing");
	for (int i = 0; i < 100; i++) {
		uint64_t start = clock_now_ms();
		served += is_served(SOCK_STREAM, "127.0.0.1") ? 1 : 0;
		served += is_served(SOCK_DGRAM, "::1") ? 1 : 0;
		if (clock_now_ms() - start > slowest)
			slowest = clock_now_ms() - start;
	}
	is_int(served, 200, "honest clients are answered meanwhile");
	ok(slowest < 1000, "without delay: the slowest pair took %llu ms",
		(unsigned long long)slowest);
	ok(is_silent(crowd[0]) && is_silent(crowd[CROWD - 1]), "and the crowd is still there");
	is_int(server_stop(&server), 0, "it ends cleanly with all of them");
	for (int i = 0; i < open; i++)
		close(crowd[i]);
}

/*
 * An event that was under way when its connection ended, and another took the slot. The server
 * itself is left out, for the kernel seldom brings the two together.
 */
static void test_late_event(void)
{
	static struct tcp_server stream;
	static struct names names;
	struct addr peer = address("192.0.2.1", 1024);
	struct loop_tag tag = {.kind = 1};
	struct loop loop;
	int first[2];
	int second[2];
	char line[64];

	if (loop_open(&loop) != 0 ||
		tcp_open(&stream, &loop, tag.kind, 1, &REFLECTOR_TIMES_DEFAULT, &names) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, first) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, second) != 0)
		bail_out("setting up: %s", strerror(errno));
	tcp_adopt(&stream, first[0], &peer, 0);
	tag.generation = stream.table.connections[tag.slot].generation;
	tcp_adopt(&stream, second[0], &peer, 0);
	is_int(recv(first[1], line, sizeof(line), 0), 0, "the second takes the slot of the first");
	say(second[1], "\n", 1);
	tcp_event(&stream, tag, 0);
	is_int(recv(second[1], line, sizeof(line), 0), -1, "an event of the first is ignored");
	tag.generation = stream.table.connections[tag.slot].generation;
	tcp_event(&stream, tag, 0);
	ok(recv(second[1], line, sizeof(line), 0) > 0, "one of the second is not");
	tcp_close(&stream);
	loop_close(&loop);
	close(first[1]);
	close(second[1]);
}

int main(void)
{
	network_enter();
	test_talk();
	test_late_event();
	test_deadlines();
	test_silent_crowd();
	return done_testing();
}
