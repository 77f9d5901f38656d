/*
 * Both ends of a Binding transaction against each other: what the server saw is what the client
 * reads; a client believes no other reply; and no request at all makes a datagram's answer larger
 * than it may be. All of it on memory between guard pages.
 */
#include "natpunch/proto/binding.h"

#include "guard.h"
#include "random.h"
#include "tap.h"
#include "unit/vectors.h"

#define ROUNDS 5000

static struct random rng;
static struct guard in, out;

static struct addr pick_source(void)
{
	struct addr addr = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6};

	random_fill(&rng, addr.ip, addr_ip_size(&addr));
	/* Neither multicast nor unspecified nor IPv4-mapped. */
	addr.ip[0] = (uint8_t)(1 + random_below(&rng, 200));
	addr.port = (uint16_t)(1 + random_below(&rng, 65535));
	return addr;
}

static struct binding_server pick_server(void)
{
	return (struct binding_server){
		.software = random_once(&rng, 2) ? "natpunch" : NULL,
		.can_forget = random_once(&rng, 2),
		.stream = random_once(&rng, 2),
	};
}

static struct binding_request pick_request(void)
{
	struct binding_request request = {
		.mode = (enum binding_mode)random_below(&rng, 4),
		.seconds = (uint16_t)random_number(&rng),
	};
	uint8_t random[12];

	random_fill(&rng, random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	return request;
}

/* One question, one answer. Returns the answer's size, 0 when there was none. */
static size_t transact(const struct binding_server *server, const struct binding_request *request,
	const struct addr *source, uint8_t reply[STUN_MESSAGE_MAX], struct binding_request *granted)
{
	uint8_t question[64];
	size_t asked = binding_write_request(request, question, sizeof(question)), size;

	if (binding_write_answer(server, source, guard_copy_end(&in, question, asked), asked,
		    guard_at_end(&out, 200), 200, &size, granted) != BINDING_ANSWERED)
		return 0;
	memcpy(reply, guard_at_end(&out, 200), size);
	return size;
}

static bool transaction_holds(void)
{
	struct binding_request request = pick_request(), granted;
	struct binding_server server = pick_server();
	struct addr source = pick_source();
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	const char *why;
	size_t size = transact(&server, &request, &source, reply, &granted);

	return size > 0 && (server.stream || size <= 64) &&
	       binding_read_answer(&request, (enum addr_family)source.family,
		       guard_copy_end(&in, reply, size), size, &answer, &why) == BINDING_MAPPED &&
	       addr_equal(&answer.mapped, &source) && answer.other.family == ADDR_NONE &&
	       answer.mode == granted.mode && answer.seconds == granted.seconds &&
	       (server.stream || granted.mode == BINDING_MODE_NONE) &&
	       (granted.mode != BINDING_MODE_FORGET || server.can_forget) &&
	       (granted.mode != BINDING_MODE_HOLD ||
		       (granted.seconds >= 1 && granted.seconds <= 3600));
}

/* Every bit of an answer: what is believed in spite of a flip still carries the same address. */
static bool flips_hold(void)
{
	struct binding_request request = pick_request(), granted;
	struct binding_server server = pick_server();
	struct addr source = pick_source();
	uint8_t reply[STUN_MESSAGE_MAX];
	struct binding_answer answer;
	const char *why;
	size_t size = transact(&server, &request, &source, reply, &granted);

	for (size_t bit = 0; bit < 8 * size; bit++) {
		uint8_t *at = guard_copy_end(&in, reply, size);

		at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (binding_read_answer(&request, ADDR_NONE, at, size, &answer, &why) ==
				BINDING_MAPPED &&
			!addr_equal(&answer.mapped, &source))
			return false;
	}
	for (size_t cut = 0; cut < size; cut++) {
		if (binding_read_answer(&request, ADDR_NONE, guard_copy_end(&in, reply, cut), cut,
			    &answer, &why) != BINDING_MALFORMED)
			return false;
	}
	return size > 0;
}

/* Attributes of all sorts, well framed. */
static size_t pick_message(uint8_t buffer[STUN_MESSAGE_MAX], const struct binding_request *request)
{
	static const uint16_t types[] = {STUN_MAPPED_ADDRESS, STUN_CHANGE_REQUEST, STUN_ERROR_CODE,
		STUN_XOR_MAPPED_ADDRESS, STUN_MESSAGE_INTEGRITY, STUN_SOFTWARE, STUN_OTHER_ADDRESS,
		STUN_NATPUNCH_CONNECTION, STUN_USERNAME, 0x7777};
	static const size_t sizes[] = {0, 1, 4, 8, 20, 33};
	uint8_t value[40] = {0};
	struct wire_writer writer;

	stun_begin(&writer, buffer, STUN_MESSAGE_MAX, (enum stun_class)random_below(&rng, 4),
		random_once(&rng, 8) ? 3 : 1, request->transaction);
	for (size_t count = random_below(&rng, 30); count > 0; count--) {
		random_fill(&rng, value, random_once(&rng, 2) ? 4 : sizeof(value));
		value[1] = (uint8_t)(1 + random_below(&rng, 2));
		stun_put(&writer, types[random_below(&rng, sizeof(types) / sizeof(*types))], value,
			sizes[random_below(&rng, sizeof(sizes) / sizeof(*sizes))]);
	}
	if (random_once(&rng, 2))
		stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/*
 * Whatever the request: an answer is a message of its transaction, larger than the request by at
 * most the address, and goes to nothing but a request. Read by a client, it is no worse.
 */
static bool answer_holds(const struct binding_server *server, const struct addr *source,
	const void *data, size_t size)
{
	size_t written, most = size + 8 + addr_ip_size(source);
	struct binding_request granted;
	struct stun_message message, asked;
	enum binding_verdict verdict;
	uint8_t *at = guard_at_end(&out, STUN_MESSAGE_MAX);

	verdict = binding_write_answer(
		server, source, data, size, at, STUN_MESSAGE_MAX, &written, &granted);
	if (stun_parse(&asked, data, size) < 0)
		return verdict == BINDING_BROKEN && written == 0;
	if (verdict == BINDING_BROKEN)
		return false;
	if (verdict == BINDING_SILENT)
		return written == 0 && (asked.class != STUN_REQUEST || asked.classic);
	return asked.class == STUN_REQUEST && (server->stream || written <= most) &&
	       stun_parse(&message, at, written) == 0 &&
	       (message.class == STUN_SUCCESS || message.class == STUN_ERROR) &&
	       message.method == asked.method && message.has_fingerprint == asked.has_fingerprint &&
	       memcmp(message.transaction, asked.transaction, STUN_TRANSACTION_SIZE) == 0;
}

/* What is believed is an address that could be a mapping, in a message that could be an answer. */
static bool reading_holds(const struct binding_request *request, const void *data, size_t size)
{
	struct binding_answer answer;
	struct stun_message message;
	enum binding_outcome outcome;
	const char *why = "";

	outcome = binding_read_answer(request, ADDR_IPV4, data, size, &answer, &why);
	if (outcome != BINDING_MAPPED && answer.mapped.family != ADDR_NONE)
		return false;
	if (outcome != BINDING_MAPPED && outcome != BINDING_REFUSED)
		return why && *why != '\0';
	if (why || stun_parse(&message, data, size) < 0 || message.method != STUN_METHOD_BINDING ||
		memcmp(message.transaction, request->transaction, STUN_TRANSACTION_SIZE) != 0)
		return false;
	if (outcome == BINDING_REFUSED)
		return message.class == STUN_ERROR && answer.code >= 300 && answer.code <= 699;
	return message.class == STUN_SUCCESS && answer.mapped.family == ADDR_IPV4 &&
	       answer.mapped.port != 0 && addr_classify(&answer.mapped) != ADDR_CLASS_UNSPECIFIED &&
	       addr_classify(&answer.mapped) != ADDR_CLASS_MULTICAST;
}

static bool strangers_hold(void)
{
	struct binding_request request = pick_request();
	struct binding_server server = pick_server();
	struct addr source = pick_source();
	uint8_t message[STUN_MESSAGE_MAX], *at;
	size_t size;

	if (random_once(&rng, 2))
		random_fill(&rng, request.transaction, STUN_TRANSACTION_SIZE);
	size = pick_message(message, &request);
	at = guard_copy_end(&in, message, size);
	if (!answer_holds(&server, &source, at, size) || !reading_holds(&request, at, size))
		return false;
	for (size_t flips = random_below(&rng, 4); flips > 0 && size > 0; flips--)
		at[random_below(&rng, size)] ^= (uint8_t)(1 << random_below(&rng, 8));
	return answer_holds(&server, &source, at, size) && reading_holds(&request, at, size);
}

int main(void)
{
	int round;

	rng = random_start();
	in = guard_make(STUN_MESSAGE_MAX);
	out = guard_make(STUN_MESSAGE_MAX);
	for (round = 0; round < ROUNDS && transaction_holds(); round++)
		;
	is_int(round, ROUNDS, "what the server saw is what the client reads");
	for (round = 0; round < ROUNDS / 25 && flips_hold(); round++)
		;
	is_int(round, ROUNDS / 25, "no flipped bit becomes another mapping");
	for (round = 0; round < 2 * ROUNDS && strangers_hold(); round++)
		;
	is_int(round, 2 * ROUNDS, "strange messages get small answers and are not believed");
	return done_testing();
}
