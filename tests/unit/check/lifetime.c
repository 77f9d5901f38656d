/* How long a mapping lives: which silences are tried, and what they tell. */
#include "natpunch/check/lifetime.h"

#include "tap.h"

static void test_plan(uint16_t bound)
{
	struct lifetime_trial trials[LIFETIME_TRIAL_MAX];
	size_t count = lifetime_plan(bound, trials);
	bool rises = true;
	bool close_by = true;

	ok(count >= 2 && count <= LIFETIME_TRIAL_MAX, "up to %u: %zu trials", bound, count);
	is_uint(trials[0].seconds, 1, "up to %u: one second first", bound);
	is_uint(trials[count - 1].seconds, bound, "up to %u: the bound last", bound);
	for (size_t i = 1; i < count; i++) {
		unsigned before = trials[i - 1].seconds;
		rises = rises && trials[i].seconds > before;
		/* Not so the step behind the first, as there are only so many trials. */
		close_by = close_by && (i == 1 || trials[i].seconds <= before + before / 4 + 1);
	}
	ok(rises, "up to %u: each longer than the one before", bound);
	ok(close_by, "up to %u: by a quarter at most", bound);
	is_int(trials[count - 1].sign, LIFETIME_OPEN, "up to %u: nothing known yet", bound);
}

/* "A" alive, "G" gone, "V" void, "." open; of 1, 2, 3 ... seconds. */
static void is_judged(const char *signs, uint16_t least, uint16_t most, bool settled)
{
	struct lifetime_trial trials[LIFETIME_TRIAL_MAX];
	struct lifetime_bounds bounds;
	size_t count = 0;

	for (; signs[count] != '\0'; count++)
		trials[count] = (struct lifetime_trial){.seconds = (uint16_t)(count + 1),
			.sign = signs[count] == 'A'   ? LIFETIME_ALIVE
				: signs[count] == 'G' ? LIFETIME_GONE
				: signs[count] == 'V' ? LIFETIME_VOID
						      : LIFETIME_OPEN};
	bounds = lifetime_judge(trials, count);
	is_uint(bounds.least, least, "%s: at least", signs);
	is_uint(bounds.most, most, "%s: at most", signs);
	is_int(lifetime_is_settled(trials, count), settled, "%s: settled", signs);
}

int main(void)
{
	static const uint16_t bounds[] = {
		2, 3, 5, 6, 15, 16, 17, 60, 300, 7440, LIFETIME_BOUND_MAX};

	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		test_plan(bounds[i]);
	is_judged("....", 0, 0, false);
	is_judged("A...", 1, 0, false);
	is_judged("AA..", 2, 0, false);
	is_judged("AAG.", 2, 3, true);
	is_judged("AAGG", 2, 3, true);
	is_judged("AAAA", 4, 0, true);
	is_judged("A.G.", 1, 3, false);
	is_judged("AVG.", 1, 3, true);
	is_judged("AVVV", 1, 0, true);
	/* The question does not work: its silence says nothing. */
	is_judged("G...", 0, 0, true);
	is_judged("VG..", 0, 0, true);
	is_judged("VVVV", 0, 0, true);
	is_judged("GA..", 0, 0, true);
	/* A packet got lost, or the NAT keeps some mappings longer than others. */
	is_judged("AGAG", 1, 4, true);
	is_judged("AGAA", 1, 0, true);
	is_judged("AGGAAG", 1, 6, true);
	return done_testing();
}
