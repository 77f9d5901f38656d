/*
 * Fuzzes the parsers of text that a person typed, and the escapes: what is taken prints as
 * something that is taken again and means the same, and what is printed is printable.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/base/host_port.h"
#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

static void check_addr(const char *text)
{
	char first[ADDR_IP_TEXT_SIZE], second[ADDR_IP_TEXT_SIZE], whole[ADDR_TEXT_SIZE];
	struct host_port host;
	struct addr addr, again;

	if (addr_parse_ip(&addr, text) < 0)
		return;
	addr_format_ip(&addr, first);
	fuzz_check(addr_parse_ip(&again, first) == 0);
	fuzz_check(addr_equal(&addr, &again) && addr.scope == again.scope);
	fuzz_check(strcmp(first, addr_format_ip(&again, second)) == 0);
	addr.port = 22;
	fuzz_check(host_port_parse(addr_format(&addr, whole), 1, &host) == 0);
	fuzz_check(host.port == 22 && strcmp(host.host, first) == 0);
}

static void check_host_port(const char *text)
{
	struct host_port out, again;
	char back[HOST_PORT_HOST_SIZE + 16];

	if (host_port_parse_listen(text, &out) == 0)
		fuzz_check(out.port > 0);
	if (host_port_parse(text, 3478, &out) < 0)
		return;
	fuzz_check(out.host[0] != '\0' && out.host[0] != '-' && out.port > 0);
	snprintf(back, sizeof(back), strchr(out.host, ':') ? "[%s]:%u" : "%s:%u", out.host,
		out.port);
	fuzz_check(host_port_parse(back, 1, &again) == 0);
	fuzz_check(strcmp(again.host, out.host) == 0 && again.port == out.port);
}

static void check_numbers(const char *text)
{
	uint64_t value;
	uint16_t port;

	if (parse_number(text, 5, 70000, &value) == 0)
		fuzz_check(value >= 5 && value <= 70000);
	if (parse_port(text, &port) == 0)
		fuzz_check(port > 0);
	if (parse_seconds(text, 90000, &value) == 0)
		fuzz_check(value >= 1 && value <= 90000);
}

static bool is_printable(const char *text)
{
	while (*text >= 0x20 && *text <= 0x7e)
		text++;
	return *text == '\0';
}

static void check_escapes(const char *text, size_t size)
{
	size_t capacity = 1 + size % 40;
	char *out = malloc(capacity);

	fuzz_check(out != NULL);
	fuzz_check(is_printable(text_escape(out, capacity, text, size)));
	fuzz_check(is_printable(text_escape_json(out, capacity, text)));
	fuzz_check(capacity < 3 || out[strlen(out) - 1] == '"');
	fuzz_check(is_printable(text_escape_shell(out, capacity, text)));
	free(out);
}

static void check_format(const char *text)
{
	const struct mapping mapping = {
		.public_addr = {.family = ADDR_IPV4, .port = 22},
		.local = {.family = ADDR_IPV6, .port = 22},
		.reflector = "example.org",
		.method = "bind",
		.protocol = MAPPING_TCP,
	};
	char line[MAPPING_LINE_SIZE];

	if (mapping_format(&mapping, text, line) == 0)
		fuzz_check(mapping_check_format(text) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	fuzz_check(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_addr(text);
	check_host_port(text);
	check_numbers(text);
	check_escapes(text, size);
	check_format(text);
	free(text);
	return 0;
}
