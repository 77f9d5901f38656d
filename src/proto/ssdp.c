#include "natpunch/proto/ssdp.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/text.h"
#include "natpunch/proto/http_answer.h"

#define LINE_SIZE 512 /* a URL that is accepted fits */

/*
 * The header names are in upper case, and the group is the host even where the router itself is
 * asked: some routers insist. MX is the seconds that an answer may be put off.
 */
size_t ssdp_write_search(unsigned version, char out[SSDP_SEARCH_SIZE])
{
	return (size_t)snprintf(out, SSDP_SEARCH_SIZE,
		"M-SEARCH * HTTP/1.1\r\n"
		"HOST: %s:%d\r\n"
		"MAN: \"ssdp:discover\"\r\n"
		"MX: 1\r\n"
		"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:%u\r\n"
		"\r\n",
		SSDP_GROUP, SSDP_PORT, version);
}

/* The lines of a datagram, one at a time. */
struct lines {
	const char *data;
	size_t size; /* that are left */
	char line[LINE_SIZE];
};

/* Returns false behind the last line that has an end. One that is too long is an empty one. */
static bool read_line(struct lines *lines)
{
	const char *end = memchr(lines->data, '\n', lines->size);
	size_t size;

	if (end == NULL)
		return false;
	size = (size_t)(end - lines->data);
	lines->data = end + 1;
	lines->size -= size + 1;
	lines->line[0] = '\0';
	if (size < LINE_SIZE) {
		memcpy(lines->line, end - size, size);
		if (size > 0 && lines->line[size - 1] == '\r')
			size--;
		lines->line[size] = '\0';
	}
	return true;
}

int ssdp_read_answer(
	const void *data, size_t size, const struct addr *router, struct http_url *location)
{
	struct lines lines = {.data = data, .size = size};
	bool is_gateway = false, has_location = false;
	struct http_url url;
	const char *value;

	if (memchr(data, '\0', size) != NULL || !read_line(&lines) ||
		text_skip_word(lines.line, "HTTP/1.1 200 ") == NULL)
		return -1;
	while (read_line(&lines)) {
		if ((value = http_answer_header(lines.line, "st:")) != NULL)
			is_gateway = strstr(value, ":InternetGatewayDevice:") != NULL;
		else if ((value = http_answer_header(lines.line, "location:")) != NULL)
			has_location = http_url_read(value, router, &url) == 0;
	}
	if (!is_gateway || !has_location)
		return -1;
	*location = url;
	return 0;
}
