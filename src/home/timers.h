/*
 * timers.h - times that are due, and intervals that many homes do not share.
 *
 * A time is clock_now_ms(), or TIMER_NONE while it is not wanted.
 */
#ifndef NATPUNCH_HOME_TIMERS_H
#define NATPUNCH_HOME_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

/* Is it due? Then it is not wanted any more. */
bool timers_take_due(uint64_t *due, uint64_t now);

uint64_t timers_earlier(uint64_t one, uint64_t other);

/* Up to a tenth less than `ms`, at random, so that many homes do not send in step. */
uint64_t timers_with_jitter(uint64_t ms);

#endif
