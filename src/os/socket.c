#include "natpunch/os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

/* RFC 5014 section 5, with the numbers of linux/in6.h, which clashes with the C library's headers.
 */
#define ADDRESS_PREFERENCES 72
#define PREFER_PUBLIC       0x0002

static uint32_t current_mark; /* 0: none */

socklen_t socket_from_addr(const struct addr *addr, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (addr->family == ADDR_IPV4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(addr->port);
		memcpy(&v4->sin_addr, addr->ip, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	if (addr->family == ADDR_IPV6) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(addr->port);
		v6->sin6_scope_id = addr->scope;
		memcpy(&v6->sin6_addr, addr->ip, sizeof(v6->sin6_addr));
		return sizeof(*v6);
	}
	return 0;
}

void socket_to_addr(const struct sockaddr_storage *sockaddr, struct addr *out)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sockaddr;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sockaddr;

	memset(out, 0, sizeof(*out));
	if (sockaddr->ss_family == AF_INET) {
		out->family = ADDR_IPV4;
		out->port = ntohs(v4->sin_port);
		memcpy(out->ip, &v4->sin_addr, sizeof(v4->sin_addr));
	} else if (sockaddr->ss_family == AF_INET6) {
		out->family = ADDR_IPV6;
		out->port = ntohs(v6->sin6_port);
		out->scope = v6->sin6_scope_id;
		memcpy(out->ip, &v6->sin6_addr, sizeof(v6->sin6_addr));
		addr_unmap(out);
	}
}

int socket_domain(enum addr_family family)
{
	return family == ADDR_IPV6 ? AF_INET6 : AF_INET;
}

/* Returns the descriptor, or -1 and errno with it closed. */
static int set_flags(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	int saved;

#ifdef SO_NOSIGPIPE /* for systems whose send(2) has no MSG_NOSIGNAL */
	socket_set_flag(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
	if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
		fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Returns the descriptor, or -1 and errno with it closed. */
static int mark(int fd)
{
#ifdef SO_MARK
	int saved;

	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &current_mark, sizeof(current_mark)) == 0)
		return fd;
	saved = errno;
#else /* nor has it this one */
	int saved = ENOTSUP;
#endif
	close(fd);
	errno = saved;
	return -1;
}

int socket_open(enum addr_family family, int type, int protocol)
{
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
	int fd = socket(socket_domain(family), type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
#else /* POSIX.1-2008 has neither */
	int fd = socket(socket_domain(family), type, protocol);

	if (fd >= 0)
		fd = set_flags(fd);
#endif
	return fd < 0 || current_mark == 0 ? fd : mark(fd);
}

uint32_t socket_get_mark(void)
{
	return current_mark;
}

int socket_set_mark(uint32_t value)
{
	int fd;

	current_mark = value;
	fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	if (fd >= 0)
		return close(fd);
	current_mark = 0;
	return -1;
}

int socket_set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

int socket_bind(int fd, const struct addr *addr)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(addr, &sockaddr);

	return bind(fd, (struct sockaddr *)&sockaddr, size);
}

int socket_connect(int fd, const struct addr *addr)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(addr, &sockaddr);

	if (connect(fd, (struct sockaddr *)&sockaddr, size) == 0 || errno == EINPROGRESS)
		return 0;
	return -1;
}

int socket_accept(int listener, struct addr *peer)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	int fd;

	memset(&sockaddr, 0, sizeof(sockaddr));
	fd = accept(listener, (struct sockaddr *)&sockaddr, &size);
	if (fd < 0)
		return -1;
	socket_to_addr(&sockaddr, peer);
	return set_flags(fd);
}

int socket_local(int fd, struct addr *out)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);

	memset(&sockaddr, 0, sizeof(sockaddr));
	if (getsockname(fd, (struct sockaddr *)&sockaddr, &size) != 0)
		return -1;
	socket_to_addr(&sockaddr, out);
	return 0;
}

int socket_peer(int fd, struct addr *out)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);

	memset(&sockaddr, 0, sizeof(sockaddr));
	if (getpeername(fd, (struct sockaddr *)&sockaddr, &size) != 0)
		return -1;
	socket_to_addr(&sockaddr, out);
	return 0;
}

int socket_take_error(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size) != 0)
		return errno;
	return value;
}

void socket_prefer_public_source(int fd)
{
#ifndef NATPUNCH_PORTABLE
	socket_set_flag(fd, IPPROTO_IPV6, ADDRESS_PREFERENCES, PREFER_PUBLIC);
#else
	(void)fd;
#endif
}

int socket_source_for(const struct addr *remote, struct addr *out)
{
	int fd = socket_open((enum addr_family)remote->family, SOCK_DGRAM, 0);
	int result = -1;
	int saved;

	if (fd < 0)
		return -1;
	if (remote->family == ADDR_IPV6)
		socket_prefer_public_source(fd);
	if (socket_connect(fd, remote) == 0)
		result = socket_local(fd, out);
	saved = errno;
	close(fd);
	errno = saved;
	return result;
}

int socket_hint_offline(struct error *error)
{
	/* Of documentation (RFC 5737, RFC 3849): nobody has a route of their own there. */
	static const char *const outside[] = {"203.0.113.1", "2001:db8::1"};
	struct addr remote, source;

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		if (addr_parse_ip(&remote, outside[i]) == 0) {
			remote.port = 9;
			if (socket_source_for(&remote, &source) == 0)
				return -1;
		}
	return error_hint(
		error, "this machine is offline: it has no route out, in IPv4 or in IPv6");
}
