/* The heap of deadlines: order, putting off, bringing forward, removing. */
#include "natpunch/base/timer_heap.h"

#include "tap.h"

#define CAPACITY 8

static struct timer_heap_entry entries[CAPACITY + 1];
static struct timer_heap heap;

static void is_first(uint32_t slot, uint64_t due, const char *what)
{
	uint32_t got_slot = UINT32_MAX;
	uint64_t got_due = 0;

	ok(timer_heap_first(&heap, &got_slot, &got_due), "%s: there is a first", what);
	is_uint(got_slot, slot, "its slot");
	is_uint(got_due, due, "its deadline");
}

static void test_order(void)
{
	static const uint64_t dues[CAPACITY] = {50, 20, 80, 10, 70, 30, 60, 40};
	uint32_t slot;
	uint64_t due;

	timer_heap_init(&heap, entries, CAPACITY);
	ok(!timer_heap_first(&heap, &slot, &due), "an empty heap has no first");
	ok(!timer_heap_pop(&heap, UINT64_MAX, &slot), "and nothing due");
	for (uint32_t i = 0; i < CAPACITY; i++)
		timer_heap_set(&heap, i, dues[i]);
	is_uint(heap.count, CAPACITY, "all slots are in");
	for (uint64_t now = 10; now <= 80; now += 10) {
		ok(!timer_heap_pop(&heap, now - 1, &slot), "nothing is due before %ju",
			(uintmax_t)now);
		ok(timer_heap_pop(&heap, now, &slot), "one is due at %ju", (uintmax_t)now);
		is_uint(dues[slot], now, "the right one");
		ok(!timer_heap_pop(&heap, now, &slot), "and only one");
	}
	ok(!timer_heap_first(&heap, &slot, &due), "the heap is empty again");
}

static void test_moving(void)
{
	uint32_t slot;
	uint64_t due;

	timer_heap_init(&heap, entries, CAPACITY);
	timer_heap_set(&heap, 3, 10);
	timer_heap_set(&heap, 5, 20);
	timer_heap_set(&heap, 6, 30);
	timer_heap_set(&heap, 3, 25);
	is_uint(heap.count, 3, "a slot is in the heap once");
	is_first(5, 20, "the first put off");
	ok(!timer_heap_pop(&heap, 19, &slot), "the old deadline is no more");
	timer_heap_set(&heap, 3, 15);
	is_first(3, 15, "brought forward");
	timer_heap_set(&heap, 6, 1);
	is_first(6, 1, "from the end to the front");
	timer_heap_set(&heap, 6, TIMER_NONE);
	is_first(3, 15, "the first removed");
	timer_heap_set(&heap, 5, TIMER_NONE);
	timer_heap_set(&heap, 3, TIMER_NONE);
	ok(!timer_heap_first(&heap, &slot, &due), "all removed");
	timer_heap_set(&heap, 5, TIMER_NONE);
	ok(!timer_heap_first(&heap, &slot, &due), "one that has none removed");
	timer_heap_set(&heap, 5, 7);
	is_first(5, 7, "and set again");
}

/* A slot that was removed but is still in the heap with its old key. */
static void test_returning(void)
{
	uint32_t slot;

	timer_heap_init(&heap, entries, CAPACITY);
	timer_heap_set(&heap, 0, 10);
	timer_heap_set(&heap, 1, 20);
	timer_heap_set(&heap, 1, TIMER_NONE);
	timer_heap_set(&heap, 1, 5);
	is_first(1, 5, "removed and set earlier");
	timer_heap_set(&heap, 1, TIMER_NONE);
	timer_heap_set(&heap, 1, 30);
	is_first(0, 10, "removed and set later");
	ok(timer_heap_pop(&heap, 10, &slot) && slot == 0, "the other goes");
	is_first(1, 30, "it is there");
	ok(!timer_heap_pop(&heap, 29, &slot), "at its own time");
	ok(timer_heap_pop(&heap, 30, &slot) && slot == 1, "once");
	ok(!timer_heap_pop(&heap, UINT64_MAX - 1, &slot), "and no more");
}

static void test_edges(void)
{
	uint32_t slot;
	uint64_t due;

	entries[CAPACITY].due = 77;
	entries[CAPACITY].position = 77;
	timer_heap_init(&heap, entries, CAPACITY);
	timer_heap_set(&heap, CAPACITY, 1);
	ok(!timer_heap_first(&heap, &slot, &due), "a slot that does not exist is not taken");
	timer_heap_set(&heap, UINT32_MAX, 1);
	ok(!timer_heap_first(&heap, &slot, &due), "nor one far away");
	ok(entries[CAPACITY].due == 77 && entries[CAPACITY].position == 77,
		"nothing is written behind the memory");
	timer_heap_set(&heap, CAPACITY - 1, 0);
	is_first(CAPACITY - 1, 0, "the last slot at time 0");
	timer_heap_set(&heap, 0, TIMER_NONE - 1);
	ok(timer_heap_pop(&heap, 0, &slot), "which is due at once");
	is_first(0, TIMER_NONE - 1, "the latest deadline");
	timer_heap_init(&heap, entries, 0);
	timer_heap_set(&heap, 0, 1);
	ok(!timer_heap_first(&heap, &slot, &due), "a heap of no slots stays empty");
}

int main(void)
{
	test_order();
	test_moving();
	test_returning();
	test_edges();
	return done_testing();
}
