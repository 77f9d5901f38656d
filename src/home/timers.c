#include "home/timers.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"

bool timers_take_due(uint64_t *due, uint64_t now)
{
	if (now < *due)
		return false;
	*due = TIMER_NONE;
	return true;
}

uint64_t timers_with_jitter(uint64_t ms)
{
	return ms - random_below((uint32_t)(ms / 10) + 1);
}
