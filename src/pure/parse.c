/*
 * parse.c - text that a person typed, to a value: strictly.
 */
#include "natpunch/parse.h"

#include <stdbool.h>
#include <string.h>

#include "natpunch/addr.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (!is_digit(*text) || value > max / 10 || digit > max - value * 10)
			return -1;
		value = value * 10 + digit;
	}
	if (value < min)
		return -1;
	*out = value;
	return 0;
}

int parse_port(const char *text, uint16_t *out)
{
	uint64_t value;

	if (parse_number(text, 1, UINT16_MAX, &value) < 0)
		return -1;
	*out = (uint16_t)value;
	return 0;
}

int parse_seconds(const char *text, uint64_t max_ms, uint64_t *out_ms)
{
	uint64_t ms = 0, unit = 100, part;

	for (; is_digit(*text); text++) {
		part = (uint64_t)(*text - '0') * 1000;
		if (ms > max_ms / 10 || part > max_ms - ms * 10)
			return -1;
		ms = ms * 10 + part;
	}
	if (*text == '.') {
		if (!is_digit(*++text))
			return -1;
		for (; is_digit(*text); text++, unit /= 10) {
			part = (uint64_t)(*text - '0') * unit;
			if (part > max_ms - ms)
				return -1;
			ms += part;
		}
	}
	if (*text != '\0' || ms == 0)
		return -1;
	*out_ms = ms;
	return 0;
}

static bool is_host_character(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
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
	char copy[PARSE_HOST_SIZE];
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
static int split(const char *text, char host[PARSE_HOST_SIZE], const char **port)
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
	if (size >= PARSE_HOST_SIZE)
		return -1;
	memcpy(host, text, size);
	host[size] = '\0';
	*port = colon ? colon + 1 : NULL;
	return (v6 ? is_ipv6(host) : is_name(host)) ? 0 : -1;
}

int parse_host_port(const char *text, uint16_t default_port, struct parse_host_port *out)
{
	struct parse_host_port parsed = {.port = default_port};
	const char *port;

	if (split(text, parsed.host, &port) < 0)
		return -1;
	if (port && parse_port(port, &parsed.port) < 0)
		return -1;
	parsed.port_named = port != NULL;
	*out = parsed;
	return 0;
}

int parse_listen(const char *text, struct parse_host_port *out)
{
	struct parse_host_port parsed = {.host = ""};
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
