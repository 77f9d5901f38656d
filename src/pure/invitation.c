#include "natpunch/invitation.h"

#include <string.h>

#include "natpunch/stun_integrity.h"

#define VALUE_SIZE (INVITATION_SESSION_SIZE + 4)

size_t invitation_write(const struct invitation *invitation, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t random[12], const uint8_t salt[RENDEZVOUS_SALT_SIZE], void *out,
	size_t capacity)
{
	struct rendezvous_record record = {.addr = invitation->traveller, .protocol = MAPPING_TCP};
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	uint8_t value[VALUE_SIZE];
	struct wire_writer writer;
	struct wire_writer inner;

	wire_writer_start(&inner, value, sizeof(value));
	wire_write_bytes(&inner, invitation->session, sizeof(invitation->session));
	wire_write_u32(&inner, invitation->number);
	stun_make_transaction(transaction, random);
	stun_begin(&writer, out, capacity, STUN_INDICATION, STUN_METHOD_INVITE, transaction);
	stun_put(&writer, STUN_NATPUNCH_INVITATION, value, sizeof(value));
	rendezvous_put_record(&writer, &record, secret, salt);
	if (invitation->kind == INVITATION_RELAY)
		relay_put_ticket(&writer, &invitation->ticket, secret, salt);
	stun_put_integrity(&writer, secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* Returns 0, or -1 when it is not for this registration or not new. */
static int read_value(
	const struct stun_attribute *attribute, const struct invitation *expected, uint32_t *number)
{
	const uint8_t *session;
	struct wire_reader reader;

	if (attribute->size != VALUE_SIZE)
		return -1;
	wire_reader_start(&reader, attribute->value, attribute->size);
	session = wire_read_view(&reader, INVITATION_SESSION_SIZE);
	wire_read_u32(&reader, number);
	if (memcmp(session, expected->session, INVITATION_SESSION_SIZE) != 0)
		return -1;
	return *number > expected->number ? 0 : -1;
}

int invitation_read(struct invitation *expected, const uint8_t secret[KEY_SECRET_SIZE],
	const void *data, size_t size)
{
	struct stun_message message;
	struct stun_attribute attribute;
	struct rendezvous_record record;
	struct relay_ticket ticket = {.number = 0};
	enum invitation_kind kind;
	uint32_t number;

	if (stun_parse(&message, data, size) < 0 || message.class != STUN_INDICATION ||
		message.method != STUN_METHOD_INVITE)
		return 1;
	if (stun_check_integrity(&message, secret, KEY_SECRET_SIZE) != STUN_INTEGRITY_VALID)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_INVITATION, &attribute) ||
		read_value(&attribute, expected, &number) != 0)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_RECORD, &attribute) ||
		rendezvous_read_record(&message, &attribute, secret, &record) < 0 ||
		record.protocol != MAPPING_TCP)
		return -1;
	kind = stun_find(&message, STUN_NATPUNCH_TICKET, &attribute) ? INVITATION_RELAY
								     : INVITATION_PUNCH;
	if (kind == INVITATION_RELAY &&
		relay_read_ticket(&message, &attribute, secret, &ticket) < 0)
		return -1;
	expected->kind = kind;
	expected->ticket = ticket;
	expected->number = number;
	expected->traveller = record.addr;
	return 0;
}
