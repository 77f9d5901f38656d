/*
 * random.h - unpredictable bytes from getrandom(2); from /dev/urandom on other systems than Linux.
 */
#ifndef NATPUNCH_OS_RANDOM_H
#define NATPUNCH_OS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fills out. natpunch cannot run without a source: on failure it says so and ends the process with
 * EXIT_STATUS_LOCAL.
 */
void random_fill(void *out, size_t size);

/* Uniform from 0 to bound - 1; bound must not be 0. */
uint32_t random_below(uint32_t bound);

#endif
