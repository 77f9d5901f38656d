#include "home/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/flow.h"
#include "natpunch/os/socket.h"

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
			if (fds[i].revents != 0 &&
				flow_advance(&flows[i], FLOW_ENDLESS) == FLOW_BROKEN)
				return -1;
	}
	return 0;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return -1;
	/* Fails on a socket that is not of TCP, which delays nothing. */
	socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return 0;
}

int splice_run(int one, int other, struct error *error)
{
	struct flow flows[2];
	int result = 0;

	if (flow_open(&flows[0], one, other) != 0)
		result = -1;
	if (flow_open(&flows[1], other, one) != 0 || prepare(one) != 0 || prepare(other) != 0)
		result = -1;
	if (result == 0)
		result = pump(flows);
	if (result != 0)
		error_set(
			error, EXIT_STATUS_NETWORK, "the connection was cut: %s", strerror(errno));
	flow_close(&flows[0]);
	flow_close(&flows[1]);
	if (result == 0) {
		close(one);
		close(other);
		return 0;
	}
	flow_abort(one);
	flow_abort(other);
	return -1;
}
