/*
 * Fuzzes what a connection's first bytes are told by: a judgement stands when more bytes come, the
 * end of HTTP headers is the same in one piece and in pieces, and a line is one that we would
 * write.
 *
 * The first byte of the input chooses the size of the pieces, the rest is what was said.
 */
#include "natpunch/proto/first_bytes.h"

#include <string.h>

#include "fuzz.h"
#include "natpunch/base/parse.h"

static void check_judgement(const uint8_t *data, size_t size)
{
	enum first_bytes last = first_bytes_classify(data, 0);

	fuzz_check(last == FIRST_BYTES_MORE);
	for (size_t have = 1; have <= size && have <= 2 * FIRST_BYTES_MORE_MAX; have++) {
		enum first_bytes now = first_bytes_classify(data, have);

		fuzz_check(last == FIRST_BYTES_MORE || now == last);
		fuzz_check(now != FIRST_BYTES_MORE || have <= FIRST_BYTES_MORE_MAX);
		last = now;
	}
}

static void check_headers(const uint8_t *data, size_t size, size_t step)
{
	uint8_t whole = 0, pieces = 0;
	bool ended = first_bytes_skip_headers(&whole, data, size);
	bool found = false;

	for (size_t at = 0; at < size; at += step)
		found = first_bytes_skip_headers(
			&pieces, data + at, size - at < step ? size - at : step);
	fuzz_check(found == ended && (size == 0 || whole == pieces));
}

static void check_line(const uint8_t *data, size_t size)
{
	char line[FIRST_BYTES_LINE_SIZE], text[FIRST_BYTES_LINE_SIZE];
	struct addr addr;
	char *blank;

	if (!first_bytes_is_line(data, size))
		return;
	fuzz_check(size > 0 && size < sizeof(text) && data[size - 1] == '\n');
	memcpy(text, data, size);
	text[size - 1] = '\0';
	blank = strchr(text, ' ');
	fuzz_check(blank != NULL);
	*blank = '\0';
	fuzz_check(addr_parse_ip(&addr, text) == 0 && parse_port(blank + 1, &addr.port) == 0);
	fuzz_check(
		first_bytes_write_line(&addr, line) > 0 && first_bytes_is_line(line, strlen(line)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	check_judgement(data + 1, size - 1);
	check_headers(data + 1, size - 1, 1 + data[0] % 32U);
	check_line(data + 1, size - 1);
	return 0;
}
