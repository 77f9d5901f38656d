#include "natpunch/os/clock.h"

#include <time.h>

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
