/*
 * timers.h - times at which something is due, and intervals that differ from home to home.
 *
 * A time is clock_now_ms(), or TIMER_NONE if nothing is due.
 */
#ifndef NATPUNCH_HOME_TIMERS_H
#define NATPUNCH_HOME_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

/* Has the time come? Then sets it to TIMER_NONE. */
bool timers_take_due(uint64_t *due, uint64_t now);

/* Returns `ms` less up to a tenth of it, at random, so that many homes do not send in step. */
uint64_t timers_with_jitter(uint64_t ms);

#endif
