/*
 * cost run TIMES COMMAND...: what a command costs that runs to its end: processor time, and the
 * memory that is resident when it exits. (What wait4 tells of memory includes the process that
 * began it.) A command that fails is an error.
 *
 * cost start TIMES PORT COMMAND...: how long a server takes from its begin until 127.0.0.1 PORT
 * accepts a connection, and how much is resident then. It is ended with SIGTERM.
 *
 * Either prints one line of KEY=NUMBER, in ns and kB: the medians, and of the user time, which the
 * kernel only samples, the mean.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "natpunch/base/parse.h"

#define TIMES_MAX 1000
#define SECOND_NS 1000000000U
#define PATIENCE  (10ULL * SECOND_NS)

static void fail(const char *what)
{
	fprintf(stderr, "cost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint64_t timeval_ns(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * SECOND_NS + (uint64_t)time->tv_usec * 1000;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static unsigned long long median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

/* A child that says nothing. With `traced`, it stops for us before it runs the command. */
static pid_t begin(char **command, bool traced)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid > 0)
		return pid;
	if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) ||
		!freopen("/dev/null", "w", stderr))
		_exit(126);
	if (traced)
		raise(SIGSTOP);
	execvp(command[0], command);
	_exit(127);
}

/* Page by page, in kB: the figure in /proc/PID/status can be off by some hundred pages. */
static uint64_t read_resident(pid_t pid)
{
	char path[64], line[256];
	uint64_t value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		fail(path);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Rss:", 4) == 0)
			value = strtoull(line + 4, NULL, 10);
	fclose(file);
	return value;
}

static void check_end(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	fprintf(stderr, "cost: the command fails: %x\n", (unsigned)status);
	exit(1);
}

/* Stops the command where it exits, and looks at it there. */
static uint64_t measure_memory(char **command)
{
	pid_t pid = begin(command, true);
	uint64_t resident = 0;
	int status;

	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) ||
		ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACEEXIT) != 0)
		fail("ptrace");
	kill(pid, SIGCONT);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		int signal_number = WSTOPSIG(status);

		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			resident = read_resident(pid);
		/* A stop that is an event of ptrace's is no signal to hand on. */
		if (status >> 16 != 0)
			signal_number = 0;
		ptrace(PTRACE_CONT, pid, NULL, (void *)(long)signal_number);
	}
	check_end(status);
	return resident;
}

static void measure_runs(size_t times, char **command)
{
	static uint64_t processor[TIMES_MAX], elapsed[TIMES_MAX], memory[TIMES_MAX];
	uint64_t user = 0;

	for (size_t i = 0; i < times; i++) {
		struct rusage usage;
		uint64_t start = now_ns();
		pid_t pid = begin(command, false);
		int status;

		if (wait4(pid, &status, 0, &usage) != pid)
			fail("wait4");
		elapsed[i] = now_ns() - start;
		check_end(status);
		processor[i] = timeval_ns(&usage.ru_utime) + timeval_ns(&usage.ru_stime);
		user += timeval_ns(&usage.ru_utime);
		memory[i] = i < 3 ? measure_memory(command) : memory[i % 3];
	}
	printf("elapsed_ns=%llu processor_ns=%llu user_ns=%llu resident=%llu\n",
		median(elapsed, times), median(processor, times),
		(unsigned long long)(user / times), median(memory, times));
}

static bool accepts(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool does;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		fail("socket");
	does = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return does;
}

static void measure_starts(size_t times, uint16_t port, char **command)
{
	static uint64_t elapsed[TIMES_MAX], memory[TIMES_MAX];

	if (accepts(port)) {
		fputs("cost: somebody listens already\n", stderr);
		exit(1);
	}
	for (size_t i = 0; i < times; i++) {
		uint64_t start = now_ns();
		pid_t pid = begin(command, false);

		while (!accepts(port))
			if (now_ns() - start > PATIENCE || waitpid(pid, NULL, WNOHANG) != 0) {
				fputs("cost: the server does not start\n", stderr);
				exit(1);
			}
		elapsed[i] = now_ns() - start;
		memory[i] = read_resident(pid);
		kill(pid, SIGTERM);
		if (waitpid(pid, NULL, 0) != pid)
			fail("waitpid");
	}
	printf("elapsed_ns=%llu resident=%llu\n", median(elapsed, times), median(memory, times));
}

int main(int argc, char **argv)
{
	uint64_t times;
	uint16_t port;

	if (argc < 4 || parse_number(argv[2], 1, TIMES_MAX, &times) != 0)
		goto usage;
	if (strcmp(argv[1], "run") == 0) {
		measure_runs((size_t)times, argv + 3);
		return 0;
	}
	if (strcmp(argv[1], "start") != 0 || argc < 5 || parse_port(argv[3], &port) != 0)
		goto usage;
	measure_starts((size_t)times, port, argv + 4);
	return 0;
usage:
	fputs("usage: cost run TIMES COMMAND... | cost start TIMES PORT COMMAND...\n", stderr);
	return 2;
}
