/*
 * Fuzzes the reader of HTTP answers: the pieces that an answer comes in make no difference, and no
 * more of a body comes out than went in.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/http_answer.h"

#define INPUT_MAX 8192

/* Reads in pieces of so many bytes; leaves the body in out, and returns its size. */
static size_t read_pieces(
	struct http_answer *answer, const uint8_t *data, size_t size, size_t most, char *out)
{
	size_t used = 0;

	memset(answer, 0, sizeof(*answer));
	for (size_t at = 0, taken, kept; at < size; at += taken) {
		taken = size - at < most ? size - at : most;
		memcpy(out + used, data + at, taken);
		kept = http_answer_filter(answer, out + used, taken);
		fuzz_check(kept <= taken);
		used += kept;
	}
	http_answer_close(answer);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char whole[INPUT_MAX], pieces[INPUT_MAX];
	struct http_answer one, other;
	size_t body;

	if (size > INPUT_MAX)
		return 0;
	body = read_pieces(&one, data, size, INPUT_MAX, whole);
	fuzz_check(one.state == HTTP_ANSWER_COMPLETE || one.state == HTTP_ANSWER_BAD);
	fuzz_check((one.state == HTTP_ANSWER_BAD) == (one.why != NULL));
	fuzz_check(one.state == HTTP_ANSWER_BAD || (one.status >= 200 && one.status <= 999));
	fuzz_check(body <= one.received && one.received <= size);
	fuzz_check(read_pieces(&other, data, size, 1 + size % 7, pieces) == body);
	fuzz_check(other.state == one.state && other.status == one.status);
	fuzz_check(memcmp(whole, pieces, body) == 0);
	return 0;
}
