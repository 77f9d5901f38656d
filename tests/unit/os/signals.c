/* Signals as readable events, and given back to a child. */
#include "natpunch/os/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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

int main(void)
{
	int ends[2];
	int fd = signals_open();

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
