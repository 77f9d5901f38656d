#include "natpunch/os/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_SIZE (64 * 1024) /* what a pipe holds unless told otherwise, see pipe(7) */

const struct sandbox_call flow_calls[] = {
	SANDBOX_CALL(pipe2),
	SANDBOX_CALL(splice),
	SANDBOX_CALL(shutdown),
	SANDBOX_END,
};

int flow_open(struct flow *flow, int from, int to)
{
	*flow = (struct flow){.from = from, .to = to};
	if (pipe2(flow->pipe, O_CLOEXEC | O_NONBLOCK) == 0)
		return 0;
	flow->pipe[0] = flow->pipe[1] = -1;
	return -1;
}

void flow_close(struct flow *flow)
{
	for (int i = 0; i < 2; i++) {
		if (flow->pipe[i] >= 0)
			close(flow->pipe[i]);
		flow->pipe[i] = -1;
	}
}

static ssize_t move(int from, int to, size_t size)
{
	ssize_t moved;

	do
		moved = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (moved < 0 && errno == EINTR);
	return moved;
}

/* Passes the FIN on. A side that is gone already shows at its own flow. */
static void end(struct flow *flow)
{
	flow->ended = true;
	shutdown(flow->to, SHUT_WR);
}

static enum flow_result drain(struct flow *flow)
{
	ssize_t moved = move(flow->pipe[0], flow->to, flow->held);

	if (moved < 0)
		return errno == EAGAIN ? FLOW_WAITING : FLOW_BROKEN;
	if (moved == 0) {
		errno = EPIPE;
		return FLOW_BROKEN;
	}
	flow->held -= (size_t)moved;
	flow->passed += (uint64_t)moved;
	return FLOW_MORE;
}

static enum flow_result fill(struct flow *flow)
{
	ssize_t moved = move(flow->from, flow->pipe[1], CHUNK_SIZE);

	if (moved < 0)
		return errno == EAGAIN ? FLOW_WAITING : FLOW_BROKEN;
	if (moved > 0)
		flow->held = (size_t)moved;
	else
		end(flow);
	return FLOW_MORE;
}

enum flow_result flow_advance(struct flow *flow, unsigned turns)
{
	enum flow_result result = FLOW_MORE;

	while (result == FLOW_MORE && !flow->ended) {
		if (turns == 0)
			return FLOW_MORE;
		if (turns != FLOW_ENDLESS)
			turns--;
		result = flow->held > 0 ? drain(flow) : fill(flow);
	}
	return flow->ended ? FLOW_ENDED : result;
}

void flow_abort(int fd)
{
	/* close(2) then sends RST instead of FIN, see SO_LINGER in socket(7). */
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}
