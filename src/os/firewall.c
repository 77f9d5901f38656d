#include "natpunch/os/firewall.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/file.h"
#include "natpunch/proto/netlink_message.h"
#include "natpunch/base/text.h"

#define ANSWER_SIZE 16384
/* linux/netfilter.h, which does not go with a C library's headers */
#define FAMILY_INET   1
#define FAMILY_IPV4   2
#define FAMILY_IPV6   10
#define HOOK_LOCAL_IN 1

#define DATAGRAMS_MAX 64 /* of one dump; the rest is left out */

static void add_name(char out[FIREWALL_NAME_SIZE], const char *name)
{
	size_t used = strlen(out);

	if (used + strlen(name) + 3 > FIREWALL_NAME_SIZE)
		return;
	snprintf(out + used, FIREWALL_NAME_SIZE - used, "%s%s", used > 0 ? ", " : "", name);
}

static const char *family_name(uint8_t family)
{
	switch (family) {
	case FAMILY_INET:
		return "inet";
	case FAMILY_IPV4:
		return "ip";
	case FAMILY_IPV6:
		return "ip6";
	default:
		return NULL;
	}
}

static void take_text(const struct netlink_message_attribute *attribute, char *out, size_t capacity)
{
	char bytes[64];
	struct wire_reader value = attribute->value;
	size_t size = wire_reader_left(&value);

	if (size > sizeof(bytes))
		size = sizeof(bytes);
	wire_read_bytes(&value, bytes, size);
	text_escape(out, capacity, bytes, strnlen(bytes, size));
}

static bool is_input(const struct netlink_message_attribute *hook)
{
	struct wire_reader inside = hook->value;
	struct netlink_message_attribute attribute;
	uint32_t number;

	while (netlink_message_next_attribute(&inside, &attribute))
		if (attribute.type == NFTA_HOOK_HOOKNUM &&
			netlink_message_get_be32(&attribute, &number))
			return number == HOOK_LOCAL_IN;
	return false;
}

static void take_chain(const struct netlink_message *message, char out[FIREWALL_NAME_SIZE])
{
	struct wire_reader body = message->body;
	struct netlink_message_attribute attribute;
	char table[64] = "", chain[64] = "", name[160];
	uint8_t header[4]; /* struct nfgenmsg */
	bool input = false;

	wire_read_bytes(&body, header, sizeof(header));
	while (netlink_message_next_attribute(&body, &attribute)) {
		if (attribute.type == NFTA_CHAIN_TABLE)
			take_text(&attribute, table, sizeof(table));
		if (attribute.type == NFTA_CHAIN_NAME)
			take_text(&attribute, chain, sizeof(chain));
		if (attribute.type == NFTA_CHAIN_HOOK)
			input = is_input(&attribute);
	}
	if (body.failed || !input || family_name(header[0]) == NULL)
		return;
	snprintf(name, sizeof(name), "%s %s/%s", family_name(header[0]), table, chain);
	add_name(out, name);
}

/* Returns false after the last one. */
static bool take_datagram(int fd, char out[FIREWALL_NAME_SIZE])
{
	uint8_t bytes[ANSWER_SIZE];
	struct wire_reader reader;
	struct netlink_message message;
	ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (got <= 0)
		return false;
	wire_reader_start(&reader, bytes, (size_t)got);
	while (netlink_message_next(&reader, &message)) {
		if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR)
			return false;
		take_chain(&message, out);
	}
	return !reader.failed;
}

static void name_nftables(char out[FIREWALL_NAME_SIZE])
{
	static const uint8_t any_family[4]; /* struct nfgenmsg: AF_UNSPEC, version 0 */
	uint8_t bytes[64];
	struct netlink_message_writer writer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return;
	netlink_message_writer_start(&writer, bytes, sizeof(bytes));
	netlink_message_begin(&writer, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN,
		NETLINK_MESSAGE_REQUEST | NLM_F_DUMP, 1);
	wire_write_bytes(&writer.wire, any_family, sizeof(any_family));
	netlink_message_end(&writer);
	/* The kernel has answered a dump, as far as the buffer goes, when send() is back. */
	if (send(fd, bytes, netlink_message_writer_size(&writer), 0) > 0)
		for (int i = 0; i < DATAGRAMS_MAX && take_datagram(fd, out); i++)
			;
	close(fd);
}

void firewall_name(char out[FIREWALL_NAME_SIZE])
{
	struct error error;
	char tables[64];
	int missing = 0;
	ssize_t size;

	out[0] = '\0';
	name_nftables(out);
	size = file_read("/proc/net/ip_tables_names", tables, sizeof(tables), &missing, &error);
	if (size > 0 && memmem(tables, (size_t)size, "filter", strlen("filter")) != NULL)
		add_name(out, "iptables");
}
