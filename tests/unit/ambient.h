/*
 * ambient.h - a capability as a service manager gives it to a user: what is executed inherits it.
 */
#ifndef NATPUNCH_TESTS_AMBIENT_H
#define NATPUNCH_TESTS_AMBIENT_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns false for one who has none to give on. */
static inline bool ambient_set(bool set)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3];
	const uint32_t bit = 1U << CAP_NET_BIND_SERVICE;

	if (syscall(SYS_capget, &header, words) != 0 || (words[0].permitted & bit) == 0)
		return false;
	words[0].inheritable = set ? bit : 0;
	return syscall(SYS_capset, &header, words) == 0 &&
	       (!set || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) ==
				0);
}

static inline bool ambient_is_set(void)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 1;
}

#endif
