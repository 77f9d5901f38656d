/*
 * What is left to those who ask reflectors: tried from inside, in children that confine themselves
 * as these do, and read from outside in /proc. And what they can still have done for them.
 */
#include "natpunch/asker_confinement.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "natpunch/clock.h"
#include "natpunch/file.h"
#include "natpunch/log.h"
#include "unit/confined.h"

#define RECORD_MODE 0644
#define WAIT_MS     10000
#define NONE        "0000000000000000"
#define PORT        "0000000000003400" /* CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW */
#define PORT_HOLDER "0000000000083404" /* and CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE */

static char directory[] = "/tmp/natpunch-asker-XXXXXX";
static char changed_path[64], other_path[64], hook_path[64];
static const struct parse_host_port by_address[] = {{.host = "192.0.2.1"}, {.host = "2001:db8::1"}};
static const struct parse_host_port by_name[] = {{.host = "192.0.2.1"}, {.host = "localhost"}};

#define ASKS .reflectors = by_address, .reflector_count = 2

static const struct asker any_port = {.stay = ASKER_FROM_ANY_PORT, ASKS, .secret = true};
static const struct asker once = {.stay = ASKER_ONCE, ASKS};
static const struct asker remembers = {.stay = ASKER_ONCE, ASKS, .changed_file = changed_path};
static const struct asker keeps = {.stay = ASKER_KEEPS, ASKS};
static const struct asker keeps_file = {.stay = ASKER_KEEPS, ASKS, .changed_file = changed_path};
static const struct asker asks_name = {
	.stay = ASKER_FROM_ANY_PORT, .reflectors = by_name, .reflector_count = 2};

static struct asker_confinement confinement;

static int confine(const void *how)
{
	const struct asker *asker = how;
	struct error error;

	if (asker_confinement_open(&confinement, asker, &error) != 0 ||
		asker_confinement_enter(asker, &error) != 0)
		return CANNOT_CONFINE;
	return 0;
}

static int run(const struct asker *asker, confined_try *try)
{
	return run_confined(confine, asker, try);
}

/* ---- calls -------------------------------------------------------------------------------- */

static int try_mount(void)
{
	return problem_of(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_dumpable(void)
{
	return problem_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_netfilter(void)
{
	return problem_of(socket(AF_NETLINK, SOCK_RAW, 12));
}

static int try_stream(void)
{
	return problem_of(socket(AF_INET, SOCK_STREAM, 0));
}

static void test_calls(void)
{
	const struct {
		const char *name;
		const struct asker *asker;
		int raw, packet, netfilter;
	} rows[] = {
		{"from any port", &any_port, EPERM, EPERM, EPERM},
		{"once", &once, 0, 0, 0},
		{"once, with -c", &remembers, 0, EPERM, 0},
		{"kept", &keeps, 0, EPERM, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct asker *asker = rows[i].asker;
		const char *name = rows[i].name;

		is_errno(run(asker, try_exec), ENOSYS, "%s: no program is run", name);
		is_errno(run(asker, try_fork), ENOSYS, "%s: no process is begun", name);
		is_errno(run(asker, try_ptrace), ENOSYS, "%s: none is traced", name);
		is_errno(run(asker, try_mount), ENOSYS, "%s: nothing is mounted", name);
		is_errno(run(asker, try_dumpable), ENOSYS, "%s: memory stays hidden", name);
		is_errno(run(asker, try_unix), EPERM, "%s: no socket of this machine", name);
		is_errno(run(asker, try_stream), 0, "%s: connections can be made", name);
		is_errno(run(asker, try_raw), rows[i].raw, "%s: raw sockets", name);
		is_errno(run(asker, try_packet), rows[i].packet, "%s: reading along", name);
		is_errno(run(asker, try_netfilter), rows[i].netfilter, "%s: translation", name);
	}
}

/* ---- files -------------------------------------------------------------------------------- */

static int try_changed(void)
{
	struct error error;
	int lock = file_lock_directory(changed_path, 0, &error);

	if (lock < 0)
		return EACCES;
	close(lock);
	return file_replace(changed_path, "y", 1, RECORD_MODE, &error) == 0 ? 0 : EACCES;
}

static int try_other_file(void)
{
	return problem_of(open(other_path, O_RDWR | O_CREAT, 0600));
}

static int try_proc(void)
{
	return problem_of(open("/proc/net/tcp", O_RDONLY));
}

static void test_files(void)
{
	is_errno(run(&any_port, try_password_file), ENOSYS, "from any port: no file is read");
	is_errno(run(&once, try_password_file), 0, "once: files are read,");
	is_errno(run(&once, try_other_file), EPERM, "and none is written");
	is_errno(run(&remembers, try_changed), 0, "once, with -c: its own is written");
	is_errno(run(&keeps_file, try_changed), 0, "kept, with -c: likewise");
	is_errno(run(&keeps, try_null), 0, "kept: what has nothing in it can be read,");
	is_errno(run(&keeps, try_proc), 0, "and the tables of sockets");
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) <= 0) {
		skip(1, "this kernel has no landlock");
		return;
	}
	is_errno(run(&keeps, try_changed), EACCES, "kept: no file is written without -c,");
	is_errno(run(&keeps_file, try_other_file), EACCES, "nor elsewhere with it,");
	is_errno(run(&keeps_file, try_password_file), EACCES, "nor read");
}

/* ---- rights ------------------------------------------------------------------------------- */

static void look(const struct asker *asker, const char *caps, const char *name)
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

	look_confined(confine, asker, wanted, sizeof(wanted) / sizeof(wanted[0]), name);
}

/* ---- what others do ----------------------------------------------------------------------- */

static bool has_launcher(const struct asker *asker)
{
	struct error error;
	bool has;

	if (asker_confinement_open(&confinement, asker, &error) != 0)
		bail_out("no launcher: %s", error.text);
	has = confinement.launcher.fd >= 0;
	asker_confinement_close(&confinement);
	return has;
}

static int try_looking_up(void)
{
	struct resolve resolve;
	int result;

	resolve_start_reflector(&resolve, &confinement.resolver, &by_name[1], ADDR_IPV4);
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

static struct hook hook;

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

static void write_hook(void)
{
	int fd = open(hook_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	if (fd < 0 || dprintf(fd, "#!/bin/sh\necho ran >%s\n", other_path) < 0)
		bail_out("no hook: %s", strerror(errno));
	close(fd);
}

static void test_helpers(void)
{
	struct asker asker = once;

	ok(!has_launcher(&any_port), "addresses take no launcher");
	ok(has_launcher(&asks_name), "a name does,");
	is_errno(run(&asks_name, try_looking_up), 0, "and is looked up by it");
	write_hook();
	hook_init(&hook, hook_path, HOOK_ORDER_NATMAP);
	asker.hook = &hook;
	ok(has_launcher(&asker), "and so does a hook,");
	is_errno(run(&asker, try_hook), 0, "which is run,");
	ok(access(other_path, F_OK) == 0, "and may do what we may not");
	unlink(hook_path);
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
	snprintf(hook_path, sizeof(hook_path), "%s/hook", directory);
	snprintf(other_path, sizeof(other_path), "%s.other", directory);
	test_calls();
	test_files();
	look(&any_port, NONE, "from any port");
	look(&once, PORT_HOLDER, "once");
	look(&keeps, PORT, "kept");
	test_helpers();
	unlink(other_path);
	unlink(changed_path);
	rmdir(directory);
	return done_testing();
}
