/*
 * The forms are the example of RFC 6052 2.4, 192.0.2.33 behind each length of 2001:db8::.
 */
#include "natpunch/proto/nat64.h"

#include <string.h>

#include "tap.h"

static struct addr address(const char *text)
{
	struct addr addr;

	if (addr_parse_ip(&addr, text) != 0)
		bail_out("no address: %s", text);
	return addr;
}

static const struct {
	const char *of_name;    /* 192.0.0.170 behind the prefix */
	const char *of_example; /* 192.0.2.33 */
	uint8_t length;
} forms[] = {
	{"2001:db8:c000:aa::", "2001:db8:c000:221::", 32},
	{"2001:db8:1c0:0:aa::", "2001:db8:1c0:2:21::", 40},
	{"2001:db8:122:c000:0:aa00::", "2001:db8:122:c000:2:2100::", 48},
	{"2001:db8:122:3c0:0:aa::", "2001:db8:122:3c0:0:221::", 56},
	{"2001:db8:122:344:c0:0:aa00::", "2001:db8:122:344:c0:2:2100::", 64},
	{"2001:db8:122:344::192.0.0.170", "2001:db8:122:344::192.0.2.33", 96},
	{"64:ff9b::192.0.0.171", "64:ff9b::192.0.2.33", 96},
};

static void test_forms(void)
{
	struct addr example = address("192.0.2.33");

	example.port = 3478;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct addr answer = address(forms[i].of_name);
		struct addr expected = address(forms[i].of_example);
		struct nat64_prefix prefix;
		struct addr mapped = {.port = 0}, back = {.port = 0};

		expected.port = example.port;
		ok(nat64_find_prefix(&answer, 1, &prefix), "%s tells a prefix", forms[i].of_name);
		is_uint(prefix.length, forms[i].length, "of this length");
		ok(nat64_map(&prefix, &example, &mapped) && addr_equal(&mapped, &expected),
			"192.0.2.33 is %s", forms[i].of_example);
		ok(nat64_unmap(&prefix, &mapped, &back) && addr_equal(&back, &example),
			"and back, with its port");
	}
}

static void test_no_prefix(void)
{
	static const struct {
		const char *answer, *name;
	} rows[] = {
		{"2001:db8::1", "an address like any other"},
		{"192.0.0.170", "the IPv4 address itself"},
		{"64:ff9b::192.0.0.172", "an address that the name does not have"},
		{"2001:db8:122:344:1c0:0:aa00::", "an octet in use that is zero"},
		{"2001:db8:c000:aa::192.0.0.170", "two forms at once"},
	};
	struct nat64_prefix prefix = {.length = 64};
	struct addr mapped, plain = address("192.0.2.33"), six = address("64:ff9b::1");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr answer = address(rows[i].answer);
		ok(!nat64_find_prefix(&answer, 1, &prefix) && prefix.length == 0, "no prefix: %s",
			rows[i].name);
	}
	ok(!nat64_find_prefix(NULL, 0, &prefix), "no prefix: no answer");
	ok(!nat64_map(&prefix, &plain, &mapped), "without a prefix nothing is mapped");
	ok(!nat64_unmap(&prefix, &six, &mapped), "and nothing is one of its addresses");
}

static void test_bounds(void)
{
	struct addr answers[2] = {address("2001:db8::1"), address("64:ff9b::192.0.0.170")};
	struct addr own = {.port = 0};
	struct addr private = address("192.168.1.2"), six = address("2001:db8::2"), mapped;
	struct nat64_prefix prefix;

	ok(nat64_find_prefix(answers, 2, &prefix), "one of several addresses is enough");
	ok(!nat64_map(&prefix, &private, &mapped), "64:ff9b::/96 is for public addresses alone");
	ok(!nat64_map(&prefix, &six, &mapped), "an IPv6 address needs none");
	ok(!nat64_unmap(&prefix, &six, &mapped), "another address is not one of the prefix");
	own = address("2001:db8:64::192.0.0.170");
	ok(nat64_find_prefix(&own, 1, &prefix) && nat64_map(&prefix, &private, &mapped),
		"a network's own prefix is for its private addresses too");
}

int main(void)
{
	test_forms();
	test_no_prefix();
	test_bounds();
	return done_testing();
}
