/* What a client speaks, told by its first bytes; the line and the HTTP answer. */
#include "natpunch/proto/first_bytes.h"

#include "tap.h"

static void test_first_bytes(void)
{
	for (int byte = 0; byte < 256; byte++) {
		uint8_t data = (uint8_t)byte;
		enum first_bytes want = FIRST_BYTES_UNKNOWN;
		if (byte == '\n' || byte == '\r')
			want = FIRST_BYTES_NEWLINE;
		else if (byte < 0x40)
			want = FIRST_BYTES_STUN;
		else if (byte == 'G' || byte == 'H')
			want = FIRST_BYTES_MORE;
		is_int(first_bytes_classify(&data, 1), want, "first byte 0x%02x", byte);
	}
}

static void test_words(void)
{
	static const struct {
		const char *text;
		enum first_bytes want;
	} rows[] = {
		{"", FIRST_BYTES_MORE},
		{"GE", FIRST_BYTES_MORE},
		{"GET", FIRST_BYTES_MORE},
		{"GET ", FIRST_BYTES_GET},
		{"GET / HTTP/1.1\r\n", FIRST_BYTES_GET},
		{"GETX", FIRST_BYTES_UNKNOWN},
		{"GX", FIRST_BYTES_UNKNOWN},
		{"get ", FIRST_BYTES_UNKNOWN},
		{"HEA", FIRST_BYTES_MORE},
		{"HEAD", FIRST_BYTES_MORE},
		{"HEAD ", FIRST_BYTES_HEAD},
		{"HEADS", FIRST_BYTES_UNKNOWN},
		{"HELO x", FIRST_BYTES_UNKNOWN},
		{"POST /", FIRST_BYTES_UNKNOWN},
		{"\r\nGET ", FIRST_BYTES_NEWLINE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int(first_bytes_classify(rows[i].text, strlen(rows[i].text)), rows[i].want,
			"greeting %zu: %s", i, rows[i].text);
}

/* Feeds the text in pieces of each size; returns where the end was found, the same for all. */
static size_t find_end(const char *text)
{
	size_t size = strlen(text);
	size_t found = 0;
	uint8_t state = 0;

	while (found < size && !first_bytes_skip_headers(&state, text + found, 1))
		found++;
	for (size_t step = 1; step <= size; step++) {
		size_t at = 0;
		uint8_t again = 0;
		while (at < size && !first_bytes_skip_headers(
					    &again, text + at, size - at < step ? size - at : step))
			at += step;
		if ((at < size) != (found < size) || (at < size && at / step != found / step))
			return SIZE_MAX;
	}
	return found;
}

static void test_headers(void)
{
	is_uint(find_end("GET / HTTP/1.0\r\n\r\n"), 17, "an empty line");
	is_uint(find_end("GET /\n\nrest"), 6, "an empty line of a bare LF");
	is_uint(find_end("GET /\n\r\nrest"), 7, "a CRLF behind a LF");
	is_uint(find_end("GET /\r\nA: b\r\n\r\nrest"), 14, "behind a header");
	is_uint(find_end("GET /\r\nA: b\r\n"), 13, "none yet");
	is_uint(find_end("GET /\r\r\n\r\r\n"), 11, "two CRs are not an empty line");
	is_uint(find_end("GET /\r\n \r\n"), 10, "a blank is not an empty line");
	is_uint(find_end("\n"), 1, "a newline alone is the end of a line, not of the headers");
}

static struct addr make(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("not an address: %s", ip);
	addr.port = port;
	return addr;
}

static void test_answers(void)
{
	struct addr v4 = make("192.0.2.7", 40022);
	struct addr v6 = make("fe80::1%3", 7);
	struct addr longest = make("1111:2222:3333:4444:5555:6666:7777:8888", 65535);
	char line[FIRST_BYTES_LINE_SIZE];
	char http[FIRST_BYTES_HTTP_SIZE];
	size_t size;

	is_uint(first_bytes_write_line(&v4, line), 16, "the length of a line");
	is_str(line, "192.0.2.7 40022\n", "the line");
	first_bytes_write_line(&v6, line);
	is_str(line, "fe80::1 7\n", "the line has no scope");
	size = first_bytes_write_line(&longest, line);
	is_str(line, "1111:2222:3333:4444:5555:6666:7777:8888 65535\n", "the longest line");
	is_uint(size, strlen(line), "its length");

	size = first_bytes_write_http(&v4, false, http);
	is_uint(size, strlen(http), "the length of the HTTP answer");
	ok(strncmp(http, "HTTP/1.0 200 OK\r\n", 17) == 0, "its status line");
	ok(strstr(http, "\r\nContent-Type: text/plain") != NULL, "its type");
	ok(strstr(http, "\r\nContent-Length: 16\r\n") != NULL, "its length");
	is_str(strstr(http, "\r\n\r\n"), "\r\n\r\n192.0.2.7 40022\n", "its body");
	size = first_bytes_write_http(&v4, true, http);
	is_uint(size, strlen(http), "the length of the answer to HEAD");
	ok(strstr(http, "\r\nContent-Length: 16\r\n") != NULL, "the length of what is left out");
	is_str(strstr(http, "\r\n\r\n"), "\r\n\r\n", "no body");
	size = first_bytes_write_http(&longest, false, http);
	ok(size == strlen(http) && size < FIRST_BYTES_HTTP_SIZE, "the longest HTTP answer fits");
	is_str(strstr(http, "\r\n\r\n") + 4, "1111:2222:3333:4444:5555:6666:7777:8888 65535\n",
		"with its whole body");
}

static void test_line(void)
{
	static const char *const lines[] = {"192.0.2.7 40022\n", "fe80::1 7\n",
		"1111:2222:3333:4444:5555:6666:7777:8888 65535\n"};
	static const char *const others[] = {"", "\n", " \n", "192.0.2.7 40022", "192.0.2.7\n",
		"192.0.2.7 \n", " 7\n", "192.0.2.7 0x7\n", "192.0.2.7 65536\n", "192.0.2.7 7\r\n",
		"192.0.2.7  7\n", "SSH-2.0-OpenSSH 7\n",
		"1111:2222:3333:4444:5555:6666:7777:8888 65535000\n"};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ok(first_bytes_is_line(lines[i], strlen(lines[i])), "a line, number %zu", i);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ok(!first_bytes_is_line(others[i], strlen(others[i])), "none, number %zu", i);
	ok(!first_bytes_is_line("192.0.2.7\0 7\n", 13), "none with a NUL in it");
}

int main(void)
{
	test_line();
	test_first_bytes();
	test_words();
	test_headers();
	test_answers();
	return done_testing();
}
