/* TCP connections on loopback whose other end can be made to hear nothing, and so to die. */
#ifndef NATPUNCH_TESTS_UNIT_DEAF_H
#define NATPUNCH_TESTS_UNIT_DEAF_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

struct loopback {
	int ours;
	int theirs;
};

/* Connected; both ends block. */
static inline struct loopback loopback_connect(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct loopback ends = {.theirs = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	if (bind(listener, (struct sockaddr *)&at, size) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&at, &size) != 0 ||
		connect(ends.theirs, (struct sockaddr *)&at, size) != 0)
		bail_out("no connection on loopback: %s", strerror(errno));
	ends.ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ends.ours < 0)
		bail_out("accept4: %s", strerror(errno));
	close(listener);
	return ends;
}

/* All that comes to this socket is dropped before TCP sees it (socket(7), SO_ATTACH_FILTER). */
static inline void become_deaf(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &drop};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0)
		bail_out("SO_ATTACH_FILTER: %s", strerror(errno));
}

static inline void hear_again(int fd)
{
	int unused = 0;

	if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) != 0)
		bail_out("SO_DETACH_FILTER: %s", strerror(errno));
}

#endif
