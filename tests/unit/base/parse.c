/* What a person typed: taken exactly, or not at all. */
#include "natpunch/base/host_port.h"
#include "natpunch/base/parse.h"

#include "tap.h"

static void test_number(void)
{
	static const char *const bad[] = {"", " ", "+22", "-1", " 22", "22 ", "22x", "x22", "0x16",
		"2 2", "22\n", "1e3", "22.0", "/", ":", "-18446744073709551594",
		"18446744073709551616", "18446744073709551625", "18446744073709551638",
		"99999999999999999999", "184467440737095516160"};
	uint64_t value = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(parse_number(bad[i], 0, UINT64_MAX, &value) < 0, "'%s' is no number", bad[i]);
	is_uint(value, 7, "and *out was left alone");
	ok(parse_number("0022", 0, 100, &value) == 0 && value == 22, "0022 is 22");
	ok(parse_number("0", 0, 0, &value) == 0 && value == 0, "0 in 0 to 0");
	ok(parse_number("1", 0, 0, &value) < 0, "1 is not in 0 to 0");
	ok(parse_number("9", 0, 5, &value) < 0, "9 is not in 0 to 5");
	ok(parse_number("15", 0, 10, &value) < 0, "15 is not in 0 to 10");
	ok(parse_number("100", 0, 99, &value) < 0, "100 is not in 0 to 99");
	ok(parse_number("99", 0, 99, &value) == 0 && value == 99, "99 is");
	ok(parse_number("9", 10, 20, &value) < 0, "9 is below 10");
	ok(parse_number("10", 10, 20, &value) == 0 && value == 10, "10 is not");
	ok(parse_number("18446744073709551615", 0, UINT64_MAX, &value) == 0 && value == UINT64_MAX,
		"the largest number");
	ok(parse_number("00000000000000000000000000000001", 0, 1, &value) == 0 && value == 1,
		"zeros in front cannot overflow");
}

static void test_port(void)
{
	static const char *const bad[] = {"0", "65536", "22x", "", "-1", "+1", "99999999999999",
		"-18446744073709551594", "4294967318"};
	uint16_t port = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(parse_port(bad[i], &port) < 0, "'%s' is no port", bad[i]);
	is_uint(port, 7, "and *out was left alone");
	ok(parse_port("1", &port) == 0 && port == 1, "1 is the first");
	ok(parse_port("65535", &port) == 0 && port == 65535, "65535 is the last");
}

static void test_hex(void)
{
	static const char *const bad[] = {
		"", "g", "0x1", "-1", " 1", "1 ", "100000000", "ffffffffffffffff"};
	uint32_t value = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(parse_hex(bad[i], &value) == -1 && value == 7, "not hexadecimal: \"%s\"",
			bad[i]);
	ok(parse_hex("0001aF", &value) == 0 && value == 0x1af, "either case, and zeros");
	ok(parse_hex("ffffffff", &value) == 0 && value == UINT32_MAX, "the greatest");
}

static void test_mark(void)
{
	static const struct {
		const char *text;
		uint32_t value;
	} good[] = {{"0", 0}, {"153", 0x99}, {"4294967295", UINT32_MAX}, {"0x99", 0x99},
		{"0xCafe0000", 0xcafe0000}, {"0xffffffff", UINT32_MAX}, {"0x00000000001", 1}};
	static const char *const bad[] = {
		"", "0x", "0x100000000", "4294967296", "0xg", "0x1 ", "x9", "99h", "-1", "0X9"};
	uint32_t value = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(parse_mark(bad[i], &value) < 0, "'%s' is no mark", bad[i]);
	is_uint(value, 7, "and *out was left alone");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		ok(parse_mark(good[i].text, &value) == 0 && value == good[i].value, "'%s' is one",
			good[i].text);
}

static void test_seconds(void)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"5", 5000}, {"0.25", 250}, {".5", 500}, {"0.001", 1}, {"1.0009", 1000},
		{"05.10", 5100}, {"10", 10000}, {"10.0009", 10000}, {"9.999", 9999},
		{"0.1234567890123456789012345678901234567890", 123}};
	static const char *const bad[] = {"", ".", "5.", "0", "0.0009", "0.0", "-1", "+1", " 1",
		"1 ", "1s", "1,5", "1..5", "1.5.", "1e1", "10.001", "11", "100",
		"18446744073709551616", "18446744073709552", "1844674407370955161.6"};
	uint64_t ms = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(parse_seconds(bad[i], 10000, &ms) < 0, "'%s' is no time up to 10 s", bad[i]);
	is_uint(ms, 7, "and *out was left alone");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ok(parse_seconds(good[i].text, 10000, &ms) == 0, "'%s' is a time", good[i].text);
		is_uint(ms, good[i].ms, "of so many milliseconds");
	}
	ok(parse_seconds("18446744073709551.615", UINT64_MAX, &ms) == 0 && ms == UINT64_MAX,
		"the longest time");
	ok(parse_seconds("18446744073709551.616", UINT64_MAX, &ms) < 0, "and one more wraps not");
}

static void test_host_port(void)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {{"example.org", "example.org", 3478}, {"example.org.", "example.org.", 3478},
		{"a_b-c.9", "a_b-c.9", 3478}, {"example.org:22", "example.org", 22},
		{"example.org:0022", "example.org", 22}, {"192.0.2.1", "192.0.2.1", 3478},
		{"192.0.2.1:65535", "192.0.2.1", 65535}, {"[::1]", "::1", 3478},
		{"[2001:db8::1]:1", "2001:db8::1", 1}, {"2001:db8::1", "2001:db8::1", 3478},
		{"::1", "::1", 3478}, {"::", "::", 3478}, {"fe80::1%eth0", "fe80::1%eth0", 3478},
		{"[fe80::1%2]:22", "fe80::1%2", 22}};
	static const char *const bad[] = {"", ":", ":22", "host:", "host:0", "host:65536",
		"host:22x", "host:+22", "host: 22", "a b", "a/b", "a\nb", "user@host",
		"h\xc3\xb6st", "-oProxyCommand=x", "-x:22", "a%b", "a%b:22", "[", "[]", "[]:22",
		"[::1", "::1]", "[::1]22", "[::1]:", "[::1]:0", "[::1]:65536", "[::1]x",
		"[host]:22", "[192.0.2.1]:22", "[[::1]]", "a:b:c", "1:2:3", "::1::", "::1:99999",
		"fe80::1%", "fe80::1%a/b", "fe80::1%a%b", "$(id)", "a;b", "'a'"};
	struct host_port out = {.host = "kept", .port = 7}, again;
	char text[HOST_PORT_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(host_port_parse(bad[i], 3478, &out) < 0, "'%s' is refused", bad[i]);
	ok(strcmp(out.host, "kept") == 0 && out.port == 7, "and *out was left alone");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ok(host_port_parse(good[i].text, 3478, &out) == 0, "'%s'", good[i].text);
		is_str(out.host, good[i].host, "its host");
		is_uint(out.port, good[i].port, "its port");
		host_port_format(&out, text);
		ok(host_port_parse(text, 3478, &again) == 0 && strcmp(again.host, out.host) == 0 &&
				again.port == out.port && again.port_named == out.port_named,
			"'%s' is the same", text);
	}
}

/* Names around the size of the field, with and without a port. */
static void test_host_size(void)
{
	char text[HOST_PORT_HOST_SIZE + 16];
	struct host_port out;

	for (size_t size = HOST_PORT_HOST_SIZE - 2; size <= HOST_PORT_HOST_SIZE + 2; size++) {
		memset(text, 'a', size);
		text[size] = '\0';
		is_int(host_port_parse(text, 1, &out), size < HOST_PORT_HOST_SIZE ? 0 : -1,
			"a name of %zu bytes", size);
		memcpy(text + size, ":22", 4);
		is_int(host_port_parse(text, 1, &out), size < HOST_PORT_HOST_SIZE ? 0 : -1,
			"and a port");
		memcpy(text, "fe80::1%", 8);
		text[size] = '\0';
		is_int(host_port_parse(text, 1, &out), size < HOST_PORT_HOST_SIZE ? 0 : -1,
			"a scope of as many");
	}
}

static void test_listen(void)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {{"3478", "", 3478}, {"1", "", 1}, {"192.0.2.1:22", "192.0.2.1", 22},
		{"[::]:3478", "::", 3478}, {"localhost:1", "localhost", 1},
		{"[fe80::1%lo]:1", "fe80::1%lo", 1}};
	static const char *const bad[] = {"", "0", "65536", ":3478", "::", "::1", "[::1]", "host",
		"192.0.2.1", "host:", "host:0", "[::1]:", "3478 ", "-1", "+1", "a b:1", ":"};
	struct host_port out = {.host = "kept", .port = 7};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(host_port_parse_listen(bad[i], &out) < 0, "'%s' is refused for listening",
			bad[i]);
	ok(strcmp(out.host, "kept") == 0 && out.port == 7, "and *out was left alone");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ok(host_port_parse_listen(good[i].text, &out) == 0, "'%s' to listen on",
			good[i].text);
		is_str(out.host, good[i].host, "its host");
		is_uint(out.port, good[i].port, "its port");
	}
}

int main(void)
{
	test_number();
	test_port();
	test_hex();
	test_mark();
	test_seconds();
	test_host_port();
	test_host_size();
	test_listen();
	return done_testing();
}
