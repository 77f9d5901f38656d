/*
 * stun_auth.c - MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6).
 *
 * Threat: an attacker without the key who can send, or change messages on their way. RFC 8489 lets
 * a receiver ignore attributes behind this one; here only a FINGERPRINT may follow, so that no byte
 * of a valid message is an attacker's.
 */
#include "natpunch/proto/stun_auth.h"

#include <string.h>

#include "natpunch/base/secret.h"
#include "natpunch/base/sha256.h"

#define ATTRIBUTE_SIZE (4 + SHA256_SIZE)

_Static_assert(STUN_AUTH_MASK_MAX == SHA256_SIZE, "a pad is one HMAC");

/* `offset` is where the attribute begins, from the message's first byte. */
static void compute(const uint8_t *data, size_t offset, const void *key, size_t key_size,
	uint8_t out[SHA256_SIZE])
{
	size_t length = offset + ATTRIBUTE_SIZE - STUN_HEADER_SIZE;
	uint8_t head[4] = {data[0], data[1], (uint8_t)(length >> 8), (uint8_t)length};
	struct hmac_sha256 state;

	hmac_sha256_start(&state, key, key_size);
	hmac_sha256_update(&state, head, sizeof(head));
	hmac_sha256_update(&state, data + sizeof(head), offset - sizeof(head));
	hmac_sha256_finish(&state, out);
}

/* Whether at most a FINGERPRINT is left from `offset` on. */
static bool ends_here(const struct stun_message *message, size_t offset)
{
	struct stun_attribute attribute;

	if (!stun_next(message, &offset, &attribute))
		return true;
	return attribute.type == STUN_FINGERPRINT && !stun_next(message, &offset, &attribute);
}

enum stun_auth_result stun_auth_check(
	const struct stun_message *message, const void *key, size_t key_size)
{
	struct stun_attribute attribute;
	uint8_t expected[SHA256_SIZE];
	size_t offset = 0, begin = 0;
	bool equal;

	for (;; begin = offset) {
		if (!stun_next(message, &offset, &attribute))
			return STUN_AUTH_ABSENT;
		if (attribute.type == STUN_MESSAGE_INTEGRITY_SHA256)
			break;
	}
	if (message->classic || attribute.size != SHA256_SIZE || !ends_here(message, offset))
		return STUN_AUTH_INVALID;
	compute(message->data, STUN_HEADER_SIZE + begin, key, key_size, expected);
	equal = secret_equal(expected, attribute.value, SHA256_SIZE);
	secret_wipe(expected, sizeof(expected));
	return equal ? STUN_AUTH_VALID : STUN_AUTH_INVALID;
}

void stun_auth_put(struct wire_writer *writer, const void *key, size_t key_size)
{
	uint8_t value[SHA256_SIZE];

	if (writer->failed)
		return;
	compute(writer->data, writer->offset, key, key_size, value);
	stun_put(writer, STUN_MESSAGE_INTEGRITY_SHA256, value, sizeof(value));
}

void stun_auth_mask(uint8_t *bytes, size_t size, const uint8_t secret[KEY_SECRET_SIZE],
	const char *label, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const uint8_t salt[STUN_AUTH_SALT_SIZE])
{
	struct hmac_sha256 state;
	uint8_t pad[SHA256_SIZE];

	hmac_sha256_start(&state, secret, KEY_SECRET_SIZE);
	hmac_sha256_update(&state, label, strlen(label) + 1);
	hmac_sha256_update(&state, transaction, STUN_TRANSACTION_SIZE);
	hmac_sha256_update(&state, salt, STUN_AUTH_SALT_SIZE);
	hmac_sha256_finish(&state, pad);
	for (size_t i = 0; i < size && i < sizeof(pad); i++)
		bytes[i] ^= pad[i];
	secret_wipe(pad, sizeof(pad));
}
