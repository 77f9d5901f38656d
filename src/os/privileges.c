#include "natpunch/os/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define NAME_SHOWN_SIZE 64
#define CAPABILITY_MAX  63 /* prctl(2) says where they end */

static int fail(struct error *error, const char *what)
{
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
}

int privileges_find_user(const char *name, struct privileges_user *out, struct error *error)
{
	char safe[NAME_SHOWN_SIZE];
	const struct passwd *row;
	uint64_t number;

	errno = 0;
	row = getpwnam(name);
	if (row == NULL && parse_number(name, 0, UINT32_MAX - 1, &number) == 0)
		row = getpwuid((uid_t)number);
	text_escape(safe, sizeof(safe), name, strlen(name));
	if (row == NULL) {
		error_set(error, EXIT_STATUS_USAGE, "no such user: %s", safe);
		return error_hint(error, "to make one: useradd -r -s /usr/sbin/nologin natpunch");
	}
	if (row->pw_uid == 0)
		return error_set(error, EXIT_STATUS_USAGE, "user %s is root", safe);
	*out = (struct privileges_user){.uid = row->pw_uid, .gid = row->pw_gid};
	return 0;
}

/* ---- capabilities ------------------------------------------------------------------------- */

struct sets {
	struct __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3];
};

static uint64_t join(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

static int get_sets(struct sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return (int)syscall(SYS_capget, &header, sets->words);
}

static int set_sets(uint64_t permitted, uint64_t effective)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct sets sets = {
		.words = {
			{.permitted = (uint32_t)permitted, .effective = (uint32_t)effective},
			{.permitted = (uint32_t)(permitted >> 32),
				.effective = (uint32_t)(effective >> 32)},
		}};

	return (int)syscall(SYS_capset, &header, sets.words);
}

static int get_permitted(uint64_t *out)
{
	struct sets sets;

	if (get_sets(&sets) != 0)
		return -1;
	*out = join(sets.words[0].permitted, sets.words[1].permitted);
	return 0;
}

bool privileges_has(uint64_t wanted)
{
	struct sets sets;

	return get_sets(&sets) == 0 &&
	       (join(sets.words[0].effective, sets.words[1].effective) & wanted) == wanted;
}

/* Those of the set that this process has. */
static uint64_t find_held(uint64_t set)
{
	uint64_t held = PRIVILEGES_NONE;

	for (uint64_t bit = 1; bit != 0 && bit <= set; bit <<= 1)
		if ((set & bit) != 0 && privileges_has(bit))
			held |= bit;
	return held;
}

/* As setcap(8) wants them. */
static const char *list_capabilities(uint64_t set, char *out, size_t size)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} rows[] = {
		{PRIVILEGES_NET_ADMIN, "cap_net_admin"},
		{PRIVILEGES_NET_RAW, "cap_net_raw"},
		{PRIVILEGES_NET_BIND_SERVICE, "cap_net_bind_service"},
	};
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if ((set & rows[i].bit) != 0 && used < size)
			used += (size_t)snprintf(
				out + used, size - used, "%s%s", used > 0 ? "," : "", rows[i].name);
	return out;
}

/* This program's file, as setcap(8) wants it: no symbolic link. */
static const char *show_program(char *out, size_t size)
{
	char path[PATH_MAX];
	ssize_t length = readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);

	if (length <= 0)
		return "natpunch";
	path[length] = '\0';
	return text_escape_shell(out, size, path);
}

bool privileges_hint(struct error *error, uint64_t needed, const char *before)
{
	char capabilities[64];
	char program[128];
	bool root = geteuid() == 0;

	if (root)
		needed &= ~find_held(needed);
	if (needed == PRIVILEGES_NONE)
		return false;
	list_capabilities(needed, capabilities, sizeof(capabilities));
	if (root)
		error_hint(error,
			"%sroot lacks %s here: a container or systemd's CapabilityBoundingSet "
			"takes it away",
			before, capabilities);
	else
		error_hint(error, "%srun as root, or: setcap %s+ep %s", before, capabilities,
			show_program(program, sizeof(program)));
	return true;
}

/* Takes CAP_SETPCAP, and goes without it: what is executed cannot gain any, by no_new_privs. */
static void empty_bounding_set(void)
{
	for (int number = 0; number <= CAPABILITY_MAX; number++)
		if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
			return;
}

/* The ambient set goes with the inheritable one. */
static int reduce(uint64_t keep)
{
	struct sets now;
	uint64_t permitted;

	if (get_permitted(&permitted) != 0 || set_sets(permitted & keep, permitted & keep) != 0 ||
		get_sets(&now) != 0)
		return -1;
	if (join(now.words[0].permitted, now.words[1].permitted) == (permitted & keep) &&
		join(now.words[0].inheritable, now.words[1].inheritable) == 0)
		return 0;
	errno = EPERM;
	return -1;
}

void privileges_keep(uint64_t keep)
{
	uint64_t permitted;

	empty_bounding_set();
	if (reduce(keep) == 0 || (get_permitted(&permitted) == 0 && (permitted & ~keep) == 0))
		return;
	log_warning("cannot give up capabilities: %s", strerror(errno));
}

/* The ambient set goes with the inheritable one here too. */
int privileges_clear_inheritable(void)
{
	struct sets now;

	if (get_sets(&now) != 0)
		return -1;
	return set_sets(join(now.words[0].permitted, now.words[1].permitted),
		join(now.words[0].effective, now.words[1].effective));
}

/* Those in `keep` are effective, the others stay permitted. */
static int use(uint64_t keep)
{
	uint64_t permitted;

	return get_permitted(&permitted) == 0 ? set_sets(permitted, permitted & keep) : -1;
}

static bool is_forbidden(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool forbidden = fd < 0 && errno == EACCES;

	if (fd >= 0)
		close(fd);
	return forbidden;
}

uint64_t privileges_for_file(uint64_t keep, const char *path, bool written)
{
	uint64_t more = PRIVILEGES_NONE;
	struct error ignored;

	if (path == NULL || use(keep) != 0)
		return PRIVILEGES_NONE;
	if (is_forbidden(path))
		more |= PRIVILEGES_DAC_READ_SEARCH;
	if (written && file_check_writable(path, &ignored) != 0)
		more |= PRIVILEGES_DAC_OVERRIDE;
	use(UINT64_MAX);
	return more;
}

/* ---- the user ----------------------------------------------------------------------------- */

static bool is_user(const struct privileges_user *user)
{
	uid_t uids[3];
	gid_t gids[3];

	return getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
	       getresgid(&gids[0], &gids[1], &gids[2]) == 0 && uids[0] == user->uid &&
	       uids[1] == user->uid && uids[2] == user->uid && gids[0] == user->gid &&
	       gids[1] == user->gid && gids[2] == user->gid && getgroups(0, NULL) == 0;
}

/* The way back must be shut. */
static bool is_final(const struct privileges_user *user)
{
	return setuid(0) != 0 && seteuid(0) != 0 && setresuid((uid_t)-1, 0, 0) != 0 &&
	       (user->gid == 0 || setgid(0) != 0);
}

int privileges_become(const struct privileges_user *user, uint64_t keep, struct error *error)
{
	empty_bounding_set();
	/* Else all of them would go with the user, those in `keep` too. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, NULL) != 0 ||
		setresgid(user->gid, user->gid, user->gid) != 0 ||
		setresuid(user->uid, user->uid, user->uid) != 0) {
		fail(error, "become another user");
		return error_hint(error, "-U takes root");
	}
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0 || reduce(keep) != 0)
		return fail(error, "give up capabilities");
	if (!is_user(user) || !is_final(user))
		return error_set(error, EXIT_STATUS_BUG, "the user was not dropped for good");
	return 0;
}

/* ---- limits ------------------------------------------------------------------------------- */

void privileges_lock(void)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

	/* Each only adds to what else there is; a kernel that lacks one is no reason to end. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
}

void privileges_hide(void)
{
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void privileges_forbid_processes(void)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

	setrlimit(RLIMIT_NPROC, &none);
}
