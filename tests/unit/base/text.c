/* Escaping: each byte that is not harmless, and cuts at every capacity. */
#include "natpunch/base/text.h"

#include "tap.h"

static void test_plain(void)
{
	char out[64];

	is_str(text_escape(out, sizeof(out), "abc XYZ 09 ~", 12), "abc XYZ 09 ~", "plain text");
	is_str(text_escape(out, sizeof(out), "", 0), "", "nothing");
	is_str(text_escape(out, sizeof(out), NULL, 0), "", "nothing at all");
	is_str(text_escape(out, sizeof(out), "\x1b[31m\n\r\t", 8), "\\x1b[31m\\x0a\\x0d\\x09",
		"control bytes");
	is_str(text_escape(out, sizeof(out), "a\\b", 3), "a\\\\b", "a backslash");
	is_str(text_escape(out, sizeof(out), "\x00\x1f\x20\x7e\x7f\x80\xff", 7),
		"\\x00\\x1f ~\\x7f\\x80\\xff", "the edges of what is printable");
	is_str(text_escape(out, sizeof(out), "abcdef", 3), "abc", "no more than size bytes");
}

static void test_json(void)
{
	char out[64];

	is_str(text_escape_json(out, sizeof(out), ""), "\"\"", "an empty JSON string");
	is_str(text_escape_json(out, sizeof(out), "a'b"), "\"a'b\"", "a JSON string");
	is_str(text_escape_json(out, sizeof(out), "\"\\/\n"), "\"\\\"\\\\/\\u000a\"",
		"quote, backslash, newline");
	is_str(text_escape_json(out, sizeof(out), "\x7f\xff"), "\"\\u007f\\u00ff\"",
		"the bytes behind ASCII");
}

static void test_shell(void)
{
	static const char dangerous[] = " \"#$&()*;<=>?[]^`{|}~!";
	char out[64], one[2] = "", want[8];

	is_str(text_escape_shell(out, sizeof(out), "a.B-9_/:@%+,"), "a.B-9_/:@%+,", "harmless");
	is_str(text_escape_shell(out, sizeof(out), ""), "''", "an empty word");
	is_str(text_escape_shell(out, sizeof(out), "a b"), "'a b'", "a blank");
	is_str(text_escape_shell(out, sizeof(out), "a'b"), "'a'\\''b'", "a quote");
	is_str(text_escape_shell(out, sizeof(out), "\n"), "'\\x0a'", "a newline");
	is_str(text_escape_shell(out, sizeof(out), "\\"), "'\\\\'", "a backslash");
	for (const char *at = dangerous; *at != '\0'; at++) {
		one[0] = *at;
		snprintf(want, sizeof(want), "'%c'", *at);
		is_str(text_escape_shell(out, sizeof(out), one), want, "%c is put in quotes", *at);
	}
}

/* Whatever the capacity: inside it, ended, whole escapes, closed. */
static void test_cuts(void)
{
	char out[32];
	bool inside = true, whole = true, closed = true;

	for (size_t capacity = 1; capacity < sizeof(out); capacity++) {
		memset(out, '#', sizeof(out));
		text_escape(out, capacity, "\x01\x02\\\x03", 4);
		inside = inside && strlen(out) < capacity && out[capacity] == '#';
		whole = whole && strncmp("\\x01\\x02\\\\\\x03", out, strlen(out)) == 0 &&
			(strlen(out) % 4 == 0 || strlen(out) == 10 || strlen(out) == 14);

		memset(out, '#', sizeof(out));
		text_escape_json(out, capacity, "\x01\"\x02");
		inside = inside && strlen(out) < capacity && out[capacity] == '#';
		closed = closed &&
			 (capacity < 3 ? out[0] == '\0'
				       : out[strlen(out) - 1] == '"' && strlen(out) != 3 + 6);

		memset(out, '#', sizeof(out));
		text_escape_shell(out, capacity, "a 'b'");
		inside = inside && strlen(out) < capacity && out[capacity] == '#';
		closed = closed && (capacity < 3 ? out[0] == '\0' : out[strlen(out) - 1] == '\'');
	}
	ok(inside, "no capacity is overstepped");
	ok(whole, "escapes are not cut in two");
	ok(closed, "quotes are closed at every capacity");
	is_str(text_escape(out, 9, "\x01\x02\x03", 3), "\\x01\\x02", "two of three escapes fit");
	is_str(text_escape(out, 8, "\x01\x02\x03", 3), "\\x01", "one byte less: one");
	is_str(text_escape_json(out, 5, "abcd"), "\"ab\"", "two of four bytes in quotes");
	is_str(text_escape_shell(out, 3, "abcd"), "ab", "a harmless word is cut without quotes");
	is_str(text_escape_shell(out, 8, "a '"), "'a '", "half a quote is none");
	is_str(text_escape_shell(out, 9, "a '"), "'a '\\'''", "a whole one fits");
}

static void test_decimal(void)
{
	static const struct {
		uint32_t number;
		const char *text;
	} rows[] = {{0, "0"}, {9, "9"}, {10, "10"}, {255, "255"}, {65535, "65535"},
		{1000000000, "1000000000"}, {UINT32_MAX, "4294967295"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[TEXT_DECIMAL_SIZE + 1] = "~~~~~~~~~~~";
		char *end = text_put_decimal(out, rows[i].number);

		is_str(out, rows[i].text, "decimal %s", rows[i].text);
		ok(end == out + strlen(rows[i].text), "and where it ends");
	}
}

static void test_skip_word(void)
{
	is_str(text_skip_word("Location: x", "location:"), " x", "what stands behind a word");
	is_str(text_skip_word("AZ[@`{", "az[@`{"), "", "the whole text");
	ok(text_skip_word("az[", "AZ{") == NULL, "marks have no other case");
	ok(text_skip_word("loc", "location") == NULL, "a part of it");
	ok(text_skip_word("", "l") == NULL, "no text");
	is_str(text_skip_word("x", ""), "x", "no word");
}

int main(void)
{
	test_decimal();
	test_skip_word();
	test_plain();
	test_json();
	test_shell();
	test_cuts();
	return done_testing();
}
