/*
 * udp_check.h - "do my datagrams reach you, and yours me?": the messages between the two sides of a
 * UDP punch, as the connectivity checks of ICE (RFC 8445 section 7).
 *
 *   method  number  request (either side)                success response (the other side)
 *   CHECK   0x0E9   CHECK, MESSAGE-INTEGRITY-SHA256,     the same
 *                   FINGERPRINT
 *
 * The HMAC's key are the name's 32 bytes (name_messages.h). They contain neither the name nor
 * anything else that identifies it. Both are 72 bytes, so no answer is larger than its request.
 *
 * NATPUNCH-CHECK (0xC6F4), 4 bytes:
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |     role      |     flags     |               0               |
 *
 *   role    whose message it is. 1: the initiator's, 2: home's. A message of one's own role is one
 *           that was sent back, and is none.
 *   flags   1: the sender's own request was answered, so both ways are open and no more is wanted
 *
 * The daemon on the port may get these datagrams too. They begin with 0x02c9 or 0x03c9, which
 * no message of WireGuard's, OpenVPN's or mosh's does; each of them ignores what its keys do not
 * fit.
 */
#ifndef NATPUNCH_PROTO_UDP_CHECK_H
#define NATPUNCH_PROTO_UDP_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/key.h"
#include "natpunch/proto/stun.h"

#define UDP_CHECK_SIZE 72

enum udp_check_role {
	UDP_CHECK_INITIATOR = 1,
	UDP_CHECK_HOME = 2,
};

struct udp_check {
	bool response; /* or a request */
	enum udp_check_role role;
	bool through;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
};

/* Returns UDP_CHECK_SIZE, or 0 when capacity is too small. */
size_t udp_check_write(const struct udp_check *check, const uint8_t secret[KEY_SECRET_SIZE],
	void *out, size_t capacity);

/*
 * Judges one datagram. Returns 0; 1 for one that is no check, as the daemon's are; -1 for one that
 * is false: another key's, or malformed.
 */
int udp_check_read(struct udp_check *out, const uint8_t secret[KEY_SECRET_SIZE], const void *data,
	size_t size) __attribute__((warn_unused_result));

#endif
