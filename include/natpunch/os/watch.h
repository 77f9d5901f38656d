/*
 * watch.h - waits for any of many descriptors, most of which are not there.
 */
#ifndef NATPUNCH_OS_WATCH_H
#define NATPUNCH_OS_WATCH_H

#include <poll.h>
#include <stddef.h>

#define WATCH_POLL_MAX 1024

/*
 * As poll(2), except that `count`, WATCH_POLL_MAX at most, may be more than RLIMIT_NOFILE: entries
 * without a descriptor (-1) do not count. When it fails, no entry has an event.
 */
int watch_poll(struct pollfd *fds, size_t count, int timeout_ms);

#endif
