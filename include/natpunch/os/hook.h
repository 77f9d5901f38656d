/*
 * hook.h - the user's program, run at every change of the mapping.
 *
 * Run without a shell and without a search in PATH, one at a time, in the order of the events.
 * It gets standard input from /dev/null, standard error of ours as its standard output and error
 * (our standard output carries results), the signals as they were before signals_open(), no other
 * descriptor, no capability of ours (privileges_clear_inheritable()), and the environment of ours
 * with these set:
 *   NATPUNCH_EVENT         up, change, unreachable, down
 *   NATPUNCH_PUBLIC_ADDR, NATPUNCH_PUBLIC_PORT, NATPUNCH_LOCAL_ADDR, NATPUNCH_LOCAL_PORT
 *   NATPUNCH_IP4P          "" for an IPv6 mapping (addr.h)
 *   NATPUNCH_PROTOCOL      tcp, udp
 *   NATPUNCH_METHOD        bind, repair, rewrite, raw
 *   NATPUNCH_SEEN_BY       the reflector, HOST:PORT
 *   NATPUNCH_FAMILY        4 or 6
 *   NATPUNCH_ROUTER, NATPUNCH_ROUTER_METHOD, NATPUNCH_ROUTER_PORT, NATPUNCH_LEASE
 *                          of a router that forwards a port (mapping.h); else "", "", 0 and 0
 *
 * A hook that takes longer than HOOK_TIMEOUT_MS is killed, with all that it started (it leads a
 * process group of its own). That, and a hook that cannot be run or fails, is logged, and does not
 * end the mapping. With `repeats` such a call is repeated, with a growing pause, until it succeeds
 * or a newer event of its family replaces it. Rule for a full queue: the oldest event that waits is
 * dropped, as a newer one says more.
 */
#ifndef NATPUNCH_OS_HOOK_H
#define NATPUNCH_OS_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/os/launcher.h"
#include "natpunch/base/mapping.h"

#define HOOK_TIMEOUT_MS 30000
#define HOOK_QUEUE_MAX  8

#define HOOK_REPEAT_FIRST_MS 5000   /* after a call that failed, doubled each time, */
#define HOOK_REPEAT_MAX_MS   300000 /* up to this */

enum hook_event {
	HOOK_UP,          /* there is a mapping, where there was none */
	HOOK_CHANGE,      /* it is another one now */
	HOOK_UNREACHABLE, /* strangers do not get through it (verification) */
	HOOK_DOWN,        /* nothing answers any more, or natpunch ends */
};

/* The order of the arguments, so that scripts for other tools work. */
enum hook_order {
	HOOK_ORDER_NATMAP, /* PUBLIC_ADDR PUBLIC_PORT IP4P LOCAL_PORT PROTOCOL LOCAL_ADDR */
	HOOK_ORDER_NATTER, /* PROTOCOL LOCAL_ADDR LOCAL_PORT PUBLIC_ADDR PUBLIC_PORT */
};

/* A set of events: the sum of these. */
#define HOOK_BIT(event)  (1U << (event))
#define HOOK_ALL_EVENTS  (HOOK_BIT(HOOK_DOWN + 1) - 1)
#define HOOK_NEW_MAPPING (HOOK_BIT(HOOK_UP) | HOOK_BIT(HOOK_CHANGE))

struct hook_call {
	enum hook_event event;
	struct mapping mapping;
};

/* A call that failed, and is to be made again. */
struct hook_repeat {
	struct hook_call call;
	uint64_t pause_ms; /* before the last repetition, or 0 */
	uint64_t due;      /* TIMER_NONE: nothing is to be repeated */
};

struct hook {
	const char *path; /* NULL: every call is a no-op */
	enum hook_order order;
	uint64_t timeout_ms;      /* HOOK_TIMEOUT_MS, and */
	uint64_t repeat_first_ms; /* HOOK_REPEAT_FIRST_MS, unless a test is in a hurry */
	unsigned events;          /* the caller's to set: which it is called for; all */
	bool repeats;             /* the caller's to set: a call that failed is made again */
	/* The caller's to set, or NULL: called at the end of each call; `taken`: it succeeded. */
	void (*ended)(void *context, const struct hook_call *call, bool taken);
	void *context;
	pid_t pid;                   /* of the one that runs, or 0 */
	uint64_t began;              /* when that one did */
	uint64_t kill_at;            /* when it has run for too long; TIMER_NONE when none runs */
	bool killed;                 /* that one, by us: said already */
	struct hook_call call;       /* what that one was told, or the one before */
	bool failed;                 /* the call that ended last */
	struct hook_repeat again[2]; /* of a mapping in IPv4, in IPv6 */
	struct hook_call queue[HOOK_QUEUE_MAX];
	size_t waiting;
	const struct launcher *launcher; /* or NULL: by fork(2) */
	size_t task;                     /* with a launcher: its row with hook_task() in it */
};

/* What a confined caller needs, beside the launcher's. */
extern const struct sandbox_call hook_calls[];

/* A launcher's row that runs this hook. The hook must live when the launcher is opened. */
struct launcher_task hook_task(const struct hook *hook);

const char *hook_event_name(enum hook_event event); /* "up", "change", "unreachable", "down" */

/* The path is not copied. */
void hook_init(struct hook *hook, const char *path, enum hook_order order);

/* "natmap" or "natter" into *out; returns 0, or -1 for any other name. */
int hook_parse_order(const char *name, enum hook_order *out) __attribute__((warn_unused_result));

/*
 * A list such as "up,change" into the set *out. Returns 0, or -1 when a word of it is no event, or
 * there twice.
 */
int hook_parse_events(const char *list, unsigned *out) __attribute__((warn_unused_result));

/* Is it called for this event at all? */
bool hook_wants(const struct hook *hook, enum hook_event event);

/* Runs it, if it wants this event, or queues the event while one runs. `now`: clock_now_ms(), here
 * and below. */
void hook_call(
	struct hook *hook, enum hook_event event, const struct mapping *mapping, uint64_t now);

/*
 * To be called after SIGCHLD: reaps the one that ended, logs a failure, starts the next. It waits
 * for its own child and for no other.
 */
void hook_reap(struct hook *hook, uint64_t now);

/* When hook_expire() wants to be called, or TIMER_NONE. */
uint64_t hook_due(const struct hook *hook);

/* Kills what has run for too long, and repeats a call that failed, when it is time. */
void hook_expire(struct hook *hook, uint64_t now);

/*
 * At the end: runs the queue to its end, at most timeout_ms in all; SIGTERM or SIGINT ends it at
 * once. What runs then is killed, what waits is dropped. One that runs when others wait has a sixth
 * of that time, so that it does not take all of it. Nothing is repeated any more. Blocks, and takes
 * SIGCHLD meanwhile.
 */
void hook_finish(struct hook *hook);

#endif
