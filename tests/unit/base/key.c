/*
 * Names, keys as text, and the lines of a key file: what is taken, what is refused and why.
 */
#include "natpunch/base/key.h"

#include "natpunch/base/base64.h"
#include "tap.h"

static struct key make_key(const char *name, uint8_t first)
{
	struct key key = {.name = ""};

	memcpy(key.name, name, strlen(name) + 1);
	for (size_t i = 0; i < sizeof(key.secret); i++)
		key.secret[i] = (uint8_t)(first + 7 * i);
	return key;
}

/* RFC 4648 section 10 where groups are whole, and the two characters that base64url is about. */
static void test_base64(void)
{
	char text[9] = "";
	uint8_t bytes[6];

	base64_encode("foobar", 6, text);
	is_str(text, "Zm9vYmFy", "foobar as text");
	base64_encode("\xfb\xff\xbf\xff\xef\xfe", 6, text);
	is_str(text, "-_-__-_-", "the two characters of base64url");
	is_int(base64_decode("-_-__-_-", 8, bytes), 0, "and back");
	is_mem(bytes, "\xfb\xff\xbf\xff\xef\xfe", 6, "to the same bytes");
	is_int(base64_decode("Zm9vYmF", 7, bytes), -1, "a cut group is refused");
	for (int c = 0; c < 256; c++) {
		char group[4] = {'A', 'A', (char)c, 'A'};
		char again[4];
		int result = base64_decode(group, 4, bytes);

		base64_encode(bytes, 3, again);
		if (result == 0 ? memcmp(group, again, 4) != 0
				: c < 128 && c > 0 &&
					  strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
						 "pqrstuvwxyz0123456789-_",
						  c) != NULL)
			fail("character %d", c);
	}
}

static void test_names(void)
{
	static const char *const good[] = {"a", "0", "home", "home-2.example_net",
		"0123456789012345678901234567890123456789012345678901234567890ab"};
	static const char *const bad[] = {"", "-a", ".a", "_a", "Home", "a b", "a/b", "h\xc3\xb6",
		"a\n", "a:b", "0123456789012345678901234567890123456789012345678901234567890abc"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(key_is_name(good[i], strlen(good[i])), "'%s' is a name", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!key_is_name(bad[i], strlen(bad[i])), "'%s' is none", bad[i]);
	ok(!key_is_name("a\0b", 3), "nor is one with a NUL in it");
}

/* The text of a key is a promise to files that exist: it must never change. */
static void test_format(void)
{
	struct key key = make_key("home", 1), back;
	char line[KEY_LINE_SIZE];
	const char *problem;

	is_str(key_format(&key, line), "home AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09qC69Vj",
		"a key as a line");
	for (size_t size = 1; size < KEY_NAME_SIZE; size++) {
		struct key_reader file = {.data = line};

		memset(key.name, 'n', size);
		key.name[size] = '\0';
		file.size = strlen(key_format(&key, line));
		if (key_reader_next(&file, &back, &problem) != KEY_READER_KEY ||
			strcmp(back.name, key.name) != 0 ||
			memcmp(back.secret, key.secret, sizeof(key.secret)) != 0)
			fail("a name of %zu does not come back", size);
	}
	is_uint(strlen(line), KEY_LINE_SIZE - 1, "the longest line fills its buffer");
}

/* Reads a text; collects names and the first problem. */
static void read_text(const char *text, size_t size, char *out, size_t capacity)
{
	struct key_reader file = {.data = text, .size = size};
	const char *problem = NULL;
	size_t used = 0;
	struct key key;
	enum key_reader_result result;

	out[0] = '\0';
	while ((result = key_reader_next(&file, &key, &problem)) == KEY_READER_KEY)
		used += (size_t)snprintf(
			out + used, capacity - used, "%u:%s ", file.line, key.name);
	if (result == KEY_READER_BAD)
		snprintf(out + used, capacity - used, "%u! %s", file.line, problem);
}

static void test_lines(void)
{
	struct key home = make_key("home", 1), work = make_key("work", 2);
	char a[KEY_LINE_SIZE], b[KEY_LINE_SIZE], text[1024], got[256];
	const struct {
		const char *format;
		const char *want;
	} rows[] = {
		{"%s\n%s\n", "1:home 2:work "},
		{"%s\n%s", "1:home 2:work "},
		{"%s\r\n%s\r\n", "1:home 2:work "},
		{"# %s\n\n \t%s\t \n", "3:work "},
		{" # %s\n%s\n", "2:work "},
		{"%s\n%s x\n", "1:home 2! more than a name and a key"},
		{"%s%s", "1! not a key"},
		{"%s\nx%s", "1:home 2! damaged, or the key of another name"},
		{"%s\n%sA", "1:home 2! not a key"},
		{"%s\nhome\n%s", "1:home 2! no key behind the name"},
		{"\xef\xbb\xbf%s\n%s", "1! not a name"},
		{"%s #%s", "1! more than a name and a key"},
	};

	key_format(&home, a);
	key_format(&work, b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int size = snprintf(text, sizeof(text), rows[i].format, a, b);

		read_text(text, (size_t)size, got, sizeof(got));
		is_str(got, rows[i].want, "lines, row %zu", i);
	}
	read_text("", 0, got, sizeof(got));
	is_str(got, "", "an empty file has no names");
	read_text("a\0b", 3, got, sizeof(got));
	is_str(got, "1! not a name", "a NUL is no way to hide something");
}

/* One changed, lost or doubled character anywhere, and the line is no key. */
static void test_damage(void)
{
	struct key key = make_key("home", 9), back;
	char line[KEY_LINE_SIZE], damaged[KEY_LINE_SIZE + 1];
	const char *problem;
	int accepted = 0;
	size_t size = strlen(key_format(&key, line));

	for (size_t at = 0; at < size; at++) {
		for (int bit = 0; bit < 8; bit++) {
			struct key_reader file = {.data = damaged, .size = size};

			memcpy(damaged, line, size);
			damaged[at] = (char)(damaged[at] ^ 1 << bit);
			accepted += key_reader_next(&file, &back, &problem) == KEY_READER_KEY;
		}
		struct key_reader cut = {.data = damaged, .size = size - 1};
		memcpy(damaged, line, at);
		memcpy(damaged + at, line + at + 1, size - at - 1);
		accepted += key_reader_next(&cut, &back, &problem) == KEY_READER_KEY;
		struct key_reader doubled = {.data = damaged, .size = size + 1};
		memcpy(damaged, line, at + 1);
		memcpy(damaged + at + 1, line + at, size - at);
		accepted += key_reader_next(&doubled, &back, &problem) == KEY_READER_KEY;
	}
	/* The blank between the two may be doubled. */
	is_int(accepted, 1, "no damaged line is taken, but for a second blank");
}

int main(void)
{
	test_base64();
	test_names();
	test_format();
	test_lines();
	test_damage();
	return done_testing();
}
