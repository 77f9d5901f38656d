/* Dial-back as bytes: layouts, what is refused, what is believed. */
#include "natpunch/proto/dialback.h"

#include "tap.h"

static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {
	0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const struct addr target = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 32853};

static uint8_t bytes[STUN_MESSAGE_MAX];

static struct dialback_request make_request(uint8_t places, uint16_t port)
{
	struct dialback_request request = {.places = places, .port = port};

	memcpy(request.transaction, transaction, sizeof(transaction));
	return request;
}

static struct dialback_answer make_answer(void)
{
	return (struct dialback_answer){.target = target,
		.count = 2,
		.results = {
			{.place = 1,
				.outcome = DIALBACK_CONNECTED,
				.milliseconds = 0x1234,
				.from = {.family = ADDR_IPV4,
					.ip = {198, 51, 100, 1},
					.port = 40000},
				.banner = "SSH-2.0-x\r\n",
				.banner_size = 11},
			{.place = 2,
				.outcome = DIALBACK_TIMED_OUT,
				.milliseconds = 3000,
				.from = {.family = ADDR_IPV6,
					.ip = {0x20, 1, [15] = 2},
					.port = 40001}},
		}};
}

static void test_request_bytes(void)
{
	static const uint8_t want[] = {0x02, 0xc4, 0x00, 0x10, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4,
		5, 6, 7, 8, 9, 10, 11, 12, 0xc6, 0xe4, 0, 4, 3, 0, 0x12, 0x34, 0x80, 0x28, 0, 4};
	struct dialback_request request = make_request(3, 0x1234);
	size_t size = dialback_write_request(&request, bytes, DIALBACK_REQUEST_MAX);

	is_uint(size, 36, "the request's size");
	is_mem(bytes, want, sizeof(want), "to the byte");
	ok(dialback_is_request(bytes, size), "it is one");
	ok(!dialback_is_request(bytes, 19), "not when it is cut");
	bytes[0] ^= 1;
	ok(!dialback_is_request(bytes, size), "nor as a response");
	for (size_t room = 0; room < size; room++)
		if (dialback_write_request(&request, bytes, room) != 0)
			fail("a request in %zu bytes", room);
}

static int read_request(struct wire_writer *writer, struct dialback_request *out, unsigned *code)
{
	uint8_t error[STUN_MESSAGE_MAX];
	struct stun_message message, refusal;
	struct stun_attribute attribute;
	const uint8_t *reason;
	size_t size = stun_finish(writer), reason_size;
	int result;

	*code = 0;
	if (stun_parse(&message, bytes, size) != 0)
		return -2;
	result = dialback_read_request(&message, out, error, sizeof(error), &size);
	if (result != 0 &&
		(stun_parse(&refusal, error, size) != 0 || refusal.class != STUN_ERROR ||
			refusal.method != STUN_METHOD_DIAL ||
			memcmp(refusal.transaction, transaction, sizeof(transaction)) != 0 ||
			!stun_find(&refusal, STUN_ERROR_CODE, &attribute) ||
			stun_read_error(&attribute, code, &reason, &reason_size) != 0))
		return -3;
	return result;
}

static void test_reading_requests(void)
{
	static const struct {
		const char *value;
		size_t size;
		unsigned code;
		uint8_t places;
	} cases[] = {{"\1\0\0\0", 4, 0, 1}, {"\2\0\0\0", 4, 0, 2}, {"\xff\xff\0\x16", 4, 0, 3},
		{"\0\0\0\x16", 4, 400, 0}, {"\xfc\0\0\x16", 4, 400, 0}, {"\1\0\0", 3, 400, 0},
		{"\1\0\0\0\0", 5, 400, 0}, {"", 0, 400, 0}};
	static const struct {
		uint16_t type;
		unsigned code;
	} company[] = {{STUN_USERNAME, 0}, {STUN_NONCE, 0}, {STUN_SOFTWARE, 0},
		{STUN_OTHER_ADDRESS, 0}, {0x8888, 0}, {STUN_XOR_MAPPED_ADDRESS, 420},
		{STUN_MAPPED_ADDRESS, 420}, {STUN_RESPONSE_ADDRESS, 420}, {STUN_RESPONSE_PORT, 420},
		{0x7777, 420}};
	struct dialback_request request;
	struct wire_writer writer;
	unsigned code;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		stun_begin(
			&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_DIAL, transaction);
		stun_put(&writer, STUN_NATPUNCH_DIAL, cases[i].value, cases[i].size);
		is_int(read_request(&writer, &request, &code), cases[i].code == 0 ? 0 : -1,
			"request %zu", i);
		is_uint(code, cases[i].code, "its error");
		is_uint(request.places, cases[i].places, "its places");
	}
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_DIAL, transaction);
	is_int(read_request(&writer, &request, &code), -1, "one without the attribute");
	is_uint(code, 400, "gets 400");
	for (size_t i = 0; i < sizeof(company) / sizeof(*company); i++) {
		stun_begin(
			&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_DIAL, transaction);
		stun_put_address(&writer, company[i].type, &target);
		stun_put(&writer, STUN_NATPUNCH_DIAL, "\1\0\0\x16", 4);
		read_request(&writer, &request, &code);
		is_uint(code, company[i].code, "with 0x%04x", company[i].type);
		is_uint(request.port, 22, "the port is what the attribute says");
	}
}

static enum dialback_reply judge(size_t size, uint8_t places, struct dialback_answer *answer)
{
	struct dialback_request request = make_request(places, 0);
	const char *why = NULL;
	enum dialback_reply reply = dialback_read_answer(&request, bytes, size, answer, &why);

	if ((why == NULL) != (reply == DIALBACK_ANSWERED || reply == DIALBACK_REFUSAL))
		fail("a verdict without its reason, or with one too many");
	return reply;
}

static void test_answer(void)
{
	struct dialback_answer wrote = make_answer(), answer;
	size_t size = dialback_write_answer(transaction, &wrote, bytes, DIALBACK_ANSWER_MAX);
	char text[64];

	ok(size > 0, "an answer is written");
	is_int(judge(size, 3, &answer), DIALBACK_ANSWERED, "and read");
	ok(addr_equal(&answer.target, &target), "its target");
	is_uint(answer.count, 2, "its results");
	for (size_t i = 0; i < 2; i++) {
		const struct dialback_result *a = &answer.results[i], *b = &wrote.results[i];

		ok(a->place == b->place && a->outcome == b->outcome &&
				a->milliseconds == b->milliseconds &&
				addr_equal(&a->from, &b->from),
			"result %zu", i);
		ok(a->banner_size == b->banner_size &&
				memcmp(a->banner, b->banner, a->banner_size) == 0,
			"its banner");
	}
	is_str(dialback_format_banner(&answer.results[0], text, sizeof(text)), "SSH-2.0-x",
		"the line of it");
	is_str(dialback_format_banner(&answer.results[1], text, sizeof(text)), "", "or none");
	is_int(judge(size, 1, &answer), DIALBACK_MALFORMED, "a place that was not asked for");
	is_uint(answer.count, 0, "gives nothing");

	wrote.results[0].banner_size = wrote.results[1].banner_size = DIALBACK_BANNER_MAX;
	wrote.target.family = ADDR_IPV6;
	size = dialback_write_answer(transaction, &wrote, bytes, DIALBACK_ANSWER_MAX);
	ok(size > 0, "the longest answer fits into %d bytes: %zu", DIALBACK_ANSWER_MAX, size);
	wrote.count = 1;
	size = dialback_write_answer(transaction, &wrote, bytes, DIALBACK_ANSWER_MAX);
	is_int(judge(size, 3, &answer), DIALBACK_MALFORMED, "a missing result");
	wrote.count = 2;
	wrote.results[1].place = 1;
	size = dialback_write_answer(transaction, &wrote, bytes, DIALBACK_ANSWER_MAX);
	is_int(judge(size, 3, &answer), DIALBACK_MALFORMED, "two for one place");
}

static void test_banner(void)
{
	static const struct {
		const char *banner, *want;
	} cases[] = {{"SSH-2.0-x", "SSH-2.0-x"}, {"a\nb", "a"}, {"\r\nb", ""},
		{"a\rb\n", "a\\x0db"}, {"\x1b[31mred\n", "\\x1b[31mred"}, {"\xff\\", "\\xff\\\\"}};
	struct dialback_result result;
	char text[300];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		memset(&result, 0, sizeof(result));
		result.banner_size = strlen(cases[i].banner);
		memcpy(result.banner, cases[i].banner, result.banner_size);
		is_str(dialback_format_banner(&result, text, sizeof(text)), cases[i].want,
			"banner %zu", i);
	}
	memset(result.banner, 7, sizeof(result.banner));
	result.banner_size = sizeof(result.banner);
	is_uint(strlen(dialback_format_banner(&result, text, sizeof(text))), 256, "all escapes");
	is_str(dialback_format_banner(&result, text, 1), "", "no room");
}

/* One result as bytes, most of them wrong in one place. */
static void test_reading_results(void)
{
	static const struct {
		const char *name;
		size_t at, size;
		uint8_t value;
		enum dialback_reply reply;
	} cases[] = {{"as it should be", 0, 24, 1, DIALBACK_ANSWERED},
		{"with a banner", 0, 88, 1, DIALBACK_ANSWERED},
		{"with too long a banner", 0, 89, 1, DIALBACK_MALFORMED},
		{"too short", 0, 23, 1, DIALBACK_MALFORMED},
		{"of no size", 0, 0, 1, DIALBACK_MALFORMED},
		{"for no place", 0, 24, 0, DIALBACK_MALFORMED},
		{"for two places", 0, 24, 3, DIALBACK_MALFORMED},
		{"for a place that does not exist", 0, 24, 4, DIALBACK_MALFORMED},
		{"without an outcome", 1, 24, 0, DIALBACK_MALFORMED},
		{"with the last outcome", 1, 24, DIALBACK_FAILED, DIALBACK_ANSWERED},
		{"with one behind it", 1, 24, DIALBACK_FAILED + 1, DIALBACK_MALFORMED},
		{"of another family", 4, 24, 3, DIALBACK_MALFORMED},
		{"of no family, with an address", 4, 24, 0, DIALBACK_MALFORMED},
		{"of IPv6", 4, 24, 2, DIALBACK_ANSWERED},
		{"of IPv4, with more behind it", 12, 24, 9, DIALBACK_MALFORMED},
		{"with something between", 5, 24, 9, DIALBACK_ANSWERED}};
	struct dialback_answer answer;
	struct wire_writer writer;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t value[89] = {1, 1, 0, 5, 1, 0, 0x30, 0x39, 198, 51, 100, 1};

		value[cases[i].at] = cases[i].value;
		stun_begin(
			&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_DIAL, transaction);
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &target);
		stun_put(&writer, STUN_NATPUNCH_DIALLED, value, cases[i].size);
		is_int(judge(stun_finish(&writer), 1, &answer), cases[i].reply, "a result %s",
			cases[i].name);
	}
}

static void test_other_replies(void)
{
	struct dialback_answer answer;
	struct wire_writer writer;
	uint8_t other[STUN_TRANSACTION_SIZE];

	memcpy(other, transaction, sizeof(other));
	other[15] ^= 1;
	stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_DIAL, other);
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_UNRELATED, "another transaction");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_INDICATION, STUN_METHOD_DIAL, transaction);
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_UNRELATED, "an indication");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_BINDING, transaction);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &target);
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_MALFORMED, "another method");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_DIAL, transaction);
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_MALFORMED, "no target");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_DIAL, transaction);
	stun_put_error(&writer, 400, "Bad\nRequest");
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_REFUSAL, "an error");
	is_uint(answer.code, 400, "its code");
	is_str(answer.reason, "Bad\\x0aRequest", "its reason, escaped");
	stun_begin(&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_DIAL, transaction);
	is_int(judge(stun_finish(&writer), 1, &answer), DIALBACK_MALFORMED, "one without a code");
	is_int(judge(19, 1, &answer), DIALBACK_MALFORMED, "less than a header");
}

static void test_names(void)
{
	for (int i = DIALBACK_CONNECTED; i <= DIALBACK_FAILED; i++)
		ok(strcmp(dialback_outcome_name((enum dialback_outcome)i), "?") != 0,
			"outcome %d has a name", i);
	is_str(dialback_outcome_name(0), "?", "0 has none");
	is_str(dialback_outcome_name(DIALBACK_FAILED + 1), "?", "nor has what is behind the last");
	ok(dialback_is_through(DIALBACK_CONNECTED) && dialback_is_through(DIALBACK_CLOSED) &&
			!dialback_is_through(DIALBACK_REFUSED) &&
			!dialback_is_through(DIALBACK_OFF),
		"who got through");
}

int main(void)
{
	test_request_bytes();
	test_reading_requests();
	test_answer();
	test_banner();
	test_reading_results();
	test_other_replies();
	test_names();
	return done_testing();
}
