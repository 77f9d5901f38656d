#include "natpunch/descriptors.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t descriptors_reserve(uint64_t wanted)
{
	struct rlimit limit;
	struct rlimit raised;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	if (limit.rlim_cur >= wanted)
		return limit.rlim_cur;
	raised.rlim_cur = wanted;
	raised.rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		return wanted;
	raised.rlim_cur = limit.rlim_max;
	raised.rlim_max = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		return raised.rlim_cur;
	return limit.rlim_cur;
}

int descriptors_fill_standard(void)
{
	int fd;

	/* Each gets the lowest number that is free. O_PATH allows neither reading nor writing. */
	do
		fd = open("/", O_PATH | O_DIRECTORY);
	while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

/* close_range(2) is of Linux 5.9, and not every C library of that age has a function for it. */
static bool close_range_call(unsigned first, unsigned last)
{
#ifdef SYS_close_range
	return first > last || syscall(SYS_close_range, first, last, 0) == 0;
#else
	return first > last;
#endif
}

void descriptors_close_from(int first, int keep)
{
	struct rlimit limit = {.rlim_cur = 1024};
	int last;

	if (keep < first) {
		if (close_range_call((unsigned)first, UINT_MAX))
			return;
	} else if (close_range_call((unsigned)first, (unsigned)keep - 1) &&
		   close_range_call((unsigned)keep + 1, UINT_MAX)) {
		return;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	last = limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
	for (int fd = first; fd < last; fd++)
		if (fd != keep)
			close(fd);
}
