#include "connect/companions.h"

#include <stdbool.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

uint64_t companions_due(const struct companions *companions, const struct attempt *attempt)
{
	if (companions->count == COMPANIONS_MAX)
		return TIMER_NONE;
	return attempt_company_due(attempt, (unsigned)companions->count + 1);
}

void companions_begin(struct companions *companions, const struct attempt *attempt, uint64_t now)
{
	struct attempt *companion = &companions->all[companions->count++];
	struct attempt_config config = attempt->config;

	log_detail("no connection so far; trying from another port as well");
	/* Only the attempt beside it tries an address that is not held. */
	config.puts_off = true;
	attempt_init(companion, &config);
	attempt_start(companion, now);
}

static bool is_of_use(const struct attempt *companion)
{
	return companion->state == ATTEMPT_CALLING || companion->state == ATTEMPT_ASKING ||
	       companion->state == ATTEMPT_BUSY || companion->state == ATTEMPT_OPEN;
}

uint64_t companions_watch(
	const struct companions *companions, struct pollfd fds[COMPANIONS_WATCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < COMPANIONS_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	for (size_t i = 0; i < companions->count; i++) {
		uint64_t at = attempt_watch(&companions->all[i], fds + i * ATTEMPT_WATCH_MAX);

		due = timer_earlier(due, at);
	}
	return due;
}

void companions_advance(
	struct companions *companions, const struct pollfd fds[COMPANIONS_WATCH_MAX], uint64_t now)
{
	for (size_t i = 0; i < companions->count; i++) {
		struct attempt *companion = &companions->all[i];

		attempt_advance(companion, fds + i * ATTEMPT_WATCH_MAX, now);
		if (!is_of_use(companion))
			attempt_end(companion);
	}
}

struct attempt *companions_find_open(struct companions *companions)
{
	for (size_t i = 0; i < companions->count; i++)
		if (companions->all[i].state == ATTEMPT_OPEN)
			return &companions->all[i];
	return NULL;
}

void companions_end(struct companions *companions)
{
	for (size_t i = 0; i < companions->count; i++)
		attempt_end(&companions->all[i]);
}
