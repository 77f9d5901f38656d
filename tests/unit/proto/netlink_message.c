/* The framing of netlink: what is written byte for byte, and what of an answer is believed. */
#include "natpunch/proto/netlink_message.h"

#include "tap.h"

/* Headers are in the machine's own order, so the expected bytes are put together here. */
struct bytes {
	uint8_t data[256];
	size_t size;
};

static void add(struct bytes *bytes, const void *data, size_t size)
{
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

static void add_u16(struct bytes *bytes, uint16_t value)
{
	add(bytes, &value, sizeof(value));
}

static void add_u32(struct bytes *bytes, uint32_t value)
{
	add(bytes, &value, sizeof(value));
}

static void add_header(struct bytes *bytes, uint32_t size, uint16_t type, uint32_t sequence)
{
	add_u32(bytes, size);
	add_u16(bytes, type);
	add_u16(bytes, NETLINK_MESSAGE_REQUEST | NETLINK_MESSAGE_ACK);
	add_u32(bytes, sequence);
	add_u32(bytes, 0);
}

static void test_writing(void)
{
	struct bytes want = {.size = 0};
	struct netlink_message_writer writer;
	uint8_t buffer[128];
	size_t nest;

	memset(buffer, 0xee, sizeof(buffer));
	netlink_message_writer_start(&writer, buffer, sizeof(buffer));
	netlink_message_begin(&writer, 7, NETLINK_MESSAGE_REQUEST | NETLINK_MESSAGE_ACK, 3);
	netlink_message_put_text(&writer, 1, "abcd");
	nest = netlink_message_begin_nest(&writer, 2);
	netlink_message_put_u8(&writer, 1, 0xaa);
	netlink_message_put_be16(&writer, 2, 0x0102);
	netlink_message_end_nest(&writer, nest);
	netlink_message_put_be32(&writer, 5, 0x01020304);
	netlink_message_end(&writer);

	add_header(&want, 56, 7, 3);
	add_u16(&want, 9);
	add_u16(&want, 1);
	add(&want, "abcd\0\0\0\0", 8);
	add_u16(&want, 20);
	add_u16(&want, 0x8002);
	add_u16(&want, 5);
	add_u16(&want, 1);
	add(&want, "\xaa\0\0\0", 4);
	add_u16(&want, 6);
	add_u16(&want, 2);
	add(&want, "\1\2\0\0", 4);
	add_u16(&want, 8);
	add_u16(&want, 5);
	add(&want, "\1\2\3\4", 4);
	is_uint(netlink_message_writer_size(&writer), want.size,
		"a message with nested attributes");
	is_mem(buffer, want.data, want.size, "byte for byte");
	is_uint(buffer[want.size], 0xee, "and none behind it");
}

static void test_writing_short(void)
{
	static const uint8_t long_value[UINT16_MAX];
	struct netlink_message_writer writer;
	uint8_t buffer[64];

	for (size_t room = 0; room < 28; room++) {
		memset(buffer, 0xee, sizeof(buffer));
		netlink_message_writer_start(&writer, buffer, room);
		netlink_message_begin(&writer, 1, 0, 1);
		netlink_message_end_nest(&writer, netlink_message_begin_nest(&writer, 1));
		netlink_message_put_be32(&writer, 1, 9);
		netlink_message_end(&writer);
		if (netlink_message_writer_size(&writer) != 0 || buffer[room] != 0xee)
			fail("28 bytes in %zu", room);
	}
	netlink_message_writer_start(&writer, buffer, 28);
	netlink_message_begin(&writer, 1, 0, 1);
	netlink_message_end_nest(&writer, netlink_message_begin_nest(&writer, 1));
	netlink_message_put_be32(&writer, 1, 9);
	netlink_message_end(&writer);
	is_uint(netlink_message_writer_size(&writer), 28, "28 bytes need room for 28");
	netlink_message_writer_start(&writer, buffer, sizeof(buffer));
	netlink_message_begin(&writer, 1, 0, 1);
	netlink_message_put(&writer, 1, long_value, sizeof(long_value));
	is_uint(netlink_message_writer_size(&writer), 0,
		"an attribute too long for its size field");
}

static void test_long_nest(void)
{
	static const uint8_t value[40000];
	static uint8_t buffer[80000];
	struct netlink_message_writer writer;
	size_t nest;

	netlink_message_writer_start(&writer, buffer, sizeof(buffer));
	netlink_message_begin(&writer, 1, 0, 1);
	nest = netlink_message_begin_nest(&writer, 1);
	netlink_message_put(&writer, 1, value, sizeof(value));
	netlink_message_put(&writer, 1, value, 30000);
	netlink_message_end_nest(&writer, nest);
	is_uint(netlink_message_writer_size(&writer), 0, "a nest too long for its size field");
}

static void test_reading(void)
{
	struct netlink_message_attribute attribute;
	struct netlink_message message;
	struct bytes bytes = {.size = 0};
	struct wire_reader reader;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;

	add_header(&bytes, 29, 9, 5);
	add_u16(&bytes, 8);
	add_u16(&bytes, 0xc003);
	add(&bytes, "\0\0\1\2", 4);
	add_u16(&bytes, 5);
	add_u16(&bytes, 4);
	add(&bytes, "\x7f\0\0\0", 4);
	add_header(&bytes, 16, 10, 6);
	wire_reader_start(&reader, bytes.data, bytes.size);
	ok(netlink_message_next(&reader, &message), "a message");
	is_uint(message.type, 9, "its type");
	is_uint(message.sequence, 5, "its sequence");
	ok(netlink_message_next_attribute(&message.body, &attribute) && attribute.type == 3,
		"an attribute, without the flags of its type");
	ok(netlink_message_get_be32(&attribute, &u32) && u32 == 0x102, "an integer");
	ok(!netlink_message_get_be16(&attribute, &u16) && !netlink_message_get_u8(&attribute, &u8),
		"and no smaller one");
	ok(netlink_message_next_attribute(&message.body, &attribute) &&
			netlink_message_get_u8(&attribute, &u8) && u8 == 0x7f,
		"the last one lacks its padding");
	ok(!netlink_message_get_be16(&attribute, &u16), "one byte is not two");
	ok(!netlink_message_next_attribute(&message.body, &attribute) && !message.body.failed,
		"no more attributes, and nothing wrong");
	ok(netlink_message_next(&reader, &message) && message.type == 10, "the next message");
	is_uint(wire_reader_left(&message.body), 0, "which is empty");
	ok(!netlink_message_next(&reader, &message) && !reader.failed,
		"no more, and nothing wrong");
}

/* A message with one attribute, whose size fields claim something else. */
static bool reads(uint32_t message_size, uint16_t attribute_size)
{
	struct netlink_message_attribute attribute;
	struct netlink_message message;
	struct bytes bytes = {.size = 0};
	struct wire_reader reader;

	add_header(&bytes, message_size, 1, 1);
	add_u16(&bytes, attribute_size);
	add_u16(&bytes, 1);
	add(&bytes, "abcd", 4);
	wire_reader_start(&reader, bytes.data, bytes.size);
	if (!netlink_message_next(&reader, &message)) {
		ok(reader.failed && !netlink_message_next(&reader, &message), "%u: and it stays so",
			message_size);
		return false;
	}
	if (!netlink_message_next_attribute(&message.body, &attribute)) {
		ok(message.body.failed &&
				!netlink_message_next_attribute(&message.body, &attribute),
			"%u: and it stays so", attribute_size);
		return false;
	}
	return true;
}

static void test_lies(void)
{
	ok(reads(24, 8), "sizes that are right");
	ok(!reads(25, 8), "a message longer than what there is");
	ok(!reads(UINT32_MAX, 8), "by far");
	ok(!reads(15, 8), "shorter than its header");
	ok(!reads(0, 8), "empty: it would be read for ever");
	ok(!reads(24, 9), "an attribute longer than the message");
	ok(!reads(24, UINT16_MAX), "by far");
	ok(!reads(24, 3), "shorter than its header");
	ok(!reads(24, 0), "empty: it would be read for ever");
	ok(!reads(23, 8), "an attribute that the message cuts");
}

static int error_of(uint16_t type, int32_t value, size_t size)
{
	struct netlink_message message = {.type = type};
	uint8_t body[4];
	int code;

	memcpy(body, &value, sizeof(body));
	wire_reader_start(&message.body, body, size);
	return netlink_message_read_error(&message, &code) ? code : -1;
}

static void test_errors(void)
{
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, 0, 4), 0, "an acknowledgement");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, -1, 4), 1, "an error");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, -4095, 4), 4095, "the highest");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, -4096, 4), -1, "no error number");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, INT32_MIN, 4), -1, "by far");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, 1, 4), -1, "one with the wrong sign");
	is_int(error_of(NETLINK_MESSAGE_TYPE_ERROR, 0, 3), -1, "one that is cut");
	is_int(error_of(3, 0, 4), -1, "another message");
}

int main(void)
{
	test_writing();
	test_writing_short();
	test_long_nest();
	test_reading();
	test_lies();
	test_errors();
	return done_testing();
}
