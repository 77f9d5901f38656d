/*
 * stun_integrity.c - MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6).
 *
 * Threat: whoever can send, or change what is on its way, and does not have the key. RFC 8489 lets
 * a receiver pass over what stands behind the attribute; here nothing may stand there but a
 * FINGERPRINT, so that no byte of a message that counts as valid is another's.
 */
#include "natpunch/stun_integrity.h"

#include "natpunch/secret.h"
#include "natpunch/sha256.h"

#define ATTRIBUTE_SIZE (4 + SHA256_SIZE)

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

enum stun_integrity stun_check_integrity(
	const struct stun_message *message, const void *key, size_t key_size)
{
	struct stun_attribute attribute;
	uint8_t expected[SHA256_SIZE];
	size_t offset = 0, begin = 0;
	bool equal;

	for (;; begin = offset) {
		if (!stun_next(message, &offset, &attribute))
			return STUN_INTEGRITY_ABSENT;
		if (attribute.type == STUN_MESSAGE_INTEGRITY_SHA256)
			break;
	}
	if (message->classic || attribute.size != SHA256_SIZE || !ends_here(message, offset))
		return STUN_INTEGRITY_INVALID;
	compute(message->data, STUN_HEADER_SIZE + begin, key, key_size, expected);
	equal = secret_equal(expected, attribute.value, SHA256_SIZE);
	secret_wipe(expected, sizeof(expected));
	return equal ? STUN_INTEGRITY_VALID : STUN_INTEGRITY_INVALID;
}

void stun_put_integrity(struct wire_writer *writer, const void *key, size_t key_size)
{
	uint8_t value[SHA256_SIZE];

	if (writer->failed)
		return;
	compute(writer->data, writer->offset, key, key_size, value);
	stun_put(writer, STUN_MESSAGE_INTEGRITY_SHA256, value, sizeof(value));
}
