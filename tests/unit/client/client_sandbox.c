/*
 * What is left to commands that ask reflectors: tried from inside, in children that confine
 * themselves as these do, and read from outside in /proc. And what the launcher still does for
 * them.
 */
#include "natpunch/client/client_sandbox.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/client/mapping_race.h"
#include "unit/confined.h"

#define RECORD_MODE 0644
#define WAIT_MS     10000

/* A hook that becomes another user, and goes on for as long as who runs it is there. */
#define BECOMES_ANOTHER                                                                            \
	"exec setpriv --reuid 65534 --regid 65534 --clear-groups tail --pid=$PPID -f /dev/null"
#define NONE      "0000000000000000"
#define PORT      "0000000000003400" /* CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW */
#define PORT_KILL "0000000000003420" /* and CAP_KILL */

static char directory[] = "/tmp/natpunch-client-XXXXXX";
static char changed_path[64], other_path[64], hook_path[64], pid_path[64], key_path[64];
static const struct reflector_list by_address = {
	.all = {{.host = "192.0.2.1"}, {.host = "2001:db8::1"}}, .count = 2};
static const struct reflector_list by_name = {
	.all = {{.host = "192.0.2.1"}, {.host = "localhost"}}, .count = 2};

static void leave_pid(const void *context, const void *request, size_t size, int fd);

#define ASKS .reflectors = &by_address

static const struct client_sandbox_plan any_port = {
	.stay = CLIENT_SANDBOX_FROM_ANY_PORT, ASKS, .secret = true};
static const struct client_sandbox_plan once = {.stay = CLIENT_SANDBOX_ONCE, ASKS};
static const struct client_sandbox_plan taps = {.stay = CLIENT_SANDBOX_ONCE, ASKS, .taps = true};
static const struct client_sandbox_plan remembers = {
	.stay = CLIENT_SANDBOX_ONCE, ASKS, .changed_file = changed_path};
static struct hook hook;
static const struct client_sandbox_plan with_hook = {
	.stay = CLIENT_SANDBOX_ONCE, ASKS, .hook = &hook};
static const struct client_sandbox_plan keeps = {.stay = CLIENT_SANDBOX_KEEPS, ASKS};
static const struct client_sandbox_plan keeps_file = {
	.stay = CLIENT_SANDBOX_KEEPS, ASKS, .changed_file = changed_path};
static const struct client_sandbox_plan keeps_task = {.stay = CLIENT_SANDBOX_KEEPS,
	ASKS,
	.caller_task = {.run = leave_pid, .context = pid_path},
	.caller_file = "/dev/null"};
static const struct client_sandbox_plan keeps_key = {
	.stay = CLIENT_SANDBOX_KEEPS, ASKS, .key_file = key_path, .secret = true};
static const struct client_sandbox_plan asks_name = {
	.stay = CLIENT_SANDBOX_FROM_ANY_PORT, .reflectors = &by_name};

static struct client_sandbox sandbox;

static int confine(const void *how)
{
	const struct client_sandbox_plan *plan = how;
	struct error error;

	if (client_sandbox_open(&sandbox, plan, &error) != 0 ||
		client_sandbox_enter(plan, &error) != 0)
		return CANNOT_CONFINE;
	return 0;
}

static int run(const struct client_sandbox_plan *plan, confined_try *try)
{
	return run_confined(confine, plan, try);
}

/* ---- calls -------------------------------------------------------------------------------- */

static int try_stream(void)
{
	return problem_of(socket(AF_INET, SOCK_STREAM, 0));
}

static void test_calls(void)
{
	const struct {
		const char *name;
		const struct client_sandbox_plan *plan;
		int raw, packet, netfilter;
	} rows[] = {
		{"from any port", &any_port, EPERM, EPERM, EPERM},
		{"once", &once, 0, EPERM, 0},
		{"once, with a tap", &taps, 0, 0, 0},
		{"once, with -c", &remembers, 0, EPERM, 0},
		{"kept", &keeps, 0, EPERM, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct client_sandbox_plan *plan = rows[i].plan;
		const char *name = rows[i].name;

		is_errno(run(plan, try_exec), ENOSYS, "%s: no program is run", name);
		is_errno(run(plan, try_fork), ENOSYS, "%s: no process is begun", name);
		is_errno(run(plan, try_ptrace), ENOSYS, "%s: none is traced", name);
		is_errno(run(plan, try_mount), ENOSYS, "%s: nothing is mounted", name);
		is_errno(run(plan, try_dumpable), ENOSYS, "%s: memory stays hidden", name);
		is_errno(run(plan, try_unix), EPERM, "%s: no socket of this machine", name);
		is_errno(run(plan, try_stream), 0, "%s: connections can be made", name);
		is_errno(run(plan, try_raw), rows[i].raw, "%s: raw sockets", name);
		is_errno(run(plan, try_packet), rows[i].packet, "%s: reading along", name);
		is_errno(run(plan, try_netfilter), rows[i].netfilter, "%s: translation", name);
	}
}

/* ---- files -------------------------------------------------------------------------------- */

static int try_changed(void)
{
	struct error error;
	int lock = file_lock(changed_path, 0, &error);

	if (lock < 0)
		return EACCES;
	file_unlock(changed_path, lock);
	return file_replace(changed_path, "y", 1, RECORD_MODE, &error) == 0 ? 0 : EACCES;
}

static int try_other_file(void)
{
	return problem_of(open(other_path, O_RDWR | O_CREAT, 0600));
}

/* Another file of the same name, as it is put there after a change. */
static int try_key(void)
{
	char *data;
	size_t size;
	struct error error;

	if (file_read_secret(key_path, 64, &data, &size, &error) != 0)
		return EACCES;
	free(data);
	return 0;
}

static int try_proc(void)
{
	return problem_of(open("/proc/net/tcp", O_RDONLY));
}

/* Of somebody else: the parent, which is not confined. */
static int try_memory(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)getppid());
	return problem_of(open(path, O_RDONLY));
}

static void test_files(void)
{
	const struct client_sandbox_plan *const rows[] = {&once, &remembers, &keeps, &keeps_file};

	is_errno(run(&any_port, try_password_file), ENOSYS, "from any port: no file is read");
	is_errno(run(&any_port, try_kill), ENOSYS, "from any port: no process is killed");
	is_errno(run(&once, try_kill), ENOSYS, "nor once");
	is_errno(run(&once, try_other_file), EPERM, "once: no file is written");
	is_errno(run(&keeps, try_changed), EACCES, "kept: no file is written without -c");
	is_errno(run(&remembers, try_changed), 0, "once, with -c: its own is written");
	is_errno(run(&keeps_file, try_changed), 0, "kept, with -c: likewise");
	is_errno(run(&keeps, try_proc), 0, "kept: the tables of sockets can be read");
	is_errno(run(&once, try_proc), 0, "and once");
	is_errno(run(&keeps_key, try_key), 0, "kept, with a key: it is read again");
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) <= 0) {
		skip(1, "this kernel has no landlock");
		return;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		is_errno(run(rows[i], try_password_file), EACCES, "%zu: no other file is read,", i);
		is_errno(run(rows[i], try_memory), EACCES, "%zu: nor memory of others", i);
	}
	is_errno(run(&keeps, try_key), EACCES, "kept: no key is read again without one");
	is_errno(run(&keeps_key, try_password_file), EACCES, "kept, with a key: no other file");
	is_errno(run(&keeps, try_null), EACCES, "kept: not even this one");
	is_errno(run(&keeps_task, try_null), 0, "but the caller's own is read");
	is_errno(run(&keeps_task, try_password_file), EACCES, "and no other with it");
	is_errno(run(&keeps_file, try_other_file), EACCES, "kept: nor written elsewhere with -c");
	is_errno(run(&remembers, try_other_file), EACCES, "nor once");
}

/* ---- rights ------------------------------------------------------------------------------- */

static void look(const struct client_sandbox_plan *plan, const char *caps, const char *name)
{
	const struct wanted wanted[] = {
		{"CapInh", NONE},
		{"CapPrm", caps},
		{"CapEff", caps},
		{"CapBnd", NONE},
		{"CapAmb", NONE},
		{"NoNewPrivs", "1"},
		{"Seccomp", "2"},
	};

	look_confined(confine, plan, wanted, sizeof(wanted) / sizeof(wanted[0]), name);
}

/* ---- what others do ----------------------------------------------------------------------- */

static bool has_launcher(const struct client_sandbox_plan *plan)
{
	struct error error;
	bool has;

	if (client_sandbox_open(&sandbox, plan, &error) != 0)
		bail_out("no launcher: %s", error.text);
	has = sandbox.launcher.fd >= 0;
	client_sandbox_close(&sandbox);
	return has;
}

static int try_looking_up(void)
{
	struct resolve resolve;
	int result;

	resolve_start_reflector(&resolve, &sandbox.resolver, &by_name.all[1], ADDR_IPV4);
	while (!resolve.done) {
		struct pollfd ready = {.fd = resolve.fd, .events = POLLIN};

		if (poll(&ready, 1, WAIT_MS) <= 0)
			return ETIMEDOUT;
		resolve_advance(&resolve);
	}
	result = resolve.count > 0 ? 0 : ENOENT;
	resolve_end(&resolve);
	return result;
}

/* Nothing is known of how it ended; it leaves a file. */
static int try_hook(void)
{
	struct mapping mapping;

	memset(&mapping, 0, sizeof(mapping));
	mapping.public_addr.family = mapping.local.family = ADDR_IPV4;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	hook_finish(&hook);
	return 0;
}

static bool has_left_pid(void)
{
	char byte;
	int fd = open(pid_path, O_RDONLY | O_CLOEXEC);
	bool has = fd >= 0 && read(fd, &byte, 1) == 1;

	if (fd >= 0)
		close(fd);
	return has;
}

/* What the launcher runs for the caller: the file that it leaves is proof of it. */
static void leave_pid(const void *context, const void *request, size_t size, int fd)
{
	int out = open(context, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	(void)fd;
	if (size == sizeof(pid_t) && *(const pid_t *)request == getppid())
		dprintf(out, "%d\n", (int)getpid());
	_exit(0);
}

static int try_caller_task(void)
{
	const pid_t own = getpid();
	pid_t child = launcher_start(
		&sandbox.launcher, CLIENT_SANDBOX_TASK_CALLER, &own, sizeof(own), -1);

	if (child < 0)
		return errno;
	return waitpid(child, NULL, 0) == child ? 0 : ECHILD;
}

static int try_signal_wait(void)
{
	const struct timespec none = {.tv_sec = 0};
	sigset_t set;

	sigemptyset(&set);
	return sigtimedwait(&set, NULL, &none) < 0 && errno == EAGAIN ? 0 : errno;
}

/* Its time is over as soon as it has left a file. */
static int try_slow_hook(void)
{
	struct mapping mapping;
	uint64_t end = clock_now_ms() + WAIT_MS;

	memset(&mapping, 0, sizeof(mapping));
	mapping.public_addr.family = mapping.local.family = ADDR_IPV4;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	while (!has_left_pid())
		if (clock_now_ms() > end)
			return ETIMEDOUT;
	hook_expire(&hook, UINT64_MAX - 1);
	hook_finish(&hook);
	return hook.killed ? 0 : EPERM;
}

static int stay_free(const void *how)
{
	(void)how;
	return 0;
}

/* Who has no right to kill it does not wait for it either. */
static int try_lost_hook(void)
{
	struct mapping mapping;
	uint64_t end = clock_now_ms() + WAIT_MS;

	memset(&mapping, 0, sizeof(mapping));
	mapping.public_addr.family = mapping.local.family = ADDR_IPV4;
	hook.timeout_ms = 100;
	hook_call(&hook, HOOK_UP, &mapping, clock_now_ms());
	while (!has_left_pid())
		if (clock_now_ms() > end)
			return ETIMEDOUT;
	if (setresuid(65533, 65533, 65533) != 0)
		return errno;
	hook_finish(&hook);
	return hook.killed || hook.pid != 0 || clock_now_ms() > end ? EINVAL : 0;
}

static void write_hook(const char *goes_on)
{
	int fd = open(hook_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	unlink(pid_path);
	if (fd < 0 || dprintf(fd, "#!/bin/sh\necho $$ >%s\n%s\n", pid_path, goes_on) < 0)
		bail_out("no hook: %s", strerror(errno));
	close(fd);
	hook_init(&hook, hook_path, HOOK_ORDER_NATMAP);
}

static pid_t read_pid(void)
{
	FILE *file = fopen(pid_path, "re");
	int pid = 0;

	if (file == NULL || fscanf(file, "%d", &pid) != 1)
		bail_out("the hook left no pid");
	fclose(file);
	return pid;
}

static void test_helpers(void)
{
	struct client_sandbox_plan plan = once;

	ok(!has_launcher(&any_port), "addresses take no launcher");
	ok(has_launcher(&asks_name), "a name does,");
	is_errno(run(&asks_name, try_looking_up), 0, "and is looked up by it");
	plan.hook = &hook;
	write_hook("");
	ok(has_launcher(&plan), "and so does a hook,");
	is_errno(run(&plan, try_hook), 0, "which is run,");
	ok(read_pid() > 0, "and may do what we may not");
	/* One that is not ours any more, when its time is over. What it leaves we may read. */
	plan.changed_file = changed_path;
	write_hook(BECOMES_ANOTHER);
	is_errno(run(&plan, try_slow_hook), 0, "and killed, whoever it has become");
	ok(kill(read_pid(), 0) != 0 && errno == ESRCH, "so that it is gone");
	write_hook(BECOMES_ANOTHER);
	is_errno(run_confined(stay_free, NULL, try_lost_hook), 0,
		"one that may not be killed is left alone");
	unlink(key_path);
	unlink(hook_path);
	unlink(pid_path);
}

static void test_caller_task(void)
{
	unlink(pid_path);
	ok(has_launcher(&keeps_task), "a task of the caller takes a launcher");
	is_errno(run(&keeps_task, try_caller_task), 0, "which runs it,");
	ok(read_pid() > 0, "for the process that asked");
	unlink(pid_path);
	ok(run(&with_hook, try_caller_task) != 0 && access(pid_path, F_OK) != 0,
		"and runs nothing where there is none");
	is_errno(run(&keeps_task, try_signal_wait), ENOSYS, "without a hook none is waited for");
	is_errno(run(&with_hook, try_signal_wait), 0, "as it is with one");
}

static bool shows_holder(struct mapping_race_request *request, bool always)
{
	client_sandbox_find_owner(&sandbox, request, always);
	return request->owner->listens && request->owner->pid == getpid();
}

static void test_holder(void)
{
	struct mapping_race_request request = {.protocol = MAPPING_TCP};
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t size = sizeof(any);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct error error;

	if (fd < 0 || listen(fd, 1) != 0 || getsockname(fd, (struct sockaddr *)&any, &size) != 0 ||
		client_sandbox_open(&sandbox, &once, &error) != 0)
		bail_out("no listener");
	request.local.port = ntohs(any.sin_port);
	ok(shows_holder(&request, true), "who holds the port is found");
	client_sandbox_open(&sandbox, &once, &error);
	ok(!shows_holder(&request, false), "but not looked for where there are ways beside him,");
	request.method = &borrow_method_bind;
	ok(shows_holder(&request, false), "but where there is none");
	close(fd);
}

int main(void)
{
	if (geteuid() != 0) {
		skip(1, "needs root, to have something to give up");
		return done_testing();
	}
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
		skip(1, "this kernel has no filter");
		return done_testing();
	}
	log_set_level(LOG_LEVEL_QUIET);
	if (mkdtemp(directory) == NULL)
		bail_out("mkdtemp");
	snprintf(changed_path, sizeof(changed_path), "%s/mapping", directory);
	snprintf(pid_path, sizeof(pid_path), "%s/pid", directory);
	snprintf(key_path, sizeof(key_path), "%s/key", directory);
	close(open(key_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(hook_path, sizeof(hook_path), "%s/hook", directory);
	snprintf(other_path, sizeof(other_path), "%s.other", directory);
	test_calls();
	test_files();
	look(&any_port, NONE, "from any port");
	look(&once, PORT, "once");
	look(&keeps, PORT, "kept");
	look(&with_hook, PORT_KILL, "with a hook");
	test_helpers();
	test_caller_task();
	test_holder();
	unlink(other_path);
	unlink(changed_path);
	rmdir(directory);
	return done_testing();
}
