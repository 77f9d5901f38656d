/* Which port comes next: what was seen, what is to be tried, and how it is written. */
#include "natpunch/proto/port_prediction.h"

#include "tap.h"

static struct port_prediction make(uint16_t one, uint16_t two, uint16_t three)
{
	return port_prediction_make((const uint16_t[PORT_PREDICTION_SAMPLES]){one, two, three});
}

static void predicts(struct port_prediction got, uint16_t port, int16_t step, const char *name)
{
	is_uint(got.port, port, "%s: the port", name);
	is_int(got.step, step, "%s: the step", name);
}

static void test_make(void)
{
	predicts(make(40007, 40007, 40007), 40007, 0, "always the same");
	predicts(make(40007, 40008, 40009), 40010, 1, "one more each time");
	predicts(make(40007, 40009, 40011), 40013, 2, "two more: parity is kept");
	predicts(make(40009, 40008, 40007), 40006, -1, "one less each time");
	predicts(make(40007, 40008, 40010), 40011, 1, "somebody took one in between");
	predicts(make(40007, 40010, 40011), 40012, 1, "or before that");
	predicts(make(40007, 40009, 40015), 40017, 2, "somebody took two steps of two");
	predicts(make(40000, 40016, 40032), 40048, 16, "the largest step");
	predicts(make(65533, 65534, 65535), 0, 0, "there is no port behind the last");
	predicts(make(3, 2, 1), 0, 0, "nor in front of the first");
	predicts(make(65532, 65533, 65534), 65535, 1, "the last is one");
}

static void test_untold(void)
{
	predicts(make(0, 40008, 40009), 0, 0, "the first was not seen");
	predicts(make(40007, 0, 40009), 0, 0, "the second was not");
	predicts(make(40007, 40008, 0), 0, 0, "the third was not");
	predicts(make(0, 0, 0), 0, 0, "none was");
	predicts(make(40007, 51234, 18881), 0, 0, "random ports");
	predicts(make(40007, 40008, 40007), 0, 0, "to and fro");
	predicts(make(40007, 40007, 40008), 0, 0, "the same, then another");
	predicts(make(40007, 40008, 40008), 0, 0, "another, then the same");
	predicts(make(40000, 40002, 40005), 0, 0, "steps that do not go with each other");
	predicts(make(40000, 40017, 40034), 0, 0, "steps that are too large");
	predicts(make(40000, 40001, 40018), 0, 0, "one that is");
	predicts(make(1, 65535, 1), 0, 0, "from end to end");
}

static bool is_excluded(uint16_t one, uint16_t two, uint16_t three)
{
	return port_prediction_is_excluded(
		(const uint16_t[PORT_PREDICTION_SAMPLES]){one, two, three});
}

/* What two ports exclude, no third one may predict. */
static void test_excluded(void)
{
	unsigned predicted = 0;

	ok(!is_excluded(0, 0, 0), "nothing is excluded by nothing");
	ok(!is_excluded(40007, 0, 0), "nor by one port");
	ok(!is_excluded(40000, 40016, 0), "two that are one step apart");
	ok(!is_excluded(0, 40016, 40000), "downwards as well");
	ok(!is_excluded(40000, 0, 40032), "or two steps, the first and the third");
	ok(!is_excluded(40000, 40016, 40032), "all three");
	ok(is_excluded(40000, 40017, 0), "one more is too far");
	ok(is_excluded(0, 40000, 40017), "the second and the third");
	ok(is_excluded(40033, 0, 40000), "the first and the third");
	for (unsigned port = 1; port <= UINT16_MAX; port++)
		predicted += make(40000, 40017, (uint16_t)port).port != 0 ||
			     make((uint16_t)port, 40000, 40017).port != 0 ||
			     make(40033, (uint16_t)port, 40000).port != 0;
	is_uint(predicted, 0, "no other port would have made a prediction of these");
}

static void test_candidates(void)
{
	uint16_t out[PORT_PREDICTION_CANDIDATES];
	struct port_prediction prediction = {.port = 40010, .step = 1};

	is_uint(port_prediction_candidates(&prediction, out), PORT_PREDICTION_CANDIDATES,
		"a handful");
	is_uint(out[0], 40010, "the one predicted first");
	is_uint(out[PORT_PREDICTION_CANDIDATES - 1], 40014, "then those behind it");
	prediction.step = -2;
	is_uint(port_prediction_candidates(&prediction, out), PORT_PREDICTION_CANDIDATES,
		"downwards as well");
	is_uint(out[1], 40008, "by the step");
	prediction.step = 0;
	is_uint(port_prediction_candidates(&prediction, out), 1,
		"a port that stays is tried alone");
	is_uint(out[0], 40010, "that one");
	prediction = (struct port_prediction){.port = 65533, .step = 2};
	is_uint(port_prediction_candidates(&prediction, out), 2, "none beyond the last port");
	is_uint(out[1], 65535, "which is one");
	prediction = (struct port_prediction){.port = 2, .step = -1};
	is_uint(port_prediction_candidates(&prediction, out), 2, "none below the first");
	prediction = (struct port_prediction){.port = 0};
	is_uint(port_prediction_candidates(&prediction, out), 0,
		"nothing predicted, nothing to try");
}

static void test_after(void)
{
	struct port_prediction prediction = {.port = 40010, .step = 2};

	predicts(port_prediction_after(&prediction, 0), 40010, 2, "after none");
	predicts(port_prediction_after(&prediction, 5), 40020, 2, "after five");
	predicts(port_prediction_after(&prediction, 30000), 0, 0, "after too many");
	predicts(port_prediction_after(&prediction, UINT32_MAX), 0, 0, "after very many");
	prediction.step = 0;
	predicts(port_prediction_after(&prediction, 1000), 40010, 0, "one that stays");
	prediction = (struct port_prediction){.port = 0};
	predicts(port_prediction_after(&prediction, 1), 0, 0, "one that cannot be told");
}

/* Whatever ports were seen: what is predicted is a port, and near. */
static void test_all_near(void)
{
	unsigned wrong = 0, told = 0;

	for (int two = 0; two <= 80; two++)
		for (int three = 0; three <= 80; three++) {
			struct port_prediction prediction =
				make(40, (uint16_t)two, (uint16_t)three);
			uint16_t out[PORT_PREDICTION_CANDIDATES];
			size_t count = port_prediction_candidates(&prediction, out);

			if (prediction.port == 0) {
				wrong += count != 0 || prediction.step != 0;
				continue;
			}
			told++;
			wrong += count < 1 || count > PORT_PREDICTION_CANDIDATES ||
				 out[0] != prediction.port;
			wrong += abs(prediction.step) > PORT_PREDICTION_STEP_MAX;
			wrong += prediction.port != three + prediction.step;
			wrong += prediction.step == 0 && (two != 40 || three != 40);
		}
	is_uint(wrong, 0, "near what was seen, or nothing");
	ok(told > 50 && told < 500, "of 6561 that were tried, some are regular (%u)", told);
}

/* A value of `size` bytes as an attribute of a message; returns what port_prediction_read() does.
 */
static int read_value(const void *value, size_t size, struct port_prediction *out)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	uint8_t bytes[64];
	struct wire_writer writer;
	struct stun_message message;
	struct stun_attribute attribute;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_CONNECT, transaction);
	stun_put(&writer, STUN_NATPUNCH_PREDICTION, value, size);
	if (stun_parse(&message, bytes, stun_finish(&writer)) != 0 ||
		!stun_find(&message, STUN_NATPUNCH_PREDICTION, &attribute))
		bail_out("no attribute");
	return port_prediction_read(&attribute, out);
}

static void test_wire(void)
{
	static const struct port_prediction all[] = {
		{0, 0}, {1, 0}, {65535, 0}, {40010, 1}, {40010, -16}, {258, 16}};
	struct port_prediction out;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint8_t bytes[16];
		struct wire_writer writer;

		wire_writer_start(&writer, bytes, sizeof(bytes));
		port_prediction_put(&writer, &all[i]);
		is_uint(writer.offset, 8, "%u %d: written", all[i].port, all[i].step);
		is_int(read_value(bytes + 4, 4, &out), 0, "it is read");
		ok(out.port == all[i].port && out.step == all[i].step, "and is the same");
	}
	is_int(read_value("\x9c\x4a\xff\xff", 4, &out), 0, "as the page has it");
	predicts(out, 40010, -1, "bytes");
	is_int(read_value("\x9c\x4a\x00", 3, &out), -1, "a byte less");
	is_int(read_value("\x9c\x4a\x00\x01\x00", 5, &out), -1, "a byte more");
	is_int(read_value("\x9c\x4a\x00\x11", 4, &out), -1, "a step of 17");
	is_int(read_value("\x9c\x4a\xff\xef", 4, &out), -1, "a step of -17");
	is_int(read_value("\x9c\x4a\x80\x00", 4, &out), -1, "the lowest step");
	is_int(read_value("\x00\x00\x00\x01", 4, &out), -1, "a step without a port");
	predicts(out, 0, 0, "what is refused predicts nothing");
}

int main(void)
{
	test_make();
	test_untold();
	test_excluded();
	test_candidates();
	test_after();
	test_all_near();
	test_wire();
	return done_testing();
}
