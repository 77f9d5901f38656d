#include "natpunch/os/descriptors.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/base/parse.h"

#define BLIND_MAX 65536 /* closed one by one where the kernel has neither the call nor /proc */

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

/* close_range(2) is of Linux 5.9, and not every C library of that age has a function for it. */
static bool close_range_call(unsigned first, unsigned last)
{
#ifdef SYS_close_range
	return first > last || syscall(SYS_close_range, first, last, 0) == 0;
#else
	return first > last;
#endif
}

/* The limit may be a thousand million, so the list of what is open is read instead. */
static bool close_listed(int first, int keep)
{
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;
	uint64_t fd;

	if (list == NULL)
		return false;
	while ((entry = readdir(list)) != NULL)
		if (parse_number(entry->d_name, (uint64_t)first, INT_MAX, &fd) == 0 &&
			(int)fd != keep && (int)fd != dirfd(list))
			close((int)fd);
	closedir(list);
	return true;
}

void descriptors_close_from(int first, int keep)
{
	if (keep < first) {
		if (close_range_call((unsigned)first, UINT_MAX))
			return;
	} else if (close_range_call((unsigned)first, (unsigned)keep - 1) &&
		   close_range_call((unsigned)keep + 1, UINT_MAX)) {
		return;
	}
	if (close_listed(first, keep))
		return;
	for (int fd = first; fd < BLIND_MAX; fd++)
		if (fd != keep)
			close(fd);
}
