#include "natpunch/proto/first_bytes.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/base/text.h"
#include "natpunch/base/parse.h"

#define STUN_FIRST_BYTE_MAX 0x3f

static enum first_bytes match_word(
	const uint8_t *data, size_t size, const char *word, enum first_bytes meaning)
{
	size_t length = strlen(word);

	if (size >= length)
		return memcmp(data, word, length) == 0 ? meaning : FIRST_BYTES_UNKNOWN;
	return memcmp(data, word, size) == 0 ? FIRST_BYTES_MORE : FIRST_BYTES_UNKNOWN;
}

enum first_bytes first_bytes_classify(const void *data, size_t size)
{
	const uint8_t *bytes = data;

	if (size == 0)
		return FIRST_BYTES_MORE;
	if (bytes[0] == '\n' || bytes[0] == '\r')
		return FIRST_BYTES_NEWLINE;
	if (bytes[0] <= STUN_FIRST_BYTE_MAX)
		return FIRST_BYTES_STUN;
	if (bytes[0] == 'G')
		return match_word(bytes, size, "GET ", FIRST_BYTES_GET);
	if (bytes[0] == 'H')
		return match_word(bytes, size, "HEAD ", FIRST_BYTES_HEAD);
	return FIRST_BYTES_UNKNOWN;
}

enum {
	IN_LINE,       /* the line has characters */
	AFTER_NEWLINE, /* the line is empty so far */
	AFTER_RETURN,  /* the line is empty except for a CR */
	AFTER_HEADERS,
};

bool first_bytes_skip_headers(uint8_t *state, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size && *state != AFTER_HEADERS; i++) {
		if (bytes[i] == '\n')
			*state = *state == IN_LINE ? AFTER_NEWLINE : AFTER_HEADERS;
		else if (bytes[i] == '\r' && *state == AFTER_NEWLINE)
			*state = AFTER_RETURN;
		else
			*state = IN_LINE;
	}
	return *state == AFTER_HEADERS;
}

size_t first_bytes_write_line(const struct addr *addr, char out[FIRST_BYTES_LINE_SIZE])
{
	struct addr shown = *addr;
	char *end;

	/* The scope is this machine's name for an interface; to the client it means nothing. */
	shown.scope = 0;
	addr_format_ip(&shown, out);
	end = out + strlen(out);
	*end++ = ' ';
	end = text_put_decimal(end, addr->port);
	*end++ = '\n';
	*end = '\0';
	return (size_t)(end - out);
}

bool first_bytes_is_line(const void *data, size_t size)
{
	char line[FIRST_BYTES_LINE_SIZE];
	struct addr addr;
	uint16_t port;
	char *space;

	if (size == 0 || size >= sizeof(line))
		return false;
	memcpy(line, data, size);
	if (line[size - 1] != '\n')
		return false;
	line[size - 1] = '\0';
	space = strchr(line, ' ');
	if (space == NULL || strlen(line) != size - 1)
		return false;
	*space = '\0';
	return addr_parse_ip(&addr, line) == 0 && parse_port(space + 1, &port) == 0;
}

size_t first_bytes_write_http(
	const struct addr *addr, bool head_only, char out[FIRST_BYTES_HTTP_SIZE])
{
	char line[FIRST_BYTES_LINE_SIZE];
	size_t length = first_bytes_write_line(addr, line);

	return (size_t)snprintf(out, FIRST_BYTES_HTTP_SIZE,
		"HTTP/1.0 200 OK\r\n"
		"Content-Type: text/plain; charset=us-ascii\r\n"
		"Content-Length: %zu\r\n"
		"Cache-Control: no-store\r\n"
		"Connection: close\r\n"
		"\r\n"
		"%s",
		length, head_only ? "" : line);
}
