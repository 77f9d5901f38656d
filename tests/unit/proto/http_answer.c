/* Answers of HTTP servers: every kind of end, every piece size, and what is no answer. */
#include "natpunch/proto/http_answer.h"

#include "tap.h"

static struct http_answer answer;
static char body[HTTP_ANSWER_MAX + 1];
static size_t body_size;

/* Reads the text in pieces of a size and says how that ended: its status and body, or why not. */
static const char *read_answer(const char *text, size_t size, size_t piece_size, bool closes)
{
	static char result[8192];
	char piece[1024];

	memset(&answer, 0, sizeof(answer));
	body_size = 0;
	for (size_t at = 0, taken; at < size; at += taken) {
		taken = size - at < piece_size ? size - at : piece_size;
		memcpy(piece, text + at, taken);
		taken = taken < sizeof(piece) ? taken : sizeof(piece);
		size_t kept = http_answer_filter(&answer, piece, taken);

		memcpy(body + body_size, piece, kept);
		body_size += kept;
	}
	if (closes)
		http_answer_close(&answer);
	if (answer.state == HTTP_ANSWER_BAD)
		return answer.why;
	if (answer.state != HTTP_ANSWER_COMPLETE)
		return "more";
	snprintf(result, sizeof(result), "%u %.*s", answer.status, (int)body_size, body);
	return result;
}

/* The same whatever the pieces. */
static void ends(const char *text, bool closes, const char *want)
{
	char one[4096];

	snprintf(one, sizeof(one), "%s", read_answer(text, strlen(text), 1, closes));
	is_str(read_answer(text, strlen(text), 1000, closes), want, "%.60s", text);
	is_str(one, want, "and a byte at a time");
}

#define OK "HTTP/1.1 200 OK\r\n"

static void test_length(void)
{
	ends(OK "Content-Length: 5\r\n\r\nhello", false, "200 hello");
	ends(OK "Content-Length: 5\r\n\r\nhello and more", false, "200 hello");
	ends(OK "CONTENT-LENGTH:5 \t\r\nX: y\r\n\r\nhello", false, "200 hello");
	ends("HTTP/1.0 500 Internal Server Error\nContent-Length: 2\n\nno", false, "500 no");
	ends(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, "200 hello");
	ends(OK "Content-Length: 0\r\n\r\nhello", false, "200 ");
	ends(OK "Content-Length: 5\r\n\r\nhell", false, "more");
	ends(OK "Content-Length: 5\r\n\r\nhell", true, "it ends too early");
	ends(OK "Content-Length: 131072\r\n\r\nhell", false, "more");
	ends(OK "X-Content-Length: -1\r\nContent-Length-X: -1\r\nContent-Length: 1\r\n\r\nh", false,
		"200 h");
}

static void test_bad_length(void)
{
	static const char *const lengths[] = {"-1", "+1", "", " ", "1x", "0x10", "1,1", "1 1",
		"131073", "4294967296", "4294967301", "18446744073709551616",
		"18446744073709551621", "99999999999999999999999999999999999999"};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), OK "Content-Length: %s\r\n\r\nhello", lengths[i]);
		ends(text, false, "a bad Content-Length");
	}
	ends(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false,
		"a bad Content-Length");
}

#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

static void test_chunks(void)
{
	ends(CHUNKED "5\r\nhello\r\n0\r\n\r\n", false, "200 hello");
	ends(CHUNKED "3\r\nhel\r\n002;x=y\r\nlo\r\n0\r\nTrailer: 1\r\n\r\nmore", false,
		"200 hello");
	ends(CHUNKED "00000000000A \nhellohello\n0\n\n", false, "200 hellohello");
	ends(OK "Content-Length: 2\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		false, "200 hello");
	ends(CHUNKED "0\r\n\r\n", false, "200 ");
	ends(CHUNKED "5\r\nhello\r\n0\r\n", false, "more");
	ends(CHUNKED "5\r\nhello\r\n", true, "it ends too early");
	ends(CHUNKED "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", false, "a bad chunk size");
	ends(CHUNKED "100000003\r\nabc\r\n0\r\n\r\n", false, "a bad chunk size");
	ends(CHUNKED "20001\r\nabc", false, "a bad chunk size");
	ends(CHUNKED "-5\r\nabc\r\n0\r\n\r\n", false, "a bad chunk size");
	ends(CHUNKED "\r\nabc\r\n0\r\n\r\n", false, "a bad chunk size");
	ends(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", false, "a bad chunk size");
	ends(CHUNKED "3\r\nabcd\r\n0\r\n\r\n", false, "a chunk of another size");
	ends(OK "Transfer-Encoding: gzip, chunked\r\n\r\n", false, "an unknown Transfer-Encoding");
	ends(OK "Transfer-Encoding: chunkedx\r\n\r\n", false, "an unknown Transfer-Encoding");
}

static void test_other_ends(void)
{
	ends(OK "Server: x\r\n\r\nhello", false, "more");
	ends(OK "Server: x\r\n\r\nhello", true, "200 hello");
	ends(OK "\r\n", true, "200 ");
	ends(OK "Server: x\r\n", true, "it ends too early");
	ends("", true, "it ends too early");
	ends("HTTP/1.1 204 No Content\r\n\r\n", false, "204 ");
	ends("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, "304 ");
	ends("HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\n" OK "\r\nhi", true, "200 hi");
	ends("HTTP/1.1 302 Found\r\nLocation: http://203.0.113.2/\r\nContent-Length: 0\r\n\r\n",
		false, "302 ");
}

static void test_status(void)
{
	static const char *const others[] = {"SSH-2.0-OpenSSH\r\n", "\r\n", "HTTP/2 200 OK\r\n",
		"HTTP/1.x 200 OK\r\n", "HTTP/1.1200 OK\r\n", " HTTP/1.1 200 OK\r\n", "HTTP/1.\r\n"};
	static const char *const bad[] = {"HTTP/1.1 99 OK\r\n", "HTTP/1.1 \r\n", "HTTP/1.1 2\r\n",
		"HTTP/1.1 -20 OK\r\n", "HTTP/1.1  200 OK\r\n", "HTTP/1.1 x00 OK\r\n"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ends(others[i], false, "it is not HTTP");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ends(bad[i], false, "a bad status line");
	ends("HTTP/1.1 200\r\n\r\n", true, "200 ");
}

/* What never ends, comes to an end. */
static void test_bounds(void)
{
	static char text[2 * HTTP_ANSWER_MAX];
	size_t start;

	start = (size_t)snprintf(text, sizeof(text), "%s", OK);
	for (size_t i = start; i < sizeof(text); i++)
		text[i] = "X: y\r\n"[(i - start) % 6];
	is_str(read_answer(text, sizeof(text), 1000, false), "it is too long", "endless headers");
	memset(text + start, 'x', sizeof(text) - start);
	is_str(read_answer(text, sizeof(text), 1000, false), "a bad line", "an endless line");
	is_uint(answer.received, start + HTTP_ANSWER_LINE_MAX, "is read no further than that");
	memcpy(text + start, "\r\n", 2);
	is_str(read_answer(text, sizeof(text), 1000, false), "it is too long", "an endless body");
	is_uint(body_size, HTTP_ANSWER_MAX - start - 2, "is read no further than that");
	start = (size_t)snprintf(text, sizeof(text), "%s", CHUNKED);
	for (size_t i = start; i < sizeof(text); i++)
		text[i] = "1\r\nx\r\n"[(i - start) % 6];
	is_str(read_answer(text, sizeof(text), 1000, false), "it is too long", "endless chunks");
	start = (size_t)snprintf(text, sizeof(text), "%s0\r\n", CHUNKED);
	for (size_t i = start; i < sizeof(text); i++)
		text[i] = "X: y\r\n"[(i - start) % 6];
	is_str(read_answer(text, sizeof(text), 1000, false), "it is too long", "endless trailers");
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = "HTTP/1.1 100 C\r\n\r\n"[i % 18];
	is_str(read_answer(text, sizeof(text), 1000, false), "it is too long",
		"endless interim answers");
	is_str(read_answer(OK "X: \0\r\n", strlen(OK) + 6, 1000, false), "a bad line", "a NUL");
	start = (size_t)snprintf(text, sizeof(text), OK "Content-Length: 131072\r\n\r\n");
	is_str(read_answer(text, start + HTTP_ANSWER_MAX, 1000, false), "it is too long",
		"a body of the greatest length is too much with its headers");
}

static void test_line_length(void)
{
	char text[2 * HTTP_ANSWER_LINE_MAX] = OK;
	size_t start = strlen(text);

	memset(text + start, 'x', HTTP_ANSWER_LINE_MAX - 2);
	strcpy(text + start + HTTP_ANSWER_LINE_MAX - 2, "\r\nContent-Length: 0\r\n\r\n");
	is_str(read_answer(text, strlen(text), 1000, false), "200 ", "the longest line");
	memset(text + start, 'x', HTTP_ANSWER_LINE_MAX);
	strcpy(text + start + HTTP_ANSWER_LINE_MAX, "\r\nContent-Length: 0\r\n\r\n");
	is_str(read_answer(text, strlen(text), 1000, false), "a bad line", "one longer");
}

static void test_header(void)
{
	char line[] = "LoCation: \t http://10.0.0.1/ \t", other[] = "Locations: x";

	is_str(http_answer_header(line, "location:"), "http://10.0.0.1/", "a header's value");
	ok(http_answer_header(other, "location:") == NULL, "of that name only");
}

int main(void)
{
	test_length();
	test_bad_length();
	test_chunks();
	test_other_ends();
	test_status();
	test_bounds();
	test_line_length();
	test_header();
	return done_testing();
}
