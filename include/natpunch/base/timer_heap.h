/*
 * timer_heap.h - which of many slots is due first: a binary heap over fixed memory.
 *
 * Each slot number (0 to capacity - 1) has at most one deadline. To postpone a deadline is O(1), as
 * a busy connection needs: the heap keeps the earlier key and moves it only when it comes to the
 * top. All memory is the caller's.
 * Invariant: for every slot in the heap, its heap key <= its real deadline.
 */
#ifndef NATPUNCH_BASE_TIMER_HEAP_H
#define NATPUNCH_BASE_TIMER_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define TIMER_NONE UINT64_MAX

/* Which of two times comes first? TIMER_NONE is never before another. */
static inline uint64_t timer_earlier(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

struct timer_heap_entry {
	uint64_t key;      /* heap position: the time the heap is ordered by */
	uint64_t due;      /* slot number: the real deadline, TIMER_NONE when it has none */
	uint32_t slot;     /* heap position: whose key it is */
	uint32_t position; /* slot number: where in the heap, UINT32_MAX when not in it */
};

struct timer_heap {
	struct timer_heap_entry *entries; /* capacity of them, the caller's */
	uint32_t capacity;
	uint32_t count;
};

void timer_heap_init(struct timer_heap *heap, struct timer_heap_entry *entries, uint32_t capacity);

/* Sets, moves or (with TIMER_NONE) removes a slot's deadline, in milliseconds. */
void timer_heap_set(struct timer_heap *heap, uint32_t slot, uint64_t due);

/* A slot's deadline, or TIMER_NONE. */
uint64_t timer_heap_of(const struct timer_heap *heap, uint32_t slot);

/* The earliest deadline and its slot, or false when there is none. */
bool timer_heap_first(struct timer_heap *heap, uint32_t *slot, uint64_t *due);

/* Takes out one slot that is due at `now`, or false. */
bool timer_heap_pop(struct timer_heap *heap, uint64_t now, uint32_t *slot);

#endif
