/*
 * input pipe > stdio_pump_run in a child = TCP on the loopback = peer
 * output pipe <
 *
 * All ends but the child's are the test's.
 */
#include "natpunch/connect/stdio_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

#define SIZE       (10 * 1024 * 1024)
#define DEADLINE   30000
#define QUIET_MS   200
#define SPUN_US    50000
#define EXIT_FLAGS 10
#define EXIT_SPUN  11
#define EXIT_OPEN  12

struct rig {
	int input;  /* what is written here goes out */
	int output; /* what came in is read here */
	int peer;
	pid_t pid;
};

static void connect_pair(int ends[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
		connect(ends[0], (struct sockaddr *)&address, size) != 0)
		bail_out("no loopback: %s", strerror(errno));
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
}

/* Exits with the error's status, or says what else is wrong. */
static _Noreturn void run_child(int input, int output, int fd)
{
	int input_flags = fcntl(input, F_GETFL);
	int output_flags = fcntl(output, F_GETFL);
	struct rusage usage;
	struct error error;
	int status;

	signal(SIGPIPE, SIG_IGN);
	status = stdio_pump_run(input, output, fd, &error) == 0 ? 0 : (int)error.status;
	if (fcntl(input, F_GETFL) != input_flags || fcntl(output, F_GETFL) != output_flags)
		_exit(EXIT_FLAGS);
	if (fcntl(fd, F_GETFD) >= 0)
		_exit(EXIT_OPEN);
	getrusage(RUSAGE_SELF, &usage);
	if (getenv("QUIET") != NULL && usage.ru_utime.tv_sec == 0 &&
		usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > SPUN_US)
		_exit(EXIT_SPUN);
	_exit(status);
}

static struct rig rig_open(void)
{
	struct rig rig;
	int in[2], out[2], ends[2];

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		bail_out("no pipes: %s", strerror(errno));
	connect_pair(ends);
	fflush(stdout);
	rig.pid = fork();
	if (rig.pid == 0) {
		close(in[1]);
		close(out[0]);
		close(ends[1]);
		run_child(in[0], out[1], ends[0]);
	}
	close(in[0]);
	close(out[1]);
	close(ends[0]);
	rig.input = in[1];
	rig.output = out[0];
	rig.peer = ends[1];
	fcntl(rig.input, F_SETFL, O_NONBLOCK);
	fcntl(rig.output, F_SETFL, O_NONBLOCK);
	return rig;
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The child's exit status; it must end by itself. */
static int rig_close(struct rig *rig)
{
	uint64_t deadline = clock_now_ms() + DEADLINE;
	int status = -1;

	while (waitpid(rig->pid, &status, WNOHANG) == 0) {
		if (clock_now_ms() > deadline) {
			kill(rig->pid, SIGKILL);
			waitpid(rig->pid, &status, 0);
			break;
		}
		poll(NULL, 0, 1);
	}
	drop(&rig->input);
	drop(&rig->output);
	drop(&rig->peer);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* The byte at a place of a stream; each stream has its own. */
static uint8_t pattern(size_t at, uint8_t stream)
{
	return (uint8_t)((at * 2654435761U >> 13) ^ stream);
}

/* One direction: `size` bytes into `to`, read again at `from`. */
struct flow {
	int *to;
	int from;
	uint8_t stream;
	size_t size;
	size_t sent;
	size_t received;
	size_t wrong;
	size_t chunk; /* read at most so much at once */
	bool ended;
	bool keep; /* do not close or shut `to` when all is sent */
};

static void send_some(struct flow *flow)
{
	uint8_t bytes[16384];
	size_t size = flow->size - flow->sent;
	ssize_t put;

	size = size < sizeof(bytes) ? size : sizeof(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(flow->sent + i, flow->stream);
	put = write(*flow->to, bytes, size);
	if (put > 0)
		flow->sent += (size_t)put;
	if (flow->sent < flow->size || flow->keep)
		return;
	if (shutdown(*flow->to, SHUT_WR) != 0)
		drop(flow->to);
}

static void receive_some(struct flow *flow)
{
	uint8_t bytes[16384];
	ssize_t got = read(flow->from, bytes, flow->chunk);

	for (ssize_t i = 0; i < got; i++)
		flow->wrong += bytes[i] != pattern(flow->received + (size_t)i, flow->stream);
	if (got > 0)
		flow->received += (size_t)got;
	if (got == 0)
		flow->ended = true;
}

static bool is_done(const struct flow *flow)
{
	return flow == NULL || flow->ended || (flow->keep && flow->received == flow->size);
}

/* Both directions at once until both are done; `other` NULL: one direction. */
static void run_flows(struct flow *one, struct flow *other)
{
	uint64_t deadline = clock_now_ms() + DEADLINE;

	while ((!is_done(one) || !is_done(other)) && clock_now_ms() < deadline) {
		struct flow *flows[] = {one, other};
		struct pollfd fds[4];

		for (size_t i = 0; i < 2; i++) {
			struct flow *flow = flows[i];
			bool sends = flow != NULL && flow->sent < flow->size;
			bool receives = flow != NULL && !flow->ended;
			fds[2 * i] =
				(struct pollfd){.fd = sends ? *flow->to : -1, .events = POLLOUT};
			fds[2 * i + 1] =
				(struct pollfd){.fd = receives ? flow->from : -1, .events = POLLIN};
		}
		poll(fds, 4, 1000);
		for (size_t i = 0; i < 2; i++) {
			if (fds[2 * i].revents != 0)
				send_some(flows[i]);
			if (fds[2 * i + 1].revents != 0)
				receive_some(flows[i]);
		}
	}
}

static void is_whole(const struct flow *flow, const char *name)
{
	is_uint(flow->received, flow->size, "%s: all bytes", name);
	is_uint(flow->wrong, 0, "%s: the right ones", name);
	ok(flow->ended, "%s: the end was passed on", name);
}

/* The peer's end is the end of all, so it comes when all of the other direction is there. */
static void test_both_ways(void)
{
	struct rig rig = rig_open();
	struct flow out = {
		.to = &rig.input, .from = rig.peer, .stream = 1, .size = SIZE, .chunk = 16384};
	struct flow in = {.to = &rig.peer,
		.from = rig.output,
		.stream = 2,
		.size = SIZE,
		.chunk = 16384,
		.keep = true};

	run_flows(&out, &in);
	in.keep = false;
	shutdown(rig.peer, SHUT_WR);
	run_flows(&in, NULL);
	is_whole(&out, "10 MB out, while 10 MB come in");
	is_whole(&in, "10 MB in, while 10 MB go out");
	is_int(rig_close(&rig), 0, "a good end, with the flags as they were");
}

static void test_input_ends_first(void)
{
	struct rig rig = rig_open();
	struct flow out = {
		.to = &rig.input, .from = rig.peer, .stream = 1, .size = 5, .chunk = 16384};
	struct flow in = {
		.to = &rig.peer, .from = rig.output, .stream = 2, .size = SIZE, .chunk = 16384};

	run_flows(&out, NULL);
	is_whole(&out, "standard input ended: the peer is told");
	run_flows(&in, NULL);
	is_whole(&in, "and can still send 10 MB");
	is_int(rig_close(&rig), 0, "a good end");
}

static void test_empty_input(void)
{
	struct rig rig = rig_open();
	struct flow in = {
		.to = &rig.peer, .from = rig.output, .stream = 2, .size = 9, .chunk = 16384};

	drop(&rig.input);
	run_flows(&in, NULL);
	is_whole(&in, "standard input at its end from the start");
	is_int(rig_close(&rig), 0, "a good end");
}

static void test_peer_ends_first(void)
{
	struct rig rig = rig_open();
	struct flow in = {
		.to = &rig.peer, .from = rig.output, .stream = 2, .size = SIZE, .chunk = 16384};

	run_flows(&in, NULL);
	is_whole(&in, "the peer ended");
	is_int(rig_close(&rig), 0, "that is the end, though standard input is open");
}

static void test_slow_reader(void)
{
	struct rig rig = rig_open();
	struct flow in = {
		.to = &rig.peer, .from = rig.output, .stream = 2, .size = SIZE, .chunk = 16384};
	struct pollfd stuck;
	int calm = 0;

	/* Nobody reads: what fits into the buffers on the way is taken, and then nothing more. */
	while (calm < 3 && in.sent < in.size) {
		stuck = (struct pollfd){.fd = rig.peer, .events = POLLOUT};
		calm = poll(&stuck, 1, QUIET_MS) == 0 ? calm + 1 : 0;
		if (calm == 0)
			send_some(&in);
	}
	ok(in.sent < in.size, "who does not read stops the sender, after %zu bytes", in.sent);
	in.chunk = 1000;
	run_flows(&in, NULL);
	is_whole(&in, "a slow reader gets all");
	is_int(rig_close(&rig), 0, "a good end");
}

static void test_reset(void)
{
	struct rig rig = rig_open();
	struct linger reset = {.l_onoff = 1};
	struct flow in = {.to = &rig.peer,
		.from = rig.output,
		.stream = 2,
		.size = 3,
		.chunk = 16384,
		.keep = true};
	struct pollfd ready = {.fd = rig.output, .events = POLLIN};

	send_some(&in);
	poll(&ready, 1, DEADLINE);
	receive_some(&in);
	is_uint(in.received, 3, "what came before the RST is passed on");
	setsockopt(rig.peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	drop(&rig.peer);
	is_int(rig_close(&rig), EXIT_STATUS_NETWORK, "a RST is an error");
}

static void test_output_closed(void)
{
	struct rig rig = rig_open();

	drop(&rig.output);
	if (write(rig.peer, "x", 1) != 1)
		bail_out("write: %s", strerror(errno));
	is_int(rig_close(&rig), EXIT_STATUS_LOCAL, "nobody to write to is an error");
}

static void test_input_broken(void)
{
	int directory = open("/", O_RDONLY | O_CLOEXEC);
	int out[2], ends[2], status = -1;
	pid_t pid;

	if (directory < 0 || pipe2(out, O_CLOEXEC) != 0)
		bail_out("no input: %s", strerror(errno));
	connect_pair(ends);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		run_child(directory, out[1], ends[0]);
	}
	waitpid(pid, &status, 0);
	is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, EXIT_STATUS_LOCAL,
		"an input that cannot be read is an error, and not its end");
	close(directory);
	close(out[0]);
	close(out[1]);
	close(ends[0]);
	close(ends[1]);
}

static void test_waits_asleep(void)
{
	struct rig rig;
	struct pollfd ready;

	setenv("QUIET", "1", 1);
	rig = rig_open();
	drop(&rig.input);
	ready = (struct pollfd){.fd = rig.output, .events = POLLIN};
	is_int(poll(&ready, 1, 2 * QUIET_MS), 0, "nothing comes from nothing");
	shutdown(rig.peer, SHUT_WR);
	is_int(rig_close(&rig), 0, "and it took no time of the processor");
	unsetenv("QUIET");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_both_ways();
	test_input_ends_first();
	test_empty_input();
	test_peer_ends_first();
	test_slow_reader();
	test_reset();
	test_output_closed();
	test_input_broken();
	test_waits_asleep();
	return done_testing();
}
