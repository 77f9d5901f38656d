#include "natpunch/base/siphash.h"

static uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static uint64_t get_u64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 8; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

static inline void mix(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static inline void take(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix(v);
	mix(v);
	v[0] ^= word;
}

uint64_t siphash(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t k0 = get_u64(key), k1 = get_u64(key + 8);
	uint64_t v[4] = {0x736f6d6570736575U ^ k0, 0x646f72616e646f6dU ^ k1,
		0x6c7967656e657261U ^ k0, 0x7465646279746573U ^ k1};
	uint64_t last = (uint64_t)size << 56;

	for (; size >= 8; size -= 8, bytes += 8)
		take(v, get_u64(bytes));
	for (unsigned i = 0; i < size; i++)
		last |= (uint64_t)bytes[i] << 8 * i;
	take(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		mix(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
