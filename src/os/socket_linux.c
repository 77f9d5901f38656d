#include "natpunch/socket_linux.h"

#include <ifaddrs.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "natpunch/socket.h"

int socket_bind_interface(int fd, const char *interface)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface));
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
