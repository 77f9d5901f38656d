/*
 * relay_messages.c - the ticket and the JOIN.
 *
 * Threat: anybody can send the reflector a JOIN, and an attacker on the path can read one. A
 * ticket's token is 128 random bits that cross the network only under the name's key; a JOIN proves
 * the token without sending it. A message with any other attribute is no JOIN.
 */
#include "natpunch/proto/relay_messages.h"

#include <string.h>

#include "natpunch/base/secret.h"
#include "natpunch/proto/stun_auth.h"

#define LABEL         "natpunch relay 1"
#define NUMBER_SIZE   8
#define PLAIN_SIZE    (NUMBER_SIZE + RELAY_TOKEN_SIZE)
#define TICKET_SIZE   (STUN_AUTH_SALT_SIZE + PLAIN_SIZE)
#define COMPREHENSION 0x8000 /* types below must be understood (RFC 8489 section 14) */

_Static_assert(PLAIN_SIZE <= STUN_AUTH_MASK_MAX, "a ticket is hidden by one pad");

static void put_number(uint8_t out[NUMBER_SIZE], uint64_t number)
{
	for (unsigned i = 0; i < NUMBER_SIZE; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
}

static uint64_t get_number(const uint8_t bytes[NUMBER_SIZE])
{
	uint64_t number = 0;

	for (unsigned i = 0; i < NUMBER_SIZE; i++)
		number = number << 8 | bytes[i];
	return number;
}

void relay_message_put_ticket(struct wire_writer *writer, const struct relay_ticket *ticket,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[STUN_AUTH_SALT_SIZE])
{
	uint8_t value[TICKET_SIZE];
	uint8_t *plain = value + STUN_AUTH_SALT_SIZE;

	if (writer->failed)
		return;
	memcpy(value, salt, STUN_AUTH_SALT_SIZE);
	put_number(plain, ticket->number);
	memcpy(plain + NUMBER_SIZE, ticket->token, RELAY_TOKEN_SIZE);
	stun_auth_mask(plain, PLAIN_SIZE, secret, LABEL, writer->data + 4, salt);
	stun_put(writer, STUN_NATPUNCH_TICKET, value, sizeof(value));
}

int relay_message_read_ticket(const struct stun_message *message,
	const struct stun_attribute *attribute, const uint8_t secret[KEY_SECRET_SIZE],
	struct relay_ticket *out)
{
	uint8_t plain[PLAIN_SIZE];

	if (attribute->size != TICKET_SIZE)
		return -1;
	memcpy(plain, attribute->value + STUN_AUTH_SALT_SIZE, PLAIN_SIZE);
	stun_auth_mask(plain, PLAIN_SIZE, secret, LABEL, message->transaction, attribute->value);
	out->number = get_number(plain);
	memcpy(out->token, plain + NUMBER_SIZE, RELAY_TOKEN_SIZE);
	secret_wipe(plain, sizeof(plain));
	return out->number != 0 ? 0 : -1;
}

size_t relay_message_write_join(const struct relay_ticket *ticket, const uint8_t random[12],
	uint8_t transaction[STUN_TRANSACTION_SIZE], void *out, size_t capacity)
{
	uint8_t number[NUMBER_SIZE];
	struct wire_writer writer;

	put_number(number, ticket->number);
	stun_make_transaction(transaction, random);
	stun_begin(&writer, out, capacity, STUN_REQUEST, STUN_METHOD_JOIN, transaction);
	stun_put(&writer, STUN_NATPUNCH_JOIN, number, sizeof(number));
	stun_auth_put(&writer, ticket->token, RELAY_TOKEN_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static enum relay_message_outcome read_refusal(const struct stun_message *message, unsigned *code)
{
	struct stun_attribute error;
	const uint8_t *reason;
	size_t reason_size;

	if (!stun_find(message, STUN_ERROR_CODE, &error) ||
		stun_read_error(&error, code, &reason, &reason_size) < 0)
		return RELAY_MESSAGE_MALFORMED;
	return RELAY_MESSAGE_REFUSED;
}

enum relay_message_outcome relay_message_read_answer(const struct relay_ticket *ticket,
	const uint8_t transaction[STUN_TRANSACTION_SIZE], const void *data, size_t size,
	unsigned *code)
{
	struct stun_message message;

	if (stun_parse(&message, data, size) < 0 || message.method != STUN_METHOD_JOIN ||
		memcmp(message.transaction, transaction, STUN_TRANSACTION_SIZE) != 0)
		return RELAY_MESSAGE_MALFORMED;
	if (message.class == STUN_ERROR)
		return read_refusal(&message, code);
	if (message.class != STUN_SUCCESS ||
		stun_auth_check(&message, ticket->token, RELAY_TOKEN_SIZE) != STUN_AUTH_VALID)
		return RELAY_MESSAGE_MALFORMED;
	return RELAY_MESSAGE_JOINED;
}

int relay_message_read_join(const struct stun_message *message, uint64_t *number)
{
	struct stun_attribute attribute;
	size_t offset = 0;

	*number = 0;
	if (message->method != STUN_METHOD_JOIN || message->classic)
		return 1;
	if (message->class != STUN_REQUEST)
		return -1;
	while (stun_next(message, &offset, &attribute)) {
		if (attribute.type == STUN_NATPUNCH_JOIN) {
			if (attribute.size != NUMBER_SIZE || *number != 0)
				return -1;
			*number = get_number(attribute.value);
		} else if (attribute.type < COMPREHENSION &&
			   attribute.type != STUN_MESSAGE_INTEGRITY_SHA256) {
			return -1;
		}
	}
	return *number != 0 ? 0 : -1;
}

size_t relay_message_write_joined(const struct stun_message *join,
	const uint8_t token[RELAY_TOKEN_SIZE], void *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_SUCCESS, STUN_METHOD_JOIN, join->transaction);
	stun_auth_put(&writer, token, RELAY_TOKEN_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

size_t relay_message_write_error(uint16_t method, const uint8_t transaction[STUN_TRANSACTION_SIZE],
	unsigned code, void *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_ERROR, method, transaction);
	stun_put_error(&writer, code, relay_message_reason(code));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

const char *relay_message_reason(unsigned code)
{
	switch (code) {
	case RELAY_MESSAGE_UNPROVEN:
		return "Unauthenticated";
	case RELAY_MESSAGE_OFF:
		return "Forbidden";
	case RELAY_MESSAGE_NOT_HOME:
		return "Connection Timeout or Failure";
	case RELAY_MESSAGE_NAME_FULL:
		return "Allocation Quota Reached";
	case RELAY_MESSAGE_FULL:
		return "Insufficient Capacity";
	default:
		return "Bad Request";
	}
}
