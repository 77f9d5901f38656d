/*
 * How a connection is handed over.
 *
 * States: each place in the table is free (pid 0), or has a child and its connection (`fd`). A
 * stranger's place is `watched` until its client has sent something. A place that has YIELDED waits
 * for its child to end, and does not count any more.
 *
 * Events:
 *   a connection, accepted or given   the launcher, or fork(2), makes a child that gets it.
 *   no place, and it was invited      the connection that has been dead (keepalive.h) for longest
 *                                     is shut down, and its place is YIELDED.
 *   no place, or no child             the connection is closed and counted, with a warning a minute
 *                                     at most. An invited initiator is told by a line (RFC 4253
 *                                     section 4.2).
 *   no descriptor                     the spare one is given up to accept the connection and close
 *                                     it.
 *   SIGCHLD                           handover_reap() frees the places whose children ended.
 *   in the child                      the child executes the command; or it looks up the address,
 *                                     connects to it and splices. If that fails, it aborts the
 *                                     connection. Without an address, the child finds in the socket
 *                                     tables where the port's server listens: the server may have
 *                                     been started again at another address.
 *
 * Timers: `look_at`, each LOOK_MS while there is a stranger whose client has sent nothing. When
 * neither end has sent anything for `silence_ms`, the connection is shut down, and the child ends
 * as at any end. If the server speaks first, its client's time begins again with each byte of the
 * server's. TCP keep-alives (keepalive.h) find a peer that is gone: its connection ends after some
 * 53 minutes, or sooner when an invited initiator needs its place.
 *
 * Each connection that came from outside belongs to a child of ours, as its standard input and
 * output. We keep it open too, to ask the kernel whether its peer is there and to shut it down,
 * until the child ends. So a command ends its connection by its own end, or by shutdown(2);
 * close(2) alone does not end it. The child knows nothing of us, and is told nothing: it outlives
 * our restart, and then no place is counted for it.
 *
 * The table of children bounds what others can make this machine do. The children are counted and
 * reaped one by one, by pid, as the hook and the resolver have children as well.
 *
 * Threat: strangers that connect to the listener and want all places. So invited initiators, which
 * have the key, have places that strangers do not get; each source and each site (rate_limit.h) has
 * its share of the others; and when those are scarce, a source with few of them comes before one
 * with many. A stranger that connects from an address where an initiator is expected counts as that
 * initiator, which may have reached the listener by itself. No stranger's coming ends a connection,
 * and no connection whose peer answers is ended to make room.
 */
#include "natpunch/home/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/base/rate_limit.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/flow.h"
#include "natpunch/os/keepalive.h"
#include "natpunch/os/log.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/program.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "home/splice.h"
#include "natpunch/base/text.h"

#define BACKLOG          64
#define EXIT_CANNOT_EXEC 127
#define NAME_SHOWN_SIZE  320
#define LOOK_MS          1000
#define WARNING_PAUSE_MS 60000
#define NO_ROOM          "too many connections at once"

void handover_init(struct handover *handover, char *const *command, const struct host_port *to)
{
	memset(handover, 0, sizeof(*handover));
	handover->command = command;
	if (to != NULL)
		handover->to = *to;
	handover->spare = open(HANDOVER_SPARE_FILE, O_RDONLY | O_CLOEXEC);
	handover->silence_ms = HANDOVER_SILENCE_MS;
	handover->dead_ms = KEEPALIVE_DEAD_MS;
	handover->look_at = TIMER_NONE;
	for (size_t i = 0; i < HANDOVER_PLACES; i++)
		handover->places[i].fd = -1;
}

static void close_spare(struct handover *handover)
{
	if (handover->spare >= 0)
		close(handover->spare);
	handover->spare = -1;
}

static void let_go(struct handover_place *place)
{
	if (place->fd >= 0)
		close(place->fd);
	place->fd = -1;
	place->watched = false;
}

void handover_end(struct handover *handover)
{
	for (size_t i = 0; i < HANDOVER_PLACES; i++)
		let_go(&handover->places[i]);
	close_spare(handover);
}

static const char *show_name(const char *name, char out[NAME_SHOWN_SIZE])
{
	return text_escape(out, NAME_SHOWN_SIZE, name, strlen(name));
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
	char reason[PROGRAM_REASON_SIZE];

	if (set_blocking(STDIN_FILENO) == 0 && privileges_clear_inheritable() == 0)
		execv(command[0], command);
	program_explain(command[0], errno, reason);
	log_error("cannot run %s: %s", show_name(command[0], name), reason);
	/* Closed in order, the connection would be a session in which the server sent nothing. */
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

/* Returns a socket that is connected to the first address that accepts, or -1 and errno. */
static int connect_to_any(const struct addr *addrs, size_t count)
{
	int fd = -1;

	for (size_t i = 0; i < count && fd < 0; i++)
		fd = connect_to(&addrs[i]);
	return fd;
}

/* Tries the addresses of the name in the resolver's order. */
static int connect_to_host(const struct host_port *to)
{
	struct resolve resolve;
	struct error error;
	char name[NAME_SHOWN_SIZE];
	int fd;

	resolve_start(&resolve, to->host, to->port, ADDR_NONE);
	resolve_wait(&resolve, to->host, TIMER_NONE, &error);
	fd = connect_to_any(resolve.found, resolve.count);
	if (fd < 0)
		log_warning("cannot hand over to %s port %u: %s", show_name(to->host, name),
			to->port, resolve.count > 0 ? strerror(errno) : resolve.error.text);
	resolve_end(&resolve);
	return fd;
}

/* Connects to the server of the port, at the address that `outside` came to if it listens there. */
static int connect_to_server(uint16_t port, int outside)
{
	struct addr found[PORT_OWNER_SERVER_MAX];
	struct addr at = {.family = ADDR_NONE};
	char text[ADDR_TEXT_SIZE];
	size_t count;
	int fd;

	if (socket_local(outside, &at) != 0)
		at.family = ADDR_NONE;
	count = port_owner_find_server(port, &at, found);
	fd = connect_to_any(found, count);
	if (fd < 0 && count == 0)
		log_warning("cannot hand over: nothing listens on port %u", port);
	else if (fd < 0)
		log_warning("cannot hand over to %s: %s", addr_format(&found[count - 1], text),
			strerror(errno));
	return fd;
}

static _Noreturn void run_splice(const struct host_port *to, const struct addr *peer)
{
	struct error error;
	char text[ADDR_TEXT_SIZE];
	int outside, inside;

	signal(SIGPIPE, SIG_IGN);
	inside = to->host[0] != '\0' ? connect_to_host(to)
				     : connect_to_server(to->port, STDIN_FILENO);
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

static struct handover_place *find_free(struct handover *handover)
{
	for (size_t i = 0; i < HANDOVER_PLACES; i++)
		if (handover->places[i].pid == 0)
			return &handover->places[i];
	return NULL;
}

/* How many places strangers have: all of them, those of the same source, those of the same site. */
struct share {
	size_t all;
	size_t source;
	size_t site;
};

static struct share count_strangers(const struct handover *handover, const struct addr *peer)
{
	struct addr site = rate_limit_site(peer);
	struct share share = {.all = 0};

	for (size_t i = 0; i < HANDOVER_PLACES; i++) {
		const struct handover_place *place = &handover->places[i];
		struct addr other = rate_limit_site(&place->peer);

		if (place->pid == 0 || place->yielded || place->invited)
			continue;
		share.all++;
		share.source += rate_limit_same_source(&place->peer, peer);
		share.site += rate_limit_same_source(&other, &site);
	}
	return share;
}

static bool has_share(const struct handover *handover, const struct addr *peer)
{
	struct share share = count_strangers(handover, peer);

	if (share.all >= HANDOVER_STRANGERS)
		return false;
	if (share.all >= HANDOVER_SCARCE)
		return share.source < HANDOVER_SOURCE_FEW && share.site < HANDOVER_SITE_FEW;
	return share.source < HANDOVER_SOURCE_MAX && share.site < HANDOVER_SITE_MAX;
}

/* Ends the connection that has been dead for longest, and no longer counts its place. */
static bool end_dead(struct handover *handover)
{
	struct handover_place *found = NULL;
	uint32_t longest = 0;
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < HANDOVER_PLACES; i++) {
		struct handover_place *place = &handover->places[i];
		uint32_t since = place->fd >= 0 && !place->yielded
					 ? keepalive_dead_ms(place->fd, handover->dead_ms)
					 : 0;

		if (since > longest) {
			longest = since;
			found = place;
		}
	}
	if (found == NULL)
		return false;
	log_note("%s ended: it has not answered for %u s, and another session needs its place",
		addr_format(&found->peer, text), longest / 1000);
	shutdown(found->fd, SHUT_RDWR);
	found->watched = false;
	found->yielded = true;
	handover->running--;
	handover->yielded++;
	return true;
}

/* Is there room for another connection, or has a dead one made room? */
static bool has_room(struct handover *handover, const struct addr *peer, bool invited)
{
	if (find_free(handover) == NULL)
		return false;
	if (!invited)
		return handover->running < HANDOVER_MAX && has_share(handover, peer);
	return handover->running < HANDOVER_MAX || end_dead(handover);
}

static void log_given(const struct handover *handover, const struct addr *peer, pid_t pid)
{
	char text[ADDR_TEXT_SIZE];
	char name[NAME_SHOWN_SIZE];

	addr_format(peer, text);
	if (handover->command != NULL)
		log_detail("%s goes to %s (pid %d)", text, show_name(handover->command[0], name),
			(int)pid);
	else if (handover->to.host[0] != '\0')
		log_detail("%s goes to %s port %u (pid %d)", text,
			show_name(handover->to.host, name), handover->to.port, (int)pid);
	else
		log_detail("%s goes to the server of port %u (pid %d)", text, handover->to.port,
			(int)pid);
}

/* Strangers decide how often this happens: one warning a minute. */
static void refuse(struct handover *handover, const char *peer, const char *reason, uint64_t now)
{
	if (now < handover->quiet_until) {
		log_detail("%s closed: %s", peer, reason);
	} else {
		log_warning("%s closed: %s", peer, reason);
		handover->quiet_until = now + WARNING_PAUSE_MS;
	}
	handover->refused++;
}

static void watch_stranger(struct handover *handover, struct handover_place *place, uint64_t now)
{
	uint64_t pause = handover->silence_ms < LOOK_MS ? handover->silence_ms : LOOK_MS;

	place->watched = true;
	if (handover->look_at == TIMER_NONE)
		handover->look_at = now + pause;
}

/*
 * An invited initiator has the key, and may know the reason. ssh(1) shows lines before a server's
 * version with -v.
 */
static void refuse_for_room(
	struct handover *handover, int fd, const struct addr *peer, bool invited, uint64_t now)
{
	static const char line[] = "natpunch probe: " NO_ROOM "\r\n";
	char text[ADDR_TEXT_SIZE];

	refuse(handover, addr_format(peer, text), NO_ROOM, now);
	if (invited)
		socket_send_last(fd, line, sizeof(line) - 1);
	close(fd);
}

/* Afterwards the place owns `fd`, or it is closed. */
static void give(
	struct handover *handover, int fd, const struct addr *peer, bool invited, uint64_t now)
{
	struct handover_place *place;
	char text[ADDR_TEXT_SIZE];
	pid_t pid;

	if (!has_room(handover, peer, invited)) {
		refuse_for_room(handover, fd, peer, invited, now);
		return;
	}
	place = find_free(handover);
	keepalive_start(fd);
	pid = handover->launcher == NULL
		      ? fork()
		      : launcher_start(handover->launcher, handover->task, peer, sizeof(*peer), fd);
	if (pid == 0)
		run_child(handover, fd, peer);
	if (pid < 0) {
		refuse(handover, addr_format(peer, text), strerror(errno), now);
		close(fd);
		return;
	}
	*place = (struct handover_place){.pid = pid, .peer = *peer, .invited = invited, .fd = fd};
	handover->running++;
	log_given(handover, peer, pid);
	if (!invited)
		watch_stranger(handover, place, now);
}

void handover_give(struct handover *handover, int fd, const struct addr *peer, uint64_t now)
{
	give(handover, fd, peer, true, now);
}

void handover_expect(struct handover *handover, const struct addr *initiator, uint64_t now)
{
	struct handover_guest *guest = &handover->guests[handover->guest_next];

	*guest = (struct handover_guest){.addr = *initiator, .until = now + HANDOVER_GUEST_MS};
	handover->guest_next = (handover->guest_next + 1) % HANDOVER_GUEST_MAX;
}

static bool is_expected(const struct handover *handover, const struct addr *peer, uint64_t now)
{
	for (size_t i = 0; i < HANDOVER_GUEST_MAX; i++)
		if (handover->guests[i].until > now &&
			rate_limit_same_source(&handover->guests[i].addr, peer))
			return true;
	return false;
}

uint64_t handover_due(const struct handover *handover)
{
	return handover->look_at;
}

/* Ends watching if the client has sent something, and the connection after too long a silence. */
static void look(const struct handover *handover, struct handover_place *place)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);
	char text[ADDR_TEXT_SIZE];

	memset(&info, 0, sizeof(info));
	if (getsockopt(place->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
		info.tcpi_bytes_received > 0) {
		place->watched = false;
		return;
	}
	if (info.tcpi_last_data_sent < handover->silence_ms)
		return;
	log_detail("%s ended: it said nothing for %g s", addr_format(&place->peer, text),
		(double)handover->silence_ms / 1000);
	shutdown(place->fd, SHUT_RDWR);
	place->watched = false;
}

void handover_expire(struct handover *handover, uint64_t now)
{
	if (now < handover->look_at)
		return;
	handover->look_at = TIMER_NONE;
	for (size_t i = 0; i < HANDOVER_PLACES; i++) {
		struct handover_place *place = &handover->places[i];

		if (place->watched)
			look(handover, place);
		if (place->watched)
			watch_stranger(handover, place, now);
	}
}

void handover_reap(struct handover *handover)
{
	for (size_t i = 0; i < HANDOVER_PLACES; i++) {
		struct handover_place *place = &handover->places[i];
		int status = 0;

		if (place->pid == 0 || waitpid(place->pid, &status, WNOHANG) == 0)
			continue;
		if (WIFSIGNALED(status))
			log_detail("pid %d ended by signal %d", (int)place->pid, WTERMSIG(status));
		else
			log_detail("pid %d ended: exit status %d", (int)place->pid,
				WEXITSTATUS(status));
		let_go(place);
		place->pid = 0;
		handover->running -= place->yielded ? 0 : 1;
		place->yielded = false;
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

static void turn_away(struct handover *handover, int listener, uint64_t now)
{
	struct addr peer;
	char text[ADDR_TEXT_SIZE];
	int fd;

	close_spare(handover);
	fd = accept_one(listener, &peer);
	if (fd >= 0) {
		close(fd);
		refuse(handover, addr_format(&peer, text), "no descriptor left", now);
	}
	handover->spare = open(HANDOVER_SPARE_FILE, O_RDONLY | O_CLOEXEC);
}

void handover_accept(struct handover *handover, int listener, uint64_t now)
{
	/* A bound on one call: the listener stays readable while connections wait. */
	for (int i = 0; i < HANDOVER_MAX; i++) {
		struct addr peer;
		int fd = accept_one(listener, &peer);

		if (fd >= 0)
			give(handover, fd, &peer, is_expected(handover, &peer, now), now);
		else if (errno == EMFILE || errno == ENFILE)
			turn_away(handover, listener, now);
		else if (errno == EAGAIN || errno == EINVAL || errno == EBADF)
			return;
	}
}
