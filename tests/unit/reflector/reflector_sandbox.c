/*
 * What is left to a reflector once it serves: tried from inside, in children that confine
 * themselves as it does, and read from outside in /proc.
 */
#include "reflector/reflector_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "tap.h"
#include "unit/confined.h"

#define NOBODY       65534
#define NET_ADMIN    "0000000000001000"
#define NET_ADMIN_BY "0000000000001006" /* and CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH */

static char directory[] = "/tmp/natpunch-confined-XXXXXX";
static char keys_path[64], state_path[64], other_path[64];
static char apart[] = "/tmp/natpunch-confined-XXXXXX";
static char apart_path[64];
static const struct reflector_config plain = {.confine = true};
static const struct reflector_config with_keys = {.confine = true, .keys_path = keys_path};
static const struct reflector_config with_state = {
	.confine = true, .keys_path = keys_path, .state_path = state_path};
/* The keys are not where the state is. */
static const struct reflector_config with_both = {
	.confine = true, .keys_path = apart_path, .state_path = state_path};

static bool has_landlock;
static bool has_seccomp;

static void write_file(const char *path, uid_t owner)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1 || fchown(fd, owner, (gid_t)-1) != 0)
		bail_out("%s", path);
	close(fd);
}

static int confine(const void *how)
{
	const struct reflector_config *config = how;
	struct error error;

	if (reflector_sandbox_drop(config, &error) != 0 ||
		reflector_sandbox_enter(config, &error) != 0)
		return CANNOT_CONFINE;
	return 0;
}

static int run(const struct reflector_config *config, confined_try *try)
{
	return run_confined(confine, config, try);
}

static void look(const struct reflector_config *config, const struct wanted *wanted, size_t count,
	const char *name)
{
	look_confined(confine, config, wanted, count, name);
}

/* ---- calls -------------------------------------------------------------------------------- */

static int try_raising_limit(void)
{
	const struct rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	return problem_of(setrlimit(RLIMIT_CORE, &limit));
}

/* What CAP_NET_ADMIN is kept for. */
static int try_forgetting(void)
{
	return socket_can_forget() ? 0 : EPERM;
}

/* Routes, addresses, interfaces. */
static int try_route_socket(void)
{
	return problem_of(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}

static int try_option(int level, int name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : problem_of(socket_set_flag(fd, level, name, 1));
}

/* By CAP_NET_ADMIN alone: which rules and routes of this host hold for what is sent. */
static int try_mark(void)
{
	return try_option(SOL_SOCKET, SO_MARK);
}

/* Other hosts' addresses as one's own. */
static int try_transparent(void)
{
	return try_option(IPPROTO_IP, IP_TRANSPARENT);
}

static int try_own_address(void)
{
	struct addr own = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 9};
	struct addr other = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 9};

	return socket_can_bind_ip(&own) && !socket_can_bind_ip(&other) ? 0 : EADDRNOTAVAIL;
}

static void test_calls(void)
{
	is_errno(run(&with_state, try_exec), ENOSYS, "no program is run");
	is_errno(run(&with_state, try_ptrace), ENOSYS, "no process is traced");
	is_errno(run(&with_state, try_kill), ENOSYS, "nor sent a signal");
	is_errno(run(&with_state, try_packet), EPERM, "no packets are read along");
	is_errno(run(&with_state, try_raw), EPERM, "no raw socket is opened");
	is_errno(run(&with_state, try_netfilter), ARGUMENTS_SEEN ? EPERM : 0,
		"nor one to the firewall");
	is_errno(run(&with_state, try_route_socket), ARGUMENTS_SEEN ? EPERM : 0,
		"nor one to the routes and interfaces");
	is_errno(run(&with_state, try_mark), ARGUMENTS_SEEN ? EPERM : 0,
		"no packets of its own are marked");
	is_errno(run(&with_state, try_transparent), ARGUMENTS_SEEN ? EPERM : 0,
		"nor sent for others");
	is_errno(run(&with_state, try_own_address), 0, "own addresses are told apart all the same");
	is_errno(run(&with_state, try_mount), ENOSYS, "nothing is mounted");
	is_errno(run(&with_state, try_dumpable), EPERM, "its memory stays hidden");
	is_errno(run(&with_state, try_raising_limit), ENOSYS, "limits stay");
	is_errno(run(&with_state, try_fork), 0, "with -S there is a writer,");
	is_errno(run(&with_keys, try_fork), ENOSYS, "and without no other process");
	is_errno(run(&with_state, try_forgetting), 0, "connections can be closed silently");
}

/* ---- files -------------------------------------------------------------------------------- */

static int try_keys(void)
{
	return problem_of(open(keys_path, O_RDONLY));
}

static int try_writing_keys(void)
{
	return problem_of(open(keys_path, O_WRONLY));
}

static int try_apart(void)
{
	return problem_of(open(apart_path, O_RDONLY));
}

static int try_writing_apart(void)
{
	return problem_of(open(apart_path, O_WRONLY));
}

static int try_state(void)
{
	struct error error;

	return file_replace_alone(state_path, "y", 1, 0600, &error) == 0 ? 0 : EACCES;
}

static int try_other_file(void)
{
	return problem_of(open(other_path, O_RDWR | O_CREAT, 0600));
}

static int try_directory(void)
{
	return problem_of(open("/", O_RDONLY | O_DIRECTORY));
}

static void test_files(void)
{
	if (!has_landlock) {
		skip(1, "this kernel has no landlock");
		return;
	}
	is_errno(run(&plain, try_password_file), EACCES, "no file is read,");
	is_errno(run(&plain, try_keys), EACCES, "also no key where there are no names,");
	is_errno(run(&plain, try_directory), EACCES, "nor a directory,");
	is_errno(run(&plain, try_null), 0, "but what has nothing in it");
	is_errno(run(&with_keys, try_keys), 0, "with -K the keys are read,");
	is_errno(run(&with_keys, try_writing_keys), EPERM, "and not written");
	is_errno(run(&with_state, try_state), 0, "with -S the state is written");
	is_errno(run(&with_both, try_apart), 0, "beside keys elsewhere, which are read");
	is_errno(run(&with_both, try_writing_apart), EACCES, "and not written");
	is_errno(run(&with_state, try_other_file), EACCES, "and nothing elsewhere");
	is_errno(run(&with_state, try_password_file), EACCES, "nor read");
}

/* ---- rights ------------------------------------------------------------------------------- */

static void test_root(void)
{
	const struct wanted wanted[] = {
		{"Uid", "0\t0\t0\t0"},
		{"CapInh", "0000000000000000"},
		{"CapPrm", NET_ADMIN},
		{"CapEff", NET_ADMIN},
		{"CapBnd", "0000000000000000"},
		{"CapAmb", "0000000000000000"},
		{"NoNewPrivs", "1"},
		{"Seccomp", has_seccomp ? "2" : "0"},
	};
	const struct wanted reading[] = {{"CapEff", NET_ADMIN_BY}};

	look(&with_state, wanted, sizeof(wanted) / sizeof(wanted[0]), "root");
	/* Root reads a user's file because root may read all. */
	write_file(keys_path, NOBODY);
	if (chown(directory, NOBODY, (gid_t)-1) != 0)
		bail_out("chown");
	look(&with_state, reading, 1, "root with somebody's files");
	is_errno(run(&with_state, try_keys), 0, "who can read them again");
	is_errno(run(&with_state, try_state), 0, "and write them");
}

/* The files are this user's now. */
static void test_user(void)
{
	struct reflector_config config = with_state;
	gid_t more[] = {4, 5};
	const struct wanted wanted[] = {
		{"Uid", "65534\t65534\t65534\t65534"},
		{"Gid", "65533\t65533\t65533\t65533"},
		{"Groups", " "},
		{"CapPrm", NET_ADMIN},
		{"CapEff", NET_ADMIN},
		{"CapBnd", "0000000000000000"},
		{"NoNewPrivs", "1"},
	};

	config.has_user = true;
	config.user = (struct privileges_user){.uid = NOBODY, .gid = 65533};
	write_file(state_path, NOBODY);
	if (setgroups(2, more) != 0)
		bail_out("setgroups");
	look(&config, wanted, sizeof(wanted) / sizeof(wanted[0]), "a user");
	is_errno(run(&config, try_keys), 0, "the user reads its keys");
	is_errno(run(&config, try_state), 0, "and writes its state");
	is_errno(run(&config, try_forgetting), 0, "and closes silently");
	write_file(keys_path, 0);
	is_errno(run(&config, try_keys), EACCES, "but root's it does not read");
}

static int become_root(void)
{
	struct privileges_user root = {.uid = 0, .gid = 0};
	struct error error;

	if (privileges_become(&root, PRIVILEGES_NONE, &error) == 0)
		return 0;
	return error.status == EXIT_STATUS_BUG ? 1 : 2;
}

static void test_proof(void)
{
	const struct reflector_config free_one = {.confine = false};
	struct privileges_user found;
	struct error error;

	is_int(run(&free_one, become_root), 1, "a drop that can be undone is noticed");
	is_int(privileges_find_user("nobody", &found, &error), 0, "a user is found");
	is_uint(found.uid, NOBODY, "by name");
	is_int(privileges_find_user("65534", &found, &error), 0, "and by number");
	is_int(privileges_find_user("root", &found, &error), -1, "root is refused");
	is_str(error.text, "user root is root", "and why is told");
	is_int(privileges_find_user("0", &found, &error), -1, "by number too");
	is_int(privileges_find_user("no\nsuch", &found, &error), -1, "and who is not there");
	is_str(error.text, "no such user: no\\x0asuch", "by a safe name");
	is_int(error.status, EXIT_STATUS_USAGE, "which is a mistake in the command line");
}

int main(void)
{
	if (geteuid() != 0) {
		skip(1, "needs root, to have something to give up");
		return done_testing();
	}
	log_set_level(LOG_LEVEL_QUIET);
	if (mkdtemp(directory) == NULL || mkdtemp(apart) == NULL)
		bail_out("mkdtemp");
	snprintf(keys_path, sizeof(keys_path), "%s/keys", directory);
	snprintf(state_path, sizeof(state_path), "%s/state", directory);
	snprintf(other_path, sizeof(other_path), "%s.other", directory);
	snprintf(apart_path, sizeof(apart_path), "%s/keys", apart);
	write_file(keys_path, 0);
	write_file(state_path, 0);
	write_file(apart_path, 0);
	has_seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
	has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
	if (has_seccomp)
		test_calls();
	test_files();
	test_root();
	test_user();
	test_proof();
	unlink(other_path);
	unlink(apart_path);
	rmdir(apart);
	unlink(keys_path);
	unlink(state_path);
	rmdir(directory);
	return done_testing();
}
