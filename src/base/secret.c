#include "natpunch/base/secret.h"

#include <stdint.h>
#include <string.h>

bool secret_equal(const void *a, const void *b, size_t size)
{
	const uint8_t *left = a, *right = b;
	volatile uint8_t differing = 0;

	for (size_t i = 0; i < size; i++)
		differing = (uint8_t)(differing | (left[i] ^ right[i]));
	return differing == 0;
}

void secret_wipe(void *data, size_t size)
{
	/* The compiler cannot know what this calls, so it cannot leave the call out. */
	void *(*volatile set_bytes)(void *, int, size_t) = memset;

	set_bytes(data, 0, size);
}
