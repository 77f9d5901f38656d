/*
 * Escaped text, taken apart again by a naive reader, is what went in or a beginning of it, at every
 * capacity, on memory that ends at a guard page.
 */
#include "natpunch/base/text.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS    30000
#define SIZE_MOST 24

static struct random rng;
static struct guard in, out;

static uint8_t hex_byte(const char *digits)
{
	char two[3] = {digits[0], digits[1], '\0'};
	static const char values[] = "0123456789abcdef";

	return (uint8_t)((strchr(values, two[0]) - values) << 4 |
			 (strchr(values, two[1]) - values));
}

/* Undoes \\ and \xHH. Returns the number of bytes, or SIZE_MAX for what no escape can be. */
static size_t undo_escape(const char *text, uint8_t *bytes)
{
	size_t count = 0;

	for (; *text != '\0'; text++) {
		if (*text < 0x20 || *text > 0x7e)
			return SIZE_MAX;
		if (*text != '\\') {
			bytes[count++] = (uint8_t)*text;
		} else if (text[1] == '\\') {
			bytes[count++] = '\\';
			text++;
		} else if (text[1] == 'x' && text[2] != '\0' && text[3] != '\0') {
			bytes[count++] = hex_byte(text + 2);
			text += 3;
		} else {
			return SIZE_MAX;
		}
	}
	return count;
}

static size_t undo_json(const char *text, uint8_t *bytes)
{
	size_t count = 0;

	if (*text++ != '"')
		return SIZE_MAX;
	for (; *text != '"'; text++) {
		if (*text < 0x20 || *text > 0x7e)
			return SIZE_MAX;
		if (*text != '\\') {
			bytes[count++] = (uint8_t)*text;
		} else if (text[1] == '\\' || text[1] == '"') {
			bytes[count++] = (uint8_t) * ++text;
		} else if (strncmp(text, "\\u00", 4) == 0 && strlen(text) >= 7) {
			bytes[count++] = hex_byte(text + 4);
			text += 5;
		} else {
			return SIZE_MAX;
		}
	}
	return text[1] == '\0' ? count : SIZE_MAX;
}

/* What a shell makes of one word: quotes off, \' outside of them; then the escapes undone. */
static size_t undo_shell(const char *text, uint8_t *bytes)
{
	static const char special[] = " \t\n\"#$&()*;<=>?[]^`{|}~!\\";
	char word[8 * SIZE_MOST];
	bool quoted = false;
	size_t count = 0;

	if (*text == '\0')
		return SIZE_MAX;
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			quoted = !quoted;
		else if (!quoted && *text == '\\' && text[1] == '\'')
			word[count++] = *++text;
		else if (!quoted && strchr(special, *text))
			return SIZE_MAX;
		else
			word[count++] = *text;
	}
	word[count] = '\0';
	return quoted ? SIZE_MAX : undo_escape(word, bytes);
}

static bool is_beginning(
	const uint8_t *got, size_t got_size, const uint8_t *want, size_t size, bool whole)
{
	return got_size != SIZE_MAX && (whole ? got_size == size : got_size <= size) &&
	       memcmp(got, want, got_size) == 0;
}

static bool escapes_hold(void)
{
	size_t size = random_below(&rng, SIZE_MOST), capacity = 3 + random_below(&rng, 160);
	uint8_t bytes[SIZE_MOST], back[8 * SIZE_MOST] = {0};
	char *to = (char *)guard_at_end(&out, capacity), *text;
	bool whole = capacity >= 6 * size + 3;

	random_fill(&rng, bytes, size);
	for (size_t i = 0; i < size; i++) {
		if (random_once(&rng, 2))
			bytes[i] = (uint8_t) "a\\\"'$ "[random_below(&rng, 6)];
		else if (bytes[i] == 0)
			bytes[i] = 1;
	}
	text_escape(to, capacity, guard_copy_end(&in, bytes, size), size);
	if (!is_beginning(back, undo_escape(to, back), bytes, size, whole))
		return false;
	text = (char *)guard_at_end(&in, size + 1);
	memcpy(text, bytes, size);
	text[size] = '\0';
	text_escape_json(to, capacity, text);
	if (!is_beginning(back, undo_json(to, back), bytes, size, whole))
		return false;
	text_escape_shell(to, capacity, text);
	return is_beginning(back, undo_shell(to, back), bytes, size, whole);
}

int main(void)
{
	int round;

	rng = random_start();
	in = guard_make(SIZE_MOST + 1);
	out = guard_make(256);
	for (round = 0; round < ROUNDS && escapes_hold(); round++)
		;
	is_int(round, ROUNDS, "escapes are undone to what went in, cut only between bytes");
	return done_testing();
}
