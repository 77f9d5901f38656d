/* The bounded reader and writer: order of bytes, ends, and that a failure sticks. */
#include "natpunch/base/wire.h"

#include "tap.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

static void test_reading(void)
{
	struct wire_reader reader;
	const uint8_t *view;
	uint8_t u8, two[2];
	uint16_t u16;
	uint32_t u32;

	wire_reader_start(&reader, bytes, sizeof(bytes));
	is_uint(wire_reader_left(&reader), 10, "all is left at the start");
	ok(wire_read_u8(&reader, &u8) && u8 == 1, "u8");
	ok(wire_read_u16(&reader, &u16) && u16 == 0x0203, "u16 is big-endian");
	ok(wire_read_u32(&reader, &u32) && u32 == 0x04050607, "u32 is big-endian");
	ok(wire_read_bytes(&reader, two, 2) && two[0] == 8 && two[1] == 9, "bytes");
	view = wire_read_view(&reader, 1);
	ok(view == bytes + 9, "a view points into the data");
	is_uint(wire_reader_left(&reader), 0, "nothing is left");
	ok(!reader.failed, "and nothing failed");
	ok(wire_read_bytes(&reader, two, 0), "no bytes can be read at the end");
	ok(!wire_read_u8(&reader, &u8) && u8 == 0, "one more fails and gives 0");
	ok(reader.failed, "and the reader says so");
	ok(!wire_read_bytes(&reader, two, 0), "after which even no bytes fail");
}

/* Each read with one byte too few in front of it. */
static void test_reading_short(void)
{
	struct wire_reader reader;
	uint8_t u8 = 9, three[3] = {9, 9, 9};
	uint16_t u16 = 9;
	uint32_t u32 = 9;

	wire_reader_start(&reader, bytes, 0);
	ok(!wire_read_u8(&reader, &u8) && u8 == 0, "u8 of nothing");
	wire_reader_start(&reader, bytes, 1);
	ok(!wire_read_u16(&reader, &u16) && u16 == 0, "u16 of one byte");
	is_uint(reader.offset, 0, "which is not consumed");
	ok(!wire_read_u8(&reader, &u8), "and not to be had any more");
	wire_reader_start(&reader, bytes, 3);
	ok(!wire_read_u32(&reader, &u32) && u32 == 0, "u32 of three bytes");
	wire_reader_start(&reader, bytes, 2);
	ok(!wire_read_bytes(&reader, three, 3), "three bytes of two");
	is_mem(three, "\0\0\0", 3, "come out as zeros");
	wire_reader_start(&reader, bytes, 2);
	ok(!wire_read_view(&reader, 3), "a view of three bytes of two");
	wire_reader_start(&reader, bytes, sizeof(bytes));
	ok(wire_read_u8(&reader, &u8), "with the offset moved");
	ok(!wire_read_view(&reader, SIZE_MAX), "a count that would wrap fails");
	is_uint(reader.offset, 1, "and does not move it");
}

static void test_writing(void)
{
	uint8_t buffer[12];
	struct wire_writer writer;

	memset(buffer, 0xee, sizeof(buffer));
	wire_writer_start(&writer, buffer, 11);
	ok(wire_write_u8(&writer, 1), "u8");
	ok(wire_write_u16(&writer, 0x0203), "u16");
	ok(wire_write_u32(&writer, 0x04050607), "u32");
	ok(wire_write_bytes(&writer, "\x08\x09", 2), "bytes");
	ok(wire_write_zeros(&writer, 2), "zeros");
	is_mem(buffer, "\1\2\3\4\5\6\7\10\11\0\0\xee", 12, "all big-endian, none behind the end");
	is_uint(writer.offset, 11, "the offset counts them");
	ok(wire_write_zeros(&writer, 0) && wire_write_bytes(&writer, "", 0), "nothing fits");
	ok(!wire_write_u8(&writer, 1) && writer.failed, "one more does not");
	ok(!wire_write_zeros(&writer, 0), "and then nothing does");
	is_uint(buffer[11], 0xee, "the byte behind is as it was");
}

static void test_writing_short(void)
{
	uint8_t buffer[4] = {7, 7, 7, 7};
	struct wire_writer writer;

	wire_writer_start(&writer, buffer, 1);
	ok(!wire_write_u16(&writer, 1), "u16 in one byte");
	ok(!wire_write_u8(&writer, 1), "a failure sticks");
	wire_writer_start(&writer, buffer, 3);
	ok(!wire_write_u32(&writer, 1), "u32 in three bytes");
	wire_writer_start(&writer, buffer, 3);
	ok(!wire_write_bytes(&writer, "abcd", 4), "four bytes in three");
	wire_writer_start(&writer, buffer, 3);
	ok(!wire_write_zeros(&writer, 4), "four zeros in three");
	wire_writer_start(&writer, buffer, 4);
	wire_write_u8(&writer, 7);
	ok(!wire_write_zeros(&writer, SIZE_MAX), "a count that would wrap");
	is_mem(buffer, "\7\7\7\7", 4, "none of them wrote");
}

static void test_patching(void)
{
	uint8_t buffer[4] = {0, 0, 0, 0};
	struct wire_writer writer;

	wire_writer_start(&writer, buffer, 4);
	wire_write_zeros(&writer, 3);
	ok(wire_patch_u16(&writer, 0, 0x0102), "the first two bytes");
	ok(wire_patch_u16(&writer, 1, 0x0304), "the last two that were written");
	is_mem(buffer, "\1\3\4\0", 4, "are patched");
	ok(!wire_patch_u16(&writer, 2, 0x0506) && writer.failed, "not one that was not written");
	is_mem(buffer, "\1\3\4\0", 4, "which stays");
	ok(!wire_patch_u16(&writer, 0, 0x0506), "and a failure sticks");
	wire_writer_start(&writer, buffer, 4);
	wire_write_zeros(&writer, 3);
	ok(!wire_patch_u16(&writer, 4, 1), "nor behind the offset");
	wire_writer_start(&writer, buffer, 4);
	ok(!wire_patch_u16(&writer, 0, 1), "nor in an empty writer");
}

int main(void)
{
	test_reading();
	test_reading_short();
	test_writing();
	test_writing_short();
	test_patching();
	return done_testing();
}
