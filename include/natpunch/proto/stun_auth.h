/*
 * stun_auth.h - by a name's key MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6) proves who wrote a
 * message, and a pad hides some of its bytes.
 *
 * The HMAC covers everything in front of the attribute, the header with a length that ends behind
 * the attribute. Of its lengths only the full 32 bytes are taken. Because the header is covered, a
 * request cannot be turned into a response, nor an answer moved to another transaction.
 *
 * Hidden bytes are xored with a pad:
 *
 *   HMAC-SHA256(key, label, transaction (128 bits), salt)
 *
 * No two messages have the same transaction id and salt, as both are random, so no pad is used
 * twice. The label, with its NUL, tells apart what is hidden, and cannot begin a STUN message: no
 * pad is ever a message's HMAC. The pad only hides: check the message's
 * MESSAGE-INTEGRITY-SHA256 as well, which shows that nothing was changed.
 */
#ifndef NATPUNCH_PROTO_STUN_AUTH_H
#define NATPUNCH_PROTO_STUN_AUTH_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/key.h"
#include "natpunch/proto/stun.h"
#include "natpunch/base/wire.h"

#define STUN_AUTH_SALT_SIZE 8
#define STUN_AUTH_MASK_MAX  32 /* bytes that one pad hides */

enum stun_auth_result {
	STUN_AUTH_ABSENT,
	STUN_AUTH_VALID,
	/* Of another key, of another length, twice, or with more than a FINGERPRINT behind it. */
	STUN_AUTH_INVALID,
};

/* Takes a message that stun_parse() accepted. */
enum stun_auth_result stun_auth_check(
	const struct stun_message *message, const void *key, size_t key_size);

/* Puts the last attribute, except for a FINGERPRINT. */
void stun_auth_put(struct wire_writer *writer, const void *key, size_t key_size);

/* Hides `bytes`, or shows them again. `size` is STUN_AUTH_MASK_MAX at most. */
void stun_auth_mask(uint8_t *bytes, size_t size, const uint8_t secret[KEY_SECRET_SIZE],
	const char *label, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const uint8_t salt[STUN_AUTH_SALT_SIZE]);

#endif
