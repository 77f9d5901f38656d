/*
 * base64.h - bytes as text that needs no quoting anywhere: base64url (RFC 4648 section 5).
 *
 * Groups of 3 bytes as 4 characters alone: without padding, and with one text for the same bytes.
 */
#ifndef NATPUNCH_BASE_BASE64_H
#define NATPUNCH_BASE_BASE64_H

#include <stddef.h>

#define BASE64_SIZE(bytes) ((bytes) / 3 * 4)

/* `size` must be a multiple of 3. Writes BASE64_SIZE(size) characters, no NUL. */
void base64_encode(const void *data, size_t size, char *out);

/*
 * `size` characters into size / 4 * 3 bytes. Returns 0, or -1 when size is no multiple of 4 or a
 * character is not of the alphabet; out then holds nothing of use.
 */
int base64_decode(const char *text, size_t size, void *out) __attribute__((warn_unused_result));

#endif
