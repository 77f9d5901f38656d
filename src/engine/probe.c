/*
 * The race. A lane is a reflector: first its name is looked up, then its addresses are tried one
 * after another. An attempt is a transaction with one address. Lanes start attempts, attempts end;
 * the run ends with the first answer, or when no lane has anything left and no attempt is under
 * way. Everything lives in one struct of fixed size; nothing blocks but the one poll().
 */
#include "natpunch/probe.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "natpunch/clock.h"
#include "natpunch/deadline.h"
#include "natpunch/log.h"
#include "natpunch/resolve.h"
#include "natpunch/socket.h"

enum lane_state {
	LANE_IDLE,
	LANE_RESOLVING,
	LANE_TRYING, /* addresses may be left */
	LANE_DONE,
};

struct lane {
	enum lane_state state;
	struct resolve resolve;
	size_t next; /* address to try next */
};

struct attempt {
	bool used;
	size_t lane;
	struct transaction transaction;
};

struct race {
	const struct probe_request *request;
	enum binding_mode mode;
	uint64_t deadline;
	uint64_t stagger_due;
	struct lane lanes[PROBE_REFLECTOR_MAX];
	struct attempt attempts[PROBE_ATTEMPT_MAX];
	struct error error;
	bool has_error;
	struct attempt *winner;
};

static void name_reflector(const struct parse_host_port *reflector, char *out, size_t size)
{
	if (strchr(reflector->host, ':') != NULL)
		snprintf(out, size, "[%s]:%u", reflector->host, reflector->port);
	else
		snprintf(out, size, "%s:%u", reflector->host, reflector->port);
}

static int error_rank(enum exit_status status)
{
	switch (status) {
	case EXIT_STATUS_PEER:
		return 3;
	case EXIT_STATUS_NETWORK:
		return 2;
	default:
		return 1;
	}
}

static void note_error(struct race *race, const struct error *error)
{
	log_detail("%s", error->text);
	if (race->has_error && error_rank(error->status) <= error_rank(race->error.status))
		return;
	race->error = *error;
	race->has_error = true;
}

/* Notes how a look-up ended. */
static void take_lookup(struct race *race, size_t index)
{
	struct lane *lane = &race->lanes[index];
	struct error error;

	if (!lane->resolve.done)
		return;
	lane->state = LANE_TRYING;
	if (lane->resolve.count > 0)
		return;
	error_set(&error, lane->resolve.error.status, "cannot look up %s: %s",
		race->request->reflectors[index].host, lane->resolve.error.text);
	note_error(race, &error);
	lane->state = LANE_DONE;
}

static struct attempt *free_attempt(struct race *race)
{
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++)
		if (!race->attempts[i].used)
			return &race->attempts[i];
	return NULL;
}

static bool start_attempt(struct race *race, size_t index, uint64_t now)
{
	struct lane *lane = &race->lanes[index];
	struct attempt *attempt = free_attempt(race);
	struct borrow_request request = {
		.protocol = race->request->protocol,
		.local = race->request->local,
		.interface = race->request->interface,
	};

	if (attempt == NULL)
		return false;
	request.remote = lane->resolve.found[lane->next++];
	if (lane->next == lane->resolve.count)
		lane->state = LANE_DONE;
	attempt->used = true;
	attempt->lane = index;
	transaction_start(&attempt->transaction, race->request->method, &request, race->mode, now);
	return true;
}

/*
 * Starts the next thing in order: a look-up, or an address of a lane that has one left. Returns
 * false when there is nothing to start.
 */
static bool start_next(struct race *race, uint64_t now)
{
	race->stagger_due = now + PROBE_STAGGER_MS;
	for (size_t i = 0; i < race->request->reflector_count; i++) {
		struct lane *lane = &race->lanes[i];
		if (lane->state == LANE_IDLE) {
			const struct parse_host_port *reflector = &race->request->reflectors[i];
			resolve_start(&lane->resolve, reflector->host, reflector->port,
				race->request->family);
			lane->state = LANE_RESOLVING;
			take_lookup(race, i);
			if (lane->state == LANE_RESOLVING)
				return true;
		}
		if (lane->state == LANE_TRYING)
			return start_attempt(race, i, now);
	}
	race->stagger_due = DEADLINE_NONE;
	return false;
}

/* Looks at an attempt after it advanced. Returns true when the run is decided. */
static bool take_attempt(struct race *race, struct attempt *attempt, uint64_t now)
{
	struct transaction *transaction = &attempt->transaction;
	bool cannot = transaction->cannot;

	if (transaction->state == TRANSACTION_ANSWERED) {
		race->winner = attempt;
		return true;
	}
	if (transaction->state != TRANSACTION_FAILED)
		return false;
	note_error(race, &transaction->error);
	transaction_end(transaction);
	attempt->used = false;
	if (cannot) {
		race->error = transaction->error;
		return true;
	}
	start_next(race, now);
	return false;
}

static bool take_attempts(struct race *race, uint64_t now)
{
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++)
		if (race->attempts[i].used && take_attempt(race, &race->attempts[i], now))
			return true;
	return false;
}

struct watch {
	struct pollfd fds[PROBE_REFLECTOR_MAX + PROBE_ATTEMPT_MAX];
	size_t count;
	uint64_t due;
	bool busy; /* something is under way */
};

static void build_watch(const struct race *race, struct watch *watch)
{
	watch->count = 0;
	watch->busy = false;
	watch->due = race->deadline < race->stagger_due ? race->deadline : race->stagger_due;
	for (size_t i = 0; i < PROBE_REFLECTOR_MAX; i++) {
		bool used = race->lanes[i].state == LANE_RESOLVING;
		watch->fds[watch->count++] = (struct pollfd){
			.fd = used ? race->lanes[i].resolve.fd : -1, .events = POLLIN};
		watch->busy = watch->busy || used;
	}
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++) {
		const struct transaction *transaction = &race->attempts[i].transaction;
		bool used = race->attempts[i].used;
		watch->fds[watch->count++] =
			(struct pollfd){.fd = used ? transaction_fd(transaction) : -1,
				.events = used ? transaction_events(transaction) : 0};
		if (used && transaction->due < watch->due)
			watch->due = transaction->due;
		watch->busy = watch->busy || used;
	}
}

static void advance_all(struct race *race, const struct watch *watch, uint64_t now)
{
	for (size_t i = 0; i < PROBE_REFLECTOR_MAX; i++) {
		if (race->lanes[i].state != LANE_RESOLVING || watch->fds[i].revents == 0)
			continue;
		resolve_advance(&race->lanes[i].resolve);
		take_lookup(race, i);
		if (race->lanes[i].state != LANE_RESOLVING)
			start_next(race, now);
	}
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++) {
		struct attempt *attempt = &race->attempts[i];
		short happened = watch->fds[PROBE_REFLECTOR_MAX + i].revents;
		if (attempt->used && (happened != 0 || attempt->transaction.due <= now))
			transaction_advance(&attempt->transaction, now);
	}
}

static int poll_timeout(uint64_t now, uint64_t due)
{
	if (due <= now)
		return 0;
	return due - now > 60000 ? 60000 : (int)(due - now);
}

static void note_silence(struct race *race, size_t lane, const char *before, const char *after)
{
	struct error error;
	char name[300];

	name_reflector(&race->request->reflectors[lane], name, sizeof(name));
	error_set(&error, EXIT_STATUS_NETWORK, "%s %s%s within %g s", before, name, after,
		(double)race->request->timeout_ms / 1000);
	note_error(race, &error);
}

/* The time is up: says so of everything that was still under way. */
static void note_timeout(struct race *race)
{
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++) {
		const struct attempt *attempt = &race->attempts[i];
		if (!attempt->used)
			continue;
		/* What it waits for, or a datagram that came and was no answer. */
		if (attempt->transaction.error.text[0] != '\0')
			note_error(race, &attempt->transaction.error);
		else
			note_silence(race, attempt->lane, "no answer from", "");
	}
	for (size_t i = 0; i < PROBE_REFLECTOR_MAX; i++)
		if (race->lanes[i].state == LANE_RESOLVING)
			note_silence(race, i, "cannot look up", ": no answer from a name server");
}

static void run_race(struct race *race)
{
	uint64_t now = clock_now_ms();
	struct watch watch;

	start_next(race, now);
	while (!take_attempts(race, now)) {
		build_watch(race, &watch);
		if (!watch.busy && !start_next(race, now))
			return;
		if (!watch.busy)
			continue;
		poll(watch.fds, (nfds_t)watch.count, poll_timeout(now, watch.due));
		now = clock_now_ms();
		if (now >= race->deadline) {
			note_timeout(race);
			return;
		}
		advance_all(race, &watch, now);
		if (now >= race->stagger_due)
			start_next(race, now);
	}
}

static void end_race(struct race *race)
{
	for (size_t i = 0; i < PROBE_REFLECTOR_MAX; i++)
		if (race->lanes[i].state != LANE_IDLE)
			resolve_end(&race->lanes[i].resolve);
	for (size_t i = 0; i < PROBE_ATTEMPT_MAX; i++)
		if (race->attempts[i].used && &race->attempts[i] != race->winner)
			transaction_end(&race->attempts[i].transaction);
}

static void fill_result(const struct race *race, struct probe_result *result)
{
	const struct attempt *winner = race->winner;
	struct mapping *mapping = &result->mapping;

	memset(mapping, 0, sizeof(*mapping));
	result->winner = winner->transaction;
	mapping->public_addr = winner->transaction.answer.mapped;
	mapping->local = winner->transaction.local;
	mapping->protocol = race->request->protocol;
	name_reflector(&race->request->reflectors[winner->lane], mapping->reflector,
		sizeof(mapping->reflector));
	snprintf(mapping->method, sizeof(mapping->method), "%s",
		winner->transaction.port.method->name);
	result->no_nat = socket_is_local_ip(&mapping->public_addr);
}

int probe_run(const struct probe_request *request, struct probe_result *result, struct error *error)
{
	struct race *race = calloc(1, sizeof(*race));
	int status = -1;

	if (race == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "out of memory");
	race->request = request;
	race->mode = socket_can_forget() ? BINDING_MODE_FORGET : BINDING_MODE_CLOSE;
	race->deadline = clock_now_ms() + request->timeout_ms;
	run_race(race);
	if (race->winner != NULL) {
		fill_result(race, result);
		status = 0;
	} else {
		*error = race->error;
	}
	end_race(race);
	free(race);
	return status;
}

void probe_finish(struct probe_result *result)
{
	transaction_end(&result->winner);
}
