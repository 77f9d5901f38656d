#include "natpunch/check/lifetime.h"

/* Four fifths, so that bounds are a quarter apart; less by one second at least. */
static uint16_t shorten(uint16_t seconds)
{
	uint16_t shorter = (uint16_t)((seconds * 4u + 4u) / 5u);

	return shorter < seconds ? shorter : (uint16_t)(seconds - 1);
}

size_t lifetime_plan(uint16_t bound, struct lifetime_trial trials[LIFETIME_TRIAL_MAX])
{
	uint16_t seconds = bound;
	size_t count = 1;
	size_t i;

	while (count < LIFETIME_TRIAL_MAX && seconds > 1) {
		seconds = shorten(seconds);
		count++;
	}
	seconds = bound;
	for (i = count; i-- > 1; seconds = shorten(seconds))
		trials[i] = (struct lifetime_trial){.seconds = seconds};
	trials[0] = (struct lifetime_trial){.seconds = 1};
	return count;
}

bool lifetime_is_settled(const struct lifetime_trial *trials, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (trials[i].sign == LIFETIME_OPEN)
			return false;
		if (trials[i].sign == LIFETIME_GONE)
			return true;
	}
	return true;
}

struct lifetime_bounds lifetime_judge(const struct lifetime_trial *trials, size_t count)
{
	struct lifetime_bounds bounds = {.least = 0};
	bool gone = false;

	for (size_t i = 0; i < count; i++) {
		if (trials[i].sign == LIFETIME_ALIVE) {
			bounds.most = 0;
			if (!gone)
				bounds.least = trials[i].seconds;
		} else if (trials[i].sign == LIFETIME_GONE) {
			gone = true;
			if (bounds.most == 0)
				bounds.most = trials[i].seconds;
		}
	}
	if (bounds.least == 0)
		bounds.most = 0;
	return bounds;
}
