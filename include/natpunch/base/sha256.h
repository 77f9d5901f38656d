/*
 * sha256.h - SHA-256 (FIPS 180-4 section 6.2) and HMAC with it (RFC 2104, FIPS 198-1).
 *
 * A state is the caller's, takes its input in pieces of any size, and is wiped when it finishes.
 */
#ifndef NATPUNCH_BASE_SHA256_H
#define NATPUNCH_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE       32
#define SHA256_BLOCK_SIZE 64

struct sha256 {
	uint32_t hash[8];
	uint64_t size; /* bytes taken so far */
	uint8_t block[SHA256_BLOCK_SIZE];
};

void sha256_start(struct sha256 *state);
void sha256_update(struct sha256 *state, const void *data, size_t size);
void sha256_finish(struct sha256 *state, uint8_t out[SHA256_SIZE]);

struct hmac_sha256 {
	struct sha256 inner;
	uint8_t outer_key[SHA256_BLOCK_SIZE];
};

/* A key of any size; one longer than a block is hashed first (RFC 2104 section 2). */
void hmac_sha256_start(struct hmac_sha256 *state, const void *key, size_t key_size);
void hmac_sha256_update(struct hmac_sha256 *state, const void *data, size_t size);
void hmac_sha256_finish(struct hmac_sha256 *state, uint8_t out[SHA256_SIZE]);

#endif
