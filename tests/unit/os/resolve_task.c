/*
 * Names looked up by a launcher, for who may not do it himself.
 */
#include "natpunch/os/resolve_task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

enum {
	TASK_RESOLVE,
	TASK_COUNT,
};

#define WAIT_MS 10000

static struct launcher launcher;
static struct resolve_task task = {.launcher = &launcher, .task = TASK_RESOLVE};

static void look_up(struct resolve *resolve, const char *host, enum addr_family family)
{
	struct resolve_helper helper = resolve_task_helper(&task);
	struct host_port reflector = {.port = 3478, .port_named = true};

	memcpy(reflector.host, host, strlen(host) + 1);
	resolve_start_reflector(resolve, &helper, &reflector, family);
	while (!resolve->done) {
		struct pollfd ready = {.fd = resolve->fd, .events = POLLIN};

		if (poll(&ready, 1, WAIT_MS) <= 0)
			bail_out("no answer about %s", host);
		resolve_advance(resolve);
	}
}

static void test_found(void)
{
	struct resolve resolve;
	struct addr loopback;

	if (addr_parse_ip(&loopback, "127.0.0.1") != 0)
		bail_out("127.0.0.1 is no address");
	loopback.port = 3478;
	look_up(&resolve, "localhost", ADDR_IPV4);
	ok(resolve.pid > 0, "a child looks localhost up");
	ok(resolve.count > 0, "it has an IPv4 address");
	ok(addr_equal(&resolve.found[0], &loopback), "which is the right one, with the port");
	for (size_t i = 0; i < resolve.count; i++)
		is_int(resolve.found[i].family, ADDR_IPV4, "no other family than was asked for");
	resolve_end(&resolve);
	is_int(resolve.pid, 0, "the child is reaped");
}

static void test_not_found(void)
{
	struct resolve resolve;

	/* No name looks like this, so no name server is asked. */
	look_up(&resolve, "a..b", ADDR_NONE);
	is_int(resolve.count, 0, "a name that there is not has no address");
	is_int(resolve.error.status, EXIT_STATUS_NETWORK, "which is the network's fault");
	ok(resolve.error.text[0] != '\0', "and it is told why: %s", resolve.error.text);
	resolve_end(&resolve);
}

static void test_numeric(void)
{
	struct resolve resolve;

	look_up(&resolve, "192.0.2.1", ADDR_NONE);
	is_int(resolve.pid, 0, "an address takes no child");
	is_int(resolve.count, 1, "and is what was asked for");
	resolve_end(&resolve);
}

/* What somebody who took over the confined process may send. */
static void test_malformed(void)
{
	char bytes[LAUNCHER_REQUEST_MAX];
	int ends[2];
	char byte;

	memset(bytes, 'x', sizeof(bytes));
	if (pipe(ends) != 0)
		bail_out("pipe: %s", strerror(errno));
	ok(launcher_start(&launcher, TASK_RESOLVE, bytes, 7, ends[1]) > 0, "a short question,");
	ok(launcher_start(&launcher, TASK_RESOLVE, bytes, sizeof(bytes), ends[1]) > 0,
		"one that is too long,");
	close(ends[1]);
	is_int(read(ends[0], &byte, 1), 0, "are not answered");
	close(ends[0]);
}

/* Begins a look-up whose answer nobody takes: the pipe is full, so its child stays. */
static pid_t begin_stuck(const struct resolve_helper *helper, int fd)
{
	static const char filler[4096];
	const struct host_port host = {.port = 3478, .port_named = true, .host = "localhost"};

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, filler, sizeof(filler)) > 0)
		continue;
	fcntl(fd, F_SETFL, 0);
	return helper->start(helper->context, &host, ADDR_IPV4, fd);
}

/* Of /proc/PID/stat, or 'X' where there is none. */
static char state_of(pid_t pid)
{
	char path[64], state = 'X';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	if (file != NULL)
		fclose(file);
	return state;
}

/* Begins one, waits until it is stuck, says which process it is, and ends. */
static _Noreturn void ask_and_end(int fd, int said)
{
	const struct launcher_task rows[TASK_COUNT] = {[TASK_RESOLVE] = resolve_task_row(&task)};
	struct resolve_helper helper = resolve_task_helper(&task);
	pid_t child;

	launcher_close(&launcher);
	task.parent = getpid();
	if (launcher_open(&launcher, rows, TASK_COUNT) != 0)
		_exit(1);
	child = begin_stuck(&helper, fd);
	while (child > 0 && state_of(child) != 'S')
		sched_yield();
	if (write(said, &child, sizeof(child)) != (ssize_t)sizeof(child))
		_exit(2);
	_exit(0);
}

/* Who asked is gone: so is his look-up, though nobody takes its answer. */
static void test_orphan(void)
{
	uint64_t end = clock_now_ms() + WAIT_MS;
	int ends[2], said[2];
	pid_t asker, child = 0;
	char state;

	if (pipe(ends) != 0 || pipe(said) != 0)
		bail_out("pipe: %s", strerror(errno));
	fflush(stdout);
	asker = fork();
	if (asker == 0)
		ask_and_end(ends[1], said[1]);
	close(said[1]);
	waitpid(asker, NULL, 0);
	if (read(said[0], &child, sizeof(child)) != (ssize_t)sizeof(child))
		bail_out("no look-up was begun");
	do
		state = child > 0 ? state_of(child) : '?';
	while (state != 'X' && state != 'Z' && clock_now_ms() < end);
	ok(state == 'X' || state == 'Z', "a look-up ends with who asked");
	close(ends[0]);
	close(ends[1]);
	close(said[0]);
}

/* resolve_end() of one that goes on. */
static void end_stuck(bool leaves, const char *name)
{
	const struct resolve_task row = {
		.launcher = &launcher, .task = TASK_RESOLVE, .leaves = leaves};
	struct resolve_helper helper = resolve_task_helper(&row);
	struct resolve resolve = {.fd = -1, .leaves = helper.leaves};
	int ends[2];
	pid_t pid;

	if (pipe(ends) != 0)
		bail_out("pipe: %s", strerror(errno));
	pid = resolve.pid = begin_stuck(&helper, ends[1]);
	resolve_end(&resolve);
	is_int(pid > 0 ? waitpid(pid, NULL, WNOHANG) : -2, leaves ? 0 : -1, "%s", name);
	if (leaves && pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(ends[0]);
	close(ends[1]);
}

static void test_closed(void)
{
	struct resolve resolve;

	launcher_close(&launcher);
	look_up(&resolve, "localhost", ADDR_NONE);
	is_int(resolve.count, 0, "without a launcher no name is looked up");
	ok(resolve.error.text[0] != '\0', "which is told: %s", resolve.error.text);
	resolve_end(&resolve);
}

int main(void)
{
	const struct launcher_task tasks[TASK_COUNT] = {[TASK_RESOLVE] = resolve_task_row(&task)};

	task.parent = getpid();
	if (launcher_open(&launcher, tasks, TASK_COUNT) != 0)
		bail_out("launcher: %s", strerror(errno));
	test_found();
	test_not_found();
	test_numeric();
	test_malformed();
	test_orphan();
	end_stuck(false, "one that is not wanted is killed,");
	end_stuck(true, "or left alone by who may not kill");
	test_closed();
	return done_testing();
}
