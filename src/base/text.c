/*
 * text.c - escapes bytes from outside.
 *
 * All three write one token per byte and stop before the first token that does not fit whole, so a
 * cut never leaves half an escape, an open quote or a missing NUL behind.
 */
#include "natpunch/base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TOKEN_SIZE 6 /* the longest: \u00xx */

/* `tail` bytes at the end of the buffer stay free for what closes it. */
struct output {
	char *text;
	size_t capacity;
	size_t used;
	size_t tail;
};

static bool append(struct output *output, const char *token, size_t size)
{
	if (size > output->capacity - output->used - output->tail)
		return false;
	memcpy(output->text + output->used, token, size);
	output->used += size;
	return true;
}

static bool is_printable(uint8_t byte)
{
	return byte >= 0x20 && byte <= 0x7e;
}

static size_t put_hex(char *token, const char *prefix, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";
	size_t size = strlen(prefix);

	memcpy(token, prefix, size);
	token[size++] = digits[byte >> 4];
	token[size++] = digits[byte & 15];
	return size;
}

static size_t make_token(char token[TOKEN_SIZE], uint8_t byte)
{
	if (!is_printable(byte))
		return put_hex(token, "\\x", byte);
	token[0] = token[1] = (char)byte;
	return byte == '\\' ? 2 : 1;
}

static size_t make_json_token(char token[TOKEN_SIZE], uint8_t byte)
{
	if (!is_printable(byte))
		return put_hex(token, "\\u00", byte);
	if (byte != '\\' && byte != '"') {
		token[0] = (char)byte;
		return 1;
	}
	token[0] = '\\';
	token[1] = (char)byte;
	return 2;
}

/* A quote cannot be escaped inside quotes: leave them, write one, go back in. */
static size_t make_shell_token(char token[TOKEN_SIZE], uint8_t byte)
{
	if (byte != '\'')
		return make_token(token, byte);
	memcpy(token, "'\\''", 4);
	return 4;
}

static void write_tokens(struct output *output, const void *data, size_t size,
	size_t (*make)(char token[TOKEN_SIZE], uint8_t byte))
{
	const uint8_t *bytes = data;
	char token[TOKEN_SIZE];

	for (size_t i = 0; i < size; i++) {
		if (!append(output, token, make(token, bytes[i])))
			return;
	}
}

const char *text_escape(char *out, size_t capacity, const void *data, size_t size)
{
	struct output output = {.text = out, .capacity = capacity, .tail = 1};

	write_tokens(&output, data, size, make_token);
	out[output.used] = '\0';
	return out;
}

/* The tokens of `text` between two quotes; no text at all where not even the quotes fit. */
static const char *write_quoted(char *out, size_t capacity, const char *text, const char *quote,
	size_t (*make)(char token[TOKEN_SIZE], uint8_t byte))
{
	struct output output = {.text = out, .capacity = capacity, .tail = 2};

	out[0] = '\0';
	if (capacity < 3)
		return out;
	append(&output, quote, 1);
	write_tokens(&output, text, strlen(text), make);
	out[output.used] = *quote;
	out[output.used + 1] = '\0';
	return out;
}

const char *text_escape_json(char *out, size_t capacity, const char *text)
{
	return write_quoted(out, capacity, text, "\"", make_json_token);
}

static bool is_harmless(const char *text)
{
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_./:@%+,";

	return *text != '\0' && text[strspn(text, harmless)] == '\0';
}

const char *text_escape_shell(char *out, size_t capacity, const char *text)
{
	if (is_harmless(text))
		return text_escape(out, capacity, text, strlen(text));
	return write_quoted(out, capacity, text, "'", make_shell_token);
}

char *text_put_decimal(char out[TEXT_DECIMAL_SIZE], uint32_t number)
{
	char reversed[TEXT_DECIMAL_SIZE];
	size_t count = 0;

	do {
		reversed[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	while (count > 0)
		*out++ = reversed[--count];
	*out = '\0';
	return out;
}

static char to_lower(char c)
{
	if (c < 'A' || c > 'Z')
		return c;
	return "abcdefghijklmnopqrstuvwxyz"[c - 'A'];
}

const char *text_skip_word(const char *text, const char *word)
{
	for (; *word != '\0'; text++, word++)
		if (to_lower(*text) != to_lower(*word))
			return NULL;
	return text;
}
