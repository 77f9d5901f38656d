/*
 * client === outside | splice_run in a child | inside === server
 *
 * Both ends of the string are the test's, over TCP on the loopback.
 */
#include "home/splice.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

#define SIZE         (10 * 1024 * 1024)
#define DEADLINE     30000
#define BUFFER_SIZE  (64 * 1024) /* of each socket where the test looks at memory */
#define EXIT_CUT     1
#define EXIT_LEAK    10
#define QUIET_MS     200
#define SPUN_NS      (20 * 1000 * 1000)
#define SMALL_GROWTH 64 /* pages */

struct rig {
	int client;
	int server;
	pid_t pid;
};

static int count_descriptors(void)
{
	DIR *list = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(list) != NULL)
		count++;
	closedir(list);
	return count;
}

static void limit_buffers(int fd)
{
	int size = BUFFER_SIZE;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void connect_pair(int ends[2], bool small)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (small) {
		limit_buffers(listener);
		limit_buffers(ends[0]);
	}
	if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
		connect(ends[0], (struct sockaddr *)&address, size) != 0)
		bail_out("no loopback: %s", strerror(errno));
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
}

static _Noreturn void run_child(int outside, int inside)
{
	struct error error;
	int before = count_descriptors();
	int status;

	signal(SIGPIPE, SIG_IGN);
	status = splice_run(outside, inside, &error) == 0 ? 0 : EXIT_CUT;
	if (count_descriptors() != before - 2)
		status += EXIT_LEAK;
	_exit(status);
}

static struct rig start_with(int left[2], int right[2])
{
	struct rig rig = {.client = left[0], .server = right[1], .pid = fork()};

	if (rig.pid == 0) {
		close(left[0]);
		close(right[1]);
		run_child(left[1], right[0]);
	}
	close(left[1]);
	close(right[0]);
	return rig;
}

static struct rig start(bool small)
{
	int left[2], right[2];

	connect_pair(left, small);
	connect_pair(right, small);
	return start_with(left, right);
}

static int exit_of(struct rig *rig)
{
	uint64_t end = clock_now_ms() + DEADLINE;
	int status;

	while (waitpid(rig->pid, &status, WNOHANG) == 0) {
		if (clock_now_ms() >= end) {
			kill(rig->pid, SIGKILL);
			waitpid(rig->pid, &status, 0);
			return -1;
		}
		poll(NULL, 0, 2);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A stream of bytes that are not all alike (xorshift), written or checked. */
struct stream {
	uint64_t state;
	size_t done;
	size_t size;
	bool wrong;
	bool ended;
};

static unsigned char next_byte(struct stream *stream)
{
	stream->state ^= stream->state << 13;
	stream->state ^= stream->state >> 7;
	stream->state ^= stream->state << 17;
	return (unsigned char)(stream->state >> 32);
}

/* Writes until the socket is full. What it could not write it makes again from the old state. */
static void write_some(int fd, struct stream *stream)
{
	unsigned char data[5000]; /* no divisor of anything */

	while (stream->done < stream->size) {
		struct stream next = *stream;
		size_t size = stream->size - stream->done;
		ssize_t sent;

		if (size > sizeof(data))
			size = sizeof(data);
		for (size_t i = 0; i < size; i++)
			data[i] = next_byte(&next);
		sent = send(fd, data, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		for (ssize_t i = 0; i < sent; i++)
			next_byte(stream);
		stream->done += (size_t)sent;
	}
}

static void read_some(int fd, struct stream *stream)
{
	unsigned char data[7001];
	ssize_t got;

	while ((got = read(fd, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < got; i++)
			if (data[i] != next_byte(stream))
				stream->wrong = true;
		stream->done += (size_t)got;
	}
	if (got == 0)
		stream->ended = true;
}

static bool is_whole(const struct stream *stream)
{
	return stream->done == stream->size && !stream->wrong;
}

/* One way: all of `out` from `from`, and its arrival at `to`. */
struct transfer {
	int from;
	int to;
	struct stream out;
	struct stream in;
};

static struct transfer transfer(int from, int to, uint64_t seed, size_t size)
{
	struct stream stream = {.state = seed, .size = size};

	return (struct transfer){.from = from, .to = to, .out = stream, .in = stream};
}

static void carry(struct transfer *ways, int count)
{
	uint64_t end = clock_now_ms() + DEADLINE;
	bool all = false;

	while (!all && clock_now_ms() < end) {
		struct pollfd fds[4];
		all = true;
		for (int i = 0; i < count; i++) {
			struct transfer *way = &ways[i];
			write_some(way->from, &way->out);
			read_some(way->to, &way->in);
			fds[2 * i] = (struct pollfd){
				.fd = way->out.done < way->out.size ? way->from : -1,
				.events = POLLOUT};
			fds[2 * i + 1] = (struct pollfd){
				.fd = way->in.done < way->in.size ? way->to : -1, .events = POLLIN};
			all = all && way->in.done >= way->in.size;
		}
		if (!all)
			poll(fds, (nfds_t)(2 * count), 1000);
	}
}

/* What a read gives once there is something to read: a count, or minus errno. */
static int wait_and_read(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char data[64];
	ssize_t got;

	if (poll(&ready, 1, DEADLINE) != 1)
		return -ETIMEDOUT;
	got = read(fd, data, sizeof(data));
	return got < 0 ? -errno : (int)got;
}

/* Numbers of /proc/PID/FILE, the word at `index`. */
static uint64_t proc_number(pid_t pid, const char *file, int index)
{
	char path[64], text[512];
	char *rest = NULL;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	in = fopen(path, "re");
	if (in == NULL || fgets(text, sizeof(text), in) == NULL)
		bail_out("cannot read %s", path);
	fclose(in);
	char *word = strtok_r(text, " \n", &rest);
	while (word != NULL && index-- > 0)
		word = strtok_r(NULL, " \n", &rest);
	uint64_t number = 0;
	for (; word != NULL && *word >= '0' && *word <= '9'; word++)
		number = number * 10 + (uint64_t)(*word - '0');
	return number;
}

static void is_idle(const struct rig *rig, const char *when)
{
	uint64_t before = proc_number(rig->pid, "schedstat", 0); /* nanoseconds on a CPU */

	poll(NULL, 0, QUIET_MS);
	uint64_t spent = proc_number(rig->pid, "schedstat", 0) - before;
	ok(spent < SPUN_NS, "no spinning %s: %u us of CPU in %d ms", when, (unsigned)(spent / 1000),
		QUIET_MS);
}

static void test_both_ways(void)
{
	struct rig rig = start(false);
	struct transfer ways[2] = {transfer(rig.client, rig.server, 1, SIZE),
		transfer(rig.server, rig.client, 2, SIZE)};

	carry(ways, 2);
	ok(is_whole(&ways[0].in), "10 MB out arrive as they were, at the same time");
	ok(is_whole(&ways[1].in), "as 10 MB in");
	is_idle(&rig, "with both sides open and silent");
	shutdown(rig.client, SHUT_WR);
	is_int(wait_and_read(rig.server), 0, "the server sees the client's end");
	is_idle(&rig, "with one direction ended");
	shutdown(rig.server, SHUT_WR);
	is_int(wait_and_read(rig.client), 0, "the client sees the server's");
	is_int(exit_of(&rig), 0, "an orderly end, without a descriptor too many");
	close(rig.client);
	close(rig.server);
}

/* Seen at second descriptors of both sockets, while it runs. */
static void test_nodelay(void)
{
	int left[2], right[2], kept[2], values[2] = {0, 0};
	struct transfer way;
	struct rig rig;

	connect_pair(left, false);
	connect_pair(right, false);
	kept[0] = fcntl(left[1], F_DUPFD_CLOEXEC, 0);
	kept[1] = fcntl(right[0], F_DUPFD_CLOEXEC, 0);
	rig = start_with(left, right);
	way = transfer(rig.client, rig.server, 8, 1000);
	carry(&way, 1);
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(values[i]);

		getsockopt(kept[i], IPPROTO_TCP, TCP_NODELAY, &values[i], &size);
		close(kept[i]);
	}
	ok(values[0] != 0 && values[1] != 0, "a key that is struck goes on at once, either way");
	close(rig.client);
	close(rig.server);
	exit_of(&rig);
}

/* The one that ends first sends all, then FIN; the other goes on for a while. */
static void test_half_close(bool client_first)
{
	struct rig rig = start(false);
	const char *name = client_first ? "client first" : "server first";
	int first = client_first ? rig.client : rig.server;
	int second = client_first ? rig.server : rig.client;
	struct transfer way = transfer(first, second, 3, SIZE / 10);

	carry(&way, 1);
	shutdown(first, SHUT_WR);
	ok(is_whole(&way.in), "%s: all that it sent arrives", name);
	is_int(wait_and_read(second), 0, "%s: then its end", name);
	way = transfer(second, first, 4, SIZE / 10);
	carry(&way, 1);
	ok(is_whole(&way.in), "%s: the other direction still works", name);
	close(second);
	is_int(wait_and_read(first), 0, "%s: until it ends as well", name);
	is_int(exit_of(&rig), 0, "%s: an orderly end", name);
	close(first);
}

/* FIN right behind the data, with nobody who reads meanwhile: nothing may be lost. */
static void test_end_behind_data(void)
{
	struct rig rig = start(true);
	struct stream out = {.state = 5, .size = 100000}, in = out;
	uint64_t end = clock_now_ms() + DEADLINE;

	while (out.done < out.size && clock_now_ms() < end)
		write_some(rig.client, &out);
	close(rig.client);
	while (!in.ended && clock_now_ms() < end) {
		struct pollfd ready = {.fd = rig.server, .events = POLLIN};
		poll(&ready, 1, 1000);
		read_some(rig.server, &in);
	}
	ok(in.ended && is_whole(&in), "what a client sent before it closed arrives, then the end");
	close(rig.server);
	is_int(exit_of(&rig), 0, "an orderly end");
}

static void test_slow_reader(void)
{
	struct rig rig = start(true);
	struct transfer way = transfer(rig.client, rig.server, 5, 1000);
	struct pollfd ready = {.fd = rig.client, .events = POLLOUT};

	/* Its code is in memory once it has run. */
	carry(&way, 1);
	uint64_t before = proc_number(rig.pid, "statm", 1);
	way = transfer(rig.client, rig.server, 6, SIZE);

	do
		write_some(rig.client, &way.out);
	while (poll(&ready, 1, QUIET_MS) == 1 && way.out.done < way.out.size);
	ok(way.out.done < SIZE / 2, "a server that does not read stops the client after %zu bytes",
		way.out.done);
	is_idle(&rig, "while it waits for the reader");
	uint64_t growth = proc_number(rig.pid, "statm", 1) - before;
	ok(growth < SMALL_GROWTH, "nothing is piled up in memory: %d pages", (int)growth);
	carry(&way, 1);
	ok(is_whole(&way.in), "all arrives once it reads");
	close(rig.client);
	is_int(wait_and_read(rig.server), 0, "then the end");
	close(rig.server);
	is_int(exit_of(&rig), 0, "an orderly end");
}

static void close_hard(int fd)
{
	const struct linger linger = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static void test_abort(bool client_aborts)
{
	struct rig rig = start(false);
	const char *name = client_aborts ? "client" : "server";
	int first = client_aborts ? rig.client : rig.server;
	int second = client_aborts ? rig.server : rig.client;

	close_hard(first);
	is_int(wait_and_read(second), -ECONNRESET, "%s aborts: so it is told", name);
	is_int(exit_of(&rig), EXIT_CUT, "%s aborts: and not taken for an end", name);
	close(second);
}

/* The reader goes away while the pipe is full: no signal, no hanging. */
static void test_abort_while_draining(void)
{
	struct rig rig = start(true);
	struct stream out = {.state = 7, .size = SIZE};
	struct pollfd ready = {.fd = rig.client, .events = POLLOUT};

	do
		write_some(rig.client, &out);
	while (poll(&ready, 1, QUIET_MS) == 1);
	close_hard(rig.server);
	is_int(wait_and_read(rig.client), -ECONNRESET, "a reader that goes ends the writer");
	is_int(exit_of(&rig), EXIT_CUT, "and the child, by no signal");
	close(rig.client);
}

static void test_unix_sockets(void)
{
	int left[2], right[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, left) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, right) != 0)
		bail_out("no socket pair");
	struct rig rig = start_with(left, right);
	struct transfer ways[2] = {transfer(rig.client, rig.server, 8, SIZE / 10),
		transfer(rig.server, rig.client, 9, SIZE / 10)};
	carry(ways, 2);
	ok(is_whole(&ways[0].in) && is_whole(&ways[1].in), "sockets that are not TCP do as well");
	close(rig.client);
	is_int(wait_and_read(rig.server), 0, "with their ends");
	close(rig.server);
	is_int(exit_of(&rig), 0, "and an orderly one");
}

int main(void)
{
	test_both_ways();
	test_nodelay();
	test_half_close(true);
	test_half_close(false);
	test_end_behind_data();
	test_slow_reader();
	test_abort(true);
	test_abort(false);
	test_abort_while_draining();
	test_unix_sockets();
	return done_testing();
}
