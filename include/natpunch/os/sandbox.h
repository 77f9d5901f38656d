/*
 * sandbox.h - forbids all system calls except those that a program is known to make (seccomp(2)).
 *
 * Each module that makes system calls has a list of them beside its code, NAME_calls; add a new
 * call there. A process confines itself by the lists of the modules that it uses. A row allows one
 * call, with up to two conditions on its arguments; a call in several rows is allowed if any of
 * them holds. All other calls:
 *
 *   - another machine's calls (32-bit ones on x86-64, say) kill the process: nothing makes them;
 *   - a call that is not listed fails with ENOSYS, as if this kernel had none of the kind. C
 *     libraries go on without a call that this kernel may lack, and a server must not die of a call
 *     that a library makes on another machine alone;
 *   - a listed call with other arguments fails with EPERM.
 *
 * Refusals go to the kernel's audit log. When $NATPUNCH_SANDBOX is "strict", one writes `refused
 * system call NUMBER` to standard error instead, and the process ends with EXIT_STATUS_BUG: so do
 * the tests, with the same program that is installed.
 *
 * Order. A filter confines one thread, and the threads and processes that this starts later. So
 * open everything, drop the user, confine, and only then start threads, with sandbox_thread_calls
 * among the lists. A filter cannot be removed.
 */
#ifndef NATPUNCH_OS_SANDBOX_H
#define NATPUNCH_OS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifndef NATPUNCH_PORTABLE /* a portable build has no lists */
#include <sys/syscall.h>
#endif

#define SANDBOX_CONDITIONS 2
#define SANDBOX_LISTS_MAX  24

/* The lower 32 bits of an argument, and of those the ones in `mask`, are `value`. mask 0: any. */
struct sandbox_condition {
	uint8_t argument; /* from 0 */
	uint32_t mask;
	uint32_t value;
};

struct sandbox_call {
	uint32_t number; /* __NR_... */
	bool absent; /* refused with ENOSYS, also when it is strict: the library tries it first */
	struct sandbox_condition conditions[SANDBOX_CONDITIONS];
};

#define SANDBOX_END_NUMBER UINT32_MAX

/* Rows of a list; the last is SANDBOX_END. */
#define SANDBOX_CALL(name)                                                                         \
	{                                                                                          \
		.number = __NR_##name                                                              \
	}
#define SANDBOX_ABSENT(name)                                                                       \
	{                                                                                          \
		.number = __NR_##name, .absent = true                                              \
	}
#define SANDBOX_WHEN(name, argument_number, argument_mask, wanted)                                 \
	{                                                                                          \
		.number = __NR_##name, .conditions = {                                             \
			{(argument_number), (argument_mask), (wanted)},                            \
		}                                                                                  \
	}
#define SANDBOX_WHEN2(name, argument_0, mask_0, wanted_0, argument_1, mask_1, wanted_1)            \
	{                                                                                          \
		.number = __NR_##name, .conditions = {                                             \
			{(argument_0), (mask_0), (wanted_0)},                                      \
			{(argument_1), (mask_1), (wanted_1)},                                      \
		}                                                                                  \
	}
#define SANDBOX_END                                                                                \
	{                                                                                          \
		.number = SANDBOX_END_NUMBER                                                       \
	}

#define SANDBOX_WHOLE UINT32_MAX /* a mask: all of an argument that is an int */

/* What a C library does by itself, and all that any program needs: memory, time, its own end. */
extern const struct sandbox_call sandbox_basic_calls[];
extern const struct sandbox_call sandbox_fork_calls[];   /* fork(2), no new namespaces; waiting */
extern const struct sandbox_call sandbox_thread_calls[]; /* pthread_create(3) */

enum sandbox_result {
	SANDBOX_ON,
	SANDBOX_MISSING, /* not on this machine, or not in this kernel: nothing is confined */
	SANDBOX_FAILED,  /* errno; a bug, or lists that are too long */
};

/*
 * Confines this process, for good, to the calls in `lists` (at most SANDBOX_LISTS_MAX), which ends
 * with NULL. Sets no_new_privs. A strict one installs a handler of SIGSYS.
 */
enum sandbox_result sandbox_enter(const struct sandbox_call *const lists[]);

#endif
