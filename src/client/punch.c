#include "natpunch/client/punch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"

static void fail(struct punch *punch)
{
	punch->state = PUNCH_FAILED;
	punch->due = TIMER_NONE;
}

/* Another socket, a little later; or the end, when that would be too late. */
static void retry(struct punch *punch, int problem, uint64_t now)
{
	uint64_t next = now + PUNCH_RETRY_MS + random_below(PUNCH_RETRY_MS + 1);

	if (punch->fd >= 0)
		close(punch->fd);
	punch->fd = -1;
	punch->problem = problem;
	punch->due = next;
	if (punch->once || next >= punch->give_up)
		fail(punch);
}

static void try_once(struct punch *punch, uint64_t now)
{
	punch->fd = punch->open(punch->context, &punch->remote);
	if (punch->fd >= 0 || errno != EAGAIN)
		punch->tries++;
	if (punch->fd < 0)
		retry(punch, errno, now);
	else
		punch->due = punch->give_up;
}

void punch_start(struct punch *punch, const struct addr *remote, punch_opener *open, void *context,
	uint64_t start, uint64_t timeout_ms, uint64_t now)
{
	memset(punch, 0, sizeof(*punch));
	punch->state = PUNCH_TRYING;
	punch->remote = *remote;
	punch->open = open;
	punch->context = context;
	punch->fd = -1;
	punch->give_up = (start > now ? start : now) + timeout_ms;
	if (start > now)
		punch->due = start;
	else
		try_once(punch, now);
}

int punch_fd(const struct punch *punch)
{
	return punch->state == PUNCH_TRYING ? punch->fd : -1;
}

void punch_advance(struct punch *punch, bool happened, uint64_t now)
{
	int problem;

	if (punch->state != PUNCH_TRYING)
		return;
	if (happened && punch->fd >= 0) {
		problem = socket_take_error(punch->fd);
		if (problem == 0) {
			punch->state = PUNCH_OPEN;
			punch->due = TIMER_NONE;
			return;
		}
		retry(punch, problem, now);
		return;
	}
	if (now < punch->due)
		return;
	if (punch->fd < 0 && now < punch->give_up) {
		try_once(punch, now);
		return;
	}
	if (punch->fd >= 0)
		close(punch->fd);
	punch->fd = -1;
	punch->problem = punch->problem != 0 ? punch->problem : ETIMEDOUT;
	fail(punch);
}

int punch_take(struct punch *punch)
{
	int fd = punch->fd;

	punch->fd = -1;
	punch->state = PUNCH_NONE;
	return fd;
}

void punch_end(struct punch *punch)
{
	if (punch->state != PUNCH_NONE && punch->fd >= 0)
		close(punch->fd);
	punch->fd = -1;
	punch->state = PUNCH_NONE;
}
