/*
 * States: see trial.h.
 *
 *   RESTING --trial_begin(), trial_next()--> RACING  the candidate needs another local port
 *                                            READY   the candidate needs the kept local port
 *   RACING  --the race is won-->             READY   unless that address was dialled already
 *   READY   --trial_take()-->                RESTING a stranger got in
 *   any     --no candidate is left-->        RESTING for `rest_ms`: a trial costs a dial-back and a
 *                                            connection for each candidate, in vain before
 *
 * Timer: the race's own. Invariants: a race is there in RACING alone; result.winner is open in
 * READY and `punched` alone; no address is dialled twice in one trial.
 */
#include "home/trial.h"

#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

void trial_init(struct trial *trial, const struct mapping_race_request *probe,
	const struct forward *forward)
{
	memset(trial, 0, sizeof(*trial)); /* TRIAL_RESTING */
	trial->probe = probe;
	trial->forward = forward;
}

/* Ends this candidate; the search goes on. */
static void drop(struct trial *trial)
{
	mapping_race_end(trial->race);
	trial->race = NULL;
	if (trial->punched)
		binding_client_end(&trial->result.winner);
	trial->punched = false;
	trial->state = TRIAL_RESTING;
}

bool trial_begin(struct trial *trial, const struct mapping_race_request *request,
	enum forward_candidate candidate, const struct addr *told, uint64_t now)
{
	drop(trial);
	if (!forward_is_granted(trial->forward) || now < trial->rest_until)
		return false;
	trial->request = *request;
	trial->request.method = trial->probe->method;
	trial->request.must_agree = false;
	forward_search_begin(&trial->search, told);
	trial->search.tried = 1U << candidate;
	return forward_search_dials(&trial->search, told);
}

static bool make_ready(struct trial *trial)
{
	char text[ADDR_TEXT_SIZE];

	trial->mapping = trial->result.mapping;
	forward_search_tell(trial->forward, trial->candidate, trial->probe, &trial->mapping);
	if (!forward_search_dials(&trial->search, &trial->mapping.public_addr))
		return false;
	log_detail("trying %s", addr_format(&trial->mapping.public_addr, text));
	trial->state = TRIAL_READY;
	return true;
}

/* Returns whether the state is RACING or READY now. */
static bool start(struct trial *trial, const struct mapping_race_result *kept, uint64_t now)
{
	uint16_t kept_port = trial->request.local.port;
	uint16_t port = forward_search_port(trial->forward, trial->candidate, trial->probe);

	if (port == kept_port) {
		trial->result = *kept;
		return make_ready(trial);
	}
	trial->request.local.port = port;
	trial->race = mapping_race_start(&trial->request, now);
	if (trial->race == NULL)
		return false;
	trial->state = TRIAL_RACING;
	return true;
}

enum trial_state trial_next(
	struct trial *trial, const struct mapping_race_result *kept, uint64_t rest_ms, uint64_t now)
{
	uint16_t kept_port = kept->mapping.local.port;

	drop(trial);
	while ((trial->candidate = forward_search_next(
			&trial->search, trial->forward, trial->probe)) != FORWARD_CANDIDATE_COUNT) {
		trial->request.local.port = kept_port;
		if (start(trial, kept, now))
			return trial->state;
	}
	trial->rest_until = now + rest_ms;
	return trial->state;
}

uint64_t trial_watch(const struct trial *trial, struct pollfd fds[TRIAL_WATCH_MAX])
{
	for (size_t i = 0; i < TRIAL_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	return trial->race != NULL ? mapping_race_watch(trial->race, fds) : TIMER_NONE;
}

enum trial_event trial_advance(
	struct trial *trial, const struct pollfd fds[TRIAL_WATCH_MAX], uint64_t now)
{
	enum mapping_race_state state;

	if (trial->race == NULL)
		return TRIAL_NOTHING;
	state = mapping_race_advance(trial->race, fds, now);
	if (state == MAPPING_RACE_RUNNING)
		return TRIAL_NOTHING;
	if (state == MAPPING_RACE_FAILED) {
		log_detail("from local port %u: %s", trial->request.local.port,
			mapping_race_error(trial->race)->text);
		drop(trial);
		return TRIAL_LOST;
	}
	mapping_race_take(trial->race, &trial->result);
	mapping_race_end(trial->race);
	trial->race = NULL;
	trial->punched = true;
	if (make_ready(trial))
		return TRIAL_FOUND;
	drop(trial);
	return TRIAL_LOST;
}

bool trial_take(struct trial *trial)
{
	bool punched = trial->punched;

	trial->punched = false;
	trial->state = TRIAL_RESTING;
	return punched;
}

void trial_end(struct trial *trial)
{
	drop(trial);
}

void trial_forget(struct trial *trial)
{
	drop(trial);
	trial->rest_until = 0;
}
