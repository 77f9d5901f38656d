/*
 * The messages about one flow. That the kernel takes them is for the laboratory to show; here it is
 * that they name the flow and nothing else, and which answers are believed.
 */
#include "natpunch/proto/nft_message.h"

#include "tap.h"

static const struct nft_message_flow flow4 = {
	.protocol = MAPPING_TCP,
	.source = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 0x1234},
	.destination = {.family = ADDR_IPV4, .ip = {198, 51, 100, 7}, .port = 3478},
};
static const struct nft_message_flow flow6 = {
	.protocol = MAPPING_UDP,
	.source = {.family = ADDR_IPV6, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}, .port = 0x1234},
	.destination = {.family = ADDR_IPV6, .ip = {0x20, 1, 0xd, 0xb8, [15] = 2}, .port = 3478},
};

static size_t count(const uint8_t *data, size_t size, const void *wanted, size_t wanted_size)
{
	size_t found = 0;

	for (size_t i = 0; i + wanted_size <= size; i++)
		found += memcmp(data + i, wanted, wanted_size) == 0 ? 1 : 0;
	return found;
}

static void test_rewrite(const struct nft_message_flow *flow, uint8_t family)
{
	uint8_t batch[NFT_MESSAGE_BATCH_SIZE];
	size_t size = nft_message_write_rewrite(batch, sizeof(batch), "a-table", flow, 22);
	static const uint16_t types[] = {0x10, 0xa00, 0xa03, 0xa06, 0x11};
	uint8_t ports[4] = {0x12, 0x34, 3478 >> 8, 3478 & 0xff};
	struct netlink_message message;
	struct wire_reader reader;
	unsigned n = 0;
	uint8_t named;

	ok(size > 0, "IPv%d: a batch", flow->source.family);
	wire_reader_start(&reader, batch, size);
	for (; n < 5 && netlink_message_next(&reader, &message); n++) {
		bool inner = n > 0 && n < 4;
		is_uint(message.type, types[n], "message %u", n);
		is_uint(message.sequence, n + 1, "has its sequence number");
		is_uint((message.flags & NETLINK_MESSAGE_ACK) != 0, inner,
			"is acknowledged or not");
		ok(wire_read_u8(&message.body, &named) && named == (inner ? family : 0),
			"names its family or none");
		is_uint(count(message.body.data, message.body.size, "a-table", 8), inner,
			"names the table once or not at all");
	}
	is_uint(n, 5, "five of them");
	ok(!netlink_message_next(&reader, &message) && !reader.failed, "and nothing else");
	size = addr_ip_size(&flow->source);
	is_uint(count(batch, reader.size, flow->source.ip, size), 1, "the source, once");
	is_uint(count(batch, reader.size, flow->destination.ip, size), 1, "the destination, once");
	is_uint(count(batch, reader.size, ports, 4), 1, "the ports, once");
	is_uint(count(batch, reader.size, "\x06\0\x01\0\0\x16\0\0", 8) +
			count(batch, reader.size, "\0\x06\0\x01\0\x16\0\0", 8),
		1, "the port that it becomes, once");
	is_uint(nft_message_write_rewrite(batch, reader.size - 1, "a-table", flow, 22), 0,
		"one byte less has no room");
}

/* A table whose maker's death it outlives must never be asked for. */
static void test_owner(void)
{
	uint8_t batch[NFT_MESSAGE_BATCH_SIZE];
	size_t size = nft_message_write_rewrite(batch, sizeof(batch), "t", &flow4, 22);
	struct netlink_message_attribute attribute;
	struct netlink_message message;
	struct wire_reader reader;
	uint32_t flags = 0;

	wire_reader_start(&reader, batch, size);
	ok(netlink_message_next(&reader, &message) && netlink_message_next(&reader, &message),
		"the table");
	wire_read_view(&message.body, 4);
	while (netlink_message_next_attribute(&message.body, &attribute))
		if (attribute.type == 2)
			netlink_message_get_be32(&attribute, &flags);
	is_uint(flags, 2, "has an owner");
}

static void test_requests(void)
{
	struct nft_message_entry entry = {.original = flow6, .reply = flow4, .id = 0x0a0b0c0d};
	uint8_t request[NFT_MESSAGE_REQUEST_SIZE];
	size_t size = nft_message_write_find(request, sizeof(request), &flow6);

	ok(size > 0, "a question");
	is_uint(count(request, size, flow6.source.ip, 16), 1, "with the source");
	is_uint(count(request, size, flow6.destination.ip, 16), 1, "and the destination");
	is_uint(nft_message_write_find(request, size - 1, &flow6), 0, "one byte less has no room");
	size = nft_message_write_delete(request, sizeof(request), &entry);
	is_uint(count(request, size, flow6.source.ip, 16), 1,
		"what is to be deleted has its source");
	is_uint(count(request, size, flow6.destination.ip, 16), 1, "its destination");
	is_uint(count(request, size, "\x0a\x0b\x0c\x0d", 4), 1, "and its id");
}

enum left_out {
	NOTHING,
	ORIGINAL,
	REPLY,
	ID,
	ADDRESSES,
	DESTINATION,
	PORTS,
	SOURCE_PORT,
	PROTOCOL,
	STATUS,
	UNANSWERED, /* a status that says so */
};

static void put_tuple(struct netlink_message_writer *writer, uint16_t type,
	const struct nft_message_flow *flow, enum left_out left_out)
{
	bool ipv6 = flow->source.family == ADDR_IPV6;
	size_t size = addr_ip_size(&flow->source);
	size_t tuple = netlink_message_begin_nest(writer, type);
	size_t part = netlink_message_begin_nest(writer, left_out == ADDRESSES ? 9 : 1);

	netlink_message_put(writer, ipv6 ? 3 : 1, flow->source.ip, size);
	if (left_out != DESTINATION)
		netlink_message_put(writer, ipv6 ? 4 : 2, flow->destination.ip, size);
	netlink_message_end_nest(writer, part);
	part = netlink_message_begin_nest(writer, left_out == PORTS ? 9 : 2);
	if (left_out != PROTOCOL)
		netlink_message_put_u8(writer, 1, (uint8_t)flow->protocol);
	if (left_out != SOURCE_PORT)
		netlink_message_put_be16(writer, 2, flow->source.port);
	netlink_message_put_be16(writer, 3, flow->destination.port);
	netlink_message_end_nest(writer, part);
	netlink_message_end_nest(writer, tuple);
}

/* An answer as the kernel makes it; returns whether it is believed. */
static bool believes(uint16_t type, const struct nft_message_flow *flow,
	const struct nft_message_flow *reply, enum left_out left_out, struct nft_message_entry *out)
{
	static uint8_t bytes[1024];
	struct netlink_message message;
	struct netlink_message_writer writer;
	struct wire_reader reader;

	netlink_message_writer_start(&writer, bytes, sizeof(bytes));
	netlink_message_begin(&writer, type, 0, 6);
	wire_write_zeros(&writer.wire, 4);
	if (left_out != ORIGINAL)
		put_tuple(&writer, 1, flow, left_out);
	if (left_out != REPLY)
		put_tuple(&writer, 2, reply, NOTHING);
	if (left_out != STATUS)
		netlink_message_put_be32(&writer, 3, left_out == UNANSWERED ? 0x188 : 0x18a);
	if (left_out != ID)
		netlink_message_put_be32(&writer, 12, 77);
	netlink_message_end(&writer);
	wire_reader_start(&reader, bytes, netlink_message_writer_size(&writer));
	return netlink_message_next(&reader, &message) && nft_message_read_entry(&message, out);
}

static void test_entry(const struct nft_message_flow *flow)
{
	struct nft_message_flow reply = nft_message_flow_reverse(flow);
	struct nft_message_flow other = *flow;
	struct nft_message_entry entry;

	reply.destination.port = 22;
	ok(believes(0x100, flow, &reply, NOTHING, &entry), "IPv%d: an entry", flow->source.family);
	ok(nft_message_flow_equal(&entry.original, flow), "its original direction");
	ok(nft_message_flow_equal(&entry.reply, &reply), "its reply direction");
	is_uint(entry.id, 77, "its id");
	ok(entry.answered, "that was answered");
	ok(believes(0x100, flow, &reply, UNANSWERED, &entry) && !entry.answered,
		"one that was not");
	ok(believes(0x100, flow, &reply, STATUS, &entry) && entry.answered,
		"one that may have been");
	ok(!believes(0x101, flow, &reply, NOTHING, &entry), "another message");
	ok(!believes(0x100, flow, &reply, ORIGINAL, &entry), "no original direction");
	ok(!believes(0x100, flow, &reply, REPLY, &entry), "no reply direction");
	ok(!believes(0x100, flow, &reply, ID, &entry), "no id");
	for (enum left_out part = ADDRESSES; part <= PROTOCOL; part++)
		ok(!believes(0x100, flow, &reply, part, &entry), "part %d missing", (int)part);
	other.protocol = (enum mapping_protocol)1;
	ok(!believes(0x100, &other, &reply, NOTHING, &entry), "of ICMP");
}

static void test_flows(void)
{
	struct nft_message_flow back = nft_message_flow_reverse(&flow4);
	struct nft_message_flow other = flow4;

	ok(!nft_message_flow_equal(&flow4, &back), "a flow is not its reverse");
	back = nft_message_flow_reverse(&back);
	ok(nft_message_flow_equal(&flow4, &back), "but the reverse of that");
	other.protocol = MAPPING_UDP;
	ok(!nft_message_flow_equal(&flow4, &other), "another protocol");
	other = flow4;
	other.source.port++;
	ok(!nft_message_flow_equal(&flow4, &other), "another source");
	other = flow4;
	other.destination.ip[0]++;
	ok(!nft_message_flow_equal(&flow4, &other), "another destination");
}

int main(void)
{
	test_rewrite(&flow4, 2);
	test_rewrite(&flow6, 10);
	test_owner();
	test_requests();
	test_entry(&flow4);
	test_entry(&flow6);
	test_flows();
	return done_testing();
}
