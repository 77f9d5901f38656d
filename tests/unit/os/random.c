/*
 * Random bytes are asked for until there are enough; a number below a bound is below it and may be
 * any; where the kernel gives none, the process says so and ends.
 */
#include "natpunch/os/random.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/base/error.h"
#include "tap.h"

#define DRAWS 2000

/* From here on getrandom(2) is refused. */
static int lose_randomness(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
			       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0
		       ? -1
		       : 0;
}

/* What a child that gets none says goes into out; returns its exit status, or -1. */
static int fill_without(char *out, size_t capacity)
{
	uint8_t bytes[4];
	int pipe_fd[2];
	int status = 0;
	ssize_t got;
	pid_t child;

	if (pipe(pipe_fd) != 0)
		bail_out("pipe");
	child = fork();
	if (child == 0) {
		dup2(pipe_fd[1], STDERR_FILENO);
		if (lose_randomness() == 0)
			random_fill(bytes, sizeof(bytes));
		_exit(99);
	}
	close(pipe_fd[1]);
	got = read(pipe_fd[0], out, capacity - 1);
	out[got > 0 ? got : 0] = '\0';
	close(pipe_fd[0]);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
	uint8_t first[32] = {0}, second[32] = {0};
	unsigned seen[7] = {0};
	unsigned wrong = 0, missing = 0;
	char said[256];

	random_fill(first, sizeof(first));
	random_fill(second, sizeof(second));
	ok(memcmp(first, second, sizeof(first)) != 0, "no 32 bytes come twice");
	for (int i = 0; i < DRAWS; i++) {
		uint32_t value = random_below(7);
		if (value < 7)
			seen[value]++;
		else
			wrong++;
	}
	for (int i = 0; i < 7; i++)
		missing += seen[i] == 0;
	is_uint(wrong, 0, "none is above its bound");
	is_uint(missing, 0, "and each below it comes");
	is_uint(random_below(1), 0, "below 1 there is 0 alone");
	is_int(fill_without(said, sizeof(said)), EXIT_STATUS_LOCAL,
		"without a source: this machine refuses");
	is_str(said, "natpunch: cannot get random bytes: Operation not permitted\n",
		"and it is told");
	return done_testing();
}
