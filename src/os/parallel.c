/*
 * Two pipes. The copy writes its result into the one, once; the parent keeps the writing end of the
 * other, so that its end, whatever it dies of, is seen in the copy: by SIGIO, and as the end of the
 * file. (PR_SET_PDEATHSIG would be a signal of the parent, which may be confined and send none.)
 */
#include "natpunch/os/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_pair(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

static void release_output(void)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nowhere < 0)
		return;
	dup2(nowhere, STDIN_FILENO);
	dup2(nowhere, STDOUT_FILENO);
	close(nowhere);
}

/* A parent that has ended meanwhile sends no signal any more. */
static void end_with_parent(int stop)
{
	struct pollfd watch = {.fd = stop, .events = POLLIN};

	signal(SIGIO, SIG_DFL);
	fcntl(stop, F_SETOWN, getpid());
	fcntl(stop, F_SETFL, O_ASYNC);
	if (poll(&watch, 1, 0) > 0)
		_exit(1);
}

static void give(int fd, const unsigned char *bytes, size_t size)
{
	size_t given = 0;

	while (given < size) {
		ssize_t now = write(fd, bytes + given, size - given);

		if (now < 0 && errno != EINTR)
			_exit(1);
		given += now > 0 ? (size_t)now : 0;
	}
}

int parallel_start(struct parallel *parallel, void (*work)(void *context, int stop), void *context,
	const void *out, size_t size)
{
	int result[2];
	int hold[2];
	pid_t pid;

	*parallel = PARALLEL_NONE;
	if (pipe2(result, O_CLOEXEC) != 0)
		return -1;
	if (pipe2(hold, O_CLOEXEC) != 0) {
		close_pair(result);
		return -1;
	}
	pid = fork();
	if (pid == 0) {
		close(result[0]);
		close(hold[1]);
		release_output();
		end_with_parent(hold[0]);
		work(context, hold[0]);
		give(result[1], out, size);
		_exit(0);
	}
	close(result[1]);
	close(hold[0]);
	if (pid > 0) {
		*parallel = (struct parallel){.pid = pid, .result = result[0], .hold = hold[1]};
		return 0;
	}
	close(result[0]);
	close(hold[1]);
	return -1;
}

static void let_go(struct parallel *parallel)
{
	if (parallel->hold >= 0)
		close(parallel->hold);
	parallel->hold = -1;
}

/* Returns how much came before the end. */
static size_t take(struct parallel *parallel, int stop, unsigned char *out, size_t size)
{
	size_t taken = 0;

	while (taken < size) {
		struct pollfd watch[2] = {{.fd = parallel->result, .events = POLLIN},
			{.fd = parallel->hold >= 0 ? stop : -1, .events = POLLIN}};
		ssize_t got;

		if (poll(watch, 2, -1) < 0 && errno != EINTR)
			return taken;
		if (watch[1].revents != 0)
			let_go(parallel);
		if (watch[0].revents == 0)
			continue;
		got = read(parallel->result, out + taken, size - taken);
		if (got == 0 || (got < 0 && errno != EINTR))
			return taken;
		taken += got > 0 ? (size_t)got : 0;
	}
	return taken;
}

bool parallel_finish(struct parallel *parallel, int stop, void *out, size_t size)
{
	bool complete;

	if (parallel->pid <= 0)
		return false;
	complete = take(parallel, stop, out, size) == size;
	let_go(parallel);
	close(parallel->result);
	while (waitpid(parallel->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*parallel = PARALLEL_NONE;
	return complete;
}
