#include "natpunch/base/mapping.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define RECORD_MAGIC "natpunch-mapping-1"
#define VALUE_SIZE   1640 /* the longest field with each of its bytes escaped as \u00HH */

const char *mapping_protocol_name(enum mapping_protocol protocol)
{
	return protocol == MAPPING_UDP ? "udp" : "tcp";
}

bool mapping_equal(const struct mapping *a, const struct mapping *b)
{
	return addr_equal(&a->public_addr, &b->public_addr) && a->local.port == b->local.port &&
	       a->protocol == b->protocol;
}

/* A line being written; `failed` once something did not fit. */
struct line {
	char *text;
	size_t size;
	size_t used;
	bool failed;
};

static void append(struct line *line, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void append(struct line *line, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line->text + line->used, line->size - line->used, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= line->size - line->used)
		line->failed = true;
	else
		line->used += (size_t)length;
}

static bool is_string_format(const char *format)
{
	return strchr(format, '%') != NULL;
}

const char *mapping_check_format(const char *format)
{
	if (!is_string_format(format)) {
		if (strcmp(format, "text") == 0 || strcmp(format, "ssh") == 0 ||
			strcmp(format, "json") == 0 || strcmp(format, "env") == 0)
			return NULL;
		return "not text, ssh, json, env or a string with a %";
	}
	for (const char *at = strchr(format, '%'); at; at = strchr(at + 2, '%')) {
		if (at[1] == '\0' || !strchr("apAPrm%", at[1]))
			return "a % must be followed by one of a, p, A, P, r, m, %";
	}
	return NULL;
}

static void append_string(struct line *line, const struct mapping *mapping, const char *format)
{
	char ip[ADDR_IP_TEXT_SIZE], value[VALUE_SIZE];

	for (; *format != '\0'; format++) {
		if (*format != '%') {
			append(line, "%c", *format);
			continue;
		}
		switch (*++format) {
		case 'a':
			append(line, "%s", addr_format_ip(&mapping->public_addr, ip));
			break;
		case 'p':
			append(line, "%u", mapping->public_addr.port);
			break;
		case 'A':
			append(line, "%s", addr_format_ip(&mapping->local, ip));
			break;
		case 'P':
			append(line, "%u", mapping->local.port);
			break;
		case 'r':
			append(line, "%s",
				text_escape(value, sizeof(value), mapping->reflector,
					strlen(mapping->reflector)));
			break;
		case 'm':
			append(line, "%s",
				text_escape(value, sizeof(value), mapping->method,
					strlen(mapping->method)));
			break;
		case '%':
			append(line, "%%");
			break;
		default:
			line->failed = true;
			return;
		}
	}
}

/* The fields of json and env, in the order in which both print them. */
enum field {
	FIELD_PUBLIC_ADDR,
	FIELD_PUBLIC_PORT,
	FIELD_IP4P,
	FIELD_LOCAL_ADDR,
	FIELD_LOCAL_PORT,
	FIELD_PROTOCOL,
	FIELD_METHOD,
	FIELD_REFLECTOR,
	FIELD_FAMILY, /* not in a record: the address has it */
	FIELD_ROUTER,
	FIELD_ROUTER_METHOD,
	FIELD_ROUTER_PORT, /* in a record where there is one: it is asked for again */
	FIELD_LEASE,
	FIELD_COUNT,
	FIELD_RECORD_COUNT = FIELD_FAMILY,
};

static const struct {
	const char *json;
	const char *env;
	bool is_number;
} fields[FIELD_COUNT] = {
	[FIELD_PUBLIC_ADDR] = {"public_addr", "NATPUNCH_PUBLIC_ADDR", false},
	[FIELD_PUBLIC_PORT] = {"public_port", "NATPUNCH_PUBLIC_PORT", true},
	[FIELD_IP4P] = {"ip4p", "NATPUNCH_IP4P", false},
	[FIELD_LOCAL_ADDR] = {"local_addr", "NATPUNCH_LOCAL_ADDR", false},
	[FIELD_LOCAL_PORT] = {"local_port", "NATPUNCH_LOCAL_PORT", true},
	[FIELD_PROTOCOL] = {"protocol", "NATPUNCH_PROTOCOL", false},
	[FIELD_METHOD] = {"method", "NATPUNCH_METHOD", false},
	[FIELD_REFLECTOR] = {"reflector", "NATPUNCH_SEEN_BY", false},
	[FIELD_FAMILY] = {"family", "NATPUNCH_FAMILY", true},
	[FIELD_ROUTER] = {"router", "NATPUNCH_ROUTER", false},
	[FIELD_ROUTER_METHOD] = {"router_method", "NATPUNCH_ROUTER_METHOD", false},
	[FIELD_ROUTER_PORT] = {"router_port", "NATPUNCH_ROUTER_PORT", true},
	[FIELD_LEASE] = {"lease", "NATPUNCH_LEASE", true},
};

/* A field's plain text, which some fields write into `buffer`. */
static const char *field_text(
	const struct mapping *mapping, enum field field, char buffer[ADDR_IP_TEXT_SIZE])
{
	switch (field) {
	case FIELD_PUBLIC_ADDR:
		return addr_format_ip(&mapping->public_addr, buffer);
	case FIELD_PUBLIC_PORT:
		snprintf(buffer, ADDR_IP_TEXT_SIZE, "%u", mapping->public_addr.port);
		return buffer;
	case FIELD_IP4P:
		return addr_format_ip4p(&mapping->public_addr, buffer);
	case FIELD_LOCAL_ADDR:
		return addr_ip_size(&mapping->local) == 0 ? ""
							  : addr_format_ip(&mapping->local, buffer);
	case FIELD_LOCAL_PORT:
		snprintf(buffer, ADDR_IP_TEXT_SIZE, "%u", mapping->local.port);
		return buffer;
	case FIELD_PROTOCOL:
		return mapping_protocol_name(mapping->protocol);
	case FIELD_METHOD:
		return mapping->method;
	case FIELD_REFLECTOR:
		return mapping->reflector;
	case FIELD_FAMILY:
		snprintf(buffer, ADDR_IP_TEXT_SIZE, "%u", mapping->public_addr.family);
		return buffer;
	case FIELD_ROUTER:
		return addr_ip_size(&mapping->router) == 0
			       ? ""
			       : addr_format_ip(&mapping->router, buffer);
	case FIELD_ROUTER_METHOD:
		return mapping->router_method;
	case FIELD_ROUTER_PORT:
		snprintf(buffer, ADDR_IP_TEXT_SIZE, "%u", mapping->router_port);
		return buffer;
	case FIELD_LEASE:
		snprintf(buffer, ADDR_IP_TEXT_SIZE, "%u", mapping->lease);
		return buffer;
	case FIELD_COUNT:
		break;
	}
	return "";
}

static void append_json(struct line *line, const struct mapping *mapping)
{
	char buffer[ADDR_IP_TEXT_SIZE], value[VALUE_SIZE];

	for (enum field field = 0; field < FIELD_COUNT; field++) {
		const char *text = field_text(mapping, field, buffer);

		if (!fields[field].is_number)
			text = text_escape_json(value, sizeof(value), text);
		append(line, "%s\"%s\":%s", field == 0 ? "{" : ",", fields[field].json, text);
	}
	append(line, "}");
}

/* The first `count` fields. */
static void append_env(struct line *line, const struct mapping *mapping, enum field count)
{
	char buffer[ADDR_IP_TEXT_SIZE], value[VALUE_SIZE];

	for (enum field field = 0; field < count; field++) {
		const char *text = field_text(mapping, field, buffer);

		append(line, "%s%s=%s", field == 0 ? "" : " ", fields[field].env,
			text_escape_shell(value, sizeof(value), text));
	}
}

int mapping_format(const struct mapping *mapping, const char *format, char out[MAPPING_LINE_SIZE])
{
	struct line line = {.text = out, .size = MAPPING_LINE_SIZE};
	char ip[ADDR_IP_TEXT_SIZE];

	addr_format_ip(&mapping->public_addr, ip);
	out[0] = '\0';
	if (is_string_format(format))
		append_string(&line, mapping, format);
	else if (strcmp(format, "json") == 0)
		append_json(&line, mapping);
	else if (strcmp(format, "env") == 0)
		append_env(&line, mapping, FIELD_COUNT);
	else if (strcmp(format, "ssh") == 0)
		append(&line, "ssh -p %u %s", mapping->public_addr.port, ip);
	else if (strcmp(format, "text") == 0)
		append(&line, "%s %u", ip, mapping->public_addr.port);
	else
		line.failed = true;
	return line.failed ? -1 : 0;
}

/* Can it stand between the shell's quotes unescaped, so that decoding only removes them? */
static bool is_recordable(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text < 0x20 || *text > 0x7e || *text == '\'' || *text == '\\')
			return false;
	}
	return true;
}

int mapping_encode_record(const struct mapping *mapping, char out[MAPPING_RECORD_SIZE])
{
	struct line line = {.text = out, .size = MAPPING_RECORD_SIZE};

	out[0] = '\0';
	if (addr_ip_size(&mapping->public_addr) == 0 || addr_ip_size(&mapping->local) == 0 ||
		mapping->public_addr.port == 0 || mapping->local.port == 0 ||
		!is_recordable(mapping->reflector) || !is_recordable(mapping->method))
		return -1;
	append(&line, RECORD_MAGIC " ");
	append_env(&line, mapping, FIELD_RECORD_COUNT);
	if (mapping->router_port != 0)
		append(&line, " %s=%u", fields[FIELD_ROUTER_PORT].env, mapping->router_port);
	append(&line, "\n");
	return line.failed ? -1 : 0;
}

/* Steps over `expected`, or returns NULL; also for NULL, so that calls can be chained. */
static const char *skip(const char *at, const char *expected)
{
	size_t size = strlen(expected);

	return at && strncmp(at, expected, size) == 0 ? at + size : NULL;
}

/* Copies one word, in quotes or up to a blank, and returns what is behind it, or NULL. */
static const char *take_word(const char *at, char *out, size_t capacity)
{
	bool quoted = at && *at == '\'';
	size_t size;

	if (!at)
		return NULL;
	if (quoted)
		at++;
	size = strcspn(at, quoted ? "'" : " \n");
	if (size >= capacity)
		return NULL;
	memcpy(out, at, size);
	out[size] = '\0';
	return quoted ? skip(at + size, "'") : at + size;
}

static int take_field(struct mapping *out, enum field field, const char *word)
{
	switch (field) {
	case FIELD_PUBLIC_ADDR:
		return addr_parse_ip(&out->public_addr, word);
	case FIELD_PUBLIC_PORT:
		return parse_port(word, &out->public_addr.port);
	case FIELD_LOCAL_ADDR:
		return addr_parse_ip(&out->local, word);
	case FIELD_LOCAL_PORT:
		return parse_port(word, &out->local.port);
	case FIELD_PROTOCOL:
		out->protocol = strcmp(word, "udp") == 0 ? MAPPING_UDP : MAPPING_TCP;
		return 0;
	case FIELD_METHOD:
		if (strlen(word) >= sizeof(out->method))
			return -1;
		memcpy(out->method, word, strlen(word) + 1);
		return 0;
	case FIELD_REFLECTOR:
		memcpy(out->reflector, word, strlen(word) + 1);
		return 0;
	case FIELD_ROUTER_PORT:
		return parse_port(word, &out->router_port);
	case FIELD_IP4P:
	case FIELD_FAMILY:
	case FIELD_ROUTER:
	case FIELD_ROUTER_METHOD:
	case FIELD_LEASE:
	case FIELD_COUNT:
		break;
	}
	return 0;
}

/* One field, with the blank before it. Returns what is behind it, or NULL. */
static const char *read_field(struct mapping *out, enum field field, const char *at)
{
	char word[sizeof(out->reflector)];

	at = skip(skip(skip(at, " "), fields[field].env), "=");
	at = take_word(at, word, sizeof(word));
	return at && take_field(out, field, word) == 0 ? at : NULL;
}

/*
 * Reads leniently, then encodes what it understood and compares that with what it was given. So
 * each mapping has one text, and no second rule could drift from the first.
 */
int mapping_decode_record(struct mapping *out, const char *data, size_t size)
{
	struct mapping mapping = {.method = ""};
	char record[MAPPING_RECORD_SIZE];
	const char *at;

	if (size == 0 || size >= sizeof(record))
		return -1;
	memcpy(record, data, size);
	record[size] = '\0';
	at = skip(record, RECORD_MAGIC);
	for (enum field field = 0; field < FIELD_RECORD_COUNT; field++) {
		at = read_field(&mapping, field, at);
		if (!at)
			return -1;
	}
	if (*at == ' ' && !read_field(&mapping, FIELD_ROUTER_PORT, at))
		return -1;
	if (mapping_encode_record(&mapping, record) < 0)
		return -1;
	if (strlen(record) != size || memcmp(record, data, size) != 0)
		return -1;
	*out = mapping;
	return 0;
}
