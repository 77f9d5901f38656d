#include "natpunch/greeting.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/text.h"
#include "natpunch/parse.h"

#define STUN_FIRST_BYTE_MAX 0x3f

static enum greeting match_word(
	const uint8_t *data, size_t size, const char *word, enum greeting meaning)
{
	size_t length = strlen(word);

	if (size >= length)
		return memcmp(data, word, length) == 0 ? meaning : GREETING_UNKNOWN;
	return memcmp(data, word, size) == 0 ? GREETING_MORE : GREETING_UNKNOWN;
}

enum greeting greeting_classify(const void *data, size_t size)
{
	const uint8_t *bytes = data;

	if (size == 0)
		return GREETING_MORE;
	if (bytes[0] == '\n' || bytes[0] == '\r')
		return GREETING_NEWLINE;
	if (bytes[0] <= STUN_FIRST_BYTE_MAX)
		return GREETING_STUN;
	if (bytes[0] == 'G')
		return match_word(bytes, size, "GET ", GREETING_GET);
	if (bytes[0] == 'H')
		return match_word(bytes, size, "HEAD ", GREETING_HEAD);
	return GREETING_UNKNOWN;
}

enum {
	IN_LINE,       /* the line has characters */
	AFTER_NEWLINE, /* the line is empty so far */
	AFTER_RETURN,  /* the line is empty but for a CR */
	AFTER_HEADERS,
};

bool greeting_skip_headers(uint8_t *state, const void *data, size_t size)
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

size_t greeting_write_line(const struct addr *addr, char out[GREETING_LINE_SIZE])
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

bool greeting_is_line(const void *data, size_t size)
{
	char line[GREETING_LINE_SIZE];
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

size_t greeting_write_http(const struct addr *addr, bool head_only, char out[GREETING_HTTP_SIZE])
{
	char line[GREETING_LINE_SIZE];
	size_t length = greeting_write_line(addr, line);

	return (size_t)snprintf(out, GREETING_HTTP_SIZE,
		"HTTP/1.0 200 OK\r\n"
		"Content-Type: text/plain; charset=us-ascii\r\n"
		"Content-Length: %zu\r\n"
		"Cache-Control: no-store\r\n"
		"Connection: close\r\n"
		"\r\n"
		"%s",
		length, head_only ? "" : line);
}
