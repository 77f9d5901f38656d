/*
 * name_messages.c - questions about a name, on the side that asks, and the layouts of both sides.
 *
 * Threat: an attacker on the path, or who can send to us. Until a success response with a valid
 * MESSAGE-INTEGRITY-SHA256 comes, nothing is believed: an error response or a false nonce only
 * costs another try, of which there are TRIES_MAX. A response belongs to
 * the request whose random transaction id it carries under that HMAC, so an answer of the past, or
 * our own request sent back to us, is none.
 */
#include "natpunch/proto/name_messages.h"

#include <string.h>

#include "natpunch/proto/stun_auth.h"
#include "natpunch/base/sha256.h"

#define LABEL             "natpunch record 1"
#define REGISTRATION_SIZE 8
#define PLAIN_SIZE        32
#define RECORD_SIZE       (NAME_MESSAGE_SALT_SIZE + PLAIN_SIZE)
#define FLAG_HELD         1
#define FAMILY_IPV4       1 /* as in RFC 8489 14.1 */
#define FAMILY_IPV6       2
#define TRIES_MAX         5
#define COMPREHENSION     0x8000 /* types below must be understood (RFC 8489 section 14) */

_Static_assert(NAME_MESSAGE_RECORD_SIZE == 4 + RECORD_SIZE, "an attribute with its header");
_Static_assert(NAME_MESSAGE_PROOF_SIZE == 4 + SHA256_SIZE + 4 + 4, "the same, of both");

static uint16_t get_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static bool is_protocol(uint8_t number)
{
	return number == MAPPING_TCP || number == MAPPING_UDP;
}

void name_message_put_registration(
	struct wire_writer *writer, const struct name_message_registration *registration)
{
	uint8_t value[REGISTRATION_SIZE];
	struct wire_writer inner;

	wire_writer_start(&inner, value, sizeof(value));
	wire_write_u8(&inner, (uint8_t)registration->protocol);
	wire_write_u8(&inner, 0);
	wire_write_u16(&inner, registration->local_port);
	wire_write_u16(&inner, registration->mapped_port);
	wire_write_u16(&inner, registration->seconds);
	stun_put(writer, STUN_NATPUNCH_REGISTRATION, value, sizeof(value));
}

int name_message_read_registration(
	const struct stun_attribute *attribute, struct name_message_registration *out)
{
	const uint8_t *value = attribute->value;

	if (attribute->size != REGISTRATION_SIZE || !is_protocol(value[0]) ||
		get_u16(value + 2) == 0)
		return -1;
	*out = (struct name_message_registration){
		.protocol = (enum mapping_protocol)value[0],
		.local_port = get_u16(value + 2),
		.mapped_port = get_u16(value + 4),
		.seconds = get_u16(value + 6),
	};
	return 0;
}

static void put_sealed(struct wire_writer *writer, uint16_t type,
	const struct name_message_record *record, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t salt[NAME_MESSAGE_SALT_SIZE])
{
	uint8_t value[RECORD_SIZE];
	struct wire_writer inner;

	if (writer->failed)
		return;
	wire_writer_start(&inner, value, sizeof(value));
	wire_write_bytes(&inner, salt, NAME_MESSAGE_SALT_SIZE);
	wire_write_u8(&inner, record->addr.family == ADDR_IPV4 ? FAMILY_IPV4 : FAMILY_IPV6);
	wire_write_u8(&inner, (uint8_t)record->protocol);
	wire_write_u8(&inner, record->held ? FLAG_HELD : 0);
	wire_write_u8(&inner, 0);
	wire_write_u16(&inner, record->addr.port);
	wire_write_u16(&inner, record->local_port);
	wire_write_u32(&inner, record->age);
	wire_write_u16(&inner, record->seconds);
	wire_write_u16(&inner, 0);
	wire_write_bytes(&inner, record->addr.ip, sizeof(record->addr.ip));
	stun_auth_mask(
		value + NAME_MESSAGE_SALT_SIZE, PLAIN_SIZE, secret, LABEL, writer->data + 4, salt);
	stun_put(writer, type, value, sizeof(value));
}

void name_message_put_record(struct wire_writer *writer, const struct name_message_record *record,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[NAME_MESSAGE_SALT_SIZE])
{
	put_sealed(writer, STUN_NATPUNCH_RECORD, record, secret, salt);
}

void name_message_put_rival(struct wire_writer *writer, const struct name_message_record *record,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[NAME_MESSAGE_SALT_SIZE])
{
	put_sealed(writer, STUN_NATPUNCH_RIVAL, record, secret, salt);
}

void name_message_put_host(struct wire_writer *writer, const struct addr *host,
	enum mapping_protocol protocol, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t salt[NAME_MESSAGE_SALT_SIZE])
{
	const struct name_message_record record = {
		.addr = *host, .protocol = protocol, .local_port = host->port};

	put_sealed(writer, STUN_NATPUNCH_HOST, &record, secret, salt);
}

static int read_plain(const uint8_t plain[PLAIN_SIZE], struct name_message_record *out)
{
	static const uint8_t zeros[12];
	struct wire_reader reader;
	uint8_t family, protocol, flags, zero;
	uint16_t zeros16;

	*out = (struct name_message_record){.age = 0};
	wire_reader_start(&reader, plain, PLAIN_SIZE);
	wire_read_u8(&reader, &family);
	wire_read_u8(&reader, &protocol);
	wire_read_u8(&reader, &flags);
	wire_read_u8(&reader, &zero);
	wire_read_u16(&reader, &out->addr.port);
	wire_read_u16(&reader, &out->local_port);
	wire_read_u32(&reader, &out->age);
	wire_read_u16(&reader, &out->seconds);
	wire_read_u16(&reader, &zeros16);
	wire_read_bytes(&reader, out->addr.ip, sizeof(out->addr.ip));
	if ((family != FAMILY_IPV4 && family != FAMILY_IPV6) || !is_protocol(protocol) ||
		(flags & ~FLAG_HELD) != 0 || zero != 0 || zeros16 != 0 || out->addr.port == 0)
		return -1;
	if (family == FAMILY_IPV4 && memcmp(out->addr.ip + 4, zeros, sizeof(zeros)) != 0)
		return -1;
	out->addr.family = family == FAMILY_IPV4 ? ADDR_IPV4 : ADDR_IPV6;
	out->protocol = (enum mapping_protocol)protocol;
	out->held = (flags & FLAG_HELD) != 0;
	return 0;
}

int name_message_read_record(const struct stun_message *message,
	const struct stun_attribute *attribute, const uint8_t secret[KEY_SECRET_SIZE],
	struct name_message_record *out)
{
	uint8_t plain[PLAIN_SIZE];

	if (attribute->size != RECORD_SIZE)
		return -1;
	memcpy(plain, attribute->value + NAME_MESSAGE_SALT_SIZE, PLAIN_SIZE);
	stun_auth_mask(plain, sizeof(plain), secret, LABEL, message->transaction, attribute->value);
	return read_plain(plain, out);
}

/* Can it be an address of a machine that others connect to? */
static bool is_host(const struct addr *addr)
{
	switch (addr_classify(addr)) {
	case ADDR_CLASS_PUBLIC:
	case ADDR_CLASS_PRIVATE:
	case ADDR_CLASS_SHARED:
		return true;
	default:
		return false;
	}
}

size_t name_message_read_hosts(const struct stun_message *message,
	const uint8_t secret[KEY_SECRET_SIZE], struct addr out[NAME_MESSAGE_HOST_MAX])
{
	struct stun_attribute attribute;
	struct name_message_record record;
	size_t offset = 0, count = 0;

	while (count < NAME_MESSAGE_HOST_MAX && stun_next(message, &offset, &attribute))
		if (attribute.type == STUN_NATPUNCH_HOST &&
			name_message_read_record(message, &attribute, secret, &record) == 0 &&
			is_host(&record.addr))
			out[count++] = record.addr;
	return count;
}

void name_message_start(struct name_question *question, uint16_t method, const struct key *key)
{
	memset(question, 0, sizeof(*question));
	question->method = method;
	question->key = key;
}

/* Pads the request, with `behind` bytes to come, to its least size. */
static void put_padding(struct wire_writer *writer, size_t behind)
{
	static const uint8_t zeros[NAME_MESSAGE_REQUEST_MIN];
	size_t size = writer->offset + 4 + behind;

	if (size < NAME_MESSAGE_REQUEST_MIN)
		stun_put(writer, STUN_NATPUNCH_PADDING, zeros, NAME_MESSAGE_REQUEST_MIN - size);
}

void name_message_predict(struct name_question *question, const struct port_prediction *prediction)
{
	question->prediction = *prediction;
	question->tries = 0;
}

bool name_message_take_offer(struct name_question *question)
{
	if (question->offer_size == 0)
		return false;
	memcpy(question->nonce, question->offer, question->offer_size);
	question->nonce_size = question->offer_size;
	question->method = STUN_METHOD_RELAY;
	question->prediction = (struct port_prediction){.port = 0};
	question->tries = 0;
	return true;
}

static void put_home(struct wire_writer *writer, const uint8_t home[NAME_MESSAGE_HOME_SIZE])
{
	static const uint8_t not_told[NAME_MESSAGE_HOME_SIZE];

	if (memcmp(home, not_told, sizeof(not_told)) != 0)
		stun_put(writer, STUN_NATPUNCH_HOME, home, NAME_MESSAGE_HOME_SIZE);
}

/* The transaction id is random, so a salt need only differ within the message. */
static void put_proved_port(struct wire_writer *writer, uint16_t port)
{
	const uint8_t value[] = {(uint8_t)(port >> 8), (uint8_t)port, 0, 0};

	if (port != 0)
		stun_put(writer, STUN_NATPUNCH_PROVED_PORT, value, sizeof(value));
}

static void put_hosts(struct wire_writer *writer, const struct name_question *question)
{
	for (size_t i = 0; i < question->host_count; i++) {
		const uint8_t salt[NAME_MESSAGE_SALT_SIZE] = {(uint8_t)i};

		name_message_put_host(writer, &question->hosts[i], question->registration.protocol,
			question->key->secret, salt);
	}
}

size_t name_message_write(
	struct name_question *question, const uint8_t random[12], void *out, size_t capacity)
{
	const struct key *key = question->key;
	bool proven = question->nonce_size > 0;
	struct wire_writer writer;

	stun_make_transaction(question->transaction, random);
	question->tries++;
	stun_begin(&writer, out, capacity, STUN_REQUEST, question->method, question->transaction);
	stun_put(&writer, STUN_USERNAME, key->name, strlen(key->name));
	if (!proven) {
		put_padding(&writer, 8);
		stun_put_fingerprint(&writer);
		return stun_finish(&writer);
	}
	stun_put(&writer, STUN_NONCE, question->nonce, question->nonce_size);
	if (question->method == STUN_METHOD_REGISTER) {
		name_message_put_registration(&writer, &question->registration);
		put_home(&writer, question->home);
		put_hosts(&writer, question);
		if (question->random_ports)
			stun_put_zeros(&writer, STUN_NATPUNCH_RANDOM_PORTS, 0);
		put_proved_port(&writer, question->proved_port);
	}
	if (question->mode != BINDING_MODE_NONE)
		binding_put_connection(&writer, question->mode, question->mode_seconds);
	if (question->prediction.port != 0)
		port_prediction_put(&writer, &question->prediction);
	put_padding(&writer, NAME_MESSAGE_PROOF_SIZE);
	stun_auth_put(&writer, key->secret, sizeof(key->secret));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* Takes the nonce of a 401 or 438. */
static enum name_message_outcome take_nonce(
	struct name_question *question, const struct stun_message *message, const char **why)
{
	struct stun_attribute nonce;

	*why = "no nonce in it";
	if (!stun_find(message, STUN_NONCE, &nonce) || nonce.size == 0 ||
		nonce.size > sizeof(question->nonce))
		return NAME_MESSAGE_MALFORMED;
	if (question->tries >= TRIES_MAX)
		return NAME_MESSAGE_FAILED;
	memcpy(question->nonce, nonce.value, nonce.size);
	question->nonce_size = nonce.size;
	return NAME_MESSAGE_AGAIN;
}

static enum name_message_outcome read_error(
	struct name_question *question, const struct stun_message *message, const char **why)
{
	bool proven = question->nonce_size > 0;
	struct stun_attribute error;
	const uint8_t *reason;
	size_t reason_size;

	*why = "error response without a code";
	if (!stun_find(message, STUN_ERROR_CODE, &error) ||
		stun_read_error(&error, &question->code, &reason, &reason_size) < 0)
		return NAME_MESSAGE_MALFORMED;
	if (question->code == 401 && proven)
		return NAME_MESSAGE_REFUSED;
	if (question->code == 401 || (question->code == 438 && proven))
		return take_nonce(question, message, why);
	return proven ? NAME_MESSAGE_FAILED : NAME_MESSAGE_UNSUPPORTED;
}

static void take_offer(struct name_question *question, const struct stun_attribute *attribute)
{
	if (attribute->size > sizeof(question->offer))
		return;
	memcpy(question->offer, attribute->value, attribute->size);
	question->offer_size = attribute->size;
}

/* A malformed one counts as none. */
static void take_other(struct name_question *question, const struct stun_message *message,
	const struct stun_attribute *attribute)
{
	if (stun_read_address(message, attribute, false, &question->other) < 0)
		question->other = (struct addr){.family = ADDR_NONE};
}

/* Likewise. */
static void take_rival(struct name_question *question, const struct stun_message *message,
	const struct stun_attribute *attribute)
{
	if (name_message_read_record(message, attribute, question->key->secret, &question->rival) <
		0)
		question->rival = (struct name_message_record){.age = 0};
}

/* Attributes of a success response whose proof holds. */
static enum name_message_outcome read_success(
	struct name_question *question, const struct stun_message *message, const char **why)
{
	struct stun_attribute attribute;
	size_t offset = 0;
	uint16_t seconds;

	question->record_count = 0;
	question->rival = (struct name_message_record){.age = 0};
	question->granted = BINDING_MODE_NONE;
	question->home_random_ports = false;
	question->offer_size = 0;
	question->other = (struct addr){.family = ADDR_NONE};
	while (stun_next(message, &offset, &attribute)) {
		size_t count = question->record_count;

		*why = "unknown attribute that must be understood";
		if (attribute.type < COMPREHENSION &&
			attribute.type != STUN_MESSAGE_INTEGRITY_SHA256)
			return NAME_MESSAGE_MALFORMED;
		if (attribute.type == STUN_NATPUNCH_CONNECTION)
			question->granted = binding_read_connection(&attribute, &seconds);
		if (attribute.type == STUN_NATPUNCH_RANDOM_PORTS)
			question->home_random_ports = true;
		if (attribute.type == STUN_NATPUNCH_OFFER)
			take_offer(question, &attribute);
		if (attribute.type == STUN_OTHER_ADDRESS)
			take_other(question, message, &attribute);
		if (attribute.type == STUN_NATPUNCH_RIVAL)
			take_rival(question, message, &attribute);
		if (attribute.type != STUN_NATPUNCH_RECORD || count == NAME_MESSAGE_RECORD_MAX)
			continue;
		*why = "malformed record";
		if (name_message_read_record(message, &attribute, question->key->secret,
			    &question->records[count]) < 0)
			return NAME_MESSAGE_MALFORMED;
		question->record_count++;
	}
	if (question->method == STUN_METHOD_CONNECT)
		question->host_count =
			name_message_read_hosts(message, question->key->secret, question->hosts);
	*why = "no record in it";
	if (question->method == STUN_METHOD_REGISTER && question->record_count != 1)
		return NAME_MESSAGE_MALFORMED;
	return NAME_MESSAGE_DONE;
}

enum name_message_outcome name_message_read(
	struct name_question *question, const void *data, size_t size, const char **why)
{
	struct stun_message message;

	*why = "it is not STUN";
	if (stun_parse(&message, data, size) < 0)
		return NAME_MESSAGE_MALFORMED;
	*why = "another transaction";
	if (memcmp(message.transaction, question->transaction, STUN_TRANSACTION_SIZE) != 0)
		return NAME_MESSAGE_UNRELATED;
	*why = "not a response";
	if (message.class != STUN_SUCCESS && message.class != STUN_ERROR)
		return NAME_MESSAGE_UNRELATED;
	*why = "response of another method";
	if (message.method != question->method)
		return NAME_MESSAGE_MALFORMED;
	if (message.class == STUN_ERROR)
		return read_error(question, &message, why);
	*why = "answer without a valid proof";
	if (question->nonce_size == 0 || stun_auth_check(&message, question->key->secret,
						 KEY_SECRET_SIZE) != STUN_AUTH_VALID)
		return NAME_MESSAGE_MALFORMED;
	return read_success(question, &message, why);
}
