/*
 * nonce.h - the NONCE of the reflector (RFC 8489 14.10): proves that a request is new. The client
 * keeps it, not the server.
 *
 *   40 characters of base64url: salt (8 bytes), mask (14), use (8)
 *   mask = HMAC-SHA256(secret, "nonce" NUL period salt connection address name), its first 14 bytes
 *   use  = HMAC-SHA256(secret, "use" NUL salt changes name), its first 8 bytes
 *
 * The mask binds a nonce to the address that it was issued to, to the name and to the time. The
 * use binds it to how often the name was changed: each change makes all earlier nonces stale, so a
 * request that changes something works once. The mask is checked first, and does not depend on
 * whether the name exists; the use does, so it is checked only after the key is proven.
 */
#ifndef NATPUNCH_PROTO_NONCE_H
#define NATPUNCH_PROTO_NONCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

#define NONCE_SECRET_SIZE 32
#define NONCE_SALT_SIZE   8
#define NONCE_SIZE        40    /* characters; no NUL */
#define NONCE_PERIOD_MS   30000 /* a nonce lives for at least this long, and at most twice */

/* What a nonce is good for. */
struct nonce_subject {
	const struct addr *source; /* its address counts, its port does not */
	const char *name;
	uint32_t changes;    /* of the name, so far; 0 for a name that does not exist */
	uint64_t connection; /* the one that it must come back over, or 0: any will do */
};

/* `salt` is random and never used twice. `now` in ms. */
void nonce_make(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const uint8_t salt[NONCE_SALT_SIZE], uint64_t now, char out[NONCE_SIZE]);

/* Was it issued by us to this address, for this name, not long ago? */
bool nonce_is_fresh(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const void *nonce, size_t size, uint64_t now);

/* Is the name unchanged since? For a nonce that is fresh. */
bool nonce_is_unused(const uint8_t secret[NONCE_SECRET_SIZE], const struct nonce_subject *subject,
	const void *nonce, size_t size);

/* Its salt, which no two nonces have in common. For a nonce that is fresh; false for no nonce. */
bool nonce_read_salt(const void *nonce, size_t size, uint8_t out[NONCE_SALT_SIZE]);

#endif
