#include "natpunch/proto/http_url.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define HTTP_PORT 80

/* A fragment is not sent (RFC 9110 4.2.5), so there is none. */
static bool is_sendable(const char *path)
{
	for (; *path != '\0'; path++)
		if (*path <= ' ' || *path > '~' || *path == '#')
			return false;
	return true;
}

/* The first `folder_size` bytes of `folder`, and `path`. */
static int set_path(struct http_url *url, const char *folder, size_t folder_size, const char *path)
{
	size_t size = strlen(path);

	if (!is_sendable(path) || size >= sizeof(url->path) - folder_size)
		return -1;
	memcpy(url->path, folder, folder_size);
	memcpy(url->path + folder_size, path, size + 1);
	return 0;
}

/* "ADDR" or "ADDR:PORT", the first `size` bytes of text. */
static int read_server(const char *text, size_t size, struct addr *out)
{
	char copy[sizeof("255.255.255.255:65535")];
	char *colon;

	if (size >= sizeof(copy))
		return -1;
	memcpy(copy, text, size);
	copy[size] = '\0';
	colon = strchr(copy, ':');
	if (colon != NULL)
		*colon = '\0';
	if (addr_parse_ip(out, copy) != 0 || out->family != ADDR_IPV4)
		return -1;
	out->port = HTTP_PORT;
	return colon == NULL ? 0 : parse_port(colon + 1, &out->port);
}

int http_url_read(const char *text, const struct addr *server, struct http_url *out)
{
	struct http_url url;
	const char *host = text_skip_word(text, "http://");
	const char *path;

	if (host == NULL)
		return -1;
	path = host + strcspn(host, "/");
	if (read_server(host, (size_t)(path - host), &url.server) != 0 ||
		!addr_equal_ip(&url.server, server) ||
		set_path(&url, "", 0, *path == '\0' ? "/" : path) != 0)
		return -1;
	*out = url;
	return 0;
}

/* The size of what a path begins with, up to the last '/' in front of a query. */
static size_t folder_of(const char *path)
{
	size_t size = strcspn(path, "?");

	while (size > 0 && path[size - 1] != '/')
		size--;
	return size;
}

int http_url_resolve(const char *text, const struct http_url *base, struct http_url *out)
{
	struct http_url url = {.server = base->server};
	size_t folder = *text == '/' ? 0 : folder_of(base->path);

	/* A colon in the first segment is a scheme's (RFC 3986 4.2). */
	if (text[strcspn(text, ":/")] == ':')
		return http_url_read(text, &base->server, out);
	if (*text == '\0' || set_path(&url, base->path, folder, text) != 0)
		return -1;
	*out = url;
	return 0;
}
