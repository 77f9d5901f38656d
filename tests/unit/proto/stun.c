/* STUN messages: the vectors of RFC 5769, each check of the gate, each thing that is written. */
#include "natpunch/proto/stun.h"

#include "tap.h"
#include "unit/vectors.h"

static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {
	0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* One bit at a time, from the definition of the polynomial. */
static uint32_t slow_crc32(const uint8_t *bytes, size_t size)
{
	uint32_t crc = 0xffffffffU;

	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320U : crc >> 1;
	}
	return ~crc;
}

static void test_crc32(void)
{
	uint8_t bytes[1024];
	bool same = true;

	is_uint(stun_crc32("123456789", 9), 0xcbf43926U, "the check value of CRC-32");
	is_uint(stun_crc32("", 0), 0, "of nothing");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t size = 0; size <= sizeof(bytes); size++)
		same = same && stun_crc32(bytes, size) == slow_crc32(bytes, size);
	ok(same, "every size up to 1024 as by the slow way");
	for (unsigned first = 0; first < 256; first++) {
		for (size_t at = 0; at < 4; at++) {
			uint8_t four[4] = {0};

			four[at] = (uint8_t)first;
			same = same && stun_crc32(four, 4) == slow_crc32(four, 4);
		}
	}
	ok(same, "every value of a byte in each of four places");
}

static void test_vector_request(void)
{
	struct stun_attribute attribute;
	struct stun_message message;
	size_t offset = 0;
	static const uint16_t types[] = {STUN_SOFTWARE, 0x0024, 0x8029, STUN_USERNAME,
		STUN_MESSAGE_INTEGRITY, STUN_FINGERPRINT};

	is_int(stun_parse(&message, vector_request, sizeof(vector_request)), 0,
		"RFC 5769 2.1 is a message, its FINGERPRINT right");
	is_int(message.class, STUN_REQUEST, "a request");
	is_uint(message.method, STUN_METHOD_BINDING, "of Binding");
	ok(!message.classic && message.has_fingerprint, "with cookie and FINGERPRINT");
	is_mem(message.transaction, vector_request + 4, 16, "its transaction");
	is_uint(message.size, 108, "its size");
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		ok(stun_next(&message, &offset, &attribute), "attribute %zu", i);
		is_uint(attribute.type, types[i], "its type");
	}
	ok(!stun_next(&message, &offset, &attribute), "and no more");
	ok(!stun_next(&message, &offset, &attribute), "nor when asked again");
	message.size -= 8;
	ok(!stun_next(&message, &offset, &attribute), "nor from behind the end");
	message.size += 8;
	ok(stun_find(&message, STUN_USERNAME, &attribute) && attribute.size == 9, "USERNAME");
	is_mem(attribute.value, "evtj:h6vY", 9, "its value without the padding");
	ok(!stun_find(&message, STUN_REALM, &attribute), "no REALM");
}

static void check_vector_response(
	const uint8_t *bytes, size_t size, enum addr_family family, const char *ip)
{
	char text[ADDR_IP_TEXT_SIZE];
	struct stun_attribute attribute;
	struct stun_message message;
	struct addr addr;

	is_int(stun_parse(&message, bytes, size), 0, "the response with %s is a message", ip);
	is_int(message.class, STUN_SUCCESS, "a success");
	ok(message.has_fingerprint, "FINGERPRINT and all");
	ok(stun_find(&message, STUN_XOR_MAPPED_ADDRESS, &attribute), "XOR-MAPPED-ADDRESS");
	is_int(stun_read_address(&message, &attribute, true, &addr), 0, "is an address");
	is_uint(addr.family, family, "its family");
	is_str(addr_format_ip(&addr, text), ip, "its IP");
	is_uint(addr.port, 32853, "its port");
	is_uint(addr.scope, 0, "no scope");
	is_int(stun_read_address(&message, &attribute, false, &addr), 0, "read without xor");
	is_uint(addr.port, 0xa147, "it is another");
	ok(strcmp(addr_format_ip(&addr, text), ip) != 0, "in both parts");
	ok(stun_find(&message, STUN_MESSAGE_INTEGRITY, &attribute) && attribute.size == 20,
		"integrity is carried");
}

static void test_vector_long_term(void)
{
	struct stun_attribute attribute;
	struct stun_message message;

	is_int(stun_parse(&message, vector_long_term, sizeof(vector_long_term)), 0, "RFC 5769 2.4");
	ok(!message.has_fingerprint, "has no FINGERPRINT");
	ok(stun_find(&message, STUN_REALM, &attribute) && attribute.size == 11, "has REALM");
	is_mem(attribute.value, "example.org", 11, "its value");
	ok(stun_find(&message, STUN_NONCE, &attribute) && attribute.size == 28, "has NONCE");
	is_mem(attribute.value, "f//499k954d6OL34oL9FSTvy64sA", 28, "its value");
	ok(stun_find(&message, STUN_USERNAME, &attribute) && attribute.size == 18, "has USERNAME");
}

/* The vectors come out of our writer, but for the padding, which RFC 5769 fills with blanks. */
static void test_writing_vector(void)
{
	const struct addr addr = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 32853};
	uint8_t buffer[STUN_MESSAGE_MAX], want[sizeof(vector_response4)];
	struct wire_writer writer;
	uint32_t fingerprint;

	stun_begin(&writer, buffer, sizeof(buffer), STUN_SUCCESS, STUN_METHOD_BINDING,
		vector_response4 + 4);
	stun_put(&writer, STUN_SOFTWARE, "test vector", 11);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &addr);
	stun_put(&writer, STUN_MESSAGE_INTEGRITY, vector_response4 + 52, 20);
	stun_put_fingerprint(&writer);
	memcpy(want, vector_response4, sizeof(want));
	want[35] = 0;
	fingerprint = slow_crc32(want, 72) ^ 0x5354554eU;
	for (int i = 0; i < 4; i++)
		want[76 + i] = (uint8_t)(fingerprint >> (24 - 8 * i));
	is_uint(stun_finish(&writer), sizeof(want), "the response of RFC 5769 2.2, written");
	is_mem(buffer, want, sizeof(want), "has its bytes");
}

static void test_types(void)
{
	static const struct {
		uint16_t bits, method;
		enum stun_class class;
	} types[] = {{0x0001, 0x001, STUN_REQUEST}, {0x0011, 0x001, STUN_INDICATION},
		{0x0101, 0x001, STUN_SUCCESS}, {0x0111, 0x001, STUN_ERROR},
		{0x0003, 0x003, STUN_REQUEST}, {0x0113, 0x003, STUN_ERROR},
		{0x0020, 0x010, STUN_REQUEST}, {0x0200, 0x080, STUN_REQUEST},
		{0x3eef, 0xfff, STUN_REQUEST}, {0x3fff, 0xfff, STUN_ERROR}};
	uint8_t buffer[20];
	struct wire_writer writer;
	struct stun_message message;

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		stun_begin(&writer, buffer, sizeof(buffer), types[i].class, types[i].method,
			transaction);
		is_uint(stun_finish(&writer), 20, "a header alone");
		is_uint((unsigned)(buffer[0] << 8 | buffer[1]), types[i].bits, "its type");
		ok(stun_parse(&message, buffer, 20) == 0 && message.method == types[i].method &&
				message.class == types[i].class,
			"comes back");
		is_uint(stun_peek_method(buffer, 20), types[i].method, "and its method alone");
		is_uint(stun_peek_method(buffer, 19), 0, "but not without the whole header");
	}
}

/* A valid message of a header, one attribute of 5 bytes and a FINGERPRINT; 40 bytes. */
static size_t make_message(uint8_t buffer[64])
{
	struct wire_writer writer;

	stun_begin(&writer, buffer, 64, STUN_REQUEST, STUN_METHOD_BINDING, transaction);
	stun_put(&writer, STUN_SOFTWARE, "abcde", 5);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static void test_gate(void)
{
	uint8_t good[64], bytes[64];
	struct stun_message message;
	size_t size = make_message(good);

	is_uint(size, 40, "a message of 40 bytes");
	is_int(stun_parse(&message, good, size), 0, "passes");
	is_int(stun_parse(&message, good, size - 4), -1, "not without its last bytes");
	is_int(stun_parse(&message, good, size + 4), -1, "nor with bytes behind it");
	is_int(stun_parse(&message, good, 19), -1, "nor with less than a header");
	is_int(stun_parse(&message, good, 0), -1, "nor without a byte");
	memcpy(bytes, good, size);
	bytes[0] = 0x80;
	is_int(stun_parse(&message, bytes, size), -1, "nor with the first bit set");
	memcpy(bytes, good, size);
	bytes[39] ^= 1;
	is_int(stun_parse(&message, bytes, size), -1, "nor with another FINGERPRINT");
	memcpy(bytes, good, size);
	bytes[25] ^= 1;
	is_int(stun_parse(&message, bytes, size), -1, "nor with another byte under it");
}

/* Messages without FINGERPRINT, so that nothing but the lengths can be wrong. */
static void test_lengths(void)
{
	uint8_t bytes[32] = {
		0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42, [20] = 0x80, 0x22, 0, 4};
	uint8_t header[20] = {0x40, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42};
	struct stun_message message;

	is_int(stun_parse(&message, bytes, 28), 0, "an attribute to the end");
	ok(!message.has_fingerprint, "no FINGERPRINT");
	bytes[23] = 1;
	is_int(stun_parse(&message, bytes, 28), 0, "or shorter by padding");
	bytes[23] = 5;
	is_int(stun_parse(&message, bytes, 28), -1, "not one byte longer");
	bytes[22] = 0xff;
	bytes[23] = 0xff;
	is_int(stun_parse(&message, bytes, 28), -1, "nor by 65535, which rounds up to wrap");
	bytes[22] = bytes[23] = 0;
	is_int(stun_parse(&message, bytes, 28), 0, "two empty ones");
	bytes[3] = 4;
	is_int(stun_parse(&message, bytes, 28), -1, "a length below the message's");
	bytes[3] = 12;
	is_int(stun_parse(&message, bytes, 28), -1, "and above");
	bytes[3] = 6;
	is_int(stun_parse(&message, bytes, 26), -1, "and one that is no multiple of 4");
	bytes[23] = 2;
	is_int(stun_parse(&message, bytes, 26), -1, "though the value ends there");
	is_int(stun_parse(&message, header, 20), -1, "01 in front");
	header[0] = 0;
	is_int(stun_parse(&message, header, 20), 0, "00 in front");
}

static void test_fingerprint_place(void)
{
	uint8_t bytes[48];
	struct stun_message message;
	struct wire_writer writer;
	uint32_t crc;

	/* Right when it was last, and then given company. */
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, 1, transaction);
	wire_patch_u16(&writer, 2, 12);
	crc = stun_crc32(bytes, 20) ^ 0x5354554eU;
	wire_write_u32(&writer, 0x80280004);
	wire_write_u32(&writer, crc);
	stun_put(&writer, STUN_SOFTWARE, "", 0);
	is_uint(stun_finish(&writer), 32, "a right FINGERPRINT with an attribute behind it");
	is_int(stun_parse(&message, bytes, 32), -1, "is refused");

	/* Of another length, with the four bytes in front of it right. */
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, 1, transaction);
	wire_patch_u16(&writer, 2, 8);
	crc = stun_crc32(bytes, 20) ^ 0x5354554eU;
	wire_write_u32(&writer, 0x80280003);
	wire_write_u32(&writer, crc);
	is_uint(stun_finish(&writer), 28, "one of three bytes");
	is_int(stun_parse(&message, bytes, 28), -1, "is refused");
}

static void test_classic(void)
{
	uint8_t bytes[20] = {0x00, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x43, [19] = 9};
	struct stun_message message;

	is_int(stun_parse(&message, bytes, 20), 0, "a message without the cookie");
	ok(message.classic, "is of RFC 3489");
	is_mem(message.transaction, bytes + 4, 16, "its transaction takes all 16 bytes");
	bytes[7] = 0x42;
	is_int(stun_parse(&message, bytes, 20), 0, "one with the cookie");
	ok(!message.classic, "is not");
}

static void test_duplicates(void)
{
	uint8_t bytes[64];
	struct stun_attribute attribute;
	struct stun_message message;
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, 1, transaction);
	stun_put(&writer, STUN_REALM, "first", 5);
	stun_put(&writer, STUN_REALM, "second", 6);
	is_int(stun_parse(&message, bytes, stun_finish(&writer)), 0, "two of one type");
	ok(stun_find(&message, STUN_REALM, &attribute) && attribute.size == 5, "the first counts");
}

static void test_frames(void)
{
	uint8_t bytes[STUN_MESSAGE_MAX + 8] = {0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42};
	size_t need = 99;

	is_int(stun_frame(bytes, 0, &need), STUN_FRAME_PARTIAL, "nothing is a beginning");
	is_uint(need, 20, "of a header");
	is_int(stun_frame(bytes, 19, &need), STUN_FRAME_PARTIAL, "19 bytes");
	is_uint(need, 20, "lack one");
	is_int(stun_frame(bytes, 20, &need), STUN_FRAME_PARTIAL, "the header");
	is_uint(need, 24, "tells the size");
	is_int(stun_frame(bytes, 23, &need), STUN_FRAME_PARTIAL, "one byte short");
	is_int(stun_frame(bytes, 24, &need), STUN_FRAME_COMPLETE, "all of it");
	is_uint(need, 24, "its size");
	is_int(stun_frame(bytes, 40, &need), STUN_FRAME_COMPLETE, "with more behind");
	is_uint(need, 24, "the same size");
	is_int(stun_frame("\x40", 1, &need), STUN_FRAME_NOT_STUN, "01 in front");
	is_uint(need, 0, "needs nothing");
	is_int(stun_frame("\x80", 1, &need), STUN_FRAME_NOT_STUN, "10 in front");
	is_int(stun_frame("GET / HTTP/1.0", 14, &need), STUN_FRAME_NOT_STUN, "HTTP");
	is_int(stun_frame("\x0a", 1, &need), STUN_FRAME_PARTIAL, "a newline is still open");
	is_int(stun_frame("\0\1\0\2", 4, &need), STUN_FRAME_NOT_STUN, "an odd length");
	is_int(stun_frame("\0\1\0\2", 3, &need), STUN_FRAME_PARTIAL, "before it is seen");
	is_int(stun_frame("\0\1\3\354", 4, &need), STUN_FRAME_PARTIAL, "the longest");
	is_int(stun_frame("\0\1\3\360", 4, &need), STUN_FRAME_NOT_STUN, "a longer one");
	is_int(stun_frame("\0\1\4", 3, &need), STUN_FRAME_NOT_STUN, "or far longer");
	bytes[2] = 3;
	bytes[3] = 0xec;
	is_int(stun_frame(bytes, STUN_MESSAGE_MAX, &need), STUN_FRAME_COMPLETE, "all of 1024");
	is_uint(need, STUN_MESSAGE_MAX, "is the longest");
	for (size_t i = 4; i < 8; i++) {
		bytes[i] ^= 1;
		is_int(stun_frame(bytes, i, &need), STUN_FRAME_PARTIAL, "unseen");
		is_int(stun_frame(bytes, i + 1, &need), STUN_FRAME_NOT_STUN,
			"byte %zu of the cookie", i);
		bytes[i] ^= 1;
	}
}

static void test_reading_addresses(void)
{
	const uint8_t value[20] = {0xff, 1, 0x12, 0x34, 192, 0, 2, 1};
	const uint8_t value6[20] = {0, 2, 0x12, 0x34, 0x20, 0x01, [19] = 7};
	const struct stun_message message = {.data = value, .size = 20};
	struct stun_attribute attribute = {.size = 8, .value = value};
	struct addr addr = {.port = 7};

	is_int(stun_read_address(&message, &attribute, false, &addr), 0,
		"the first byte of an address does not count");
	ok(addr.family == ADDR_IPV4 && addr.port == 0x1234 && addr.ip[3] == 1, "the rest does");
	for (uint16_t size = 0; size <= 20; size++) {
		attribute.size = size;
		is_int(stun_read_address(&message, &attribute, false, &addr), size == 8 ? 0 : -1,
			"IPv4 in %u bytes", size);
	}
	attribute.value = value6;
	for (uint16_t size = 0; size <= 20; size++) {
		attribute.size = size;
		is_int(stun_read_address(&message, &attribute, false, &addr), size == 20 ? 0 : -1,
			"IPv6 in %u bytes", size);
	}
	ok(addr.family == ADDR_IPV6 && addr.ip[15] == 7, "IPv6");
	attribute = (struct stun_attribute){.size = 8, .value = (const uint8_t[8]){0, 0}};
	is_int(stun_read_address(&message, &attribute, false, &addr), -1, "family 0");
	attribute.value = (const uint8_t[8]){0, 3};
	is_int(stun_read_address(&message, &attribute, false, &addr), -1, "family 3");
}

static void test_reading_errors(void)
{
	static const struct {
		uint8_t class, number;
		unsigned code;
	} codes[] = {{3, 0, 300}, {4, 20, 420}, {6, 99, 699}, {0xfc, 1, 401}, {2, 99, 0}, {7, 0, 0},
		{0, 0, 0}, {4, 100, 0}, {4, 255, 0}};
	const uint8_t *reason;
	size_t reason_size;
	unsigned code;

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		const uint8_t value[7] = {
			0xff, 0xff, codes[i].class, codes[i].number, 'w', 'h', 'y'};
		const struct stun_attribute attribute = {.size = 7, .value = value};
		int result = stun_read_error(&attribute, &code, &reason, &reason_size);

		is_int(result, codes[i].code ? 0 : -1, "class %u, number %u", codes[i].class,
			codes[i].number);
		if (result < 0)
			continue;
		is_uint(code, codes[i].code, "the code");
		ok(reason == value + 4 && reason_size == 3, "and the reason");
	}
	for (uint16_t size = 0; size <= 4; size++) {
		const struct stun_attribute attribute = {
			.size = size, .value = (const uint8_t[4]){0, 0, 4, 0}};

		is_int(stun_read_error(&attribute, &code, &reason, &reason_size),
			size == 4 ? 0 : -1, "in %u bytes", size);
	}
	is_uint(reason_size, 0, "with no reason");
}

static void test_writing(void)
{
	static const uint8_t want[] = {0x01, 0x11, 0x00, 0x2c, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4,
		5, 6, 7, 8, 9, 10, 11, 12, 0x00, 0x09, 0x00, 0x07, 0, 0, 4, 20, 'w', 'h', 'y', 0,
		0x00, 0x0a, 0x00, 0x06, 0x12, 0x34, 0x56, 0x78, 0x00, 0x01, 0, 0, 0x00, 0x01, 0x00,
		0x08, 0, 1, 0x00, 0x16, 192, 0, 2, 1, 0x80, 0x22, 0x00, 0x01, 'x', 0, 0, 0};
	static const uint16_t unknown[] = {0x1234, 0x5678, 0x0001};
	const struct addr addr = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 22};
	uint8_t buffer[64];
	struct wire_writer writer;

	stun_begin(&writer, buffer, sizeof(buffer), STUN_ERROR, 1, transaction);
	stun_put_error(&writer, 420, "why");
	stun_put_unknown(&writer, unknown, 3);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &addr);
	stun_put(&writer, STUN_SOFTWARE, "x", 1);
	is_uint(stun_finish(&writer), sizeof(want), "an error response");
	is_mem(buffer, want, sizeof(want), "to the byte");
}

static void test_writing_limits(void)
{
	static const uint8_t zeros[70000];
	const struct addr none = {.family = ADDR_NONE}, addr = {.family = ADDR_IPV6};
	static uint8_t buffer[70000];
	uint8_t good[64];
	size_t size = make_message(good);
	struct wire_writer writer;

	for (size_t capacity = 0; capacity <= size; capacity++) {
		memset(buffer, 0xee, 64);
		stun_begin(&writer, buffer, capacity, STUN_REQUEST, 1, transaction);
		stun_put(&writer, STUN_SOFTWARE, "abcde", 5);
		stun_put_fingerprint(&writer);
		is_uint(stun_finish(&writer), capacity == size ? size : 0, "%zu bytes of room",
			capacity);
		ok(buffer[capacity] == 0xee, "and the byte behind is left alone");
	}
	stun_begin(&writer, buffer, sizeof(buffer), STUN_REQUEST, 1, transaction);
	stun_put(&writer, STUN_SOFTWARE, zeros, 2024);
	is_uint(stun_finish(&writer), STUN_DATAGRAM_MAX, "the longest message");
	stun_begin(&writer, buffer, sizeof(buffer), STUN_REQUEST, 1, transaction);
	stun_put(&writer, STUN_SOFTWARE, zeros, 2025);
	is_uint(stun_finish(&writer), 0, "one byte more is too long");
	stun_begin(&writer, buffer, sizeof(buffer), STUN_REQUEST, 1, transaction);
	stun_put(&writer, STUN_SOFTWARE, zeros, 65536);
	is_uint(stun_finish(&writer), 0, "a value whose size does not fit its field");
	stun_begin(&writer, buffer, 64, STUN_REQUEST, 1, transaction);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &none);
	is_uint(stun_finish(&writer), 0, "no address cannot be written");
	stun_begin(&writer, buffer, 10, STUN_REQUEST, 1, transaction);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &addr);
	is_uint(stun_finish(&writer), 0, "nor one with no header in front");
	stun_begin(&writer, buffer, 64, STUN_ERROR, 1, transaction);
	stun_put_error(&writer, 299, "");
	is_uint(stun_finish(&writer), 0, "error 299 does not exist");
	stun_begin(&writer, buffer, 64, STUN_ERROR, 1, transaction);
	stun_put_error(&writer, 700, "");
	is_uint(stun_finish(&writer), 0, "nor 700");
	stun_begin(&writer, buffer, 64, STUN_ERROR, 1, transaction);
	stun_put_error(&writer, 699, "");
	is_uint(stun_finish(&writer), 28, "699 does");
}

static void test_transaction(void)
{
	uint8_t made[STUN_TRANSACTION_SIZE + 1];

	made[16] = 0xee;
	stun_make_transaction(made, transaction + 4);
	is_mem(made, transaction, 16, "a transaction is the cookie and 12 bytes");
	is_uint(made[16], 0xee, "and no more");
}

int main(void)
{
	is_uint(STUN_SPARE_PORT(3478), 13478, "the spare port");
	is_uint(STUN_SPARE_PORT(55535), 65535, "up to the last one,");
	is_uint(STUN_SPARE_PORT(55536), 45536, "and below from there on");
	test_crc32();
	test_vector_request();
	check_vector_response(vector_response4, sizeof(vector_response4), ADDR_IPV4, "192.0.2.1");
	check_vector_response(vector_response6, sizeof(vector_response6), ADDR_IPV6,
		"2001:db8:1234:5678:11:2233:4455:6677");
	test_vector_long_term();
	test_writing_vector();
	test_types();
	test_gate();
	test_lengths();
	test_fingerprint_place();
	test_classic();
	test_duplicates();
	test_frames();
	test_reading_addresses();
	test_reading_errors();
	test_writing();
	test_writing_limits();
	test_transaction();
	return done_testing();
}
