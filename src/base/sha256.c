/*
 * sha256.c - SHA-256 and HMAC with it.
 *
 * Names are those of FIPS 180-4 where it has them. What is hashed with a key is secret, so no
 * branch and no index depends on a byte of the input, only on how many there are; states are wiped
 * when they are done.
 */
#include "natpunch/base/sha256.h"

#include <string.h>

#include "natpunch/base/secret.h"

#define SIZE_FIELD 8 /* the message's size in bits, at the end of the last block */

/* FIPS 180-4 4.2.2. */
static const uint32_t k[64] = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b,
	0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6,
	0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
	0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585,
	0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa,
	0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* FIPS 180-4 5.3.3. */
static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
	0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint32_t rotate(uint32_t x, unsigned count)
{
	return x >> count | x << (32 - count);
}

static uint32_t get_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* The message schedule (FIPS 180-4 6.2.2, step 1). */
static void expand(uint32_t w[64], const uint8_t *block)
{
	for (size_t t = 0; t < 16; t++)
		w[t] = get_u32(block + 4 * t);
	for (size_t t = 16; t < 64; t++) {
		uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
		uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;

		w[t] = s1 + w[t - 7] + s0 + w[t - 16];
	}
}

/* FIPS 180-4 6.2.2, steps 2 to 4. */
static void compress(uint32_t hash[8], const uint8_t *block)
{
	uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3];
	uint32_t e = hash[4], f = hash[5], g = hash[6], h = hash[7];
	uint32_t w[64];

	expand(w, block);
	for (size_t t = 0; t < 64; t++) {
		uint32_t sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
		uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + k[t] + w[t];
		uint32_t sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
		uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));

		h = g;
		g = f;
		f = e;
		e = d + t1;
		d = c;
		c = b;
		b = a;
		a = t1 + t2;
	}
	hash[0] += a;
	hash[1] += b;
	hash[2] += c;
	hash[3] += d;
	hash[4] += e;
	hash[5] += f;
	hash[6] += g;
	hash[7] += h;
	secret_wipe(w, sizeof(w));
}

void sha256_start(struct sha256 *state)
{
	memcpy(state->hash, initial, sizeof(initial));
	state->size = 0;
}

void sha256_update(struct sha256 *state, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	size_t used = (size_t)(state->size % SHA256_BLOCK_SIZE);
	size_t left = SHA256_BLOCK_SIZE - used;

	if (size == 0)
		return;
	state->size += size;
	if (size < left) {
		memcpy(state->block + used, bytes, size);
		return;
	}
	if (used > 0) {
		memcpy(state->block + used, bytes, left);
		compress(state->hash, state->block);
		bytes += left;
		size -= left;
	}
	for (; size >= SHA256_BLOCK_SIZE; size -= SHA256_BLOCK_SIZE, bytes += SHA256_BLOCK_SIZE)
		compress(state->hash, bytes);
	if (size > 0)
		memcpy(state->block, bytes, size);
}

/* The padding (FIPS 180-4 5.1.1): a bit, zeros, and the size in bits as the end of a block. */
void sha256_finish(struct sha256 *state, uint8_t out[SHA256_SIZE])
{
	static const uint8_t padding[SHA256_BLOCK_SIZE] = {0x80};
	size_t used = (size_t)(state->size % SHA256_BLOCK_SIZE);
	size_t end = SHA256_BLOCK_SIZE - SIZE_FIELD;
	size_t count = used < end ? end - used : end + SHA256_BLOCK_SIZE - used;
	uint64_t bits = state->size * 8;
	uint8_t field[SIZE_FIELD];

	put_u32(field, (uint32_t)(bits >> 32));
	put_u32(field + 4, (uint32_t)bits);
	sha256_update(state, padding, count);
	sha256_update(state, field, sizeof(field));
	for (size_t i = 0; i < 8; i++)
		put_u32(out + 4 * i, state->hash[i]);
	secret_wipe(state, sizeof(*state));
}

void hmac_sha256_start(struct hmac_sha256 *state, const void *key, size_t key_size)
{
	uint8_t block[SHA256_BLOCK_SIZE] = {0};

	if (key_size > sizeof(block)) {
		sha256_start(&state->inner);
		sha256_update(&state->inner, key, key_size);
		sha256_finish(&state->inner, block);
	} else if (key_size > 0) {
		memcpy(block, key, key_size);
	}
	for (size_t i = 0; i < sizeof(block); i++) {
		state->outer_key[i] = block[i] ^ 0x5c;
		block[i] ^= 0x36;
	}
	sha256_start(&state->inner);
	sha256_update(&state->inner, block, sizeof(block));
	secret_wipe(block, sizeof(block));
}

void hmac_sha256_update(struct hmac_sha256 *state, const void *data, size_t size)
{
	sha256_update(&state->inner, data, size);
}

void hmac_sha256_finish(struct hmac_sha256 *state, uint8_t out[SHA256_SIZE])
{
	struct sha256 outer;

	sha256_finish(&state->inner, out);
	sha256_start(&outer);
	sha256_update(&outer, state->outer_key, sizeof(state->outer_key));
	sha256_update(&outer, out, SHA256_SIZE);
	sha256_finish(&outer, out);
	secret_wipe(state, sizeof(*state));
}
