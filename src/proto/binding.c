/*
 * Strangers reach the answering side. It keeps no state between two messages, and a forged source
 * address gains nothing: over datagrams an answer is larger than its request by no more than the
 * mapped address, and an error has no reason phrase. RFC 5780, on a server with two addresses,
 * makes that four addresses. An answer goes to no other IP address than the request's source:
 * RESPONSE-ADDRESS is not supported.
 *
 * The asking side accepts a reply only with the request's transaction, the right method, an address
 * that can be a mapping, and no unknown attribute that must be understood (RFC 8489 6.3.3, 6.3.4).
 */
#include "natpunch/proto/binding.h"

#include <string.h>

#include "natpunch/base/text.h"

#define UNKNOWN_MAX    16   /* so many unknown types are listed in a 420, no more */
#define HOLD_MAX       3600 /* seconds that are granted */
#define WAIT_MAX       10800
#define SOFTWARE_MAX   128    /* characters (RFC 8489 14.14) */
#define COMPREHENSION  0x8000 /* types below must be understood (RFC 8489 section 14) */
#define REFLECTED_FROM 0x000B /* RFC 3489 11.2.11 */
#define CHANGE_IP      0x04   /* RFC 5780 7.2 */
#define CHANGE_PORT    0x02
#define TRY_ALTERNATE  300  /* RFC 8489 14.8 */
#define PADDING_MAX    1500 /* Ethernet's MTU: RFC 5780 7.6 wants one packet to be too small */

/*
 * The next attribute in front of MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256. Attributes behind
 * the first of them do not count (RFC 8489 14.5, 14.6), except a FINGERPRINT, which was checked.
 */
static bool next_counted(
	const struct stun_message *message, size_t *offset, struct stun_attribute *attribute)
{
	return stun_next(message, offset, attribute) && attribute->type != STUN_MESSAGE_INTEGRITY &&
	       attribute->type != STUN_MESSAGE_INTEGRITY_SHA256;
}

enum binding_mode binding_read_connection(const struct stun_attribute *attribute, uint16_t *seconds)
{
	const uint8_t *value = attribute->value;

	*seconds = 0;
	if (attribute->size != 4 || value[0] > BINDING_MODE_WAIT)
		return BINDING_MODE_NONE;
	*seconds = (uint16_t)(value[2] << 8 | value[3]);
	return (enum binding_mode)value[0];
}

static bool has_seconds(enum binding_mode mode)
{
	return mode == BINDING_MODE_HOLD || mode == BINDING_MODE_WAIT;
}

void binding_put_connection(struct wire_writer *writer, enum binding_mode mode, uint16_t seconds)
{
	const uint8_t value[4] = {(uint8_t)mode, 0, (uint8_t)(seconds >> 8), (uint8_t)seconds};

	stun_put(writer, STUN_NATPUNCH_CONNECTION, value, sizeof(value));
}

/* The attributes of RFC 5780 that a request may have. */
static void put_wishes(struct wire_writer *writer, const struct binding_request *request)
{
	const uint8_t change[4] = {[3] = (uint8_t)((request->change_ip ? CHANGE_IP : 0) |
						   (request->change_port ? CHANGE_PORT : 0))};
	const uint8_t port[4] = {
		(uint8_t)(request->response_port >> 8), (uint8_t)request->response_port};

	if (change[3] != 0)
		stun_put(writer, STUN_CHANGE_REQUEST, change, sizeof(change));
	if (request->response_port != 0)
		stun_put(writer, STUN_RESPONSE_PORT, port, sizeof(port));
	if (request->padding != 0)
		stun_put_zeros(writer, STUN_PADDING, request->padding);
}

size_t binding_write_request(const struct binding_request *request, void *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_REQUEST, STUN_METHOD_BINDING, request->transaction);
	if (request->mode != BINDING_MODE_NONE)
		binding_put_connection(&writer, request->mode, request->seconds);
	put_wishes(&writer, request);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* The parts of a request that matter to the answer. */
struct question {
	enum binding_mode mode;
	uint16_t seconds;
	bool has_connection;
	bool wants_change;
	bool serves_wishes; /* the attributes of RFC 5780 are known here */
	bool bad;           /* one of them is malformed, or two exclude each other */
	uint8_t wishes;     /* which of them were there, a bit each */
	uint8_t place;
	uint16_t response_port;
	uint16_t padding;
	uint16_t unknown[UNKNOWN_MAX];
	size_t unknown_count;
};

/* The clients of RFC 3489 always send CHANGE-REQUEST; with no flag set it asks for nothing. */
static bool is_change_request(const struct stun_attribute *attribute)
{
	return attribute->type == STUN_CHANGE_REQUEST &&
	       (attribute->size != 4 || memcmp(attribute->value, "\0\0\0\0", 4) != 0);
}

/*
 * Attributes about credentials are known, and ignored: a server without authentication answers
 * everybody.
 */
static bool is_known_in_request(const struct stun_attribute *attribute, bool serves_wishes)
{
	switch (attribute->type) {
	case STUN_USERNAME:
	case STUN_REALM:
	case STUN_NONCE:
		return true;
	case STUN_CHANGE_REQUEST:
		return serves_wishes || !is_change_request(attribute);
	case STUN_RESPONSE_PORT:
	case STUN_PADDING:
		return serves_wishes;
	default:
		return attribute->type >= COMPREHENSION;
	}
}

static void read_change(const struct stun_attribute *attribute, struct question *question)
{
	if (attribute->size != 4) {
		question->bad = true;
		return;
	}
	question->place = 0;
	if (attribute->value[3] & CHANGE_IP)
		question->place |= BINDING_OTHER_IP;
	if (attribute->value[3] & CHANGE_PORT)
		question->place |= BINDING_OTHER_PORT;
}

/* 4 bytes, the last two of them filling (RFC 5780 7.5); some count them as padding and say 2. */
static void read_response_port(const struct stun_attribute *attribute, struct question *question)
{
	if (attribute->size == 4 || attribute->size == 2)
		question->response_port =
			(uint16_t)(attribute->value[0] << 8 | attribute->value[1]);
	if (question->response_port == 0)
		question->bad = true;
}

static void read_padding(const struct stun_attribute *attribute, struct question *question)
{
	/* Never longer than the request's, so that the answer is not larger because of it. */
	question->padding =
		(uint16_t)(attribute->size < PADDING_MAX ? attribute->size & ~3 : PADDING_MAX);
}

/* An attribute of RFC 5780; the first of its type counts (RFC 8489 section 14). */
static void read_wish(const struct stun_attribute *attribute, struct question *question)
{
	static const struct {
		uint16_t type;
		void (*read)(const struct stun_attribute *, struct question *);
	} wishes[] = {
		{STUN_CHANGE_REQUEST, read_change},
		{STUN_RESPONSE_PORT, read_response_port},
		{STUN_PADDING, read_padding},
	};

	for (size_t i = 0; i < sizeof(wishes) / sizeof(*wishes); i++) {
		if (attribute->type != wishes[i].type || (question->wishes & 1U << i) != 0)
			continue;
		question->wishes |= (uint8_t)(1U << i);
		wishes[i].read(attribute, question);
	}
	/* RFC 5780 6.1: no fragments to a port that did not ask. */
	if (question->padding != 0 && question->response_port != 0)
		question->bad = true;
}

static void read_attribute(const struct stun_attribute *attribute, struct question *question)
{
	if (is_change_request(attribute))
		question->wants_change = true;
	if (!is_known_in_request(attribute, question->serves_wishes)) {
		if (question->unknown_count < UNKNOWN_MAX)
			question->unknown[question->unknown_count++] = attribute->type;
		return;
	}
	if (question->serves_wishes)
		read_wish(attribute, question);
	if (attribute->type == STUN_NATPUNCH_CONNECTION && !question->has_connection) {
		question->has_connection = true;
		question->mode = binding_read_connection(attribute, &question->seconds);
	}
}

/* Fills in a question that is all zero except serves_wishes. */
static void read_question(const struct stun_message *message, struct question *question)
{
	struct stun_attribute attribute;
	size_t offset = 0;

	while (next_counted(message, &offset, &attribute))
		read_attribute(&attribute, question);
	/* RFC 3489 11.2.10 has no padding: one is repeated where their number is odd. */
	if (message->classic && question->unknown_count % 2 == 1) {
		question->unknown[question->unknown_count] =
			question->unknown[question->unknown_count - 1];
		question->unknown_count++;
	}
}

enum binding_mode binding_grant(
	const struct binding_server *server, enum binding_mode mode, uint16_t *seconds)
{
	uint16_t wanted = *seconds;

	*seconds = 0;
	if (!server->stream)
		return BINDING_MODE_NONE;
	if (mode == BINDING_MODE_FORGET && !server->can_forget)
		return BINDING_MODE_CLOSE;
	if (has_seconds(mode)) {
		uint16_t most = mode == BINDING_MODE_HOLD ? HOLD_MAX : WAIT_MAX;
		*seconds = wanted < 1 ? 1 : wanted > most ? most : wanted;
	}
	return mode;
}

static void grant(const struct binding_server *server, const struct question *question,
	struct binding_request *granted)
{
	granted->seconds = question->seconds;
	granted->mode = binding_grant(server, question->mode, &granted->seconds);
	granted->change_ip = (question->place & BINDING_OTHER_IP) != 0;
	granted->change_port = (question->place & BINDING_OTHER_PORT) != 0;
	granted->response_port = question->response_port;
	granted->padding = question->padding;
}

static size_t write_error(const struct binding_server *server, const struct stun_message *message,
	const struct question *question, void *out, size_t capacity)
{
	bool unknown = question->unknown_count > 0;
	const char *reason = unknown ? "Unknown Attribute" : "Bad Request";
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_ERROR, message->method, message->transaction);
	stun_put_error(&writer, unknown ? 420 : 400, server->stream ? reason : "");
	if (unknown)
		stun_put_unknown(&writer, question->unknown, question->unknown_count);
	if (message->has_fingerprint)
		stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/*
 * May SOFTWARE be added? Always on a stream, else if the request was long enough, its PADDING not
 * counted.
 */
static bool software_fits(const struct binding_server *server, const struct stun_message *message,
	uint16_t padding, size_t size)
{
	size_t beside_address = STUN_HEADER_SIZE + 4 + ((size + 3) & ~(size_t)3);

	if (message->has_fingerprint)
		beside_address += 8;
	if (padding > 0)
		beside_address += 4 + padding;
	return server->stream || beside_address <= message->size;
}

/* Where the answer comes from, and where another could (RFC 5780 7.3, 7.4; RFC 3489 11.2). */
static void put_places(struct wire_writer *writer, const struct binding_places *places,
	const struct question *question, bool classic)
{
	stun_put_address(writer, classic ? STUN_SOURCE_ADDRESS : STUN_RESPONSE_ORIGIN,
		&places->at[question->place]);
	stun_put_address(writer, classic ? STUN_CHANGED_ADDRESS : STUN_OTHER_ADDRESS,
		&places->at[BINDING_OTHER_IP | BINDING_OTHER_PORT]);
}

static size_t write_success(const struct binding_server *server, const struct stun_message *message,
	const struct question *question, const struct binding_request *granted,
	const struct addr *source, void *out, size_t capacity)
{
	struct wire_writer writer;
	size_t size;

	stun_begin(&writer, out, capacity, STUN_SUCCESS, STUN_METHOD_BINDING, message->transaction);
	if (!message->classic)
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, source);
	if (message->classic || server->places)
		stun_put_address(&writer, STUN_MAPPED_ADDRESS, source);
	if (server->places)
		put_places(&writer, server->places, question, message->classic);
	if (granted->mode != BINDING_MODE_NONE)
		binding_put_connection(&writer, granted->mode, granted->seconds);
	if (granted->padding != 0)
		stun_put_zeros(&writer, STUN_PADDING, granted->padding);
	if (server->software) {
		size = strnlen(server->software, SOFTWARE_MAX);
		if (software_fits(server, message, granted->padding, size))
			stun_put(&writer, STUN_SOFTWARE, server->software, size);
	}
	if (message->has_fingerprint)
		stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

enum binding_verdict binding_write_answer(const struct binding_server *server,
	const struct addr *source, const void *data, size_t data_size, void *out, size_t capacity,
	size_t *size, struct binding_request *granted)
{
	struct stun_message message;
	struct question question = {.mode = BINDING_MODE_NONE,
		.serves_wishes = server->places != NULL && !server->stream};

	*size = 0;
	*granted = (struct binding_request){.mode = BINDING_MODE_NONE};
	if (stun_parse(&message, data, data_size) < 0)
		return BINDING_BROKEN;
	if (message.class != STUN_REQUEST)
		return BINDING_SILENT;
	memcpy(granted->transaction, message.transaction, STUN_TRANSACTION_SIZE);
	if (message.method == STUN_METHOD_BINDING)
		read_question(&message, &question);
	/* Such clients take any reply, also an error, as one from the changed address. */
	if (message.classic && question.wants_change && !question.serves_wishes)
		return BINDING_SILENT;
	if (message.method != STUN_METHOD_BINDING || question.unknown_count > 0 || question.bad) {
		*size = write_error(server, &message, &question, out, capacity);
	} else {
		grant(server, &question, granted);
		*size = write_success(server, &message, &question, granted, source, out, capacity);
	}
	return *size > 0 ? BINDING_ANSWERED : BINDING_SILENT;
}

static bool is_known_in_answer(uint16_t type)
{
	switch (type) {
	case STUN_MAPPED_ADDRESS:
	case STUN_XOR_MAPPED_ADDRESS:
	case STUN_SOURCE_ADDRESS:
	case STUN_CHANGED_ADDRESS:
	case STUN_ERROR_CODE:
	case STUN_UNKNOWN_ATTRIBUTES:
	case STUN_REALM:
	case STUN_NONCE:
	case STUN_USERNAME:
	case STUN_PADDING:
	case REFLECTED_FROM:
		return true;
	default:
		return type >= COMPREHENSION;
	}
}

/*
 * The attributes of a reply that matter, each the first of its type. One that is missing has no
 * value and size 0, which is malformed for all of them.
 */
struct reply {
	struct stun_attribute xored, old_xored, plain, other, origin, alternate, connection, error;
	bool has_unknown;
};

static void read_reply(const struct stun_message *message, struct reply *reply)
{
	struct stun_attribute attribute;
	size_t offset = 0;

	*reply = (struct reply){.has_unknown = false};
	while (next_counted(message, &offset, &attribute)) {
		struct stun_attribute *slot = NULL;

		if (attribute.type == STUN_XOR_MAPPED_ADDRESS)
			slot = &reply->xored;
		else if (attribute.type == STUN_OLD_XOR_MAPPED_ADDRESS)
			slot = &reply->old_xored;
		else if (attribute.type == STUN_MAPPED_ADDRESS)
			slot = &reply->plain;
		else if (attribute.type == STUN_OTHER_ADDRESS)
			slot = &reply->other;
		else if (attribute.type == STUN_RESPONSE_ORIGIN)
			slot = &reply->origin;
		else if (attribute.type == STUN_ALTERNATE_SERVER)
			slot = &reply->alternate;
		else if (attribute.type == STUN_NATPUNCH_CONNECTION)
			slot = &reply->connection;
		else if (attribute.type == STUN_ERROR_CODE)
			slot = &reply->error;
		else if (!is_known_in_answer(attribute.type))
			reply->has_unknown = true;
		if (slot && !slot->value)
			*slot = attribute;
	}
}

/* Forms that a router does not rewrite come first. */
static const struct stun_attribute *choose_mapped(const struct reply *reply)
{
	if (reply->xored.value)
		return &reply->xored;
	return reply->old_xored.value ? &reply->old_xored : &reply->plain;
}

/* NULL when the mapped address can be a mapping of a request over `transport`. */
static const char *judge_mapped(const struct stun_message *message, const struct reply *reply,
	enum addr_family transport, struct addr *out)
{
	const struct stun_attribute *mapped = choose_mapped(reply);
	enum addr_class class;

	if (!mapped->value)
		return "no mapped address in it";
	if (stun_read_address(message, mapped, mapped != &reply->plain, out) < 0)
		return "malformed mapped address";
	addr_unmap(out);
	if (transport == ADDR_IPV4 && out->family != ADDR_IPV4)
		return "mapped address of the wrong family";
	class = addr_classify(out);
	if (out->port == 0 || class == ADDR_CLASS_UNSPECIFIED || class == ADDR_CLASS_MULTICAST)
		return "impossible mapped address";
	return NULL;
}

/*
 * Reads the granted mode: the one that was asked for, or an orderly close. Anything else does not
 * answer our attribute, and counts as none.
 */
static void read_granted(const struct binding_request *request, const struct reply *reply,
	struct binding_answer *out)
{
	enum binding_mode mode;
	uint16_t seconds;

	if (request->mode == BINDING_MODE_NONE)
		return;
	mode = binding_read_connection(&reply->connection, &seconds);
	if (mode != request->mode && mode != BINDING_MODE_CLOSE)
		return;
	if (has_seconds(mode) && seconds == 0)
		return;
	out->mode = mode;
	out->seconds = has_seconds(mode) ? seconds : 0;
}

static const char *read_refusal(
	const struct stun_message *message, const struct reply *reply, struct binding_answer *out)
{
	struct addr alternate;
	const uint8_t *reason;
	size_t reason_size;

	if (stun_read_error(&reply->error, &out->code, &reason, &reason_size) < 0)
		return "error response without a code";
	text_escape(out->reason, sizeof(out->reason), reason, reason_size);
	if (out->code == TRY_ALTERNATE &&
		stun_read_address(message, &reply->alternate, false, &alternate) == 0)
		out->alternate = alternate;
	return NULL;
}

static const char *read_mapping(const struct binding_request *request, enum addr_family transport,
	const struct stun_message *message, const struct reply *reply, struct binding_answer *out)
{
	struct addr other, origin;
	const char *wrong;

	if (reply->has_unknown)
		return "unknown attribute that must be understood";
	wrong = judge_mapped(message, reply, transport, &out->mapped);
	if (wrong)
		return wrong;
	if (stun_read_address(message, &reply->other, false, &other) == 0)
		out->other = other;
	if (stun_read_address(message, &reply->origin, false, &origin) == 0)
		out->origin = origin;
	read_granted(request, reply, out);
	return NULL;
}

enum binding_outcome binding_read_answer(const struct binding_request *request,
	enum addr_family transport, const void *data, size_t size, struct binding_answer *out,
	const char **why)
{
	struct stun_message message;
	struct reply reply;

	*out = (struct binding_answer){.mode = BINDING_MODE_NONE};
	*why = "it is not STUN";
	if (stun_parse(&message, data, size) < 0)
		return BINDING_MALFORMED;
	*why = "another transaction";
	if (memcmp(message.transaction, request->transaction, STUN_TRANSACTION_SIZE) != 0)
		return BINDING_UNRELATED;
	*why = "not a response";
	if (message.class != STUN_SUCCESS && message.class != STUN_ERROR)
		return BINDING_UNRELATED;
	*why = "response of another method";
	if (message.method != STUN_METHOD_BINDING)
		return BINDING_MALFORMED;
	read_reply(&message, &reply);
	*why = message.class == STUN_ERROR
		       ? read_refusal(&message, &reply, out)
		       : read_mapping(request, transport, &message, &reply, out);
	if (!*why)
		return message.class == STUN_ERROR ? BINDING_REFUSED : BINDING_MAPPED;
	*out = (struct binding_answer){.mode = BINDING_MODE_NONE};
	return BINDING_MALFORMED;
}
