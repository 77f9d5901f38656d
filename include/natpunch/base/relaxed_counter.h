/*
 * relaxed_counter.h - a number that one thread writes and others may read, in no order with
 * anything else.
 *
 * A 32-bit machine reads the two halves one after the other, so a read while the upper half changes
 * can be wrong, once.
 */
#ifndef NATPUNCH_BASE_RELAXED_COUNTER_H
#define NATPUNCH_BASE_RELAXED_COUNTER_H

#include <stdint.h>

static inline uint64_t relaxed_counter_load(const uint64_t *number)
{
#if UINTPTR_MAX > UINT32_MAX
	return __atomic_load_n(number, __ATOMIC_RELAXED);
#else
	return *(const volatile uint64_t *)number;
#endif
}

/* By the one thread that writes it, which may read it as it is. */
static inline void relaxed_counter_store(uint64_t *number, uint64_t value)
{
#if UINTPTR_MAX > UINT32_MAX
	__atomic_store_n(number, value, __ATOMIC_RELAXED);
#else
	*(volatile uint64_t *)number = value;
#endif
}

#endif
