#include "natpunch/socket.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

int socket_open(enum addr_family family, int type, int protocol)
{
	return socket(socket_domain(family), type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
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

int socket_bind_interface(int fd, const char *interface)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface));
}

int socket_connect(int fd, const struct addr *addr)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(addr, &sockaddr);

	if (connect(fd, (struct sockaddr *)&sockaddr, size) == 0 || errno == EINPROGRESS)
		return 0;
	return -1;
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

bool socket_forget(int fd)
{
	/* An acknowledgement that the kernel still holds back goes out now. */
	socket_set_flag(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
	if (socket_set_flag(fd, IPPROTO_TCP, TCP_REPAIR, 1) != 0)
		return false;
	close(fd);
	return true;
}

bool socket_can_forget(void)
{
	int fd = socket_open(ADDR_IPV4, SOCK_STREAM, IPPROTO_TCP);
	bool can;

	if (fd < 0)
		return false;
	can = socket_set_flag(fd, IPPROTO_TCP, TCP_REPAIR, 1) == 0;
	close(fd);
	return can;
}

int socket_unacknowledged(int fd)
{
	int value = 0;

	return ioctl(fd, SIOCOUTQ, &value) == 0 ? value : -1;
}

int socket_retransmission_ms(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
		return -1;
	return (int)(info.tcpi_rto / 1000);
}

bool socket_is_local_ip(const struct addr *addr)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) != 0)
		return false;
	for (struct ifaddrs *entry = list; entry != NULL && !found; entry = entry->ifa_next) {
		struct sockaddr_storage sockaddr;
		struct addr own;
		size_t size;

		if (entry->ifa_addr == NULL)
			continue;
		if (entry->ifa_addr->sa_family == AF_INET)
			size = sizeof(struct sockaddr_in);
		else if (entry->ifa_addr->sa_family == AF_INET6)
			size = sizeof(struct sockaddr_in6);
		else
			continue;
		memset(&sockaddr, 0, sizeof(sockaddr));
		memcpy(&sockaddr, entry->ifa_addr, size);
		socket_to_addr(&sockaddr, &own);
		found = addr_equal_ip(&own, addr);
	}
	freeifaddrs(list);
	return found;
}

int socket_source_for(const struct addr *remote, struct addr *out)
{
	int fd = socket_open((enum addr_family)remote->family, SOCK_DGRAM, 0);
	int result = -1;
	int saved;

	if (fd < 0)
		return -1;
	if (socket_connect(fd, remote) == 0)
		result = socket_local(fd, out);
	saved = errno;
	close(fd);
	errno = saved;
	return result;
}
