/*
 * base64.c - base64url. Keys pass through here, so no table is indexed by a byte: the cache lines
 * that it touched would reveal it.
 */
#include "natpunch/base/base64.h"

#include <stdint.h>

/* All ones when low <= value <= high, else 0; the three are below 256. */
static uint32_t within(uint32_t value, uint32_t low, uint32_t high)
{
	return (((value - low) | (high - value)) >> 31) - 1;
}

static char encode_six(uint32_t value)
{
	uint32_t out = within(value, 0, 25) & (value + 'A');

	out |= within(value, 26, 51) & (value - 26 + 'a');
	out |= within(value, 52, 61) & (value - 52 + '0');
	out |= within(value, 62, 62) & '-';
	out |= within(value, 63, 63) & '_';
	return (char)out;
}

/* 0 to 63, or with the highest bit set for a character that is none of them. */
static uint32_t decode_six(char character)
{
	uint32_t c = (uint8_t)character;
	uint32_t upper = within(c, 'A', 'Z'), lower = within(c, 'a', 'z');
	uint32_t digit = within(c, '0', '9'), dash = within(c, '-', '-');
	uint32_t line = within(c, '_', '_');
	uint32_t out = (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52));

	out |= (dash & 62) | (line & 63);
	return out | (~(upper | lower | digit | dash | line) & 0x80000000U);
}

void base64_encode(const void *data, size_t size, char *out)
{
	const uint8_t *bytes = data;

	for (; size >= 3; size -= 3, bytes += 3, out += 4) {
		uint32_t group = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];

		for (unsigned i = 0; i < 4; i++)
			out[i] = encode_six(group >> (18 - 6 * i) & 63);
	}
}

int base64_decode(const char *text, size_t size, void *out)
{
	uint8_t *bytes = out;
	uint32_t bad = 0;

	if (size % 4 != 0)
		return -1;
	for (; size > 0; size -= 4, text += 4, bytes += 3) {
		uint32_t group = 0;

		for (unsigned i = 0; i < 4; i++) {
			uint32_t six = decode_six(text[i]);

			bad |= six & 0x80000000U;
			group = group << 6 | (six & 63);
		}
		bytes[0] = (uint8_t)(group >> 16);
		bytes[1] = (uint8_t)(group >> 8);
		bytes[2] = (uint8_t)group;
	}
	return bad == 0 ? 0 : -1;
}
