/*
 * Checks under random damage: what was written comes back, and nothing else does. Nothing is read
 * beyond the end, and no answer is larger than what asked for it.
 */
#include "natpunch/proto/udp_check.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 50000

static struct random rng;
static struct guard guard;
static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3};
static const uint8_t other[KEY_SECRET_SIZE] = {1, 2, 4};

static struct udp_check pick(void)
{
	struct udp_check check = {
		.response = random_once(&rng, 2),
		.role = random_once(&rng, 2) ? UDP_CHECK_INITIATOR : UDP_CHECK_HOME,
		.through = random_once(&rng, 2),
	};
	uint8_t random[12];

	random_fill(&rng, random, sizeof(random));
	stun_make_transaction(check.transaction, random);
	return check;
}

static bool is_same(const struct udp_check *a, const struct udp_check *b)
{
	return a->response == b->response && a->role == b->role && a->through == b->through &&
	       memcmp(a->transaction, b->transaction, sizeof(a->transaction)) == 0;
}

/* Another byte somewhere, a cut, or bytes behind. Returns the new size. */
static size_t damage(uint8_t bytes[UDP_CHECK_SIZE + 8])
{
	switch (random_below(&rng, 3)) {
	case 0:
		bytes[random_below(&rng, UDP_CHECK_SIZE)] ^= (uint8_t)(1 + random_below(&rng, 255));
		return UDP_CHECK_SIZE;
	case 1:
		return random_below(&rng, UDP_CHECK_SIZE);
	default:
		random_fill(&rng, bytes + UDP_CHECK_SIZE, 8);
		return UDP_CHECK_SIZE + 1 + random_below(&rng, 8);
	}
}

int main(void)
{
	unsigned lost = 0, believed = 0, foreign = 0;

	rng = random_start();
	guard = guard_make(UDP_CHECK_SIZE + 8);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const struct udp_check sent = pick();
		struct udp_check taken;
		uint8_t bytes[UDP_CHECK_SIZE + 8];
		size_t size = udp_check_write(&sent, secret, bytes, UDP_CHECK_SIZE);

		if (size != UDP_CHECK_SIZE ||
			udp_check_read(&taken, secret, guard_copy_end(&guard, bytes, size), size) !=
				0 ||
			!is_same(&sent, &taken))
			lost++;
		foreign += udp_check_read(&taken, other, bytes, size) != -1;
		size = damage(bytes);
		believed += udp_check_read(
				    &taken, secret, guard_copy_end(&guard, bytes, size), size) == 0;
	}
	is_uint(lost, 0, "what was written comes back, and is of one size");
	is_uint(foreign, 0, "with another key it is false");
	is_uint(believed, 0, "what is changed, cut or longer is not taken");
	return done_testing();
}
