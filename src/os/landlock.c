#include "natpunch/os/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/os/file.h"

/* linux/landlock.h, which is younger than some C libraries' kernel headers. */
#define CREATE_VERSION     1 /* a flag: says which version of the interface this is */
#define RULE_PATH_BENEATH  1
#define FS_WRITE_FILE      (UINT64_C(1) << 1)
#define FS_READ_FILE       (UINT64_C(1) << 2)
#define FS_READ_DIR        (UINT64_C(1) << 3)
#define FS_REMOVE_FILE     (UINT64_C(1) << 5)
#define FS_MAKE_REG        (UINT64_C(1) << 8)
#define FS_VERSION_1       ((UINT64_C(1) << 13) - 1)
#define FS_REFER           (UINT64_C(1) << 13) /* from version 2 on */
#define FS_TRUNCATE        (UINT64_C(1) << 14) /* 3 */
#define FS_IOCTL_DEV       (UINT64_C(1) << 15) /* 5 */
#define SCOPE_ABSTRACT     (UINT64_C(1) << 0)  /* 6 */
#define SCOPE_SIGNAL       (UINT64_C(1) << 1)  /* 6 */
#define SIZE_WITHOUT_SCOPE 8

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

struct path_beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

#ifdef SYS_landlock_create_ruleset

static int open_ruleset(bool signals)
{
	struct ruleset ruleset = {.fs = FS_VERSION_1};
	long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);

	if (version < 1)
		return -1;
	if (version >= 2)
		ruleset.fs |= FS_REFER;
	if (version >= 3)
		ruleset.fs |= FS_TRUNCATE;
	if (version >= 5)
		ruleset.fs |= FS_IOCTL_DEV;
	if (version >= 6)
		ruleset.scoped = SCOPE_ABSTRACT | (signals ? 0 : SCOPE_SIGNAL);
	return (int)syscall(SYS_landlock_create_ruleset, &ruleset,
		version >= 6 ? sizeof(ruleset) : (size_t)SIZE_WITHOUT_SCOPE, 0);
}

static uint64_t rights_of(enum landlock_right right)
{
	switch (right) {
	case LANDLOCK_WRITE:
		return FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_MAKE_REG | FS_REMOVE_FILE;
	case LANDLOCK_LIST:
		return FS_READ_FILE | FS_READ_DIR;
	case LANDLOCK_READ:
	case LANDLOCK_READ_FILE:
		break;
	}
	return FS_READ_FILE;
}

/* Returns 0, or -1 and errno. */
static int add_rule(int ruleset, const struct landlock_rule *rule)
{
	struct path_beneath row = {.allowed = rights_of(rule->right)};
	bool one = rule->right == LANDLOCK_READ_FILE;
	long result;

	row.parent = one ? open(rule->path, O_PATH | O_CLOEXEC)
			 : file_open_directory(rule->path, O_PATH);
	if (row.parent < 0)
		return one && errno == ENOENT ? 0 : -1;
	result = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &row, 0);
	close(row.parent);
	return (int)result;
}

static int add_rules(int ruleset, const struct landlock_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i].path != NULL && add_rule(ruleset, &rules[i]) != 0)
			return -1;
	return 0;
}

enum landlock_result landlock_enter(const struct landlock_rule *rules, size_t count, bool signals)
{
	int ruleset = open_ruleset(signals);
	int saved;

	if (ruleset < 0)
		return LANDLOCK_MISSING;
	if (add_rules(ruleset, rules, count) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		syscall(SYS_landlock_restrict_self, ruleset, 0) == 0) {
		close(ruleset);
		return LANDLOCK_ON;
	}
	saved = errno;
	close(ruleset);
	errno = saved;
	return LANDLOCK_FAILED;
}

#else

enum landlock_result landlock_enter(const struct landlock_rule *rules, size_t count, bool signals)
{
	(void)rules;
	(void)count;
	(void)signals;
	return LANDLOCK_MISSING;
}

#endif
