/*
 * The command that gets connections is this very program, run with TEST_COMMAND in its
 * environment. What it finds out it writes to standard output, which is the connection.
 */
#include "natpunch/home/handover.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/keepalive.h"
#include "natpunch/os/log.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket.h"
#include "tap.h"
#include "unit/ambient.h"
#include "unit/deaf.h"

#define DEADLINE 10000
#define DRIPS    15
#define DRIP_MS  100
#define SILENCE  20000 /* longer than a busy machine keeps a child waiting */

static char log_path[] = "/tmp/natpunch-handover-XXXXXX";
static char self[] = "/proc/self/exe";
static char *self_command[] = {self, NULL};

/* ---------------------------------------------------------- in the command */

static int option_of(int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	getsockopt(STDIN_FILENO, level, option, &value, &size);
	return value;
}

static void report(void)
{
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;
	sigset_t blocked;
	int count = 0;

	while ((entry = readdir(list)) != NULL)
		count += entry->d_name[0] != '.';
	printf("descriptors %d\n", count - 1); /* one is the list */
	closedir(list);
	printf("blocking %d\n", (fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK) == 0);
	printf("leader %d\n", getsid(0) == getpid());
	printf("keepalive %d %d %d %d\n", option_of(SOL_SOCKET, SO_KEEPALIVE),
		option_of(IPPROTO_TCP, TCP_KEEPIDLE), option_of(IPPROTO_TCP, TCP_KEEPINTVL),
		option_of(IPPROTO_TCP, TCP_KEEPCNT));
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	printf("signals %d %d\n", sigismember(&blocked, SIGTERM), sigismember(&blocked, SIGCHLD));
	printf("ambient %d\n", ambient_is_set());
	printf("pipe %s\n", signal(SIGPIPE, SIG_DFL) == SIG_DFL ? "default" : "ignored");
}

static int act_as_command(const char *mode)
{
	char data[256];
	ssize_t got;

	if (strcmp(mode, "report") == 0)
		report();
	if (strcmp(mode, "echo") == 0)
		while ((got = read(STDIN_FILENO, data, sizeof(data))) > 0)
			if (write(STDOUT_FILENO, data, (size_t)got) != got)
				return 1;
	if (strcmp(mode, "greet") == 0)
		return write(STDOUT_FILENO, "hello", 5) == 5 ? act_as_command("echo") : 1;
	if (strcmp(mode, "drip") == 0)
		for (int i = 0; i < DRIPS; i++) {
			poll(NULL, 0, DRIP_MS);
			if (write(STDOUT_FILENO, "x", 1) != 1)
				return 1;
		}
	return 0;
}

/* ------------------------------------------------------------- in the test */

static int saved_stderr;

static int count_in(const char *path)
{
	DIR *list = opendir(path);
	int count = -2; /* . and .. */

	if (list == NULL)
		return -1;
	while (readdir(list) != NULL)
		count++;
	closedir(list);
	return count;
}

static void log_to_file(void)
{
	int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static const char *logged(void)
{
	static char text[8192];
	int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[size > 0 ? size : 0] = '\0';
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	return text;
}

static struct addr address_of(const char *ip, uint16_t port)
{
	struct addr addr = {.family = ADDR_NONE};

	if (ip != NULL && addr_parse_ip(&addr, ip) != 0)
		bail_out("an address of the test is wrong");
	addr.port = port;
	return addr;
}

/* A listener of the tested kind; port 0 lets the kernel choose. */
static int listen_at(const char *ip, uint16_t *port)
{
	struct addr addr = address_of(ip, *port);
	struct error error;
	int fd = handover_listen(&addr, NULL, &error);

	if (fd < 0)
		bail_out("%s", error.text);
	socket_local(fd, &addr);
	*port = addr.port;
	return fd;
}

static int connect_from(const char *from, const char *ip, uint16_t port)
{
	struct addr addr = address_of(ip, port);
	struct addr source = address_of(from, 0);
	struct timeval limit = {.tv_sec = DEADLINE / 1000};
	int fd =
		socket(socket_domain((enum addr_family)addr.family), SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (fd < 0 || (from != NULL && socket_bind(fd, &source) != 0) ||
		socket_connect(fd, &addr) != 0)
		bail_out("cannot connect to %s port %u: %s", ip, port, strerror(errno));
	return fd;
}

static int connect_to(const char *ip, uint16_t port)
{
	return connect_from(NULL, ip, port);
}

/* Until the end, or until `size` bytes are there. */
static const char *read_text(int fd, size_t size)
{
	static char text[1024];
	size_t used = 0;
	ssize_t got;

	if (size == 0 || size >= sizeof(text))
		size = sizeof(text) - 1;
	while (used < size && (got = read(fd, text + used, size - used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	return text;
}

static bool is_closed(int fd)
{
	char byte;
	ssize_t got = read(fd, &byte, 1);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

static bool is_reset(int fd)
{
	char byte;

	return read(fd, &byte, 1) < 0 && errno == ECONNRESET;
}

/* What the caller's loop does, until there is something to read. */
static void serve_until_readable(struct handover *handover, int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t now = clock_now_ms();
	uint64_t end = now + DEADLINE;

	for (; now < end && poll(&ready, 1, 2) == 0; now = clock_now_ms()) {
		handover_reap(handover);
		handover_expire(handover, now);
	}
}

static bool wait_until_running(struct handover *handover, size_t running)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	for (;;) {
		handover_reap(handover);
		if (handover->running <= running || clock_now_ms() >= end)
			return handover->running == running;
		poll(NULL, 0, 2);
	}
}

static void accept_when_ready(struct handover *handover, int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	poll(&ready, 1, DEADLINE);
	handover_accept(handover, listener, clock_now_ms());
}

static bool has_line(const char *text, const char *line)
{
	char around[1200], wanted[200];

	snprintf(around, sizeof(around), "\n%s", text);
	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	return strstr(around, wanted) != NULL;
}

static void test_command(void)
{
	static const char *const lines[] = {"descriptors 3", "blocking 1", "leader 1",
		"keepalive 1 25 25 127", "signals 0 0", "pipe default", "ambient 0"};
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */

	setenv("TEST_COMMAND", "report", 1);
	/* Without root there is none, and no way to tell. */
	ambient_set(true);
	handover_init(&handover, self_command, NULL);
	int client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	ambient_set(false);
	is_uint(handover.running, 1, "a child runs");
	ok(wait_until_running(&handover, 0), "the child is reaped");
	const char *text = read_text(client, 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!ok(has_line(text, lines[i]), "the command finds: %s", lines[i]))
			diag("in:\n%s", text);
	close(client);
	close(leak);
	close(listener);
	handover_end(&handover);
}

static void test_echo(void)
{
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);

	setenv("TEST_COMMAND", "echo", 1);
	handover_init(&handover, self_command, NULL);
	int client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	is_int(write(client, "hello", 5), 5, "a client speaks");
	is_str(read_text(client, 5), "hello", "and is answered");
	shutdown(client, SHUT_WR);
	serve_until_readable(&handover, client);
	ok(is_closed(client), "when the command ends, so does the connection");
	ok(wait_until_running(&handover, 0), "the child is reaped");
	close(client);
	close(listener);
	handover_end(&handover);
}

static void test_cannot_run(void)
{
	static char missing[] = "/nonexistent/command";
	char *command[] = {missing, NULL};
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);

	log_to_file();
	handover_init(&handover, command, NULL);
	int client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	serve_until_readable(&handover, client);
	bool refused = is_reset(client);
	wait_until_running(&handover, 0);
	is_str(logged(), "natpunch: cannot run /nonexistent/command: No such file or directory\n",
		"a command that cannot be run is named");
	ok(refused, "and the connection reset");
	close(client);
	close(listener);
	handover_end(&handover);
}

/* A server that answers each connection with what it got, on a port of its own. */
static pid_t serve_echo(uint16_t *port)
{
	int listener = listen_at("127.0.0.1", port);
	pid_t pid = fork();

	if (pid == 0) {
		struct pollfd ready = {.fd = listener, .events = POLLIN};
		for (;;) {
			poll(&ready, 1, -1);
			int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				continue;
			dup2(fd, 0);
			dup2(fd, 1);
			act_as_command("echo");
			shutdown(fd, SHUT_RDWR);
			close(fd);
		}
	}
	close(listener);
	return pid;
}

static void test_to(const char *host)
{
	struct handover handover;
	struct host_port to = {.port = 0};
	uint16_t port = 0;
	char path[64];
	int listener = listen_at("127.0.0.1", &port);
	pid_t server = serve_echo(&to.port);

	snprintf(to.host, sizeof(to.host), "%s", host);
	handover_init(&handover, NULL, &to);
	int client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	is_int(write(client, "hello", 5), 5, "to %s: a client speaks", host);
	is_str(read_text(client, 5), "hello", "to %s: and is answered", host);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)handover.places[0].pid);
	is_int(count_in(path), 7, "to %s: the child has stderr, two sockets and two pipes", host);
	shutdown(client, SHUT_WR);
	serve_until_readable(&handover, client);
	ok(is_closed(client), "to %s: half-close goes there and comes back", host);
	ok(wait_until_running(&handover, 0), "to %s: the child is reaped", host);
	close(client);
	close(listener);
	handover_end(&handover);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

/* The server of a port, which is on that address alone. */
static void test_server(const char *ip)
{
	struct handover handover;
	struct host_port to = {.host = ""};
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);
	int server = listen_at(ip, &to.port);
	int client, inside;

	handover_init(&handover, NULL, &to);
	client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	serve_until_readable(&handover, server);
	inside = accept(server, NULL, NULL);
	ok(inside >= 0 && write(inside, "hello", 5) == 5, "a server on %s gets it", ip);
	is_str(read_text(client, 5), "hello", "a server on %s: and answers", ip);
	close(inside);
	close(client);
	ok(wait_until_running(&handover, 0), "a server on %s: the child is reaped", ip);
	close(server);
	close(listener);
	handover_end(&handover);
}

static void test_to_nobody(const char *host, const char *warning)
{
	struct handover handover;
	struct host_port to = {.port = 0};
	uint16_t port = 0;
	char wanted[200];
	int listener = listen_at("127.0.0.1", &port);
	int unused = listen_at("127.0.0.1", &to.port);

	close(unused);
	snprintf(to.host, sizeof(to.host), "%s", host);
	log_to_file();
	handover_init(&handover, NULL, &to);
	int client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	serve_until_readable(&handover, client);
	bool refused = is_reset(client);
	wait_until_running(&handover, 0);
	snprintf(wanted, sizeof(wanted), "natpunch: warning: cannot hand over%s port %u%s\n",
		warning, to.port, host[0] != '\0' ? ": Connection refused" : "");
	is_str(logged(), wanted, "nobody there: said so");
	ok(refused, "nobody there: and the connection reset");
	close(client);
	close(listener);
	handover_end(&handover);
}

static int crowd[HANDOVER_MAX + 1];
static unsigned crowd_size;

/* So many connect from there; returns how many got a place. */
static unsigned come(
	struct handover *handover, int listener, uint16_t port, const char *from, unsigned count)
{
	unsigned places = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned refused = handover->refused;
		int fd = connect_from(from, "127.0.0.1", port);

		accept_when_ready(handover, listener);
		if (handover->refused == refused) {
			crowd[crowd_size++] = fd;
			places++;
			continue;
		}
		if (!is_closed(fd))
			diag("refused, and not closed");
		close(fd);
	}
	return places;
}

/* Those that were connected to, and not by the listener, get any place. */
static unsigned come_invited(struct handover *handover, int listener, uint16_t port, unsigned count)
{
	struct addr peer = address_of("127.0.0.2", 1);
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	unsigned places = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned refused = handover->refused;
		int fd = connect_to("127.0.0.1", port);

		poll(&ready, 1, DEADLINE);
		handover_give(handover, accept4(listener, NULL, NULL, SOCK_CLOEXEC), &peer,
			clock_now_ms());
		if (handover->refused == refused) {
			crowd[crowd_size++] = fd;
			places++;
		} else {
			close(fd);
		}
	}
	return places;
}

static void go_away(void)
{
	while (crowd_size > 0)
		close(crowd[--crowd_size]);
}

static void test_limit(void)
{
	static const char *const few[] = {"127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"};
	struct addr guest = address_of("127.0.0.9", 1);
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);

	setenv("TEST_COMMAND", "echo", 1);
	handover_init(&handover, self_command, NULL);
	log_to_file();
	unsigned one = come(&handover, listener, port, "127.0.0.2", HANDOVER_SOURCE_MAX + 2);
	unsigned two = come(&handover, listener, port, "127.0.0.3", HANDOVER_SOURCE_MAX);
	unsigned others = 0;
	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++)
		others += come(&handover, listener, port, few[i], HANDOVER_SOURCE_FEW + 1);
	unsigned late = come(&handover, listener, port, "127.0.0.8", 1);
	unsigned given = come_invited(&handover, listener, port, 7);
	handover_expect(&handover, &guest, clock_now_ms() - HANDOVER_GUEST_MS);
	unsigned long_ago = come(&handover, listener, port, "127.0.0.9", 1);
	handover_expect(&handover, &guest, clock_now_ms());
	unsigned expected = come(&handover, listener, port, "127.0.0.9", 1);
	size_t running = handover.running;
	unsigned beyond = come_invited(&handover, listener, port, 1);
	const char *text = logged();
	is_uint(one, HANDOVER_SOURCE_MAX, "one source has its share");
	is_uint(two, HANDOVER_SCARCE - HANDOVER_SOURCE_MAX, "another what is left of plenty");
	is_uint(others, 4 * HANDOVER_SOURCE_FEW, "then there are a few for each");
	is_uint(late, 0, "until strangers have all of theirs");
	is_uint(given, 7, "who is invited gets in all the same");
	is_uint(long_ago, 0, "but not who was long ago");
	is_uint(expected, 1, "also by the listener");
	is_uint(running, HANDOVER_MAX, "as many run as may");
	is_uint(beyond, 0, "and no more");
	is_uint(handover.refused, 2 + HANDOVER_SOURCE_MAX - two + 4 + 1 + 1 + 1, "all are counted");
	ok(strncmp(text, "natpunch: warning: 127.0.0.2:", 29) == 0, "the first is logged");
	ok(strchr(text, '\n')[1] == '\0', "the first only");

	close(crowd[--crowd_size]);
	ok(wait_until_running(&handover, HANDOVER_MAX - 1), "one ends and is reaped");
	is_uint(come_invited(&handover, listener, port, 1), 1, "there is room for another");
	is_int(write(crowd[crowd_size - 1], "x", 1), 1, "it speaks");
	is_str(read_text(crowd[crowd_size - 1], 1), "x", "and it works");
	go_away();
	ok(wait_until_running(&handover, 0), "all end and are reaped");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
	close(listener);
	handover_end(&handover);
}

static size_t count_yielded(const struct handover *handover)
{
	size_t count = 0;

	for (size_t i = 0; i < HANDOVER_PLACES; i++)
		count += handover->places[i].yielded;
	return count;
}

/* Of one that is invited, when all have a place: what it is told, or NULL when it got one. */
static const char *come_and_hear(struct handover *handover, int listener, uint16_t port)
{
	struct addr peer = address_of("127.0.0.2", 1);
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	unsigned refused = handover->refused;
	int fd = connect_to("127.0.0.1", port);
	const char *text;

	poll(&ready, 1, DEADLINE);
	handover_give(handover, accept4(listener, NULL, NULL, SOCK_CLOEXEC), &peer, clock_now_ms());
	if (handover->refused == refused) {
		crowd[crowd_size++] = fd;
		return NULL;
	}
	text = read_text(fd, 0);
	close(fd);
	return text;
}

/* Its peer says a word, and hears nothing any more. */
static void die(struct handover *handover, size_t place)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	become_deaf(crowd[place]);
	if (write(crowd[place], "x", 1) != 1)
		bail_out("it cannot speak");
	while (keepalive_dead_ms(handover->places[place].fd, handover->dead_ms) == 0 &&
		clock_now_ms() < end)
		poll(NULL, 0, 10);
}

static void test_dead(void)
{
	enum {
		DEAD = 5
	};
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);

	setenv("TEST_COMMAND", "echo", 1);
	handover_init(&handover, self_command, NULL);
	handover.dead_ms = 300;
	log_to_file();
	unsigned all = come_invited(&handover, listener, port, HANDOVER_MAX);
	const char *told = come_and_hear(&handover, listener, port);
	die(&handover, DEAD);
	unsigned stranger = come(&handover, listener, port, "127.0.0.3", 1);
	unsigned before = handover.yielded;
	const char *newcomer = come_and_hear(&handover, listener, port);
	size_t yielded = count_yielded(&handover), running = handover.running;
	const char *second = come_and_hear(&handover, listener, port);
	const char *text = logged();
	is_uint(all, HANDOVER_MAX, "all places are taken");
	is_str(told, "natpunch probe: too many connections at once\r\n",
		"by peers that are there: who is invited is told so");
	is_uint(stranger, 0, "one dies: a stranger gets nothing by it");
	is_uint(before, 0, "and nobody is ended for one");
	ok(newcomer == NULL, "who is invited gets its place");
	is_uint(yielded, 1, "whose child has yet to end");
	is_uint(running, HANDOVER_MAX, "and is not counted");
	ok(second != NULL, "there is no second place");
	is_uint(handover.yielded, 1, "which is counted");
	ok(strstr(text, "natpunch: 127.0.0.2:1 ended: it has not answered for ") != NULL,
		"and logged");
	for (int i = 0; i < DEADLINE / 2 && count_yielded(&handover) > 0; i++) {
		handover_reap(&handover);
		poll(NULL, 0, 2);
	}
	is_uint(count_yielded(&handover), 0, "its child ends");
	is_uint(handover.running, HANDOVER_MAX, "and all the others do not");
	is_int(write(crowd[0], "y", 1), 1, "an older one that is idle");
	is_str(read_text(crowd[0], 1), "y", "lives");
	is_int(write(crowd[crowd_size - 1], "z", 1), 1, "and the newcomer");
	is_str(read_text(crowd[crowd_size - 1], 1), "z", "works");
	go_away();
	ok(wait_until_running(&handover, 0), "all end and are reaped");
	close(listener);
	handover_end(&handover);
}

/* A site: who has one network of 64 bits may have 65536 of them. ::1 is of the site ::/48. */
static void test_site(void)
{
	static const struct {
		unsigned networks, each, places;
		const char *name;
	} cases[] = {
		{0, 0, 1, "who is alone gets a place"},
		{16, 2, 0, "a site has its share, whatever it has its members in"},
		{15, 2, 1, "and not less"},
	};
	uint16_t port = 0;
	struct addr any = address_of("::1", 0);
	struct error error;
	int listener = handover_listen(&any, NULL, &error);

	if (listener < 0) {
		skip(3, "needs IPv6");
		return;
	}
	socket_local(listener, &any);
	port = any.port;
	log_to_file();
	unsigned got[3];
	for (size_t i = 0; i < 3; i++) {
		struct handover handover;

		handover_init(&handover, self_command, NULL);
		for (unsigned n = 0; n < cases[i].networks * cases[i].each; n++) {
			struct handover_place *place = &handover.places[n];
			place->pid = getpid();
			place->peer = address_of("::1", 1);
			place->peer.ip[7] = (uint8_t)(1 + n / cases[i].each);
		}
		int fd = connect_to("::1", port);
		accept_when_ready(&handover, listener);
		got[i] = 1 - handover.refused;
		close(fd);
		for (unsigned n = 0; n < HANDOVER_MAX; n++)
			if (handover.places[n].pid == getpid())
				handover.places[n].pid = 0;
		wait_until_running(&handover, 0);
		handover_end(&handover);
	}
	logged();
	for (size_t i = 0; i < 3; i++)
		is_uint(got[i], cases[i].places, "%s", cases[i].name);
	close(listener);
}

/* A client that says nothing: what becomes of it. */
static void test_silence(void)
{
	struct handover handover;
	uint16_t port = 0;
	int listener = listen_at("127.0.0.1", &port);

	setenv("TEST_COMMAND", "echo", 1);
	handover_init(&handover, self_command, NULL);
	handover.silence_ms = 100;
	is_uint(handover_due(&handover), TIMER_NONE, "nobody is watched");
	int talker = connect_to("127.0.0.1", port);
	is_int(write(talker, "x", 1), 1, "one has spoken");
	accept_when_ready(&handover, listener);
	int silent = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	is_uint(come_invited(&handover, listener, port, 1), 1, "a third was invited");
	ok(handover_due(&handover) <= clock_now_ms() + 100, "they are looked at soon");
	serve_until_readable(&handover, silent);
	ok(is_closed(silent), "who said nothing is ended");
	ok(wait_until_running(&handover, 2), "and its child, but no other");
	is_str(read_text(talker, 1), "x", "who spoke is answered");
	is_int(write(talker, "y", 1), 1, "and may");
	is_str(read_text(talker, 1), "y", "go on");
	is_int(write(crowd[0], "z", 1), 1, "who was invited has all the time");
	is_str(read_text(crowd[0], 1), "z", "in the world");
	is_uint(handover_due(&handover), TIMER_NONE, "nobody is watched any more");
	shutdown(talker, SHUT_WR);
	serve_until_readable(&handover, talker);
	ok(is_closed(talker), "nor is anything of theirs held when it ends");
	close(talker);
	close(silent);
	go_away();
	wait_until_running(&handover, 0);

	setenv("TEST_COMMAND", "greet", 1);
	silent = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	is_str(read_text(silent, 5), "hello", "a server speaks first");
	serve_until_readable(&handover, silent);
	ok(is_closed(silent), "and its client never: it is ended too");
	close(silent);
	wait_until_running(&handover, 0);

	setenv("TEST_COMMAND", "drip", 1);
	handover.silence_ms = SILENCE;
	silent = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, listener);
	for (int i = 0; i < DRIPS; i++) {
		serve_until_readable(&handover, silent);
		if (read_text(silent, 1)[0] != 'x')
			fail("a server that goes on speaking is cut after %d words", i);
	}
	close(silent);
	ok(wait_until_running(&handover, 0), "a server that speaks alone ends by itself");
	close(listener);
	handover_end(&handover);
}

static void test_no_descriptors(void)
{
	struct handover handover;
	struct rlimit before, none;
	struct pollfd ready = {.events = POLLIN};
	uint16_t port = 0;

	ready.fd = listen_at("127.0.0.1", &port);
	setenv("TEST_COMMAND", "echo", 1);
	handover_init(&handover, self_command, NULL);
	int client = connect_to("127.0.0.1", port);
	log_to_file();
	int next = dup(0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = (rlim_t)next;
	poll(&ready, 1, DEADLINE);
	setrlimit(RLIMIT_NOFILE, &none);
	handover_accept(&handover, ready.fd, clock_now_ms());
	bool waits = poll(&ready, 1, 0) == 1;
	setrlimit(RLIMIT_NOFILE, &before);
	ok(strstr(logged(), "closed: no descriptor left\n") != NULL, "no descriptor: said so");
	ok(!waits, "nobody is left to wait at the listener");
	ok(is_closed(client), "the newcomer is closed");
	is_uint(handover.refused, 1, "and counted");
	ok(handover.spare >= 0, "the spare descriptor is there again");
	close(client);
	client = connect_to("127.0.0.1", port);
	accept_when_ready(&handover, ready.fd);
	is_uint(handover.running, 1, "the next one is taken");
	close(client);
	ok(wait_until_running(&handover, 0), "and reaped");
	close(ready.fd);
	handover_end(&handover);
}

static void test_listen(void)
{
	struct addr addr = address_of("127.0.0.1", 0);
	struct error error;
	uint16_t port = 0;
	int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char wanted[100];

	socket_bind(plain, &addr);
	listen(plain, 1);
	socket_local(plain, &addr);
	is_int(handover_listen(&addr, NULL, &error), -1, "a port that somebody listens on");
	snprintf(wanted, sizeof(wanted), "cannot listen on 127.0.0.1:%u: %s", addr.port,
		strerror(EADDRINUSE));
	is_str(error.text, wanted, "is named");
	is_int(error.status, EXIT_STATUS_LOCAL, "with the right status");
	close(plain);

	is_int(handover_listen(&addr, "nosuchif0", &error), -1, "an interface that is not there");

	int any = listen_at(NULL, &port);
	int v4 = connect_to("127.0.0.1", port);
	struct pollfd ready = {.fd = any, .events = POLLIN};
	is_int(poll(&ready, 1, DEADLINE), 1, "any address: IPv4 comes in");
	close(v4);
	close(any);
}

/* The port of the listener stays free for what natpunch sends from it, in either order. */
static void test_beside_own(void)
{
	uint16_t server_port = 0, port = 0;
	int server = listen_at("127.0.0.1", &server_port);
	struct borrow_request request = {
		.protocol = MAPPING_TCP, .remote = address_of("127.0.0.1", server_port)};
	struct borrowed first = BORROWED_NOTHING, second = BORROWED_NOTHING;
	struct error error = {.text = ""};
	int listener = listen_at(NULL, &port);

	request.local = address_of(NULL, port);
	is_int(borrow_open(borrow_find("bind"), &request, &first, &error), BORROW_OPEN,
		"a connection from the port that we listen on");
	close(listener);
	listener = handover_listen(&request.local, NULL, &error);
	ok(listener >= 0, "a listener on the port that we are connected from");
	borrow_close(&first);
	borrow_close(&second);
	close(listener);
	close(server);
}

int main(void)
{
	const char *mode = getenv("TEST_COMMAND");
	int before, fd;

	if (mode != NULL)
		return act_as_command(mode);
	fd = mkstemp(log_path);
	if (fd < 0)
		bail_out("cannot make a file");
	close(fd);
	close(signals_open());
	before = count_in("/proc/self/fd");

	test_command();
	test_echo();
	test_cannot_run();
	test_to("127.0.0.1");
	test_to("localhost");
	test_server("127.0.0.1");
	test_server("127.0.0.2");
	test_server("::1");
	test_to_nobody("127.0.0.1", " to 127.0.0.1");
	test_to_nobody("", ": nothing listens on");
	test_limit();
	test_dead();
	test_site();
	test_silence();
	test_no_descriptors();
	test_listen();
	test_beside_own();

	is_int(count_in("/proc/self/fd"), before, "as many descriptors as at the start");
	unlink(log_path);
	return done_testing();
}
