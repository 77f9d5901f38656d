#include "natpunch/connect/socket_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Space for one descriptor; the struct in front aligns it. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int socket_pass_check(int output, struct error *error)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof(name);

	memset(&name, 0, sizeof(name));
	if (getsockname(output, (struct sockaddr *)&name, &size) == 0 && name.ss_family == AF_UNIX)
		return 0;
	return error_set(error, EXIT_STATUS_USAGE,
		"--fdpass: standard output is not a UNIX socket, which ssh makes it with "
		"ProxyUseFdpass yes");
}

static int set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Returns 0, or -1 and errno. */
static int pass(int output, int fd)
{
	char byte = 0;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	union control control;
	struct msghdr message;
	struct cmsghdr *row;

	memset(&control, 0, sizeof(control));
	memset(&message, 0, sizeof(message));
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof(control.bytes);
	row = CMSG_FIRSTHDR(&message);
	row->cmsg_level = SOL_SOCKET;
	row->cmsg_type = SCM_RIGHTS;
	row->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(row), &fd, sizeof(fd));
	while (sendmsg(output, &message, 0) < 0) {
		struct pollfd ready = {.fd = output, .events = POLLOUT};

		if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
			return -1;
		poll(&ready, 1, -1);
	}
	return 0;
}

int socket_pass_run(int output, int fd, struct error *error)
{
	int result = 0;

	if (set_blocking(fd) != 0 || pass(output, fd) != 0)
		result = error_set(error, EXIT_STATUS_LOCAL, "cannot pass the connection on: %s",
			strerror(errno));
	close(fd);
	return result;
}
