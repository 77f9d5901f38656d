#include "natpunch/os/route.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/socket.h"
#include "natpunch/proto/netlink_message.h"

#define REQUEST_SIZE 256
#define ANSWER_SIZE  4096
#define SEQUENCE     1

const struct sandbox_call route_calls[] = {
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_NETLINK, 2, SANDBOX_WHOLE, NETLINK_ROUTE),
	SANDBOX_END,
};

/* Sends one request and finds the answer to it. Returns 0, or an errno value. */
static int ask(int fd, const struct netlink_message_writer *writer, uint8_t bytes[ANSWER_SIZE],
	uint16_t wanted, struct netlink_message *out)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	size_t size = netlink_message_writer_size(writer);
	struct wire_reader reader;
	ssize_t got;
	int code;

	if (size == 0)
		return ENOBUFS;
	if (sendto(fd, writer->wire.data, size, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return errno;
	for (;;) {
		struct sockaddr_nl from = {.nl_family = AF_NETLINK};
		socklen_t length = sizeof(from);

		got = recvfrom(fd, bytes, ANSWER_SIZE, 0, (struct sockaddr *)&from, &length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		if (from.nl_pid == 0)
			break;
	}
	wire_reader_start(&reader, bytes, (size_t)got);
	while (netlink_message_next(&reader, out)) {
		if (out->sequence != SEQUENCE)
			continue;
		if (out->type == wanted)
			return 0;
		if (netlink_message_read_error(out, &code) && code != 0)
			return code;
	}
	return EPROTO;
}

/* By netlink, as if_nametoindex(3) takes a socket of a kind that nothing else here opens. */
static int find_interface(int fd, const char *name, uint32_t *out)
{
	uint8_t request[REQUEST_SIZE], bytes[ANSWER_SIZE];
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct netlink_message_writer writer;
	struct netlink_message message;
	int problem;

	netlink_message_writer_start(&writer, request, sizeof(request));
	netlink_message_begin(&writer, RTM_GETLINK, NETLINK_MESSAGE_REQUEST, SEQUENCE);
	wire_write_bytes(&writer.wire, &header, sizeof(header));
	netlink_message_put_text(&writer, IFLA_IFNAME, name);
	netlink_message_end(&writer);
	problem = ask(fd, &writer, bytes, RTM_NEWLINK, &message);
	if (problem != 0)
		return problem;
	if (!wire_read_bytes(&message.body, &header, sizeof(header)) || header.ifi_index <= 0)
		return EPROTO;
	*out = (uint32_t)header.ifi_index;
	return 0;
}

static void put_address(
	struct netlink_message_writer *writer, uint16_t type, const struct addr *addr)
{
	netlink_message_put(writer, type, addr->ip, addr_ip_size(addr));
}

static void write_question(struct netlink_message_writer *writer, const struct addr *remote,
	const struct addr *source, uint32_t interface)
{
	uint8_t bits = (uint8_t)(8 * addr_ip_size(remote));
	bool from = source != NULL && source->family == remote->family;
	struct rtmsg header = {
		.rtm_family = (uint8_t)socket_domain((enum addr_family)remote->family),
		.rtm_dst_len = bits,
		.rtm_src_len = from ? bits : 0,
	};
	uint32_t mark = socket_get_mark();

	netlink_message_begin(writer, RTM_GETROUTE, NETLINK_MESSAGE_REQUEST, SEQUENCE);
	wire_write_bytes(&writer->wire, &header, sizeof(header));
	put_address(writer, RTA_DST, remote);
	if (from)
		put_address(writer, RTA_SRC, source);
	if (interface != 0)
		netlink_message_put(writer, RTA_OIF, &interface, sizeof(interface));
	if (mark != 0)
		netlink_message_put(writer, RTA_MARK, &mark, sizeof(mark));
	netlink_message_end(writer);
}

static int read_route(struct netlink_message *message, enum addr_family family, struct route *out)
{
	struct netlink_message_attribute attribute;
	struct rtmsg header;
	struct addr gateway = {.family = (uint8_t)family};

	if (!wire_read_bytes(&message->body, &header, sizeof(header)))
		return EPROTO;
	while (netlink_message_next_attribute(&message->body, &attribute)) {
		if (attribute.type == RTA_OIF)
			wire_read_bytes(&attribute.value, &out->interface, sizeof(out->interface));
		if (attribute.type == RTA_GATEWAY &&
			wire_read_bytes(&attribute.value, gateway.ip, addr_ip_size(&gateway)))
			out->gateway = gateway;
	}
	if (addr_classify(&out->gateway) == ADDR_CLASS_LINK_LOCAL && family == ADDR_IPV6)
		out->gateway.scope = out->interface;
	return message->body.failed ? EPROTO : 0;
}

static int find(int fd, const struct addr *remote, const struct addr *source, const char *interface,
	struct route *out)
{
	uint8_t request[REQUEST_SIZE], bytes[ANSWER_SIZE];
	struct netlink_message_writer writer;
	struct netlink_message message;
	uint32_t index = 0;
	int problem = 0;

	if (interface != NULL)
		problem = find_interface(fd, interface, &index);
	if (problem != 0)
		return problem;
	netlink_message_writer_start(&writer, request, sizeof(request));
	write_question(&writer, remote, source, index);
	problem = ask(fd, &writer, bytes, RTM_NEWROUTE, &message);
	if (problem != 0)
		return problem;
	return read_route(&message, (enum addr_family)remote->family, out);
}

int route_find(const struct addr *remote, const struct addr *source, const char *interface,
	struct route *out)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int problem;

	memset(out, 0, sizeof(*out));
	if (fd < 0)
		return -1;
	problem = find(fd, remote, source, interface, out);
	close(fd);
	errno = problem;
	return problem == 0 ? 0 : -1;
}
