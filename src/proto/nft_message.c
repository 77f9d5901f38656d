/*
 * The rule, as nft(8) would print it:
 *
 *	table ip natpunch-7 {
 *		chain out {
 *			type nat hook postrouting priority srcnat - 1
 *			meta l4proto tcp ip saddr A ip daddr B tcp sport E tcp dport D snat to :P
 *		}
 *	}
 *
 * and as the kernel takes it: a list of expressions, each of which loads something into a register,
 * compares a register with a constant, or acts. A comparison that fails ends the rule.
 *
 * The numbers keep the names of the kernel's headers, which pure code does not include.
 *
 * A request to delete from connection tracking that names no flow empties the whole table: so the
 * writer has no way to leave the flow out.
 */
#include "natpunch/proto/nft_message.h"

#include <string.h>

#define TABLE_OWNER      0x2  /* NFT_TABLE_F_OWNER; older headers lack it */
#define BATCH_BEGIN      0x10 /* NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END */
#define BATCH_END        0x11
#define FAMILY_NONE      0 /* NFPROTO_UNSPEC, NFPROTO_IPV4, NFPROTO_IPV6 of linux/netfilter.h */
#define FAMILY_IPV4      2
#define FAMILY_IPV6      10
#define HOOK_POSTROUTING 4  /* NF_INET_POST_ROUTING of linux/netfilter.h */
#define PRIORITY         99 /* NF_IP_PRI_NAT_SRC of linux/netfilter_ipv4.h is 100 */
#define NFGENMSG_SIZE    4  /* struct nfgenmsg */
#define CHAIN            "out"

/* Subsystems and message types; linux/netfilter/nfnetlink.h, nf_tables.h and nfnetlink_conntrack.h.
 */
enum {
	NFNL_SUBSYS_CTNETLINK = 1,
	NFNL_SUBSYS_NFTABLES = 10,
	NFT_MSG_NEWTABLE = 0,
	NFT_MSG_NEWCHAIN = 3,
	NFT_MSG_NEWRULE = 6,
	IPCTNL_MSG_CT_NEW = 0,
	IPCTNL_MSG_CT_GET = 1,
	IPCTNL_MSG_CT_DELETE = 2,
};

/* Attributes of tables, chains, hooks and rules. */
enum {
	NFTA_TABLE_NAME = 1,
	NFTA_TABLE_FLAGS = 2,
	NFTA_CHAIN_TABLE = 1,
	NFTA_CHAIN_NAME = 3,
	NFTA_CHAIN_HOOK = 4,
	NFTA_CHAIN_TYPE = 7,
	NFTA_HOOK_HOOKNUM = 1,
	NFTA_HOOK_PRIORITY = 2,
	NFTA_RULE_TABLE = 1,
	NFTA_RULE_CHAIN = 2,
	NFTA_RULE_EXPRESSIONS = 4,
};

/* Expressions: attributes and operands. */
enum {
	NFTA_LIST_ELEM = 1,
	NFTA_EXPR_NAME = 1,
	NFTA_EXPR_DATA = 2,
	NFTA_DATA_VALUE = 1,
	NFTA_META_DREG = 1,
	NFTA_META_KEY = 2,
	NFT_META_L4PROTO = 16,
	NFT_REG_1 = 1,
	NFTA_CMP_SREG = 1,
	NFTA_CMP_OP = 2,
	NFTA_CMP_DATA = 3,
	NFT_CMP_EQ = 0,
	NFTA_PAYLOAD_DREG = 1,
	NFTA_PAYLOAD_BASE = 2,
	NFTA_PAYLOAD_OFFSET = 3,
	NFTA_PAYLOAD_LEN = 4,
	NFT_PAYLOAD_NETWORK_HEADER = 1,
	NFT_PAYLOAD_TRANSPORT_HEADER = 2,
	NFTA_IMMEDIATE_DREG = 1,
	NFTA_IMMEDIATE_DATA = 2,
	NFTA_NAT_TYPE = 1,
	NFTA_NAT_FAMILY = 2,
	NFTA_NAT_REG_PROTO_MIN = 5,
	NFT_NAT_SNAT = 0,
};

/* Attributes of connection tracking. */
enum {
	CTA_TUPLE_ORIG = 1,
	CTA_TUPLE_REPLY = 2,
	CTA_STATUS = 3,
	CTA_ID = 12,
	CTA_TUPLE_IP = 1,
	CTA_TUPLE_PROTO = 2,
	CTA_IP_V4_SRC = 1,
	CTA_IP_V4_DST = 2,
	CTA_IP_V6_SRC = 3,
	CTA_IP_V6_DST = 4,
	CTA_PROTO_NUM = 1,
	CTA_PROTO_SRC_PORT = 2,
	CTA_PROTO_DST_PORT = 3,
	IPS_SEEN_REPLY = 1 << 1,
};

static uint8_t family_number(const struct nft_message_flow *flow)
{
	return flow->source.family == ADDR_IPV6 ? FAMILY_IPV6 : FAMILY_IPV4;
}

static void begin(struct netlink_message_writer *writer, uint16_t type, uint16_t flags,
	uint8_t family, enum nft_message_sequence sequence, uint16_t resource)
{
	netlink_message_begin(
		writer, type, (uint16_t)(NETLINK_MESSAGE_REQUEST | flags), (uint32_t)sequence);
	wire_write_u8(&writer->wire, family);
	wire_write_u8(&writer->wire, 0 /* NFNETLINK_V0 */);
	wire_write_u16(&writer->wire, resource);
}

static uint16_t table_message(uint16_t type)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
}

static void put_batch_mark(
	struct netlink_message_writer *writer, uint16_t type, enum nft_message_sequence sequence)
{
	begin(writer, type, 0, FAMILY_NONE, sequence, NFNL_SUBSYS_NFTABLES);
	netlink_message_end(writer);
}

static void put_table(struct netlink_message_writer *writer, uint8_t family, const char *table)
{
	begin(writer, table_message(NFT_MSG_NEWTABLE),
		NETLINK_MESSAGE_CREATE | NETLINK_MESSAGE_EXCL | NETLINK_MESSAGE_ACK, family,
		NFT_MESSAGE_TABLE, 0);
	netlink_message_put_text(writer, NFTA_TABLE_NAME, table);
	netlink_message_put_be32(writer, NFTA_TABLE_FLAGS, TABLE_OWNER);
	netlink_message_end(writer);
}

static void put_chain(struct netlink_message_writer *writer, uint8_t family, const char *table)
{
	size_t hook;

	begin(writer, table_message(NFT_MSG_NEWCHAIN), NETLINK_MESSAGE_CREATE | NETLINK_MESSAGE_ACK,
		family, NFT_MESSAGE_CHAIN, 0);
	netlink_message_put_text(writer, NFTA_CHAIN_TABLE, table);
	netlink_message_put_text(writer, NFTA_CHAIN_NAME, CHAIN);
	hook = netlink_message_begin_nest(writer, NFTA_CHAIN_HOOK);
	netlink_message_put_be32(writer, NFTA_HOOK_HOOKNUM, HOOK_POSTROUTING);
	netlink_message_put_be32(writer, NFTA_HOOK_PRIORITY, PRIORITY);
	netlink_message_end_nest(writer, hook);
	netlink_message_put_text(writer, NFTA_CHAIN_TYPE, "nat");
	netlink_message_end(writer);
}

/* The frame of an expression; what is put between begin and end are its own attributes. */
struct expression {
	size_t element;
	size_t data;
};

static struct expression begin_expression(struct netlink_message_writer *writer, const char *name)
{
	struct expression expression;

	expression.element = netlink_message_begin_nest(writer, NFTA_LIST_ELEM);
	netlink_message_put_text(writer, NFTA_EXPR_NAME, name);
	expression.data = netlink_message_begin_nest(writer, NFTA_EXPR_DATA);
	return expression;
}

static void end_expression(struct netlink_message_writer *writer, struct expression expression)
{
	netlink_message_end_nest(writer, expression.data);
	netlink_message_end_nest(writer, expression.element);
}

static void put_compare(struct netlink_message_writer *writer, const void *value, size_t size)
{
	struct expression expression = begin_expression(writer, "cmp");
	size_t data;

	netlink_message_put_be32(writer, NFTA_CMP_SREG, NFT_REG_1);
	netlink_message_put_be32(writer, NFTA_CMP_OP, NFT_CMP_EQ);
	data = netlink_message_begin_nest(writer, NFTA_CMP_DATA);
	netlink_message_put(writer, NFTA_DATA_VALUE, value, size);
	netlink_message_end_nest(writer, data);
	end_expression(writer, expression);
}

static void match_protocol(struct netlink_message_writer *writer, uint8_t protocol)
{
	struct expression expression = begin_expression(writer, "meta");

	netlink_message_put_be32(writer, NFTA_META_DREG, NFT_REG_1);
	netlink_message_put_be32(writer, NFTA_META_KEY, NFT_META_L4PROTO);
	end_expression(writer, expression);
	put_compare(writer, &protocol, sizeof(protocol));
}

static void match_header(struct netlink_message_writer *writer, uint32_t base, uint32_t offset,
	const void *value, size_t size)
{
	struct expression expression = begin_expression(writer, "payload");

	netlink_message_put_be32(writer, NFTA_PAYLOAD_DREG, NFT_REG_1);
	netlink_message_put_be32(writer, NFTA_PAYLOAD_BASE, base);
	netlink_message_put_be32(writer, NFTA_PAYLOAD_OFFSET, offset);
	netlink_message_put_be32(writer, NFTA_PAYLOAD_LEN, (uint32_t)size);
	end_expression(writer, expression);
	put_compare(writer, value, size);
}

static void match_flow(struct netlink_message_writer *writer, const struct nft_message_flow *flow)
{
	bool ipv6 = flow->source.family == ADDR_IPV6;
	size_t size = addr_ip_size(&flow->source);
	uint8_t ports[4] = {(uint8_t)(flow->source.port >> 8), (uint8_t)flow->source.port,
		(uint8_t)(flow->destination.port >> 8), (uint8_t)flow->destination.port};

	match_protocol(writer, (uint8_t)flow->protocol);
	/* Where the addresses are: RFC 791 section 3.1, RFC 8200 section 3. */
	match_header(writer, NFT_PAYLOAD_NETWORK_HEADER, ipv6 ? 8 : 12, flow->source.ip, size);
	match_header(
		writer, NFT_PAYLOAD_NETWORK_HEADER, ipv6 ? 24 : 16, flow->destination.ip, size);
	/* The ports come first in both: RFC 768, RFC 9293 section 3.1. */
	match_header(writer, NFT_PAYLOAD_TRANSPORT_HEADER, 0, ports, sizeof(ports));
}

/* Changes the source port and leaves the source address. */
static void put_source_port(struct netlink_message_writer *writer, uint8_t family, uint16_t port)
{
	struct expression expression = begin_expression(writer, "immediate");
	size_t data;

	netlink_message_put_be32(writer, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	data = netlink_message_begin_nest(writer, NFTA_IMMEDIATE_DATA);
	netlink_message_put_be16(writer, NFTA_DATA_VALUE, port);
	netlink_message_end_nest(writer, data);
	end_expression(writer, expression);

	expression = begin_expression(writer, "nat");
	netlink_message_put_be32(writer, NFTA_NAT_TYPE, NFT_NAT_SNAT);
	netlink_message_put_be32(writer, NFTA_NAT_FAMILY, family);
	netlink_message_put_be32(writer, NFTA_NAT_REG_PROTO_MIN, NFT_REG_1);
	end_expression(writer, expression);
}

static void put_rule(struct netlink_message_writer *writer, uint8_t family, const char *table,
	const struct nft_message_flow *flow, uint16_t port)
{
	size_t list;

	begin(writer, table_message(NFT_MSG_NEWRULE),
		NETLINK_MESSAGE_CREATE | NETLINK_MESSAGE_APPEND | NETLINK_MESSAGE_ACK, family,
		NFT_MESSAGE_RULE, 0);
	netlink_message_put_text(writer, NFTA_RULE_TABLE, table);
	netlink_message_put_text(writer, NFTA_RULE_CHAIN, CHAIN);
	list = netlink_message_begin_nest(writer, NFTA_RULE_EXPRESSIONS);
	match_flow(writer, flow);
	put_source_port(writer, family, port);
	netlink_message_end_nest(writer, list);
	netlink_message_end(writer);
}

size_t nft_message_write_rewrite(void *out, size_t capacity, const char *table,
	const struct nft_message_flow *flow, uint16_t port)
{
	uint8_t family = family_number(flow);
	struct netlink_message_writer writer;

	netlink_message_writer_start(&writer, out, capacity);
	put_batch_mark(&writer, BATCH_BEGIN, NFT_MESSAGE_BATCH_BEGIN);
	put_table(&writer, family, table);
	put_chain(&writer, family, table);
	put_rule(&writer, family, table, flow, port);
	put_batch_mark(&writer, BATCH_END, NFT_MESSAGE_BATCH_END);
	return netlink_message_writer_size(&writer);
}

static void put_tuple(
	struct netlink_message_writer *writer, uint16_t type, const struct nft_message_flow *flow)
{
	bool ipv6 = flow->source.family == ADDR_IPV6;
	size_t size = addr_ip_size(&flow->source);
	size_t tuple = netlink_message_begin_nest(writer, type);
	size_t part = netlink_message_begin_nest(writer, CTA_TUPLE_IP);

	netlink_message_put(writer, ipv6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, flow->source.ip, size);
	netlink_message_put(
		writer, ipv6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, flow->destination.ip, size);
	netlink_message_end_nest(writer, part);
	part = netlink_message_begin_nest(writer, CTA_TUPLE_PROTO);
	netlink_message_put_u8(writer, CTA_PROTO_NUM, (uint8_t)flow->protocol);
	netlink_message_put_be16(writer, CTA_PROTO_SRC_PORT, flow->source.port);
	netlink_message_put_be16(writer, CTA_PROTO_DST_PORT, flow->destination.port);
	netlink_message_end_nest(writer, part);
	netlink_message_end_nest(writer, tuple);
}

static uint16_t conntrack_message(uint16_t type)
{
	return (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
}

size_t nft_message_write_find(void *out, size_t capacity, const struct nft_message_flow *flow)
{
	struct netlink_message_writer writer;

	netlink_message_writer_start(&writer, out, capacity);
	begin(&writer, conntrack_message(IPCTNL_MSG_CT_GET), 0, family_number(flow),
		NFT_MESSAGE_CONNTRACK, 0);
	put_tuple(&writer, CTA_TUPLE_ORIG, flow);
	netlink_message_end(&writer);
	return netlink_message_writer_size(&writer);
}

size_t nft_message_write_delete(void *out, size_t capacity, const struct nft_message_entry *entry)
{
	struct netlink_message_writer writer;

	netlink_message_writer_start(&writer, out, capacity);
	begin(&writer, conntrack_message(IPCTNL_MSG_CT_DELETE), NETLINK_MESSAGE_ACK,
		family_number(&entry->original), NFT_MESSAGE_CONNTRACK, 0);
	put_tuple(&writer, CTA_TUPLE_ORIG, &entry->original);
	if (entry->id != 0)
		netlink_message_put_be32(&writer, CTA_ID, entry->id);
	netlink_message_end(&writer);
	return netlink_message_writer_size(&writer);
}

static bool read_ip(const struct netlink_message_attribute *attribute, enum addr_family family,
	struct addr *out)
{
	struct wire_reader value = attribute->value;

	out->family = (uint8_t)family;
	return wire_read_bytes(&value, out->ip, addr_ip_size(out)) && wire_reader_left(&value) == 0;
}

static bool read_addresses(struct wire_reader reader, struct nft_message_flow *out)
{
	struct netlink_message_attribute attribute;

	while (netlink_message_next_attribute(&reader, &attribute)) {
		bool good = true;

		if (attribute.type == CTA_IP_V4_SRC)
			good = read_ip(&attribute, ADDR_IPV4, &out->source);
		else if (attribute.type == CTA_IP_V4_DST)
			good = read_ip(&attribute, ADDR_IPV4, &out->destination);
		else if (attribute.type == CTA_IP_V6_SRC)
			good = read_ip(&attribute, ADDR_IPV6, &out->source);
		else if (attribute.type == CTA_IP_V6_DST)
			good = read_ip(&attribute, ADDR_IPV6, &out->destination);
		if (!good)
			return false;
	}
	return !reader.failed && out->source.family != ADDR_NONE &&
	       out->source.family == out->destination.family;
}

static bool read_ports(struct wire_reader reader, struct nft_message_flow *out)
{
	struct netlink_message_attribute attribute;
	unsigned found = 0;
	uint8_t protocol;

	while (netlink_message_next_attribute(&reader, &attribute)) {
		if (attribute.type == CTA_PROTO_NUM) {
			if (!netlink_message_get_u8(&attribute, &protocol) ||
				(protocol != MAPPING_TCP && protocol != MAPPING_UDP))
				return false;
			out->protocol = (enum mapping_protocol)protocol;
			found |= 1;
		} else if (attribute.type == CTA_PROTO_SRC_PORT) {
			if (!netlink_message_get_be16(&attribute, &out->source.port))
				return false;
			found |= 2;
		} else if (attribute.type == CTA_PROTO_DST_PORT) {
			if (!netlink_message_get_be16(&attribute, &out->destination.port))
				return false;
			found |= 4;
		}
	}
	return !reader.failed && found == 7;
}

static bool read_tuple(struct wire_reader reader, struct nft_message_flow *out)
{
	struct netlink_message_attribute attribute;
	bool addresses = false;
	bool ports = false;

	memset(out, 0, sizeof(*out));
	while (netlink_message_next_attribute(&reader, &attribute)) {
		if (attribute.type == CTA_TUPLE_IP)
			addresses = read_addresses(attribute.value, out);
		else if (attribute.type == CTA_TUPLE_PROTO)
			ports = read_ports(attribute.value, out);
	}
	return !reader.failed && addresses && ports;
}

bool nft_message_read_entry(const struct netlink_message *message, struct nft_message_entry *out)
{
	struct wire_reader reader = message->body;
	struct netlink_message_attribute attribute;
	bool original = false;
	bool reply = false;
	bool id = false;
	uint32_t status = IPS_SEEN_REPLY;

	memset(out, 0, sizeof(*out));
	if (message->type != conntrack_message(IPCTNL_MSG_CT_NEW) ||
		wire_read_view(&reader, NFGENMSG_SIZE) == NULL)
		return false;
	while (netlink_message_next_attribute(&reader, &attribute)) {
		if (attribute.type == CTA_TUPLE_ORIG)
			original = read_tuple(attribute.value, &out->original);
		else if (attribute.type == CTA_TUPLE_REPLY)
			reply = read_tuple(attribute.value, &out->reply);
		else if (attribute.type == CTA_ID)
			id = netlink_message_get_be32(&attribute, &out->id);
		else if (attribute.type == CTA_STATUS &&
			 !netlink_message_get_be32(&attribute, &status))
			status = IPS_SEEN_REPLY;
	}
	out->answered = (status & IPS_SEEN_REPLY) != 0;
	return !reader.failed && original && reply && id;
}

bool nft_message_flow_equal(const struct nft_message_flow *a, const struct nft_message_flow *b)
{
	return a->protocol == b->protocol && addr_equal(&a->source, &b->source) &&
	       addr_equal(&a->destination, &b->destination);
}

struct nft_message_flow nft_message_flow_reverse(const struct nft_message_flow *flow)
{
	return (struct nft_message_flow){
		.protocol = flow->protocol,
		.source = flow->destination,
		.destination = flow->source,
	};
}
