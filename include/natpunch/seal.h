/*
 * seal.h - a few bytes of a STUN message made readable with a name's key alone.
 *
 * The bytes are xored with a pad:
 *
 *   HMAC-SHA256(key, label, transaction (128 bits), salt)
 *
 * No two messages have the same transaction id and salt, as both are random, so no pad is used
 * twice. The label, with its NUL, tells apart what is sealed, and cannot begin a STUN message: no
 * pad is ever a message's HMAC. A seal hides; that nothing was changed is shown by the message's
 * MESSAGE-INTEGRITY-SHA256, which must be checked as well.
 */
#ifndef NATPUNCH_SEAL_H
#define NATPUNCH_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/keyfile.h"
#include "natpunch/stun.h"

#define SEAL_SALT_SIZE 8
#define SEAL_SIZE_MAX  32 /* bytes that one pad hides */

/* Seals `bytes`, or opens them again. `size` is SEAL_SIZE_MAX at most. */
void seal_apply(uint8_t *bytes, size_t size, const uint8_t secret[KEY_SECRET_SIZE],
	const char *label, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const uint8_t salt[SEAL_SALT_SIZE]);

#endif
