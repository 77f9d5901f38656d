/*
 * nonce.c - the NONCE of the reflector.
 *
 * Threats: a captured request is replayed; a nonce that was seen on its way is used from elsewhere;
 * a nonce is forged; a nonce of one name is used for another. Nothing is stored, so there is no
 * table to fill.
 */
#include "natpunch/proto/nonce.h"

#include <string.h>

#include "natpunch/base/base64.h"
#include "natpunch/base/secret.h"
#include "natpunch/base/sha256.h"

#define SEAL_SIZE 14
#define USE_SIZE  8
#define RAW_SIZE  (NONCE_SALT_SIZE + SEAL_SIZE + USE_SIZE)

static void add_number(struct hmac_sha256 *state, uint64_t number)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(number >> (56 - 8 * i));
	hmac_sha256_update(state, bytes, sizeof(bytes));
}

/* The name comes last in both: everything in front of it has a fixed size. */
static void compute_seal(const uint8_t secret[NONCE_SECRET_SIZE],
	const struct nonce_subject *subject, const uint8_t *salt, uint64_t period,
	uint8_t out[SHA256_SIZE])
{
	struct hmac_sha256 state;

	hmac_sha256_start(&state, secret, NONCE_SECRET_SIZE);
	hmac_sha256_update(&state, "nonce", 6);
	add_number(&state, period);
	hmac_sha256_update(&state, salt, NONCE_SALT_SIZE);
	add_number(&state, subject->connection);
	hmac_sha256_update(&state, &subject->source->family, 1);
	hmac_sha256_update(&state, subject->source->ip, sizeof(subject->source->ip));
	hmac_sha256_update(&state, subject->name, strlen(subject->name));
	hmac_sha256_finish(&state, out);
}

static void compute_use(const uint8_t secret[NONCE_SECRET_SIZE],
	const struct nonce_subject *subject, const uint8_t *salt, uint8_t out[SHA256_SIZE])
{
	struct hmac_sha256 state;

	hmac_sha256_start(&state, secret, NONCE_SECRET_SIZE);
	hmac_sha256_update(&state, "use", 4);
	hmac_sha256_update(&state, salt, NONCE_SALT_SIZE);
	add_number(&state, subject->changes);
	hmac_sha256_update(&state, subject->name, strlen(subject->name));
	hmac_sha256_finish(&state, out);
}

void nonce_make(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const uint8_t salt[NONCE_SALT_SIZE], uint64_t now, char out[NONCE_SIZE])
{
	uint8_t raw[RAW_SIZE], hash[SHA256_SIZE];

	memcpy(raw, salt, NONCE_SALT_SIZE);
	compute_seal(secret, subject, salt, now / NONCE_PERIOD_MS, hash);
	memcpy(raw + NONCE_SALT_SIZE, hash, SEAL_SIZE);
	compute_use(secret, subject, salt, hash);
	memcpy(raw + NONCE_SALT_SIZE + SEAL_SIZE, hash, USE_SIZE);
	base64_encode(raw, sizeof(raw), out);
}

static bool decode(const void *nonce, size_t size, uint8_t raw[RAW_SIZE])
{
	return size == NONCE_SIZE && base64_decode(nonce, size, raw) == 0;
}

bool nonce_is_fresh(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const void *nonce, size_t size, uint64_t now)
{
	uint8_t raw[RAW_SIZE], hash[SHA256_SIZE];
	uint64_t period = now / NONCE_PERIOD_MS;

	if (!decode(nonce, size, raw))
		return false;
	compute_seal(secret, subject, raw, period, hash);
	if (secret_equal(hash, raw + NONCE_SALT_SIZE, SEAL_SIZE))
		return true;
	if (period == 0)
		return false;
	compute_seal(secret, subject, raw, period - 1, hash);
	return secret_equal(hash, raw + NONCE_SALT_SIZE, SEAL_SIZE);
}

bool nonce_is_unused(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const void *nonce, size_t size)
{
	uint8_t raw[RAW_SIZE], hash[SHA256_SIZE];

	if (!decode(nonce, size, raw))
		return false;
	compute_use(secret, subject, raw, hash);
	return secret_equal(hash, raw + NONCE_SALT_SIZE + SEAL_SIZE, USE_SIZE);
}

bool nonce_read_salt(const void *nonce, size_t size, uint8_t out[NONCE_SALT_SIZE])
{
	uint8_t raw[RAW_SIZE];

	if (!decode(nonce, size, raw))
		return false;
	memcpy(out, raw, NONCE_SALT_SIZE);
	return true;
}
