/*
 * Children begun by somebody else: they are ours all the same, they get what they were sent and
 * nothing more, and they are not confined as we are.
 */
#include "natpunch/os/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

enum {
	TASK_REPORT,
	TASK_EXEC,
	TASK_WAIT,
	TASK_COUNT,
};

/* What a child sees of itself. */
struct report {
	pid_t parent;
	char said[16];
	int number;
	int descriptors; /* that are open from 3 on */
	bool blocked;    /* SIGUSR2, which was not when the launcher was started */
};

static int number = 7;

static void run_report(const void *context, const void *request, size_t size, int fd)
{
	struct report report = {.parent = getppid(), .number = *(const int *)context};
	sigset_t blocked;

	if (size > sizeof(report.said))
		_exit(2);
	memcpy(report.said, request, size);
	for (int i = STDERR_FILENO + 1; i < 64; i++)
		report.descriptors += fcntl(i, F_GETFD) >= 0;
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	report.blocked = sigismember(&blocked, SIGUSR2) || sigismember(&blocked, SIGTERM);
	if (write(fd, &report, sizeof(report)) != (ssize_t)sizeof(report))
		_exit(3);
	_exit(5);
}

static void run_exec(const void *context, const void *request, size_t size, int fd)
{
	char *const words[] = {"/bin/sh", "-c", "exit 9", NULL};

	(void)context;
	(void)request;
	(void)size;
	(void)fd;
	execv(words[0], words);
}

/* Until there is something to read, or nobody left to write. */
static void run_wait(const void *context, const void *request, size_t size, int fd)
{
	char byte;

	(void)context;
	(void)request;
	(void)size;
	_exit(read(fd, &byte, 1) == 0 ? 11 : 12);
}

static const struct launcher_task tasks[TASK_COUNT] = {
	[TASK_REPORT] = {.run = run_report, .context = &number},
	[TASK_EXEC] = {.run = run_exec},
	[TASK_WAIT] = {.run = run_wait},
};

static int exit_of(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_report(void)
{
	struct launcher launcher;
	struct report report = {.parent = 0};
	int ends[2];
	pid_t pid;

	number = 8;
	if (pipe2(ends, O_CLOEXEC) != 0 || launcher_open(&launcher, tasks, TASK_COUNT) != 0)
		bail_out("launcher: %s", strerror(errno));
	number = 9;
	pid = launcher_start(&launcher, TASK_REPORT, "hello", 6, ends[1]);
	if (pid <= 0)
		bail_out("no child: %s", strerror(errno));
	ok(pid > 0, "a child is begun");
	is_int(read(ends[0], &report, sizeof(report)), sizeof(report), "it has our descriptor,");
	is_int(report.descriptors, 1, "and no other,");
	is_str(report.said, "hello", "and what it was sent");
	is_int(report.parent, getpid(), "it is ours,");
	is_int(report.number, 8, "knows what was known when the launcher was started,");
	ok(!report.blocked, "and signals reach it");
	is_int(exit_of(pid), 5, "it is ours to wait for");
	is_int(launcher_start(&launcher, TASK_COUNT, "", 0, -1), -1, "there is no such task");
	is_errno(errno, EINVAL, "which is told");
	is_int(launcher_start(&launcher, TASK_REPORT, "", LAUNCHER_REQUEST_MAX + 1, -1), -1,
		"that is too much");
	is_errno(errno, EMSGSIZE, "which is told as well");
	close(ends[0]);
	close(ends[1]);
	launcher_close(&launcher);
	is_int(launcher.fd, -1, "it is closed");
	launcher_close(&launcher);
	ok(launcher.fd < 0, "twice is once");
}

static void test_life(void)
{
	struct launcher launcher;
	int ends[2];
	pid_t pid, child;

	if (pipe2(ends, O_CLOEXEC) != 0 || launcher_open(&launcher, tasks, TASK_COUNT) != 0)
		bail_out("launcher: %s", strerror(errno));
	kill(launcher.pid, SIGTERM);
	kill(launcher.pid, SIGINT);
	kill(launcher.pid, SIGHUP);
	pid = launcher_start(&launcher, TASK_WAIT, "", 0, ends[0]);
	ok(pid > 0, "our signals do not end it");
	child = launcher.pid;
	launcher_close(&launcher);
	is_int(waitpid(child, NULL, WNOHANG), -1, "it ends when it is closed,");
	is_int(waitpid(pid, NULL, WNOHANG), 0, "and its children go on");
	close(ends[1]);
	is_int(exit_of(pid), 11, "to their own end");
	close(ends[0]);
}

/* Exit status 0 when what we may not do ourselves is done for us. */
static int try_confined(const struct launcher *launcher)
{
	const struct sandbox_call *const lists[] = {sandbox_basic_calls, launcher_calls, NULL};
	pid_t pid;

	if (sandbox_enter(lists) != SANDBOX_ON)
		return 99;
	if (fork() >= 0)
		return 1;
	pid = launcher_start(launcher, TASK_EXEC, "", 0, -1);
	return pid > 0 && exit_of(pid) == 9 ? 0 : 2;
}

/* The launcher is started by the one that is confined: its children are to be his. */
static void test_confined(void)
{
	int result;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct launcher launcher;
		if (launcher_open(&launcher, tasks, TASK_COUNT) != 0)
			_exit(98);
		result = try_confined(&launcher);
		close(launcher.fd);
		_exit(result);
	}
	result = exit_of(child);
	if (result == 99)
		skip(1, "this kernel or machine has no filter");
	else
		is_int(result, 0, "who is confined has a program run for him");
}

static void test_killed(void)
{
	struct launcher launcher;
	siginfo_t info;

	if (launcher_open(&launcher, tasks, TASK_COUNT) != 0)
		bail_out("launcher: %s", strerror(errno));
	ok(!launcher_has_ended(&launcher), "it is there");
	kill(launcher.pid, SIGKILL);
	waitid(P_PID, (id_t)launcher.pid, &info, WEXITED | WNOWAIT);
	ok(launcher_has_ended(&launcher), "killed, it is not");
	ok(!launcher_has_ended(&launcher), "which is told once");
	is_int(launcher_start(&launcher, TASK_REPORT, "", 0, -1), -1, "it begins nothing");
	is_errno(errno, EPIPE, "which is told");
	launcher_close(&launcher);
	is_int(launcher.fd, -1, "and it can be closed");
}

static void test_no_row(void)
{
	const struct launcher_task gap[TASK_COUNT] = {[TASK_WAIT] = tasks[TASK_WAIT]};
	struct launcher launcher;

	if (launcher_open(&launcher, gap, TASK_COUNT) != 0)
		bail_out("launcher: %s", strerror(errno));
	is_int(launcher_start(&launcher, TASK_EXEC, "", 0, -1), -1, "an empty row begins nothing,");
	is_errno(errno, EINVAL, "which is told");
	is_int(launcher_start(&launcher, TASK_COUNT, "", 0, -1), -1, "nor does one that is none");
	launcher_close(&launcher);
}

/* The caller goes on, and is told when he needs one. */
static void test_not_started(void)
{
	struct rlimit before, none = {.rlim_cur = 0};
	struct launcher launcher;
	int result;

	getrlimit(RLIMIT_NOFILE, &before);
	none.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	result = launcher_open(&launcher, tasks, TASK_COUNT);
	setrlimit(RLIMIT_NOFILE, &before);
	is_int(result, -1, "without descriptors there is no launcher");
	is_int(launcher_start(&launcher, TASK_EXEC, "", 0, -1), -1, "it begins nothing");
	is_errno(errno, EMFILE, "for the reason that there was");
	launcher_close(&launcher);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_report();
	test_life();
	test_confined();
	test_killed();
	test_no_row();
	test_not_started();
	return done_testing();
}
