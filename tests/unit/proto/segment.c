/* Segments and datagrams against bytes that another program computed, and each way to be none. */
#include "natpunch/proto/segment.h"

#include "tap.h"

/* 192.168.1.2:22 to 198.51.100.10:3478, SYN-ACK with three options. */
static const uint8_t tcp[52] = {0x00, 0x16, 0x0d, 0x96, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0xd0, 0x12, 0xff, 0xff, 0xb4, 0x9b, 0x00, 0x00, 2, 4, 0x05, 0xb4, 19, 18, 0xa0, 0xa1,
	0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 8, 10,
	1, 2, 3, 4, 5, 6, 7, 8};

/* [2001:db8:1::2]:4000 to [2001:db8:10::10]:3478, "hello". */
static const uint8_t udp[13] = {
	0x0f, 0xa0, 0x0d, 0x96, 0x00, 0x0d, 0x43, 0x37, 'h', 'e', 'l', 'l', 'o'};

static const uint8_t ipv4[24] = {0x46, 0x00, 0x00, 0x1a, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0x00,
	0x00, 192, 168, 1, 2, 198, 51, 100, 10, 1, 1, 1, 0};

static struct addr address(const char *text, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, text) != 0)
		bail_out("not an address: %s", text);
	addr.port = port;
	return addr;
}

static struct segment_packet packet_of(
	const char *source, const char *destination, const uint8_t *payload, size_t payload_size)
{
	return (struct segment_packet){
		.source = address(source, 0),
		.destination = address(destination, 0),
		.payload = payload,
		.payload_size = payload_size,
	};
}

static struct segment_packet packet4(const uint8_t *payload, size_t payload_size)
{
	return packet_of("192.168.1.2", "198.51.100.10", payload, payload_size);
}

static void test_tcp(void)
{
	struct segment_packet packet = packet4(tcp, sizeof(tcp));
	struct addr source = address("192.168.1.2", 22);
	struct addr destination = address("198.51.100.10", 3478);
	struct segment segment;
	uint8_t bytes[64];

	if (!ok(segment_read_tcp(&segment, &packet) == 0, "a segment is read"))
		return;
	ok(addr_equal(&segment.source, &source), "where from");
	ok(addr_equal(&segment.destination, &destination), "where to");
	is_uint(segment.sequence, 0x11223344, "its sequence number");
	is_uint(segment.acknowledgment, 0x55667788, "what it acknowledges");
	is_uint(segment.flags, SEGMENT_SYN | SEGMENT_ACK, "its flags");
	is_uint(segment.window, 65535, "its window");
	ok(segment.has_mss && segment.mss == 1460, "maximum segment size");
	ok(segment.has_timestamps && segment.timestamp == 0x01020304 &&
			segment.timestamp_echo == 0x05060708,
		"timestamps");
	ok(segment.has_md5, "MD5 option");
	is_mem(segment.md5, tcp + 26, SEGMENT_MD5_SIZE, "and what it holds");
	is_uint(segment.data_size, 0, "no data");
	is_uint(segment_write_tcp(&segment, bytes, sizeof(bytes)), sizeof(tcp), "it is written");
	is_mem(bytes, tcp, sizeof(tcp), "as it was, with its checksum");
	is_uint(segment_write_tcp(&segment, bytes, sizeof(tcp)), sizeof(tcp), "to the byte");
	is_uint(segment_write_tcp(&segment, bytes, sizeof(tcp) - 1), 0, "and not with one less");
	is_uint(segment_checksum(SEGMENT_PROTOCOL_TCP, &source, &destination, tcp, sizeof(tcp)), 0,
		"a right checksum sums up to 0");
}

static void test_padding_and_data(void)
{
	struct segment segment = {
		.source = address("192.168.1.2", 22),
		.destination = address("198.51.100.10", 3478),
		.has_md5 = true,
		.data = (const uint8_t *)"abc",
		.data_size = 3,
	};
	uint8_t bytes[64];
	size_t size = segment_write_tcp(&segment, bytes, sizeof(bytes));
	struct segment_packet packet = packet4(bytes, size);

	is_uint(size, 43, "options are filled up to whole words");
	is_uint(bytes[12], 0xa0, "which the offset counts");
	is_mem(bytes + 38, "\1\1abc", 5, "with \"no operation\", then data");
	ok(segment_read_tcp(&segment, &packet) == 0 && segment.data_size == 3, "data is read");
	ok(segment.data == bytes + 40, "where it stands");
	ok(!segment.has_mss && !segment.has_timestamps, "and no option that is not there");
	segment.data_size = UINT16_MAX;
	is_uint(segment_write_tcp(&segment, bytes, sizeof(bytes)), 0, "too much data");
}

/* One change each that makes the segment above unreadable, or not. */
static void test_tcp_damaged(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		bool readable;
	} rows[] = {
		{"offset below the header", 12, 0x40, false},
		{"offset behind the end", 12, 0xe0, false},
		{"offset within an option", 12, 0xb0, false},
		{"MSS of a wrong length", 21, 3, false},
		{"an unknown option", 20, 254, true},
		{"an option of length 0", 21, 0, false},
		{"an option of length 1", 21, 1, false},
		{"MD5 option of a wrong length", 25, 17, false},
		{"timestamps longer than the header", 43, 11, false},
		{"timestamps of a wrong length", 43, 9, false},
		{"two MD5 options", 42, 19, false},
		{"an option without its length", 43, 0, false},
		{"the end of the list first", 20, 0, true},
		{"a checksum that is wrong", 16, 0, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[sizeof(tcp)] = {0};
		struct segment_packet packet = packet4(bytes, sizeof(bytes));
		struct segment segment;

		memcpy(bytes, tcp, sizeof(tcp));
		bytes[rows[i].at] = rows[i].value;
		is_int(segment_read_tcp(&segment, &packet), rows[i].readable ? 0 : -1, "%s",
			rows[i].name);
	}
}

static void test_option_twice(void)
{
	uint8_t bytes[28] = {0, 22, 0, 22};
	struct segment_packet packet = packet4(bytes, sizeof(bytes));
	struct segment segment;

	bytes[12] = 0x70;
	memcpy(bytes + 20, "\2\4\1\1\2\4\1\1", 8);
	is_int(segment_read_tcp(&segment, &packet), -1, "an option given twice");
	memcpy(bytes + 20, "\2\4\1\1\0\4\1\1", 8);
	is_int(segment_read_tcp(&segment, &packet), 0, "not behind the end of the list");
	memcpy(bytes + 20, "\2\4\1\1\1\1\1\2", 8);
	is_int(segment_read_tcp(&segment, &packet), -1, "a kind with no room for its length");
	memcpy(bytes + 20, "\1\1\1\1\1\1\1\1", 8);
	is_int(segment_read_tcp(&segment, &packet), 0, "\"no operation\" to the end");
}

static void test_udp(void)
{
	struct segment_packet packet =
		packet_of("2001:db8:1::2", "2001:db8:10::10", udp, sizeof(udp));
	struct segment_datagram datagram;
	uint8_t bytes[16];

	if (!ok(segment_read_udp(&datagram, &packet) == 0, "a datagram is read"))
		return;
	is_uint(datagram.source.port, 4000, "from which port");
	is_uint(datagram.destination.port, 3478, "to which port");
	ok(datagram.data == udp + 8 && datagram.data_size == 5, "its data");
	is_uint(segment_write_udp(&datagram, bytes, sizeof(udp)), sizeof(udp), "it is written");
	is_mem(bytes, udp, sizeof(udp), "as it was, with its checksum");
	is_uint(segment_write_udp(&datagram, bytes, sizeof(udp) - 1), 0, "not with one byte less");
	datagram.data = (const uint8_t *)"\x87\x0f";
	datagram.data_size = 2;
	is_uint(segment_write_udp(&datagram, bytes, sizeof(bytes)), 10, "one that sums up to 0");
	is_mem(bytes + 6, "\xff\xff", 2, "has the other 0, as 0 means no checksum");
	datagram.data_size = UINT16_MAX - 7;
	is_uint(segment_write_udp(&datagram, bytes, sizeof(bytes)), 0, "too much data");
}

static void test_udp_lengths(void)
{
	uint8_t bytes[sizeof(udp)] = {0};
	struct segment_packet packet = packet4(bytes, sizeof(bytes));
	struct segment_datagram datagram;

	memcpy(bytes, udp, sizeof(udp));
	bytes[5] = 14;
	is_int(segment_read_udp(&datagram, &packet), -1, "a length behind the end");
	bytes[5] = 7;
	is_int(segment_read_udp(&datagram, &packet), -1, "a length below the header");
	bytes[5] = 8;
	ok(segment_read_udp(&datagram, &packet) == 0 && datagram.data_size == 0, "no data");
	bytes[5] = 10;
	ok(segment_read_udp(&datagram, &packet) == 0 && datagram.data_size == 2,
		"what lies behind the length is not data");
	packet.payload_size = 7;
	is_int(segment_read_udp(&datagram, &packet), -1, "half a header");
}

static void test_ipv4(void)
{
	uint8_t bytes[sizeof(ipv4) + 4] = {0};
	struct addr source = address("192.168.1.2", 0);
	struct addr destination = address("198.51.100.10", 0);
	struct segment_packet packet;

	memcpy(bytes, ipv4, sizeof(ipv4));
	if (!ok(segment_read_ipv4(&packet, bytes, sizeof(bytes)) == 0, "an IPv4 header is read"))
		return;
	is_uint(packet.protocol, 6, "its protocol");
	ok(addr_equal(&packet.source, &source), "its source");
	ok(addr_equal(&packet.destination, &destination), "its destination");
	ok(packet.payload == bytes + 24 && packet.payload_size == 2,
		"options are stepped over, and the length ends it");
}

static void test_ipv4_damaged(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		bool readable;
	} rows[] = {
		{"version 6", 0, 0x66, false},
		{"header below 20 bytes", 0, 0x44, false},
		{"header longer than the packet", 0, 0x47, false},
		{"no options", 0, 0x45, true},
		{"length behind the end", 3, 29, false},
		{"length at the end", 3, 28, true},
		{"length within the header", 3, 23, false},
		{"more fragments", 6, 0x20, false},
		{"a later fragment", 7, 0x01, false},
		{"a much later fragment", 6, 0x1f, false},
		{"may be fragmented, is not", 6, 0x00, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[sizeof(ipv4) + 4] = {0};
		struct segment_packet packet;

		memcpy(bytes, ipv4, sizeof(ipv4));
		bytes[rows[i].at] = rows[i].value;
		is_int(segment_read_ipv4(&packet, bytes, sizeof(bytes)), rows[i].readable ? 0 : -1,
			"%s", rows[i].name);
	}
}

/* RFC 1071, section 3: the sum of these words is ddf2. */
static void test_checksum(void)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	struct addr none = address("0.0.0.0", 0);

	is_uint(segment_checksum(0, &none, &none, bytes, 8), (uint16_t) ~(0xddf2 + 8),
		"the example of RFC 1071, and the size");
	is_uint(segment_checksum(0, &none, &none, bytes, 7), (uint16_t) ~(0xddf2 - 0xf7 + 7),
		"an odd byte is the high half of a word");
}

int main(void)
{
	test_tcp();
	test_padding_and_data();
	test_tcp_damaged();
	test_option_twice();
	test_udp();
	test_udp_lengths();
	test_ipv4();
	test_ipv4_damaged();
	test_checksum();
	return done_testing();
}
