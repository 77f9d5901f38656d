/*
 * Memory between two pages that nobody may touch: one byte too far, in either direction, is a
 * SIGSEGV, which ends the program and so the test. Works without sanitizers, and for reads as well.
 */
#ifndef NATPUNCH_TESTS_GUARD_H
#define NATPUNCH_TESTS_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"

struct guard {
	uint8_t *start; /* right behind a page that must not be touched */
	size_t size;    /* and right in front of another */
};

/* Room for at least `size` bytes. */
static inline struct guard guard_make(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (size + page - 1) / page * page;
	uint8_t *memory = mmap(
		NULL, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) < 0 ||
		mprotect(memory + page + room, page, PROT_NONE) < 0)
		bail_out("no memory with guard pages");
	return (struct guard){.start = memory + page, .size = room};
}

/* `size` bytes that end where the memory does. */
static inline uint8_t *guard_at_end(const struct guard *guard, size_t size)
{
	return guard->start + guard->size - size;
}

/* A copy of `size` bytes that ends where the memory does, or begins where it does. */
static inline uint8_t *guard_copy_end(const struct guard *guard, const void *data, size_t size)
{
	return memcpy(guard_at_end(guard, size), data, size);
}

static inline uint8_t *guard_copy_start(const struct guard *guard, const void *data, size_t size)
{
	return memcpy(guard->start, data, size);
}

#endif
