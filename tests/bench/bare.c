/*
 * bare UDP-PORT ONCE-PORT CLIENT-PORT KEPT-PORT TEXT-PORT: what a reflector costs at the least.
 *
 * Five servers on 127.0.0.1, each a process and nothing but the system calls that its service
 * cannot do without; none looks at what it was sent. Their process ids are printed as one line, in
 * the order of the ports, when all of them listen. They end when standard input does.
 *
 *   UDP-PORT    recvmmsg, sendmmsg       sends each datagram back
 *   ONCE-PORT   accept4, read, send, close  sends what it read back
 *   CLIENT-PORT the same, but for the client to close first, as RFC 8489 6.2.2 wants: an epoll_ctl,
 *               a share of an epoll_wait and a second read more
 *   KEPT-PORT   epoll_wait, read, send   sends what it read back, until the client closes
 *   TEXT-PORT   accept4, send, close     sends a line that is always the same
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/parse.h"

#define BATCH   64
#define SERVERS 5

static void fail(const char *what)
{
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bind_to(uint16_t port, int type)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	int one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		fail("bind");
	if (type == SOCK_DGRAM)
		return fd;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
		listen(fd, 4096) != 0)
		fail("listen");
	return fd;
}

static void serve_datagrams(int fd)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	static struct sockaddr_storage peers[BATCH];
	static char bytes[BATCH][1500];

	for (;;) {
		int count;

		for (int i = 0; i < BATCH; i++) {
			parts[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			messages[i].msg_hdr = (struct msghdr){
				.msg_name = &peers[i],
				.msg_namelen = sizeof(peers[i]),
				.msg_iov = &parts[i],
				.msg_iovlen = 1,
			};
		}
		count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			parts[i].iov_len = messages[i].msg_len;
		if (count > 0)
			sendmmsg(fd, messages, (unsigned)count, 0);
	}
}

static void serve_once(int listener)
{
	char bytes[1500];

	for (;;) {
		struct sockaddr_storage peer;
		socklen_t size = sizeof(peer);
		int fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
		ssize_t got;

		if (fd < 0)
			continue;
		got = read(fd, bytes, sizeof(bytes));
		if (got > 0)
			send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
		close(fd);
	}
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		close(fd);
}

static void echo(int fd)
{
	char bytes[1500];
	ssize_t got = read(fd, bytes, sizeof(bytes));

	if (got > 0)
		send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
	else if (got == 0 || errno != EAGAIN)
		close(fd);
}

/* All that wait are accepted; `greet`: each is asked at once what it wants. */
static void accept_all(int listener, int epoll, bool greet)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	int fd;

	while ((fd = accept4(listener, (struct sockaddr *)&peer, &size,
			SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (greet)
			echo(fd);
		watch(epoll, fd);
		size = sizeof(peer);
	}
}

static void serve_events(int listener, bool greet)
{
	struct epoll_event events[BATCH];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) != 0)
		fail("epoll");
	watch(epoll, listener);
	for (;;) {
		int count = epoll_wait(epoll, events, BATCH, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener)
				accept_all(listener, epoll, greet);
			else
				echo(events[i].data.fd);
		}
	}
}

static void serve_client(int listener)
{
	serve_events(listener, true);
}

static void serve_kept(int listener)
{
	serve_events(listener, false);
}

static void serve_text(int listener)
{
	static const char line[] = "127.0.0.1 12345\n";

	for (;;) {
		struct sockaddr_storage peer;
		socklen_t size = sizeof(peer);
		int fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	static void (*const serve[SERVERS])(int) = {
		serve_datagrams, serve_once, serve_client, serve_kept, serve_text};
	pid_t pids[SERVERS];
	char byte;

	if (argc != SERVERS + 1) {
		fputs("usage: bare UDP-PORT ONCE-PORT CLIENT-PORT KEPT-PORT TEXT-PORT\n", stderr);
		return 2;
	}
	for (int i = 0; i < SERVERS; i++) {
		uint16_t port;
		int fd;

		if (parse_port(argv[i + 1], &port) != 0)
			return 2;
		fd = bind_to(port, i == 0 ? SOCK_DGRAM : SOCK_STREAM);
		pids[i] = fork();
		if (pids[i] < 0)
			fail("fork");
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve[i](fd);
		}
		close(fd);
	}
	for (int i = 0; i < SERVERS; i++)
		printf("%d%c", (int)pids[i], i < SERVERS - 1 ? ' ' : '\n');
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	return 0;
}
