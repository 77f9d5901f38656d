/*
 * The hook is this very program: run with NATPUNCH_EVENT in its environment it does what TEST_HOOK
 * says, and writes what it was given to the file TEST_REPORT.
 */
#include "natpunch/os/hook.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/signals.h"
#include "tap.h"
#include "unit/ambient.h"

#define SELF     "/proc/self/exe"
#define DEADLINE 10000

static char directory[] = "/tmp/natpunch-hook-XXXXXX";
static char report_path[64], log_path[64];
static int signals;

/* ------------------------------------------------------------- in the hook */

static void report_descriptors(FILE *out)
{
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;

	fprintf(out, "descriptors");
	while (list != NULL && (entry = readdir(list)) != NULL) {
		char target[256] = "";
		char path[300];
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof(target) - 1) < 0 ||
			strcmp(target, report_path) == 0 || strncmp(target, "/proc/", 6) == 0)
			continue;
		fprintf(out, " %s", entry->d_name);
	}
	fprintf(out, "\n");
	if (list != NULL)
		closedir(list);
}

static void report_all(FILE *out, int argc, char **argv)
{
	static const char *const names[] = {"EVENT", "PUBLIC_ADDR", "PUBLIC_PORT", "IP4P",
		"LOCAL_ADDR", "LOCAL_PORT", "PROTOCOL", "METHOD", "SEEN_BY", "FAMILY", "REFLECTOR",
		"ROUTER", "ROUTER_METHOD", "ROUTER_PORT", "LEASE"};
	struct stat in, output, error;
	sigset_t blocked;

	fprintf(out, "arguments");
	for (int i = 1; i < argc; i++)
		fprintf(out, " [%s]", argv[i]);
	fprintf(out, "\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[40];
		snprintf(name, sizeof(name), "NATPUNCH_%s", names[i]);
		fprintf(out, "%s=%s\n", names[i], getenv(name) != NULL ? getenv(name) : "(unset)");
	}
	report_descriptors(out);
	fprintf(out, "ambient %d\n", ambient_is_set());
	fstat(0, &in);
	fstat(1, &output);
	fstat(2, &error);
	fprintf(out, "stdin %s\n", in.st_rdev == makedev(1, 3) ? "null" : "other");
	fprintf(out, "stdout %s\n",
		output.st_dev == error.st_dev && output.st_ino == error.st_ino ? "stderr"
									       : "other");
	fprintf(out, "leader %d\n", getpgid(0) == getpid());
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	fprintf(out, "blocked %d\n",
		sigismember(&blocked, SIGTERM) || sigismember(&blocked, SIGCHLD));
	fprintf(out, "pipe %s\n", signal(SIGPIPE, SIG_DFL) == SIG_DFL ? "default" : "ignored");
}

static int act_as_hook(int argc, char **argv)
{
	const char *mode = getenv("TEST_HOOK");
	FILE *out;

	snprintf(report_path, sizeof(report_path), "%s", getenv("TEST_REPORT"));
	out = fopen(report_path, "ae");
	if (out == NULL || mode == NULL)
		return 99;
	if (strcmp(mode, "all") == 0)
		report_all(out, argc, argv);
	if (strcmp(mode, "event") == 0)
		fprintf(out, "%s %s\n", getenv("NATPUNCH_EVENT"), argv[2]);
	if (strcmp(mode, "hang") == 0) {
		pid_t child = fork();
		if (child > 0)
			fprintf(out, "%d %d\n", (int)getpid(), (int)child);
		fflush(out);
		for (;;)
			pause();
	}
	fclose(out);
	if (strcmp(mode, "signal") == 0)
		raise(SIGKILL);
	return strcmp(mode, "fail") == 0 ? 3 : 0;
}

/* ------------------------------------------------------------- in the test */

static struct mapping mapping_of(const char *public_ip, uint16_t port)
{
	struct mapping mapping = {.protocol = MAPPING_TCP,
		.method = "repair",
		.router_method = "pcp",
		.router_port = 1024,
		.lease = 7200};

	if (addr_parse_ip(&mapping.public_addr, public_ip) != 0 ||
		addr_parse_ip(&mapping.router, "10.0.0.1") != 0 ||
		addr_parse_ip(&mapping.local, "192.168.1.2") != 0)
		bail_out("an address of the test is wrong");
	mapping.public_addr.port = port;
	mapping.local.port = 22;
	strcpy(mapping.reflector, "reflector.example.org:3478");
	return mapping;
}

static const char *slurp(const char *path)
{
	static char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	if (fd >= 0)
		close(fd);
	text[size > 0 ? size : 0] = '\0';
	return text;
}

static void has_line(const char *text, const char *line, const char *name)
{
	char shown[4200];
	char wanted[600];

	snprintf(shown, sizeof(shown), "\n%s", text);
	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (!ok(strstr(shown, wanted) != NULL, "%s", name))
		diag("wanted the line: %s\n   in:%s", line, shown);
}

static int saved_stderr;

static void log_to_file(void)
{
	int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static const char *logged(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	return slurp(log_path);
}

static void begin(struct hook *hook, const char *mode)
{
	unlink(report_path);
	setenv("TEST_HOOK", mode, 1);
	hook_init(hook, SELF, HOOK_ORDER_NATMAP);
	log_to_file();
}

/* What the caller's loop does. Returns false when the hook still runs at the deadline. */
static bool run_until_idle(struct hook *hook)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	while (hook->pid != 0) {
		struct pollfd ready = {.fd = signals, .events = POLLIN};
		uint64_t now = clock_now_ms();
		uint64_t due = hook_due(hook) < end ? hook_due(hook) : end;

		if (now >= end)
			return false;
		poll(&ready, 1, due > now ? (int)(due - now) : 0);
		while (signals_take(signals) != 0)
			;
		now = clock_now_ms();
		hook_reap(hook, now);
		hook_expire(hook, now);
	}
	return true;
}

/* The two numbers of a report's first line; 0 for what is none. */
static void read_pids(pid_t pids[2])
{
	char text[64];
	char *rest = NULL;

	snprintf(text, sizeof(text), "%.63s", slurp(report_path));
	for (int i = 0; i < 2; i++) {
		const char *word = strtok_r(i == 0 ? text : NULL, " \n", &rest);
		uint64_t number = 0;
		pids[i] = word != NULL && parse_number(word, 2, INT32_MAX, &number) == 0
				  ? (pid_t)number
				  : 0;
	}
}

static bool is_gone(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	const char *text = slurp(path);
	const char *state = strrchr(text, ')');
	return state == NULL || state[2] == 'Z' || state[2] == 'X';
}

static bool wait_until_gone(pid_t pid)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	while (!is_gone(pid) && clock_now_ms() < end)
		poll(NULL, 0, 5);
	return is_gone(pid);
}

/* A hook that hangs has written its line before the test goes on. */
static void wait_for_report(void)
{
	uint64_t end = clock_now_ms() + DEADLINE;

	while (strchr(slurp(report_path), '\n') == NULL && clock_now_ms() < end)
		poll(NULL, 0, 5);
}

static void test_names(void)
{
	enum hook_order order = HOOK_ORDER_NATMAP;

	is_str(hook_event_name(HOOK_UP), "up", "name of up");
	is_str(hook_event_name(HOOK_CHANGE), "change", "name of change");
	is_str(hook_event_name(HOOK_UNREACHABLE), "unreachable", "name of unreachable");
	is_str(hook_event_name(HOOK_DOWN), "down", "name of down");
	is_int(hook_parse_order("natter", &order), 0, "natter is an order");
	is_int(order, HOOK_ORDER_NATTER, "its own");
	is_int(hook_parse_order("natmap", &order), 0, "natmap is one");
	is_int(order, HOOK_ORDER_NATMAP, "its own");
	is_int(hook_parse_order("Natmap", &order), -1, "Natmap is none");
	is_int(hook_parse_order("", &order), -1, "nor is nothing");
}

static void test_events(void)
{
	static const char *const bad[] = {
		"", "up,", ",up", "up,,down", "up,up", "Up", "u", "up down"};
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook hook;
	unsigned events = 0;

	is_int(hook_parse_events("up,change,unreachable,down", &events), 0, "all events");
	is_uint(events, HOOK_ALL_EVENTS, "are all");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(hook_parse_events(bad[i], &events), -1, "'%s' is no list", bad[i]);
	is_int(hook_parse_events("change,up", &events), 0, "some, in any order");
	is_uint(events, HOOK_NEW_MAPPING, "are those");

	begin(&hook, "event");
	hook.events = events;
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	hook_call(&hook, HOOK_UNREACHABLE, &mapping, clock_now_ms());
	hook_call(&hook, HOOK_CHANGE, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "a hook for those");
	is_str(slurp(report_path), "change 1\n", "is called for no other");
	hook.repeats = true;
	hook.path = "/nonexistent/hook";
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	ok(hook_due(&hook) != TIMER_NONE, "a call is to be repeated");
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	is_uint(hook_due(&hook), TIMER_NONE, "but not once it is not true any more");
	logged();
}

static void test_what_it_gets(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 41843);
	struct hook hook;
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	bool ambient;

	begin(&hook, "all");
	setenv("NATPUNCH_REFLECTOR", "input.example.org", 1);
	ambient = ambient_set(true);
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "the hook runs and ends");
	is_str(logged(), "", "nothing is logged when all is well");
	is_uint(hook.kill_at, TIMER_NONE, "no deadline is left");
	ambient_set(false);
	close(leak);
	unsetenv("NATPUNCH_REFLECTOR");

	const char *text = slurp(report_path);
	has_line(text,
		"arguments [203.0.113.2] [41843] [2001::a373:cb00:7102] [22] [tcp] [192.168.1.2]",
		"arguments in natmap's order");
	has_line(text, "EVENT=up", "the event");
	has_line(text, "PUBLIC_ADDR=203.0.113.2", "the public address");
	has_line(text, "PUBLIC_PORT=41843", "the public port");
	has_line(text, "IP4P=2001::a373:cb00:7102", "both in one");
	has_line(text, "LOCAL_ADDR=192.168.1.2", "the local address");
	has_line(text, "LOCAL_PORT=22", "the local port");
	has_line(text, "PROTOCOL=tcp", "the protocol");
	has_line(text, "METHOD=repair", "the method");
	has_line(text, "SEEN_BY=reflector.example.org:3478", "the reflector");
	has_line(text, "FAMILY=4", "the family");
	has_line(text, "ROUTER=10.0.0.1", "the router");
	has_line(text, "ROUTER_METHOD=pcp", "how it was asked");
	has_line(text, "ROUTER_PORT=1024", "its port");
	has_line(text, "LEASE=7200", "and for how long");
	has_line(text, "REFLECTOR=input.example.org", "the rest of the environment is inherited");
	has_line(text, "descriptors 0 1 2", "no descriptor but three");
	if (ambient)
		has_line(text, "ambient 0", "no capability of ours");
	else
		skip(1, "needs root, for a capability to be inherited");
	has_line(text, "stdin null", "standard input is /dev/null");
	has_line(text, "stdout stderr", "standard output is standard error");
	has_line(text, "leader 1", "it leads a process group");
	has_line(text, "blocked 0", "no signal is blocked");
	has_line(text, "pipe default", "SIGPIPE is as ever");
}

static void test_natter_and_ipv6(void)
{
	struct mapping mapping = mapping_of("2001:db8::1", 50000);
	struct hook hook;

	mapping.protocol = MAPPING_UDP;
	begin(&hook, "all");
	hook.order = HOOK_ORDER_NATTER;
	hook_call(&hook, HOOK_CHANGE, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "the hook runs and ends");
	logged();
	const char *text = slurp(report_path);
	has_line(text, "arguments [udp] [192.168.1.2] [22] [2001:db8::1] [50000]",
		"arguments in Natter's order");
	has_line(text, "IP4P=", "no IP4P for an IPv6 address");
	has_line(text, "EVENT=change", "the event");
	has_line(text, "FAMILY=6", "the family");
}

static void test_none(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook hook;

	hook_init(&hook, NULL, HOOK_ORDER_NATMAP);
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	is_int(hook.pid, 0, "no path, no process");
	is_uint(hook.waiting, 0, "and no queue");
	hook_finish(&hook);
}

static void test_cannot_run(const char *path, const char *reason, const char *name)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook hook;
	char wanted[256];

	begin(&hook, "all");
	hook.path = path;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	snprintf(wanted, sizeof(wanted),
		"natpunch: cannot run hook %s: %s\nnatpunch: cannot run hook %s: %s\n", path,
		reason, path, reason);
	is_str(logged(), wanted, "%s: said, with the reason", name);
	is_int(hook.pid, 0, "%s: nothing runs", name);
	is_uint(hook.waiting, 0, "%s: nothing waits", name);
	is_int(waitpid(-1, NULL, WNOHANG), -1, "%s: no child is left", name);
}

static void test_cannot_run_script(const char *text, const char *reason, const char *name)
{
	char script[64];
	int fd;

	snprintf(script, sizeof(script), "%s/script", directory);
	fd = open(script, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
	is_int(write(fd, text, strlen(text)), (int)strlen(text), "%s", name);
	close(fd);
	test_cannot_run(script, reason, name);
	unlink(script);
}

static void test_cannot(void)
{
	char plain[64], garbage[64];
	int fd;

	snprintf(plain, sizeof(plain), "%s/plain", directory);
	close(open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	snprintf(garbage, sizeof(garbage), "%s/garbage", directory);
	fd = open(garbage, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
	is_int(write(fd, "\1\2\3\4", 4), 4, "a program that is none");
	close(fd);
	test_cannot_run("/nonexistent/hook", strerror(ENOENT), "no such file");
	test_cannot_run(plain, strerror(EACCES), "not executable");
	test_cannot_run(garbage, strerror(ENOEXEC), "not a program");
	test_cannot_run_script("#!/nonexistent/sh -e\ntrue\n",
		"its interpreter /nonexistent/sh is not there", "a script without an interpreter");
	test_cannot_run_script("#! /bin/sh\r\ntrue\r\n",
		"its first line ends in CR, where LF alone must be", "a script from DOS");
	test_cannot_run_script("#!/nonexistent/sh", "its interpreter /nonexistent/sh is not there",
		"a script of half a line");
	unlink(plain);
	unlink(garbage);
}

static void test_failures(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook hook;

	begin(&hook, "fail");
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "a hook that fails ends");
	is_str(logged(), "natpunch: warning: hook " SELF " failed at up: exit status 3\n",
		"a failure is logged");

	begin(&hook, "signal");
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "a hook that is killed ends");
	is_str(logged(), "natpunch: warning: hook " SELF " failed at down: signal 9 (Killed)\n",
		"so is a signal");
}

static unsigned ends[2]; /* calls that were not taken, and that were */

static void count_end(void *context, const struct hook_call *call, bool taken)
{
	ends[taken]++;
	*(struct hook_call *)context = *call;
}

static void test_repeats(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook_call told;
	struct hook hook;
	uint64_t now = clock_now_ms();

	begin(&hook, "fail");
	hook.ended = count_end;
	hook.context = &told;
	hook_call(&hook, HOOK_UP, &mapping, now);
	ok(run_until_idle(&hook), "without repeats a hook fails");
	is_uint(hook_due(&hook), TIMER_NONE, "once");
	ok(hook.failed && ends[0] == 1 && ends[1] == 0, "its caller is told");
	hook.repeats = true;
	hook.path = "/nonexistent/hook";
	hook_call(&hook, HOOK_UP, &mapping, now);
	is_uint(hook_due(&hook), now + HOOK_REPEAT_FIRST_MS, "one that cannot start: again later");
	for (unsigned i = 0; i < 6; i++)
		hook_expire(&hook, now = hook_due(&hook));
	is_uint(hook_due(&hook), now + HOOK_REPEAT_MAX_MS, "the pause grows up to its limit");
	hook_expire(&hook, now = hook_due(&hook));
	is_uint(hook_due(&hook), now + HOOK_REPEAT_MAX_MS, "and no further");
	is_uint(ends[0], 9, "each is one that was not taken");
	hook.path = SELF;
	setenv("TEST_HOOK", "event", 1);
	now = hook_due(&hook);
	hook_expire(&hook, now - 1);
	is_int(hook.pid, 0, "not too early");
	hook_expire(&hook, now);
	ok(run_until_idle(&hook), "at last it succeeds");
	is_uint(hook_due(&hook), TIMER_NONE, "that is the end of it");
	is_str(slurp(report_path), "up 1\n", "with the same event");
	ok(!hook.failed && ends[1] == 1 && told.event == HOOK_UP, "and the caller is told");
	logged();
}

static void test_replaces(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct mapping newer = mapping_of("203.0.113.2", 2);
	struct hook hook;

	begin(&hook, "fail");
	hook.repeats = true;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "a hook fails");
	ok(hook_due(&hook) != TIMER_NONE, "it is to be repeated");
	setenv("TEST_HOOK", "event", 1);
	hook_call(&hook, HOOK_CHANGE, &newer, clock_now_ms());
	ok(run_until_idle(&hook), "a newer event takes its place");
	is_str(slurp(report_path), "change 2\n", "at once");
	is_uint(hook_due(&hook), TIMER_NONE, "and is the last");

	setenv("TEST_HOOK", "fail", 1);
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	hook_finish(&hook);
	is_uint(hook_due(&hook), TIMER_NONE, "at the end nothing is repeated");
	ok(hook.failed, "but what failed did");

	hook.repeats = true;
	hook.path = "/nonexistent/hook";
	hook_call(&hook, HOOK_UP, &mapping, 1000);
	hook_expire(&hook, hook_due(&hook));
	hook_call(&hook, HOOK_CHANGE, &newer, 2000);
	is_uint(hook_due(&hook), 2000 + HOOK_REPEAT_FIRST_MS, "a newer event has its own pauses");
	logged();
}

/* What happens to one family says nothing about the other. */
static void test_families(void)
{
	struct mapping ipv4 = mapping_of("203.0.113.2", 1);
	struct mapping ipv6 = mapping_of("2001:db8::2", 2);
	struct hook hook;
	uint64_t start = clock_now_ms();

	begin(&hook, "event");
	hook.repeats = true;
	hook.path = "/nonexistent/hook";
	hook_call(&hook, HOOK_UP, &ipv4, start);
	hook_call(&hook, HOOK_UP, &ipv6, start + 1000);
	is_uint(hook_due(&hook), start + HOOK_REPEAT_FIRST_MS,
		"IPv4's call is to be repeated still");
	hook_expire(&hook, start + HOOK_REPEAT_FIRST_MS);
	is_uint(hook_due(&hook), start + 1000 + HOOK_REPEAT_FIRST_MS, "and then IPv6's");
	hook.path = SELF;
	hook_expire(&hook, start + 1000 + HOOK_REPEAT_FIRST_MS);
	ok(run_until_idle(&hook), "which succeeds");
	is_str(slurp(report_path), "up 2\n", "with its own event");
	ok(hook_due(&hook) != TIMER_NONE, "and leaves IPv4's to come");
	hook_call(&hook, HOOK_DOWN, &ipv4, start + 9000);
	ok(run_until_idle(&hook), "a newer event of IPv4");
	is_uint(hook_due(&hook), TIMER_NONE, "takes that one's place");
	logged();
}

static void test_hangs(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 1);
	struct hook hook;
	pid_t pids[2];
	uint64_t began = clock_now_ms();

	begin(&hook, "hang");
	hook.timeout_ms = 500;
	hook_call(&hook, HOOK_UP, &mapping, began);
	is_uint(hook.kill_at, began + 500, "it has a deadline");
	hook_expire(&hook, began + 499);
	ok(!hook.killed, "it is not killed before that");
	setenv("TEST_HOOK", "event", 1);
	hook_call(&hook, HOOK_CHANGE, &mapping, clock_now_ms());
	wait_for_report();
	while (clock_now_ms() < began + 500)
		poll(NULL, 0, 5);
	hook_expire(&hook, clock_now_ms());
	ok(hook.killed, "a hook that hangs is killed");
	/* The next one is not to be: a sanitized program takes long to start. */
	hook.timeout_ms = DEADLINE;
	ok(run_until_idle(&hook), "and the next one runs");
	is_str(logged(), "natpunch: warning: hook " SELF " killed at up: not done after 0.5 s\n",
		"it is logged, once");
	read_pids(pids);
	ok(pids[0] > 0 && wait_until_gone(pids[0]), "the hook is gone");
	ok(pids[1] > 0 && wait_until_gone(pids[1]), "and so is what it had started");
	ok(strstr(slurp(report_path), "\nchange 1\n") != NULL, "the event that waited was told");
}

static void test_queue(void)
{
	static const enum hook_event events[] = {HOOK_UP, HOOK_CHANGE};
	struct hook hook;

	begin(&hook, "event");
	for (uint16_t i = 0; i < 1 + HOOK_QUEUE_MAX + 2; i++) {
		struct mapping mapping = mapping_of("203.0.113.2", (uint16_t)(100 + i));
		hook_call(&hook, events[i > 0], &mapping, clock_now_ms());
	}
	is_uint(hook.waiting, HOOK_QUEUE_MAX, "the queue is full");
	ok(run_until_idle(&hook), "and runs to its end");
	is_str(logged(),
		"natpunch: warning: hook: event change dropped, as 8 newer ones wait\n"
		"natpunch: warning: hook: event change dropped, as 8 newer ones wait\n",
		"what is dropped is logged");
	is_str(slurp(report_path),
		"up 100\nchange 103\nchange 104\nchange 105\nchange 106\nchange 107\nchange 108\n"
		"change 109\nchange 110\n",
		"the oldest that wait are dropped; the order holds");
}

static void test_finish(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 7);
	struct hook hook;
	pid_t pids[2];

	begin(&hook, "event");
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	hook_finish(&hook);
	is_str(logged(), "", "nothing to log at an orderly end");
	is_str(slurp(report_path), "up 7\ndown 7\n", "the queue runs to its end");
	is_int(hook.pid, 0, "nothing runs any more");

	begin(&hook, "hang");
	hook.timeout_ms = 600;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	hook_call(&hook, HOOK_DOWN, &mapping, clock_now_ms());
	wait_for_report();
	hook.kill_at += 5000; /* it has not run for long */
	uint64_t began = clock_now_ms();
	hook_finish(&hook);
	uint64_t took = clock_now_ms() - began;
	ok(took < 4000, "hooks that hang do not hold up the end: %d ms", (int)took);
	ok(strstr(logged(), "killed at up") != NULL, "the last one does not wait for the first");
	read_pids(pids);
	ok(pids[0] > 0 && wait_until_gone(pids[0]), "and they are gone");
	ok(pids[1] > 0 && wait_until_gone(pids[1]), "with all that they had started");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");

	begin(&hook, "hang");
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	raise(SIGTERM); /* blocked by signals_open(), so it waits */
	began = clock_now_ms();
	hook_finish(&hook);
	ok(clock_now_ms() - began < 5000, "a signal ends it at once");
	is_str(logged(), "natpunch: warning: hook " SELF " killed at the end\n", "and says so");
}

/* A hook that ends must not eat the end of a child that is somebody else's. */
static void test_other_children(void)
{
	struct mapping mapping = mapping_of("203.0.113.2", 7);
	struct hook hook;
	pid_t other = fork();
	int status = 0;

	if (other == 0)
		_exit(42);
	begin(&hook, "event");
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	ok(run_until_idle(&hook), "the hook ends");
	logged();
	is_int(waitpid(other, &status, 0), other, "the other child is still there to be reaped");
	is_int(WEXITSTATUS(status), 42, "with its status");
}

int main(int argc, char **argv)
{
	if (getenv("NATPUNCH_EVENT") != NULL)
		return act_as_hook(argc, argv);
	if (mkdtemp(directory) == NULL)
		bail_out("cannot make a directory");
	snprintf(report_path, sizeof(report_path), "%s/report", directory);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	setenv("TEST_REPORT", report_path, 1);
	signals = signals_open();

	test_names();
	test_none();
	test_events();
	test_what_it_gets();
	test_natter_and_ipv6();
	test_cannot();
	test_failures();
	test_repeats();
	test_replaces();
	test_families();
	test_hangs();
	test_queue();
	test_finish();
	test_other_children();

	unlink(report_path);
	unlink(log_path);
	rmdir(directory);
	return done_testing();
}
