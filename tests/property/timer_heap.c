/*
 * The heap against a naive model, an array that is searched: the same first, the same slots due, at
 * every step of a random life.
 */
#include "natpunch/base/timer_heap.h"

#include "random.h"
#include "tap.h"

#define CAPACITY 32
#define ROUNDS   300
#define STEPS    400

static struct random rng;

static uint64_t earliest(const uint64_t *dues, uint32_t capacity)
{
	uint64_t due = TIMER_NONE;

	for (uint32_t slot = 0; slot < capacity; slot++)
		due = dues[slot] < due ? dues[slot] : due;
	return due;
}

/*
 * For every slot in the heap: its key is not above its deadline nor below its parent's. For every
 * other: it has no deadline.
 */
static bool invariant_holds(const struct timer_heap *heap)
{
	const struct timer_heap_entry *entries = heap->entries;

	for (uint32_t i = 0; i < heap->count; i++) {
		uint32_t slot = entries[i].slot;

		if (entries[i].key > entries[slot].due || entries[slot].position != i ||
			(i > 0 && entries[(i - 1) / 2].key > entries[i].key))
			return false;
	}
	for (uint32_t slot = 0; slot < heap->capacity; slot++) {
		if (entries[slot].position >= heap->count && entries[slot].due != TIMER_NONE)
			return false;
	}
	return heap->count <= heap->capacity;
}

static bool first_holds(struct timer_heap *heap, const uint64_t *dues)
{
	uint64_t due = 0, want = earliest(dues, heap->capacity);
	uint32_t slot = 0;

	if (!timer_heap_first(heap, &slot, &due))
		return want == TIMER_NONE;
	return due == want && dues[slot] == want;
}

static bool pop_holds(struct timer_heap *heap, uint64_t *dues, uint64_t now)
{
	uint64_t want = earliest(dues, heap->capacity);
	uint32_t slot = 0;

	if (!timer_heap_pop(heap, now, &slot))
		return want > now;
	if (want > now || dues[slot] != want)
		return false;
	dues[slot] = TIMER_NONE;
	return true;
}

static bool life_holds(void)
{
	struct timer_heap_entry entries[CAPACITY];
	struct timer_heap heap;
	uint32_t capacity = (uint32_t)(1 + random_below(&rng, CAPACITY));
	uint64_t dues[CAPACITY], now = random_number(&rng) >> 2;

	random_fill(&rng, entries, sizeof(entries));
	timer_heap_init(&heap, entries, capacity);
	for (uint32_t slot = 0; slot < capacity; slot++)
		dues[slot] = TIMER_NONE;
	if (!invariant_holds(&heap))
		return false;
	for (int step = 0; step < STEPS; step++) {
		uint32_t slot = (uint32_t)random_below(&rng, capacity);
		uint64_t due = now + random_below(&rng, 50);

		now += random_below(&rng, 3);
		switch (random_below(&rng, 8)) {
		case 0:
			due = TIMER_NONE;
			break;
		case 1:
			if (!first_holds(&heap, dues))
				return false;
			continue;
		case 2:
			if (!pop_holds(&heap, dues, now) || !invariant_holds(&heap))
				return false;
			continue;
		default:
			break;
		}
		timer_heap_set(&heap, slot, due);
		dues[slot] = due;
		if (!invariant_holds(&heap))
			return false;
	}
	while (earliest(dues, capacity) != TIMER_NONE) {
		if (!pop_holds(&heap, dues, TIMER_NONE - 1))
			return false;
	}
	return pop_holds(&heap, dues, TIMER_NONE - 1) && invariant_holds(&heap);
}

int main(void)
{
	int round;

	rng = random_start();
	for (round = 0; round < ROUNDS && life_holds(); round++)
		;
	is_int(round, ROUNDS, "the heap does as the model does");
	return done_testing();
}
