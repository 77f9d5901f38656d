/*
 * wire.c - bounded reading and writing of big-endian bytes.
 *
 * Every access goes through reader_take() or writer_take(). They compare a count with what is left,
 * never an end with the size: a sum could wrap, `size - offset` cannot while offset <= size holds.
 */
#include "natpunch/base/wire.h"

#include <string.h>

void wire_reader_start(struct wire_reader *reader, const void *data, size_t size)
{
	reader->data = data;
	reader->size = size;
	reader->offset = 0;
	reader->failed = false;
}

size_t wire_reader_left(const struct wire_reader *reader)
{
	return reader->size - reader->offset;
}

/* Where the next `count` bytes are, which are then consumed; NULL (and failed) without them. */
static const uint8_t *reader_take(struct wire_reader *reader, size_t count)
{
	const uint8_t *bytes;

	if (reader->failed || count > reader->size - reader->offset) {
		reader->failed = true;
		return NULL;
	}
	bytes = reader->data + reader->offset;
	reader->offset += count;
	return bytes;
}

bool wire_read_u8(struct wire_reader *reader, uint8_t *out)
{
	const uint8_t *bytes = reader_take(reader, 1);

	*out = 0;
	if (!bytes)
		return false;
	*out = bytes[0];
	return true;
}

bool wire_read_u16(struct wire_reader *reader, uint16_t *out)
{
	const uint8_t *bytes = reader_take(reader, 2);

	*out = 0;
	if (!bytes)
		return false;
	*out = (uint16_t)(bytes[0] << 8 | bytes[1]);
	return true;
}

bool wire_read_u32(struct wire_reader *reader, uint32_t *out)
{
	const uint8_t *bytes = reader_take(reader, 4);

	*out = 0;
	if (!bytes)
		return false;
	*out = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
	return true;
}

bool wire_read_bytes(struct wire_reader *reader, void *out, size_t count)
{
	const uint8_t *bytes;

	if (count == 0)
		return !reader->failed;
	bytes = reader_take(reader, count);
	if (!bytes) {
		memset(out, 0, count);
		return false;
	}
	memcpy(out, bytes, count);
	return true;
}

const uint8_t *wire_read_view(struct wire_reader *reader, size_t count)
{
	return reader_take(reader, count);
}

void wire_writer_start(struct wire_writer *writer, void *data, size_t capacity)
{
	writer->data = data;
	writer->size = capacity;
	writer->offset = 0;
	writer->failed = false;
}

static uint8_t *writer_take(struct wire_writer *writer, size_t count)
{
	uint8_t *bytes;

	if (writer->failed || count > writer->size - writer->offset) {
		writer->failed = true;
		return NULL;
	}
	bytes = writer->data + writer->offset;
	writer->offset += count;
	return bytes;
}

bool wire_write_u8(struct wire_writer *writer, uint8_t value)
{
	uint8_t *bytes = writer_take(writer, 1);

	if (!bytes)
		return false;
	bytes[0] = value;
	return true;
}

bool wire_write_u16(struct wire_writer *writer, uint16_t value)
{
	uint8_t *bytes = writer_take(writer, 2);

	if (!bytes)
		return false;
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
	return true;
}

bool wire_write_u32(struct wire_writer *writer, uint32_t value)
{
	uint8_t *bytes = writer_take(writer, 4);

	if (!bytes)
		return false;
	bytes[0] = (uint8_t)(value >> 24);
	bytes[1] = (uint8_t)(value >> 16);
	bytes[2] = (uint8_t)(value >> 8);
	bytes[3] = (uint8_t)value;
	return true;
}

bool wire_write_bytes(struct wire_writer *writer, const void *data, size_t count)
{
	uint8_t *bytes;

	if (count == 0)
		return !writer->failed;
	bytes = writer_take(writer, count);
	if (!bytes)
		return false;
	memcpy(bytes, data, count);
	return true;
}

bool wire_write_zeros(struct wire_writer *writer, size_t count)
{
	uint8_t *bytes;

	if (count == 0)
		return !writer->failed;
	bytes = writer_take(writer, count);
	if (!bytes)
		return false;
	memset(bytes, 0, count);
	return true;
}

bool wire_patch_u16(struct wire_writer *writer, size_t offset, uint16_t value)
{
	if (writer->failed || offset > writer->offset || writer->offset - offset < 2) {
		writer->failed = true;
		return false;
	}
	writer->data[offset] = (uint8_t)(value >> 8);
	writer->data[offset + 1] = (uint8_t)value;
	return true;
}
