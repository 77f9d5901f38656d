/*
 * SHA-256 and HMAC against the published vectors: FIPS 180-4 by way of NIST's examples, RFC 4231.
 */
#include "natpunch/base/sha256.h"

#include "natpunch/base/secret.h"
#include "tap.h"

static void to_hex(const uint8_t *bytes, char out[2 * SHA256_SIZE + 1])
{
	for (size_t i = 0; i < SHA256_SIZE; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void hash_hex(const void *data, size_t size, char out[2 * SHA256_SIZE + 1])
{
	uint8_t hash[SHA256_SIZE];
	struct sha256 state;

	sha256_start(&state);
	sha256_update(&state, data, size);
	sha256_finish(&state, hash);
	to_hex(hash, out);
}

static void test_hash(void)
{
	static const struct {
		const char *text;
		const char *hash;
	} vectors[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
		 "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
			"cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};
	char hex[2 * SHA256_SIZE + 1];
	uint8_t hash[SHA256_SIZE];
	struct sha256 state;

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		hash_hex(vectors[i].text, strlen(vectors[i].text), hex);
		is_str(hex, vectors[i].hash, "%zu bytes", strlen(vectors[i].text));
	}
	sha256_start(&state);
	for (int i = 0; i < 1000000; i++)
		sha256_update(&state, "a", 1);
	sha256_finish(&state, hash);
	to_hex(hash, hex);
	is_str(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
		"a million times a");
}

struct hmac_vector {
	const char *name;
	uint8_t key_byte; /* repeated, or 0: key_text */
	size_t key_size;
	const char *key_text;
	uint8_t data_byte;
	size_t data_size;
	const char *data_text;
	const char *mac;
};

static const struct hmac_vector hmac_vectors[] = {
	{"4.2", 0x0b, 20, NULL, 0, 8, "Hi There",
		"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"4.3", 0, 4, "Jefe", 0, 28, "what do ya want for nothing?",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"4.4", 0xaa, 20, NULL, 0xdd, 50, NULL,
		"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"4.5", 0, 25,
		"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14"
		"\x15\x16\x17\x18\x19",
		0xcd, 50, NULL, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	{"4.7", 0xaa, 131, NULL, 0, 54, "Test Using Larger Than Block-Size Key - Hash Key First",
		"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{"4.8", 0xaa, 131, NULL, 0, 152,
		"This is a test using a larger than block-size key and a larger than block-size "
		"data. The key needs to be hashed before being used by the HMAC algorithm.",
		"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

static const void *fill(uint8_t *buffer, uint8_t byte, size_t size, const char *text)
{
	if (text != NULL)
		return text;
	memset(buffer, byte, size);
	return buffer;
}

static void test_hmac(void)
{
	for (size_t i = 0; i < sizeof(hmac_vectors) / sizeof(hmac_vectors[0]); i++) {
		const struct hmac_vector *vector = &hmac_vectors[i];
		uint8_t key[131], data[152], mac[SHA256_SIZE];
		char hex[2 * SHA256_SIZE + 1];
		struct hmac_sha256 state;

		hmac_sha256_start(&state,
			fill(key, vector->key_byte, vector->key_size, vector->key_text),
			vector->key_size);
		hmac_sha256_update(&state,
			fill(data, vector->data_byte, vector->data_size, vector->data_text),
			vector->data_size);
		hmac_sha256_finish(&state, mac);
		to_hex(mac, hex);
		is_str(hex, vector->mac, "RFC 4231 %s", vector->name);
	}
}

/* RFC 4231 4.6 gives the first 128 bits alone. */
static void test_truncated(void)
{
	uint8_t key[20], mac[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	struct hmac_sha256 state;

	memset(key, 0x0c, sizeof(key));
	hmac_sha256_start(&state, key, sizeof(key));
	hmac_sha256_update(&state, "Test With Truncation", 20);
	hmac_sha256_finish(&state, mac);
	to_hex(mac, hex);
	hex[32] = '\0';
	is_str(hex, "a3b6167473100ee06e0c796c2955552b", "RFC 4231 4.6");
}

static bool is_zero(const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static void test_secret(void)
{
	struct hmac_sha256 state;
	uint8_t mac[SHA256_SIZE], other[SHA256_SIZE];

	hmac_sha256_start(&state, "key", 3);
	hmac_sha256_update(&state, "data", 4);
	hmac_sha256_finish(&state, mac);
	ok(is_zero(&state, sizeof(state)), "a finished state holds nothing of the key");
	memcpy(other, mac, sizeof(other));
	ok(secret_equal(mac, other, sizeof(mac)), "the same bytes are equal");
	for (size_t i = 0; i < sizeof(mac); i++) {
		other[i] ^= 0x80;
		if (secret_equal(mac, other, sizeof(mac)))
			fail("byte %zu does not count", i);
		other[i] ^= 0x80;
	}
	ok(secret_equal(mac, other, 0), "nothing equals nothing");
	secret_wipe(mac, sizeof(mac));
	ok(is_zero(mac, sizeof(mac)), "wiped");
}

/* Every size around the block's, cut at every place, gives what the whole gives. */
static void test_pieces(void)
{
	uint8_t data[3 * SHA256_BLOCK_SIZE], whole[SHA256_SIZE], pieces[SHA256_SIZE];
	struct sha256 state;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 151 + 7);
	for (size_t size = 0; size <= sizeof(data); size++) {
		sha256_start(&state);
		sha256_update(&state, data, size);
		sha256_finish(&state, whole);
		for (size_t cut = 0; cut <= size; cut++) {
			sha256_start(&state);
			sha256_update(&state, data, cut);
			sha256_update(&state, data + cut, size - cut);
			sha256_finish(&state, pieces);
			wrong += memcmp(whole, pieces, sizeof(whole)) != 0;
		}
	}
	is_int(wrong, 0, "0 to %zu bytes, cut in two at every place", sizeof(data));
}

int main(void)
{
	test_hash();
	test_hmac();
	test_truncated();
	test_secret();
	test_pieces();
	return done_testing();
}
