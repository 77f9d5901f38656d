/*
 * Two flows, one for each direction, each with a pipe of its own. A flow is in one of these states:
 *
 *   FILLING   the pipe is empty; waits for `from` to be readable
 *   DRAINING  the pipe holds something; waits for `to` to be writable
 *   ENDED     `from` has sent FIN, all before it was passed on, and so was the FIN
 *
 * A flow never reads while its pipe holds something. So splice(2) out of a socket cannot fail for a
 * full pipe, whose room is counted in fragments and not in bytes, EAGAIN means one thing only, and
 * poll(2) has one descriptor to watch in each state: no spinning on a side that is ready for what
 * nobody wants. The sockets' own buffers keep both sides busy meanwhile. Back-pressure needs
 * nothing more: who does not read keeps his flow in DRAINING, and the sender's window fills up.
 */
#include "natpunch/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/socket.h"

#define CHUNK_SIZE (64 * 1024) /* what a pipe holds unless told otherwise, see pipe(7) */

struct flow {
	int from;
	int to;
	int pipe[2];
	size_t held; /* bytes in the pipe */
	bool ended;
};

static ssize_t move(int from, int to, size_t size)
{
	ssize_t moved;

	do
		moved = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (moved < 0 && errno == EINTR);
	return moved;
}

/* Passes the FIN on. A side that is gone already shows at its own flow. */
static void end_flow(struct flow *flow)
{
	flow->ended = true;
	shutdown(flow->to, SHUT_WR);
}

/* Returns 0 when there is nothing more to do for now, or -1 and errno. */
static int advance(struct flow *flow)
{
	ssize_t moved;

	while (!flow->ended) {
		if (flow->held > 0)
			moved = move(flow->pipe[0], flow->to, flow->held);
		else
			moved = move(flow->from, flow->pipe[1], CHUNK_SIZE);
		if (moved < 0)
			return errno == EAGAIN ? 0 : -1;
		if (moved == 0 && flow->held > 0) {
			errno = EPIPE;
			return -1;
		}
		if (flow->held > 0)
			flow->held -= (size_t)moved;
		else if (moved > 0)
			flow->held = (size_t)moved;
		else
			end_flow(flow);
	}
	return 0;
}

static struct pollfd watch(const struct flow *flow)
{
	if (flow->ended)
		return (struct pollfd){.fd = -1};
	if (flow->held > 0)
		return (struct pollfd){.fd = flow->to, .events = POLLOUT};
	return (struct pollfd){.fd = flow->from, .events = POLLIN};
}

static int pump(struct flow flows[2])
{
	while (!flows[0].ended || !flows[1].ended) {
		struct pollfd fds[2] = {watch(&flows[0]), watch(&flows[1])};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -1;
		for (int i = 0; i < 2; i++)
			if (fds[i].revents != 0 && advance(&flows[i]) != 0)
				return -1;
	}
	return 0;
}

static int open_flow(struct flow *flow, int from, int to)
{
	*flow = (struct flow){.from = from, .to = to};
	if (pipe2(flow->pipe, O_CLOEXEC | O_NONBLOCK) == 0)
		return 0;
	flow->pipe[0] = flow->pipe[1] = -1;
	return -1;
}

static void close_flow(const struct flow *flow)
{
	if (flow->pipe[0] >= 0)
		close(flow->pipe[0]);
	if (flow->pipe[1] >= 0)
		close(flow->pipe[1]);
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return -1;
	/* Not TCP: nothing to be delayed. */
	socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return 0;
}

/* close(2) then sends RST instead of FIN, see SO_LINGER in socket(7). */
static void abort_on_close(int fd)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

int splice_run(int one, int other, struct error *error)
{
	struct flow flows[2];
	int result = 0;

	if (open_flow(&flows[0], one, other) != 0)
		result = -1;
	if (open_flow(&flows[1], other, one) != 0 || prepare(one) != 0 || prepare(other) != 0)
		result = -1;
	if (result == 0)
		result = pump(flows);
	if (result != 0) {
		error_set(error, EXIT_STATUS_NETWORK, "connection cut: %s", strerror(errno));
		abort_on_close(one);
		abort_on_close(other);
	}
	close_flow(&flows[0]);
	close_flow(&flows[1]);
	close(one);
	close(other);
	return result;
}
