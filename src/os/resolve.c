/*
 * The child writes one struct reply, shorter than PIPE_BUF, and exits. Both ends are the same
 * program, so the layout is shared; a child that dies early leaves nothing, which is an error like
 * any other.
 */
#include "natpunch/os/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#ifndef NATPUNCH_PORTABLE
#include <netinet/in.h>
#include <arpa/nameser.h>
#include <resolv.h>
#endif

#include "natpunch/os/clock.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/dns_srv.h"
#include "natpunch/base/text.h"

#ifndef NATPUNCH_PORTABLE
const struct sandbox_call resolve_calls[] = {
#ifdef __NR_pipe
	SANDBOX_CALL(pipe),
#endif
	SANDBOX_CALL(pipe2),
	SANDBOX_CALL(wait4),
#ifdef __NR_fcntl
	SANDBOX_CALL(fcntl),
#endif
#ifdef __NR_fcntl64
	SANDBOX_CALL(fcntl64),
#endif
	SANDBOX_END,
};

const struct sandbox_call resolve_kill_calls[] = {
	SANDBOX_CALL(kill),
	SANDBOX_END,
};
#endif

/*
 * What getaddrinfo(3) does not ask, by res_query(3): the SRV records of a name. Returns the size of
 * the answer, or 0 when there is none, or none that fits; always 0 where libc needs another library
 * for this.
 */
#ifndef NATPUNCH_PORTABLE
static size_t ask_srv(const char *name, uint8_t *out, size_t capacity)
{
	int size = res_query(name, ns_c_in, ns_t_srv, out, (int)capacity);

	return size > 0 && (size_t)size <= capacity ? (size_t)size : 0;
}
#else
static size_t ask_srv(const char *name, uint8_t *out, size_t capacity)
{
	(void)name;
	(void)out;
	(void)capacity;
	return 0;
}
#endif

struct reply {
	uint8_t found; /* 1: addresses follow; 0: a text */
	uint8_t count;
	uint8_t by_service;
	struct nat64_prefix nat64;
	struct addr addrs[RESOLVE_MAX];
	uint8_t targets[RESOLVE_MAX];
	char text[128];
};

static int ask(const char *host, enum addr_family family, struct addrinfo **list)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	int code;

	if (family != ADDR_NONE)
		want.ai_family = socket_domain(family);
	code = getaddrinfo(host, NULL, &want, list);
	if (code == 0)
		return 0;
	/* AI_ADDRCONFIG counts no loopback address: a host without a network still finds itself. */
	want.ai_flags = 0;
	return getaddrinfo(host, NULL, &want, list);
}

/* Adds a host's addresses, with this port, as `target`. Returns 0 or what getaddrinfo(3) said. */
static int look_up(const char *host, uint16_t port, enum addr_family family, uint8_t target,
	struct reply *reply)
{
	struct addrinfo *list = NULL;
	int code = ask(host, family, &list);

	if (code != 0)
		return code;
	for (struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next) {
		struct sockaddr_storage sockaddr;
		struct addr *addr = &reply->addrs[reply->count];
		if (entry->ai_addrlen > sizeof(sockaddr) || reply->count == RESOLVE_MAX)
			continue;
		memset(&sockaddr, 0, sizeof(sockaddr));
		memcpy(&sockaddr, entry->ai_addr, entry->ai_addrlen);
		socket_to_addr(&sockaddr, addr);
		addr->port = port;
		reply->targets[reply->count] = target;
		if (addr->family != ADDR_NONE)
			reply->count++;
	}
	freeaddrinfo(list);
	return 0;
}

/* Adds the addresses of all hosts that the SRV records of the domain name. */
static void look_up_service(const char *host, enum addr_family family, struct reply *reply)
{
	uint8_t answer[DNS_SRV_ANSWER_MAX];
	struct dns_srv_answer records;
	uint32_t random[DNS_SRV_MAX];
	char name[HOST_PORT_HOST_SIZE];
	size_t size;

	if (dns_srv_write_name(host, name) != 0)
		return;
	size = ask_srv(name, answer, sizeof(answer));
	if (size == 0 || dns_srv_read(answer, size, &records) != 0)
		return;
	random_fill(random, sizeof(random));
	dns_srv_order(&records, random);
	for (size_t i = 0; i < records.count; i++)
		look_up(records.records[i].target, records.records[i].port, family, (uint8_t)i,
			reply);
	reply->by_service = reply->count > 0;
}

/* ---- NAT64 -------------------------------------------------------------------------------- */

static bool has_route(const struct addr *addr)
{
	struct addr source;

	return socket_source_for(addr, &source) == 0;
}

/* An address of NAT64_NAME, in whichever family, with a port to connect to. */
static bool has_route_to(const char *ip)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		return false;
	addr.port = 1;
	return has_route(&addr);
}

/* A network with IPv6 alone: there is a way to all of that, and none to this. */
static bool may_need_nat64(const struct addr *addr)
{
	bool unreached = addr->family == ADDR_IPV4 ? !has_route(addr)
						   : addr_classify(addr) == ADDR_CLASS_PUBLIC &&
							     !has_route_to("192.0.0.170");

	return unreached && has_route_to("64:ff9b::192.0.0.170");
}

/* NOLINTBEGIN(misc-no-recursion): one level, as who asks for IPv6 looks for no prefix. */
/* In a child of our own, so that it ends in time. */
static void find_prefix(struct nat64_prefix *out)
{
	struct resolve names;
	struct error ignored;

	resolve_start(&names, NAT64_NAME, 0, ADDR_IPV6);
	if (resolve_wait(&names, NAT64_NAME, clock_now_ms() + RESOLVE_NAT64_MS, &ignored) == 0)
		nat64_find_prefix(names.found, names.count, out);
	resolve_end(&names);
}

static void find_nat64(const struct host_port *host, struct reply *reply)
{
	bool needed = false;
	bool has_ipv4 = false;

	for (size_t i = 0; i < reply->count && !needed; i++)
		needed = may_need_nat64(&reply->addrs[i]);
	if (needed)
		find_prefix(&reply->nat64);
	if (reply->nat64.length == 0)
		return;
	for (size_t i = 0; i < reply->count; i++) {
		struct addr *addr = &reply->addrs[i];

		nat64_unmap(&reply->nat64, addr, addr);
		has_ipv4 = has_ipv4 || addr->family == ADDR_IPV4;
	}
	/* AI_ADDRCONFIG: where there is IPv6 alone, nothing else was asked for. */
	if (!has_ipv4 && !reply->by_service)
		look_up(host->host, host->port, ADDR_IPV4, 0, reply);
}

struct addr resolve_target(const struct resolve *resolve, size_t index)
{
	struct addr target = resolve->found[index];

	if (resolve->nat64.length > 0 && target.family == ADDR_IPV4 && !has_route(&target))
		nat64_map(&resolve->nat64, &target, &target);
	return target;
}

/* ---- the child ---------------------------------------------------------------------------- */

static void fill_reply(const struct host_port *host, enum addr_family family, struct reply *reply)
{
	int code = look_up(host->host, host->port, family, 0, reply);
	const char *text;

	/* A name server that does not answer now has no SRV record for us either. */
	if (code != 0 && code != EAI_AGAIN && code != EAI_SYSTEM && !host->port_named)
		look_up_service(host->host, family, reply);
	if (family != ADDR_IPV6)
		find_nat64(host, reply);
	reply->found = reply->count > 0;
	if (reply->found || code == 0)
		return;
	text = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);
	text_escape(reply->text, sizeof(reply->text), text, strlen(text));
}

/* A reader of our parent's output must not have to wait for us as well. */
static void release_output(void)
{
	int nowhere = open("/dev/null", O_RDWR);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (nowhere < 0)
			close(fd);
		else
			dup2(nowhere, fd);
	if (nowhere > STDERR_FILENO)
		close(nowhere);
}

/*
 * The reader of the pipe may end, or no longer want the answer, while a name server is slow. A
 * parent that may not send signals cannot have the kernel send one when it dies either
 * (PR_SET_PDEATHSIG). So the pipe sends one, as it is ours: SIGIO when the last reader closes it.
 */
static void end_with_reader(int fd)
{
	struct pollfd watch = {.fd = fd};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
#ifdef O_ASYNC
	signal(SIGIO, SIG_DFL);
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, O_ASYNC);
#endif
	if (poll(&watch, 1, 0) > 0)
		_exit(1);
}

void resolve_answer(int fd, const struct host_port *host, enum addr_family family)
{
	struct reply reply;

	release_output();
	end_with_reader(fd);
	memset(&reply, 0, sizeof(reply));
	fill_reply(host, family, &reply);
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

static void start_child(struct resolve *resolve, const struct resolve_helper *helper,
	const struct host_port *host, enum addr_family family)
{
	int ends[2];
	pid_t pid;

	if (open_pipe(ends) != 0) {
		finish_with_error(resolve, strerror(errno));
		return;
	}
	pid = helper == NULL ? fork() : helper->start(helper->context, host, family, ends[1]);
	if (pid == 0) {
		close(ends[0]);
		resolve_answer(ends[1], host, family);
	}
	close(ends[1]);
	if (pid < 0) {
		finish_with_error(resolve, strerror(errno));
		close(ends[0]);
		return;
	}
	resolve->fd = ends[0];
	resolve->pid = pid;
	resolve->leaves = helper != NULL && helper->leaves;
}

/* ---- in the caller ------------------------------------------------------------------------ */

bool resolve_takes_child(const struct host_port *reflector, enum addr_family family)
{
	struct addr addr;

	if (addr_parse_ip(&addr, reflector->host) != 0)
		return true;
	addr.port = reflector->port;
	return family != ADDR_IPV6 && addr.family == ADDR_IPV4 && may_need_nat64(&addr);
}

void resolve_start_reflector(struct resolve *resolve, const struct resolve_helper *helper,
	const struct host_port *reflector, enum addr_family family)
{
	struct addr *first = &resolve->found[0];

	memset(resolve, 0, sizeof(*resolve));
	resolve->fd = -1;
	if (!resolve_takes_child(reflector, family) && addr_parse_ip(first, reflector->host) == 0) {
		resolve->done = true;
		first->port = reflector->port;
		if (family == ADDR_NONE || first->family == family) {
			resolve->count = 1;
			return;
		}
		finish_with_error(resolve, "the address is of the other family");
		return;
	}
	start_child(resolve, helper, reflector, family);
}

void resolve_start(
	struct resolve *resolve, const char *host, uint16_t port, enum addr_family family)
{
	struct host_port named = {.port = port, .port_named = true};

	if (strlen(host) >= sizeof(named.host)) {
		memset(resolve, 0, sizeof(*resolve));
		resolve->fd = -1;
		finish_with_error(resolve, "the name is too long");
		return;
	}
	memcpy(named.host, host, strlen(host) + 1);
	resolve_start_reflector(resolve, NULL, &named, family);
}
/* NOLINTEND(misc-no-recursion) */

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
	resolve->by_service = reply.by_service != 0;
	resolve->nat64 = reply.nat64;
	memcpy(resolve->found, reply.addrs, sizeof(reply.addrs));
	memcpy(resolve->targets, reply.targets, sizeof(reply.targets));
}

int resolve_wait(struct resolve *resolve, const char *host, uint64_t deadline, struct error *error)
{
	uint64_t now = clock_now_ms();

	while (!resolve->done && now < deadline) {
		struct pollfd watch = {.fd = resolve->fd, .events = POLLIN};

		if (poll(&watch, 1, clock_poll_ms(now, deadline)) > 0)
			resolve_advance(resolve);
		now = clock_now_ms();
	}
	if (resolve->count > 0)
		return 0;
	error_set(error, resolve->done ? resolve->error.status : EXIT_STATUS_NETWORK,
		"cannot look up %s: %s", host,
		resolve->done ? resolve->error.text : "no answer from a name server");
	return socket_hint_offline(error);
}

void resolve_end(struct resolve *resolve)
{
	if (resolve->fd >= 0)
		close(resolve->fd);
	resolve->fd = -1;
	if (resolve->pid > 0 && (resolve->done || !resolve->leaves)) {
		if (!resolve->leaves)
			kill(resolve->pid, SIGKILL);
		while (waitpid(resolve->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	resolve->pid = 0;
}
