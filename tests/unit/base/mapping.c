/* A mapping's lines, and the record that remembers it. */
#include "natpunch/base/mapping.h"

#include "tap.h"

static struct mapping make(const char *public_ip, const char *local_ip)
{
	struct mapping mapping = {
		.reflector = "example.org:3478", .method = "repair", .protocol = MAPPING_TCP};

	ok(addr_parse_ip(&mapping.public_addr, public_ip) == 0 &&
			addr_parse_ip(&mapping.local, local_ip) == 0,
		"a mapping of %s", public_ip);
	mapping.public_addr.port = 40022;
	mapping.local.port = 22;
	return mapping;
}

static void is_line(const struct mapping *mapping, const char *format, const char *want)
{
	char line[MAPPING_LINE_SIZE];

	ok(mapping_check_format(format) == NULL, "'%s' is a format", format);
	is_int(mapping_format(mapping, format, line), 0, "it fits");
	is_str(line, want, "its line");
}

static void test_lines(void)
{
	struct mapping mapping = make("192.0.2.1", "10.0.0.2");

	is_line(&mapping, "text", "192.0.2.1 40022");
	is_line(&mapping, "ssh", "ssh -p 40022 192.0.2.1");
	is_line(&mapping, "json",
		"{\"public_addr\":\"192.0.2.1\",\"public_port\":40022,\"ip4p\":\"2001::9c56:c000:"
		"0201\","
		"\"local_addr\":\"10.0.0.2\",\"local_port\":22,\"protocol\":\"tcp\","
		"\"method\":\"repair\",\"reflector\":\"example.org:3478\",\"family\":4,"
		"\"router\":\"\",\"router_method\":\"\",\"router_port\":0,\"lease\":0}");
	is_line(&mapping, "env",
		"NATPUNCH_PUBLIC_ADDR=192.0.2.1 NATPUNCH_PUBLIC_PORT=40022 "
		"NATPUNCH_IP4P=2001::9c56:c000:0201 NATPUNCH_LOCAL_ADDR=10.0.0.2 "
		"NATPUNCH_LOCAL_PORT=22 NATPUNCH_PROTOCOL=tcp NATPUNCH_METHOD=repair "
		"NATPUNCH_SEEN_BY=example.org:3478 NATPUNCH_FAMILY=4 "
		"NATPUNCH_ROUTER='' NATPUNCH_ROUTER_METHOD='' NATPUNCH_ROUTER_PORT=0 "
		"NATPUNCH_LEASE=0");
	is_line(&mapping, "%a:%p <- %A:%P %r %m 100%%",
		"192.0.2.1:40022 <- 10.0.0.2:22 example.org:3478 repair 100%");
	is_line(&mapping, "%%", "%");
	is_line(&mapping, "%%a%a", "%a192.0.2.1");

	mapping = make("2001:db8::1", "fe80::1%2");
	mapping.protocol = MAPPING_UDP;
	snprintf(mapping.reflector, sizeof(mapping.reflector), "[::1]:3478");
	is_line(&mapping, "text", "2001:db8::1 40022");
	is_line(&mapping, "ssh", "ssh -p 40022 2001:db8::1");
	is_line(&mapping, "%a %A", "2001:db8::1 fe80::1%2");
	is_line(&mapping, "env",
		"NATPUNCH_PUBLIC_ADDR=2001:db8::1 NATPUNCH_PUBLIC_PORT=40022 NATPUNCH_IP4P='' "
		"NATPUNCH_LOCAL_ADDR=fe80::1%2 NATPUNCH_LOCAL_PORT=22 NATPUNCH_PROTOCOL=udp "
		"NATPUNCH_METHOD=repair NATPUNCH_SEEN_BY='[::1]:3478' "
		"NATPUNCH_FAMILY=6 NATPUNCH_ROUTER='' NATPUNCH_ROUTER_METHOD='' "
		"NATPUNCH_ROUTER_PORT=0 NATPUNCH_LEASE=0");
}

static void test_router(void)
{
	static const char before[] = "natpunch-mapping-1 NATPUNCH_PUBLIC_ADDR=192.0.2.1 ";
	struct mapping mapping = make("192.0.2.1", "10.0.0.2"), back;
	char record[MAPPING_RECORD_SIZE], plain[MAPPING_RECORD_SIZE];
	char line[MAPPING_LINE_SIZE];

	is_int(mapping_encode_record(&mapping, plain), 0, "a record without a router");
	ok(strstr(plain, "ROUTER") == NULL, "says nothing of one");
	if (addr_parse_ip(&mapping.router, "10.0.0.1") != 0)
		bail_out("no address");
	snprintf(mapping.router_method, sizeof(mapping.router_method), "nat-pmp");
	mapping.router_port = 1024;
	mapping.lease = 7200;
	is_int(mapping_format(&mapping, "json", line), 0, "a router in JSON");
	ok(strstr(line, ",\"router\":\"10.0.0.1\",\"router_method\":\"nat-pmp\","
			"\"router_port\":1024,\"lease\":7200}") != NULL,
		"all of it");
	is_int(mapping_encode_record(&mapping, record), 0, "a record of it");
	ok(strncmp(record, before, sizeof(before) - 1) == 0, "is like any other");
	ok(strncmp(record, plain, strlen(plain) - 1) == 0, "up to the end");
	is_str(record + strlen(plain) - 1, " NATPUNCH_ROUTER_PORT=1024\n", "where its port is");
	is_int(mapping_decode_record(&back, record, strlen(record)), 0, "and can be read");
	is_uint(back.router_port, 1024, "again");
	memcpy(record + strlen(record) - 2, "0x\n", 4);
	is_int(mapping_decode_record(&back, record, strlen(record)), -1, "strictly");
}

static void test_hostile_text(void)
{
	struct mapping mapping = make("192.0.2.1", "10.0.0.2");

	snprintf(mapping.reflector, sizeof(mapping.reflector), "a\n';$(id)\"\\");
	is_line(&mapping, "%r", "a\\x0a';$(id)\"\\\\");
	is_line(&mapping, "json",
		"{\"public_addr\":\"192.0.2.1\",\"public_port\":40022,\"ip4p\":\"2001::9c56:c000:"
		"0201\","
		"\"local_addr\":\"10.0.0.2\",\"local_port\":22,\"protocol\":\"tcp\","
		"\"method\":\"repair\",\"reflector\":\"a\\u000a';$(id)\\\"\\\\\",\"family\":4,"
		"\"router\":\"\",\"router_method\":\"\",\"router_port\":0,\"lease\":0}");
	is_line(&mapping, "env",
		"NATPUNCH_PUBLIC_ADDR=192.0.2.1 NATPUNCH_PUBLIC_PORT=40022 "
		"NATPUNCH_IP4P=2001::9c56:c000:0201 NATPUNCH_LOCAL_ADDR=10.0.0.2 "
		"NATPUNCH_LOCAL_PORT=22 NATPUNCH_PROTOCOL=tcp NATPUNCH_METHOD=repair "
		"NATPUNCH_SEEN_BY='a\\x0a'\\'';$(id)\"\\\\' NATPUNCH_FAMILY=4 "
		"NATPUNCH_ROUTER='' NATPUNCH_ROUTER_METHOD='' NATPUNCH_ROUTER_PORT=0 "
		"NATPUNCH_LEASE=0");
	snprintf(mapping.method, sizeof(mapping.method), "\x1b");
	is_line(&mapping, "%m", "\\x1b");
}

static void test_formats(void)
{
	static const char *const bad[] = {"", "xml", "TEXT", "text ", "plain words", "%", "%x",
		"%a%", "%a %q", "100%", "%%%", "% a", "text%"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(mapping_check_format(bad[i]) != NULL, "'%s' is no format", bad[i]);
}

static void test_limits(void)
{
	struct mapping mapping = make("192.0.2.1", "10.0.0.2");
	char line[MAPPING_LINE_SIZE], format[MAPPING_LINE_SIZE + 8];

	memset(format, 'x', sizeof(format));
	memcpy(format, "%%", 2);
	format[MAPPING_LINE_SIZE] = '\0';
	is_int(mapping_format(&mapping, format, line), 0, "the longest line");
	is_uint(strlen(line), MAPPING_LINE_SIZE - 1, "fills it");
	format[MAPPING_LINE_SIZE] = 'x';
	format[MAPPING_LINE_SIZE + 1] = '\0';
	is_int(mapping_format(&mapping, format, line), -1, "one more byte does not fit");

	memset(mapping.reflector, '\x01', sizeof(mapping.reflector) - 1);
	is_int(mapping_format(&mapping, "json", line), -1, "nor what escapes make too long");
	is_int(mapping_format(&mapping, "env", line), -1, "in either form");
	is_int(mapping_format(&mapping, "%r", line), -1, "nor by itself");
	memset(mapping.reflector, '\x01', 255);
	mapping.reflector[255] = '\0';
	is_int(mapping_format(&mapping, "%r", line), 0, "where 255 escapes do");
	is_uint(strlen(line), 1020, "whole");
	is_int(mapping_format(&mapping, "%x", line), -1, "what is no format gives no line");
	is_int(mapping_format(&mapping, "xml", line), -1, "of either kind");
}

static void test_equal(void)
{
	struct mapping a = make("192.0.2.1", "10.0.0.2"), b = a;

	ok(mapping_equal(&a, &b), "equal");
	b.public_addr.port++;
	ok(!mapping_equal(&a, &b), "not with another public port");
	b = a;
	b.public_addr.ip[3]++;
	ok(!mapping_equal(&a, &b), "nor another public address");
	b = a;
	b.local.port++;
	ok(!mapping_equal(&a, &b), "nor another local port");
	b = a;
	b.protocol = MAPPING_UDP;
	ok(!mapping_equal(&a, &b), "nor another protocol");
	b = a;
	b.local.ip[3]++;
	b.method[0] = 'x';
	b.reflector[0] = 'x';
	ok(mapping_equal(&a, &b), "all else does not count");
	is_str(mapping_protocol_name(MAPPING_TCP), "tcp", "tcp");
	is_str(mapping_protocol_name(MAPPING_UDP), "udp", "udp");
}

static const char record[] =
	"natpunch-mapping-1 NATPUNCH_PUBLIC_ADDR=192.0.2.1 NATPUNCH_PUBLIC_PORT=40022 "
	"NATPUNCH_IP4P=2001::9c56:c000:0201 NATPUNCH_LOCAL_ADDR=10.0.0.2 NATPUNCH_LOCAL_PORT=22 "
	"NATPUNCH_PROTOCOL=tcp NATPUNCH_METHOD=repair NATPUNCH_SEEN_BY=example.org:3478\n";

static void test_record(void)
{
	struct mapping mapping = make("192.0.2.1", "10.0.0.2"), back;
	char text[MAPPING_RECORD_SIZE];

	is_int(mapping_encode_record(&mapping, text), 0, "a record");
	is_str(text, record, "its text");
	memset(&back, 0xee, sizeof(back));
	is_int(mapping_decode_record(&back, record, sizeof(record) - 1), 0, "it is taken back");
	ok(mapping_equal(&back, &mapping), "as the same mapping");
	ok(addr_equal(&back.local, &mapping.local), "local address and all");
	is_str(back.method, "repair", "method");
	is_str(back.reflector, "example.org:3478", "reflector");

	memset(mapping.reflector, 'r', sizeof(mapping.reflector) - 1);
	mapping.reflector[0] = '[';
	memset(mapping.method, 'm', sizeof(mapping.method) - 1);
	mapping.protocol = MAPPING_UDP;
	is_int(mapping_encode_record(&mapping, text), 0, "with the longest fields");
	is_int(mapping_decode_record(&back, text, strlen(text)), 0, "it is taken back");
	is_str(back.reflector, mapping.reflector, "whole");
	is_str(back.method, mapping.method, "in all of them");
	is_int(back.protocol, MAPPING_UDP, "udp");

	memcpy(text + strlen(text) - 2, "r'\n", 4);
	is_int(mapping_decode_record(&back, text, strlen(text)), -1, "a byte more is refused");
}

/* Each change of a valid record by one word. */
static void test_damaged_record(void)
{
	static const char *const changes[][2] = {{"mapping-1", "mapping-2"},
		{"natpunch-", "Natpunch-"}, {"192.0.2.1", "192.0.2.01"}, {"192.0.2.1", "192.0.2.2"},
		{"192.0.2.1", "?"}, {"192.0.2.1", "'192.0.2.1'"}, {"40022", "040022"},
		{"40022", "0"}, {"40022", "65536"}, {"40022", "40023"},
		{"2001::9c56", "2001::9c57"}, {"10.0.0.2", ""}, {"PORT=22", "PORT=0"},
		{"PORT=22", "PORT= 22"}, {"=tcp", "=TCP"}, {"=tcp", "=sctp"}, {"=tcp", "="},
		{"repair", "'repair'"}, {"repair", "repairrepairrepair"}, {"repair", "rep air"},
		{"repair", "'rep'air"}, {"repair", "'repair"}, {"repair", "rep\\x01air"},
		{" NATPUNCH_IP4P", "  NATPUNCH_IP4P"}, {"_METHOD", "_method"},
		{"NATPUNCH_LOCAL_PORT=22 ", ""}, {"3478\n", "3478"}, {"3478\n", "3478\n\n"},
		{"3478\n", "3478 \n"}, {"3478\n", "3478\nx"}, {"3478\n", "3478\r\n"},
		{"natpunch-", ""}};
	char text[MAPPING_RECORD_SIZE];
	struct mapping back = {.method = "kept"};

	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		const char *at = strstr(record, changes[i][0]);

		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - record), record, changes[i][1],
			at + strlen(changes[i][0]));
		ok(strcmp(text, record) != 0, "'%s' for '%s'", changes[i][1], changes[i][0]);
		is_int(mapping_decode_record(&back, text, strlen(text)), -1, "is refused");
	}
	is_str(back.method, "kept", "*out was left alone");
	for (size_t size = 0; size < sizeof(record) - 1; size++) {
		if (mapping_decode_record(&back, record, size) == 0)
			fail("%zu bytes of a record are taken for one", size);
	}
	for (size_t size = 271; size < 600; size++) {
		const char *at = strstr(record, "example");

		snprintf(
			text, sizeof(text), "%.*s%0*d\n", (int)(at - record), record, (int)size, 1);
		is_int(mapping_decode_record(&back, text, strlen(text)), size == 271 ? 0 : -1,
			"a reflector of %zu bytes", size);
		if (size == 271)
			snprintf(back.method, sizeof(back.method), "kept");
		else if (size > 280)
			size += 50;
	}
	is_str(back.method, "kept", "no longer one was taken");
	is_int(mapping_decode_record(&back, record, sizeof(record)), -1, "a NUL behind");
	memcpy(text, record, sizeof(record));
	text[50] = '\0';
	is_int(mapping_decode_record(&back, text, sizeof(record) - 1), -1, "a NUL inside");
	is_int(mapping_decode_record(&back, NULL, 0), -1, "an empty file");
	memset(text, ' ', sizeof(text));
	is_int(mapping_decode_record(&back, text, sizeof(text)), -1, "a file that is too large");
}

static void test_unrecordable(void)
{
	static const char *const texts[] = {"a'b", "a\\b", "a\nb", "\x7f", "\x80"};
	char text[MAPPING_RECORD_SIZE];
	struct mapping mapping;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		mapping = make("192.0.2.1", "10.0.0.2");
		snprintf(mapping.reflector, sizeof(mapping.reflector), "%s", texts[i]);
		is_int(mapping_encode_record(&mapping, text), -1, "a reflector, case %zu", i);
		mapping = make("192.0.2.1", "10.0.0.2");
		snprintf(mapping.method, sizeof(mapping.method), "%s", texts[i]);
		is_int(mapping_encode_record(&mapping, text), -1, "a method, case %zu", i);
	}
	mapping = make("192.0.2.1", "10.0.0.2");
	mapping.public_addr.port = 0;
	is_int(mapping_encode_record(&mapping, text), -1, "no public port");
	mapping.public_addr.port = 1;
	mapping.local.port = 0;
	is_int(mapping_encode_record(&mapping, text), -1, "no local port");
	mapping.local.port = 1;
	mapping.local.family = ADDR_NONE;
	is_int(mapping_encode_record(&mapping, text), -1, "no local address");
	mapping.local.family = ADDR_IPV4;
	mapping.public_addr.family = ADDR_NONE;
	is_int(mapping_encode_record(&mapping, text), -1, "no public address");
}

int main(void)
{
	test_lines();
	test_router();
	test_hostile_text();
	test_formats();
	test_limits();
	test_equal();
	test_record();
	test_damaged_record();
	test_unrecordable();
	return done_testing();
}
