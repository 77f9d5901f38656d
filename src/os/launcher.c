#include "natpunch/os/launcher.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/descriptors.h"

const struct sandbox_call launcher_calls[] = {
	SANDBOX_CALL(sendmsg),
	SANDBOX_CALL(recvfrom),
#ifdef __NR_recv
	SANDBOX_CALL(recv),
#endif
#ifdef __NR_socketcall
	SANDBOX_CALL(socketcall), /* by which some C libraries make the ones above */
#endif
	SANDBOX_CALL(wait4),
	SANDBOX_END,
};

/* How often in a row the launcher tries to take a request, or to give a reply: both stay where they
 * are when there was no memory for them. Without an end, a broken socket would keep a core busy. */
#define ATTEMPTS 8

/* A datagram each; both ends are the same program. */
struct request {
	uint32_t task;
	uint32_t size;
	unsigned char bytes[LAUNCHER_REQUEST_MAX];
};

struct reply {
	int32_t pid; /* or -1, */
	int32_t problem;
};

/* Space for one descriptor; the struct in front aligns it. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* What the launcher was started with. */
struct desk {
	int fd;
	const struct launcher_task *tasks;
	size_t count;
	sigset_t signals; /* that were blocked then, and are to be in the children */
};

/* ---- in the launcher ---------------------------------------------------------------------- */

/* fork(2), but the child is our parent's. No library has a function for it. */
static pid_t fork_sibling(void)
{
	long flags = CLONE_PARENT | SIGCHLD;

#ifdef __s390x__
	return (pid_t)syscall(SYS_clone, 0L, flags, 0L, 0L, 0L);
#else
	return (pid_t)syscall(SYS_clone, flags, 0L, 0L, 0L, 0L);
#endif
}

static int take_descriptor(struct msghdr *header)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(header);
	int fd;

	if (control == NULL || control->cmsg_level != SOL_SOCKET ||
		control->cmsg_type != SCM_RIGHTS || control->cmsg_len != CMSG_LEN(sizeof(fd)))
		return -1;
	memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

/* Returns false when the caller is gone, or cannot be heard. */
static bool take_request(int fd, struct request *request, int *passed)
{
	union control control;
	struct iovec part = {.iov_base = request, .iov_len = sizeof(*request)};
	struct msghdr header = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t size = -1;

	memset(&control, 0, sizeof(control));
	for (int i = 0; i < ATTEMPTS && size < 0; i++)
		size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	*passed = size > 0 ? take_descriptor(&header) : -1;
	return size == (ssize_t)sizeof(*request);
}

/* Returns false when the caller is gone, or cannot be told. */
static bool give_reply(int fd, const struct reply *reply)
{
	ssize_t size = -1;

	for (int i = 0; i < ATTEMPTS && size < 0; i++)
		size = send(fd, reply, sizeof(*reply), MSG_NOSIGNAL);
	return size == (ssize_t)sizeof(*reply);
}

static bool serve_one(const struct desk *desk, const struct request *request, int passed)
{
	struct reply reply = {.pid = -1, .problem = EINVAL};

	if (request->task < desk->count && desk->tasks[request->task].run != NULL &&
		request->size <= LAUNCHER_REQUEST_MAX) {
		reply.pid = fork_sibling();
		reply.problem = errno;
	}
	if (reply.pid == 0) {
		const struct launcher_task *task = &desk->tasks[request->task];

		close(desk->fd);
		sigprocmask(SIG_SETMASK, &desk->signals, NULL);
		task->run(task->context, request->bytes, request->size, passed);
		_exit(1);
	}
	return give_reply(desk->fd, &reply);
}

static _Noreturn void serve(struct desk *desk)
{
	struct request request;
	bool goes_on = true;
	int passed;

	descriptors_close_from(STDERR_FILENO + 1, desk->fd);
	/* A caller that waits for a reply that cannot be given notices our end. */
	while (goes_on && take_request(desk->fd, &request, &passed)) {
		goes_on = serve_one(desk, &request, passed);
		if (passed >= 0)
			close(passed);
	}
	_exit(0);
}

/* ---- in the caller ------------------------------------------------------------------------ */

static int fail(struct launcher *launcher, int problem)
{
	*launcher = (struct launcher){.fd = -1, .problem = problem};
	errno = problem;
	return -1;
}

int launcher_open(struct launcher *launcher, const struct launcher_task *tasks, size_t count)
{
	struct desk desk = {.tasks = tasks, .count = count};
	sigset_t all;
	int ends[2];
	int problem;

	*launcher = LAUNCHER_NONE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return fail(launcher, errno);
	/* The caller's signals are not for the launcher, which ends when there is nobody left to
	 * serve. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &desk.signals);
	launcher->pid = fork();
	problem = errno;
	if (launcher->pid == 0) {
		desk.fd = ends[1];
		serve(&desk);
	}
	sigprocmask(SIG_SETMASK, &desk.signals, NULL);
	close(ends[1]);
	launcher->fd = ends[0];
	if (launcher->pid > 0)
		return 0;
	close(ends[0]);
	return fail(launcher, problem);
}

static void put_descriptor(struct msghdr *header, union control *control, int fd)
{
	struct cmsghdr *row;

	memset(control, 0, sizeof(*control));
	header->msg_control = control;
	header->msg_controllen = sizeof(control->bytes);
	row = CMSG_FIRSTHDR(header);
	row->cmsg_level = SOL_SOCKET;
	row->cmsg_type = SCM_RIGHTS;
	row->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(row), &fd, sizeof(fd));
}

static int take_reply(int fd, struct reply *reply)
{
	ssize_t size;

	do
		size = recv(fd, reply, sizeof(*reply), 0);
	while (size < 0 && errno == EINTR);
	if (size == (ssize_t)sizeof(*reply))
		return 0;
	errno = EPIPE;
	return -1;
}

pid_t launcher_start(
	const struct launcher *launcher, size_t task, const void *request, size_t size, int fd)
{
	struct request bytes = {.task = (uint32_t)task, .size = (uint32_t)size};
	struct iovec part = {.iov_base = &bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union control control;
	struct reply reply;

	if (launcher->fd < 0 || size > LAUNCHER_REQUEST_MAX) {
		errno = launcher->fd >= 0 ? EMSGSIZE : launcher->problem;
		if (errno == 0)
			errno = EPIPE;
		return -1;
	}
	memcpy(bytes.bytes, request, size);
	if (fd >= 0)
		put_descriptor(&header, &control, fd);
	if (sendmsg(launcher->fd, &header, MSG_NOSIGNAL) < 0 ||
		take_reply(launcher->fd, &reply) != 0)
		return -1;
	errno = reply.problem;
	return reply.pid;
}

bool launcher_has_ended(struct launcher *launcher)
{
	if (launcher->pid <= 0 || waitpid(launcher->pid, NULL, WNOHANG) != launcher->pid)
		return false;
	launcher->pid = 0;
	return true;
}

void launcher_close(struct launcher *launcher)
{
	if (launcher->fd < 0)
		return;
	close(launcher->fd);
	while (launcher->pid > 0 && waitpid(launcher->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*launcher = LAUNCHER_NONE;
}
