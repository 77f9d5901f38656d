/*
 * What a confined process may not do, tried from inside by a child; and what the kernel says of it.
 * A try returns 0 or errno, which becomes the child's exit status.
 */
#ifndef NATPUNCH_TESTS_CONFINED_H
#define NATPUNCH_TESTS_CONFINED_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define CANNOT_CONFINE 99

typedef int confine_as(const void *how); /* returns 0 when it is */
typedef int confined_try(void);

/* Of a child that is confined so and then tries; -signal when one ended it. */
static inline int run_confined(confine_as *confine, const void *how, confined_try *try)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(confine(how) == 0 ? try() : CANNOT_CONFINE);
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int problem_of(long result)
{
	return result < 0 ? errno : 0;
}

static inline int try_exec(void)
{
	char *const words[] = {"/bin/true", NULL};

	return problem_of(execv(words[0], words));
}

static inline int try_ptrace(void)
{
	return problem_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static inline int try_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
	return problem_of(child);
}

static inline int try_raw(void)
{
	return problem_of(socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
}

/*
 * Of socketcall(2), by which C libraries of 32-bit x86 open sockets, the arguments are somewhere in
 * memory, where no filter looks. What a list says of them is then said in vain.
 */
#ifdef __i386__
#define ARGUMENTS_SEEN false
#else
#define ARGUMENTS_SEEN true
#endif

static inline int try_packet(void)
{
	return problem_of(socket(AF_PACKET, SOCK_DGRAM, 0));
}

static inline int try_unix(void)
{
	return problem_of(socket(AF_UNIX, SOCK_STREAM, 0));
}

static inline int try_null(void)
{
	return problem_of(open("/dev/null", O_RDONLY));
}

static inline int try_password_file(void)
{
	return problem_of(open("/etc/passwd", O_RDONLY));
}

static inline int try_mount(void)
{
	return problem_of(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static inline int try_dumpable(void)
{
	return problem_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static inline int try_netfilter(void)
{
	return problem_of(socket(AF_NETLINK, SOCK_RAW, 12));
}

static inline int try_kill(void)
{
	return problem_of(kill(getppid(), 0));
}

/* ---- seen from outside --------------------------------------------------------------------- */

/* A line of /proc/PID/status and its value. */
struct wanted {
	const char *line;
	const char *value;
};

/* Copies the value of a line of /proc/PID/status. */
static inline void read_status(pid_t pid, const char *name, char out[128])
{
	char path[64];
	char line[256];
	size_t size = strlen(name);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	snprintf(out, 128, "no such line");
	file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, size) == 0 && line[size] == ':')
			snprintf(out, 128, "%.*s", (int)strcspn(line + size + 2, "\n"),
				line + size + 2);
	if (file != NULL)
		fclose(file);
}

/* A child is confined, and looked at while it waits. */
static inline void look_confined(confine_as *confine, const void *how, const struct wanted *wanted,
	size_t count, const char *name)
{
	char value[128];
	int ready[2], go[2];
	char byte;
	pid_t child;

	if (pipe(ready) != 0 || pipe(go) != 0)
		bail_out("pipe");
	fflush(stdout);
	child = fork();
	if (child == 0) {
		byte = (char)confine(how);
		close(go[1]);
		if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0)
			_exit(CANNOT_CONFINE);
		_exit(0);
	}
	if (read(ready[0], &byte, 1) != 1)
		bail_out("the child died");
	is_int(byte, 0, "%s: confined", name);
	for (size_t i = 0; i < count; i++) {
		read_status(child, wanted[i].line, value);
		is_str(value, wanted[i].value, "%s: %s", name, wanted[i].line);
	}
	close(go[0]);
	close(go[1]);
	close(ready[0]);
	close(ready[1]);
	waitpid(child, NULL, 0);
}

#endif
