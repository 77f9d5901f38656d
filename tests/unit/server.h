/*
 * A reflector in a child process, a network of its own for it (loopback only), and clients.
 *
 * The reflector's messages, at their most verbose, go to a file in memory in which the parent
 * looks for what it expects. Its times can be shortened, so that a test of a deadline is quick.
 * Nothing here waits for a fixed time: each wait is for an event, and PATIENCE bounds it.
 *
 * It confines itself as the real one does, and strictly: a system call that is in no list ends it.
 * Not so under sanitizers, which make calls of their own, and where a limit is to be lowered.
 */
#ifndef NATPUNCH_TESTS_SERVER_H
#define NATPUNCH_TESTS_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/proto/binding.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/reflector/reflector.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "tap.h"
#include "unit/sanitized.h"

#define PATIENCE    10000 /* milliseconds */
#define SERVER_PORT 3478
#define TEXT_PORT   1337

#define NO_DESCRIPTORS (-1) /* fewer than it has already */

struct server {
	struct reflector_config config;
	int descriptors; /* so many more once it listens, NO_DESCRIPTORS, or 0 for no limit */
	uid_t user;      /* to become before it starts, or 0 */
	pid_t pid;
	int log;
};

/* A network namespace of our own with loopback up; ends the program where there cannot be one. */
static inline void network_enter(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd;

	if (unshare(CLONE_NEWNET) != 0) {
		skip(1, "needs root, for a network namespace");
		exit(done_testing());
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
		bail_out("loopback: %s", strerror(errno));
	close(fd);
}

static inline struct addr address(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("not an address: %s", ip);
	addr.port = port;
	return addr;
}

static inline void server_listen(
	struct server *server, const char *ip, uint16_t port, enum reflector_service service)
{
	server->config.listen[server->config.listen_count++] =
		(struct reflector_listen){.addr = address(ip, port), .service = service};
}

/* As `natpunch reflect` would be without options, but with long times: nothing happens by itself.
 */
static inline void server_init(struct server *server)
{
	memset(server, 0, sizeof(*server));
	server->config.connections = 64;
	server->config.times = REFLECTOR_TIMES_DEFAULT;
	server->config.times.silence = 60000;
	server->config.times.request = 60000;
	server->config.times.idle = 60000;
	server_listen(server, "0.0.0.0", SERVER_PORT, REFLECTOR_FULL);
	server_listen(server, "::", SERVER_PORT, REFLECTOR_FULL);
}

static inline void server_limit_descriptors(int more)
{
	int next = dup(STDERR_FILENO);
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 4096};

	close(next);
	if (more != NO_DESCRIPTORS)
		limit.rlim_cur = (rlim_t)(next + more);
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		exit(97);
}

static inline int server_main(struct server *server)
{
	struct reflector *reflector;
	struct error error;
	int status = EXIT_STATUS_DONE;

	log_set_command("reflect");
	log_set_level(LOG_LEVEL_VERBOSE);
	server->config.confine = !SANITIZED && server->descriptors == 0;
	setenv("NATPUNCH_SANDBOX", "strict", 1);
	if (server->user != 0 && setresuid(server->user, server->user, server->user) != 0)
		return 99;
	reflector = reflector_open(&server->config, &error);
	if (reflector == NULL) {
		log_print_error(&error);
		return (int)error.status;
	}
	if (server->descriptors != 0)
		server_limit_descriptors(server->descriptors);
	if (reflector_run(reflector, &error) != 0) {
		log_print_error(&error);
		status = (int)error.status;
	}
	reflector_close(reflector);
	return status;
}

/* Starts the child; it need not come to listen. */
static inline void server_spawn(struct server *server)
{
	server->log = memfd_create("log", MFD_CLOEXEC);
	if (server->log < 0)
		bail_out("memfd_create: %s", strerror(errno));
	fflush(stdout);
	server->pid = fork();
	if (server->pid < 0)
		bail_out("fork: %s", strerror(errno));
	if (server->pid == 0) {
		/* A test that gives up leaves nobody behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(server->log, STDERR_FILENO) < 0)
			exit(98);
		exit(server_main(server));
	}
}

/* How often the text stands in what the server said so far. */
static inline unsigned server_said(const struct server *server, const char *text)
{
	static char log[1 << 20];
	ssize_t size = pread(server->log, log, sizeof(log) - 1, 0);
	unsigned count = 0;

	log[size > 0 ? size : 0] = '\0';
	for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text))
		count++;
	return count;
}

static inline void pause_briefly(void)
{
	poll(NULL, 0, 1);
}

/* Another address for the loopback, of IPv6, after network_enter(); back when it can be used. */
static inline void loopback_add(const char *ip)
{
	/* As linux/ipv6.h has it, which does not go with netinet/in.h. */
	struct {
		struct in6_addr addr;
		uint32_t bits;
		int index;
	} request = {.bits = 128, .index = (int)if_nametoindex("lo")};
	struct addr addr = address(ip, 0);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(&request.addr, addr.ip, sizeof(request.addr));
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) != 0)
		bail_out("%s: %s", ip, strerror(errno));
	close(fd);
	while (!socket_can_bind_ip(&addr))
		pause_briefly();
}

/* Waits until the server has said the text so many times. */
static inline bool server_says(const struct server *server, const char *text, unsigned times)
{
	uint64_t end = clock_now_ms() + PATIENCE;

	while (server_said(server, text) < times) {
		if (clock_now_ms() > end || kill(server->pid, 0) != 0)
			return false;
		pause_briefly();
	}
	return true;
}

static inline void server_start(struct server *server)
{
	server_spawn(server);
	if (!server_says(server, "natpunch reflect: ready\n", 1))
		bail_out("the reflector does not start");
}

/* Waits for its end. Returns its exit status, or 1000 and the signal that killed it. */
static inline int server_wait(struct server *server)
{
	uint64_t end = clock_now_ms() + PATIENCE;
	pid_t ended;
	int status;

	while ((ended = waitpid(server->pid, &status, WNOHANG)) == 0 && clock_now_ms() <= end)
		pause_briefly();
	if (ended == 0) {
		kill(server->pid, SIGKILL);
		waitpid(server->pid, &status, 0);
	}
	close(server->log);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int server_stop(struct server *server)
{
	kill(server->pid, SIGTERM);
	return server_wait(server);
}

/* --- clients --- */

static inline void be_patient(int fd, int milliseconds)
{
	struct timeval time = {
		.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) != 0)
		bail_out("SO_RCVTIMEO: %s", strerror(errno));
}

/* A blocking socket, bound to `from` unless that is NULL, connected to the server at ip. */
static inline int connect_from(const struct addr *from, int type, const char *ip, uint16_t port)
{
	struct addr to = address(ip, port);
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&to, &sockaddr);
	int fd = socket(socket_domain((enum addr_family)to.family), type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bail_out("socket: %s", strerror(errno));
	be_patient(fd, PATIENCE);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (type == SOCK_STREAM)
		socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if ((from != NULL && socket_bind(fd, from) != 0) ||
		connect(fd, (struct sockaddr *)&sockaddr, size) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int dial(const char *ip, uint16_t port)
{
	return connect_from(NULL, SOCK_STREAM, ip, port);
}

static inline bool say(int fd, const void *data, size_t size)
{
	return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Reads exactly size bytes. */
static inline bool hear(int fd, void *out, size_t size)
{
	return recv(fd, out, size, MSG_WAITALL) == (ssize_t)size;
}

/* The other end has closed: in order, or with a RST. */
static inline bool hear_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* The other end has closed in order. */
static inline bool hear_fin(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) == 0;
}

/* Nothing has come so far, neither bytes nor an end. */
static inline bool is_silent(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

/*
 * Nothing but a FIN has come at the end. After a RST a client may lose what it has not read yet,
 * though Linux keeps it.
 */
static inline bool was_closed_in_order(int fd)
{
	return socket_take_error(fd) == 0 && hear_fin(fd);
}

/*
 * Reads to the end. Returns the text, static, cut where it is too long, with the error behind it
 * when the end was none in order.
 */
static inline const char *hear_all(int fd)
{
	static char text[4096];
	size_t used = 0;
	ssize_t got = 0;

	while (used < sizeof(text) - 1 &&
		(got = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	if (got < 0)
		snprintf(text + used, sizeof(text) - used, "[%s]", strerror(errno));
	return text;
}

/* The line that a client with this socket should be told. */
static inline const char *own_line(int fd)
{
	static char line[ADDR_TEXT_SIZE];
	char ip[ADDR_IP_TEXT_SIZE];
	struct addr local;

	if (socket_local(fd, &local) != 0)
		return "no local address";
	snprintf(line, sizeof(line), "%s %u\n", addr_format_ip(&local, ip), local.port);
	return line;
}

struct question {
	struct binding_request request;
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;
};

static inline struct question question_make(enum binding_mode mode, uint16_t seconds)
{
	struct question question = {.request = {.mode = mode, .seconds = seconds}};
	uint8_t random[12];

	random_fill(random, sizeof(random));
	stun_make_transaction(question.request.transaction, random);
	question.size =
		binding_write_request(&question.request, question.bytes, sizeof(question.bytes));
	return question;
}

/* Reads one whole message; returns its size, or 0. */
static inline size_t hear_message(int fd, int type, uint8_t out[STUN_MESSAGE_MAX])
{
	size_t body;
	ssize_t got;

	if (type == SOCK_DGRAM) {
		got = recv(fd, out, STUN_MESSAGE_MAX, 0);
		return got > 0 ? (size_t)got : 0;
	}
	if (!hear(fd, out, STUN_HEADER_SIZE))
		return 0;
	body = (size_t)(out[2] << 8 | out[3]);
	if (body > STUN_MESSAGE_MAX - STUN_HEADER_SIZE ||
		(body > 0 && !hear(fd, out + STUN_HEADER_SIZE, body)))
		return 0;
	return STUN_HEADER_SIZE + body;
}

/* Reads the answer to the question; true when it tells the address of this very socket. */
static inline bool hear_answer(
	int fd, int type, const struct question *question, struct binding_answer *answer)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct binding_answer ignored;
	struct addr local;
	const char *why = "no answer";
	size_t size = hear_message(fd, type, bytes);

	if (answer == NULL)
		answer = &ignored;
	if (socket_local(fd, &local) == 0 && size > 0 &&
		binding_read_answer(&question->request, (enum addr_family)local.family, bytes, size,
			answer, &why) == BINDING_MAPPED)
		return addr_equal(&answer->mapped, &local);
	diag("%s", why != NULL ? why : "refused");
	return false;
}

static inline bool ask_mode(
	int fd, int type, enum binding_mode mode, uint16_t seconds, struct binding_answer *answer)
{
	struct question question = question_make(mode, seconds);

	return say(fd, question.bytes, question.size) && hear_answer(fd, type, &question, answer);
}

static inline bool ask(int fd, int type)
{
	return ask_mode(fd, type, BINDING_MODE_NONE, 0, NULL);
}

/* One client's whole way, as a sign that the server is well. At the end its slot is free. */
static inline bool is_served(int type, const char *ip)
{
	int fd = connect_from(NULL, type, ip, SERVER_PORT);
	bool served = fd >= 0 && ask(fd, type);

	if (served && type == SOCK_STREAM)
		served = shutdown(fd, SHUT_WR) == 0 && hear_fin(fd);
	if (fd >= 0)
		close(fd);
	return served;
}

/*
 * What was sent before this has been read by the server after it: it takes what is ready in the
 * order in which it became so.
 */
static inline void barrier(void)
{
	if (!is_served(SOCK_DGRAM, "127.0.0.1") || !is_served(SOCK_DGRAM, "127.0.0.1"))
		bail_out("the reflector does not answer");
}

#endif
