/*
 * The rule for EMFILE and ENFILE: one spare descriptor is kept open. It is closed, the new
 * connection accepted in its place and closed at once, and the spare opened again. So the client
 * learns that there is no room, and the listener does not stay readable, which would make the loop
 * spin. When even that fails, or memory is short, ACCEPT_STARVED asks the caller to stop watching
 * the listeners for a while.
 */
#include "reflector/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/proto/first_bytes.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define BACKLOG      4096 /* the kernel cuts it at net.core.somaxconn */
#define DRAIN_SIZE   4096
#define FULL_TO_GROW 8  /* full batches in a row, before the next may be twice as large */
#define DRAIN_MAX    16 /* reads: a client that sends as fast as we read must not hold up others */

static int set_options(int fd, const struct addr *addr, bool shared)
{
	if (shared && socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		return -1;
	/* A restart must not wait for the TIME_WAIT of the connections that we closed. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	/* Inherited by what is accepted. Answers to pipelined requests must not wait for ACKs. */
	if (socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0)
		return -1;
	if (addr->family == ADDR_IPV6)
		return socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return 0;
}

int accept_listen(const struct addr *addr, bool shared)
{
	int fd = socket_open((enum addr_family)addr->family, SOCK_STREAM, IPPROTO_TCP);
	int saved;

	if (fd < 0)
		return -1;
	if (set_options(fd, addr, shared) == 0 && socket_bind(fd, addr) == 0 &&
		listen(fd, BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int accept_open(struct acceptor *acceptor)
{
	acceptor->spare = open_spare();
	return acceptor->spare < 0 ? -1 : 0;
}

void accept_close(struct acceptor *acceptor)
{
	if (acceptor->spare >= 0)
		close(acceptor->spare);
	acceptor->spare = -1;
}

static int accept_one(int listener, struct addr *peer)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	int fd = accept4(
		listener, (struct sockaddr *)&sockaddr, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		socket_to_addr(&sockaddr, peer);
	return fd;
}

static int turn_away(struct acceptor *acceptor, int listener)
{
	struct addr peer;
	char text[ADDR_TEXT_SIZE];
	int fd;

	if (acceptor->spare < 0)
		acceptor->spare = open_spare();
	if (acceptor->spare < 0)
		return ACCEPT_STARVED;
	close(acceptor->spare);
	fd = accept_one(listener, &peer);
	if (fd >= 0)
		close(fd);
	acceptor->spare = open_spare();
	if (fd < 0)
		return errno == EAGAIN ? ACCEPT_NONE : ACCEPT_STARVED;
	count_one(acceptor->counters, COUNTER_NO_DESCRIPTOR);
	if (log_admits())
		log_detail("tcp %s turned away: no descriptor left", addr_format(&peer, text));
	return ACCEPT_DROPPED;
}

int accept_next(struct acceptor *acceptor, int listener, struct addr *peer)
{
	int fd = accept_one(listener, peer);

	if (fd >= 0) {
		count_one(acceptor->counters, COUNTER_ACCEPTED);
		return fd;
	}
	switch (errno) {
	case EAGAIN:
		return ACCEPT_NONE;
	case EMFILE:
	case ENFILE:
		return turn_away(acceptor, listener);
	case EINTR:
	case ECONNABORTED:
	/* accept(2): errors that were already pending on the new connection. */
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case ETIMEDOUT:
	case EPERM:
		return ACCEPT_DROPPED;
	default:
		return ACCEPT_STARVED;
	}
}

void accept_adapt(struct accept_batch *batch, uint32_t accepted)
{
	if (accepted < batch->size) {
		batch->size = accepted > 0 ? accepted : 1;
		batch->full = 0;
	} else if (++batch->full == FULL_TO_GROW) {
		batch->size =
			batch->size * 2 < ACCEPT_BATCH_MAX ? batch->size * 2 : ACCEPT_BATCH_MAX;
		batch->full = 0;
	}
}

void accept_answer_text(const struct acceptor *acceptor, int fd, const struct addr *peer)
{
	char line[FIRST_BYTES_LINE_SIZE];
	char drain[DRAIN_SIZE];
	char text[ADDR_TEXT_SIZE];
	size_t size = first_bytes_write_line(peer, line);
	bool sent = socket_send_last(fd, line, size);

	/* Closing with bytes unread would send a RST, which can overtake the line. */
	for (int i = 0; i < DRAIN_MAX; i++)
		if (recv(fd, drain, sizeof(drain), 0) != (ssize_t)sizeof(drain))
			break;
	close(fd);
	count_one(acceptor->counters, COUNTER_LINE_REQUESTS);
	count_many(acceptor->counters, COUNTER_LINE_ANSWERS, sent ? 1 : 0);
	count_one(acceptor->counters, COUNTER_ENDED_DONE);
	if (log_admits())
		log_detail("tcp %s dialled, %s", addr_format(peer, text),
			sent ? "line sent" : "gone before the line");
}
