/*
 * wire.h - bounded reading and writing of big-endian bytes.
 *
 * A reader never steps past its end and a writer never past its capacity: the first try to do so
 * sets `failed`, changes nothing else, and every later call fails as well. So a caller may run
 * a whole sequence and check `failed` (or the last return value) once, at the end.
 * Invariant of both: offset <= size. Neither owns the bytes it points at.
 */
#ifndef NATPUNCH_BASE_WIRE_H
#define NATPUNCH_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader {
	const uint8_t *data;
	size_t size;   /* bytes at data */
	size_t offset; /* next byte to read */
	bool failed;
};

struct wire_writer {
	uint8_t *data;
	size_t size;   /* capacity in bytes */
	size_t offset; /* bytes written so far */
	bool failed;
};

void wire_reader_start(struct wire_reader *reader, const void *data, size_t size);
size_t wire_reader_left(const struct wire_reader *reader);

/* Each reads its bytes into *out and returns true; on failure *out is 0 and false is returned. */
bool wire_read_u8(struct wire_reader *reader, uint8_t *out);
bool wire_read_u16(struct wire_reader *reader, uint16_t *out);
bool wire_read_u32(struct wire_reader *reader, uint32_t *out);
bool wire_read_bytes(struct wire_reader *reader, void *out, size_t count);

/* Steps over `count` bytes and returns where they begin (inside the reader's data), or NULL. */
const uint8_t *wire_read_view(struct wire_reader *reader, size_t count);

void wire_writer_start(struct wire_writer *writer, void *data, size_t capacity);
bool wire_write_u8(struct wire_writer *writer, uint8_t value);
bool wire_write_u16(struct wire_writer *writer, uint16_t value);
bool wire_write_u32(struct wire_writer *writer, uint32_t value);
bool wire_write_bytes(struct wire_writer *writer, const void *data, size_t count);
bool wire_write_zeros(struct wire_writer *writer, size_t count);

/* Overwrites two bytes that were written before; false (and failed) when they were not. */
bool wire_patch_u16(struct wire_writer *writer, size_t offset, uint16_t value);

#endif
