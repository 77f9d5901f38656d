/* Addresses: texts that are taken and not taken, the one form that is printed, and the classes. */
#include "natpunch/base/addr.h"

#include "tap.h"

static struct addr parse(const char *text)
{
	struct addr addr = {.family = 99};

	if (addr_parse_ip(&addr, text) < 0)
		addr.family = ADDR_NONE;
	return addr;
}

/* Read in one form, printed in the one form of RFC 5952. */
static const char *const forms[][2] = {
	{"0.0.0.0", "0.0.0.0"},
	{"192.0.2.1", "192.0.2.1"},
	{"255.255.255.255", "255.255.255.255"},
	{"::", "::"},
	{"::1", "::1"},
	{"1::", "1::"},
	{"2001:db8::1", "2001:db8::1"},
	{"2001:0DB8:0:0:0:0:0:1", "2001:db8::1"},
	{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* RFC 5952 4.2.2: not one group */
	{"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
	{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},       /* 4.2.3: the longest */
	{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"}, /* 4.2.3: the first of two */
	{"0:0:1:2:3:4:5:6", "::1:2:3:4:5:6"},
	{"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
	{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
	{"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
	{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
	{"ABCD:EF01:2345:6789:abcd:ef01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"},
	{"::ffff:192.0.2.1", "::ffff:192.0.2.1"}, /* section 5: mixed where it is known to be one */
	{"::ffff:c000:201", "::ffff:192.0.2.1"},
	{"::192.0.2.1", "::c000:201"},
	{"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
	{"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
	{"1::5:6:1.2.3.4", "1::5:6:102:304"},
	{"fe80::1%2", "fe80::1%2"},
	{"fe80::1%4294967295", "fe80::1%4294967295"},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295"},
};

static const char *const refused[] = {"", " ", "1", "1.2.3", "1.2.3.", "1.2.3.4.", "1.2.3.4.5",
	".1.2.3", "1..2.3", "256.1.1.1", "1.1.1.256", "1.1.1.999999999999", "01.2.3.4", "1.2.3.04",
	"00.0.0.0", "1.2.3.4 ", " 1.2.3.4", "+1.2.3.4", "1.2.3.-4", "1.2.3.4%1", "0x1.2.3.4", ":",
	":::", "1:::2", "::1::", "1::2::3", ":1", ":1:2:3:4:5:6:7", "1:", "1:2:3:4:5:6:7",
	"1:2:3:4:5:6:7:", "1:2:3:4:5:6:7:8:", "1:2:3:4:5:6:7:8:9",
	"1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::", "::00001", "::g",
	"::1 ", " ::1", "::1.2.3", "::1.2.3.4.5", "::1.2.3.04", "::1.2.3.4:5",
	"1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:0.0.6.0", "1:2:3:4:5:1.2.3.4",
	"::256.1.1.1", "fe80::1%", "fe80::1%eth0", "fe80::1%0", "fe80::1%4294967296", "fe80::1%-1",
	"fe80::1%1%1", "%1", "[::1]", "::1]",
	"0000000000000000000000000000000000000000000000000000000000000000::1"};

static void test_texts(void)
{
	char text[ADDR_IP_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct addr addr = parse(forms[i][0]);

		is_str(addr_format_ip(&addr, text), forms[i][1], "%s is read", forms[i][0]);
		ok(addr.port == 0, "with port 0");
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct addr addr = {.family = 99};

		ok(addr_parse_ip(&addr, refused[i]) < 0, "'%s' is refused", refused[i]);
	}
}

static void test_values(void)
{
	struct addr addr = parse("1.2.3.4");
	static const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [14] = 0xab, [15] = 0xcd};

	is_uint(addr.family, ADDR_IPV4, "the family of a dotted quad");
	is_mem(addr.ip, "\1\2\3\4\0\0\0\0\0\0\0\0\0\0\0\0", 16, "its bytes, the rest zero");
	is_uint(addr_ip_size(&addr), 4, "its size");
	addr = parse("2001:db8::abcd");
	is_uint(addr.family, ADDR_IPV6, "the family of an IPv6 text");
	is_mem(addr.ip, ipv6, 16, "its bytes");
	is_uint(addr_ip_size(&addr), 16, "its size");
	is_uint(addr.scope, 0, "without a scope");
	is_uint(parse("fe80::1%77").scope, 77, "and with one");
	addr.family = ADDR_NONE;
	is_uint(addr_ip_size(&addr), 0, "no address has no size");
}

static void test_equality(void)
{
	struct addr a = parse("192.0.2.1"), b = parse("192.0.2.1"), c = parse("192.0.2.2");
	struct addr six = parse("2001:db8::1"), seven = parse("2001:db8::2"), zero = parse("::");
	struct addr null = parse("0.0.0.0");

	a.port = b.port = 22;
	ok(addr_equal(&a, &b) && addr_equal_ip(&a, &b), "equal");
	b.port = 23;
	ok(!addr_equal(&a, &b) && addr_equal_ip(&a, &b), "another port is another address");
	ok(!addr_equal_ip(&a, &c), "another fourth byte is another IP");
	ok(!addr_equal_ip(&six, &seven), "and another sixteenth byte");
	ok(!addr_equal_ip(&zero, &null), "families differ though all bytes are equal");
	seven = six;
	seven.scope = 3;
	ok(addr_equal(&six, &seven), "the scope does not count");
	b = a;
	b.ip[5] = 1;
	ok(addr_equal(&a, &b), "nor do bytes behind an IPv4 address");
}

static void test_unmapping(void)
{
	struct addr addr = parse("::ffff:192.0.2.1"), want = parse("192.0.2.1");

	addr.port = want.port = 7;
	addr.scope = 2;
	addr_unmap(&addr);
	ok(addr_equal(&addr, &want), "a mapped address becomes the one in it, port and all");
	is_mem(addr.ip, want.ip, 16, "with no bytes left over");
	is_uint(addr.scope, 0, "and no scope");
	addr_unmap(&addr);
	ok(addr_equal(&addr, &want), "an IPv4 address stays");
	addr = want = parse("::fffe:192.0.2.1");
	addr_unmap(&addr);
	ok(addr_equal(&addr, &want), "another prefix stays");
	addr = want = parse("::1:ffff:192.0.2.1");
	addr_unmap(&addr);
	ok(addr_equal(&addr, &want), "and so does one with a bit more in front");
}

static const struct {
	const char *text;
	enum addr_class class;
} classes[] = {
	{"0.0.0.0", ADDR_CLASS_UNSPECIFIED},
	{"0.0.0.1", ADDR_CLASS_UNSPECIFIED},
	{"::", ADDR_CLASS_UNSPECIFIED},
	{"126.255.255.255", ADDR_CLASS_PUBLIC},
	{"127.0.0.1", ADDR_CLASS_LOOPBACK},
	{"127.255.255.255", ADDR_CLASS_LOOPBACK},
	{"128.0.0.0", ADDR_CLASS_PUBLIC},
	{"::1", ADDR_CLASS_LOOPBACK},
	{"::2", ADDR_CLASS_PUBLIC},
	{"9.255.255.255", ADDR_CLASS_PUBLIC},
	{"10.0.0.0", ADDR_CLASS_PRIVATE},
	{"10.255.255.255", ADDR_CLASS_PRIVATE},
	{"11.0.0.0", ADDR_CLASS_PUBLIC},
	{"172.15.255.255", ADDR_CLASS_PUBLIC},
	{"172.16.0.0", ADDR_CLASS_PRIVATE},
	{"172.31.255.255", ADDR_CLASS_PRIVATE},
	{"172.32.0.0", ADDR_CLASS_PUBLIC},
	{"173.16.0.0", ADDR_CLASS_PUBLIC},
	{"192.167.255.255", ADDR_CLASS_PUBLIC},
	{"192.168.0.0", ADDR_CLASS_PRIVATE},
	{"192.168.255.255", ADDR_CLASS_PRIVATE},
	{"192.169.0.0", ADDR_CLASS_PUBLIC},
	{"193.168.0.0", ADDR_CLASS_PUBLIC},
	{"fbff::1", ADDR_CLASS_PUBLIC},
	{"fc00::1", ADDR_CLASS_PRIVATE},
	{"fdff::1", ADDR_CLASS_PRIVATE},
	{"fe00::1", ADDR_CLASS_PUBLIC},
	{"100.63.255.255", ADDR_CLASS_PUBLIC},
	{"100.64.0.0", ADDR_CLASS_SHARED},
	{"100.127.255.255", ADDR_CLASS_SHARED},
	{"100.128.0.0", ADDR_CLASS_PUBLIC},
	{"101.64.0.0", ADDR_CLASS_PUBLIC},
	{"169.253.255.255", ADDR_CLASS_PUBLIC},
	{"169.254.0.0", ADDR_CLASS_LINK_LOCAL},
	{"169.255.0.0", ADDR_CLASS_PUBLIC},
	{"168.254.0.0", ADDR_CLASS_PUBLIC},
	{"fe7f::1", ADDR_CLASS_PUBLIC},
	{"fe80::1", ADDR_CLASS_LINK_LOCAL},
	{"febf::1", ADDR_CLASS_LINK_LOCAL},
	{"fec0::1", ADDR_CLASS_PUBLIC},
	{"223.255.255.255", ADDR_CLASS_PUBLIC},
	{"224.0.0.0", ADDR_CLASS_MULTICAST},
	{"239.255.255.255", ADDR_CLASS_MULTICAST},
	{"240.0.0.0", ADDR_CLASS_PUBLIC},
	{"255.255.255.254", ADDR_CLASS_PUBLIC},
	{"255.255.255.255", ADDR_CLASS_MULTICAST},
	{"ff02::1", ADDR_CLASS_MULTICAST},
	{"2001:db8::1", ADDR_CLASS_PUBLIC},
	{"::ffff:10.0.0.1", ADDR_CLASS_PRIVATE},
	{"::ffff:0.0.0.0", ADDR_CLASS_UNSPECIFIED},
};

static void test_classes(void)
{
	struct addr none = {.family = ADDR_NONE};

	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
		struct addr addr = parse(classes[i].text);

		is_str(addr_class_name(addr_classify(&addr)), addr_class_name(classes[i].class),
			"the class of %s", classes[i].text);
	}
	is_int(addr_classify(&none), ADDR_CLASS_UNSPECIFIED, "no address is unspecified");
	is_str(addr_class_name(ADDR_CLASS_SHARED), "carrier-grade NAT", "a class has a name");
}

static void test_formats(void)
{
	char text[ADDR_TEXT_SIZE], ip4p[ADDR_IP4P_SIZE];
	struct addr addr = parse("192.0.2.255");

	addr.port = 65535;
	is_str(addr_format(&addr, text), "192.0.2.255:65535", "IPv4 and port");
	is_str(addr_format_ip4p(&addr, ip4p), "2001::ffff:c000:02ff", "the ip4p form");
	addr.port = 22;
	is_str(addr_format_ip4p(&addr, ip4p), "2001::0016:c000:02ff", "with leading zeros");
	addr = parse("fe80::1%3");
	addr.port = 22;
	is_str(addr_format(&addr, text), "[fe80::1%3]:22", "IPv6, scope and port");
	is_str(addr_format_ip4p(&addr, ip4p), "", "IPv6 has no ip4p form");
	addr = parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295");
	addr.port = 65535;
	is_str(addr_format(&addr, text),
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535", "the longest fits");
	addr = (struct addr){.family = ADDR_NONE};
	is_str(addr_format_ip(&addr, text), "?", "no address");
	is_str(addr_format_ip4p(&addr, ip4p), "", "and its ip4p form");
}

int main(void)
{
	test_texts();
	test_values();
	test_equality();
	test_unmapping();
	test_classes();
	test_formats();
	return done_testing();
}
