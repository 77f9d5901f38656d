#include "natpunch/os/random.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#ifndef NATPUNCH_PORTABLE
#include <sys/random.h>
#else
#include <fcntl.h>
#endif

#include "natpunch/base/error.h"
#include "natpunch/os/log.h"

#ifndef NATPUNCH_PORTABLE
static ssize_t get_some(void *out, size_t size)
{
	return getrandom(out, size, 0);
}
#else /* POSIX has no source of random bytes; every system has this one */
static ssize_t get_some(void *out, size_t size)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -1 : read(fd, out, size);
}
#endif

/* No caller can go on: nonces and keys that can be guessed are worse than none. */
static void give_up(int number)
{
	log_error("cannot get random bytes: %s", strerror(number));
	_exit(EXIT_STATUS_LOCAL);
}

void random_fill(void *out, size_t size)
{
	uint8_t *next = out;

	while (size > 0) {
		ssize_t got = get_some(next, size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			give_up(got == 0 ? EIO : errno);
		next += got;
		size -= (size_t)got;
	}
}

uint32_t random_below(uint32_t bound)
{
	/* Values below this remainder would make the low results a little likelier. */
	uint32_t skip = (uint32_t)(-bound) % bound;
	uint32_t value;

	do
		random_fill(&value, sizeof(value));
	while (value < skip);
	return value % bound;
}
