/*
 * One poll(2) drives two state machines: first the races, then, if the caller wants, the
 * dial-backs.
 *
 * States of a side: racing (race set), mapped, failed (error says why). A race that is given up
 * when the grace is over is a failed one. A mapped side fails when it is verified and no stranger
 * gets through. Timers: the races' own, and the end of the grace. Invariant: whatever is set in
 * `race`, or open while `mapped`, is ended by both_families_end().
 */
#include "natpunch/client/both_families.h"

#include <poll.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/client/forward_search.h"
#include "natpunch/client/reachability.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/socket_linux.h"

/* Takes the reflectors that may have an address of the family; returns how many. */
static size_t take_reflectors(struct family_side *side, const struct mapping_race_request *request)
{
	size_t count = 0;

	for (size_t i = 0; i < request->reflector_count; i++) {
		struct addr addr;

		if (addr_parse_ip(&addr, request->reflectors[i].host) == 0 &&
			addr.family != side->request.family)
			continue;
		side->reflectors[count++] = request->reflectors[i];
	}
	return count;
}

static void add_side(struct both_families *both, const struct mapping_race_request *request,
	enum addr_family family)
{
	struct family_side *side = &both->sides[both->count];
	size_t count;

	side->request = *request;
	side->request.family = family;
	side->request.look_up_both = true;
	count = take_reflectors(side, request);
	if (count > 0) {
		side->request.reflectors = side->reflectors;
		side->request.reflector_count = count;
	}
	if (count > 0 || both->all)
		both->count++;
}

void both_families_init(
	struct both_families *both, const struct mapping_race_request *request, bool all)
{
	memset(both, 0, sizeof(*both));
	both->all = all;
	if (request->family == ADDR_NONE) {
		add_side(both, request, ADDR_IPV4);
		add_side(both, request, ADDR_IPV6);
	}
	if (both->count == 2)
		return;
	both->count = 1;
	both->sides[0].request = *request;
}

size_t both_families_ask_routers(
	struct both_families *both, const struct forward_options *options, uint64_t deadline)
{
	struct forward *const forwards[] = {&both->sides[0].forward, &both->sides[1].forward};
	const struct mapping_race_request *requests[] = {
		&both->sides[0].request, &both->sides[1].request};

	forward_ask(forwards, requests, both->count, options, deadline);
	return (size_t)forwards[0]->asked + (size_t)forwards[1]->asked;
}

/* ---- the races ---------------------------------------------------------------------------- */

static void end_race(struct family_side *side)
{
	side->spoke = mapping_race_spoke(side->race);
	mapping_race_end(side->race);
	side->race = NULL;
}

static void start_races(struct both_families *both, uint64_t now)
{
	for (size_t i = 0; i < both->count; i++) {
		struct family_side *side = &both->sides[i];

		side->race = mapping_race_start(&side->request, now);
		if (side->race == NULL)
			error_set(&side->error, EXIT_STATUS_LOCAL, "no memory");
	}
}

static void take_mapping(struct family_side *side)
{
	mapping_race_take(side->race, &side->result);
	forward_note(&side->forward, &side->result.mapping);
}

static void advance_races(struct both_families *both, const struct pollfd *fds, uint64_t now)
{
	for (size_t i = 0; i < both->count; i++) {
		struct family_side *side = &both->sides[i];
		enum mapping_race_state state;

		if (side->race == NULL)
			continue;
		state = mapping_race_advance(
			side->race, fds != NULL ? fds + i * MAPPING_RACE_WATCH_MAX : NULL, now);
		if (state == MAPPING_RACE_RUNNING)
			continue;
		side->mapped = state == MAPPING_RACE_MAPPED;
		side->cannot = mapping_race_cannot(side->race);
		if (side->mapped)
			take_mapping(side);
		else
			side->error = *mapping_race_error(side->race);
		end_race(side);
	}
}

static uint64_t watch_races(
	const struct both_families *both, struct pollfd fds[2 * MAPPING_RACE_WATCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < 2 * MAPPING_RACE_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	for (size_t i = 0; i < 2; i++) {
		uint64_t own;

		if (both->sides[i].race == NULL)
			continue;
		own = mapping_race_watch(both->sides[i].race, fds + i * MAPPING_RACE_WATCH_MAX);
		due = timer_earlier(due, own);
	}
	return due;
}

static bool is_racing(const struct both_families *both)
{
	return both->sides[0].race != NULL || both->sides[1].race != NULL;
}

static bool is_mapped(const struct both_families *both)
{
	return both->sides[0].mapped || both->sides[1].mapped;
}

static void give_up(struct family_side *side)
{
	end_race(side);
	error_set(&side->error, EXIT_STATUS_NETWORK, "no answer within %d ms of the other one's",
		BOTH_FAMILIES_GRACE_MS);
	log_detail("IPv%d given up: %s", (int)side->request.family, side->error.text);
}

/* How much a failure tells: see both_families_find(). */
static int rank(const struct family_side *side)
{
	int value = side->error.status == EXIT_STATUS_PEER      ? 3
		    : side->error.status == EXIT_STATUS_NETWORK ? 2
								: 1;

	return value + (side->spoke ? 4 : 0) + (side->cannot ? 8 : 0);
}

size_t both_families_most_telling(const struct both_families *both)
{
	return both->count == 2 && rank(&both->sides[1]) > rank(&both->sides[0]) ? 1 : 0;
}

int both_families_find(struct both_families *both, struct error *error)
{
	uint64_t now = clock_now_ms();
	uint64_t end = TIMER_NONE;

	start_races(both, now);
	advance_races(both, NULL, now);
	while (is_racing(both) && now < end) {
		struct pollfd fds[2 * MAPPING_RACE_WATCH_MAX];
		uint64_t due = watch_races(both, fds);

		if (is_mapped(both) && !both->all && end == TIMER_NONE)
			end = now + BOTH_FAMILIES_GRACE_MS;
		poll(fds, 2 * MAPPING_RACE_WATCH_MAX, clock_poll_ms(now, due < end ? due : end));
		now = clock_now_ms();
		advance_races(both, fds, now);
	}
	for (size_t i = 0; i < both->count; i++)
		if (both->sides[i].race != NULL)
			give_up(&both->sides[i]);
	if (is_mapped(both))
		return 0;
	*error = both->sides[both_families_most_telling(both)].error;
	return -1;
}

/* ---- the dial-backs ----------------------------------------------------------------------- */

static void start_dialback(
	struct reachability *reachability, const struct family_side *side, uint64_t deadline)
{
	const struct mapping_race_result *result = &side->result;
	uint64_t now = clock_now_ms();
	struct reachability_request question = {
		.local = result->mapping.local,
		.mapped = result->mapping.public_addr,
		.asked = result->winner.request.remote,
		.probe = &side->request,
		.reflector = result->reflector,
		.timeout_ms = deadline > now ? deadline - now : 0,
	};

	memcpy(question.contacted, result->contacted, sizeof(question.contacted));
	reachability_start(reachability, &question, now);
}

static bool lets_in(const struct reachability *reachability)
{
	return reachability->verdict == REACHABILITY_OPEN ||
	       reachability->verdict == REACHABILITY_KNOWN;
}

/* Is it for the dial-backs that run now to find out? */
static bool is_to_judge(const struct family_side *side)
{
	return side->mapped && !side->judged;
}

/* Goes on with all of them; returns false once what comes could not change the outcome. */
static bool advance_dialbacks(const struct both_families *both, struct reachability dialbacks[2],
	const struct pollfd *fds, uint64_t now, bool each)
{
	bool pending = false;

	for (size_t i = 0; i < both->count; i++) {
		if (!is_to_judge(&both->sides[i]))
			continue;
		reachability_advance(
			&dialbacks[i], fds != NULL ? fds + i * REACHABILITY_WATCH_MAX : NULL, now);
		if (dialbacks[i].verdict == REACHABILITY_PENDING)
			pending = true;
		else if (!each && !pending && lets_in(&dialbacks[i]))
			return false;
	}
	return pending;
}

static void run_dialbacks(
	const struct both_families *both, struct reachability dialbacks[2], bool each)
{
	uint64_t now = clock_now_ms();
	struct pollfd fds[2 * REACHABILITY_WATCH_MAX];
	bool goes_on = advance_dialbacks(both, dialbacks, NULL, now, each);

	while (goes_on) {
		uint64_t due = TIMER_NONE;

		for (size_t i = 0; i < 2 * REACHABILITY_WATCH_MAX; i++)
			fds[i] = (struct pollfd){.fd = -1};
		for (size_t i = 0; i < 2; i++) {
			uint64_t own;

			if (!is_to_judge(&both->sides[i]) ||
				dialbacks[i].verdict != REACHABILITY_PENDING)
				continue;
			own = reachability_watch(&dialbacks[i], fds + i * REACHABILITY_WATCH_MAX);
			due = timer_earlier(due, own);
		}
		poll(fds, 2 * REACHABILITY_WATCH_MAX, clock_poll_ms(now, due));
		now = clock_now_ms();
		goes_on = advance_dialbacks(both, dialbacks, fds, now, each);
	}
}

/*
 * A NAT of this machine may keep a connection that ends without a packet, and then the next probe
 * gets no answer (pasta). After a RST it forgets the connection at once, as does this machine.
 */
static void end_winner(struct family_side *side)
{
	struct binding_client *winner = &side->result.winner;

	if (side->result.nat_here && winner->port.kind == BORROW_STREAM &&
		winner->answer.mode == BINDING_MODE_FORGET) {
		winner->answer.mode = BINDING_MODE_NONE;
		socket_abort(winner->port.fd);
		winner->port.fd = -1;
	}
	binding_client_end(winner);
}

/* Gives a side the next mapping that its router may have opened, or none. */
static void take_next(struct family_side *side, bool goes_on, uint64_t deadline)
{
	enum forward_step step = FORWARD_END;

	if (goes_on)
		step = forward_next(&side->forward, &side->request, &side->result, deadline);
	if (step == FORWARD_END)
		end_winner(side);
	side->mapped = step == FORWARD_TRY;
}

/* Notes the verdict about a side. Of several failures the most telling is the first. */
static void judge(
	struct family_side *side, const struct reachability *reachability, uint64_t deadline)
{
	struct error error = reachability->error;

	side->judged = lets_in(reachability);
	if (side->judged) {
		reachability_log_doubt(reachability);
		side->error.text[0] = '\0';
		return;
	}
	if (reachability->verdict == REACHABILITY_SHUT)
		forward_explain_shut(&side->forward, &side->request, reachability,
			&side->result.mapping, &error);
	if (reachability->verdict != REACHABILITY_PENDING && side->error.text[0] == '\0')
		side->error = error;
	take_next(side, forward_search_goes_on(reachability), deadline);
}

/* Dials what is to be judged. Returns whether there is more: a side got another mapping. */
static bool verify_once(struct both_families *both, bool each, uint64_t deadline)
{
	struct reachability dialbacks[2];
	bool goes_on = false;

	for (size_t i = 0; i < both->count; i++)
		if (is_to_judge(&both->sides[i]))
			start_dialback(&dialbacks[i], &both->sides[i], deadline);
	run_dialbacks(both, dialbacks, each);
	for (size_t i = 0; i < both->count; i++) {
		struct family_side *side = &both->sides[i];

		if (!is_to_judge(side))
			continue;
		reachability_end(&dialbacks[i]);
		judge(side, &dialbacks[i], deadline);
		goes_on = goes_on || is_to_judge(side);
	}
	return goes_on;
}

static bool is_verified(const struct family_side *side)
{
	return side->mapped && side->judged;
}

int both_families_verify(struct both_families *both, bool each, uint64_t deadline)
{
	for (size_t i = 0; i < both->count; i++)
		if (both->sides[i].mapped)
			take_next(&both->sides[i], true, deadline);
	while (verify_once(both, each, deadline))
		if (!each && (is_verified(&both->sides[0]) || is_verified(&both->sides[1])))
			break;
	for (size_t i = 0; i < both->count; i++) {
		if (!is_to_judge(&both->sides[i]))
			continue;
		end_winner(&both->sides[i]);
		both->sides[i].mapped = false;
	}
	return is_mapped(both) ? 0 : -1;
}

void both_families_end(struct both_families *both)
{
	for (size_t i = 0; i < both->count; i++) {
		struct family_side *side = &both->sides[i];

		if (side->race != NULL)
			end_race(side);
		if (side->mapped)
			end_winner(side);
		side->mapped = false;
	}
}
