#include "home/verification.h"

#include <string.h>

#include "natpunch/base/timer_heap.h"

void verification_init(struct verification *verifier, uint64_t open_ms, uint64_t again_ms)
{
	memset(verifier, 0, sizeof(*verifier));
	verifier->open_ms = open_ms;
	verifier->again_ms = again_ms;
	verifier->due = TIMER_NONE;
}

static void stop(struct verification *verifier)
{
	if (verifier->running)
		reachability_end(&verifier->reachability);
	verifier->running = false;
}

void verification_start(
	struct verification *verifier, const struct reachability_request *request, uint64_t now)
{
	verification_postpone(verifier, now);
	reachability_start(&verifier->reachability, request, now);
	verifier->running = true;
}

void verification_postpone(struct verification *verifier, uint64_t now)
{
	stop(verifier);
	verifier->due = now + verifier->again_ms;
}

uint64_t verification_watch(const struct verification *verifier, struct pollfd fds[REACHABILITY_WATCH_MAX])
{
	uint64_t due;

	for (size_t i = 0; i < REACHABILITY_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (!verifier->running)
		return verifier->due;
	due = reachability_watch(&verifier->reachability, fds);
	return due < verifier->due ? due : verifier->due;
}

enum reachability_verdict verification_advance(
	struct verification *verifier, const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now)
{
	enum reachability_verdict verdict;

	if (!verifier->running)
		return REACHABILITY_PENDING;
	verdict = reachability_advance(&verifier->reachability, fds, now);
	if (verdict == REACHABILITY_PENDING)
		return verdict;
	stop(verifier);
	if (verdict == REACHABILITY_OPEN || verdict == REACHABILITY_KNOWN)
		verifier->due = now + verifier->open_ms;
	return verdict;
}

void verification_end(struct verification *verifier)
{
	stop(verifier);
	verifier->due = TIMER_NONE;
}
