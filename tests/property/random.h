/*
 * Random numbers for the property tests: the same on every machine for the same seed.
 *
 * The seed is printed as "# seed N" and can be given back in the environment as NATPUNCH_SEED=N.
 */
#ifndef NATPUNCH_TESTS_RANDOM_H
#define NATPUNCH_TESTS_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct random {
	uint64_t state; /* never 0 */
};

/* xorshift64* (Marsaglia 2003, Vigna 2016). */
static inline uint64_t random_next(struct random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * 0x2545f4914f6cdd1dU;
}

/* From 0 to bound - 1; bound is not 0. */
static inline size_t random_below(struct random *random, size_t bound)
{
	return (size_t)((random_next(random) >> 16) % bound);
}

/* True once in `odds` times. */
static inline bool random_once(struct random *random, size_t odds)
{
	return random_below(random, odds) == 0;
}

static inline void random_fill(struct random *random, void *out, size_t size)
{
	uint8_t *bytes = out;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(random_next(random) >> 32);
}

/* A number whose size in bits is random too, so that small ones and edges come up. */
static inline uint64_t random_number(struct random *random)
{
	uint64_t number = random_next(random) >> random_below(random, 64);

	return random_once(random, 8) ? number - 1 : number;
}

static inline struct random random_start(void)
{
	const char *given = getenv("NATPUNCH_SEED");
	struct timespec now;
	uint64_t seed = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	if (given) {
		for (; *given >= '0' && *given <= '9'; given++)
			seed = seed * 10 + (uint64_t)(*given - '0');
	} else {
		seed = ((uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec) + (uint64_t)getpid();
	}
	printf("# seed %ju\n", (uintmax_t)seed);
	return (struct random){.state = (seed ^ 0x9e3779b97f4a7c15U) | 1};
}

#endif
