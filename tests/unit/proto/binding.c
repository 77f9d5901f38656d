/* Binding: what is asked, what is answered to whom, and what of a reply is believed. */
#include "natpunch/proto/binding.h"

#include "tap.h"
#include "unit/vectors.h"

static const struct addr source4 = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 32853};
static const struct addr source6 = {
	.family = ADDR_IPV6, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, .port = 32853};
static const struct binding_server datagram = {.software = "test vector"};
static const struct binding_server stream = {
	.software = "test vector", .can_forget = true, .stream = true};

static const struct binding_request plain_request = {
	.transaction = {0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

/* An answer, taken apart; its bytes last until the next one. */
static uint8_t answer_bytes[STUN_MESSAGE_MAX];

struct result {
	size_t size;
	enum binding_verdict verdict;
	struct binding_request granted;
	struct stun_message message;
};

static struct result ask(const struct binding_server *server, const struct addr *source,
	const void *data, size_t size)
{
	struct result result;

	memset(&result, 0xee, sizeof(result));
	result.message = (struct stun_message){.size = STUN_HEADER_SIZE};
	memset(answer_bytes, 0xee, sizeof(answer_bytes));
	result.verdict = binding_write_answer(server, source, data, size, answer_bytes,
		sizeof(answer_bytes), &result.size, &result.granted);
	if (result.verdict == BINDING_ANSWERED &&
		stun_parse(&result.message, answer_bytes, result.size) < 0)
		fail("the answer is no message");
	return result;
}

static bool has(const struct result *result, uint16_t type)
{
	struct stun_attribute attribute;

	return stun_find(&result->message, type, &attribute);
}

/* The error code of an answer, or 0 when it is a success, or 1 when it is neither. */
static unsigned error_code(const struct result *result)
{
	struct stun_attribute attribute;
	const uint8_t *reason;
	size_t reason_size;
	unsigned code;

	if (result->message.class == STUN_SUCCESS)
		return 0;
	if (result->message.class != STUN_ERROR ||
		!stun_find(&result->message, STUN_ERROR_CODE, &attribute) ||
		stun_read_error(&attribute, &code, &reason, &reason_size) < 0)
		return 1;
	return code;
}

/* A header for hand-made requests and replies. */
static void begin(struct wire_writer *writer, uint8_t buffer[STUN_MESSAGE_MAX],
	enum stun_class class, uint16_t method)
{
	stun_begin(writer, buffer, STUN_MESSAGE_MAX, class, method, plain_request.transaction);
}

static void test_request(void)
{
	static const uint8_t want[] = {0x00, 0x01, 0x00, 0x10, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4,
		5, 6, 7, 8, 9, 10, 11, 12, 0xc6, 0xe0, 0x00, 0x04, 3, 0, 0x01, 0x2c, 0x80, 0x28, 0,
		4};
	uint8_t buffer[64];
	struct binding_request request = plain_request;
	struct stun_message message;

	is_uint(binding_write_request(&request, buffer, sizeof(buffer)), 28, "a plain request");
	ok(stun_parse(&message, buffer, 28) == 0 && message.has_fingerprint, "has a FINGERPRINT");
	request.mode = BINDING_MODE_HOLD;
	request.seconds = 300;
	is_uint(binding_write_request(&request, buffer, sizeof(buffer)), 36, "one with a mode");
	is_mem(buffer, want, sizeof(want), "says so");
	for (size_t capacity = 0; capacity < 36; capacity++)
		is_uint(binding_write_request(&request, buffer, capacity), 0, "not in %zu bytes",
			capacity);
}

static void test_success(void)
{
	uint8_t request[64];
	size_t size = binding_write_request(&plain_request, request, sizeof(request));
	struct result result = ask(&datagram, &source4, request, size);
	struct stun_attribute attribute;
	struct addr addr;

	is_int(result.verdict, BINDING_ANSWERED, "a Binding request is answered");
	is_int(result.message.class, STUN_SUCCESS, "with success");
	is_uint(result.message.method, STUN_METHOD_BINDING, "of Binding");
	is_mem(result.message.transaction, plain_request.transaction, 16, "to that transaction");
	ok(result.message.has_fingerprint, "with FINGERPRINT as the request");
	ok(stun_find(&result.message, STUN_XOR_MAPPED_ADDRESS, &attribute), "the xored address");
	ok(stun_read_address(&result.message, &attribute, true, &addr) == 0 &&
			addr_equal(&addr, &source4),
		"is the source");
	ok(!has(&result, STUN_MAPPED_ADDRESS), "and no plain one");
	is_mem(result.granted.transaction, plain_request.transaction, 16, "granted names it");
	is_int(result.granted.mode, BINDING_MODE_NONE, "and no mode");

	request[3] = 0;
	result = ask(&datagram, &source6, request, 20);
	is_int(result.verdict, BINDING_ANSWERED, "without FINGERPRINT, over IPv6");
	ok(!result.message.has_fingerprint, "the answer has none");
	ok(stun_find(&result.message, STUN_XOR_MAPPED_ADDRESS, &attribute) &&
			stun_read_address(&result.message, &attribute, true, &addr) == 0 &&
			addr_equal(&addr, &source6),
		"and the source");
}

/* The bound on amplification: no more than the address on top of the request. */
static void test_size(void)
{
	uint8_t request[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct result result;
	size_t size;

	for (size_t extra = 0; extra <= 40; extra += 4) {
		for (int fingerprint = 0; fingerprint < 2; fingerprint++) {
			begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
			if (extra > 0)
				stun_put(&writer, STUN_SOFTWARE,
					"0123456789012345678901234567890123456789", extra - 4);
			if (fingerprint)
				stun_put_fingerprint(&writer);
			size = stun_finish(&writer);
			result = ask(&datagram, &source4, request, size);
			ok(result.size <= size + 12, "%zu bytes answered by %zu", size,
				result.size);
			is_int(has(&result, STUN_SOFTWARE), extra >= 16,
				"SOFTWARE where the request was as large");
			result = ask(&datagram, &source6, request, size);
			ok(result.size <= size + 24, "%zu bytes over IPv6 by %zu", size,
				result.size);
			result = ask(&stream, &source4, request, size);
			ok(has(&result, STUN_SOFTWARE), "over a stream it is always there");
		}
	}
	size = stun_finish(&writer);
	for (size_t capacity = 0; capacity < 40; capacity++) {
		struct binding_request granted;
		size_t written = 99;

		is_int(binding_write_answer(&datagram, &source4, request, size, answer_bytes,
			       capacity, &written, &granted),
			BINDING_SILENT, "no room in %zu bytes", capacity);
		is_uint(written, 0, "nothing written");
	}
}

static void test_software(void)
{
	char name[300];
	struct binding_server server = {.stream = true};
	uint8_t request[64];
	size_t size = binding_write_request(&plain_request, request, sizeof(request));
	struct stun_attribute attribute;
	struct result result = ask(&server, &source4, request, size);

	ok(!has(&result, STUN_SOFTWARE), "a server without a name gives none");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	server.software = name;
	result = ask(&server, &source4, request, size);
	ok(stun_find(&result.message, STUN_SOFTWARE, &attribute) && attribute.size == 128,
		"one with a long one is cut");
}

static void test_classic(void)
{
	uint8_t request[32] = {0x00, 0x01, 0x00, 0x08, 9, 9, 9, 9, 1, [19] = 2, 0x00, 0x03, 0, 4};
	struct stun_attribute attribute;
	struct result result = ask(&datagram, &source4, request, 28);
	struct addr addr;

	is_int(result.verdict, BINDING_ANSWERED, "an RFC 3489 request is answered");
	ok(result.message.classic, "by a message of the same kind");
	is_mem(result.message.transaction, request + 4, 16, "to all 16 bytes of its transaction");
	ok(stun_find(&result.message, STUN_MAPPED_ADDRESS, &attribute) &&
			stun_read_address(&result.message, &attribute, false, &addr) == 0 &&
			addr_equal(&addr, &source4),
		"with MAPPED-ADDRESS");
	ok(!has(&result, STUN_XOR_MAPPED_ADDRESS), "and not the xored one");
	for (uint8_t flags = 2; flags <= 6; flags += 2) {
		request[27] = flags;
		result = ask(&datagram, &source4, request, 28);
		is_int(result.verdict, BINDING_SILENT, "CHANGE-REQUEST %u gets nothing", flags);
	}
	request[20] = 0x12;
	result = ask(&datagram, &source4, request, 28);
	is_uint(error_code(&result), 420, "an unknown attribute gets 420");
	ok(stun_find(&result.message, STUN_UNKNOWN_ATTRIBUTES, &attribute) && attribute.size == 4,
		"that names one type twice, to be a multiple of 4");
	is_mem(attribute.value, "\x12\x03\x12\x03", 4, "the type");
}

static void test_unknown(void)
{
	static const uint16_t modern[] = {0x0000, STUN_MAPPED_ADDRESS, STUN_RESPONSE_ADDRESS,
		0x0024, STUN_XOR_MAPPED_ADDRESS, STUN_PADDING, STUN_RESPONSE_PORT, 0x7fff};
	static const uint16_t fine[] = {STUN_USERNAME, STUN_REALM, STUN_NONCE,
		STUN_MESSAGE_INTEGRITY, STUN_MESSAGE_INTEGRITY_SHA256, 0x8000, STUN_SOFTWARE,
		STUN_OTHER_ADDRESS, STUN_NATPUNCH_CONNECTION, 0xffff};
	uint8_t request[STUN_MESSAGE_MAX];
	struct stun_attribute attribute;
	struct wire_writer writer;
	struct result result;

	for (size_t i = 0; i < sizeof(modern) / sizeof(*modern); i++) {
		const uint8_t type[2] = {(uint8_t)(modern[i] >> 8), (uint8_t)modern[i]};

		begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
		stun_put(&writer, STUN_SOFTWARE, "", 0);
		stun_put(&writer, modern[i], "", 0);
		result = ask(&datagram, &source4, request, stun_finish(&writer));
		is_uint(error_code(&result), 420, "0x%04x must be understood and is not",
			modern[i]);
		ok(stun_find(&result.message, STUN_UNKNOWN_ATTRIBUTES, &attribute) &&
				attribute.size == 2 && memcmp(attribute.value, type, 2) == 0,
			"and is named");
		ok(!has(&result, STUN_XOR_MAPPED_ADDRESS), "there is no address");
		ok(result.size <= 28 + 12, "nor a long answer");
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
		stun_put(&writer, fine[i], "", 0);
		result = ask(&datagram, &source4, request, stun_finish(&writer));
		is_uint(error_code(&result), 0, "0x%04x does not matter", fine[i]);
	}
	result = ask(&datagram, &source4, vector_request, sizeof(vector_request));
	is_uint(error_code(&result), 420, "RFC 5769 2.1 has PRIORITY, which is for ICE");
	ok(result.message.has_fingerprint, "the error has a FINGERPRINT as well");
	result = ask(&datagram, &source4, vector_long_term, sizeof(vector_long_term));
	is_uint(error_code(&result), 0, "RFC 5769 2.4 is answered");
}

static void test_change_request(void)
{
	static const struct {
		const char *value;
		size_t size;
		unsigned code;
	} values[] = {{"\0\0\0\0", 4, 0}, {"\0\0\0\2", 4, 420}, {"\0\0\0\4", 4, 420},
		{"\0\0\0\6", 4, 420}, {"\1\0\0\0", 4, 420}, {"\0\0\0", 3, 420},
		{"\0\0\0\0\0", 5, 420}};
	uint8_t request[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct result result;

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
		stun_put(&writer, STUN_CHANGE_REQUEST, values[i].value, values[i].size);
		result = ask(&datagram, &source4, request, stun_finish(&writer));
		is_uint(error_code(&result), values[i].code, "CHANGE-REQUEST, case %zu", i);
	}
}

static void test_many_unknown(void)
{
	uint8_t request[STUN_MESSAGE_MAX];
	struct stun_attribute attribute;
	struct wire_writer writer;
	struct result result;
	size_t size;

	for (unsigned count = 1; count <= 100; count++) {
		begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
		for (unsigned i = 0; i < count; i++)
			stun_put(&writer, (uint16_t)(0x7000 + i), "", 0);
		size = stun_finish(&writer);
		result = ask(&datagram, &source4, request, size);
		if (!stun_find(&result.message, STUN_UNKNOWN_ATTRIBUTES, &attribute))
			fail("a 420 without its list");
		else if (count % 15 < 3)
			is_uint(attribute.size, count < 16 ? 2 * count : 32, "%u unknown", count);
		if (result.size > size + 12)
			fail("%zu bytes answered by %zu", size, result.size);
	}
	/* Odd and at the limit, where one is repeated for RFC 3489. */
	for (size_t keep = 15; keep <= 17; keep++) {
		request[2] = 0;
		request[3] = (uint8_t)(4 * keep);
		request[4] = 9;
		result = ask(&datagram, &source4, request, 20 + 4 * keep);
		ok(stun_find(&result.message, STUN_UNKNOWN_ATTRIBUTES, &attribute) &&
				attribute.size == 32,
			"%zu unknown of RFC 3489 make a list of 16", keep);
	}
}

static void test_others(void)
{
	static const enum stun_class silent[] = {STUN_INDICATION, STUN_SUCCESS, STUN_ERROR};
	uint8_t request[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct result result;
	size_t size;

	for (size_t i = 0; i < 3; i++) {
		begin(&writer, request, silent[i], STUN_METHOD_BINDING);
		result = ask(&stream, &source4, request, stun_finish(&writer));
		is_int(result.verdict, BINDING_SILENT, "class %d gets nothing", silent[i]);
		is_uint(result.size, 0, "of no bytes");
	}
	begin(&writer, request, STUN_REQUEST, 0x003);
	stun_put(&writer, STUN_NATPUNCH_CONNECTION, "\3\0\0\1", 4);
	stun_put(&writer, 0x7777, "", 0);
	stun_put_fingerprint(&writer);
	size = stun_finish(&writer);
	result = ask(&stream, &source4, request, size);
	is_uint(error_code(&result), 400, "another method gets 400");
	is_uint(result.message.method, 0x003, "of that method");
	ok(result.message.has_fingerprint, "with FINGERPRINT");
	ok(!has(&result, STUN_UNKNOWN_ATTRIBUTES), "and no list");
	is_int(result.granted.mode, BINDING_MODE_NONE, "and grants no mode");
	result = ask(&datagram, &source4, request, size);
	ok(result.size <= size + 12, "in few bytes over a datagram");
	request[size - 1] ^= 1;
	result = ask(&stream, &source4, request, size);
	is_int(result.verdict, BINDING_BROKEN, "a wrong FINGERPRINT is broken");
	is_uint(result.size, 0, "and gets nothing");
	result = ask(&stream, &source4, "SSH-2.0-OpenSSH_9.2p1", 21);
	is_int(result.verdict, BINDING_BROKEN, "and so is no STUN at all");
	begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
	stun_put(&writer, 0x7777, "", 0);
	result = ask(&stream, &source4, request, stun_finish(&writer));
	ok(result.size > 20 + 8 + 8, "over a stream an error has a reason");
}

static const struct {
	const char *value;
	size_t size;
	enum binding_mode mode, granted, without_forget;
	uint16_t seconds;
} modes[] = {
	{"\1\0\0\5", 4, BINDING_MODE_CLOSE, BINDING_MODE_CLOSE, BINDING_MODE_CLOSE, 0},
	{"\2\0\0\5", 4, BINDING_MODE_FORGET, BINDING_MODE_FORGET, BINDING_MODE_CLOSE, 0},
	{"\3\0\0\5", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 5},
	{"\3\0\0\0", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 1},
	{"\3\0\x0e\x10", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 3600},
	{"\3\0\x0e\x11", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 3600},
	{"\3\0\xff\xff", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 3600},
	{"\3\xff\1\0", 4, BINDING_MODE_HOLD, BINDING_MODE_HOLD, BINDING_MODE_HOLD, 256},
	{"\4\0\0\0", 4, BINDING_MODE_WAIT, BINDING_MODE_WAIT, BINDING_MODE_WAIT, 1},
	{"\4\0\x2a\x30", 4, BINDING_MODE_WAIT, BINDING_MODE_WAIT, BINDING_MODE_WAIT, 10800},
	{"\4\0\x2a\x31", 4, BINDING_MODE_WAIT, BINDING_MODE_WAIT, BINDING_MODE_WAIT, 10800},
	{"\0\0\0\5", 4, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
	{"\5\0\0\5", 4, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
	{"\xff\0\0\5", 4, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
	{"\3\0\0", 3, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
	{"\3\0\0\5\0", 5, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
	{"", 0, BINDING_MODE_NONE, BINDING_MODE_NONE, BINDING_MODE_NONE, 0},
};

static void check_mode(const struct binding_server *server, const char *value, size_t size,
	enum binding_mode mode, uint16_t seconds)
{
	uint8_t request[STUN_MESSAGE_MAX];
	struct stun_attribute attribute;
	struct wire_writer writer;
	struct result result;
	bool found;

	begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_NATPUNCH_CONNECTION, value, size);
	result = ask(server, &source4, request, stun_finish(&writer));
	is_uint(error_code(&result), 0, "NATPUNCH-CONNECTION is no error");
	is_int(result.granted.mode, mode, "the mode granted");
	is_uint(result.granted.seconds, seconds, "and its seconds");
	found = stun_find(&result.message, STUN_NATPUNCH_CONNECTION, &attribute);
	is_int(found, mode != BINDING_MODE_NONE, "the answer says so where there is one");
	if (!found)
		return;
	is_uint(attribute.size, 4, "in four bytes");
	ok(attribute.value[0] == mode && attribute.value[1] == 0 &&
			(attribute.value[2] << 8 | attribute.value[3]) == seconds,
		"the same");
}

static void test_modes(void)
{
	const struct binding_server cannot = {.stream = true};
	uint8_t request[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct result result;

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		check_mode(
			&stream, modes[i].value, modes[i].size, modes[i].granted, modes[i].seconds);
		check_mode(&cannot, modes[i].value, modes[i].size, modes[i].without_forget,
			modes[i].seconds);
		check_mode(&datagram, modes[i].value, modes[i].size, BINDING_MODE_NONE, 0);
	}
	begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_NATPUNCH_CONNECTION, "\1\0\0\0", 4);
	stun_put(&writer, STUN_NATPUNCH_CONNECTION, "\3\0\0\7", 4);
	result = ask(&stream, &source4, request, stun_finish(&writer));
	is_int(result.granted.mode, BINDING_MODE_CLOSE, "of two, the first counts");
	begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_NATPUNCH_CONNECTION, "\1\0\0\0", 4);
	stun_put(&writer, 0x7777, "", 0);
	result = ask(&stream, &source4, request, stun_finish(&writer));
	is_uint(error_code(&result), 420, "an unknown attribute beside it");
	is_int(result.granted.mode, BINDING_MODE_NONE, "grants nothing");
}

static void test_behind_integrity(void)
{
	static const uint16_t masks[] = {STUN_MESSAGE_INTEGRITY, STUN_MESSAGE_INTEGRITY_SHA256};
	uint8_t request[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct result result;

	for (size_t i = 0; i < 2; i++) {
		begin(&writer, request, STUN_REQUEST, STUN_METHOD_BINDING);
		stun_put(&writer, masks[i], "01234567890123456789012345678901", 32);
		stun_put(&writer, 0x7777, "", 0);
		stun_put(&writer, STUN_NATPUNCH_CONNECTION, "\1\0\0\0", 4);
		stun_put_fingerprint(&writer);
		result = ask(&stream, &source4, request, stun_finish(&writer));
		is_uint(error_code(&result), 0, "what stands behind 0x%04x does not count",
			masks[i]);
		is_int(result.granted.mode, BINDING_MODE_NONE, "nor ask for anything");
		ok(result.message.has_fingerprint, "but for the FINGERPRINT");
	}
}

/* Replies. */

static enum binding_outcome judge(struct wire_writer *writer, enum addr_family transport,
	const struct binding_request *request, struct binding_answer *answer)
{
	const char *why = NULL;
	size_t size = stun_finish(writer);
	enum binding_outcome outcome =
		binding_read_answer(request, transport, writer->data, size, answer, &why);
	bool good = outcome == BINDING_MAPPED || outcome == BINDING_REFUSED;

	if (size == 0 || good != (why == NULL))
		fail("why is said exactly when there is something to say");
	return outcome;
}

static void test_reading_vectors(void)
{
	struct binding_request request = {.mode = BINDING_MODE_NONE};
	struct binding_answer answer;
	const char *why;
	char text[ADDR_TEXT_SIZE];

	memcpy(request.transaction, vector_response4 + 4, 16);
	is_int(binding_read_answer(&request, ADDR_IPV4, vector_response4, sizeof(vector_response4),
		       &answer, &why),
		BINDING_MAPPED, "RFC 5769 2.2 is an answer to 2.1");
	is_str(addr_format(&answer.mapped, text), "192.0.2.1:32853", "the mapping");
	is_int(answer.other.family, ADDR_NONE, "no other address");
	is_int(answer.mode, BINDING_MODE_NONE, "no mode");
	is_int(binding_read_answer(&request, ADDR_IPV6, vector_response6, sizeof(vector_response6),
		       &answer, &why),
		BINDING_MAPPED, "RFC 5769 2.3 is one as well");
	is_str(addr_format(&answer.mapped, text), "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
		"the mapping");
	for (size_t i = 0; i < 16; i++) {
		request.transaction[i] ^= 0x10;
		is_int(binding_read_answer(&request, ADDR_IPV4, vector_response4,
			       sizeof(vector_response4), &answer, &why),
			BINDING_UNRELATED, "not with byte %zu of the transaction changed", i);
		request.transaction[i] ^= 0x10;
	}
	is_str(why, "another transaction", "it says so");
	is_int(answer.mapped.family, ADDR_NONE, "and gives no address");
	is_int(binding_read_answer(&request, ADDR_IPV4, vector_response4,
		       sizeof(vector_response4) - 1, &answer, &why),
		BINDING_MALFORMED, "one byte short is malformed");
	ok(why && *why != '\0', "and says so");
}

static void test_reading_kinds(void)
{
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	struct wire_writer writer;

	begin(&writer, reply, STUN_REQUEST, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_UNRELATED,
		"our own request, reflected, is no answer");
	begin(&writer, reply, STUN_INDICATION, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_UNRELATED,
		"an indication is none");
	begin(&writer, reply, STUN_SUCCESS, 0x003);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"a response of another method");
	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"a response without an address");
	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	stun_put(&writer, 0x7777, "", 0);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"one with what must be understood");
	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	stun_put(&writer, 0x8777, "", 0);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MAPPED,
		"one with what need not be");
}

/* What servers of RFC 3489 and RFC 5780 add is known. */
static void test_reading_company(void)
{
	static const uint16_t types[] = {STUN_SOURCE_ADDRESS, STUN_CHANGED_ADDRESS, 0x000b,
		STUN_RESPONSE_ORIGIN, STUN_OTHER_ADDRESS, STUN_MAPPED_ADDRESS, STUN_PADDING,
		STUN_SOFTWARE};
	struct addr other = source4;
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	struct wire_writer writer;

	other.port = 3479;
	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		stun_put_address(&writer, types[i], &other);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MAPPED,
		"an answer with all that servers add");
	ok(addr_equal(&answer.mapped, &source4), "the xored address is preferred");
	ok(addr_equal(&answer.other, &other), "OTHER-ADDRESS is read");

	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &other);
	stun_put(&writer, STUN_OTHER_ADDRESS, "\0\1\1", 3);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MAPPED,
		"MAPPED-ADDRESS alone is taken");
	ok(addr_equal(&answer.mapped, &other), "as it is");
	is_int(answer.other.family, ADDR_NONE, "a malformed OTHER-ADDRESS is none");

	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &other);
	stun_put_xor_address(&writer, STUN_OLD_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MAPPED,
		"the xored address of the drafts is taken");
	ok(addr_equal(&answer.mapped, &source4), "before a plain one, which a router rewrites");
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &other);
	judge(&writer, ADDR_IPV4, &plain_request, &answer);
	ok(addr_equal(&answer.mapped, &other), "and behind the xored one of the standard");

	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_XOR_MAPPED_ADDRESS, "\0\1\1\1", 4);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &other);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"a malformed xored address is not made good by a plain one");

	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &other);
	judge(&writer, ADDR_IPV4, &plain_request, &answer);
	ok(addr_equal(&answer.mapped, &source4), "of two addresses the first counts");

	begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_MESSAGE_INTEGRITY, "01234567890123456789", 20);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"an address behind the integrity is none");
}

static void test_reading_addresses(void)
{
	static const struct {
		const char *ip;
		uint16_t port;
		enum addr_family transport;
		enum binding_outcome outcome;
	} cases[] = {
		{"192.0.2.1", 1, ADDR_IPV4, BINDING_MAPPED},
		{"192.0.2.1", 1, ADDR_IPV6, BINDING_MAPPED}, /* NAT64 */
		{"2001:db8::1", 1, ADDR_IPV6, BINDING_MAPPED},
		{"2001:db8::1", 1, ADDR_IPV4, BINDING_MALFORMED},
		{"::ffff:192.0.2.1", 1, ADDR_IPV6, BINDING_MAPPED},
		{"::ffff:192.0.2.1", 1, ADDR_IPV4, BINDING_MAPPED},
		{"192.0.2.1", 0, ADDR_IPV4, BINDING_MALFORMED},
		{"0.0.0.0", 1, ADDR_IPV4, BINDING_MALFORMED},
		{"::", 1, ADDR_IPV6, BINDING_MALFORMED},
		{"::ffff:0.0.0.0", 1, ADDR_IPV6, BINDING_MALFORMED},
		{"224.0.0.1", 1, ADDR_IPV4, BINDING_MALFORMED},
		{"255.255.255.255", 1, ADDR_IPV4, BINDING_MALFORMED},
		{"ff02::1", 1, ADDR_IPV6, BINDING_MALFORMED},
		{"10.0.0.1", 65535, ADDR_IPV4, BINDING_MAPPED},
		{"127.0.0.1", 22, ADDR_IPV4, BINDING_MAPPED},
	};
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	struct wire_writer writer;
	struct addr addr;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ok(addr_parse_ip(&addr, cases[i].ip) == 0, "the reply is %s", cases[i].ip);
		addr.port = cases[i].port;
		begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &addr);
		is_int(judge(&writer, cases[i].transport, &plain_request, &answer),
			cases[i].outcome, "port %u over IPv%d", cases[i].port, cases[i].transport);
		addr_unmap(&addr);
		if (cases[i].outcome == BINDING_MAPPED)
			ok(addr_equal(&answer.mapped, &addr), "comes out");
		else
			is_int(answer.mapped.family, ADDR_NONE, "does not come out");
	}
}

static void test_reading_errors(void)
{
	char long_reason[200];
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	struct wire_writer writer;

	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put_error(&writer, 401, "who are\nyou");
	stun_put(&writer, STUN_REALM, "x", 1);
	stun_put(&writer, STUN_NONCE, "x", 1);
	stun_put(&writer, 0x7777, "x", 1);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_REFUSED,
		"an error response");
	is_uint(answer.code, 401, "its code");
	is_str(answer.reason, "who are\\x0ayou", "its reason, escaped");
	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"an error without a code");
	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put(&writer, STUN_ERROR_CODE, "\0\0\2\0", 4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_MALFORMED,
		"or with a code that does not exist");
	is_uint(answer.code, 0, "which does not come out");
	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put_error(&writer, 300, "");
	stun_put_address(&writer, STUN_ALTERNATE_SERVER, &source4);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_REFUSED, "try another");
	ok(addr_equal(&answer.alternate, &source4), "which is named");
	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put_error(&writer, 500, "");
	stun_put_address(&writer, STUN_ALTERNATE_SERVER, &source4);
	judge(&writer, ADDR_IPV4, &plain_request, &answer);
	is_int(answer.alternate.family, ADDR_NONE, "another error names none");
	memset(long_reason, 'r', sizeof(long_reason));
	long_reason[sizeof(long_reason) - 1] = '\0';
	begin(&writer, reply, STUN_ERROR, STUN_METHOD_BINDING);
	stun_put_error(&writer, 500, long_reason);
	is_int(judge(&writer, ADDR_IPV4, &plain_request, &answer), BINDING_REFUSED, "a long one");
	is_uint(strlen(answer.reason), sizeof(answer.reason) - 1, "is cut");
}

static void test_reading_modes(void)
{
	static const struct {
		enum binding_mode asked, granted;
		const char *value;
		size_t size;
		uint16_t seconds;
	} cases[] = {
		{BINDING_MODE_NONE, BINDING_MODE_NONE, "\3\0\0\5", 4, 0},
		{BINDING_MODE_NONE, BINDING_MODE_NONE, "\1\0\0\0", 4, 0},
		{BINDING_MODE_CLOSE, BINDING_MODE_CLOSE, "\1\0\0\0", 4, 0},
		{BINDING_MODE_CLOSE, BINDING_MODE_NONE, "\2\0\0\0", 4, 0},
		{BINDING_MODE_CLOSE, BINDING_MODE_NONE, "\3\0\0\5", 4, 0},
		{BINDING_MODE_FORGET, BINDING_MODE_FORGET, "\2\0\0\5", 4, 0},
		{BINDING_MODE_FORGET, BINDING_MODE_CLOSE, "\1\0\0\0", 4, 0},
		{BINDING_MODE_FORGET, BINDING_MODE_NONE, "\3\0\0\5", 4, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_HOLD, "\3\0\1\2", 4, 258},
		{BINDING_MODE_HOLD, BINDING_MODE_CLOSE, "\1\0\0\5", 4, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_NONE, "\3\0\0\0", 4, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_NONE, "\4\0\0\5", 4, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_NONE, "\5\0\0\5", 4, 0},
		{BINDING_MODE_WAIT, BINDING_MODE_WAIT, "\4\0\0\5", 4, 5},
		{BINDING_MODE_WAIT, BINDING_MODE_NONE, "\4\0\0\0", 4, 0},
		{BINDING_MODE_WAIT, BINDING_MODE_NONE, "\3\0\0\5", 4, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_NONE, "\3\0\0", 3, 0},
		{BINDING_MODE_HOLD, BINDING_MODE_NONE, "\3\0\0\5\5", 5, 0},
	};
	struct binding_request request = plain_request;
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	struct wire_writer writer;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		request.mode = cases[i].asked;
		begin(&writer, reply, STUN_SUCCESS, STUN_METHOD_BINDING);
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &source4);
		stun_put(&writer, STUN_NATPUNCH_CONNECTION, cases[i].value, cases[i].size);
		is_int(judge(&writer, ADDR_IPV4, &request, &answer), BINDING_MAPPED,
			"asked for mode %d, case %zu", cases[i].asked, i);
		is_int(answer.mode, cases[i].granted, "its mode");
		is_uint(answer.seconds, cases[i].seconds, "its seconds");
	}
}

int main(void)
{
	test_request();
	test_success();
	test_size();
	test_software();
	test_classic();
	test_unknown();
	test_change_request();
	test_many_unknown();
	test_others();
	test_modes();
	test_behind_integrity();
	test_reading_vectors();
	test_reading_kinds();
	test_reading_company();
	test_reading_addresses();
	test_reading_errors();
	test_reading_modes();
	return done_testing();
}
