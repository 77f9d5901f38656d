/*
 * clock.h - the two clocks. Code below the event loops takes `now` as an argument instead.
 */
#ifndef NATPUNCH_OS_CLOCK_H
#define NATPUNCH_OS_CLOCK_H

#include <stdint.h>

/*
 * Milliseconds of CLOCK_BOOTTIME: monotonic, and counting while the machine sleeps. On systems
 * without that clock, CLOCK_MONOTONIC.
 */
uint64_t clock_now_ms(void);

/* Seconds since 1970, for people and files. */
uint64_t clock_wall_seconds(void);

/* Milliseconds from now until due as a timeout for poll(2) and loop_wait(); TIMER_NONE is -1. */
int clock_poll_ms(uint64_t now, uint64_t due);

#endif
