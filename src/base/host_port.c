#include "natpunch/base/host_port.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

static bool is_host_character(char c)
{
	return text_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '.' || c == '_';
}

static bool is_name(const char *text)
{
	/* A leading '-' would be an option to whatever program is handed the name. */
	if (*text == '\0' || *text == '-')
		return false;
	while (is_host_character(*text))
		text++;
	return *text == '\0';
}

/* An IPv6 address; its scope may be the name of an interface, which getaddrinfo() will know. */
static bool is_ipv6(const char *text)
{
	char copy[HOST_PORT_HOST_SIZE];
	struct addr addr;
	char *percent;

	memcpy(copy, text, strlen(text) + 1);
	percent = strchr(copy, '%');
	if (percent) {
		*percent = '\0';
		if (!is_name(percent + 1))
			return false;
	}
	return addr_parse_ip(&addr, copy) == 0 && addr.family == ADDR_IPV6;
}

/*
 * Splits text into *host and the text of the port, NULL where none is given. Returns -1 when the
 * host does not have the form that its brackets and colons demand.
 */
static int split(const char *text, char host[HOST_PORT_HOST_SIZE], const char **port)
{
	const char *colon = strchr(text, ':'), *rest = text + strlen(text);
	bool bracketed = text[0] == '[', v6 = bracketed || (colon && strchr(colon + 1, ':'));
	size_t size;

	if (bracketed) {
		rest = strchr(++text, ']');
		if (!rest || (rest[1] != '\0' && rest[1] != ':'))
			return -1;
		colon = rest[1] == ':' ? rest + 1 : NULL;
	} else if (v6) {
		colon = NULL;
	} else if (colon) {
		rest = colon;
	}
	size = (size_t)(rest - text);
	if (size >= HOST_PORT_HOST_SIZE)
		return -1;
	memcpy(host, text, size);
	host[size] = '\0';
	*port = colon ? colon + 1 : NULL;
	return (v6 ? is_ipv6(host) : is_name(host)) ? 0 : -1;
}

int host_port_parse(const char *text, uint16_t default_port, struct host_port *out)
{
	struct host_port parsed = {.port = default_port};
	const char *port;

	if (split(text, parsed.host, &port) < 0)
		return -1;
	if (port && parse_port(port, &parsed.port) < 0)
		return -1;
	parsed.port_named = port != NULL;
	*out = parsed;
	return 0;
}

char *host_port_format(const struct host_port *host_port, char out[HOST_PORT_TEXT_SIZE])
{
	bool v6 = strchr(host_port->host, ':') != NULL;
	int size = snprintf(out, HOST_PORT_TEXT_SIZE, v6 ? "[%s]" : "%s", host_port->host);

	if (host_port->port_named)
		snprintf(out + size, HOST_PORT_TEXT_SIZE - (size_t)size, ":%u", host_port->port);
	return out;
}

int host_port_parse_listen(const char *text, struct host_port *out)
{
	struct host_port parsed = {.host = ""};
	const char *port = NULL;

	if (!strchr(text, ':'))
		port = text;
	else if (split(text, parsed.host, &port) < 0)
		return -1;
	if (!port || parse_port(port, &parsed.port) < 0)
		return -1;
	parsed.port_named = true;
	*out = parsed;
	return 0;
}
