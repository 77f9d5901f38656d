/*
 * A process that may have few descriptors open waits for one among many entries.
 */
#include "natpunch/os/watch.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tap.h"

#define ENTRIES 600
#define LIMIT   32

static struct pollfd fds[ENTRIES];

static void fill(int first, int last)
{
	for (size_t i = 0; i < ENTRIES; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = POLLHUP};
	fds[3].fd = first;
	fds[ENTRIES - 1].fd = last;
}

int main(void)
{
	const struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
	int quiet[2], told[2];
	size_t events = 0;

	if (pipe(quiet) != 0 || pipe(told) != 0 || write(told[1], "x", 1) != 1 ||
		setrlimit(RLIMIT_NOFILE, &limit) != 0)
		bail_out("%s", strerror(errno));
	fill(quiet[0], told[0]);
	is_int(poll(fds, ENTRIES, 0), -1, "poll(2) takes no more entries than there may be open");
	is_int(watch_poll(fds, ENTRIES, 1000), 1, "one has an event");
	is_int(fds[ENTRIES - 1].revents, POLLIN, "the last");
	is_int(fds[ENTRIES - 1].fd, told[0], "in its place");
	is_int(fds[3].fd, quiet[0], "and the other one in its own");
	for (size_t i = 0; i < ENTRIES; i++)
		events += fds[i].revents != 0;
	is_uint(events, 1, "no other has one");
	fill(quiet[0], -1);
	is_int(watch_poll(fds, ENTRIES, 0), 0, "none");
	is_int(watch_poll(fds, WATCH_POLL_MAX + 1, 0), -1, "too many entries are refused");
	return done_testing();
}
