/* Checks: what they look like on the wire, and what is no check, or a false one. */
#include "natpunch/proto/udp_check.h"

#include "natpunch/proto/stun_auth.h"
#include "tap.h"

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3};
static uint8_t bytes[STUN_MESSAGE_MAX];

static struct udp_check make(bool response)
{
	struct udp_check check = {.response = response, .role = UDP_CHECK_HOME, .through = true};

	stun_make_transaction(check.transaction, (const uint8_t[12]){7, 8, 9});
	return check;
}

static void test_wire(void)
{
	static const uint8_t header[8] = {0x03, 0x89, 0, 52, 0x21, 0x12, 0xa4, 0x42};
	static const uint8_t value[8] = {0xc6, 0xf4, 0, 4, 2, 1, 0, 0};
	struct udp_check check = make(true);

	is_uint(udp_check_write(&check, secret, bytes, UDP_CHECK_SIZE - 1), 0, "too little room");
	check = make(false);
	is_uint(udp_check_write(&check, secret, bytes, sizeof(bytes)), UDP_CHECK_SIZE, "its size");
	ok((bytes[0] & 0xc0) == 0, "STUN by its first bits");
	ok(memcmp(bytes + 2, header + 2, 6) == 0, "its length, and the cookie");
	ok(memcmp(bytes + STUN_HEADER_SIZE, value, sizeof(value)) == 0, "role and flags");
}

/* A message with that value, proven; the size that it has. */
static size_t make_value(
	enum stun_class class, uint16_t method, const uint8_t *value, size_t size, size_t padding)
{
	const struct udp_check check = make(false);
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), class, method, check.transaction);
	if (value != NULL)
		stun_put(&writer, STUN_NATPUNCH_CHECK, value, size);
	if (padding > 0)
		stun_put_zeros(&writer, STUN_NATPUNCH_PADDING, padding);
	stun_auth_put(&writer, secret, sizeof(secret));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static void test_false(void)
{
	static const struct {
		enum stun_class class;
		uint16_t method;
		uint8_t value[4];
		size_t size, padding;
		int result;
		const char *what;
	} cases[] = {
		{STUN_REQUEST, STUN_METHOD_CHECK, {1}, 4, 0, 0, "a request"},
		{STUN_SUCCESS, STUN_METHOD_CHECK, {2, 1}, 4, 0, 0, "a response"},
		{STUN_ERROR, STUN_METHOD_CHECK, {1}, 4, 0, 1, "an error is none"},
		{STUN_INDICATION, STUN_METHOD_CHECK, {1}, 4, 0, 1, "nor is an indication"},
		{STUN_REQUEST, STUN_METHOD_BINDING, {1}, 4, 0, 1, "nor a Binding"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {0}, 4, 0, -1, "a role of 0"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {3}, 4, 0, -1, "a role of 3"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {1, 2}, 4, 0, -1, "a flag that is not known"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {1, 0, 1}, 4, 0, -1, "a third byte"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {1, 0, 0, 1}, 4, 0, -1, "a fourth byte"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {1}, 3, 0, -1, "three bytes"},
		{STUN_REQUEST, STUN_METHOD_CHECK, {1}, 4, 400, -1, "one that is padded"},
	};
	struct udp_check check;
	size_t size;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size = make_value(cases[i].class, cases[i].method, cases[i].value, cases[i].size,
			cases[i].padding);
		is_int(udp_check_read(&check, secret, bytes, size), cases[i].result, "%s",
			cases[i].what);
	}
	size = make_value(STUN_REQUEST, STUN_METHOD_CHECK, NULL, 0, 4);
	is_int(udp_check_read(&check, secret, bytes, size), -1, "one of padding alone");
	is_int(udp_check_read(&check, secret, "hello", 5), 1, "a datagram of a daemon is none");
	is_int(udp_check_read(&check, secret, "", 0), 1, "nor is an empty one");
}

int main(void)
{
	test_wire();
	test_false();
	return done_testing();
}
