/*
 * MESSAGE-INTEGRITY-SHA256 against the sample of RFC 8489 B.1 and against those who have no key.
 *
 * As printed, the sample cannot be right: its length field says 156 where 144 bytes follow, and the
 * PASSWORD-ALGORITHM attribute that its text names is missing. The erratum to it gives the message
 * below. Its key is SHA-256("<user>:example.org:TheMatrIX") (RFC 8489 18.5.1).
 */
#include "natpunch/proto/stun_auth.h"

#include "tap.h"

#define B1_MAC_OFFSET 132

static const uint8_t b1_key[32] = {0xdd, 0x29, 0x5a, 0x61, 0x3b, 0x90, 0x58, 0xc3, 0xc2, 0x3d, 0x6d,
	0xc7, 0x16, 0x5b, 0xda, 0x07, 0x23, 0x04, 0xd9, 0x89, 0xc9, 0xd0, 0xaf, 0x3a, 0x8c, 0x7e,
	0x18, 0x4b, 0x4f, 0x9b, 0xb4, 0xa1};

static const uint8_t b1[164] = {0x00, 0x01, 0x00, 0x90, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34,
	0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x1e, 0x00, 0x20, 0x4a, 0x3c,
	0xf3, 0x8f, 0xef, 0x69, 0x92, 0xbd, 0xa9, 0x52, 0xc6, 0x78, 0x04, 0x17, 0xda, 0x0f, 0x24,
	0x81, 0x94, 0x15, 0x56, 0x9e, 0x60, 0xb2, 0x05, 0xc4, 0x6e, 0x41, 0x40, 0x7f, 0x17, 0x04,
	0x00, 0x15, 0x00, 0x29, 'o', 'b', 'M', 'a', 't', 'J', 'o', 's', '2', 'A', 'A', 'A', 'C',
	'f', '/', '/', '4', '9', '9', 'k', '9', '5', '4', 'd', '6', 'O', 'L', '3', '4', 'o', 'L',
	'9', 'F', 'S', 'T', 'v', 'y', '6', '4', 's', 'A', 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x0b,
	'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'o', 'r', 'g', 0x00, 0x00, 0x1d, 0x00, 0x04, 0x00,
	0x02, 0x00, 0x00, 0x00, 0x1c, 0x00, 0x20, 0xb5, 0xc7, 0xbf, 0x00, 0x5b, 0x6c, 0x52, 0xa2,
	0x1c, 0x51, 0xc5, 0xe8, 0x92, 0xf8, 0x19, 0x24, 0x13, 0x62, 0x96, 0xcb, 0x92, 0x7c, 0x43,
	0x14, 0x93, 0x09, 0x27, 0x8c, 0xc6, 0x51, 0x8e, 0x65};

static enum stun_auth_result check(const void *data, size_t size, const void *key, size_t key_size)
{
	struct stun_message message;

	if (stun_parse(&message, data, size) != 0)
		return STUN_AUTH_INVALID;
	return stun_auth_check(&message, key, key_size);
}

static void test_vector(void)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	is_int(check(b1, sizeof(b1), b1_key, sizeof(b1_key)), STUN_AUTH_VALID,
		"RFC 8489 B.1 holds");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_BINDING, b1 + 4);
	wire_write_bytes(&writer, b1 + STUN_HEADER_SIZE, B1_MAC_OFFSET - 4 - STUN_HEADER_SIZE);
	stun_auth_put(&writer, b1_key, sizeof(b1_key));
	is_uint(stun_finish(&writer), sizeof(b1), "written anew it is as long");
	is_mem(bytes, b1, sizeof(b1), "and the same");
}

static void test_every_bit(void)
{
	uint8_t bytes[sizeof(b1)], key[sizeof(b1_key)];
	int accepted = 0;

	memcpy(bytes, b1, sizeof(b1));
	for (size_t i = 0; i < 8 * sizeof(bytes); i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		accepted += check(bytes, sizeof(bytes), b1_key, sizeof(b1_key)) == STUN_AUTH_VALID;
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	is_int(accepted, 0, "no flipped bit of the message is accepted");
	memcpy(key, b1_key, sizeof(key));
	accepted = 0;
	for (size_t i = 0; i < 8 * sizeof(key); i++) {
		key[i / 8] ^= (uint8_t)(1 << i % 8);
		accepted += check(b1, sizeof(b1), key, sizeof(key)) == STUN_AUTH_VALID;
		key[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	is_int(accepted, 0, "no other key is accepted");
}

/* What stands behind the attribute, and how often it stands there. */
static size_t write_with(uint8_t *bytes, bool fingerprint, bool behind, bool twice, size_t cut)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 1};
	struct wire_writer writer;

	stun_begin(
		&writer, bytes, STUN_MESSAGE_MAX, STUN_REQUEST, STUN_METHOD_BINDING, transaction);
	stun_put(&writer, STUN_USERNAME, "home", 4);
	if (cut > 0)
		stun_put(&writer, STUN_MESSAGE_INTEGRITY_SHA256, b1, cut);
	else
		stun_auth_put(&writer, "key", 3);
	if (twice)
		stun_auth_put(&writer, "key", 3);
	if (behind)
		stun_put(&writer, STUN_SOFTWARE, "x", 1);
	if (fingerprint)
		stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static void test_order(void)
{
	static const struct {
		bool fingerprint, behind, twice;
		size_t cut;
		enum stun_auth_result want;
		const char *name;
	} rows[] = {
		{false, false, false, 0, STUN_AUTH_VALID, "alone at the end"},
		{true, false, false, 0, STUN_AUTH_VALID, "a FINGERPRINT behind it"},
		{false, true, false, 0, STUN_AUTH_INVALID, "another attribute behind it"},
		{true, true, false, 0, STUN_AUTH_INVALID, "another, and a FINGERPRINT"},
		{false, false, true, 0, STUN_AUTH_INVALID, "twice"},
		{false, false, false, 16, STUN_AUTH_INVALID, "cut to 16 bytes"},
		{false, false, false, 36, STUN_AUTH_INVALID, "36 bytes"},
	};
	uint8_t bytes[STUN_MESSAGE_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = write_with(
			bytes, rows[i].fingerprint, rows[i].behind, rows[i].twice, rows[i].cut);
		is_int(check(bytes, size, "key", 3), rows[i].want, "%s", rows[i].name);
	}
}

static void test_absent(void)
{
	static const uint8_t bare[STUN_HEADER_SIZE] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	uint8_t classic[sizeof(b1)];

	is_int(check(bare, sizeof(bare), "key", 3), STUN_AUTH_ABSENT, "none in it");
	memcpy(classic, b1, sizeof(classic));
	classic[4] = 0;
	is_int(check(classic, sizeof(classic), b1_key, sizeof(b1_key)), STUN_AUTH_INVALID,
		"a message of RFC 3489 has none that counts");
}

int main(void)
{
	test_vector();
	test_every_bit();
	test_order();
	test_absent();
	return done_testing();
}
