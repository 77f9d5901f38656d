/*
 * launcher.h - starts children for a confined process, from a process that is not confined.
 *
 * A confined process can still have programs run and names looked up if it started a launcher
 * before: a process that waits for requests and starts a child for each. A table, fixed when the
 * launcher starts, says what a child can do; a request chooses a row and passes some bytes and a
 * descriptor. So an attacker who takes over the confined process can have done what it does anyway,
 * and nothing else.
 *
 * The children are the caller's own (CLONE_PARENT): it gets SIGCHLD, waits for them, and they
 * outlive the launcher. That one ends with the caller.
 */
#ifndef NATPUNCH_OS_LAUNCHER_H
#define NATPUNCH_OS_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "natpunch/os/sandbox.h"

#define LAUNCHER_REQUEST_MAX 1024
#define LAUNCHER_TASK_MAX    4

struct launcher {
	int fd;      /* -1: none was started */
	pid_t pid;   /* of the launcher; 0: it has ended */
	int problem; /* why none was started, or 0: it has not been tried */
};

#define LAUNCHER_NONE ((struct launcher){.fd = -1})

/*
 * What a child runs; `run` does not return, and NULL is a row that cannot be chosen. `context` is
 * the row's, as it was when the launcher was started. Threat: the bytes may be an attacker's. `fd`
 * is the child's, or -1. Signals are blocked as they were when the launcher was started.
 */
struct launcher_task {
	void (*run)(const void *context, const void *request, size_t size, int fd);
	const void *context;
};

/* What a confined caller needs of launcher_start(). */
extern const struct sandbox_call launcher_calls[];

/*
 * Starts the launcher with at most LAUNCHER_TASK_MAX rows. Its children have standard input, output
 * and error as they are now. Returns 0, or -1 and errno.
 */
int launcher_open(struct launcher *launcher, const struct launcher_task *tasks, size_t count);

/*
 * Begins a child for row `task`, with a copy of fd (-1: none), which stays the caller's as well.
 * Returns its pid, or -1 and errno: EPIPE when the launcher is gone, and why it was not started.
 */
pid_t launcher_start(
	const struct launcher *launcher, size_t task, const void *request, size_t size, int fd);

/*
 * After SIGCHLD: has the launcher ended by itself, or been killed? True once. A confined process
 * cannot start another.
 */
bool launcher_has_ended(struct launcher *launcher);

/* Ends the launcher; its children go on. One that was not started is fine. */
void launcher_close(struct launcher *launcher);

#endif
