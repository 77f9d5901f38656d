/*
 * clock.h - the two clocks. Code below the event loops is handed `now` and never asks.
 */
#ifndef NATPUNCH_OS_CLOCK_H
#define NATPUNCH_OS_CLOCK_H

#include <stdint.h>

/*
 * Milliseconds of CLOCK_BOOTTIME: monotonic, and counting while the machine sleeps. CLOCK_MONOTONIC
 * on systems that have no such clock.
 */
uint64_t clock_now_ms(void);

/* Seconds since 1970, for what people and files are shown. */
uint64_t clock_wall_seconds(void);

#endif
