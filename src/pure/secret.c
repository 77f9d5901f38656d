/*
 * secret.c - bytes that nobody else may know.
 */
#include "natpunch/secret.h"

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

/* Called through this, memset() cannot be known to be of no effect and left out. */
static void *(*const volatile set_bytes)(void *, int, size_t) = memset;

void secret_wipe(void *data, size_t size)
{
	set_bytes(data, 0, size);
}
