/*
 * log.h - writes to stderr while a command runs.
 *
 * Lines read `natpunch COMMAND: text`. Warnings and notes tell the user what to know; details come
 * with -v; -q leaves errors alone. Every line is one write(2), so that lines of several processes
 * do not mix. Text from the network must be escaped before (text.h).
 */
#ifndef NATPUNCH_OS_LOG_H
#define NATPUNCH_OS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"

enum log_level {
	LOG_LEVEL_QUIET,   /* errors only */
	LOG_LEVEL_NORMAL,  /* and warnings and notes */
	LOG_LEVEL_VERBOSE, /* and details */
};

/* Both are set once, before anything else runs; the command's name is not copied. */
void log_set_command(const char *command);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/*
 * Clients can cause any number of lines. log_admits(): may one more be written now, by
 * log_detail()? Not without -v, and not beyond `per_second`, or `burst` at once after a rest;
 * log_suppressed() counts those. Without log_set_limit() all are written; call it once, as the two
 * above.
 *
 * After log_set_limit() logging never blocks: if stderr is a pipe that nobody reads, lines are
 * dropped and count as suppressed.
 */
void log_set_limit(uint32_t per_second, uint32_t burst);
bool log_admits(void);
uint64_t log_suppressed(void);

/* `natpunch probe: TEXT` and, where there is one, `hint: HINT` on a line of its own. */
void log_print_error(const struct error *error);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "warning: " */
void log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* For what the user has just asked for, at any level. */
void log_always(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
