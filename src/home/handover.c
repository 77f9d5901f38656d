/*
 * How a connection is handed over.
 *
 * States: each place in the table is free (0) or has a child (its pid). The listener has room, or
 * it was said that there is none (`full`).
 *
 * Events:
 *   a connection, accepted or given   a child gets it: by the launcher, or by fork(2).
 *   no place, or no child             it is closed and counted; one warning until there was room.
 *   no descriptor                     the spare one is given up to accept it and close it.
 *   SIGCHLD                           handover_reap() frees the places of those that ended.
 *   in the child                      the command is executed, or the address looked up, connected
 *                                     to and spliced; where that fails, the connection is aborted.
 *
 * Timers: none of ours. TCP keep-alives (HANDOVER_IDLE_S and so on) find a peer that is gone.
 *
 * Who holds a connection that came from outside? For an instant we do; then a child of ours, as its
 * standard input and output, and nobody else: what of it stayed open here would keep it open after
 * its end. The child knows nothing of us, and is told nothing: it outlives our restart.
 *
 * The table of children is the bound on what strangers can make this machine do. They are counted
 * and reaped one by one, by pid, as the hook and the resolver have children as well.
 */
#include "natpunch/home/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/flow.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "home/splice.h"
#include "natpunch/base/text.h"

#define BACKLOG          64
#define EXIT_CANNOT_EXEC 127
#define NAME_SHOWN_SIZE  320

void handover_init(struct handover *handover, char *const *command, const struct host_port *to)
{
	memset(handover, 0, sizeof(*handover));
	handover->command = command;
	if (to != NULL)
		handover->to = *to;
	handover->spare = open(HANDOVER_SPARE_FILE, O_RDONLY | O_CLOEXEC);
}

void handover_end(struct handover *handover)
{
	if (handover->spare >= 0)
		close(handover->spare);
	handover->spare = -1;
}

static const char *show_name(const char *name, char out[NAME_SHOWN_SIZE])
{
	return text_escape(out, NAME_SHOWN_SIZE, name, strlen(name));
}

/* Options that a command inherits with the socket. A connection that has died has none to set. */
static void set_keepalive(int fd)
{
	socket_set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, HANDOVER_IDLE_S);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, HANDOVER_PROBE_S);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, HANDOVER_PROBES);
}

static int set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* -------------------------------------------------------------- in the child */

static _Noreturn void run_command(char *const *command)
{
	char name[NAME_SHOWN_SIZE];

	if (set_blocking(STDIN_FILENO) == 0 && privileges_clear_inheritable() == 0)
		execv(command[0], command);
	log_error("cannot run %s: %s", show_name(command[0], name), strerror(errno));
	/* Closed in order, it would be a session that said nothing. */
	flow_abort(STDIN_FILENO);
	_exit(EXIT_CANNOT_EXEC);
}

/* Returns a connected socket, or -1 and errno. */
static int connect_to(const struct addr *addr)
{
	int fd = socket_open((enum addr_family)addr->family, SOCK_STREAM, IPPROTO_TCP);
	int problem;

	if (fd < 0)
		return -1;
	if (socket_connect(fd, addr) == 0) {
		struct pollfd ready = {.fd = fd, .events = POLLOUT};
		while (poll(&ready, 1, -1) < 0 && errno == EINTR)
			;
		errno = socket_take_error(fd);
		if (errno == 0)
			return fd;
	}
	problem = errno;
	close(fd);
	errno = problem;
	return -1;
}

/* Tries the addresses of a name in the resolver's order. */
static int connect_to_any(const struct host_port *to)
{
	struct resolve resolve;
	struct error error;
	char name[NAME_SHOWN_SIZE];
	int fd = -1;

	resolve_start(&resolve, to->host, to->port, ADDR_NONE);
	resolve_wait(&resolve, to->host, TIMER_NONE, &error);
	for (size_t i = 0; i < resolve.count && fd < 0; i++)
		fd = connect_to(&resolve.found[i]);
	if (fd < 0)
		log_warning("cannot hand over to %s port %u: %s", show_name(to->host, name),
			to->port, resolve.count > 0 ? strerror(errno) : resolve.error.text);
	resolve_end(&resolve);
	return fd;
}

static _Noreturn void run_splice(const struct host_port *to, const struct addr *peer)
{
	struct error error;
	char text[ADDR_TEXT_SIZE];
	int outside, inside;

	signal(SIGPIPE, SIG_IGN);
	inside = connect_to_any(to);
	outside = dup(STDIN_FILENO);
	if (inside < 0 || outside < 0) {
		flow_abort(STDIN_FILENO);
		_exit(EXIT_STATUS_NETWORK);
	}
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	if (splice_run(outside, inside, &error) == 0)
		_exit(EXIT_STATUS_DONE);
	log_detail("%s: %s", addr_format(peer, text), error.text);
	_exit((int)error.status);
}

static _Noreturn void run_child(const struct handover *handover, int fd, const struct addr *peer)
{
	setsid();
	signals_restore();
	/* fd may be 0 or 1 itself, when we were started without them; dup2 leaves it open then. */
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		_exit(EXIT_CANNOT_EXEC);
	descriptors_close_from(STDERR_FILENO + 1, -1);
	if (handover->command != NULL)
		run_command(handover->command);
	run_splice(&handover->to, peer);
}

static void run_task(const void *context, const void *request, size_t size, int fd)
{
	struct addr peer;

	if (size != sizeof(peer) || fd < 0)
		return;
	memcpy(&peer, request, sizeof(peer));
	run_child(context, fd, &peer);
}

struct launcher_task handover_task(const struct handover *handover)
{
	return (struct launcher_task){.run = run_task, .context = handover};
}

/* ------------------------------------------------------------- in the parent */

static pid_t *find_free(struct handover *handover)
{
	for (size_t i = 0; i < HANDOVER_MAX; i++)
		if (handover->children[i] == 0)
			return &handover->children[i];
	return NULL;
}

static void log_given(const struct handover *handover, const struct addr *peer, pid_t pid)
{
	char text[ADDR_TEXT_SIZE];
	char name[NAME_SHOWN_SIZE];

	addr_format(peer, text);
	if (handover->command != NULL)
		log_detail("%s goes to %s (pid %d)", text, show_name(handover->command[0], name),
			(int)pid);
	else
		log_detail("%s goes to %s port %u (pid %d)", text,
			show_name(handover->to.host, name), handover->to.port, (int)pid);
}

/* Strangers decide how often: one line until there was room again. */
static void refuse(struct handover *handover, const char *peer, const char *reason)
{
	if (handover->full)
		log_detail("%s closed: %s", peer, reason);
	else
		log_warning("%s closed: %s", peer, reason);
	handover->full = true;
	handover->refused++;
}

void handover_give(struct handover *handover, int fd, const struct addr *peer)
{
	pid_t *child = find_free(handover);
	char text[ADDR_TEXT_SIZE];
	pid_t pid;

	if (child == NULL) {
		refuse(handover, addr_format(peer, text), "too many connections at once");
		close(fd);
		return;
	}
	set_keepalive(fd);
	pid = handover->launcher == NULL
		      ? fork()
		      : launcher_start(handover->launcher, handover->task, peer, sizeof(*peer), fd);
	if (pid == 0)
		run_child(handover, fd, peer);
	if (pid > 0) {
		*child = pid;
		handover->running++;
		handover->full = false;
		log_given(handover, peer, pid);
	} else {
		refuse(handover, addr_format(peer, text), strerror(errno));
	}
	close(fd);
}

void handover_reap(struct handover *handover)
{
	for (size_t i = 0; i < HANDOVER_MAX; i++) {
		pid_t *child = &handover->children[i];
		int status = 0;

		if (*child == 0 || waitpid(*child, &status, WNOHANG) == 0)
			continue;
		if (WIFSIGNALED(status))
			log_detail("pid %d ended by signal %d", (int)*child, WTERMSIG(status));
		else
			log_detail(
				"pid %d ended: exit status %d", (int)*child, WEXITSTATUS(status));
		*child = 0;
		handover->running--;
	}
}

static int open_listener(enum addr_family family, const struct addr *local, const char *interface)
{
	int fd = socket_open(family, SOCK_STREAM, IPPROTO_TCP);
	struct addr addr = *local;
	int problem;

	if (fd < 0)
		return -1;
	addr.family = (uint8_t)family;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0 &&
		(family != ADDR_IPV6 || socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY,
						local->family == ADDR_IPV6) == 0) &&
		(interface == NULL || socket_bind_interface(fd, interface) == 0) &&
		socket_bind(fd, &addr) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	problem = errno;
	close(fd);
	errno = problem;
	return -1;
}

int handover_listen(const struct addr *local, const char *interface, struct error *error)
{
	char text[ADDR_TEXT_SIZE];
	int fd;

	if (local->family != ADDR_NONE) {
		fd = open_listener((enum addr_family)local->family, local, interface);
	} else {
		fd = open_listener(ADDR_IPV6, local, interface);
		if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
			fd = open_listener(ADDR_IPV4, local, interface);
	}
	if (fd >= 0)
		return fd;
	if (local->family == ADDR_NONE)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot listen on port %u: %s",
			local->port, strerror(errno));
	return error_set(error, EXIT_STATUS_LOCAL, "cannot listen on %s: %s",
		addr_format(local, text), strerror(errno));
}

static int accept_one(int listener, struct addr *peer)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	int fd;

	memset(&sockaddr, 0, sizeof(sockaddr));
	fd = accept4(listener, (struct sockaddr *)&sockaddr, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		socket_to_addr(&sockaddr, peer);
	return fd;
}

static void turn_away(struct handover *handover, int listener)
{
	struct addr peer;
	char text[ADDR_TEXT_SIZE];
	int fd;

	handover_end(handover);
	fd = accept_one(listener, &peer);
	if (fd >= 0) {
		close(fd);
		refuse(handover, addr_format(&peer, text), "no descriptor left");
	}
	handover->spare = open(HANDOVER_SPARE_FILE, O_RDONLY | O_CLOEXEC);
}

void handover_accept(struct handover *handover, int listener)
{
	/* A bound on one call; what waits still makes the listener readable. */
	for (int i = 0; i < HANDOVER_MAX; i++) {
		struct addr peer;
		int fd = accept_one(listener, &peer);

		if (fd >= 0)
			handover_give(handover, fd, &peer);
		else if (errno == EMFILE || errno == ENFILE)
			turn_away(handover, listener);
		else if (errno == EAGAIN || errno == EINVAL || errno == EBADF)
			return;
	}
}
