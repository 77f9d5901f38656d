/* Tags, timeouts and readiness. */
#include "natpunch/os/clock.h"
#include "natpunch/os/loop.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "tap.h"

static void test_tags(struct loop *loop, int readable)
{
	static const struct loop_tag tags[] = {
		{0, 0, 0},
		{255, 0xffffff, UINT32_MAX},
		{1, 2, 3},
		{0x80, 0x800000, 0x80000000},
	};
	struct loop_event events[LOOP_BATCH];

	is_int(loop_add(loop, readable, EPOLLIN, tags[0]), 0, "added");
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		is_int(loop_change(loop, readable, EPOLLIN, tags[i]), 0, "changed");
		if (!is_int(loop_wait(loop, events, 0), 1, "one event"))
			continue;
		is_uint(events[0].events, EPOLLIN, "it is readable");
		is_uint(events[0].tag.kind, tags[i].kind, "tag %zu: kind", i);
		is_uint(events[0].tag.slot, tags[i].slot, "tag %zu: slot", i);
		is_uint(events[0].tag.generation, tags[i].generation, "tag %zu: generation", i);
	}
	is_int(loop_change(loop, readable, 0, tags[0]), 0, "left alone for a while");
	is_int(loop_wait(loop, events, 0), 0, "no event then");
	is_int(loop_remove(loop, readable), 0, "removed");
	is_int(loop_remove(loop, readable), -1, "not there any more");
}

static void test_timeouts(void)
{
	is_int(clock_poll_ms(5, TIMER_NONE), -1, "no deadline: for ever");
	is_int(clock_poll_ms(5, 5), 0, "due now");
	is_int(clock_poll_ms(5, 4), 0, "overdue");
	is_int(clock_poll_ms(5, 12), 7, "due later");
	is_int(clock_poll_ms(0, (uint64_t)INT_MAX + 1), INT_MAX, "due in a month");
}

int main(void)
{
	struct loop loop;
	struct loop_event events[LOOP_BATCH];
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0 || write(ends[1], "x", 1) != 1)
		bail_out("pipe");
	is_int(loop_open(&loop), 0, "opened");
	is_int(loop_wait(&loop, events, 0), 0, "nothing to wait for");
	test_tags(&loop, ends[0]);
	test_timeouts();
	loop_close(&loop);
	is_int(loop.fd, -1, "closed");
	return done_testing();
}
