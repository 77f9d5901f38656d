/*
 * relay_messages.h - the ticket and the JOIN, by which home comes to a relayed connection.
 *
 * If there is no direct way, initiator and home both connect to the reflector, and it relays
 * between them. The initiator asks RELAY (name_messages.h) over its connection and waits. The
 * reflector sends home an INVITE (invitation.h) with a ticket; home makes a new connection, from
 * any port, and shows that it has the ticket:
 *
 *   method  number  request (home)              success response (reflector)
 *   JOIN    0x0E7   JOIN, MESSAGE-INTEGRITY-    MESSAGE-INTEGRITY-SHA256, FINGERPRINT
 *                   SHA256, FINGERPRINT
 *
 * Both HMACs are under the ticket's token. Then the success response to RELAY is sent as well, and
 * from there on either connection carries the other's bytes and no STUN. So neither may send
 * anything before the answer: it is lost, or ends the relay. A ticket is valid once, and only for a
 * few seconds. A JOIN with another token, without a ticket that is waited for, or with anything
 * unknown gets 401; 508 if the reflector is out of descriptors. Either ends the connection.
 *
 * NATPUNCH-TICKET (0xC6E8), 32 bytes, readable with the name's key alone (stun_auth.h, label
 * "natpunch relay 1"):
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |                         salt (64 bits)                        |
 *  |              24 bytes of what follows, xor a pad              |
 *
 *  |                        number (64 bits)                       |
 *  |                        token (128 bits)                       |
 *
 * NATPUNCH-JOIN (0xC6E9), 8 bytes: that number, which is no secret.
 */
#ifndef NATPUNCH_PROTO_RELAY_MESSAGES_H
#define NATPUNCH_PROTO_RELAY_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/key.h"
#include "natpunch/proto/stun_auth.h"
#include "natpunch/proto/stun.h"
#include "natpunch/base/wire.h"

#define RELAY_TOKEN_SIZE 16

/* STUN error codes of RELAY and JOIN. */
#define RELAY_MESSAGE_UNPROVEN  401
#define RELAY_MESSAGE_OFF       403
#define RELAY_MESSAGE_NOT_HOME  447
#define RELAY_MESSAGE_NAME_FULL 486
#define RELAY_MESSAGE_FULL      508

struct relay_ticket {
	uint64_t number; /* never 0 */
	uint8_t token[RELAY_TOKEN_SIZE];
};

/* Masks a ticket for the message that is being written. `salt` is random, never used twice. */
void relay_message_put_ticket(struct wire_writer *writer, const struct relay_ticket *ticket,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[STUN_AUTH_SALT_SIZE]);

/* Returns -1 for another size or number 0. The message's integrity must have been checked. */
int relay_message_read_ticket(const struct stun_message *message,
	const struct stun_attribute *attribute, const uint8_t secret[KEY_SECRET_SIZE],
	struct relay_ticket *out) __attribute__((warn_unused_result));

/* ---- home ------------------------------------------------------------------------------- */

/*
 * Writes a JOIN under a transaction id of its own, made from 12 random bytes. Returns its size, or
 * 0 when capacity is too small.
 */
size_t relay_message_write_join(const struct relay_ticket *ticket, const uint8_t random[12],
	uint8_t transaction[STUN_TRANSACTION_SIZE], void *out, size_t capacity);

enum relay_message_outcome {
	RELAY_MESSAGE_JOINED,
	RELAY_MESSAGE_REFUSED,   /* *code says why */
	RELAY_MESSAGE_MALFORMED, /* anything else: no answer to this request, or one without proof
				  */
};

/* Judges the answer, one whole message, to a JOIN with this transaction id. */
enum relay_message_outcome relay_message_read_answer(const struct relay_ticket *ticket,
	const uint8_t transaction[STUN_TRANSACTION_SIZE], const void *data, size_t size,
	unsigned *code);

/* ---- reflector -------------------------------------------------------------------------- */

/*
 * Is this message, which stun_parse() accepted, a JOIN, and for which number? Returns 0; 1 for
 * another message; -1 for a JOIN that makes no sense.
 */
int relay_message_read_join(const struct stun_message *message, uint64_t *number)
	__attribute__((warn_unused_result));

/* Answers to a request: each returns its size, or 0 when capacity is too small. */
size_t relay_message_write_joined(const struct stun_message *join,
	const uint8_t token[RELAY_TOKEN_SIZE], void *out, size_t capacity);
size_t relay_message_write_error(uint16_t method, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	unsigned code, void *out, size_t capacity);

/* One of the codes above in words, as for an ERROR-CODE's reason phrase. */
const char *relay_message_reason(unsigned code);

#endif
