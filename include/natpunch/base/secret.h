/*
 * secret.h - bytes that nobody else may know.
 */
#ifndef NATPUNCH_BASE_SECRET_H
#define NATPUNCH_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Whether both are the same, in a time that depends on `size` alone. */
bool secret_equal(const void *a, const void *b, size_t size);

/* Overwrites them, also where the compiler sees that nobody reads them again. */
void secret_wipe(void *data, size_t size);

#endif
