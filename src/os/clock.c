#include "natpunch/os/clock.h"

#include <limits.h>
#include <time.h>

#include "natpunch/base/timer_heap.h"

#ifdef CLOCK_BOOTTIME
#define CLOCK_STEADY CLOCK_BOOTTIME
#else /* other systems stop or go on while they sleep, as they please */
#define CLOCK_STEADY CLOCK_MONOTONIC
#endif

uint64_t clock_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_STEADY, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_wall_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec;
}

int clock_poll_ms(uint64_t now, uint64_t due)
{
	if (due == TIMER_NONE)
		return -1;
	if (due <= now)
		return 0;
	return due - now > INT_MAX ? INT_MAX : (int)(due - now);
}
