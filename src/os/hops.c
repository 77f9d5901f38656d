#include "natpunch/os/hops.h"

#include <time.h> /* for the next one */

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define FIRST_PORT 33434 /* as traceroute(8) has it: nothing listens there */

static int send_one(const struct addr *remote, const char *interface, int limit)
{
	bool v4 = remote->family == ADDR_IPV4;
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	struct addr to = *remote;
	int fd = socket_open((enum addr_family)remote->family, SOCK_DGRAM, 0);

	to.port = (uint16_t)(FIRST_PORT + limit);
	if (fd < 0)
		return -1;
	if ((interface == NULL || socket_bind_interface(fd, interface) == 0) &&
		socket_set_flag(fd, level, v4 ? IP_TTL : IPV6_UNICAST_HOPS, limit) == 0 &&
		socket_set_flag(fd, level, v4 ? IP_RECVERR : IPV6_RECVERR, 1) == 0 &&
		socket_connect(fd, &to) == 0 && send(fd, "", 1, MSG_NOSIGNAL) == 1)
		return fd;
	close(fd);
	return -1;
}

/* Is it "time exceeded"? ICMP type 11, ICMPv6 type 3. */
static bool is_exceeded(const struct sock_extended_err *error)
{
	return (error->ee_origin == SO_EE_ORIGIN_ICMP && error->ee_type == 11) ||
	       (error->ee_origin == SO_EE_ORIGIN_ICMP6 && error->ee_type == 3);
}

/*
 * Returns false when there is nothing in the error queue. What is there has one control message,
 * as nothing else was asked for: the error, and behind it the address of who sent it.
 */
static bool take_one(int fd, struct addr *hop)
{
	uint8_t control[512];
	char byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	const struct cmsghdr *header;
	struct sock_extended_err error;
	struct sockaddr_storage from;
	size_t size;

	if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	header = CMSG_FIRSTHDR(&message);
	if (header == NULL || header->cmsg_len < CMSG_LEN(sizeof(error)))
		return true;
	memcpy(&error, CMSG_DATA(header), sizeof(error));
	if (!is_exceeded(&error))
		return true;
	size = header->cmsg_len - CMSG_LEN(sizeof(error));
	memset(&from, 0, sizeof(from));
	memcpy(&from, CMSG_DATA(header) + sizeof(error), size < sizeof(from) ? size : sizeof(from));
	socket_to_addr(&from, hop);
	hop->port = 0;
	return true;
}

void hops_start(struct hops *hops, const struct addr *remote, const char *interface)
{
	memset(hops, 0, sizeof(*hops));
	for (int i = 0; i < HOPS_MAX; i++)
		hops->fds[i] = send_one(remote, interface, i + 1);
}

void hops_finish(struct hops *hops, uint64_t deadline)
{
	struct pollfd fds[HOPS_MAX];
	uint64_t now = clock_now_ms();
	size_t open = 0;

	for (size_t i = 0; i < HOPS_MAX; i++) {
		fds[i] = (struct pollfd){.fd = hops->fds[i]};
		open += fds[i].fd >= 0;
	}
	while (open > 0) {
		bool late = now >= deadline;

		poll(fds, HOPS_MAX, clock_poll_ms(now, deadline));
		now = clock_now_ms();
		for (size_t i = 0; i < HOPS_MAX; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0 ||
				!take_one(fds[i].fd, &hops->at[i]))
				continue;
			close(fds[i].fd);
			fds[i].fd = -1;
			open--;
		}
		if (late)
			break;
	}
	for (size_t i = 0; i < HOPS_MAX; i++) {
		if (fds[i].fd >= 0)
			close(fds[i].fd);
		hops->fds[i] = -1;
	}
}

void hops_find(
	struct hops *hops, const struct addr *remote, const char *interface, uint64_t timeout_ms)
{
	uint64_t deadline = clock_now_ms() + timeout_ms;

	hops_start(hops, remote, interface);
	hops_finish(hops, deadline);
}
