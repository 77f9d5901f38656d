/*
 * How a mapping is verified.
 *
 * States: RESTING, until `due`, and ASKING (`running`). There is one run at most: a new one ends
 * the one that is under way.
 *
 * Events, the verdicts of a run (reachability.h), and what follows:
 *   OPEN, KNOWN  strangers get in, or the known addresses that alone could try:
 *                VERIFICATION_REACHABLE, unless that was reported of this mapping already. A
 *                warning says if the run does not prove that it reached this machine.
 *   SHUT         strangers do not get in: VERIFICATION_SHUT. The owner has other mappings dialled,
 *                or keeps this one all the same and says so: verification_conclude().
 *   UNTOLD       no reflector could try: what was reported stays, with one warning until the next
 *                verdict. If no reflector dials at all, and nothing is reported since the start or
 *                since the mapping was down, it is VERIFICATION_IMPOSSIBLE. Connections that were
 *                closed silently may have been cut: they count only after VERIFICATION_SILENCE_MAX
 *                such runs in a row.
 *
 * A verdict on another mapping than that of the last report is always reported.
 *
 * Timer: `due`, when the owner starts the next run: `open_ms` after OPEN and KNOWN; `again_ms`
 * after any other verdict, after a start without a verdict, and after verification_postpone().
 *
 * Invariant: each verdict is taken once, and reported only if it differs from what was reported.
 */
#include "home/verification.h"

#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

void verification_init(struct verification *verification, const struct mapping_race_request *probe,
	uint64_t open_ms, uint64_t again_ms)
{
	memset(verification, 0, sizeof(*verification)); /* VERIFICATION_NOTHING */
	verification->probe = probe;
	verification->open_ms = open_ms;
	verification->again_ms = again_ms;
	verification->due = TIMER_NONE;
}

void verification_add_contacted(
	struct verification *verification, const bool contacted[MAPPING_RACE_REFLECTOR_MAX])
{
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (contacted == NULL || contacted[i])
			verification->contacted[i] = true;
}

static void stop(struct verification *verification)
{
	if (verification->running)
		reachability_end(&verification->reachability);
	verification->running = false;
}

void verification_start(struct verification *verification, const struct mapping *mapping,
	const struct addr *asked, size_t reflector, uint64_t now)
{
	struct reachability_request request = {
		.local = mapping->local,
		.mapped = mapping->public_addr,
		.asked = *asked,
		.probe = verification->probe,
		.reflector = reflector,
		.timeout_ms = DIALBACK_CLIENT_TIMEOUT_MS,
		.stray = verification->stray,
		.context = verification->context,
	};

	verification->mapping = *mapping;
	memcpy(request.contacted, verification->contacted, sizeof(request.contacted));
	verification_postpone(verification, now);
	reachability_start(&verification->reachability, &request, now);
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

static enum verification_event take_untold(struct verification *verification)
{
	const struct reachability *reachability = &verification->reachability;
	bool cannot = reachability->unsupported;

	verification->silences = cannot && reachability->silent ? verification->silences + 1 : 0;
	if (reachability->silent && verification->silences < VERIFICATION_SILENCE_MAX)
		cannot = false;
	if (cannot && verification->reported == VERIFICATION_NOTHING) {
		verification->error = reachability->error;
		return VERIFICATION_IMPOSSIBLE;
	}
	if (!verification->doubted)
		log_warning("%s; trying again", reachability->error.text);
	verification->doubted = true;
	return VERIFICATION_NOTHING;
}

/* Notes what is reported of this mapping. Returns whether that is news. */
static bool take_told(struct verification *verification, enum verification_event told,
	const struct mapping *mapping)
{
	bool same = verification->reported == told && mapping_equal(&verification->told, mapping);

	verification->reported = told;
	verification->told = *mapping;
	verification->doubted = false;
	verification->silences = 0;
	return !same;
}

bool verification_conclude(struct verification *verification, const struct mapping *mapping)
{
	return take_told(verification, VERIFICATION_UNREACHABLE, mapping);
}

static enum verification_event take_open(struct verification *verification)
{
	if (!take_told(verification, VERIFICATION_REACHABLE, &verification->mapping))
		return VERIFICATION_NOTHING;
	reachability_log_doubt(&verification->reachability);
	return VERIFICATION_REACHABLE;
}

static enum verification_event take_verdict(
	struct verification *verification, enum reachability_verdict verdict, uint64_t now)
{
	stop(verification);
	verification->judged = true;
	switch (verdict) {
	case REACHABILITY_PENDING:
		break;
	case REACHABILITY_UNTOLD:
		return take_untold(verification);
	case REACHABILITY_SHUT:
		return VERIFICATION_SHUT;
	case REACHABILITY_OPEN:
	case REACHABILITY_KNOWN:
		verification->due = now + verification->open_ms;
		return take_open(verification);
	}
	return VERIFICATION_NOTHING;
}

enum verification_event verification_advance(struct verification *verification,
	const struct pollfd fds[REACHABILITY_WATCH_MAX], uint64_t now)
{
	enum reachability_verdict verdict;

	if (!verification->running)
		return VERIFICATION_NOTHING;
	verdict = reachability_advance(&verification->reachability, fds, now);
	if (verdict == REACHABILITY_PENDING)
		return VERIFICATION_NOTHING;
	return take_verdict(verification, verdict, now);
}

void verification_forget(struct verification *verification)
{
	verification->due = TIMER_NONE;
	verification->reported = VERIFICATION_NOTHING;
}

void verification_end(struct verification *verification)
{
	stop(verification);
	verification->due = TIMER_NONE;
}
