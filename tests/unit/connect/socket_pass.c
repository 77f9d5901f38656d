/*
 * ssh ==== UNIX socket ==== socket_pass_run
 *
 * What it passes is one end of a connection; the other end is the test's.
 */
#include "natpunch/connect/socket_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define QUIET_MS  200
#define PATIENCE  30000
#define EXIT_OPEN 12

static void open_pair(int ends[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		bail_out("no pair: %s", strerror(errno));
}

/* ---- where a descriptor can go ------------------------------------------------------------ */

static void refuses(int output, const char *name)
{
	struct error error;

	memset(&error, 0, sizeof(error));
	is_int(socket_pass_check(output, &error), -1, "%s: refused", name);
	is_int(error.status, EXIT_STATUS_USAGE, "%s: a usage error", name);
	ok(strstr(error.text, "--fdpass: standard output is not a UNIX socket") != NULL,
		"%s: in words", name);
	ok(strchr(error.text, '\n') == NULL, "%s: in one line", name);
}

static void test_check(void)
{
	struct error error;
	int ends[2], pipes[2];
	int file = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int tcp6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	open_pair(ends);
	if (pipe2(pipes, O_CLOEXEC) != 0)
		bail_out("no pipe: %s", strerror(errno));
	is_int(socket_pass_check(ends[0], &error), 0, "a UNIX socket will do");
	refuses(file, "a file");
	refuses(pipes[1], "a pipe");
	refuses(tcp, "a connection");
	refuses(tcp6, "a connection over IPv6");
	close(tcp6);
	refuses(tcp6, "nothing at all");
	close(file);
	close(tcp);
	close(pipes[0]);
	close(pipes[1]);
	close(ends[0]);
	close(ends[1]);
}

/* ---- one that is passed ------------------------------------------------------------------- */

/* As mm_receive_fd() of OpenSSH does it. Returns the descriptor, or -1; the byte in *byte. */
static int take(int fd, char *byte)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	const struct cmsghdr *row;
	int passed;

	if (poll(&ready, 1, PATIENCE) != 1 || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	row = CMSG_FIRSTHDR(&message);
	if (row == NULL || row->cmsg_type != SCM_RIGHTS || row->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&passed, CMSG_DATA(row), sizeof(passed));
	return passed;
}

/* Passes ends[0] in a child; exits with the error's status. */
static pid_t start(int output, int passed)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct error error;
		int status = socket_pass_run(output, passed, &error) == 0 ? 0 : (int)error.status;
		_exit(fcntl(passed, F_GETFD) >= 0 ? EXIT_OPEN : status);
	}
	close(passed);
	return pid;
}

static int exit_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* The peer has spoken before: what it said is for who gets the connection. */
static void test_pass(void)
{
	int ssh[2], connection[2], passed;
	char byte = 'x', text[8] = "";
	pid_t pid;

	open_pair(ssh);
	open_pair(connection);
	fcntl(connection[0], F_SETFL, O_NONBLOCK);
	if (write(connection[1], "SSH-2.0", 7) != 7)
		bail_out("write: %s", strerror(errno));
	pid = start(ssh[1], connection[0]);
	passed = take(ssh[0], &byte);
	is_int(exit_of(pid), 0, "it is passed, and closed here");
	ok(passed >= 0, "one descriptor comes");
	is_int(byte, 0, "with a byte that is 0");
	is_int(fcntl(passed, F_GETFL) & O_NONBLOCK, 0, "it is blocking");
	ok(read(passed, text, sizeof(text)) == 7 && strcmp(text, "SSH-2.0") == 0,
		"what the peer had said is there");
	ok(write(passed, "hello", 5) == 5 && read(connection[1], text, sizeof(text)) == 5,
		"and the other way is open");
	close(passed);
	is_int(read(connection[1], text, sizeof(text)), 0, "nobody else holds it");
	close(ssh[1]);
	is_int(read(ssh[0], text, sizeof(text)), 0, "nothing more was said");
	close(ssh[0]);
	close(connection[1]);
}

/* ssh reads what was there before, and then gets it. */
static void test_full_output(void)
{
	int ssh[2], connection[2], status, passed = -1;
	char byte = 'x', junk[4096];
	pid_t pid;

	open_pair(ssh);
	open_pair(connection);
	fcntl(ssh[1], F_SETFL, O_NONBLOCK);
	memset(junk, 'j', sizeof(junk));
	while (write(ssh[1], junk, sizeof(junk)) > 0)
		;
	while (write(ssh[1], junk, 1) > 0)
		;
	pid = start(ssh[1], connection[0]);
	poll(NULL, 0, QUIET_MS);
	ok(waitpid(pid, &status, WNOHANG) == 0, "with no room for it, it waits");
	while (byte != 0 && (passed = take(ssh[0], &byte)) < 0 && byte == 'j')
		;
	is_int(byte, 0, "behind what was there before");
	ok(passed >= 0, "it comes");
	is_int(exit_of(pid), 0, "a good end");
	if (passed >= 0)
		close(passed);
	close(ssh[0]);
	close(ssh[1]);
	close(connection[1]);
}

static void test_nobody_there(void)
{
	int ssh[2], connection[2];
	char byte;

	open_pair(ssh);
	open_pair(connection);
	close(ssh[0]);
	is_int(exit_of(start(ssh[1], connection[0])), EXIT_STATUS_LOCAL,
		"nobody to pass it to is an error");
	is_int(read(connection[1], &byte, 1), 0, "and the connection is closed");
	close(ssh[1]);
	close(connection[1]);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_check();
	test_pass();
	test_full_output();
	test_nobody_there();
	return done_testing();
}
