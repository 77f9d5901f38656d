/*
 * The filter of system calls: what is listed passes, with the arguments that it is listed with,
 * and nothing else does; a strict one says what was refused. Everything is tried in children, as no
 * filter can be lifted.
 */
#include "natpunch/os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/base/error.h"
#include "natpunch/os/file.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/socket_linux.h"
#include "tap.h"
#include "unit/confined.h"
#include "unit/sanitized.h"

#define NUMBERS_MAX 600 /* the last call of this year's kernel is under 480 */

static bool is_on(const struct sandbox_call *const lists[])
{
	return sandbox_enter(lists) == SANDBOX_ON;
}

/* Confines a child to the lists; its exit status is what `try` returns, or -signal. */
static int run(const struct sandbox_call *const lists[], int (*try)(void), int err)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		if (err >= 0)
			dup2(err, STDERR_FILENO);
		_exit(is_on(lists) ? try() : CANNOT_CONFINE);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct sandbox_call *const basic[] = {sandbox_basic_calls, NULL};
static const struct sandbox_call *const sockets[] = {
	sandbox_basic_calls, socket_calls, loop_calls, NULL};

static int try_executable_memory(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? errno : 0;
}

static int try_making_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? 0 : problem_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int try_memory(void)
{
	char *block = malloc(1 << 20);

	if (block == NULL)
		return errno;
	block[4096] = 1;
	free(block);
	return 0;
}

static int try_clean_end(void)
{
	if (SANITIZED)
		_exit(0);
	exit(0);
}

static void test_basic(void)
{
	is_int(run(basic, try_memory, -1), 0, "memory can be had");
	is_int(run(basic, try_clean_end, -1), 0, "a program can end");
	is_errno(run(basic, try_exec, -1), ENOSYS, "no program is run");
	is_errno(run(basic, try_ptrace, -1), ENOSYS, "no process is traced");
	is_errno(run(basic, try_null, -1), ENOSYS, "no file is opened");
	is_errno(run(basic, try_fork, -1), ENOSYS, "no process is begun");
	/* musl makes another error of it. */
	ok(run(basic, try_executable_memory, -1) > 0, "no memory is made to be run");
	is_errno(run(basic, try_making_executable, -1), EPERM, "and none is changed to be");
}

static int try_stream(void)
{
	return problem_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int try_datagram6(void)
{
	int problem = problem_of(socket(AF_INET6, SOCK_DGRAM, 0));

	return problem == EAFNOSUPPORT ? 0 : problem;
}

static int try_netlink(void)
{
	return problem_of(socket(AF_NETLINK, SOCK_RAW, 0));
}

static void refuses_socket(int (*try)(void), const char *name)
{
	is_errno(run(sockets, try, -1), ARGUMENTS_SEEN ? EPERM : 0, "%s", name);
}

/* Has the upper half of the argument any say? The kernel takes an int. */
static int try_wide_family(void)
{
	return problem_of(syscall(SYS_socket, (long)AF_PACKET | (long)(1ULL << 32), SOCK_DGRAM, 0));
}

static void test_conditions(void)
{
	const struct sandbox_call *const both[] = {
		sandbox_basic_calls, socket_calls, socket_interface_calls, NULL};

	is_errno(run(sockets, try_stream, -1), 0, "TCP is listed");
	is_errno(run(sockets, try_datagram6, -1), 0, "UDP over IPv6 is listed");
	refuses_socket(try_raw, "raw sockets are not");
	refuses_socket(try_packet, "nor is what reads along");
	is_errno(run(sockets, try_wide_family, -1), EPERM, "however it is written");
	refuses_socket(try_unix, "nor are sockets of this machine");
	refuses_socket(try_netlink, "nor is netlink,");
	is_errno(run(both, try_netlink, -1), 0, "until another list has it");
	is_errno(run(both, try_wide_family, -1), EPERM, "which allows no more than it says");
}

static int try_writing(void)
{
	return problem_of(open("/dev/null", O_WRONLY));
}

static int try_making(void)
{
	return problem_of(open("/tmp/natpunch-sandbox", O_RDONLY | O_CREAT, 0600));
}

static int try_namespace(void)
{
	return problem_of(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0));
}

static void *do_nothing(void *nothing)
{
	return nothing;
}

static int try_thread(void)
{
	pthread_t thread;
	int problem = pthread_create(&thread, NULL, do_nothing, NULL);

	return problem != 0 ? problem : pthread_join(thread, NULL);
}

static void test_lists(void)
{
	const struct sandbox_call *const reading[] = {
		sandbox_basic_calls, file_read_calls, file_status_calls, NULL};
	const struct sandbox_call *const forking[] = {
		sandbox_basic_calls, sandbox_fork_calls, NULL};
	const struct sandbox_call *const threads[] = {
		sandbox_basic_calls, sandbox_thread_calls, NULL};

	is_errno(run(reading, try_null, -1), 0, "who reads files can open them,");
	is_errno(run(reading, try_writing, -1), EPERM, "but not to write,");
	is_errno(run(reading, try_making, -1), EPERM, "nor to make them");
	is_errno(run(forking, try_fork, -1), 0, "who forks can do that,");
	is_errno(run(forking, try_namespace, -1), EPERM, "but not into a new namespace,");
	is_errno(run(forking, try_exec, -1), ENOSYS, "nor can it run a program");
	is_errno(run(threads, try_thread, -1), 0, "who has threads can start them,");
	/* Not every library forks by clone(2). */
	ok(run(threads, try_fork, -1) > 0, "but no process");
}

static bool is_listed(const struct sandbox_call *const lists[], uint32_t number)
{
	for (size_t i = 0; lists[i] != NULL; i++)
		for (const struct sandbox_call *row = lists[i]; row->number != SANDBOX_END_NUMBER;
			row++)
			if (row->number == number)
				return true;
	return false;
}

/* The kernel's own trampolines for probes: they kill who calls them, and no filter sees them. */
static bool is_exempt(uint32_t number)
{
#ifdef __x86_64__
	return number == 335 || number == 336; /* uretprobe, uprobe */
#else
	(void)number;
	return false;
#endif
}

/* As nobody: should one get through, it has no rights to do harm with. */
static int try_all_others(void)
{
	for (uint32_t number = 0; number < NUMBERS_MAX; number++) {
		if (is_listed(sockets, number) || is_exempt(number))
			continue;
		if (syscall((long)number, -1L, -1L, -1L, -1L, -1L, -1L) != -1 || errno != ENOSYS)
			return 1;
	}
	return 0;
}

static int try_all_others_as_nobody(void)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
			_exit(2);
		_exit(is_on(sockets) ? try_all_others() : CANNOT_CONFINE);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#ifdef __x86_64__
/* As 32-bit programs call, where the numbers mean something else: 20 is getpid. */
static int try_other_machine(void)
{
	long result = 20;

	__asm__ volatile("int $0x80" : "+a"(result) : : "memory");
	return 0;
}

/* Not every kernel of this machine serves the other one. */
static bool kernel_has_other_machine(void)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(try_other_machine());
	waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int try_x32(void)
{
	return problem_of(syscall(0x40000000 | SYS_getpid));
}
#endif

static void test_numbers(void)
{
	is_int(try_all_others_as_nobody(), 0, "no number passes but those in the lists");
#ifdef __x86_64__
	if (kernel_has_other_machine())
		is_int(run(basic, try_other_machine, -1), -SIGSYS, "another machine's call kills");
	else
		diag("this kernel has no 32-bit calls");
	is_errno(run(basic, try_x32, -1), ENOSYS, "x32 has no calls");
#endif
}

static void test_strict(void)
{
	char want[128];
	char said[128] = "";
	int ends[2];
	ssize_t size;

	if (pipe(ends) != 0)
		bail_out("pipe");
	setenv("NATPUNCH_SANDBOX", "strict", 1);
	is_int(run(basic, try_ptrace, ends[1]), EXIT_STATUS_BUG, "strict: a refusal ends it");
	is_int(run(sockets, try_wide_family, ends[1]), EXIT_STATUS_BUG, "and so does an argument");
	is_int(run(sockets, try_stream, ends[1]), 0, "but not what is listed");
	unsetenv("NATPUNCH_SANDBOX");
	close(ends[1]);
	size = read(ends[0], said, sizeof(said) - 1);
	close(ends[0]);
	snprintf(want, sizeof(want),
		"natpunch: refused system call %d\nnatpunch: refused system call %d\n", SYS_ptrace,
		SYS_socket);
	ok(size > 0, "it was said");
	is_str(said, want, "by the number");
}

int main(void)
{
	if (run(basic, try_clean_end, -1) == CANNOT_CONFINE) {
		skip(1, "this kernel or machine has no filter");
		return done_testing();
	}
	test_basic();
	test_conditions();
	test_lists();
	test_numbers();
	test_strict();
	return done_testing();
}
