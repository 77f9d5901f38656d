/*
 * The filter is a program for the kernel's classic BPF machine, which looks at struct seccomp_data
 * and says what becomes of the call. Ours is a binary search over the numbers of the calls, with
 * the conditions on arguments behind it:
 *
 *	load the machine;  not ours: kill
 *	load the number;   search: allow, or refuse, or jump to the conditions of that call
 *	for each such call: for each of its rows: all conditions hold: allow; else the next row
 *
 * Linux from 5.11 on runs the program once for each number when it is installed, and keeps a bit
 * for those that are allowed whatever their arguments are: they cost next to nothing afterwards.
 * So calls that are made for each packet have no conditions.
 *
 * The numbers of x32, the other interface of x86-64, are above all that any list has.
 *
 * SPEC_ALLOW: kernels before 5.16 take a filter as a sign that a process runs foreign code, and
 * turn on protections against side channels, which slow each system call. We run our own code.
 */
#include "natpunch/os/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/base/error.h"

#if defined(__x86_64__) && !defined(__ILP32__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define MACHINE AUDIT_ARCH_I386
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARM_EABI__)
#define MACHINE AUDIT_ARCH_ARM
#elif defined(__s390x__)
#define MACHINE AUDIT_ARCH_S390X
#elif defined(__mips64) && _MIPS_SIM == _ABI64 && defined(__MIPSEL__)
#define MACHINE AUDIT_ARCH_MIPSEL64
#elif defined(__mips64) && _MIPS_SIM == _ABI64
#define MACHINE AUDIT_ARCH_MIPS64
#elif defined(__mips__) && _MIPS_SIM == _ABIO32 && defined(__MIPSEL__)
#define MACHINE AUDIT_ARCH_MIPSEL
#elif defined(__mips__) && _MIPS_SIM == _ABIO32
#define MACHINE AUDIT_ARCH_MIPS
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define MACHINE AUDIT_ARCH_PPC64LE
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER
#endif
#endif

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOWER_HALF 4
#else
#define LOWER_HALF 0
#endif

/* clone(2): the flags that make namespaces, or a child that somebody traces. CLONE_NEWTIME is for
 * clone3(2) alone. */
#define CLONE_FORBIDDEN                                                                            \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
		CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE | CLONE_UNTRACED | CLONE_PARENT)

#ifdef __s390x__
#define CLONE_FLAGS 1 /* the stack comes first there */
#else
#define CLONE_FLAGS 0
#endif

#define ROWS_MAX 192
#define CODE_MAX 1024
#define LEAF_MAX 3 /* so few numbers are compared one after the other */

const struct sandbox_call sandbox_basic_calls[] = {
	/* A page that can be run is never asked for. */
	SANDBOX_WHEN(mprotect, 2, PROT_EXEC, 0),
#ifdef __NR_mmap
	SANDBOX_WHEN(mmap, 2, PROT_EXEC, 0),
#endif
#ifdef __NR_mmap2
	SANDBOX_WHEN(mmap2, 2, PROT_EXEC, 0),
#endif
	SANDBOX_CALL(brk),
	SANDBOX_CALL(madvise),
	SANDBOX_CALL(mremap),
	SANDBOX_CALL(munmap),
	SANDBOX_CALL(close),
	SANDBOX_CALL(read),
	SANDBOX_CALL(readv),
	SANDBOX_CALL(write),
	SANDBOX_CALL(writev),
	SANDBOX_CALL(getrandom),
#ifdef __NR_poll
	SANDBOX_CALL(poll),
#endif
	SANDBOX_CALL(ppoll),
#ifdef __NR_ppoll_time64
	SANDBOX_CALL(ppoll_time64),
#endif
	/* Where there is no vDSO, or none for the clock. */
	SANDBOX_CALL(clock_gettime),
#ifdef __NR_clock_gettime64
	SANDBOX_CALL(clock_gettime64),
#endif
	SANDBOX_CALL(gettimeofday),
	SANDBOX_CALL(futex),
#ifdef __NR_futex_time64
	SANDBOX_CALL(futex_time64),
#endif
	SANDBOX_CALL(getpid),
	SANDBOX_CALL(getppid),
	SANDBOX_CALL(gettid),
	SANDBOX_CALL(rt_sigaction),
	SANDBOX_CALL(rt_sigprocmask),
	SANDBOX_CALL(rt_sigreturn),
#ifdef __NR_sigreturn
	SANDBOX_CALL(sigreturn),
#endif
	SANDBOX_CALL(restart_syscall),
#ifdef ADDRESS_SANITIZER
	SANDBOX_CALL(sigaltstack), /* its run time asks, before a process ends */
#endif
	SANDBOX_CALL(exit),
	SANDBOX_CALL(exit_group),
	SANDBOX_END,
};

const struct sandbox_call sandbox_fork_calls[] = {
	SANDBOX_WHEN(clone, CLONE_FLAGS, CLONE_FORBIDDEN | CLONE_VM, 0),
#ifdef __NR_fork
	SANDBOX_CALL(fork),
#endif
#ifdef __NR_clone3
	SANDBOX_ABSENT(clone3),
#endif
	SANDBOX_CALL(set_robust_list),
	SANDBOX_CALL(set_tid_address),
	SANDBOX_CALL(wait4),
#ifdef __NR_waitpid
	SANDBOX_CALL(waitpid),
#endif
	SANDBOX_END,
};

const struct sandbox_call sandbox_thread_calls[] = {
	SANDBOX_WHEN2(
		clone, CLONE_FLAGS, CLONE_FORBIDDEN, 0, CLONE_FLAGS, CLONE_THREAD, CLONE_THREAD),
#ifdef __NR_clone3
	SANDBOX_ABSENT(clone3), /* its flags are in memory, where no filter can look */
#endif
#ifdef __NR_rseq
	SANDBOX_CALL(rseq),
#endif
	SANDBOX_CALL(sched_yield),
	SANDBOX_CALL(set_robust_list),
	SANDBOX_CALL(set_tid_address),
	SANDBOX_END,
};

#ifdef MACHINE

/* The rows of all lists, ordered by number, and the program that they become. */
struct filter {
	const struct sandbox_call *rows[ROWS_MAX];
	size_t row_count;
	size_t groups[ROWS_MAX]; /* the first row of each number */
	size_t jumps[ROWS_MAX];  /* where the program goes on to a group's conditions, or 0 */
	size_t group_count;
	struct sock_filter code[CODE_MAX];
	size_t length;
	bool strict;
	bool overflowed;
};

static void add(struct filter *filter, uint16_t code, uint8_t yes, uint8_t no, uint32_t value)
{
	if (filter->length == CODE_MAX) {
		filter->overflowed = true;
		return;
	}
	filter->code[filter->length++] =
		(struct sock_filter){.code = code, .jt = yes, .jf = no, .k = value};
}

static void add_verdict(struct filter *filter, uint32_t verdict)
{
	add(filter, BPF_RET | BPF_K, 0, 0, verdict);
}

static void add_refusal(struct filter *filter, uint32_t number)
{
	add_verdict(filter, filter->strict ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | number);
}

static void add_load(struct filter *filter, size_t offset)
{
	add(filter, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* A jump to what is not written yet; returns its place for land(). */
static size_t add_jump(struct filter *filter)
{
	add(filter, BPF_JMP | BPF_JA, 0, 0, 0);
	return filter->length - 1;
}

static void land(struct filter *filter, size_t jump)
{
	filter->code[jump].k = (uint32_t)(filter->length - jump - 1);
}

/* ---- the lists ---------------------------------------------------------------------------- */

static void add_row(struct filter *filter, const struct sandbox_call *row)
{
	size_t at = filter->row_count;

	if (at == ROWS_MAX) {
		filter->overflowed = true;
		return;
	}
	for (; at > 0 && filter->rows[at - 1]->number > row->number; at--)
		filter->rows[at] = filter->rows[at - 1];
	filter->rows[at] = row;
	filter->row_count++;
}

static void merge(struct filter *filter, const struct sandbox_call *const lists[])
{
	for (size_t i = 0; lists[i] != NULL; i++)
		for (const struct sandbox_call *row = lists[i]; row->number != SANDBOX_END_NUMBER;
			row++)
			add_row(filter, row);
	for (size_t i = 0; i < filter->row_count; i++)
		if (i == 0 || filter->rows[i]->number != filter->rows[i - 1]->number)
			filter->groups[filter->group_count++] = i;
}

static uint32_t number_of(const struct filter *filter, size_t group)
{
	return filter->rows[filter->groups[group]]->number;
}

static size_t end_of(const struct filter *filter, size_t group)
{
	return group + 1 < filter->group_count ? filter->groups[group + 1] : filter->row_count;
}

/* ---- the program -------------------------------------------------------------------------- */

static bool is_free(const struct sandbox_call *row)
{
	for (size_t i = 0; i < SANDBOX_CONDITIONS; i++)
		if (row->conditions[i].mask != 0)
			return false;
	return !row->absent;
}

/* Behind a comparison that held: what becomes of the call. One instruction. */
static void add_decision(struct filter *filter, size_t group)
{
	bool allowed = false;
	bool absent = true;

	for (size_t i = filter->groups[group]; i < end_of(filter, group); i++) {
		allowed = allowed || is_free(filter->rows[i]);
		absent = absent && filter->rows[i]->absent;
	}
	if (allowed)
		add_verdict(filter, SECCOMP_RET_ALLOW);
	else if (absent)
		add_verdict(filter, SECCOMP_RET_ERRNO | ENOSYS);
	else
		filter->jumps[group] = add_jump(filter);
}

/* The calls from group `first` to before `end`, of which the number is one, or none. As deep as the
 * logarithm of their number. */
// NOLINTNEXTLINE(misc-no-recursion)
static void add_search(struct filter *filter, size_t first, size_t end)
{
	size_t middle = first + (end - first) / 2;
	size_t upper;

	if (end - first <= LEAF_MAX) {
		for (size_t group = first; group < end; group++) {
			add(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number_of(filter, group));
			add_decision(filter, group);
		}
		add_refusal(filter, ENOSYS);
		return;
	}
	add(filter, BPF_JMP | BPF_JGE | BPF_K, 0, 1, number_of(filter, middle));
	upper = add_jump(filter);
	add_search(filter, first, middle);
	land(filter, upper);
	add_search(filter, middle, end);
}

/* Allows the call, or goes on behind. */
static void add_conditions(struct filter *filter, const struct sandbox_call *row)
{
	size_t failed[SANDBOX_CONDITIONS];
	size_t count = 0;

	for (size_t i = 0; i < SANDBOX_CONDITIONS; i++) {
		const struct sandbox_condition *condition = &row->conditions[i];

		if (condition->mask == 0)
			continue;
		add_load(filter, offsetof(struct seccomp_data, args) +
					 condition->argument * sizeof(uint64_t) + LOWER_HALF);
		add(filter, BPF_ALU | BPF_AND | BPF_K, 0, 0, condition->mask);
		add(filter, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, condition->value);
		failed[count++] = add_jump(filter);
	}
	add_verdict(filter, SECCOMP_RET_ALLOW);
	while (count > 0)
		land(filter, failed[--count]);
}

static void build(struct filter *filter)
{
	add_load(filter, offsetof(struct seccomp_data, arch));
	add(filter, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, MACHINE);
	add_verdict(filter, SECCOMP_RET_KILL_PROCESS);
	add_load(filter, offsetof(struct seccomp_data, nr));
	add_search(filter, 0, filter->group_count);
	for (size_t group = 0; group < filter->group_count && !filter->overflowed; group++) {
		if (filter->jumps[group] == 0)
			continue;
		land(filter, filter->jumps[group]);
		for (size_t i = filter->groups[group]; i < end_of(filter, group); i++)
			if (!filter->rows[i]->absent)
				add_conditions(filter, filter->rows[i]);
		add_refusal(filter, EPERM);
	}
}

/* ---- strict ------------------------------------------------------------------------------- */

/* In a handler nothing may be called that allocates or locks, so the number is written by hand. */
static void tell_refused(int signal_number, siginfo_t *info, void *context)
{
	static const char text[] = "natpunch: refused system call ";
	char line[sizeof(text) + 16];
	char *at = line + sizeof(line);
	unsigned number = (unsigned)info->si_syscall;

	(void)signal_number;
	(void)context;
	*--at = '\n';
	do
		*--at = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	at -= sizeof(text) - 1;
	memcpy(at, text, sizeof(text) - 1);
	/* It ends with or without the line. */
	if (write(STDERR_FILENO, at, (size_t)(line + sizeof(line) - at)) < 0)
		_exit(EXIT_STATUS_BUG);
	_exit(EXIT_STATUS_BUG);
}

static int catch_refusals(void)
{
	struct sigaction action = {.sa_sigaction = tell_refused, .sa_flags = SA_SIGINFO};

	return sigaction(SIGSYS, &action, NULL);
}

static bool wants_strict(void)
{
	const char *word = secure_getenv("NATPUNCH_SANDBOX");

	return word != NULL && strcmp(word, "strict") == 0;
}

/* Kernels before 4.17 and 4.14 know fewer flags. */
static int install(const struct sock_fprog *program)
{
	static const unsigned flags[] = {
		SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		SECCOMP_FILTER_FLAG_LOG,
		0,
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], program) == 0)
			return 0;
		if (errno != EINVAL)
			return -1;
	}
	return -1;
}

enum sandbox_result sandbox_enter(const struct sandbox_call *const lists[])
{
	struct filter filter = {.strict = wants_strict()};
	struct sock_fprog program = {.filter = filter.code};

	merge(&filter, lists);
	build(&filter);
	if (filter.overflowed) {
		errno = E2BIG;
		return SANDBOX_FAILED;
	}
	program.len = (unsigned short)filter.length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return SANDBOX_MISSING;
	if (filter.strict && catch_refusals() != 0)
		return SANDBOX_FAILED;
	if (install(&program) == 0)
		return SANDBOX_ON;
	return errno == ENOSYS || errno == EINVAL ? SANDBOX_MISSING : SANDBOX_FAILED;
}

#else /* nobody has looked up the numbers of this machine's calls */

enum sandbox_result sandbox_enter(const struct sandbox_call *const lists[])
{
	(void)lists;
	return SANDBOX_MISSING;
}

#endif
