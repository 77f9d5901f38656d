/* The limit of the log: how many lines are admitted, and how many are counted instead. */
#include "natpunch/os/log.h"

#include <fcntl.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

/* A pipe that nobody reads: what does not fit into it is dropped, and nothing waits. */
static void test_stalled(void)
{
	enum {
		LINES = 5000
	};
	uint64_t before = log_suppressed(), dropped;
	const struct error error = {.text = "an error", .hint = "with a hint"};
	int own = dup(STDERR_FILENO), ends[2];
	size_t lines = 0;
	char byte;

	if (own < 0 || pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
		bail_out("no pipe");
	for (int i = 0; i < LINES; i++)
		log_note("a line of some length, so that they will not fit into the pipe");
	log_print_error(&error);
	dropped = log_suppressed() - before;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	while (read(ends[0], &byte, 1) == 1)
		lines += byte == '\n';
	dup2(own, STDERR_FILENO);
	close(own);
	ok(lines > 50 && lines < LINES, "a pipe that nobody reads takes %zu lines", lines);
	is_uint(dropped, LINES + 1 - lines, "and the others are dropped, and counted");
}

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
	test_stalled();
	return done_testing();
}
