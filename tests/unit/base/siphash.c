/* SipHash-2-4 against the vectors of its authors: key 00 01 .. 0f, data 00 01 .. of each length. */
#include "natpunch/base/siphash.h"

#include "tap.h"

struct vector {
	size_t size;
	uint64_t hash;
};

int main(void)
{
	static const struct vector vectors[] = {{0, 0x726fdb47dd0e0e31U}, {1, 0x74f839c593dc67fdU},
		{8, 0x93f5f5799a932462U}, {15, 0xa129ca6149be45e5U}};
	uint8_t key[SIPHASH_KEY_SIZE], data[16];

	for (uint8_t i = 0; i < 16; i++)
		key[i] = data[i] = i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
		ok(siphash(key, data, vectors[i].size) == vectors[i].hash, "%zu bytes",
			vectors[i].size);
	key[15] ^= 1;
	ok(siphash(key, data, 15) != vectors[3].hash, "another key, another hash");
	return done_testing();
}
