/*
 * A stream of messages, cut anywhere: stun_frame() finds the same messages for every split, says of
 * each beginning how much is needed, and never calls NOT_STUN what more bytes could make whole.
 */
#include "guard.h"
#include "natpunch/proto/binding.h"
#include "random.h"
#include "tap.h"

#define ROUNDS     2000
#define STREAM_MAX (6 * STUN_MESSAGE_MAX)

static struct random rng;
static struct guard guard;

/* A stream of up to five messages, then perhaps something that is none. Returns its size. */
static size_t pick_stream(uint8_t out[STREAM_MAX], size_t ends[6], size_t *count)
{
	static const uint8_t zeros[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	uint8_t transaction[STUN_TRANSACTION_SIZE], random[12];
	size_t used = 0, size;

	*count = random_below(&rng, 6);
	for (size_t i = 0; i < *count; i++) {
		random_fill(&rng, random, sizeof(random));
		stun_make_transaction(transaction, random);
		stun_begin(&writer, out + used, STUN_MESSAGE_MAX,
			(enum stun_class)random_below(&rng, 4), 1, transaction);
		if (random_once(&rng, 8))
			stun_put(&writer, STUN_PADDING, zeros, random_below(&rng, 500));
		else if (random_once(&rng, 2))
			stun_put(&writer, STUN_SOFTWARE, "stream", random_below(&rng, 7));
		size = stun_finish(&writer);
		used += size;
		ends[i] = used;
	}
	return used;
}

/* Feeds the stream in pieces, as a connection does: frames, takes, moves on. */
static bool pieces_hold(const uint8_t *stream, size_t size, const size_t *ends, size_t count)
{
	size_t have = 0, start = 0, found = 0, need;

	while (have < size) {
		have += 1 + random_below(&rng, random_once(&rng, 2) ? 3 : size - have);
		if (have > size)
			have = size;
		for (;;) {
			const uint8_t *at = guard_copy_end(&guard, stream + start, have - start);
			enum stun_frame frame = stun_frame(at, have - start, &need);

			if (frame == STUN_FRAME_NOT_STUN)
				return false;
			if (frame == STUN_FRAME_PARTIAL && need <= have - start)
				return false;
			if (frame == STUN_FRAME_PARTIAL)
				break;
			start += need;
			if (found >= count || start != ends[found++])
				return false;
		}
	}
	return found == count && start == size;
}

static bool splits_hold(void)
{
	static uint8_t stream[STREAM_MAX];
	size_t ends[6], count, size = pick_stream(stream, ends, &count);

	return pieces_hold(stream, size, ends, count);
}

/* Every one of the splits in two of a message: partial before its end, complete from there. */
static bool every_split_holds(void)
{
	uint8_t message[64];
	struct binding_request request = {.mode = BINDING_MODE_HOLD, .seconds = 25};
	uint8_t random[12];
	size_t size, need;

	random_fill(&rng, random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	size = binding_write_request(&request, message, sizeof(message));
	for (size_t cut = 0; cut <= sizeof(message); cut++) {
		enum stun_frame frame =
			stun_frame(guard_copy_end(&guard, message, cut), cut, &need);

		if (frame != (cut < size ? STUN_FRAME_PARTIAL : STUN_FRAME_COMPLETE))
			return false;
		if (need != (cut < STUN_HEADER_SIZE ? STUN_HEADER_SIZE : size))
			return false;
	}
	return true;
}

/* The rules of the header, each written out by itself: can these bytes begin a message? */
static bool can_begin(const uint8_t *bytes, size_t size)
{
	static const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
	unsigned low = 0, high = 255;

	if (size > 0 && bytes[0] >= 0x40)
		return false;
	for (size_t i = 4; i < 8 && i < size; i++) {
		if (bytes[i] != cookie[i - 4])
			return false;
	}
	if (size < 3)
		return true;
	if (size > 3)
		low = high = bytes[3];
	for (unsigned length = low; length <= high; length++) {
		if (length % 4 == 0 && (unsigned)(bytes[2] << 8) + length + 20 <= STUN_MESSAGE_MAX)
			return true;
	}
	return false;
}

/* Random bytes near a header, at every length: NOT_STUN if and only if nothing can follow. */
static bool beginnings_hold(void)
{
	uint8_t bytes[24] = {0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42};
	size_t need;

	for (size_t changes = random_below(&rng, 3); changes > 0; changes--)
		bytes[random_below(&rng, 8)] = (uint8_t)random_number(&rng);
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		enum stun_frame frame =
			stun_frame(guard_copy_end(&guard, bytes, size), size, &need);

		if ((frame == STUN_FRAME_NOT_STUN) == can_begin(bytes, size))
			return false;
	}
	return true;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(STREAM_MAX);
	for (round = 0; round < ROUNDS && splits_hold(); round++)
		;
	is_int(round, ROUNDS, "a stream has the same messages however it is cut");
	for (round = 0; round < ROUNDS && every_split_holds(); round++)
		;
	is_int(round, ROUNDS, "every beginning of a message is partial, and says what it needs");
	for (round = 0; round < 5 * ROUNDS && beginnings_hold(); round++)
		;
	is_int(round, 5 * ROUNDS, "NOT_STUN is what no more bytes can make a message");
	return done_testing();
}
