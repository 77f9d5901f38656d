/*
 * steps.h - for harnesses whose input is not what is said but what is done, a byte after another.
 */
#ifndef NATPUNCH_TESTS_FUZZ_STEPS_H
#define NATPUNCH_TESTS_FUZZ_STEPS_H

#include <stddef.h>
#include <stdint.h>

static const uint8_t *input; /* the harness sets both */
static size_t left;

/* The next byte; behind the end: 0. */
static uint8_t take(void)
{
	if (left == 0)
		return 0;
	left--;
	return *input++;
}

#endif
