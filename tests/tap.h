/*
 * The Test Anything Protocol for the C tests, whole in one header.
 *
 *	#include "tap.h"
 *
 *	int main(void)
 *	{
 *		ok(port_is_free(22), "port %d is free", 22);
 *		is_int(parse("17"), 17, "a plain number");
 *		return done_testing();
 *	}
 *
 * Each check prints one line, flushed, and returns whether it held, so that what depends on it can
 * be left out:
 *
 *	if (!ok(fd >= 0, "opened"))
 *		return done_testing();
 *
 * A check that fails says where it stands and what it saw. Checks go to stdout, diagnostics to
 * stderr as lines that start with "# "; prove(1) understands both.
 *
 * The plan is printed at the end, so a program that dies half way is noticed, and so is one that
 * checked nothing at all. Arguments of the macros are evaluated once. Checks belong to the process
 * that calls done_testing(): a forked child reports to it by exit status or pipe, never by ok().
 */
#ifndef NATPUNCH_TESTS_TAP_H
#define NATPUNCH_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAP_PRINTF(string, first) __attribute__((format(printf, string, first)))

/* Where a check stands in its source, and the words that it checks. */
struct tap_place {
	const char *file;
	int line;
	const char *text;
};

#define TAP_PLACE(words) ((struct tap_place){.file = __FILE__, .line = __LINE__, .text = (words)})

/*
 * ok(condition, name, ...)            the condition holds; name and ... as in printf
 * is_int(got, want, name, ...)        signed integers are equal
 * is_uint(got, want, name, ...)       unsigned integers are equal; shown in hex as well
 * is_str(got, want, name, ...)        strings are equal; NULL equals NULL only
 * is_mem(got, want, size, name, ...)  bytes are equal; shows them around the first that differs
 * is_errno(got, want, name, ...)      errno values are equal; shown as words; 0 is "Success"
 * fail(name, ...)                     never holds: for a place that must not be reached
 */
#define ok(condition, ...) tap_ok(TAP_PLACE(#condition), (condition) ? true : false, __VA_ARGS__)
#define is_int(got, want, ...)                                                                     \
	tap_is_int(TAP_PLACE(#got), (intmax_t)(got), (intmax_t)(want), __VA_ARGS__)
#define is_uint(got, want, ...)                                                                    \
	tap_is_uint(TAP_PLACE(#got), (uintmax_t)(got), (uintmax_t)(want), __VA_ARGS__)
#define is_str(got, want, ...)       tap_is_str(TAP_PLACE(#got), (got), (want), __VA_ARGS__)
#define is_mem(got, want, size, ...) tap_is_mem(TAP_PLACE(#got), (got), (want), (size), __VA_ARGS__)
#define is_errno(got, want, ...)     tap_is_errno(TAP_PLACE(#got), (got), (want), __VA_ARGS__)
#define fail(...)                    tap_ok(TAP_PLACE("reached"), false, __VA_ARGS__)

static struct {
	unsigned int run;
	unsigned int failed;
} tap_count;

/* Prints a name as one line of TAP, whatever it holds: no line breaks, no '#' of a directive. */
static inline void tap_put_name(const char *name)
{
	for (; *name != '\0'; name++) {
		if (*name == '\n' || *name == '\r')
			putchar(' ');
		else if (*name == '#' || *name == '\\')
			printf("\\%c", *name);
		else
			putchar(*name);
	}
}

/* Prints a diagnostic; every line of it starts with "# ". */
TAP_PRINTF(1, 0)
static inline void tap_vdiag(const char *format, va_list args)
{
	char text[2048];
	const char *line = text;

	vsnprintf(text, sizeof(text), format, args);
	fflush(stdout);
	while (line != NULL) {
		const char *end = strchr(line, '\n');
		size_t length = end != NULL ? (size_t)(end - line) : strlen(line);

		if (length > 0 || end != NULL)
			fprintf(stderr, "# %.*s\n", (int)length, line);
		line = end != NULL ? end + 1 : NULL;
	}
}

/* diag(format, ...): a remark for the reader, no check. */
TAP_PRINTF(1, 2)
static inline void diag(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tap_vdiag(format, args);
	va_end(args);
}

/* What every check ends in. Returns held. */
TAP_PRINTF(3, 0)
static inline bool tap_report(struct tap_place place, bool held, const char *format, va_list args)
{
	char name[512];

	vsnprintf(name, sizeof(name), format, args);
	tap_count.run++;
	printf("%sok %u - ", held ? "" : "not ", tap_count.run);
	tap_put_name(name);
	putchar('\n');
	fflush(stdout);
	if (!held) {
		tap_count.failed++;
		diag("failed: %s", name);
		diag("    at: %s:%d: %s", place.file, place.line, place.text);
	}
	return held;
}

TAP_PRINTF(3, 4)
static inline bool tap_ok(struct tap_place place, bool held, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tap_report(place, held, format, args);
	va_end(args);
	return held;
}

TAP_PRINTF(4, 5)
static inline bool tap_is_int(
	struct tap_place place, intmax_t got, intmax_t want, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!tap_report(place, got == want, format, args))
		diag("   got: %jd\nwanted: %jd", got, want);
	va_end(args);
	return got == want;
}

TAP_PRINTF(4, 5)
static inline bool tap_is_uint(
	struct tap_place place, uintmax_t got, uintmax_t want, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!tap_report(place, got == want, format, args))
		diag("   got: %ju (0x%jx)\nwanted: %ju (0x%jx)", got, got, want, want);
	va_end(args);
	return got == want;
}

TAP_PRINTF(4, 5)
static inline bool tap_is_errno(struct tap_place place, int got, int want, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!tap_report(place, got == want, format, args)) {
		diag("   got: %d (%s)", got, strerror(got));
		diag("wanted: %d (%s)", want, strerror(want));
	}
	va_end(args);
	return got == want;
}

/* Shows a string with its control bytes and non-ASCII bytes escaped, cut where it gets long. */
static inline void tap_diag_string(const char *label, const char *string)
{
	char shown[1024];
	size_t at = 0;

	if (string == NULL) {
		diag("%s: NULL", label);
		return;
	}
	for (; *string != '\0' && at < sizeof(shown) - 8; string++) {
		unsigned char byte = (unsigned char)*string;
		bool plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';

		at += (size_t)snprintf(
			shown + at, sizeof(shown) - at, plain ? "%c" : "\\x%02x", byte);
	}
	shown[at] = '\0';
	diag("%s: \"%s\"%s", label, shown, *string != '\0' ? " ..." : "");
}

TAP_PRINTF(4, 5)
static inline bool tap_is_str(
	struct tap_place place, const char *got, const char *want, const char *format, ...)
{
	bool held = got == want || (got != NULL && want != NULL && strcmp(got, want) == 0);
	va_list args;

	va_start(args, format);
	if (!tap_report(place, held, format, args)) {
		tap_diag_string("   got", got);
		tap_diag_string("wanted", want);
	}
	va_end(args);
	return held;
}

/* Shows up to 16 bytes from an offset, for comparison by eye. */
static inline void tap_diag_bytes(
	const char *label, const unsigned char *bytes, size_t from, size_t size)
{
	char shown[16 * 3 + 1] = "";
	size_t at = 0;

	for (size_t i = from; i < size && i - from < 16; i++)
		at += (size_t)snprintf(shown + at, sizeof(shown) - at, " %02x", bytes[i]);
	diag("%s:%s%s", label, shown, size - from > 16 ? " ..." : "");
}

TAP_PRINTF(5, 6)
static inline bool tap_is_mem(struct tap_place place, const void *got, const void *want,
	size_t size, const char *format, ...)
{
	const unsigned char *left = got;
	const unsigned char *right = want;
	size_t differs = 0;
	va_list args;

	while (differs < size && left[differs] == right[differs])
		differs++;
	va_start(args, format);
	if (!tap_report(place, differs == size, format, args)) {
		size_t from = differs & ~(size_t)15;

		diag("first difference at byte %zu of %zu; from byte %zu:", differs, size, from);
		tap_diag_bytes("   got", left, from, size);
		tap_diag_bytes("wanted", right, from, size);
	}
	va_end(args);
	return differs == size;
}

/*
 * skip(count, reason, ...): reports count checks as left out because the machine cannot do them. In
 * continuous integration (the environment has CI=true) nothing may be left out, and they fail.
 */
TAP_PRINTF(2, 3)
static inline void skip(unsigned int count, const char *format, ...)
{
	const char *ci = getenv("CI");
	bool forbidden = ci != NULL && strcmp(ci, "true") == 0;
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	for (; count > 0; count--) {
		tap_count.run++;
		tap_count.failed += forbidden ? 1 : 0;
		printf(forbidden ? "not ok %u - skipped, which CI=true forbids: " : "ok %u # SKIP ",
			tap_count.run);
		tap_put_name(reason);
		putchar('\n');
	}
	fflush(stdout);
}

/* bail_out(reason, ...): the whole run makes no sense on this machine; ends the process. */
TAP_PRINTF(1, 2)
static inline _Noreturn void bail_out(const char *format, ...)
{
	va_list args;

	fputs("Bail out! ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	exit(255);
}

/* Prints the plan. Returns the exit status for main: 0 if there were checks and all held, else 1.
 */
static inline int done_testing(void)
{
	printf("1..%u\n", tap_count.run);
	fflush(stdout);
	if (tap_count.run == 0)
		diag("nothing was checked");
	if (tap_count.failed > 0)
		diag("%u of %u checks failed", tap_count.failed, tap_count.run);
	return tap_count.run == 0 || tap_count.failed > 0 ? 1 : 0;
}

/* A test of the program that many tests share, tests/main.c. */
struct tap_test {
	const char *source; /* tests/unit/proto/stun.c */
	int (*run)(void);
	struct tap_test *next;
};

/* Adds a test, which must outlive the program's main(). */
void tap_add(struct tap_test *test);

/* In that program, a test's main() is one of many, which adds itself before the program's own
 * begins. */
#ifdef TAP_SHARED
static int tap_main(void);

__attribute__((constructor)) static void tap_add_this(void)
{
	static struct tap_test test = {.source = __BASE_FILE__, .run = tap_main};

	tap_add(&test);
}

#define main tap_main
#endif

#endif
