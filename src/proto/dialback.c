/*
 * Threat: a stranger has the reflector connect to another host. A request names a port alone, and
 * no IP address; further attributes with addresses are refused or ignored, as everywhere in STUN.
 * The banner comes from any program at the dialled port; dialback_format_banner() escapes it before
 * it is shown.
 */
#include "natpunch/proto/dialback.h"

#include <string.h>

#include "natpunch/base/text.h"
#include "natpunch/base/wire.h"

#define PLACES        (DIALBACK_SAME_ADDRESS | DIALBACK_OTHER_ADDRESS)
#define UNKNOWN_MAX   16
#define COMPREHENSION 0x8000 /* types below must be understood (RFC 8489 section 14) */
#define RESULT_SIZE   24     /* of NATPUNCH-DIALLED before its banner */
#define FAMILY_IPV4   1
#define FAMILY_IPV6   2

const char *dialback_outcome_name(enum dialback_outcome outcome)
{
	static const char *const names[] = {
		[DIALBACK_CONNECTED] = "connected",
		[DIALBACK_CLOSED] = "connected and closed",
		[DIALBACK_REFUSED] = "refused",
		[DIALBACK_TIMED_OUT] = "timed out",
		[DIALBACK_UNREACHABLE] = "unreachable",
		[DIALBACK_NO_PLACE] = "no such address there",
		[DIALBACK_OFF] = "switched off there",
		[DIALBACK_LIMITED] = "asked too often",
		[DIALBACK_FORBIDDEN] = "forbidden",
		[DIALBACK_FAILED] = "failed",
	};

	if (outcome < DIALBACK_CONNECTED || outcome > DIALBACK_FAILED)
		return "?";
	return names[outcome];
}

bool dialback_is_through(enum dialback_outcome outcome)
{
	return outcome == DIALBACK_CONNECTED || outcome == DIALBACK_CLOSED;
}

const char *dialback_format_banner(const struct dialback_result *result, char *out, size_t capacity)
{
	const uint8_t *end = memchr(result->banner, '\n', result->banner_size);
	size_t size = end != NULL ? (size_t)(end - result->banner) : result->banner_size;

	if (size > 0 && result->banner[size - 1] == '\r')
		size--;
	return text_escape(out, capacity, result->banner, size);
}

size_t dialback_write_request(const struct dialback_request *request, void *out, size_t capacity)
{
	const uint8_t value[4] = {
		request->places, 0, (uint8_t)(request->port >> 8), (uint8_t)request->port};
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_REQUEST, STUN_METHOD_DIAL, request->transaction);
	stun_put(&writer, STUN_NATPUNCH_DIAL, value, sizeof(value));
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* Attributes about credentials are known, and ignored. */
static bool is_known_in_request(uint16_t type)
{
	return type >= COMPREHENSION || type == STUN_USERNAME || type == STUN_REALM ||
	       type == STUN_NONCE || type == STUN_MESSAGE_INTEGRITY ||
	       type == STUN_MESSAGE_INTEGRITY_SHA256;
}

static size_t find_unknown(const struct stun_message *message, uint16_t unknown[UNKNOWN_MAX])
{
	struct stun_attribute attribute;
	size_t offset = 0;
	size_t count = 0;

	while (count < UNKNOWN_MAX && stun_next(message, &offset, &attribute))
		if (!is_known_in_request(attribute.type))
			unknown[count++] = attribute.type;
	return count;
}

bool dialback_is_request(const void *data, size_t size)
{
	/* Method 0x0E4 with the class bits 00 between its own (RFC 8489 section 5). */
	static const uint8_t type[2] = {0x02, 0xc4};

	return size >= STUN_HEADER_SIZE && memcmp(data, type, sizeof(type)) == 0;
}

int dialback_read_request(const struct stun_message *message, struct dialback_request *out,
	void *error, size_t capacity, size_t *size)
{
	struct stun_attribute attribute;
	uint16_t unknown[UNKNOWN_MAX];
	size_t unknown_count = find_unknown(message, unknown);
	struct wire_writer writer;

	*size = 0;
	memset(out, 0, sizeof(*out));
	memcpy(out->transaction, message->transaction, STUN_TRANSACTION_SIZE);
	if (stun_find(message, STUN_NATPUNCH_DIAL, &attribute) && attribute.size == 4) {
		out->places = attribute.value[0] & PLACES;
		out->port = (uint16_t)(attribute.value[2] << 8 | attribute.value[3]);
	}
	if (out->places != 0 && unknown_count == 0)
		return 0;
	stun_begin(&writer, error, capacity, STUN_ERROR, STUN_METHOD_DIAL, message->transaction);
	stun_put_error(&writer, unknown_count > 0 ? 420 : 400,
		unknown_count > 0 ? "Unknown Attribute" : "Bad Request");
	if (unknown_count > 0)
		stun_put_unknown(&writer, unknown, unknown_count);
	stun_put_fingerprint(&writer);
	*size = stun_finish(&writer);
	return -1;
}

static void put_result(struct wire_writer *writer, const struct dialback_result *result)
{
	uint8_t value[RESULT_SIZE + DIALBACK_BANNER_MAX];
	struct wire_writer inner;
	size_t banner = result->banner_size;

	if (banner > DIALBACK_BANNER_MAX)
		banner = DIALBACK_BANNER_MAX;
	wire_writer_start(&inner, value, sizeof(value));
	wire_write_u8(&inner, result->place);
	wire_write_u8(&inner, (uint8_t)result->outcome);
	wire_write_u16(&inner, result->milliseconds);
	wire_write_u8(&inner, result->from.family == ADDR_IPV4   ? FAMILY_IPV4
			      : result->from.family == ADDR_IPV6 ? FAMILY_IPV6
								 : 0);
	wire_write_u8(&inner, 0);
	wire_write_u16(&inner, result->from.port);
	wire_write_bytes(&inner, result->from.ip, sizeof(result->from.ip));
	wire_write_bytes(&inner, result->banner, banner);
	stun_put(writer, STUN_NATPUNCH_DIALLED, value, RESULT_SIZE + banner);
}

size_t dialback_write_answer(const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const struct dialback_answer *answer, void *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_SUCCESS, STUN_METHOD_DIAL, transaction);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &answer->target);
	for (size_t i = 0; i < answer->count; i++)
		put_result(&writer, &answer->results[i]);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* Where an attempt came from. Returns false when it is no address. */
static bool read_from(uint8_t family, uint16_t port, const uint8_t ip[16], struct addr *out)
{
	static const uint8_t zeros[16];

	memset(out, 0, sizeof(*out));
	out->port = port;
	if (family == 0)
		return port == 0 && memcmp(ip, zeros, sizeof(zeros)) == 0;
	if (family != FAMILY_IPV4 && family != FAMILY_IPV6)
		return false;
	out->family = family == FAMILY_IPV4 ? ADDR_IPV4 : ADDR_IPV6;
	memcpy(out->ip, ip, addr_ip_size(out));
	return family == FAMILY_IPV6 || memcmp(ip + 4, zeros, 12) == 0;
}

static bool read_result(const struct stun_attribute *attribute, struct dialback_result *out)
{
	struct wire_reader reader;
	uint8_t outcome, family, zero, ip[16];
	uint16_t port;

	memset(out, 0, sizeof(*out));
	wire_reader_start(&reader, attribute->value, attribute->size);
	wire_read_u8(&reader, &out->place);
	wire_read_u8(&reader, &outcome);
	wire_read_u16(&reader, &out->milliseconds);
	wire_read_u8(&reader, &family);
	wire_read_u8(&reader, &zero);
	wire_read_u16(&reader, &port);
	if (!wire_read_bytes(&reader, ip, sizeof(ip)) ||
		wire_reader_left(&reader) > DIALBACK_BANNER_MAX)
		return false;
	out->banner_size = wire_reader_left(&reader);
	wire_read_bytes(&reader, out->banner, out->banner_size);
	out->outcome = (enum dialback_outcome)outcome;
	if (out->outcome < DIALBACK_CONNECTED || out->outcome > DIALBACK_FAILED)
		return false;
	return read_from(family, port, ip, &out->from);
}

/* Reads the results into *out. Returns NULL, or what is wrong. */
static const char *read_results(const struct dialback_request *request,
	const struct stun_message *message, struct dialback_answer *out)
{
	struct stun_attribute attribute;
	uint8_t missing = request->places;
	size_t offset = 0;

	while (stun_next(message, &offset, &attribute)) {
		struct dialback_result result;

		if (attribute.type < COMPREHENSION && attribute.type != STUN_XOR_MAPPED_ADDRESS)
			return "unknown attribute that must be understood";
		if (attribute.type != STUN_NATPUNCH_DIALLED)
			continue;
		if (!read_result(&attribute, &result))
			return "malformed result";
		if (result.place == 0 || (result.place & (result.place - 1)) != 0 ||
			(result.place & missing) == 0)
			return "result for a place that was not asked for";
		missing &= (uint8_t)~result.place;
		out->results[out->count++] = result;
	}
	return missing != 0 ? "no result for a place that was asked for" : NULL;
}

static const char *read_success(const struct dialback_request *request,
	const struct stun_message *message, struct dialback_answer *out)
{
	struct stun_attribute attribute;

	if (!stun_find(message, STUN_XOR_MAPPED_ADDRESS, &attribute) ||
		stun_read_address(message, &attribute, true, &out->target) < 0)
		return "no dialled address in it";
	return read_results(request, message, out);
}

static const char *read_refusal(const struct stun_message *message, struct dialback_answer *out)
{
	struct stun_attribute attribute;
	const uint8_t *reason;
	size_t reason_size;

	if (!stun_find(message, STUN_ERROR_CODE, &attribute) ||
		stun_read_error(&attribute, &out->code, &reason, &reason_size) < 0)
		return "error response without a code";
	text_escape(out->reason, sizeof(out->reason), reason, reason_size);
	return NULL;
}

enum dialback_reply dialback_read_answer(const struct dialback_request *request, const void *data,
	size_t size, struct dialback_answer *out, const char **why)
{
	struct stun_message message;

	memset(out, 0, sizeof(*out));
	*why = "it is not STUN";
	if (stun_parse(&message, data, size) < 0)
		return DIALBACK_MALFORMED;
	*why = "another transaction";
	if (memcmp(message.transaction, request->transaction, STUN_TRANSACTION_SIZE) != 0)
		return DIALBACK_UNRELATED;
	*why = "not a response";
	if (message.class != STUN_SUCCESS && message.class != STUN_ERROR)
		return DIALBACK_UNRELATED;
	*why = "response of another method";
	if (message.method != STUN_METHOD_DIAL)
		return DIALBACK_MALFORMED;
	*why = message.class == STUN_ERROR ? read_refusal(&message, out)
					   : read_success(request, &message, out);
	if (*why == NULL)
		return message.class == STUN_ERROR ? DIALBACK_REFUSAL : DIALBACK_ANSWERED;
	memset(out, 0, sizeof(*out));
	return DIALBACK_MALFORMED;
}
