/*
 * text.h - escapes bytes from outside for a terminal, a log and a shell; writes numbers.
 */
#ifndef NATPUNCH_BASE_TEXT_H
#define NATPUNCH_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool text_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Writes `size` bytes as printable ASCII into out: a backslash becomes "\\", every byte outside
 * 0x20..0x7e becomes \xHH. Always ends with a NUL; what does not fit is cut between whole escapes.
 * capacity must be at least 1. Returns out.
 */
const char *text_escape(char *out, size_t capacity, const void *data, size_t size);

/*
 * The same as a JSON string with its quotes (RFC 8259 7): \" and \\ and \u00HH. Cut likewise,
 * always closed; "" where capacity is below the 3 that an empty string takes.
 */
const char *text_escape_json(char *out, size_t capacity, const char *text);

/*
 * What text_escape() makes of it, as one word for a POSIX shell: as it is when harmless, else in
 * single quotes. Cut likewise, always closed; "" where capacity is below 3.
 */
const char *text_escape_shell(char *out, size_t capacity, const char *text);

/*
 * Returns what follows `word` at the beginning of text, or NULL when text begins otherwise. Upper
 * and lower case of ASCII letters are the same.
 */
const char *text_skip_word(const char *text, const char *word);

#define TEXT_DECIMAL_SIZE 11 /* "4294967295" and a NUL */

/* Writes a number in decimal, where printf(3) would be too slow. Returns where its NUL is. */
char *text_put_decimal(char out[TEXT_DECIMAL_SIZE], uint32_t number);

#endif
