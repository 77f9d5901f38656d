#include "natpunch/seal.h"

#include <string.h>

#include "natpunch/secret.h"
#include "natpunch/sha256.h"

_Static_assert(SEAL_SIZE_MAX == SHA256_SIZE, "a pad is one HMAC");

void seal_apply(uint8_t *bytes, size_t size, const uint8_t secret[KEY_SECRET_SIZE],
	const char *label, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const uint8_t salt[SEAL_SALT_SIZE])
{
	struct hmac_sha256 state;
	uint8_t pad[SHA256_SIZE];

	hmac_sha256_start(&state, secret, KEY_SECRET_SIZE);
	hmac_sha256_update(&state, label, strlen(label) + 1);
	hmac_sha256_update(&state, transaction, STUN_TRANSACTION_SIZE);
	hmac_sha256_update(&state, salt, SEAL_SALT_SIZE);
	hmac_sha256_finish(&state, pad);
	for (size_t i = 0; i < size && i < sizeof(pad); i++)
		bytes[i] ^= pad[i];
	secret_wipe(pad, sizeof(pad));
}
