/*
 * Only the kernel answers on a netlink socket; all sizes are checked nevertheless.
 *
 * All bounds are wire.h's. Padding: a message or an attribute that ends its buffer may lack it, so
 * the reader steps over as much of it as is there.
 */
#include "natpunch/proto/netlink_message.h"

#include <string.h>

#define ATTRIBUTE_NESTED    0x8000u /* NLA_F_NESTED */
#define ATTRIBUTE_TYPE_MASK 0x3fffu /* NLA_TYPE_MASK */
#define ERRNO_MAX           4095    /* MAX_ERRNO of linux/err.h */

static size_t padding(size_t size)
{
	return (4 - size % 4) % 4;
}

static void write_native(struct wire_writer *wire, const void *value, size_t size)
{
	wire_write_bytes(wire, value, size);
}

/* Overwrites bytes that were written before. */
static void patch_native(struct wire_writer *wire, size_t offset, const void *value, size_t size)
{
	if (wire->failed || offset > wire->offset || size > wire->offset - offset) {
		wire->failed = true;
		return;
	}
	memcpy(wire->data + offset, value, size);
}

void netlink_message_writer_start(
	struct netlink_message_writer *writer, void *data, size_t capacity)
{
	wire_writer_start(&writer->wire, data, capacity);
	writer->message = 0;
}

size_t netlink_message_writer_size(const struct netlink_message_writer *writer)
{
	return writer->wire.failed ? 0 : writer->wire.offset;
}

void netlink_message_begin(
	struct netlink_message_writer *writer, uint16_t type, uint16_t flags, uint32_t sequence)
{
	writer->message = writer->wire.offset;
	wire_write_zeros(&writer->wire, 4); /* the size, by netlink_message_end() */
	write_native(&writer->wire, &type, sizeof(type));
	write_native(&writer->wire, &flags, sizeof(flags));
	write_native(&writer->wire, &sequence, sizeof(sequence));
	wire_write_zeros(&writer->wire, 4); /* the kernel fills in the sender */
}

void netlink_message_end(struct netlink_message_writer *writer)
{
	uint32_t size = (uint32_t)(writer->wire.offset - writer->message);

	patch_native(&writer->wire, writer->message, &size, sizeof(size));
	wire_write_zeros(&writer->wire, padding(size));
}

void netlink_message_put(
	struct netlink_message_writer *writer, uint16_t type, const void *value, size_t size)
{
	uint16_t whole;

	if (size > UINT16_MAX - NETLINK_MESSAGE_ATTRIBUTE_SIZE) {
		writer->wire.failed = true;
		return;
	}
	whole = (uint16_t)(size + NETLINK_MESSAGE_ATTRIBUTE_SIZE);
	write_native(&writer->wire, &whole, sizeof(whole));
	write_native(&writer->wire, &type, sizeof(type));
	wire_write_bytes(&writer->wire, value, size);
	wire_write_zeros(&writer->wire, padding(size));
}

void netlink_message_put_u8(struct netlink_message_writer *writer, uint16_t type, uint8_t value)
{
	netlink_message_put(writer, type, &value, sizeof(value));
}

void netlink_message_put_be16(struct netlink_message_writer *writer, uint16_t type, uint16_t value)
{
	uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

	netlink_message_put(writer, type, bytes, sizeof(bytes));
}

void netlink_message_put_be32(struct netlink_message_writer *writer, uint16_t type, uint32_t value)
{
	uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value};

	netlink_message_put(writer, type, bytes, sizeof(bytes));
}

void netlink_message_put_text(
	struct netlink_message_writer *writer, uint16_t type, const char *text)
{
	netlink_message_put(writer, type, text, strlen(text) + 1);
}

size_t netlink_message_begin_nest(struct netlink_message_writer *writer, uint16_t type)
{
	size_t place = writer->wire.offset;

	netlink_message_put(writer, (uint16_t)(type | ATTRIBUTE_NESTED), "", 0);
	return place;
}

void netlink_message_end_nest(struct netlink_message_writer *writer, size_t place)
{
	size_t size = writer->wire.offset - place;
	uint16_t whole = (uint16_t)size;

	if (size > UINT16_MAX) {
		writer->wire.failed = true;
		return;
	}
	patch_native(&writer->wire, place, &whole, sizeof(whole));
}

static void skip_padding(struct wire_reader *reader, size_t size)
{
	size_t left = wire_reader_left(reader);
	size_t pad = padding(size);

	wire_read_view(reader, pad < left ? pad : left);
}

bool netlink_message_next(struct wire_reader *reader, struct netlink_message *out)
{
	const uint8_t *body;
	uint32_t size;

	if (reader->failed || wire_reader_left(reader) == 0)
		return false;
	wire_read_bytes(reader, &size, sizeof(size));
	wire_read_bytes(reader, &out->type, sizeof(out->type));
	wire_read_bytes(reader, &out->flags, sizeof(out->flags));
	wire_read_bytes(reader, &out->sequence, sizeof(out->sequence));
	wire_read_bytes(reader, &out->port, sizeof(out->port));
	if (reader->failed || size < NETLINK_MESSAGE_HEADER_SIZE) {
		reader->failed = true;
		return false;
	}
	body = wire_read_view(reader, size - NETLINK_MESSAGE_HEADER_SIZE);
	if (body == NULL)
		return false;
	wire_reader_start(&out->body, body, size - NETLINK_MESSAGE_HEADER_SIZE);
	skip_padding(reader, size);
	return true;
}

bool netlink_message_next_attribute(
	struct wire_reader *reader, struct netlink_message_attribute *out)
{
	const uint8_t *value;
	uint16_t size;
	uint16_t type;

	if (reader->failed || wire_reader_left(reader) == 0)
		return false;
	wire_read_bytes(reader, &size, sizeof(size));
	wire_read_bytes(reader, &type, sizeof(type));
	if (reader->failed || size < NETLINK_MESSAGE_ATTRIBUTE_SIZE) {
		reader->failed = true;
		return false;
	}
	value = wire_read_view(reader, size - (size_t)NETLINK_MESSAGE_ATTRIBUTE_SIZE);
	if (value == NULL)
		return false;
	out->type = type & ATTRIBUTE_TYPE_MASK;
	wire_reader_start(&out->value, value, size - (size_t)NETLINK_MESSAGE_ATTRIBUTE_SIZE);
	skip_padding(reader, size);
	return true;
}

bool netlink_message_get_u8(const struct netlink_message_attribute *attribute, uint8_t *out)
{
	struct wire_reader value = attribute->value;

	return wire_read_u8(&value, out) && wire_reader_left(&value) == 0;
}

bool netlink_message_get_be16(const struct netlink_message_attribute *attribute, uint16_t *out)
{
	struct wire_reader value = attribute->value;

	return wire_read_u16(&value, out) && wire_reader_left(&value) == 0;
}

bool netlink_message_get_be32(const struct netlink_message_attribute *attribute, uint32_t *out)
{
	struct wire_reader value = attribute->value;

	return wire_read_u32(&value, out) && wire_reader_left(&value) == 0;
}

bool netlink_message_read_error(const struct netlink_message *message, int *code)
{
	struct wire_reader body = message->body;
	int32_t negative;

	*code = 0;
	if (message->type != NETLINK_MESSAGE_TYPE_ERROR ||
		!wire_read_bytes(&body, &negative, sizeof(negative)))
		return false;
	if (negative > 0 || negative < -ERRNO_MAX)
		return false;
	*code = -negative;
	return true;
}
