/*
 * Messages of random attributes: what is written is read, no truncation is taken for a message, and
 * no flipped bit goes unseen under a FINGERPRINT. All of it on memory between guard pages.
 */
#include "natpunch/proto/stun.h"

#include "guard.h"
#include "random.h"
#include "tap.h"
#include "unit/vectors.h"

#define ROUNDS         3000
#define ATTRIBUTES_MAX 6
#define VALUE_MAX      40

static struct random rng;
static struct guard guard;

/* What a message was made of. */
struct recipe {
	enum stun_class class;
	uint16_t method;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	bool fingerprint;
	size_t count;
	struct {
		uint16_t type;
		size_t size;
		uint8_t value[VALUE_MAX];
	} attributes[ATTRIBUTES_MAX];
	struct addr addr; /* behind them, once plain and once xored */
};

static struct recipe pick_recipe(void)
{
	struct recipe recipe = {
		.class = (enum stun_class)random_below(&rng, 4),
		.method = random_once(&rng, 2) ? 1 : (uint16_t)random_below(&rng, 0x1000),
		.fingerprint = random_once(&rng, 2),
		.count = random_below(&rng, ATTRIBUTES_MAX + 1),
		.addr = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6},
	};

	random_fill(&rng, recipe.transaction, STUN_TRANSACTION_SIZE);
	if (!random_once(&rng, 4))
		memcpy(recipe.transaction, "\x21\x12\xa4\x42", 4);
	random_fill(&rng, recipe.addr.ip, addr_ip_size(&recipe.addr));
	recipe.addr.port = (uint16_t)random_next(&rng);
	for (size_t i = 0; i < recipe.count; i++) {
		recipe.attributes[i].type = (uint16_t)random_next(&rng);
		if (recipe.attributes[i].type == STUN_FINGERPRINT)
			recipe.attributes[i].type++;
		recipe.attributes[i].size = random_below(&rng, VALUE_MAX + 1);
		random_fill(&rng, recipe.attributes[i].value, VALUE_MAX);
	}
	return recipe;
}

static size_t cook(const struct recipe *recipe, void *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, recipe->class, recipe->method, recipe->transaction);
	for (size_t i = 0; i < recipe->count; i++)
		stun_put(&writer, recipe->attributes[i].type, recipe->attributes[i].value,
			recipe->attributes[i].size);
	stun_put_address(&writer, STUN_MAPPED_ADDRESS, &recipe->addr);
	stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &recipe->addr);
	if (recipe->fingerprint)
		stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static bool attributes_match(const struct recipe *recipe, const struct stun_message *message)
{
	struct stun_attribute attribute;
	struct addr addr;
	size_t offset = 0;

	for (size_t i = 0; i < recipe->count; i++) {
		if (!stun_next(message, &offset, &attribute) ||
			attribute.type != recipe->attributes[i].type ||
			attribute.size != recipe->attributes[i].size ||
			memcmp(attribute.value, recipe->attributes[i].value, attribute.size) != 0)
			return false;
	}
	for (int xored = 0; xored < 2; xored++) {
		if (!stun_next(message, &offset, &attribute) ||
			stun_read_address(message, &attribute, xored, &addr) < 0 ||
			!addr_equal(&addr, &recipe->addr))
			return false;
	}
	if (recipe->fingerprint &&
		(!stun_next(message, &offset, &attribute) || attribute.type != STUN_FINGERPRINT))
		return false;
	return !stun_next(message, &offset, &attribute);
}

static bool round_trip_holds(void)
{
	struct recipe recipe = pick_recipe();
	struct stun_message message;
	uint8_t buffer[STUN_MESSAGE_MAX], *at;
	size_t size = cook(&recipe, buffer, sizeof(buffer)), lacking;

	/* Written once more where it fits to the byte, and where it lacks some. */
	at = guard_at_end(&guard, size);
	lacking = size - 1 - random_below(&rng, random_once(&rng, 2) ? size : 2);
	if (size == 0 || cook(&recipe, at, size) != size || memcmp(at, buffer, size) != 0 ||
		cook(&recipe, guard_at_end(&guard, lacking), lacking) != 0)
		return false;
	at = guard_copy_end(&guard, buffer, size);
	return stun_parse(&message, at, size) == 0 && message.size == size &&
	       message.class == recipe.class && message.method == recipe.method &&
	       message.has_fingerprint == recipe.fingerprint &&
	       message.classic == (memcmp(recipe.transaction, "\x21\x12\xa4\x42", 4) != 0) &&
	       memcmp(message.transaction, recipe.transaction, 16) == 0 &&
	       attributes_match(&recipe, &message);
}

/* Walks a message that was taken, touching all that it describes. */
static unsigned touch(const struct stun_message *message)
{
	struct stun_attribute attribute;
	const uint8_t *reason;
	size_t offset = 0, reason_size;
	unsigned sum = 0, code;
	struct addr addr;

	while (stun_next(message, &offset, &attribute)) {
		for (size_t i = 0; i < attribute.size; i++)
			sum += attribute.value[i];
		if (stun_read_address(message, &attribute, true, &addr) == 0)
			sum += addr.ip[addr_ip_size(&addr) - 1];
		if (stun_read_error(&attribute, &code, &reason, &reason_size) == 0 &&
			reason_size > 0)
			sum += reason[reason_size - 1];
	}
	return sum;
}

static volatile unsigned touched;

/* No part of a message is a message: neither as it is, nor with a length that says so. */
static bool truncations_hold(const uint8_t *bytes, size_t size)
{
	struct stun_message message;
	uint8_t *at;

	for (size_t cut = 0; cut < size; cut++) {
		if (stun_parse(&message, guard_copy_end(&guard, bytes, cut), cut) == 0 ||
			stun_parse(&message, guard_copy_start(&guard, bytes, cut), cut) == 0)
			return false;
		if (cut < STUN_HEADER_SIZE)
			continue;
		/* With the length made to fit it may be one, if attributes end there. */
		at = guard_copy_end(&guard, bytes, cut);
		at[2] = (uint8_t)((cut - 20) >> 8);
		at[3] = (uint8_t)(cut - 20);
		if (stun_parse(&message, at, cut) == 0)
			touched += touch(&message);
	}
	return true;
}

/*
 * Every bit of a message with a FINGERPRINT. What is taken in spite of a flip can only be one that
 * no longer has a FINGERPRINT: its type became another, or the length of the attribute in front of
 * it grew over it. Both bits are in the framing, not in a value.
 */
static bool flips_hold(const uint8_t *bytes, size_t size)
{
	struct stun_message message;
	size_t hidden = 0;

	for (size_t bit = 0; bit < 8 * size; bit++) {
		uint8_t *at = guard_copy_end(&guard, bytes, size);

		at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (stun_parse(&message, at, size) < 0)
			continue;
		touched += touch(&message);
		if (message.has_fingerprint)
			return false;
		hidden++;
	}
	/* Its own 16 bits of type, and at most one bit each of the lengths in front of it. */
	return hidden <= 16 + ATTRIBUTES_MAX + 2;
}

/* Without one, anything may be taken, but nothing behind the end may be touched. */
static bool damage_is_survived(const uint8_t *bytes, size_t size)
{
	struct stun_message message;
	uint8_t *at = guard_copy_end(&guard, bytes, size);

	for (size_t flips = 1 + random_below(&rng, 4); flips > 0; flips--)
		at[random_below(&rng, size)] ^= (uint8_t)(1 << random_below(&rng, 8));
	if (stun_parse(&message, at, size) == 0)
		touched += touch(&message);
	return true;
}

static bool damage_holds(int round)
{
	struct recipe recipe = pick_recipe();
	uint8_t buffer[STUN_MESSAGE_MAX];
	size_t size = cook(&recipe, buffer, sizeof(buffer));

	for (int i = 0; i < 20; i++)
		damage_is_survived(buffer, size);
	if (round % 30 != 0)
		return true;
	return truncations_hold(buffer, size) && (!recipe.fingerprint || flips_hold(buffer, size));
}

static void test_vectors(void)
{
	ok(truncations_hold(vector_request, sizeof(vector_request)), "RFC 5769 2.1, cut");
	ok(truncations_hold(vector_response4, sizeof(vector_response4)), "RFC 5769 2.2, cut");
	ok(truncations_hold(vector_response6, sizeof(vector_response6)), "RFC 5769 2.3, cut");
	ok(truncations_hold(vector_long_term, sizeof(vector_long_term)), "RFC 5769 2.4, cut");
	ok(flips_hold(vector_request, sizeof(vector_request)), "RFC 5769 2.1, each bit flipped");
	ok(flips_hold(vector_response4, sizeof(vector_response4)), "RFC 5769 2.2");
	ok(flips_hold(vector_response6, sizeof(vector_response6)), "RFC 5769 2.3");
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(STUN_MESSAGE_MAX);
	test_vectors();
	for (round = 0; round < ROUNDS && round_trip_holds(); round++)
		;
	is_int(round, ROUNDS, "what is written is read, in exactly the bytes it takes");
	for (round = 0; round < ROUNDS && damage_holds(round); round++)
		;
	is_int(round, ROUNDS, "damaged messages are refused or at least bounded");
	return done_testing();
}
