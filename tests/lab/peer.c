/*
 * peer - the other end, for tests of the laboratory itself.
 *
 *     peer serve ADDR,PORT...
 *         Listens on each, TCP and UDP, and answers whoever comes with one
 *         line, "ADDR PORT", the address it came from. Prints "ready" first,
 *         then a line "tcp|udp LOCAL-ADDR LOCAL-PORT ADDR PORT" for each.
 *
 *     peer ask tcp|udp LOCAL-ADDR LOCAL-PORT ADDR PORT MILLISECONDS
 *         From the given local port (0: any) asks for that line, prints it
 *         (control bytes as '.'), and says what else happened in one word:
 *         connected (TCP, and then nothing came), refused, timeout,
 *         unreachable.
 *
 *     peer rtt LOCAL-PORT ADDR PORT MILLISECONDS
 *         Asks over UDP and prints how many milliseconds that took, with three
 *         decimals, or timeout.
 *
 *     peer syn LOCAL-ADDR LOCAL-PORT ADDR PORT MILLISECONDS
 *         Connects by TCP only, and prints connected, refused, timeout or
 *         unreachable.
 *
 * A local port that somebody else listens on is bound by TCP_REPAIR, which
 * forces the reuse of the address for the one bind that follows. This needs
 * CAP_NET_ADMIN.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ENDPOINTS_MAX = 16,
	LINE_MAX_BYTES = 128,
};

struct endpoint {
	struct sockaddr_storage addr;
	socklen_t size;
};

static void die(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct endpoint endpoint_parse(const char *host, const char *port)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int e = getaddrinfo(host, port, &hints, &found);
	if (e) {
		fprintf(stderr, "peer: %s %s: %s\n", host, port, gai_strerror(e));
		exit(2);
	}
	struct endpoint result = {.size = found->ai_addrlen};
	memcpy(&result.addr, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return result;
}

static long number_parse(const char *text)
{
	long value = 0;
	for (; *text >= '0' && *text <= '9' && value < 1000000; text++)
		value = value * 10 + (*text - '0');
	if (*text) {
		fprintf(stderr, "peer: not a number: %s\n", text);
		exit(2);
	}
	return value;
}

static void endpoint_print(const struct endpoint *e, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN], port[8];
	if (getnameinfo((const struct sockaddr *)&e->addr, e->size, host, sizeof(host), port,
		    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(text, size, "?");
	else
		snprintf(text, size, "%s %s", host, port);
}

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool wait_readable(int fd, short events, long deadline_ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	long left = deadline_ms - now_ms();
	return poll(&p, 1, left > 0 ? (int)left : 0) > 0;
}

static int bound_socket(const struct endpoint *local, int type)
{
	int on = 1;
	int fd = socket(local->addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (local->addr.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	const struct sockaddr *addr = (const struct sockaddr *)&local->addr;
	if (bind(fd, addr, local->size) == 0)
		return fd;
	if (errno != EADDRINUSE || type != SOCK_STREAM)
		die("bind");

	/* -1 ends repair mode without a window probe. */
	int off = -1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0 ||
		bind(fd, addr, local->size) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) < 0)
		die("bind by repair");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return fd;
}

static const char *outcome(int error)
{
	switch (error) {
	case 0:
		return "connected";
	case ECONNREFUSED:
	case ECONNRESET:
		return "refused";
	case ETIMEDOUT:
	case EAGAIN:
		return "timeout";
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EACCES:
		return "unreachable";
	default:
		return strerror(error);
	}
}

static int connect_until(int fd, const struct endpoint *to, long deadline_ms)
{
	if (connect(fd, (const struct sockaddr *)&to->addr, to->size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (!wait_readable(fd, POLLOUT, deadline_ms))
		return ETIMEDOUT;
	int error = 0;
	socklen_t size = sizeof(error);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

static void print_line(char *text, size_t size)
{
	size_t n = 0;
	for (; n < size && text[n] != '\n' && text[n] != '\r'; n++) {
		if (text[n] < ' ' || text[n] > '~')
			text[n] = '.';
	}
	printf("%.*s\n", (int)n, text);
}

static int command_ask(char **argv, bool only_connect, int type)
{
	struct endpoint local = endpoint_parse(argv[0], argv[1]);
	struct endpoint remote = endpoint_parse(argv[2], argv[3]);
	long deadline_ms = now_ms() + number_parse(argv[4]);
	char text[LINE_MAX_BYTES];

	int fd = bound_socket(&local, type);
	int error = connect_until(fd, &remote, deadline_ms);
	if (error || only_connect) {
		puts(outcome(error));
		return error != 0;
	}
	if (type == SOCK_DGRAM && send(fd, "?\n", 2, 0) < 0)
		die("send");
	if (!wait_readable(fd, POLLIN, deadline_ms)) {
		puts(type == SOCK_DGRAM ? "timeout" : "connected");
		return 1;
	}
	ssize_t n = recv(fd, text, sizeof(text), 0);
	if (n <= 0) {
		puts(n ? outcome(errno) : "closed");
		return 1;
	}
	print_line(text, (size_t)n);
	/* Let the other side close first, so that no TIME_WAIT stays here. */
	while (type == SOCK_STREAM && n > 0 && wait_readable(fd, POLLIN, deadline_ms))
		n = recv(fd, text, sizeof(text), 0);
	return 0;
}

static int command_rtt(char **argv)
{
	struct endpoint remote = endpoint_parse(argv[1], argv[2]);
	bool is_ipv4 = remote.addr.ss_family == AF_INET;
	struct endpoint local = endpoint_parse(is_ipv4 ? "0.0.0.0" : "::", argv[0]);
	long deadline_ms = now_ms() + number_parse(argv[3]);
	struct timespec before, after;
	char text[LINE_MAX_BYTES];

	int fd = bound_socket(&local, SOCK_DGRAM);
	if (connect_until(fd, &remote, deadline_ms))
		die("connect");
	clock_gettime(CLOCK_MONOTONIC, &before);
	if (send(fd, "?\n", 2, 0) < 0)
		die("send");
	if (!wait_readable(fd, POLLIN, deadline_ms) || recv(fd, text, sizeof(text), 0) < 0) {
		puts("timeout");
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &after);
	printf("%.3f\n", (double)(after.tv_sec - before.tv_sec) * 1e3 +
				 (double)(after.tv_nsec - before.tv_nsec) / 1e6);
	return 0;
}

static void answer(int fd, int type, const struct endpoint *local)
{
	struct endpoint who = {.size = sizeof(who.addr)};
	struct sockaddr *addr = (struct sockaddr *)&who.addr;
	char from[LINE_MAX_BYTES], here[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	int connection = -1;

	if (type == SOCK_STREAM) {
		connection = accept4(fd, addr, &who.size, SOCK_CLOEXEC);
		if (connection < 0)
			return;
	} else if (recvfrom(fd, line, sizeof(line), 0, addr, &who.size) < 0) {
		return;
	}
	endpoint_print(&who, from, sizeof(from));
	endpoint_print(local, here, sizeof(here));
	int n = snprintf(line, sizeof(line), "%s\n", from);
	if (n < 0)
		return;
	ssize_t sent = type == SOCK_STREAM ? send(connection, line, (size_t)n, MSG_NOSIGNAL)
					   : sendto(fd, line, (size_t)n, 0, addr, who.size);
	printf("%s %s %s%s\n", type == SOCK_STREAM ? "tcp" : "udp", here, from,
		sent < 0 ? " unanswered" : "");
	if (connection >= 0)
		close(connection);
}

static int command_serve(int count, char **argv)
{
	struct endpoint locals[2 * ENDPOINTS_MAX];
	struct pollfd fds[2 * ENDPOINTS_MAX];
	nfds_t n = 0;

	if (count < 1 || count > ENDPOINTS_MAX)
		return 2;
	for (int i = 0; i < count; i++) {
		char *comma = strchr(argv[i], ',');
		if (!comma)
			return 2;
		*comma = '\0';
		struct endpoint local = endpoint_parse(argv[i], comma + 1);
		for (int udp = 0; udp < 2; udp++, n++) {
			locals[n] = local;
			fds[n].events = POLLIN;
			fds[n].fd = bound_socket(&local, udp ? SOCK_DGRAM : SOCK_STREAM);
			if (!udp && listen(fds[n].fd, 64) < 0)
				die("listen");
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (poll(fds, n, -1) > 0 || errno == EINTR) {
		for (nfds_t i = 0; i < n; i++) {
			if (fds[i].revents)
				answer(fds[i].fd, i % 2 ? SOCK_DGRAM : SOCK_STREAM, &locals[i]);
		}
	}
	die("poll");
	return 1;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "serve") == 0)
		return command_serve(argc - 2, argv + 2);
	if (argc == 8 && strcmp(argv[1], "ask") == 0)
		return command_ask(
			argv + 3, false, strcmp(argv[2], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM);
	if (argc == 6 && strcmp(argv[1], "rtt") == 0)
		return command_rtt(argv + 2);
	if (argc == 7 && strcmp(argv[1], "syn") == 0)
		return command_ask(argv + 2, true, SOCK_STREAM);
	fprintf(stderr, "usage: see the top of tests/lab/peer.c\n");
	return 2;
}
