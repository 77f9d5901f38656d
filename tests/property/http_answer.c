/*
 * An HTTP answer gives back the body that it was made of, in whatever way that was sent and in
 * whatever pieces it comes; and a damaged one ends alike in all pieces, within its bounds.
 */
#include "natpunch/proto/http_answer.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS   3000
#define BODY_MAX 2000
#define TEXT_MAX 40000

static struct random rng;
static struct guard guard;
static char body[BODY_MAX], text[TEXT_MAX];
static size_t body_size, text_size;
static bool until_close;

static void put(const void *data, size_t size)
{
	memcpy(text + text_size, data, size);
	text_size += size;
}

static void put_text(const char *line)
{
	put(line, strlen(line));
}

static void put_line_end(void)
{
	put_text(random_once(&rng, 8) ? "\n" : "\r\n");
}

static void put_headers(void)
{
	static const char *const some[] = {"Server: a", "X-Content-Length: 7", "EXT:", "Date: x y",
		" folded", "Connection: close"};

	while (!random_once(&rng, 3)) {
		put_text(some[random_below(&rng, sizeof(some) / sizeof(some[0]))]);
		put_line_end();
	}
}

static void put_chunks(void)
{
	char size_text[32];

	for (size_t at = 0, size; at < body_size; at += size) {
		size = 1 + random_below(&rng, random_once(&rng, 2) ? 4 : body_size - at);
		size = size < body_size - at ? size : body_size - at;
		snprintf(size_text, sizeof(size_text), random_once(&rng, 2) ? "%zx" : "%04zX;a=b",
			size);
		put_text(size_text);
		put_line_end();
		put(body + at, size);
		put_line_end();
	}
	put_text("0");
	put_line_end();
	put_headers();
	put_line_end();
}

static void make_answer(void)
{
	size_t kind = random_below(&rng, 3);
	char length[64];

	text_size = 0;
	body_size = random_below(&rng, random_once(&rng, 2) ? 8 : BODY_MAX);
	random_fill(&rng, body, body_size);
	if (random_once(&rng, 4))
		put_text("HTTP/1.1 100 Continue\r\n\r\n");
	put_text("HTTP/1.1 200 OK\r\n");
	put_headers();
	snprintf(length, sizeof(length), "content-length: %zu\r\n", body_size);
	if (kind == 0)
		put_text(length);
	if (kind == 1)
		put_text("Transfer-Encoding: chunked\r\n");
	put_headers();
	put_line_end();
	if (kind == 1)
		put_chunks();
	else
		put(body, body_size);
	until_close = kind == 2;
}

static struct http_answer answer;

/* Reads the text in pieces of some size, each at the end of its memory. Returns the body's size. */
static size_t read_pieces(size_t most, char out[TEXT_MAX])
{
	size_t size = 0;

	memset(&answer, 0, sizeof(answer));
	for (size_t at = 0, taken, kept; at < text_size; at += taken) {
		char *piece;

		taken = 1 + random_below(&rng, most);
		taken = taken < text_size - at ? taken : text_size - at;
		piece = (char *)guard_copy_end(&guard, text + at, taken);
		kept = http_answer_filter(&answer, piece, taken);
		memcpy(out + size, piece, kept);
		size += kept;
	}
	return size;
}

static bool body_comes_back(void)
{
	static char got[TEXT_MAX];
	size_t size;

	make_answer();
	size = read_pieces(random_once(&rng, 2) ? 3 : 1000, got);
	if (until_close) {
		if (answer.state != HTTP_ANSWER_BODY_TO_CLOSE)
			return false;
		http_answer_close(&answer);
	}
	return answer.state == HTTP_ANSWER_COMPLETE && answer.status == 200 && size == body_size &&
	       memcmp(got, body, size) == 0;
}

static bool damage_is_bounded(void)
{
	static char got[TEXT_MAX], again[TEXT_MAX];
	enum http_answer_state state;
	size_t size;

	make_answer();
	for (size_t flips = 1 + random_below(&rng, 4); flips > 0; flips--)
		text[random_below(&rng, text_size)] ^= (char)(1 << random_below(&rng, 8));
	size = read_pieces(1, got);
	state = answer.state;
	if (size > text_size || (state == HTTP_ANSWER_BAD) != (answer.why != NULL))
		return false;
	return read_pieces(1000, again) == size && answer.state == state &&
	       memcmp(got, again, size) == 0;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(1000);
	for (round = 0; round < ROUNDS && body_comes_back(); round++)
		;
	is_int(round, ROUNDS, "the body comes back");
	for (round = 0; round < 5 * ROUNDS && damage_is_bounded(); round++)
		;
	is_int(round, 5 * ROUNDS, "a damaged answer ends alike in all pieces");
	return done_testing();
}
