/*
 * timer_heap.c - which of many slots is due first: a binary heap over fixed memory.
 *
 * The array of entries is two tables in one. Read by heap position (0 to count - 1), key and slot
 * are the heap. Read by slot number, due and position say what is true of that slot. A busy
 * connection postpones its deadline with every packet; that writes `due` and leaves the heap alone,
 * where the slot is then too early. settle() corrects that at the top alone: a slot that never
 * comes to the top is never moved.
 *
 * States of a slot: not in the heap (position NOWHERE, due NONE); in it and due; in it though its
 * deadline was removed (due NONE), until it comes to the top.
 */
#include "natpunch/base/timer_heap.h"

#include <stddef.h>

#define NOWHERE UINT32_MAX

void timer_heap_init(struct timer_heap *heap, struct timer_heap_entry *entries, uint32_t capacity)
{
	heap->entries = entries;
	heap->capacity = capacity;
	heap->count = 0;
	for (uint32_t slot = 0; slot < capacity; slot++) {
		entries[slot].due = TIMER_NONE;
		entries[slot].position = NOWHERE;
	}
}

static void place(struct timer_heap *heap, uint32_t position, uint64_t key, uint32_t slot)
{
	heap->entries[position].key = key;
	heap->entries[position].slot = slot;
	heap->entries[slot].position = position;
}

/* Puts key and slot where they belong on the way from `position`, a hole, to the top. */
static void sift_up(struct timer_heap *heap, uint32_t position, uint64_t key, uint32_t slot)
{
	while (position > 0) {
		uint32_t parent = (position - 1) / 2;
		const struct timer_heap_entry *above = &heap->entries[parent];

		if (above->key <= key)
			break;
		place(heap, position, above->key, above->slot);
		position = parent;
	}
	place(heap, position, key, slot);
}

/* The same downwards. Positions are computed in size_t: twice a uint32_t may not fit in one. */
static void sift_down(struct timer_heap *heap, uint32_t position, uint64_t key, uint32_t slot)
{
	for (;;) {
		size_t child = 2 * (size_t)position + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
			heap->entries[child + 1].key < heap->entries[child].key)
			child++;
		if (key <= heap->entries[child].key)
			break;
		place(heap, position, heap->entries[child].key, heap->entries[child].slot);
		position = (uint32_t)child;
	}
	place(heap, position, key, slot);
}

static void remove_top(struct timer_heap *heap)
{
	const struct timer_heap_entry *last = &heap->entries[--heap->count];

	heap->entries[heap->entries[0].slot].position = NOWHERE;
	if (heap->count > 0)
		sift_down(heap, 0, last->key, last->slot);
}

void timer_heap_set(struct timer_heap *heap, uint32_t slot, uint64_t due)
{
	struct timer_heap_entry *entry;

	if (slot >= heap->capacity)
		return;
	entry = &heap->entries[slot];
	entry->due = due;
	if (due == TIMER_NONE)
		return;
	if (entry->position == NOWHERE)
		sift_up(heap, heap->count++, due, slot);
	else if (due < heap->entries[entry->position].key)
		sift_up(heap, entry->position, due, slot);
}

uint64_t timer_heap_of(const struct timer_heap *heap, uint32_t slot)
{
	return slot < heap->capacity ? heap->entries[slot].due : TIMER_NONE;
}

/* Moves slots that are too early, until the top is due first or the heap is empty. */
static bool settle(struct timer_heap *heap)
{
	while (heap->count > 0) {
		uint32_t slot = heap->entries[0].slot;
		uint64_t due = heap->entries[slot].due;

		if (due == heap->entries[0].key)
			return true;
		if (due == TIMER_NONE)
			remove_top(heap);
		else
			sift_down(heap, 0, due, slot);
	}
	return false;
}

bool timer_heap_first(struct timer_heap *heap, uint32_t *slot, uint64_t *due)
{
	if (!settle(heap))
		return false;
	*slot = heap->entries[0].slot;
	*due = heap->entries[0].key;
	return true;
}

bool timer_heap_pop(struct timer_heap *heap, uint64_t now, uint32_t *slot)
{
	if (!settle(heap) || heap->entries[0].key > now)
		return false;
	*slot = heap->entries[0].slot;
	heap->entries[*slot].due = TIMER_NONE;
	remove_top(heap);
	return true;
}
