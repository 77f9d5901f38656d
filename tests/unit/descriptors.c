/*
 * The limit of descriptors is raised, as far as it may be, and never lowered. Standard input and
 * output are never somebody else's.
 */
#include "natpunch/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

static void set(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		bail_out("setrlimit");
}

static rlim_t soft_limit(void)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

/* Without privileges, in a child; the exit status says whether it went as it should. */
static bool hard_limit_holds(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
			_exit(2);
		_exit(descriptors_reserve(300) == 200 && soft_limit() == 200 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* In a child that was started without any of the three. */
static bool standard_is_filled(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		if (descriptors_fill_standard() != 0)
			_exit(2);
		for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
			if (write(fd, "x", 1) != -1 || errno != EBADF)
				_exit(3);
		_exit(open("/dev/null", O_RDONLY) > STDERR_FILENO ? 0 : 4);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What is open stays as it is, and nothing else is left open. */
static bool open_standard_stays(void)
{
	int before = dup(STDOUT_FILENO);
	int after;

	close(before);
	if (descriptors_fill_standard() != 0)
		return false;
	after = dup(STDOUT_FILENO);
	close(after);
	return after == before;
}

int main(void)
{
	ok(standard_is_filled(), "closed standard descriptors go to nobody");
	ok(open_standard_stays(), "and open ones are left alone");
	set(64, 200);
	is_uint(descriptors_reserve(10), 64, "enough already");
	is_uint(soft_limit(), 64, "so it stays");
	is_uint(descriptors_reserve(100), 100, "raised");
	is_uint(soft_limit(), 100, "by the kernel's word");
	ok(hard_limit_holds(), "up to the hard limit, where that may not be raised");
	return done_testing();
}
