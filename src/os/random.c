#include "natpunch/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_fill(void *out, size_t size)
{
	uint8_t *next = out;

	while (size > 0) {
		ssize_t got = getrandom(next, size, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		next += got;
		size -= (size_t)got;
	}
}

uint32_t random_below(uint32_t bound)
{
	/* Values below this remainder would make the low results a little likelier. */
	uint32_t skip = (uint32_t)(-bound) % bound;
	uint32_t value;

	do
		random_fill(&value, sizeof(value));
	while (value < skip);
	return value % bound;
}
