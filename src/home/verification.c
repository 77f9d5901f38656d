#include "home/verification.h"

#include <string.h>

#include "natpunch/base/timer_heap.h"

void verification_init(struct verification *verification, uint64_t open_ms, uint64_t again_ms)
{
	memset(verification, 0, sizeof(*verification));
	verification->open_ms = open_ms;
	verification->again_ms = again_ms;
	verification->due = TIMER_NONE;
}

static void stop(struct verification *verification)
{
	if (verification->running)
		reachability_end(&verification->reachability);
	verification->running = false;
}

void verification_start(
	struct verification *verification, const struct reachability_request *request, uint64_t now)
{
	verification_postpone(verification, now);
	reachability_start(&verification->reachability, request, now);
	verification->running = true;
}

void verification_postpone(struct verification *verification, uint64_t now)
{
	stop(verification);
	verification->due = now + verification->again_ms;
}

uint64_t verification_watch(
	const struct verification *verification, struct pollfd fds[REACHABILITY_WATCH_MAX])
{
	uint64_t due;

	for (size_t i = 0; i < REACHABILITY_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (!verification->running)
		return verification->due;
	due = reachability_watch(&verification->reachability, fds);
	return due < verification->due ? due : verification->due;
}

enum reachability_verdict verification_advance(struct verification *verification,
	const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now)
{
	enum reachability_verdict verdict;

	if (!verification->running)
		return REACHABILITY_PENDING;
	verdict = reachability_advance(&verification->reachability, fds, now);
	if (verdict == REACHABILITY_PENDING)
		return verdict;
	stop(verification);
	if (verdict == REACHABILITY_OPEN || verdict == REACHABILITY_KNOWN)
		verification->due = now + verification->open_ms;
	return verdict;
}

void verification_end(struct verification *verification)
{
	stop(verification);
	verification->due = TIMER_NONE;
}
