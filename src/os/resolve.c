/*
 * The child writes one struct reply, shorter than PIPE_BUF, and exits. Both ends are the same
 * program, so the layout is shared; a child that dies early leaves nothing, which is an error like
 * any other.
 */
#include "natpunch/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "natpunch/socket.h"
#include "natpunch/text.h"

struct reply {
	uint8_t found; /* 1: addresses follow; 0: a text */
	uint8_t count;
	struct addr addrs[RESOLVE_MAX];
	char text[128];
};

static void look_up(const char *host, enum addr_family family, struct reply *reply)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *list = NULL;
	int code;

	if (family != ADDR_NONE)
		want.ai_family = socket_domain(family);
	code = getaddrinfo(host, NULL, &want, &list);
	/* AI_ADDRCONFIG counts no loopback address: a host without a network still finds itself. */
	if (code != 0) {
		want.ai_flags = 0;
		code = getaddrinfo(host, NULL, &want, &list);
	}
	if (code != 0) {
		const char *text = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);
		text_escape(reply->text, sizeof(reply->text), text, strlen(text));
		return;
	}
	for (struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next) {
		struct sockaddr_storage sockaddr;
		if (entry->ai_addrlen > sizeof(sockaddr) || reply->count == RESOLVE_MAX)
			continue;
		memset(&sockaddr, 0, sizeof(sockaddr));
		memcpy(&sockaddr, entry->ai_addr, entry->ai_addrlen);
		socket_to_addr(&sockaddr, &reply->addrs[reply->count]);
		if (reply->addrs[reply->count].family != ADDR_NONE)
			reply->count++;
	}
	freeaddrinfo(list);
	reply->found = reply->count > 0;
}

static void run_child(int fd, const char *host, enum addr_family family)
{
	struct reply reply;
	sigset_t none;

	/* Who ends us from outside ends the look-up as well. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	memset(&reply, 0, sizeof(reply));
	look_up(host, family, &reply);
	/* One write of less than PIPE_BUF: the parent sees all of it or nothing. */
	if (write(fd, &reply, sizeof(reply)) != (ssize_t)sizeof(reply))
		_exit(1);
	_exit(0);
}

static void finish_with_error(struct resolve *resolve, const char *text)
{
	resolve->done = true;
	resolve->count = 0;
	error_set(&resolve->error, EXIT_STATUS_NETWORK, "%s", text);
}

/* pipe2(2) is not in POSIX.1-2008. Returns 0, or -1 and errno with both ends closed. */
static int open_pipe(int ends[2])
{
	int saved;

	if (pipe(ends) != 0)
		return -1;
	if (fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0 &&
		fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 &&
		fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
		return 0;
	saved = errno;
	close(ends[0]);
	close(ends[1]);
	errno = saved;
	return -1;
}

static void start_child(struct resolve *resolve, const char *host, enum addr_family family)
{
	int ends[2];
	pid_t pid;

	if (open_pipe(ends) != 0) {
		finish_with_error(resolve, strerror(errno));
		return;
	}
	pid = fork();
	if (pid == 0)
		run_child(ends[1], host, family);
	close(ends[1]);
	if (pid < 0) {
		finish_with_error(resolve, strerror(errno));
		close(ends[0]);
		return;
	}
	resolve->fd = ends[0];
	resolve->pid = pid;
}

void resolve_start(
	struct resolve *resolve, const char *host, uint16_t port, enum addr_family family)
{
	struct addr *first = &resolve->found[0];

	memset(resolve, 0, sizeof(*resolve));
	resolve->fd = -1;
	resolve->port = port;
	if (addr_parse_ip(first, host) == 0) {
		resolve->done = true;
		first->port = port;
		if (family == ADDR_NONE || first->family == family) {
			resolve->count = 1;
			return;
		}
		finish_with_error(resolve, "the address is of the other family");
		return;
	}
	start_child(resolve, host, family);
}

void resolve_advance(struct resolve *resolve)
{
	struct reply reply;
	ssize_t got;

	if (resolve->done)
		return;
	got = read(resolve->fd, &reply, sizeof(reply));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got != (ssize_t)sizeof(reply) || reply.count > RESOLVE_MAX) {
		finish_with_error(resolve, "the look-up ended without an answer");
		return;
	}
	if (!reply.found) {
		reply.text[sizeof(reply.text) - 1] = '\0';
		finish_with_error(resolve, reply.text);
		return;
	}
	resolve->done = true;
	resolve->count = reply.count;
	for (size_t i = 0; i < resolve->count; i++) {
		resolve->found[i] = reply.addrs[i];
		resolve->found[i].port = resolve->port;
	}
}

void resolve_end(struct resolve *resolve)
{
	if (resolve->fd >= 0)
		close(resolve->fd);
	resolve->fd = -1;
	if (resolve->pid > 0) {
		kill(resolve->pid, SIGKILL);
		while (waitpid(resolve->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	resolve->pid = 0;
}
