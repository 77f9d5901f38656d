/*
 * stun_integrity.h - MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6): who wrote a message.
 *
 * The HMAC covers everything in front of the attribute, the header with a length that ends behind
 * the attribute. Of its lengths only the full 32 bytes are taken. Because the header is covered, a
 * request cannot be turned into a response, nor an answer moved to another transaction.
 */
#ifndef NATPUNCH_STUN_INTEGRITY_H
#define NATPUNCH_STUN_INTEGRITY_H

#include <stddef.h>

#include "natpunch/stun.h"
#include "natpunch/wire.h"

enum stun_integrity {
	STUN_INTEGRITY_ABSENT,
	STUN_INTEGRITY_VALID,
	/* Of another key, of another length, twice, or with more than a FINGERPRINT behind it. */
	STUN_INTEGRITY_INVALID,
};

/* Takes a message that stun_parse() accepted. */
enum stun_integrity stun_check_integrity(
	const struct stun_message *message, const void *key, size_t key_size);

/* The last put but for a FINGERPRINT. */
void stun_put_integrity(struct wire_writer *writer, const void *key, size_t key_size);

#endif
