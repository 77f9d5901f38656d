#include "natpunch/base/parse.h"

#include <stdbool.h>
#include <string.h>

#include "natpunch/base/text.h"

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (!text_is_digit(*text) || value > max / 10 || digit > max - value * 10)
			return -1;
		value = value * 10 + digit;
	}
	if (value < min)
		return -1;
	*out = value;
	return 0;
}

int parse_hex(const char *text, uint32_t *out)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	uint32_t value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		const char *digit = strchr(digits, *text);
		uint32_t at;

		if (digit == NULL || value > UINT32_MAX >> 4)
			return -1;
		at = (uint32_t)(digit - digits);
		value = value << 4 | (at < 16 ? at : at - 6);
	}
	*out = value;
	return 0;
}

int parse_mark(const char *text, uint32_t *out)
{
	uint64_t value;

	if (strncmp(text, "0x", 2) == 0)
		return parse_hex(text + 2, out);
	if (parse_number(text, 0, UINT32_MAX, &value) < 0)
		return -1;
	*out = (uint32_t)value;
	return 0;
}

int parse_port(const char *text, uint16_t *out)
{
	uint64_t value;

	if (parse_number(text, 1, UINT16_MAX, &value) < 0)
		return -1;
	*out = (uint16_t)value;
	return 0;
}

int parse_seconds(const char *text, uint64_t max_ms, uint64_t *out_ms)
{
	uint64_t ms = 0, unit = 100, part;

	for (; text_is_digit(*text); text++) {
		part = (uint64_t)(*text - '0') * 1000;
		if (ms > max_ms / 10 || part > max_ms - ms * 10)
			return -1;
		ms = ms * 10 + part;
	}
	if (*text == '.') {
		if (!text_is_digit(*++text))
			return -1;
		for (; text_is_digit(*text); text++, unit /= 10) {
			part = (uint64_t)(*text - '0') * unit;
			if (part > max_ms - ms)
				return -1;
			ms += part;
		}
	}
	if (*text != '\0' || ms == 0)
		return -1;
	*out_ms = ms;
	return 0;
}
