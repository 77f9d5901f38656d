/*
 * secret.h - bytes that nobody else may know.
 */
#ifndef NATPUNCH_BASE_SECRET_H
#define NATPUNCH_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Compares in a time that depends on `size` alone. */
bool secret_equal(const void *a, const void *b, size_t size);

/* Overwrites the bytes, even if the compiler sees that nothing reads them again. */
void secret_wipe(void *data, size_t size);

#endif
