#include "natpunch/proto/invitation.h"

#include <string.h>

#include "natpunch/proto/stun_auth.h"

#define VALUE_SIZE (INVITATION_SESSION_SIZE + 4)
#define ASKER_SIZE (8 + INVITATION_SESSION_SIZE)

static void put_asker(struct wire_writer *writer, const struct invitation_asker *asker)
{
	uint8_t value[ASKER_SIZE];
	struct wire_writer inner;

	wire_writer_start(&inner, value, sizeof(value));
	wire_write_u32(&inner, (uint32_t)(asker->connection >> 32));
	wire_write_u32(&inner, (uint32_t)asker->connection);
	wire_write_bytes(&inner, asker->transaction, sizeof(asker->transaction));
	stun_put(writer, STUN_NATPUNCH_INITIATOR, value, sizeof(value));
}

int invitation_read_asker(const struct stun_attribute *attribute, struct invitation_asker *out)
{
	struct wire_reader reader;
	uint32_t high, low;

	*out = (struct invitation_asker){.connection = 0};
	if (attribute->size != ASKER_SIZE)
		return -1;
	wire_reader_start(&reader, attribute->value, attribute->size);
	wire_read_u32(&reader, &high);
	wire_read_u32(&reader, &low);
	wire_read_bytes(&reader, out->transaction, sizeof(out->transaction));
	out->connection = (uint64_t)high << 32 | low;
	return 0;
}

static enum mapping_protocol protocol_of(const struct invitation *invitation)
{
	return invitation->protocol == MAPPING_UDP ? MAPPING_UDP : MAPPING_TCP;
}

size_t invitation_write(const struct invitation *invitation, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t random[12], const uint8_t salt[NAME_MESSAGE_SALT_SIZE], void *out,
	size_t capacity)
{
	struct name_message_record record = {
		.addr = invitation->initiator, .protocol = protocol_of(invitation)};
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
	name_message_put_record(&writer, &record, secret, salt);
	if (invitation->kind == INVITATION_RELAY)
		relay_message_put_ticket(&writer, &invitation->ticket, secret, salt);
	if (invitation->kind == INVITATION_PREDICTION) {
		put_asker(&writer, &invitation->asker);
		port_prediction_put(&writer, &invitation->prediction);
	}
	stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
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

/* What kind of invitation it is, and what goes with that. Returns 0, or -1 when it is malformed. */
static int read_kind(const struct stun_message *message, const uint8_t secret[KEY_SECRET_SIZE],
	struct invitation *out)
{
	struct stun_attribute attribute;

	if (stun_find(message, STUN_NATPUNCH_TICKET, &attribute)) {
		out->kind = INVITATION_RELAY;
		return relay_message_read_ticket(message, &attribute, secret, &out->ticket);
	}
	if (!stun_find(message, STUN_NATPUNCH_PREDICTION, &attribute))
		return 0;
	out->kind = INVITATION_PREDICTION;
	if (port_prediction_read(&attribute, &out->prediction) < 0 ||
		!stun_find(message, STUN_NATPUNCH_INITIATOR, &attribute))
		return -1;
	return invitation_read_asker(&attribute, &out->asker);
}

int invitation_read(struct invitation *expected, const uint8_t secret[KEY_SECRET_SIZE],
	const void *data, size_t size)
{
	struct invitation taken = {.kind = INVITATION_PUNCH};
	struct stun_message message;
	struct stun_attribute attribute;
	struct name_message_record record;

	if (stun_parse(&message, data, size) < 0 || message.class != STUN_INDICATION ||
		message.method != STUN_METHOD_INVITE)
		return 1;
	if (stun_auth_check(&message, secret, KEY_SECRET_SIZE) != STUN_AUTH_VALID)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_INVITATION, &attribute) ||
		read_value(&attribute, expected, &taken.number) != 0)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_RECORD, &attribute) ||
		name_message_read_record(&message, &attribute, secret, &record) < 0 ||
		record.protocol != protocol_of(expected))
		return -1;
	taken.protocol = expected->protocol;
	memcpy(taken.session, expected->session, sizeof(taken.session));
	taken.initiator = record.addr;
	if (read_kind(&message, secret, &taken) < 0)
		return -1;
	if (taken.protocol == MAPPING_UDP && taken.kind != INVITATION_PUNCH)
		return -1;
	*expected = taken;
	return 0;
}

size_t invitation_write_prediction(const struct invitation_asker *asker,
	const struct port_prediction *prediction, const struct key *key, const uint8_t random[12],
	void *out, size_t capacity)
{
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct wire_writer writer;

	stun_make_transaction(transaction, random);
	stun_begin(&writer, out, capacity, STUN_INDICATION, STUN_METHOD_PREDICTION, transaction);
	stun_put(&writer, STUN_USERNAME, key->name, strlen(key->name));
	put_asker(&writer, asker);
	port_prediction_put(&writer, prediction);
	stun_auth_put(&writer, key->secret, sizeof(key->secret));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

int invitation_read_prediction(const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t transaction[INVITATION_SESSION_SIZE], const void *data, size_t size,
	struct port_prediction *out)
{
	struct stun_message message;
	struct stun_attribute attribute;
	struct invitation_asker asker;

	*out = (struct port_prediction){.port = 0};
	if (stun_parse(&message, data, size) < 0 || message.class != STUN_INDICATION ||
		message.method != STUN_METHOD_PREDICTION)
		return 1;
	if (stun_auth_check(&message, secret, KEY_SECRET_SIZE) != STUN_AUTH_VALID)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_INITIATOR, &attribute) ||
		invitation_read_asker(&attribute, &asker) < 0 ||
		memcmp(asker.transaction, transaction, INVITATION_SESSION_SIZE) != 0)
		return -1;
	if (!stun_find(&message, STUN_NATPUNCH_PREDICTION, &attribute))
		return -1;
	return port_prediction_read(&attribute, out);
}
