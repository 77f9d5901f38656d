#include "natpunch/verifier.h"

#include <string.h>

#include "natpunch/deadline.h"

void verifier_init(struct verifier *verifier, uint64_t open_ms, uint64_t again_ms)
{
	memset(verifier, 0, sizeof(*verifier));
	verifier->open_ms = open_ms;
	verifier->again_ms = again_ms;
	verifier->due = DEADLINE_NONE;
}

static void stop(struct verifier *verifier)
{
	if (verifier->running)
		reachability_end(&verifier->reachability);
	verifier->running = false;
}

void verifier_start(
	struct verifier *verifier, const struct reachability_request *request, uint64_t now)
{
	verifier_postpone(verifier, now);
	reachability_start(&verifier->reachability, request, now);
	verifier->running = true;
}

void verifier_postpone(struct verifier *verifier, uint64_t now)
{
	stop(verifier);
	verifier->due = now + verifier->again_ms;
}

uint64_t verifier_watch(const struct verifier *verifier, struct pollfd fds[REACHABILITY_WATCH_MAX])
{
	uint64_t due;

	for (size_t i = 0; i < REACHABILITY_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (!verifier->running)
		return verifier->due;
	due = reachability_watch(&verifier->reachability, fds);
	return due < verifier->due ? due : verifier->due;
}

enum reachability_verdict verifier_advance(
	struct verifier *verifier, const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now)
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

void verifier_end(struct verifier *verifier)
{
	stop(verifier);
	verifier->due = DEADLINE_NONE;
}
