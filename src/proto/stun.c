/*
 * stun.c - STUN messages (RFC 8489), read and written.
 *
 * Threat: a sender of datagrams chooses every byte that is read here. stun_parse() is the one gate:
 * it walks the attributes once, checks each length against what is left, and a FINGERPRINT against
 * the bytes in front of it. A message that passes becomes a struct stun_message. Invariant from
 * then on: each attribute, padding included, ends inside the message. Lengths are compared with
 * what is left (`length > size - offset` where offset <= size), never added up.
 *
 * A FINGERPRINT protects a message from accidents, and does not prove who sent it. A flipped bit
 * that changes its type, or makes it part of the attribute before it, makes a message without one:
 * has_fingerprint tells those apart.
 */
#include "natpunch/proto/stun.h"

#include <string.h>

#define ATTRIBUTE_HEADER_SIZE 4
#define FINGERPRINT_SIZE      (ATTRIBUTE_HEADER_SIZE + 4)
#define FINGERPRINT_XOR       0x5354554eU /* "STUN" (RFC 8489 14.7) */
#define FAMILY_IPV4           1           /* RFC 8489 14.1 */
#define FAMILY_IPV6           2

/*
 * CRC-32 is linear: the table's entry for a byte is the sum (xor) of the entries for its bits. The
 * entry for 0x80 is the polynomial 0xedb88320 (ITU-T V.42, lowest bit first), and each one behind
 * it is the one before it divided by x. Eight such steps make a table for single bytes; eight more
 * each make those for bytes with one, two and three zeros behind, so that four bytes are taken in
 * one step.
 */
#define TERM(i, bit, entry) ((((i) >> (bit)) & 1U) * (entry))
#define SUM(i, e7, e6, e5, e4, e3, e2, e1, e0)                                                     \
	(TERM(i, 7, e7) ^ TERM(i, 6, e6) ^ TERM(i, 5, e5) ^ TERM(i, 4, e4) ^ TERM(i, 3, e3) ^      \
		TERM(i, 2, e2) ^ TERM(i, 1, e1) ^ TERM(i, 0, e0))
#define ENTRY_0(i)                                                                                 \
	SUM(i, 0xedb88320U, 0x76dc4190U, 0x3b6e20c8U, 0x1db71064U, 0x0edb8832U, 0x076dc419U,       \
		0xee0e612cU, 0x77073096U)
#define ENTRY_1(i)                                                                                 \
	SUM(i, 0x3b83984bU, 0xf0794f05U, 0x958424a2U, 0x4ac21251U, 0xc8d98a08U, 0x646cc504U,       \
		0x32366282U, 0x191b3141U)
#define ENTRY_2(i)                                                                                 \
	SUM(i, 0xe1351b80U, 0x709a8dc0U, 0x384d46e0U, 0x1c26a370U, 0x0e1351b8U, 0x0709a8dcU,       \
		0x0384d46eU, 0x01c26a37U)
#define ENTRY_3(i)                                                                                 \
	SUM(i, 0xed59b63bU, 0x9b14583dU, 0xa032af3eU, 0x5019579fU, 0xc5b428efU, 0x8f629757U,       \
		0xaa09c88bU, 0xb8bc6765U)
#define FOUR(entry, i) entry(i), entry((i) + 1), entry((i) + 2), entry((i) + 3)
#define SIXTEEN(entry, i)                                                                          \
	FOUR(entry, i), FOUR(entry, (i) + 4), FOUR(entry, (i) + 8), FOUR(entry, (i) + 12)
#define TABLE(entry)                                                                               \
	{                                                                                          \
		SIXTEEN(entry, 0U), SIXTEEN(entry, 16U), SIXTEEN(entry, 32U), SIXTEEN(entry, 48U), \
			SIXTEEN(entry, 64U), SIXTEEN(entry, 80U), SIXTEEN(entry, 96U),             \
			SIXTEEN(entry, 112U), SIXTEEN(entry, 128U), SIXTEEN(entry, 144U),          \
			SIXTEEN(entry, 160U), SIXTEEN(entry, 176U), SIXTEEN(entry, 192U),          \
			SIXTEEN(entry, 208U), SIXTEEN(entry, 224U), SIXTEEN(entry, 240U)           \
	}

static const uint32_t crc_table[4][256] = {
	TABLE(ENTRY_0), TABLE(ENTRY_1), TABLE(ENTRY_2), TABLE(ENTRY_3)};

uint32_t stun_crc32(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint32_t crc = 0xffffffffU;

	for (; size >= 4; size -= 4, bytes += 4) {
		crc ^= (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 |
		       (uint32_t)bytes[1] << 8 | bytes[0];
		crc = crc_table[3][crc & 0xff] ^ crc_table[2][crc >> 8 & 0xff] ^
		      crc_table[1][crc >> 16 & 0xff] ^ crc_table[0][crc >> 24];
	}
	for (; size > 0; size--, bytes++)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes) & 0xff];
	return ~crc;
}

static uint16_t get_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t get_u32(const uint8_t *bytes)
{
	return (uint32_t)get_u16(bytes) << 16 | get_u16(bytes + 2);
}

static size_t round_up(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

enum stun_frame stun_frame(const void *data, size_t size, size_t *need)
{
	static const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
	const uint8_t *bytes = data;
	size_t body = 0;

	*need = 0;
	if (size >= 1 && (bytes[0] & 0xc0) != 0)
		return STUN_FRAME_NOT_STUN;
	if (size >= 3)
		body = (size_t)bytes[2] << 8;
	if (size >= 4)
		body |= bytes[3];
	if (body % 4 != 0 || body > STUN_MESSAGE_MAX - STUN_HEADER_SIZE)
		return STUN_FRAME_NOT_STUN;
	for (size_t i = 4; i < 8 && i < size; i++) {
		if (bytes[i] != cookie[i - 4])
			return STUN_FRAME_NOT_STUN;
	}
	*need = STUN_HEADER_SIZE;
	if (size < STUN_HEADER_SIZE)
		return STUN_FRAME_PARTIAL;
	*need += body;
	return size < *need ? STUN_FRAME_PARTIAL : STUN_FRAME_COMPLETE;
}

/*
 * Describes the attribute at `offset` (<= size) and returns how many bytes it takes with its
 * padding, or 0 when it does not end inside the message.
 */
static size_t read_attribute(
	const uint8_t *data, size_t size, size_t offset, struct stun_attribute *out)
{
	size_t padded;

	if (size - offset < ATTRIBUTE_HEADER_SIZE)
		return 0;
	out->type = get_u16(data + offset);
	out->size = get_u16(data + offset + 2);
	out->value = data + offset + ATTRIBUTE_HEADER_SIZE;
	padded = round_up(out->size);
	if (padded > size - offset - ATTRIBUTE_HEADER_SIZE)
		return 0;
	return ATTRIBUTE_HEADER_SIZE + padded;
}

/* Whether the FINGERPRINT found at `offset` is the last attribute, and right. */
static bool fingerprint_holds(
	const uint8_t *data, size_t size, size_t offset, const struct stun_attribute *attribute)
{
	if (attribute->size != 4 || size - offset != FINGERPRINT_SIZE)
		return false;
	return get_u32(attribute->value) == (stun_crc32(data, offset) ^ FINGERPRINT_XOR);
}

/* The class's two bits lie between those of the method (RFC 8489 section 5, figure 3). */
static uint16_t method_of(uint16_t type)
{
	return (uint16_t)((type & 0x000f) | (type & 0x00e0) >> 1 | (type & 0x3e00) >> 2);
}

uint16_t stun_peek_method(const void *data, size_t size)
{
	return size < STUN_HEADER_SIZE ? 0 : method_of(get_u16(data));
}

int stun_parse(struct stun_message *out, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	struct stun_attribute attribute;
	size_t offset = STUN_HEADER_SIZE, step;
	uint16_t type;

	if (size < STUN_HEADER_SIZE || (bytes[0] & 0xc0) != 0)
		return -1;
	if (get_u16(bytes + 2) != size - STUN_HEADER_SIZE)
		return -1;
	out->has_fingerprint = false;
	for (; offset < size; offset += step) {
		step = read_attribute(bytes, size, offset, &attribute);
		if (step == 0)
			return -1;
		if (attribute.type != STUN_FINGERPRINT)
			continue;
		if (!fingerprint_holds(bytes, size, offset, &attribute))
			return -1;
		out->has_fingerprint = true;
	}

	type = get_u16(bytes);
	out->method = method_of(type);
	out->class = (enum stun_class)((type & 0x0010) >> 4 | (type & 0x0100) >> 7);
	out->classic = get_u32(bytes + 4) != STUN_MAGIC_COOKIE;
	out->data = bytes;
	out->size = size;
	memcpy(out->transaction, bytes + 4, STUN_TRANSACTION_SIZE);
	return 0;
}

bool stun_next(const struct stun_message *message, size_t *offset, struct stun_attribute *out)
{
	size_t step;

	if (*offset >= message->size - STUN_HEADER_SIZE)
		return false;
	step = read_attribute(message->data, message->size, STUN_HEADER_SIZE + *offset, out);
	*offset += step;
	return step != 0;
}

bool stun_find(const struct stun_message *message, uint16_t type, struct stun_attribute *out)
{
	size_t offset = 0;

	while (stun_next(message, &offset, out)) {
		if (out->type == type)
			return true;
	}
	return false;
}

int stun_read_address(const struct stun_message *message, const struct stun_attribute *attribute,
	bool xored, struct addr *out)
{
	const uint8_t *value = attribute->value, *key = message->transaction;
	struct addr addr = {.family = ADDR_NONE};
	size_t size;

	/* The first byte is ignored (RFC 8489 14.1). */
	if (attribute->size == 4 + 4 && value[1] == FAMILY_IPV4)
		addr.family = ADDR_IPV4;
	else if (attribute->size == 4 + 16 && value[1] == FAMILY_IPV6)
		addr.family = ADDR_IPV6;
	else
		return -1;
	size = addr_ip_size(&addr);
	addr.port = get_u16(value + 2);
	memcpy(addr.ip, value + 4, size);
	if (xored) {
		addr.port ^= get_u16(key);
		for (size_t i = 0; i < size; i++)
			addr.ip[i] ^= key[i];
	}
	*out = addr;
	return 0;
}

int stun_read_error(const struct stun_attribute *attribute, unsigned *code, const uint8_t **reason,
	size_t *reason_size)
{
	const uint8_t *value = attribute->value;
	unsigned class, number;

	if (attribute->size < 4)
		return -1;
	class = value[2] & 7;
	number = value[3];
	if (class < 3 || class > 6 || number > 99)
		return -1;
	*code = class * 100 + number;
	*reason = value + 4;
	*reason_size = attribute->size - 4U;
	return 0;
}

void stun_begin(struct wire_writer *writer, void *buffer, size_t capacity, enum stun_class class,
	uint16_t method, const uint8_t transaction[STUN_TRANSACTION_SIZE])
{
	unsigned bits = (unsigned)class, type = (bits & 1) << 4 | (bits & 2) << 7;

	if (capacity > STUN_DATAGRAM_MAX)
		capacity = STUN_DATAGRAM_MAX;
	type |= (method & 0x000fU) | (method & 0x0070U) << 1 | (method & 0x0f80U) << 2;
	wire_writer_start(writer, buffer, capacity);
	wire_write_u16(writer, (uint16_t)type);
	wire_write_u16(writer, 0);
	wire_write_bytes(writer, transaction, STUN_TRANSACTION_SIZE);
}

/* A size that its field cannot hold is one that the writer has no room for. */
static void put_header(struct wire_writer *writer, uint16_t type, size_t size)
{
	wire_write_u16(writer, type);
	wire_write_u16(writer, (uint16_t)size);
}

void stun_put(struct wire_writer *writer, uint16_t type, const void *value, size_t size)
{
	put_header(writer, type, size);
	wire_write_bytes(writer, value, size);
	wire_write_zeros(writer, round_up(size) - size);
}

void stun_put_zeros(struct wire_writer *writer, uint16_t type, size_t size)
{
	put_header(writer, type, size);
	wire_write_zeros(writer, round_up(size));
}

static void put_address(
	struct wire_writer *writer, uint16_t type, const struct addr *addr, const uint8_t key[16])
{
	size_t size = addr_ip_size(addr);
	uint8_t ip[16];

	if (size == 0) {
		writer->failed = true;
		return;
	}
	for (size_t i = 0; i < size; i++)
		ip[i] = addr->ip[i] ^ key[i];
	put_header(writer, type, 4 + size);
	wire_write_u16(writer, size == 4 ? FAMILY_IPV4 : FAMILY_IPV6);
	wire_write_u16(writer, addr->port ^ get_u16(key));
	wire_write_bytes(writer, ip, size);
}

void stun_put_address(struct wire_writer *writer, uint16_t type, const struct addr *addr)
{
	static const uint8_t zeros[16];

	put_address(writer, type, addr, zeros);
}

void stun_put_xor_address(struct wire_writer *writer, uint16_t type, const struct addr *addr)
{
	if (!writer->failed)
		put_address(writer, type, addr, writer->data + 4);
}

void stun_put_error(struct wire_writer *writer, unsigned code, const char *reason)
{
	size_t size = strlen(reason);

	if (code < 300 || code > 699) {
		writer->failed = true;
		return;
	}
	put_header(writer, STUN_ERROR_CODE, 4 + size);
	wire_write_u16(writer, 0);
	wire_write_u8(writer, (uint8_t)(code / 100));
	wire_write_u8(writer, (uint8_t)(code % 100));
	wire_write_bytes(writer, reason, size);
	wire_write_zeros(writer, round_up(size) - size);
}

void stun_put_unknown(struct wire_writer *writer, const uint16_t *types, size_t count)
{
	size_t size = 2 * count;

	put_header(writer, STUN_UNKNOWN_ATTRIBUTES, size);
	for (size_t i = 0; i < count; i++)
		wire_write_u16(writer, types[i]);
	wire_write_zeros(writer, round_up(size) - size);
}

/* The length that the checksum covers already counts the FINGERPRINT (RFC 8489 14.7). */
void stun_put_fingerprint(struct wire_writer *writer)
{
	size_t end = writer->offset;

	wire_patch_u16(writer, 2, (uint16_t)(end + FINGERPRINT_SIZE - STUN_HEADER_SIZE));
	put_header(writer, STUN_FINGERPRINT, 4);
	wire_write_u32(writer, stun_crc32(writer->data, end) ^ FINGERPRINT_XOR);
}

size_t stun_finish(struct wire_writer *writer)
{
	if (!wire_patch_u16(writer, 2, (uint16_t)(writer->offset - STUN_HEADER_SIZE)))
		return 0;
	return writer->offset;
}

void stun_make_transaction(uint8_t out[STUN_TRANSACTION_SIZE], const uint8_t random[12])
{
	struct wire_writer writer;

	wire_writer_start(&writer, out, STUN_TRANSACTION_SIZE);
	wire_write_u32(&writer, STUN_MAGIC_COOKIE);
	wire_write_bytes(&writer, random, 12);
}
