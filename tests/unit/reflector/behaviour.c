/* RFC 5780 in the answer to a Binding request: what a server with a second address adds and serves.
 */
#include "natpunch/proto/binding.h"

#include "tap.h"

static const struct addr source4 = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 32853};
static const struct binding_places places = {
	.at = {
		{.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3478},
		{.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3479},
		{.family = ADDR_IPV4, .ip = {198, 51, 100, 2}, .port = 3478},
		{.family = ADDR_IPV4, .ip = {198, 51, 100, 2}, .port = 3479},
	}};
static const struct binding_server server = {.places = &places};
static const struct binding_server stream = {.places = &places, .stream = true};

static uint8_t bytes[STUN_DATAGRAM_MAX];
static uint8_t answer_bytes[STUN_DATAGRAM_MAX];
static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 1, 2, 3};
static const uint8_t classic[STUN_TRANSACTION_SIZE] = {9, 9, 9, 9, 1, 2, 3};

struct result {
	size_t asked, size;
	struct binding_request granted;
	struct stun_message message;
};

static struct result ask(const struct binding_server *whom, struct wire_writer *writer)
{
	struct result result;

	memset(&result, 0, sizeof(result));
	result.asked = stun_finish(writer);
	if (binding_write_answer(whom, &source4, bytes, result.asked, answer_bytes,
		    sizeof(answer_bytes), &result.size, &result.granted) == BINDING_ANSWERED &&
		stun_parse(&result.message, answer_bytes, result.size) < 0)
		fail("the answer is no message");
	return result;
}

static struct wire_writer begin(const uint8_t id[STUN_TRANSACTION_SIZE])
{
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_BINDING, id);
	return writer;
}

static unsigned error_code(const struct result *result)
{
	struct stun_attribute attribute;
	const uint8_t *reason;
	size_t size;
	unsigned code;

	if (result->message.class == STUN_SUCCESS)
		return 0;
	if (!stun_find(&result->message, STUN_ERROR_CODE, &attribute) ||
		stun_read_error(&attribute, &code, &reason, &size) != 0)
		return 1;
	return code;
}

static bool says(const struct result *result, uint16_t type, const struct addr *want)
{
	struct stun_attribute attribute;
	struct addr addr;

	return stun_find(&result->message, type, &attribute) &&
	       stun_read_address(
		       &result->message, &attribute, type == STUN_XOR_MAPPED_ADDRESS, &addr) == 0 &&
	       addr_equal(&addr, want);
}

static bool has(const struct result *result, uint16_t type)
{
	struct stun_attribute attribute;

	return stun_find(&result->message, type, &attribute);
}

static void test_plain(void)
{
	struct wire_writer writer = begin(transaction);
	struct result result = ask(&server, &writer);

	ok(says(&result, STUN_XOR_MAPPED_ADDRESS, &source4), "XOR-MAPPED-ADDRESS");
	ok(says(&result, STUN_MAPPED_ADDRESS, &source4), "MAPPED-ADDRESS as well");
	ok(says(&result, STUN_RESPONSE_ORIGIN, &places.at[0]),
		"RESPONSE-ORIGIN is where it was asked");
	ok(says(&result, STUN_OTHER_ADDRESS, &places.at[3]), "OTHER-ADDRESS differs in both");
	ok(!has(&result, STUN_SOURCE_ADDRESS) && !has(&result, STUN_CHANGED_ADDRESS),
		"nothing of RFC 3489");
	is_uint(result.size, 20 + 4 * 12, "four addresses and no more");
	ok(!result.granted.change_ip && !result.granted.change_port &&
			result.granted.response_port == 0,
		"sent from where it was asked, to the source");

	writer = begin(transaction);
	result = ask(&stream, &writer);
	ok(says(&result, STUN_RESPONSE_ORIGIN, &places.at[0]) &&
			says(&result, STUN_OTHER_ADDRESS, &places.at[3]),
		"over a stream it says so, too");
}

static void test_classic(void)
{
	struct wire_writer writer = begin(classic);
	struct result result;

	stun_put(&writer, STUN_CHANGE_REQUEST, "\0\0\0\6", 4);
	result = ask(&server, &writer);
	ok(result.message.classic && says(&result, STUN_MAPPED_ADDRESS, &source4),
		"RFC 3489: MAPPED-ADDRESS");
	ok(says(&result, STUN_SOURCE_ADDRESS, &places.at[3]), "SOURCE-ADDRESS as it was asked for");
	ok(says(&result, STUN_CHANGED_ADDRESS, &places.at[3]), "CHANGED-ADDRESS");
	ok(!has(&result, STUN_RESPONSE_ORIGIN) && !has(&result, STUN_OTHER_ADDRESS) &&
			!has(&result, STUN_XOR_MAPPED_ADDRESS),
		"nothing of RFC 5780");
	ok(result.granted.change_ip && result.granted.change_port, "from the other place");
}

static void test_change(void)
{
	static const struct {
		const char *value;
		size_t size, place;
		unsigned code;
	} cases[] = {{"\0\0\0\0", 4, 0, 0}, {"\0\0\0\2", 4, 1, 0}, {"\0\0\0\4", 4, 2, 0},
		{"\0\0\0\6", 4, 3, 0}, {"\xff\xff\xff\xf9", 4, 0, 0}, {"\0\0\0", 3, 0, 400},
		{"\0\0\0\6\0", 5, 0, 400}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wire_writer writer = begin(transaction);
		struct result result;

		stun_put(&writer, STUN_CHANGE_REQUEST, cases[i].value, cases[i].size);
		stun_put(&writer, STUN_CHANGE_REQUEST, "\0\0\0\6", 4);
		result = ask(&server, &writer);
		is_uint(error_code(&result), cases[i].code, "CHANGE-REQUEST, case %zu", i);
		is_uint((result.granted.change_ip ? 2U : 0U) +
				(result.granted.change_port ? 1U : 0U),
			cases[i].place, "the place, by the first of two");
		if (cases[i].code == 0)
			ok(says(&result, STUN_RESPONSE_ORIGIN, &places.at[cases[i].place]) &&
					says(&result, STUN_OTHER_ADDRESS, &places.at[3]),
				"RESPONSE-ORIGIN is that place, OTHER-ADDRESS does not change");
		writer = begin(transaction);
		stun_put(&writer, STUN_CHANGE_REQUEST, "\0\0\0\6", 4);
		result = ask(&stream, &writer);
		is_uint(error_code(&result), 420, "over a stream it is not known");
	}
}

static void test_response_port(void)
{
	static const struct {
		const char *value;
		size_t size;
		uint16_t port;
		unsigned code;
	} cases[] = {{"\x12\x34\0\0", 4, 0x1234, 0}, {"\x12\x34", 2, 0x1234, 0},
		{"\0\0\0\0", 4, 0, 400}, {"\x12\x34\0", 3, 0, 400}, {"", 0, 0, 400},
		{"\x12\x34\0\0\0\0", 6, 0, 400}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wire_writer writer = begin(transaction);
		struct result result;

		stun_put(&writer, STUN_RESPONSE_PORT, cases[i].value, cases[i].size);
		result = ask(&server, &writer);
		is_uint(error_code(&result), cases[i].code, "RESPONSE-PORT, case %zu", i);
		is_uint(result.granted.response_port, cases[i].port, "the port");
	}
}

static void test_padding(void)
{
	static const size_t sizes[][2] = {
		{0, 0}, {1, 0}, {3, 0}, {4, 4}, {7, 4}, {1000, 1000}, {1500, 1500}, {1600, 1500}};
	struct stun_attribute attribute;
	struct wire_writer writer;
	struct result result;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		writer = begin(transaction);
		stun_put_zeros(&writer, STUN_PADDING, sizes[i][0]);
		result = ask(&server, &writer);
		is_uint(error_code(&result), 0, "PADDING of %zu is answered", sizes[i][0]);
		is_uint(stun_find(&result.message, STUN_PADDING, &attribute) ? attribute.size : 0,
			sizes[i][1], "with so much");
		ok(result.size <= result.asked + 48, "not larger by more than the addresses");
	}
	writer = begin(transaction);
	stun_put_zeros(&writer, STUN_PADDING, 4);
	stun_put(&writer, STUN_RESPONSE_PORT, "\x12\x34\0\0", 4);
	result = ask(&server, &writer);
	is_uint(error_code(&result), 400, "PADDING and RESPONSE-PORT exclude each other");
	is_uint(result.granted.response_port, 0, "the error goes to the source");
}

/* The bound on amplification: no more than the four addresses on top of the request. */
static void test_size(void)
{
	struct binding_server whom = server;
	struct wire_writer writer;
	unsigned over = 0;
	bool most = false;

	whom.software = "natpunch 0.0.0-with-some-words";
	for (size_t padding = 0; padding <= 1504; padding++)
		for (int fingerprint = 0; fingerprint < 2; fingerprint++) {
			struct result result;

			writer = begin(transaction);
			if (padding > 0)
				stun_put_zeros(&writer, STUN_PADDING, padding);
			if (fingerprint)
				stun_put_fingerprint(&writer);
			result = ask(&whom, &writer);
			over += result.size > result.asked + 48;
			most = most || result.size == result.asked + 48;
		}
	is_uint(over, 0, "no answer is larger by more than four addresses, PADDING or not");
	ok(most, "which some are");
}

/* What a client writes is what a server reads, and what it says is read. */
static void test_both_ends(void)
{
	struct binding_request request = {
		.change_ip = true, .change_port = true, .response_port = 4660};
	struct binding_request granted;
	struct binding_answer answer;
	const char *why;
	size_t size;

	memcpy(request.transaction, transaction, sizeof(transaction));
	size = binding_write_request(&request, bytes, sizeof(bytes));
	is_int(binding_write_answer(&server, &source4, bytes, size, answer_bytes,
		       sizeof(answer_bytes), &size, &granted),
		BINDING_ANSWERED, "a whole request is answered");
	ok(granted.change_ip && granted.change_port && granted.response_port == 4660,
		"as it was wished");
	is_int(binding_read_answer(&request, ADDR_IPV4, answer_bytes, size, &answer, &why),
		BINDING_MAPPED, "and the answer is read");
	ok(addr_equal(&answer.other, &places.at[3]) && addr_equal(&answer.origin, &places.at[3]),
		"with both addresses");

	request.response_port = 0;
	request.padding = 1500;
	size = binding_write_request(&request, bytes, sizeof(bytes));
	ok(size > 1500, "padding is written");
	binding_write_answer(&server, &source4, bytes, size, answer_bytes, sizeof(answer_bytes),
		&size, &granted);
	ok(size > 1500 && granted.padding == 1500, "and answered");
	is_uint(binding_write_request(&request, bytes, 1000), 0, "it has to fit");
}

int main(void)
{
	test_plain();
	test_classic();
	test_change();
	test_response_port();
	test_padding();
	test_size();
	test_both_ends();
	return done_testing();
}
