/*
 * HTTP answers (RFC 9112), a byte at a time:
 *
 *     STATUS_LINE -> HEADERS -+-> BODY -------------------------------+-> COMPLETE
 *          ^            |     +-> BODY_TO_CLOSE --http_answer_close()-+
 *          +----1xx-----+     +-> CHUNK_SIZE -> CHUNK -> CHUNK_END    |
 *                                  ^   |                     |        |
 *                                  +---|---------------------+        |
 *                                      +-> TRAILERS ------------------+
 *
 * Every state may become BAD. Where a state reads a line, the bytes go into `line` until its LF.
 * Invariants: received <= HTTP_ANSWER_MAX, and line_size < HTTP_ANSWER_LINE_MAX.
 */
#include "natpunch/proto/http_answer.h"

#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

static void refuse(struct http_answer *answer, const char *why)
{
	answer->state = HTTP_ANSWER_BAD;
	answer->why = why;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

char *http_answer_header(char *line, const char *name)
{
	const char *behind = text_skip_word(line, name);
	char *value, *end;

	if (behind == NULL)
		return NULL;
	value = line + (behind - line);
	while (is_blank(*value))
		value++;
	end = value + strlen(value);
	while (end > value && is_blank(end[-1]))
		end--;
	*end = '\0';
	return value;
}

/* "HTTP/1.x CODE REASON" (section 4). */
static void take_status_line(struct http_answer *answer)
{
	const char *version = text_skip_word(answer->line, "HTTP/1.");
	char code[4] = "";
	uint64_t status;

	if (version == NULL || !text_is_digit(version[0]) || version[1] != ' ') {
		refuse(answer, "it is not HTTP");
		return;
	}
	memcpy(code, version + 2, strnlen(version + 2, 3));
	if (parse_number(code, 100, 999, &status) != 0) {
		refuse(answer, "a bad status line");
		return;
	}
	answer->status = (unsigned)status;
	answer->state = HTTP_ANSWER_HEADERS;
}

/* The length of a body. Two that differ would be two answers of which we see one (6.3). */
static void take_length(struct http_answer *answer, const char *value)
{
	uint64_t length;

	if (parse_number(value, 0, HTTP_ANSWER_MAX, &length) != 0 ||
		(answer->has_length && answer->left != length)) {
		refuse(answer, "a bad Content-Length");
		return;
	}
	answer->has_length = true;
	answer->left = (uint32_t)length;
}

static void take_encoding(struct http_answer *answer, const char *value)
{
	const char *behind = text_skip_word(value, "chunked");

	if (behind == NULL || *behind != '\0')
		refuse(answer, "an unknown Transfer-Encoding");
	answer->chunked = true;
}

/* The empty line behind the headers: how does the body end (6.3)? */
static void end_headers(struct http_answer *answer)
{
	if (answer->status < 200) {
		uint32_t received = answer->received;

		/* An interim answer; the other one follows (RFC 9110 15.2). */
		*answer = (struct http_answer){.received = received};
	} else if (answer->status == 204 || answer->status == 304) {
		answer->state = HTTP_ANSWER_COMPLETE;
	} else if (answer->chunked) {
		answer->state = HTTP_ANSWER_CHUNK_SIZE;
	} else if (!answer->has_length) {
		answer->state = HTTP_ANSWER_BODY_TO_CLOSE;
	} else {
		answer->state = answer->left > 0 ? HTTP_ANSWER_BODY : HTTP_ANSWER_COMPLETE;
	}
}

static void take_header(struct http_answer *answer)
{
	const char *value;

	if (answer->line[0] == '\0') {
		end_headers(answer);
		return;
	}
	value = http_answer_header(answer->line, "content-length:");
	if (value != NULL) {
		take_length(answer, value);
		return;
	}
	value = http_answer_header(answer->line, "transfer-encoding:");
	if (value != NULL)
		take_encoding(answer, value);
}

/* Extensions behind the size (7.1.1) say nothing to us. */
static void take_chunk_size(struct http_answer *answer)
{
	answer->line[strcspn(answer->line, "; \t")] = '\0';
	if (parse_hex(answer->line, &answer->left) != 0 || answer->left > HTTP_ANSWER_MAX)
		refuse(answer, "a bad chunk size");
	else
		answer->state = answer->left > 0 ? HTTP_ANSWER_CHUNK : HTTP_ANSWER_TRAILERS;
}

static void take_line(struct http_answer *answer)
{
	switch (answer->state) {
	case HTTP_ANSWER_STATUS_LINE:
		take_status_line(answer);
		return;
	case HTTP_ANSWER_HEADERS:
		take_header(answer);
		return;
	case HTTP_ANSWER_CHUNK_SIZE:
		take_chunk_size(answer);
		return;
	case HTTP_ANSWER_CHUNK_END:
		if (answer->line[0] != '\0')
			refuse(answer, "a chunk of another size");
		else
			answer->state = HTTP_ANSWER_CHUNK_SIZE;
		return;
	case HTTP_ANSWER_TRAILERS:
		if (answer->line[0] == '\0')
			answer->state = HTTP_ANSWER_COMPLETE;
		return;
	case HTTP_ANSWER_BODY:
	case HTTP_ANSWER_BODY_TO_CLOSE:
	case HTTP_ANSWER_CHUNK:
	case HTTP_ANSWER_COMPLETE:
	case HTTP_ANSWER_BAD:
		return;
	}
}

/* A line ends with CRLF, or with a bare LF (2.2). */
static void collect_line(struct http_answer *answer, char byte)
{
	if (byte != '\n') {
		if (byte == '\0' || answer->line_size == HTTP_ANSWER_LINE_MAX - 1)
			refuse(answer, "a bad line");
		else
			answer->line[answer->line_size++] = byte;
		return;
	}
	if (answer->line_size > 0 && answer->line[answer->line_size - 1] == '\r')
		answer->line_size--;
	answer->line[answer->line_size] = '\0';
	answer->line_size = 0;
	take_line(answer);
}

/* Takes a byte. Returns whether it belongs to the body. */
static bool take_byte(struct http_answer *answer, char byte)
{
	if (answer->state == HTTP_ANSWER_COMPLETE || answer->state == HTTP_ANSWER_BAD)
		return false;
	if (answer->received == HTTP_ANSWER_MAX) {
		refuse(answer, "it is too long");
		return false;
	}
	answer->received++;
	if (answer->state == HTTP_ANSWER_BODY_TO_CLOSE)
		return true;
	if (answer->state != HTTP_ANSWER_BODY && answer->state != HTTP_ANSWER_CHUNK) {
		collect_line(answer, byte);
		return false;
	}
	answer->left--;
	if (answer->left == 0)
		answer->state = answer->state == HTTP_ANSWER_BODY ? HTTP_ANSWER_COMPLETE
								  : HTTP_ANSWER_CHUNK_END;
	return true;
}

size_t http_answer_filter(struct http_answer *answer, char *data, size_t size)
{
	size_t kept = 0;

	for (size_t i = 0; i < size; i++)
		if (take_byte(answer, data[i]))
			data[kept++] = data[i];
	return kept;
}

void http_answer_close(struct http_answer *answer)
{
	if (answer->state == HTTP_ANSWER_BODY_TO_CLOSE)
		answer->state = HTTP_ANSWER_COMPLETE;
	else if (answer->state != HTTP_ANSWER_COMPLETE && answer->state != HTTP_ANSWER_BAD)
		refuse(answer, "it ends too early");
}
