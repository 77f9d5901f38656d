/*
 * text.h - bytes from outside made fit for a terminal, a log and a shell.
 */
#ifndef NATPUNCH_TEXT_H
#define NATPUNCH_TEXT_H

#include <stddef.h>

/*
 * Writes `size` bytes as printable ASCII into out: a backslash becomes "\\", every byte outside
 * 0x20..0x7e becomes \xHH. Always ends with a NUL; what does not fit is cut between whole escapes.
 * capacity must be at least 1. Returns out.
 */
const char *text_escape(char *out, size_t capacity, const void *data, size_t size);

/*
 * The same as a JSON string with its quotes (RFC 8259 7): \" and \\ and \u00HH. Cut likewise,
 * always closed; "" where capacity is below the 3 that an empty string takes.
 */
const char *text_escape_json(char *out, size_t capacity, const char *text);

/*
 * What text_escape() makes of it, as one word for a POSIX shell: as it is when harmless, else in
 * single quotes. Cut likewise, always closed; "" where capacity is below 3.
 */
const char *text_escape_shell(char *out, size_t capacity, const char *text);

#endif
