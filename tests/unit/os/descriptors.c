/*
 * The limit of descriptors is raised, as far as it may be, and never lowered; all are closed, by a
 * new kernel and by one that has no call for it; standard input and output are nobody else's.
 */
#include "natpunch/os/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/startup.h"
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

/* From here on close_range(2) is answered as by a kernel before Linux 5.9. */
static int become_old(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		return -1;
	return syscall(SYS_close_range, 1000, 1000, 0) < 0 && errno == ENOSYS ? 0 : -1;
}

/* In a child with 3 to 9 and 60 open; tells which are left, lowest bit for 0. */
static int left_open(bool old, int first, int keep)
{
	int status = 0;
	int wrong = 0;
	pid_t child = fork();

	if (child != 0) {
		waitpid(child, &status, 0);
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	for (int fd = 3; fd < 10; fd++)
		dup2(STDERR_FILENO, fd);
	dup2(STDERR_FILENO, 60);
	if (old && become_old() != 0)
		_exit(99);
	descriptors_close_from(first, keep);
	for (int fd = 0; fd < 64; fd++) {
		bool was_open = fd < 10 || fd == 60;
		bool is_open = fcntl(fd, F_GETFD) >= 0;
		wrong += is_open != (was_open && (fd < first || fd == keep));
	}
	_exit(wrong);
}

/* In a child that was started without any of the three. */
static bool standard_is_filled(void)
{
	int status = 0;
	struct error error;
	pid_t child = fork();

	if (child == 0) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		if (startup_fill_descriptors(&error) != 0)
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
	struct error error;
	int after;

	close(before);
	if (startup_fill_descriptors(&error) != 0)
		return false;
	after = dup(STDOUT_FILENO);
	close(after);
	return after == before;
}

/* In a child that may not open anything more. */
static int fill_without_room(struct error *error)
{
	struct rlimit none = {0};
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		setrlimit(RLIMIT_NOFILE, &none);
		if (startup_fill_descriptors(error) != -1)
			_exit(0);
		_exit(strncmp(error->text, "cannot open /: ", 15) == 0 ? (int)error->status : 99);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
	struct error error;

	for (int old = 0; old < 2; old++) {
		const char *kernel = old ? "an old kernel" : "this kernel";
		is_int(left_open(old, 3, -1), 0, "%s: all from 3 are closed", kernel);
		is_int(left_open(old, 3, 3), 0, "%s: all but the first", kernel);
		is_int(left_open(old, 3, 7), 0, "%s: all but one in the middle", kernel);
		is_int(left_open(old, 3, 60), 0, "%s: all but the last", kernel);
		is_int(left_open(old, 5, 2), 0, "%s: all from 5", kernel);
	}
	ok(standard_is_filled(), "closed standard descriptors go to nobody");
	ok(open_standard_stays(), "and open ones are left alone");
	is_int(fill_without_room(&error), EXIT_STATUS_LOCAL, "where nothing opens, it says why");
	set(64, 200);
	is_uint(descriptors_reserve(10), 64, "enough already");
	is_uint(soft_limit(), 64, "so it stays");
	is_uint(descriptors_reserve(100), 100, "raised");
	is_uint(soft_limit(), 100, "by the kernel's word");
	ok(hard_limit_holds(), "up to the hard limit, where that may not be raised");
	return done_testing();
}
