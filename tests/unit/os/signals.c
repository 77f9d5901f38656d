/* Signals as readable events, and given back to a child. */
#include "natpunch/os/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/startup.h"
#include "tap.h"

static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};

static void test_child(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		signals_restore();
		raise(SIGTERM);
		_exit(0);
	}
	waitpid(child, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "a child gets them back");
}

static bool is_ignored(int number)
{
	struct sigaction action = {.sa_flags = 0};

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* What whoever starts this may leave: ignored signals, blocked ones, no room for a file. */
static int be_started_badly(void)
{
	const struct rlimit nothing = {.rlim_cur = 0, .rlim_max = 0};
	char path[] = "/tmp/natpunch-signals-XXXXXX";
	int status = 0;
	sigset_t all;
	pid_t child;
	int fd;

	signal(SIGCHLD, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (setrlimit(RLIMIT_FSIZE, &nothing) != 0)
		return 90;
	startup_reset_signals();
	child = fork();
	if (child == 0)
		_exit(7);
	if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
		return 1; /* the kernel has reaped it */
	if (is_ignored(SIGCHLD) || is_ignored(SIGTERM))
		return 2;
	if (!is_ignored(SIGHUP))
		return 3; /* nohup(1) is to hold */
	if (sigprocmask(SIG_BLOCK, NULL, &all) != 0 || sigismember(&all, SIGTERM) != 0)
		return 4;
	fd = mkstemp(path);
	unlink(path);
	return write(fd, "x", 1) == -1 && errno == EFBIG ? 0 : 5;
}

/* A limit that may be raised is. */
static int be_started_tight(void)
{
	struct rlimit size;

	if (getrlimit(RLIMIT_FSIZE, &size) != 0 || size.rlim_max == 0)
		return 90;
	size.rlim_cur = 0;
	if (setrlimit(RLIMIT_FSIZE, &size) != 0)
		return 91;
	startup_reset_signals();
	return getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_cur == size.rlim_max ? 0 : 1;
}

static void in_child(int (*run)(void), const char *name)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(run());
	waitpid(child, &status, 0);
	is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0, "%s", name);
}

static void test_reset(void)
{
	in_child(be_started_badly, "what was inherited has no effect");
	in_child(be_started_tight, "nor has a limit that is not for ever");
}

int main(void)
{
	int ends[2];
	int fd;

	test_reset();
	fd = signals_open();

	if (!ok(fd >= 0, "opened"))
		return done_testing();
	ok((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "closed by exec");
	is_int(signals_take(fd), 0, "none waits, and that does not block");
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		raise(taken[i]);
		is_int(signals_take(fd), taken[i], "signal %d is taken", taken[i]);
		is_int(signals_take(fd), 0, "once");
	}
	if (pipe2(ends, O_CLOEXEC) == 0) {
		close(ends[0]);
		is_int(write(ends[1], "x", 1), -1, "a broken pipe is an error and no more");
	}
	test_child();
	close(fd);
	return done_testing();
}
