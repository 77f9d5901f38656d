/*
 * parse.h - reads a value as a person types it, strictly.
 *
 * A parser takes the whole string or nothing, and guesses nothing. It returns 0, or -1 and leaves
 * *out alone.
 */
#ifndef NATPUNCH_BASE_PARSE_H
#define NATPUNCH_BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits only, from min to max. "0022" is 22; "", "+22", " 22", "22x" and "0x16" are not numbers.
 */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
	__attribute__((warn_unused_result));

/* Hexadecimal digits in either case. */
int parse_hex(const char *text, uint32_t *out) __attribute__((warn_unused_result));

/* A number, or "0x" and hexadecimal digits. */
int parse_mark(const char *text, uint32_t *out) __attribute__((warn_unused_result));

/* A port, 1 to 65535. */
int parse_port(const char *text, uint16_t *out) __attribute__((warn_unused_result));

/*
 * Seconds with an optional fraction ("5", "0.25", ".5"), from 1 ms to max_ms, into milliseconds;
 * digits after the third are dropped.
 */
int parse_seconds(const char *text, uint64_t max_ms, uint64_t *out_ms)
	__attribute__((warn_unused_result));

#endif
