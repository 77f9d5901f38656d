/*
 * hook.h - the user's program, run at every change of the mapping.
 *
 * Run without a shell, one at a time, in the order of the events, with nothing but standard input
 * from /dev/null and standard output and error of ours (output goes to standard error: ours carries
 * results). A hook that takes longer than HOOK_TIMEOUT_MS is killed with all that it started (it
 * has a process group of its own) and logged; one that fails is logged; neither stops the mapping.
 * Rule for a full queue: the oldest event that waits is dropped, as a newer one tells more.
 */
#ifndef NATPUNCH_HOOK_H
#define NATPUNCH_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/mapping.h"

#define HOOK_TIMEOUT_MS 30000
#define HOOK_QUEUE_MAX  8

enum hook_event {
	HOOK_UP,          /* there is a mapping, where there was none */
	HOOK_CHANGE,      /* it is another one now */
	HOOK_UNREACHABLE, /* strangers do not get through it (verification) */
	HOOK_DOWN,        /* nothing answers any more, or natpunch ends */
};

/* Whose order the arguments have, so that scripts written for other tools work. */
enum hook_order {
	HOOK_ORDER_NATMAP, /* PUBLIC_ADDR PUBLIC_PORT IP4P LOCAL_PORT PROTOCOL LOCAL_ADDR */
	HOOK_ORDER_NATTER, /* PROTOCOL LOCAL_ADDR LOCAL_PORT PUBLIC_ADDR PUBLIC_PORT */
};

struct hook_call {
	enum hook_event event;
	struct mapping mapping;
};

struct hook {
	const char *path; /* NULL: every call is a no-op */
	enum hook_order order;
	pid_t pid;        /* of the one that runs, or 0 */
	uint64_t kill_at; /* DEADLINE_NONE when none runs */
	struct hook_call queue[HOOK_QUEUE_MAX];
	size_t waiting;
};

const char *hook_event_name(enum hook_event event); /* "up", "change", "unreachable", "down" */

void hook_init(struct hook *hook, const char *path, enum hook_order order);

/* Runs it, or queues the event while one runs. */
void hook_call(
	struct hook *hook, enum hook_event event, const struct mapping *mapping, uint64_t now);

/* To be called after SIGCHLD: reaps the one that ended, logs a failure, starts the next. */
void hook_reap(struct hook *hook, uint64_t now);

/* Kills what has run for too long; `now` >= hook->kill_at. */
void hook_expire(struct hook *hook, uint64_t now);

/* At the end: runs the queue to its end, at most HOOK_TIMEOUT_MS in all. */
void hook_finish(struct hook *hook);

#endif
