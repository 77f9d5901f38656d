#include "natpunch/os/watch.h"

#include <errno.h>
#include <stdbool.h>

/* Moves those that have a descriptor to the front. Returns how many they are. */
static size_t gather(struct pollfd *fds, size_t count, bool is_there[WATCH_POLL_MAX])
{
	size_t there = 0;

	for (size_t i = 0; i < count; i++) {
		is_there[i] = fds[i].fd >= 0;
		if (is_there[i])
			fds[there++] = fds[i];
	}
	return there;
}

/* And back, from the last one on. */
static void spread(
	struct pollfd *fds, size_t count, const bool is_there[WATCH_POLL_MAX], size_t there)
{
	for (size_t i = count; i-- > 0;)
		fds[i] = is_there[i] ? fds[--there] : (struct pollfd){.fd = -1};
}

int watch_poll(struct pollfd *fds, size_t count, int timeout_ms)
{
	bool is_there[WATCH_POLL_MAX];
	size_t there;
	int result, problem;

	if (count > WATCH_POLL_MAX) {
		errno = EINVAL;
		return -1;
	}
	there = gather(fds, count, is_there);
	for (size_t i = 0; i < there; i++)
		fds[i].revents = 0;
	result = poll(fds, (nfds_t)there, timeout_ms);
	problem = errno;
	for (size_t i = 0; i < there && result < 0; i++)
		fds[i].revents = 0;
	spread(fds, count, is_there, there);
	errno = problem;
	return result;
}
