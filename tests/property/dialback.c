/*
 * Both ends of a dial-back against each other, on memory between guard pages: what is written is
 * what is read, and no flipped bit or cut makes a reply into one about another place than asked.
 */
#include "natpunch/proto/dialback.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 3000

static struct random rng;
static struct guard in, out;

static struct addr pick_addr(void)
{
	struct addr addr = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6};

	random_fill(&rng, addr.ip, addr_ip_size(&addr));
	addr.port = (uint16_t)random_below(&rng, 65536);
	return addr;
}

static struct dialback_request pick_request(void)
{
	struct dialback_request request = {.places = (uint8_t)(1 + random_below(&rng, 3)),
		.port = (uint16_t)random_number(&rng)};
	uint8_t random[12];

	random_fill(&rng, random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	return request;
}

static struct dialback_answer pick_answer(uint8_t places)
{
	struct dialback_answer answer = {.target = pick_addr()};

	for (uint8_t place = 1; place <= 2; place++) {
		struct dialback_result *result = &answer.results[answer.count];

		if ((places & place) == 0)
			continue;
		answer.count++;
		result->place = place;
		result->outcome = (enum dialback_outcome)(1 + random_below(&rng, DIALBACK_FAILED));
		result->milliseconds = (uint16_t)random_number(&rng);
		if (random_once(&rng, 2))
			result->from = pick_addr();
		result->banner_size = random_below(&rng, DIALBACK_BANNER_MAX + 1);
		random_fill(&rng, result->banner, result->banner_size);
	}
	return answer;
}

static bool same_result(const struct dialback_result *a, const struct dialback_result *b)
{
	return a->place == b->place && a->outcome == b->outcome &&
	       a->milliseconds == b->milliseconds && addr_equal(&a->from, &b->from) &&
	       a->banner_size == b->banner_size &&
	       memcmp(a->banner, b->banner, a->banner_size) == 0;
}

static bool requests_hold(void)
{
	struct dialback_request asked = pick_request(), read;
	struct stun_message message;
	uint8_t bytes[DIALBACK_REQUEST_MAX];
	size_t size = dialback_write_request(&asked, bytes, sizeof(bytes)), error;

	return size > 0 && stun_parse(&message, guard_copy_end(&in, bytes, size), size) == 0 &&
	       dialback_is_request(message.data, size) &&
	       dialback_read_request(&message, &read, guard_at_end(&out, 100), 100, &error) == 0 &&
	       read.places == asked.places && read.port == asked.port &&
	       memcmp(read.transaction, asked.transaction, STUN_TRANSACTION_SIZE) == 0;
}

static bool answers_hold(void)
{
	struct dialback_request request = pick_request();
	struct dialback_answer wrote = pick_answer(request.places), read;
	uint8_t *at = guard_at_end(&out, DIALBACK_ANSWER_MAX);
	size_t size = dialback_write_answer(request.transaction, &wrote, at, DIALBACK_ANSWER_MAX);
	const char *why;

	if (size == 0 || dialback_read_answer(&request, guard_copy_end(&in, at, size), size, &read,
				 &why) != DIALBACK_ANSWERED)
		return false;
	for (size_t i = 0; i < wrote.count; i++)
		if (!same_result(&wrote.results[i], &read.results[i]))
			return false;
	return read.count == wrote.count && addr_equal(&read.target, &wrote.target);
}

/* What is believed has one result for each place that was asked for, whatever the bytes. */
static bool damage_holds(void)
{
	struct dialback_request request = pick_request();
	struct dialback_answer wrote = pick_answer(request.places), read;
	uint8_t bytes[DIALBACK_ANSWER_MAX];
	size_t size = dialback_write_answer(request.transaction, &wrote, bytes, sizeof(bytes));
	uint8_t *at = guard_copy_end(&in, bytes, size);
	const char *why = NULL;
	uint8_t seen = 0;

	for (size_t flips = random_below(&rng, 3); flips > 0; flips--)
		at[random_below(&rng, (uint32_t)size)] ^= (uint8_t)(1 << random_below(&rng, 8));
	/* Without its FINGERPRINT, which would find all of that out. */
	if (random_once(&rng, 2)) {
		size -= 8;
		memmove(at + 8, at, size);
		at += 8;
		at[2] = (uint8_t)((size - 20) >> 8);
		at[3] = (uint8_t)(size - 20);
	}
	if (dialback_read_answer(&request, at, size, &read, &why) != DIALBACK_ANSWERED)
		return why != NULL ? read.count == 0 : read.code != 0;
	for (size_t i = 0; i < read.count; i++) {
		if ((seen & read.results[i].place) != 0 ||
			read.results[i].banner_size > DIALBACK_BANNER_MAX)
			return false;
		seen |= read.results[i].place;
	}
	return seen == request.places;
}

int main(void)
{
	int round;

	rng = random_start();
	in = guard_make(STUN_MESSAGE_MAX);
	out = guard_make(STUN_MESSAGE_MAX);
	for (round = 0; round < ROUNDS && requests_hold(); round++)
		;
	is_int(round, ROUNDS, "a request is read as it was written");
	for (round = 0; round < ROUNDS && answers_hold(); round++)
		;
	is_int(round, ROUNDS, "an answer is read as it was written");
	for (round = 0; round < 5 * ROUNDS && damage_holds(); round++)
		;
	is_int(round, 5 * ROUNDS, "a damaged one is about what was asked, or nothing");
	return done_testing();
}
