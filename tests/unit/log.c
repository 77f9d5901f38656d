/* The limit of the log: how many lines are admitted, and how many are counted instead. */
#include "natpunch/log.h"

#include "natpunch/clock.h"
#include "tap.h"

int main(void)
{
	uint64_t began, took;
	unsigned admitted = 0;

	ok(!log_admits(), "without -v nothing is told of clients");
	is_uint(log_suppressed(), 0, "which is not called suppressed");
	log_set_level(LOG_LEVEL_VERBOSE);
	for (int i = 0; i < 5000; i++)
		admitted += log_admits();
	is_uint(admitted, 5000, "without a limit all of it is");
	log_set_limit(10, 50);
	began = clock_now_ms();
	admitted = 0;
	for (int i = 0; i < 5000; i++)
		admitted += log_admits();
	took = clock_now_ms() - began;
	ok(admitted >= 50 && admitted <= 51 + took / 100,
		"with one, a burst: %u of 5000 in %llu ms", admitted, (unsigned long long)took);
	is_uint(log_suppressed(), 5000 - admitted, "and the others are counted");
	return done_testing();
}
