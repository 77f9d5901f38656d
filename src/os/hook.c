/*
 * A hook is a child at the head of a process group of its own. Between fork(2) and exec(2) it holds
 * the end of a pipe that exec closes. If exec fails, the child sends a refusal through the pipe,
 * and the parent, which waits for either, says which file could not be run and why. The child finds
 * the reason, as a confined parent may not read the file. The parent does not wait for a running
 * hook: SIGCHLD and a deadline bring the caller back here.
 *
 * States: idle (pid 0, queue empty), running (pid set, up to HOOK_QUEUE_MAX events wait) and, after
 * a call that failed, pausing (idle, with a repetition due). Events wait only while a hook
 * runs; start_next() sees to that. An event in the pause replaces the repetition of its family.
 */
#include "natpunch/os/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/program.h"
#include "natpunch/os/signals.h"
#include "natpunch/base/text.h"

const struct sandbox_call hook_calls[] = {
	SANDBOX_CALL(pipe2),
	SANDBOX_CALL(kill),
	SANDBOX_CALL(rt_sigtimedwait),
#ifdef __NR_rt_sigtimedwait_time64
	SANDBOX_CALL(rt_sigtimedwait_time64),
#endif
	SANDBOX_END,
};

#define PATH_SHOWN_SIZE  512
#define LAST_SHARE       6   /* of the time at the end: what the one that runs gets of it */
#define EXIT_CANNOT_EXEC 127 /* what a shell returns; nobody sees it, the pipe has told */

/* What comes through the pipe. */
struct refusal {
	int problem;                      /* an errno value, or 0: it was started */
	char reason[PROGRAM_REASON_SIZE]; /* the same in words, where the child says it */
};

static const char *const event_names[] = {
	[HOOK_UP] = "up",
	[HOOK_CHANGE] = "change",
	[HOOK_UNREACHABLE] = "unreachable",
	[HOOK_DOWN] = "down",
};

static const char *const order_names[] = {
	[HOOK_ORDER_NATMAP] = "natmap",
	[HOOK_ORDER_NATTER] = "natter",
};

const char *hook_event_name(enum hook_event event)
{
	return event_names[event];
}

int hook_parse_order(const char *name, enum hook_order *out)
{
	for (size_t i = 0; i < sizeof(order_names) / sizeof(order_names[0]); i++) {
		if (strcmp(name, order_names[i]) != 0)
			continue;
		*out = (enum hook_order)i;
		return 0;
	}
	return -1;
}

static int find_event(const char *word, size_t size)
{
	for (size_t i = 0; i < sizeof(event_names) / sizeof(event_names[0]); i++)
		if (strlen(event_names[i]) == size && memcmp(word, event_names[i], size) == 0)
			return (int)i;
	return -1;
}

int hook_parse_events(const char *list, unsigned *out)
{
	unsigned events = 0;

	for (;;) {
		size_t size = strcspn(list, ",");
		int event = find_event(list, size);

		if (event < 0 || (events & HOOK_BIT(event)) != 0)
			return -1;
		events |= HOOK_BIT(event);
		if (list[size] == '\0')
			break;
		list += size + 1;
	}
	*out = events;
	return 0;
}

bool hook_wants(const struct hook *hook, enum hook_event event)
{
	return hook->path != NULL && (hook->events & HOOK_BIT(event)) != 0;
}

void hook_init(struct hook *hook, const char *path, enum hook_order order)
{
	memset(hook, 0, sizeof(*hook));
	hook->path = path;
	hook->order = order;
	hook->events = HOOK_ALL_EVENTS;
	hook->timeout_ms = HOOK_TIMEOUT_MS;
	hook->repeat_first_ms = HOOK_REPEAT_FIRST_MS;
	hook->kill_at = hook->again[0].due = hook->again[1].due = TIMER_NONE;
}

static struct hook_repeat *repeat_of(struct hook *hook, const struct mapping *mapping)
{
	return &hook->again[mapping->public_addr.family == ADDR_IPV6];
}

static const char *show_path(const struct hook *hook, char out[PATH_SHOWN_SIZE])
{
	return text_escape(out, PATH_SHOWN_SIZE, hook->path, strlen(hook->path));
}

/* What the hook is told, as texts that live until exec. */
struct words {
	char public_addr[ADDR_IP_TEXT_SIZE];
	char public_port[8];
	char ip4p[ADDR_IP4P_SIZE];
	char local_addr[ADDR_IP_TEXT_SIZE];
	char local_port[8];
	char family[4];
	char router[ADDR_IP_TEXT_SIZE];
	char router_port[8];
	char lease[TEXT_DECIMAL_SIZE];
	const char *protocol;
};

static void write_words(struct words *words, const struct mapping *mapping)
{
	addr_format_ip(&mapping->public_addr, words->public_addr);
	snprintf(words->public_port, sizeof(words->public_port), "%u", mapping->public_addr.port);
	addr_format_ip4p(&mapping->public_addr, words->ip4p);
	addr_format_ip(&mapping->local, words->local_addr);
	snprintf(words->local_port, sizeof(words->local_port), "%u", mapping->local.port);
	snprintf(words->family, sizeof(words->family), "%u", mapping->public_addr.family);
	words->router[0] = '\0';
	if (mapping->router.family != ADDR_NONE)
		addr_format_ip(&mapping->router, words->router);
	snprintf(words->router_port, sizeof(words->router_port), "%u", mapping->router_port);
	snprintf(words->lease, sizeof(words->lease), "%u", mapping->lease);
	words->protocol = mapping_protocol_name(mapping->protocol);
}

static int set_environment(const struct words *words, const struct hook_call *call)
{
	const char *const pairs[][2] = {
		{"NATPUNCH_EVENT", hook_event_name(call->event)},
		{"NATPUNCH_PUBLIC_ADDR", words->public_addr},
		{"NATPUNCH_PUBLIC_PORT", words->public_port},
		{"NATPUNCH_IP4P", words->ip4p},
		{"NATPUNCH_LOCAL_ADDR", words->local_addr},
		{"NATPUNCH_LOCAL_PORT", words->local_port},
		{"NATPUNCH_PROTOCOL", words->protocol},
		{"NATPUNCH_METHOD", call->mapping.method},
		{"NATPUNCH_SEEN_BY", call->mapping.reflector},
		{"NATPUNCH_FAMILY", words->family},
		{"NATPUNCH_ROUTER", words->router},
		{"NATPUNCH_ROUTER_METHOD", call->mapping.router_method},
		{"NATPUNCH_ROUTER_PORT", words->router_port},
		{"NATPUNCH_LEASE", words->lease},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (setenv(pairs[i][0], pairs[i][1], 1) != 0)
			return -1;
	return 0;
}

static int run_program(const struct hook *hook, const struct hook_call *call)
{
	struct words words;

	write_words(&words, &call->mapping);
	if (set_environment(&words, call) != 0)
		return -1;

	const char *const natmap[] = {hook->path, words.public_addr, words.public_port, words.ip4p,
		words.local_port, words.protocol, words.local_addr, NULL};
	const char *const natter[] = {hook->path, words.protocol, words.local_addr,
		words.local_port, words.public_addr, words.public_port, NULL};

	/* execv(3) takes char *const * for historical reasons and changes nothing. */
	return execv(
		hook->path, (char *const *)(hook->order == HOOK_ORDER_NATTER ? natter : natmap));
}

static int set_descriptors(int *report)
{
	int null;

	/* Above 0, 1 and 2, any of which may have been closed when we were started. */
	*report = fcntl(*report, F_DUPFD_CLOEXEC, 3);
	if (*report < 0)
		return -1;
	null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return -1;
	descriptors_close_from(3, *report);
	return 0;
}

static _Noreturn void run_child(const struct hook *hook, const struct hook_call *call, int report)
{
	struct refusal refusal = {.problem = 0};

	setpgid(0, 0);
	signals_restore();
	if (privileges_clear_inheritable() == 0 && set_descriptors(&report) == 0)
		run_program(hook, call);
	refusal.problem = errno;
	program_explain(hook->path, refusal.problem, refusal.reason);
	/* Nobody is left to tell when this fails. */
	if (write(report, &refusal, sizeof(refusal)) < 0)
		_exit(EXIT_CANNOT_EXEC);
	_exit(EXIT_CANNOT_EXEC);
}

static void run_task(const void *context, const void *request, size_t size, int fd)
{
	struct hook_call call;

	if (size != sizeof(call) || fd < 0)
		return;
	memcpy(&call, request, sizeof(call));
	if ((size_t)call.event >= sizeof(event_names) / sizeof(event_names[0]))
		return;
	call.mapping.reflector[sizeof(call.mapping.reflector) - 1] = '\0';
	call.mapping.method[sizeof(call.mapping.method) - 1] = '\0';
	run_child(context, &call, fd);
}

struct launcher_task hook_task(const struct hook *hook)
{
	return (struct launcher_task){.run = run_task, .context = hook};
}

/* Blocks until the child has passed exec, or was refused. */
static void read_report(int report, struct refusal *out)
{
	ssize_t size;

	do
		size = read(report, out, sizeof(*out));
	while (size < 0 && errno == EINTR);
	if (size != (ssize_t)sizeof(*out))
		out->problem = 0;
	out->reason[sizeof(out->reason) - 1] = '\0';
}

static void reap_now(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Returns 0 with *pid set, or -1 with *refusal filled and no child. */
static int spawn(
	const struct hook *hook, const struct hook_call *call, pid_t *pid, struct refusal *refusal)
{
	int report[2];

	*refusal = (struct refusal){.problem = 0};
	if (pipe2(report, O_CLOEXEC) != 0) {
		refusal->problem = errno;
		return -1;
	}
	*pid = hook->launcher == NULL
		       ? fork()
		       : launcher_start(hook->launcher, hook->task, call, sizeof(*call), report[1]);
	if (*pid < 0)
		refusal->problem = errno;
	if (*pid == 0)
		run_child(hook, call, report[1]);
	close(report[1]);
	if (*pid > 0) {
		read_report(report[0], refusal);
		if (refusal->problem != 0)
			reap_now(*pid);
	}
	close(report[0]);
	return refusal->problem == 0 ? 0 : -1;
}

static void log_refusal(const struct hook *hook, const struct refusal *refusal)
{
	char path[PATH_SHOWN_SIZE];
	bool said = refusal->reason[0] != '\0';

	log_error("cannot run hook %s: %s", show_path(hook, path),
		said ? refusal->reason : strerror(refusal->problem));
}

static void conclude(struct hook *hook, bool taken, uint64_t now)
{
	struct hook_repeat *again = repeat_of(hook, &hook->call.mapping);
	uint64_t pause = again->pause_ms == 0 ? hook->repeat_first_ms : 2 * again->pause_ms;
	char path[PATH_SHOWN_SIZE];

	hook->failed = !taken;
	if (hook->ended != NULL)
		hook->ended(hook->context, &hook->call, taken);
	if (taken || !hook->repeats)
		return;
	again->call = hook->call;
	again->pause_ms = pause < HOOK_REPEAT_MAX_MS ? pause : HOOK_REPEAT_MAX_MS;
	again->due = now + again->pause_ms;
	log_detail("hook %s: called again in %g s", show_path(hook, path),
		(double)again->pause_ms / 1000);
}

static void start(struct hook *hook, const struct hook_call *call, uint64_t now)
{
	char path[PATH_SHOWN_SIZE];
	struct refusal refusal;
	pid_t pid = 0;

	hook->call = *call;
	if (spawn(hook, call, &pid, &refusal) != 0) {
		log_refusal(hook, &refusal);
		conclude(hook, false, now);
		return;
	}
	log_detail("hook %s: %s", hook_event_name(call->event), show_path(hook, path));
	hook->pid = pid;
	hook->killed = false;
	hook->began = now;
	hook->kill_at = now + hook->timeout_ms;
}

static void drop_oldest(struct hook *hook)
{
	hook->waiting--;
	memmove(&hook->queue[0], &hook->queue[1], hook->waiting * sizeof(hook->queue[0]));
}

static void start_next(struct hook *hook, uint64_t now)
{
	while (hook->pid == 0 && hook->waiting > 0) {
		struct hook_call call = hook->queue[0];
		struct hook_repeat *again = repeat_of(hook, &call.mapping);

		drop_oldest(hook);
		again->pause_ms = 0;
		again->due = TIMER_NONE;
		start(hook, &call, now);
	}
}

void hook_call(
	struct hook *hook, enum hook_event event, const struct mapping *mapping, uint64_t now)
{
	/* A repetition would report what is no longer true. */
	repeat_of(hook, mapping)->due = TIMER_NONE;
	if (!hook_wants(hook, event))
		return;
	if (hook->waiting == HOOK_QUEUE_MAX) {
		log_warning("hook: event %s dropped, as %d newer ones wait",
			hook_event_name(hook->queue[0].event), HOOK_QUEUE_MAX);
		drop_oldest(hook);
	}
	hook->queue[hook->waiting++] = (struct hook_call){.event = event, .mapping = *mapping};
	start_next(hook, now);
}

static void log_end(const struct hook *hook, int status)
{
	char path[PATH_SHOWN_SIZE];
	const char *event = hook_event_name(hook->call.event);

	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		log_warning("hook %s failed at %s: exit status %d", show_path(hook, path), event,
			WEXITSTATUS(status));
	if (WIFSIGNALED(status) && !hook->killed)
		log_warning("hook %s failed at %s: signal %d (%s)", show_path(hook, path), event,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static void reap(struct hook *hook, uint64_t now)
{
	int status = -1;
	pid_t ended;

	if (hook->pid == 0)
		return;
	ended = waitpid(hook->pid, &status, WNOHANG);
	if (ended == 0 || (ended < 0 && errno == EINTR))
		return;
	if (ended == hook->pid)
		log_end(hook, status);
	hook->pid = 0;
	hook->kill_at = TIMER_NONE;
	conclude(hook, ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0, now);
}

void hook_reap(struct hook *hook, uint64_t now)
{
	reap(hook, now);
	start_next(hook, now);
}

/* Returns false when it may not be killed: it has become another user. */
static bool kill_group(struct hook *hook)
{
	char path[PATH_SHOWN_SIZE];

	hook->kill_at = TIMER_NONE;
	hook->killed = kill(-hook->pid, SIGKILL) == 0 || errno == ESRCH;
	if (!hook->killed)
		log_warning("hook %s cannot be killed: %s", show_path(hook, path), strerror(errno));
	return hook->killed;
}

uint64_t hook_due(const struct hook *hook)
{
	const struct hook_repeat *again = hook->again;

	if (hook->pid != 0)
		return hook->kill_at;
	return again[0].due < again[1].due ? again[0].due : again[1].due;
}

static void repeat(struct hook *hook, uint64_t now)
{
	struct hook_repeat *again = &hook->again[hook->again[1].due < hook->again[0].due];
	struct hook_call call = again->call;

	again->due = TIMER_NONE;
	start(hook, &call, now);
}

void hook_expire(struct hook *hook, uint64_t now)
{
	char path[PATH_SHOWN_SIZE];

	if (now < hook_due(hook))
		return;
	if (hook->pid == 0) {
		repeat(hook, now);
		return;
	}
	log_warning("hook %s killed at %s: not done after %g s", show_path(hook, path),
		hook_event_name(hook->call.event), (double)(hook->kill_at - hook->began) / 1000);
	kill_group(hook);
}

/* Returns false when a signal says that we are to end at once. */
static bool wait_for_child(const sigset_t *set, uint64_t timeout_ms)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ms / 1000),
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};
	int number = sigtimedwait(set, NULL, &timeout);

	return number != SIGTERM && number != SIGINT;
}

static void run_queue(struct hook *hook, const sigset_t *set, uint64_t end)
{
	uint64_t now = clock_now_ms();

	hook_reap(hook, now);
	while (hook->pid != 0 && now < end) {
		uint64_t due = hook->kill_at < end ? hook->kill_at : end;

		if (due > now && !wait_for_child(set, due - now))
			return;
		now = clock_now_ms();
		hook_reap(hook, now);
		hook_expire(hook, now);
	}
}

void hook_finish(struct hook *hook)
{
	uint64_t now = clock_now_ms();
	uint64_t end = now + hook->timeout_ms;
	uint64_t share = now + hook->timeout_ms / LAST_SHARE;
	char path[PATH_SHOWN_SIZE];
	sigset_t set, before;

	if (hook->path == NULL)
		return;
	hook->repeats = false;
	hook->again[0].due = hook->again[1].due = TIMER_NONE;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* The last event, the end of the mapping, gets most of the time. */
	if (hook->pid != 0 && hook->waiting > 0 && hook->kill_at != TIMER_NONE &&
		hook->kill_at > share)
		hook->kill_at = share;
	/* Blocked before the first look at the child, or its end could fall between look and wait.
	 */
	sigprocmask(SIG_BLOCK, &set, &before);
	run_queue(hook, &set, end);
	if (hook->waiting > 0)
		log_warning("hook: %zu events dropped at the end", hook->waiting);
	hook->waiting = 0;
	if (hook->pid != 0) {
		log_warning("hook %s killed at the end", show_path(hook, path));
		if (kill_group(hook))
			reap_now(hook->pid);
		hook->pid = 0;
		conclude(hook, false, clock_now_ms());
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}
