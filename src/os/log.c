#include "natpunch/os/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/rate_limit.h"

static enum log_level current_level = LOG_LEVEL_NORMAL;
static const char *current_command = "";
static struct limit {
	struct rate_limit_quota quota; /* all zero: none */
	uint64_t spent;
	uint64_t suppressed;
	bool busy; /* the reflector may have several threads */
} current_limit;

void log_set_command(const char *command)
{
	current_command = command;
}

void log_set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log_get_level(void)
{
	return current_level;
}

void log_set_limit(uint32_t per_second, uint32_t burst)
{
	current_limit.quota = (struct rate_limit_quota){.per_second = per_second, .burst = burst};
}

/* For a few instructions each, and with -v alone. */
static void lock_limit(void)
{
	while (__atomic_test_and_set(&current_limit.busy, __ATOMIC_ACQUIRE))
		;
}

static void unlock_limit(void)
{
	__atomic_clear(&current_limit.busy, __ATOMIC_RELEASE);
}

bool log_admits(void)
{
	struct limit *limit = &current_limit;
	uint64_t now;
	bool admitted;

	if (current_level < LOG_LEVEL_VERBOSE)
		return false;
	if (limit->quota.per_second == 0)
		return true;
	now = clock_now_ms();
	lock_limit();
	admitted = rate_limit_wait(&limit->quota, limit->spent, now) == 0;
	if (admitted)
		rate_limit_charge(&limit->quota, &limit->spent, 1, now);
	else
		limit->suppressed++;
	unlock_limit();
	return admitted;
}

uint64_t log_suppressed(void)
{
	uint64_t suppressed;

	if (current_level < LOG_LEVEL_VERBOSE || current_limit.quota.per_second == 0)
		return 0;
	lock_limit();
	suppressed = current_limit.suppressed;
	unlock_limit();
	return suppressed;
}

/* Would another line have to wait for the reader of a pipe? */
static bool is_stalled(void)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&out, 1, 0) == 0;
}

static void suppress_line(void)
{
	lock_limit();
	current_limit.suppressed++;
	unlock_limit();
}

/* Each line is written at once, or not at all where it would have to wait (log_set_limit()). */
static void put_line(const char *line, size_t size)
{
	if (current_limit.quota.per_second != 0 && is_stalled()) {
		suppress_line();
		return;
	}
	/* Nobody is left to tell when stderr is gone. */
	if (write(STDERR_FILENO, line, size) < 0)
		return;
}

static void write_line(const char *kind, const char *format, va_list arguments)
{
	char line[1024];
	size_t used;
	int length;

	length = snprintf(line, sizeof(line) - 1, "natpunch%s%s: %s",
		current_command[0] != '\0' ? " " : "", current_command, kind);
	used = (size_t)length;
	length = vsnprintf(line + used, sizeof(line) - 1 - used, format, arguments);
	if (length < 0)
		return;
	used = strlen(line);
	line[used++] = '\n';
	put_line(line, used);
}

void log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("", format, arguments);
	va_end(arguments);
}

void log_print_error(const struct error *error)
{
	char line[sizeof(error->text) + sizeof(error->hint) + 64];
	int length;

	if (error->hint[0] == '\0') {
		log_error("%s", error->text);
		return;
	}
	length = snprintf(line, sizeof(line), "natpunch%s%s: %s\nhint: %s\n",
		current_command[0] != '\0' ? " " : "", current_command, error->text, error->hint);
	if (length > 0 && (size_t)length < sizeof(line))
		put_line(line, (size_t)length);
}

#define LOG_AT(level, kind)                                                                        \
	va_list arguments;                                                                         \
	if (current_level < (level))                                                               \
		return;                                                                            \
	va_start(arguments, format);                                                               \
	write_line(kind, format, arguments);                                                       \
	va_end(arguments)

void log_warning(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_NORMAL, "warning: ");
}

void log_note(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_NORMAL, "");
}

void log_detail(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_VERBOSE, "");
}

void log_always(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("", format, arguments);
	va_end(arguments);
}
