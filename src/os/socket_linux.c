#include "natpunch/os/socket_linux.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/socket.h"

#define TYPE_MASK 0xf /* SOCK_STREAM and so on; SOCK_CLOEXEC and SOCK_NONBLOCK stand above */

#define OPEN_SOCKET(family, type)                                                                  \
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, (family), 1, TYPE_MASK, (type))

const struct sandbox_call socket_calls[] = {
	OPEN_SOCKET(AF_INET, SOCK_STREAM),
	OPEN_SOCKET(AF_INET, SOCK_DGRAM),
	OPEN_SOCKET(AF_INET6, SOCK_STREAM),
	OPEN_SOCKET(AF_INET6, SOCK_DGRAM),
#ifdef __NR_socketcall
	/* All of these in one, with the arguments in memory, where no filter looks: what is said
	 * above of families and types then holds for nobody. Some C libraries use it. */
	SANDBOX_CALL(socketcall),
#endif
#ifdef __NR_accept
	SANDBOX_CALL(accept),
#endif
	SANDBOX_CALL(accept4),
	SANDBOX_CALL(bind),
	SANDBOX_CALL(connect),
	SANDBOX_CALL(listen),
	SANDBOX_CALL(getpeername),
	SANDBOX_CALL(getsockname),
	SANDBOX_CALL(getsockopt),
#ifdef __NR_send
	SANDBOX_CALL(send),
	SANDBOX_CALL(recv),
#endif
	SANDBOX_CALL(sendto),
	SANDBOX_CALL(recvfrom),
	SANDBOX_CALL(sendmsg),
	SANDBOX_CALL(recvmsg),
	SANDBOX_CALL(sendmmsg),
	SANDBOX_CALL(recvmmsg),
#ifdef __NR_recvmmsg_time64
	SANDBOX_CALL(recvmmsg_time64),
#endif
	SANDBOX_CALL(shutdown),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_WHOLE, SIOCOUTQ),
	SANDBOX_END,
};

const struct sandbox_call socket_option_calls[] = {
	SANDBOX_CALL(setsockopt),
	SANDBOX_END,
};

const struct sandbox_call socket_forget_calls[] = {
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_QUICKACK),
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_REPAIR),
	SANDBOX_END,
};

const struct sandbox_call socket_interface_calls[] = {
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_NETLINK, 2, SANDBOX_WHOLE, NETLINK_ROUTE),
	SANDBOX_END,
};

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

void socket_abort(int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	(void)connect(fd, &nobody, sizeof(nobody));
	close(fd);
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

bool socket_send_last(int fd, const void *data, size_t size)
{
	ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_MORE);

	return shutdown(fd, SHUT_WR) == 0 && sent == (ssize_t)size;
}

void socket_send_each(int fd, struct mmsghdr *messages, size_t count)
{
	size_t done = 0;

	while (done < count) {
		int sent = sendmmsg(fd, messages + done, (unsigned)(count - done), 0);
		if (sent > 0)
			done += (size_t)sent;
		else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
			return;
		else if (errno != EINTR)
			done++;
	}
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

/* Reads the address of an interface. Returns false for one of another kind. */
static bool read_interface(const struct ifaddrs *entry, struct addr *out)
{
	struct sockaddr_storage sockaddr;
	size_t size;

	if (entry->ifa_addr == NULL)
		return false;
	if (entry->ifa_addr->sa_family == AF_INET)
		size = sizeof(struct sockaddr_in);
	else if (entry->ifa_addr->sa_family == AF_INET6)
		size = sizeof(struct sockaddr_in6);
	else
		return false;
	memset(&sockaddr, 0, sizeof(sockaddr));
	memcpy(&sockaddr, entry->ifa_addr, size);
	socket_to_addr(&sockaddr, out);
	out->port = 0;
	return true;
}

/* Finds the first address of this machine that `fits` `ip`; its interface goes to `name`, if not
 * NULL. */
static bool find_interface(const struct addr *ip,
	bool (*fits)(const struct addr *own, const struct addr *ip), struct addr *out, char *name)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) != 0)
		return false;
	for (struct ifaddrs *entry = list; entry != NULL && !found; entry = entry->ifa_next) {
		found = read_interface(entry, out) && fits(out, ip);
		if (found && name != NULL)
			snprintf(name, SOCKET_INTERFACE_SIZE, "%s", entry->ifa_name);
	}
	freeifaddrs(list);
	return found;
}

uint32_t socket_dropped(int fd)
{
	uint32_t values[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(values);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) != 0 ||
		size <= SK_MEMINFO_DROPS * sizeof(values[0]))
		return 0;
	return values[SK_MEMINFO_DROPS];
}

bool socket_can_bind_ip(const struct addr *addr)
{
	struct addr ip = *addr;
	int fd = socket_open((enum addr_family)addr->family, SOCK_DGRAM, 0);
	bool can;

	if (fd < 0)
		return false;
	ip.port = 0;
	can = socket_bind(fd, &ip) == 0;
	close(fd);
	return can;
}

bool socket_is_local_ip(const struct addr *addr)
{
	struct addr found;

	/* All of 127/8 is, of which the interface has one (RFC 1122 3.2.1.3). */
	if (addr_classify(addr) == ADDR_CLASS_LOOPBACK)
		return true;
	return find_interface(addr, addr_equal_ip, &found, NULL);
}

static bool is_beside(const struct addr *own, const struct addr *ip)
{
	return own->family == ip->family && !addr_equal_ip(own, ip) &&
	       addr_classify(own) == addr_classify(ip);
}

int socket_other_ip(const struct addr *ip, struct addr *out)
{
	return find_interface(ip, is_beside, out, NULL) ? 0 : -1;
}

int socket_interface_of(const struct addr *ip, char out[SOCKET_INTERFACE_SIZE])
{
	struct addr found;

	return find_interface(ip, addr_equal_ip, &found, out) ? 0 : -1;
}

static bool is_inside(const struct addr *own)
{
	enum addr_class class = addr_classify(own);

	return class == ADDR_CLASS_PRIVATE || class == ADDR_CLASS_SHARED;
}

size_t socket_addresses_beside(const struct addr *ip, struct addr *out, size_t max)
{
	char name[SOCKET_INTERFACE_SIZE];
	struct ifaddrs *list = NULL;
	size_t count = 0;

	if (max == 0 || socket_interface_of(ip, name) != 0 || getifaddrs(&list) != 0)
		return 0;
	out[count] = *ip;
	out[count++].port = 0;
	for (struct ifaddrs *entry = list; entry != NULL && count < max; entry = entry->ifa_next)
		if (read_interface(entry, &out[count]) && strcmp(entry->ifa_name, name) == 0 &&
			is_inside(&out[count]) && !addr_equal_ip(&out[count], ip))
			count++;
	freeifaddrs(list);
	return count;
}
