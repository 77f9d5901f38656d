/* Counters as text: each once, none without a name, and what an answer counts as. */
#include "reflector/counters.h"

#include "natpunch/proto/stun.h"
#include "tap.h"

static char text[COUNTERS_TEXT_SIZE];

static unsigned count_text(const char *needle)
{
	unsigned found = 0;

	for (const char *at = text; (at = strstr(at, needle)) != NULL; at++)
		found++;
	return found;
}

static void test_text(void)
{
	struct counters counters;
	char line[COUNTERS_LINE_SIZE], with_break[COUNTERS_LINE_SIZE + 1];
	unsigned wrong = 0;

	memset(&counters, 0xff, sizeof(counters));
	ok(counters_write(&counters, text) == strlen(text), "the length is that of the text");
	diag("%zu bytes at most", strlen(text));
	for (unsigned i = 0; i < COUNTER_COUNT; i++) {
		counters_format(&counters, (enum counter)i, line);
		snprintf(with_break, sizeof(with_break), "%s\n", line);
		wrong += count_text(with_break) != 1 || strstr(line, "(null)") != NULL ||
			 strstr(line, " 18446744073709551615") == NULL;
	}
	is_uint(wrong, 0, "each counter has one line of its own, also of twenty digits");
	is_uint(count_text("# TYPE natpunch_requests_total counter\n"), 1, "one kind is counted");
	is_uint(count_text("# TYPE natpunch_entries gauge\n"), 1, "another measured");
	is_uint(count_text("# HELP "), count_text("# TYPE "), "each family has both heads");
	is_uint(count_text("\n"), COUNTER_COUNT + 2 * count_text("# HELP "),
		"and there is no more");
	is_str(counters_format(&counters, COUNTER_RELAYS_BEGUN, line),
		"natpunch_relays_total 18446744073709551615", "one without a label");
	memset(&counters, 0, sizeof(counters));
	counters.values[COUNTER_UDP_REQUESTS] = 12;
	is_str(counters_format(&counters, COUNTER_UDP_REQUESTS, line),
		"natpunch_requests_total{transport=\"udp\",kind=\"binding\"} 12", "and with two");
}

static uint64_t count_of(enum stun_class class, unsigned code, unsigned which)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	struct counters counters = {.values = {0}};
	struct wire_writer writer;
	uint8_t bytes[128];
	size_t size;

	stun_begin(&writer, bytes, sizeof(bytes), class, STUN_METHOD_LOOKUP, transaction);
	if (class == STUN_ERROR)
		stun_put_error(&writer, code, "why");
	stun_put_fingerprint(&writer);
	size = stun_finish(&writer);
	if (class == STUN_REQUEST || class == STUN_INDICATION)
		count_request(&counters, COUNTER_UDP_REQUESTS, bytes, size);
	else
		count_answer(&counters, COUNTER_TCP_ANSWERS, bytes, size);
	return counters.values[which];
}

static void test_answers(void)
{
	static const unsigned codes[] = {400, 401, 403, 420, 438, 447, 486, 508};
	struct counters sum = {.values = {[COUNTER_INVITED] = 3}};
	struct counters part = {.values = {[COUNTER_INVITED] = 4, [COUNTER_HELD] = 1}};

	is_uint(count_of(STUN_REQUEST, 0, COUNTER_UDP_REQUESTS + COUNTERS_LOOKUP), 1, "a request");
	is_uint(count_of(STUN_INDICATION, 0, COUNTER_UDP_REQUESTS + COUNTERS_LOOKUP), 0,
		"an indication is none");
	is_uint(count_of(STUN_SUCCESS, 0, COUNTER_TCP_ANSWERS + COUNTERS_LOOKUP), 1, "an answer");
	for (unsigned i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		is_uint(count_of(STUN_ERROR, codes[i], COUNTER_ERROR_400 + i), 1, "error %u",
			codes[i]);
	is_uint(count_of(STUN_ERROR, 300, COUNTER_ERROR_OTHER), 1, "any other");
	for (unsigned kind = 0; kind <= COUNTERS_KINDS; kind++) {
		static const uint16_t methods[] = {STUN_METHOD_BINDING, STUN_METHOD_REGISTER,
			STUN_METHOD_LOOKUP, STUN_METHOD_CONNECT, STUN_METHOD_RELAY,
			STUN_METHOD_JOIN, STUN_METHOD_DIAL, 0, 0xfff};
		is_uint(counters_kind_of(methods[kind]),
			kind < COUNTERS_KINDS ? kind : COUNTERS_OTHER, "method %u", methods[kind]);
	}
	count_one(NULL, COUNTER_INVITED);
	counters_add(&sum, &part);
	ok(sum.values[COUNTER_INVITED] == 7 && sum.values[COUNTER_HELD] == 1, "parts add up");
}

int main(void)
{
	test_text();
	test_answers();
	return done_testing();
}
