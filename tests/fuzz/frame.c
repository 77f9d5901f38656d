/*
 * Fuzzes the framing of a stream: whatever the bytes, they frame the same in one piece and in
 * pieces, and once they cannot be STUN no more bytes can mend them.
 *
 * The first byte of the input chooses the size of the pieces, the rest is the stream.
 */
#include "natpunch/proto/stun.h"

#include <stdbool.h>

#include "fuzz.h"

#define MESSAGES_MAX 64

/* Where each message ended, and whether the stream went on with what is none. */
struct frames {
	size_t ends[MESSAGES_MAX];
	size_t count;
	bool broken;
};

/* Frames what is in front of `have`, from where it left off. Returns the new beginning. */
static size_t frame_some(struct frames *frames, const uint8_t *data, size_t start, size_t have)
{
	size_t need;

	while (!frames->broken && frames->count < MESSAGES_MAX) {
		switch (stun_frame(data + start, have - start, &need)) {
		case STUN_FRAME_COMPLETE:
			fuzz_check(need >= STUN_HEADER_SIZE && need <= STUN_MESSAGE_MAX);
			fuzz_check(need <= have - start);
			start += need;
			frames->ends[frames->count++] = start;
			break;
		case STUN_FRAME_PARTIAL:
			fuzz_check(need > have - start && need <= STUN_MESSAGE_MAX);
			return start;
		case STUN_FRAME_NOT_STUN:
			fuzz_check(need == 0);
			frames->broken = true;
			break;
		}
	}
	return start;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frames whole = {.count = 0}, pieces = {.count = 0};
	size_t step, start = 0;

	if (size < 1)
		return 0;
	step = 1 + data[0] % 32U;
	data++;
	size--;
	frame_some(&whole, data, 0, size);
	for (size_t have = 0; have < size;) {
		have = size - have < step ? size : have + step;
		start = frame_some(&pieces, data, start, have);
	}
	if (size == 0)
		return 0;
	fuzz_check(whole.count == pieces.count && whole.broken == pieces.broken);
	for (size_t i = 0; i < whole.count; i++)
		fuzz_check(whole.ends[i] == pieces.ends[i]);
	return 0;
}
