/*
 * A lane is a reflector: first its name is looked up, then its addresses are tried one after
 * another. An attempt is a transaction with one address. Lanes start attempts; the run ends with
 * the first answer, or when no lane has an address left and no attempt is under way. All state is
 * in one struct of fixed size; only the one poll() blocks.
 *
 * If a probe -k holds the connection that an attempt needs, the reflector is asked from any port
 * (`aside`) where else it listens (OTHER-ADDRESS, RFC 5780 7.4), and that port of the same address
 * is tried as well.
 */
#include "natpunch/client/mapping_race.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define UDP_HINT_MS 1000

enum lane_state {
	LANE_IDLE,
	LANE_RESOLVING,
	LANE_TRYING, /* addresses may be left */
	LANE_DONE,
};

struct lane {
	enum lane_state state;
	struct resolve resolve;
	size_t next;      /* address to try next */
	uint32_t is_done; /* bit N: target N of the look-up has answered, and was taken */
	bool asked_aside;
};

struct attempt {
	bool used;
	size_t lane;
	uint8_t target; /* of the lane's look-up */
	bool put_off;   /* answered with an address that is doubtful: the next is asked */
	bool aside;     /* from any port */
	struct binding_client transaction;
};

struct mapping_race {
	const struct mapping_race_request *request;
	const struct borrow_method *method; /* the request's, or the first that could */
	uint64_t deadline;
	uint64_t stagger_due;
	struct lane lanes[MAPPING_RACE_REFLECTOR_MAX];
	struct attempt attempts[MAPPING_RACE_ATTEMPT_MAX];
	struct error error;
	bool has_error;
	bool cannot;
	bool decided; /* there is a winner, or nothing will mend the error */
	struct attempt *winner;
	bool differs;
};

void mapping_race_name_reflector(const struct host_port *reflector, char *out, size_t size)
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

static void note_error(struct mapping_race *race, const struct error *error)
{
	log_detail("%s", error->text);
	if (race->has_error && error_rank(error->status) <= error_rank(race->error.status))
		return;
	race->error = *error;
	race->has_error = true;
}

/* With look_up_both: leaves the addresses of the family. */
static void drop_others(const struct mapping_race *race, struct resolve *resolve)
{
	size_t count = 0;

	if (!race->request->look_up_both || resolve->count == 0)
		return;
	for (size_t i = 0; i < resolve->count; i++)
		if (resolve->found[i].family == race->request->family) {
			resolve->targets[count] = resolve->targets[i];
			resolve->found[count++] = resolve->found[i];
		}
	resolve->count = count;
	error_set(&resolve->error, EXIT_STATUS_NETWORK, "it has no IPv%d address",
		(int)race->request->family);
}

/* Notes how a look-up ended. */
static void take_lookup(struct mapping_race *race, size_t index)
{
	struct lane *lane = &race->lanes[index];
	struct error error;

	if (!lane->resolve.done)
		return;
	drop_others(race, &lane->resolve);
	lane->state = LANE_TRYING;
	if (lane->resolve.count > 0)
		return;
	error_set(&error, lane->resolve.error.status, "cannot look up %s: %s",
		race->request->reflectors[index].host, lane->resolve.error.text);
	socket_hint_offline(&error);
	note_error(race, &error);
	lane->state = LANE_DONE;
}

static struct attempt *free_attempt(struct mapping_race *race)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++)
		if (!race->attempts[i].used)
			return &race->attempts[i];
	return NULL;
}

/* Does an attempt that is under way speak from the port by datagrams? */
static bool shares_port(const struct mapping_race *race)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		const struct attempt *attempt = &race->attempts[i];

		if (attempt->used && attempt->transaction.port.fd >= 0 &&
			attempt->transaction.port.kind == BORROW_DATAGRAM)
			return true;
	}
	return false;
}

/* To the next address of a target that was not taken. */
static void pass_over_done(struct lane *lane)
{
	while (lane->next < lane->resolve.count &&
		(lane->is_done >> lane->resolve.targets[lane->next] & 1) != 0)
		lane->next++;
	if (lane->next == lane->resolve.count)
		lane->state = LANE_DONE;
}

static bool start_attempt(struct mapping_race *race, size_t index, uint64_t now)
{
	struct lane *lane = &race->lanes[index];
	struct attempt *attempt = free_attempt(race);
	struct borrow_request request = {
		.protocol = race->request->protocol,
		.local = race->request->local,
		.interface = race->request->interface,
		.owner = race->request->owner,
		.leave_free = race->request->leave_free,
		.shared = race->request->shared || shares_port(race),
	};

	if (attempt == NULL)
		return false;
	attempt->target = lane->resolve.targets[lane->next];
	request.remote = resolve_target(&lane->resolve, lane->next++);
	pass_over_done(lane);
	attempt->used = true;
	attempt->lane = index;
	attempt->put_off = attempt->aside = false;
	binding_client_start(&attempt->transaction, race->method, &request, race->request->mode,
		race->request->hold_seconds, now);
	if (attempt->transaction.port.fd >= 0)
		race->method = attempt->transaction.port.method;
	return true;
}

/*
 * Starts the next thing in order: a look-up, or an address of a lane that has one left. Returns
 * false when there is nothing to start.
 */
static bool start_next(struct mapping_race *race, uint64_t now)
{
	race->stagger_due = now + MAPPING_RACE_STAGGER_MS;
	for (size_t n = 0; n < race->request->reflector_count; n++) {
		size_t i = (race->request->first + n) % race->request->reflector_count;
		struct lane *lane = &race->lanes[i];
		if (lane->state == LANE_IDLE) {
			const struct host_port *reflector = &race->request->reflectors[i];
			resolve_start_reflector(&lane->resolve, race->request->resolver, reflector,
				race->request->look_up_both ? ADDR_NONE : race->request->family);
			lane->state = LANE_RESOLVING;
			take_lookup(race, i);
			if (lane->state == LANE_RESOLVING)
				return true;
		}
		if (lane->state == LANE_TRYING)
			return start_attempt(race, i, now);
	}
	race->stagger_due = TIMER_NONE;
	return false;
}

/*
 * With must_agree: an answer counts once another reflector reports the same address. Ports may
 * differ, because of the NAT's mapping; that is reported, and no sign of a lie.
 */
static bool is_confirmed(struct mapping_race *race, const struct attempt *attempt)
{
	const struct addr *mapped = &attempt->transaction.answer.mapped;

	if (!race->request->must_agree)
		return true;
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		const struct attempt *other = &race->attempts[i];
		if (!other->used || other->lane == attempt->lane ||
			other->transaction.state != BINDING_CLIENT_ANSWERED ||
			!addr_equal_ip(&other->transaction.answer.mapped, mapped))
			continue;
		race->differs = other->transaction.answer.mapped.port != mapped->port;
		return true;
	}
	return false;
}

/*
 * Does a server with a public address report an address of its own network, say of a proxy in front
 * of it? Another server may report the right one.
 */
static bool is_doubtful(const struct attempt *attempt)
{
	const struct addr *mapped = &attempt->transaction.answer.mapped;

	return addr_classify(&attempt->transaction.request.remote) == ADDR_CLASS_PUBLIC &&
	       addr_classify(mapped) != ADDR_CLASS_PUBLIC && !socket_is_local_ip(mapped);
}

/* The attempt is the winner; a doubtful one only when nobody says anything else. */
static void take_answer(struct mapping_race *race, struct attempt *attempt, uint64_t now)
{
	if (attempt->put_off)
		return;
	attempt->put_off = is_doubtful(attempt);
	if (attempt->put_off) {
		start_next(race, now);
		return;
	}
	race->winner = attempt;
	race->decided = true;
}

/*
 * Any other connection ends soon. A race that is to hold its connection does not go elsewhere
 * either: the one that was held before may be in the way for a while.
 */
static bool wants_aside(const struct mapping_race *race, const struct attempt *attempt)
{
	const struct port_owner *owner = race->request->owner;

	return attempt->transaction.state == BINDING_CLIENT_WAITING &&
	       race->request->mode != BINDING_MODE_HOLD && owner != NULL && owner->keeper != 0 &&
	       !race->lanes[attempt->lane].asked_aside;
}

static void ask_aside(struct mapping_race *race, const struct attempt *busy, uint64_t now)
{
	struct attempt *attempt = free_attempt(race);
	struct borrow_request request = busy->transaction.request;

	if (attempt == NULL)
		return;
	race->lanes[busy->lane].asked_aside = true;
	request.local.port = 0;
	attempt->used = attempt->aside = true;
	attempt->lane = busy->lane;
	attempt->target = busy->target;
	attempt->put_off = false;
	binding_client_start(
		&attempt->transaction, &borrow_method_bind, &request, BINDING_MODE_NONE, 0, now);
}

/* The new address may be the lane's last, or one of several that are left. */
static void take_aside(struct mapping_race *race, struct attempt *attempt, uint64_t now)
{
	struct binding_client *client = &attempt->transaction;
	struct lane *lane = &race->lanes[attempt->lane];
	const struct addr held = client->request.remote;
	const struct addr other = client->answer.other;
	bool answered = client->state == BINDING_CLIENT_ANSWERED;
	struct addr place = held;
	char held_text[ADDR_TEXT_SIZE];
	char text[ADDR_TEXT_SIZE];

	if (client->state < BINDING_CLIENT_ANSWERED)
		return;
	binding_client_end(client);
	attempt->used = false;
	if (!answered || other.family != held.family || other.port == 0 ||
		other.port == held.port || lane->resolve.count == RESOLVE_MAX)
		return;
	place.port = other.port;
	lane->resolve.targets[lane->resolve.count] = attempt->target;
	lane->resolve.found[lane->resolve.count++] = place;
	lane->state = LANE_TRYING;
	log_note("port %u already has a connection to %s; asking %s instead",
		race->request->local.port, addr_format(&held, held_text),
		addr_format(&place, text));
	start_attempt(race, attempt->lane, now);
}

static void take_attempt(struct mapping_race *race, struct attempt *attempt, uint64_t now)
{
	struct binding_client *transaction = &attempt->transaction;
	bool cannot = transaction->cannot;

	if (transaction->state == BINDING_CLIENT_ANSWERED) {
		if (is_confirmed(race, attempt))
			take_answer(race, attempt, now);
		return;
	}
	if (wants_aside(race, attempt))
		ask_aside(race, attempt, now);
	if (transaction->state != BINDING_CLIENT_FAILED)
		return;
	note_error(race, &transaction->error);
	binding_client_end(transaction);
	attempt->used = false;
	if (cannot) {
		race->error = transaction->error;
		race->cannot = true;
		race->decided = true;
		return;
	}
	start_next(race, now);
}

static bool take_attempts(struct mapping_race *race, uint64_t now)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX && !race->decided; i++)
		if (race->attempts[i].used && race->attempts[i].aside)
			take_aside(race, &race->attempts[i], now);
		else if (race->attempts[i].used)
			take_attempt(race, &race->attempts[i], now);
	return race->decided;
}

/* Is a look-up or a question still under way? */
static bool is_busy(const struct mapping_race *race)
{
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (race->lanes[i].state == LANE_RESOLVING)
			return true;
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++)
		if (race->attempts[i].used &&
			race->attempts[i].transaction.state < BINDING_CLIENT_ANSWERED)
			return true;
	return false;
}

uint64_t mapping_race_watch(
	const struct mapping_race *race, struct pollfd fds[MAPPING_RACE_WATCH_MAX])
{
	uint64_t due = race->deadline < race->stagger_due ? race->deadline : race->stagger_due;

	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++) {
		bool used = race->lanes[i].state == LANE_RESOLVING;
		fds[i] = (struct pollfd){
			.fd = used ? race->lanes[i].resolve.fd : -1, .events = POLLIN};
	}
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		const struct binding_client *transaction = &race->attempts[i].transaction;
		bool used = race->attempts[i].used && transaction->state < BINDING_CLIENT_ANSWERED;
		fds[MAPPING_RACE_REFLECTOR_MAX + i] =
			(struct pollfd){.fd = used ? binding_client_fd(transaction) : -1,
				.events = binding_client_events(transaction)};
		if (used && transaction->due < due)
			due = transaction->due;
	}
	return due;
}

static void advance_all(struct mapping_race *race, const struct pollfd *fds, uint64_t now)
{
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++) {
		if (race->lanes[i].state != LANE_RESOLVING || fds == NULL || fds[i].revents == 0)
			continue;
		resolve_advance(&race->lanes[i].resolve);
		take_lookup(race, i);
		if (race->lanes[i].state != LANE_RESOLVING)
			start_next(race, now);
	}
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		struct attempt *attempt = &race->attempts[i];
		bool happened = fds != NULL && fds[MAPPING_RACE_REFLECTOR_MAX + i].revents != 0;
		if (attempt->used && (happened || attempt->transaction.due <= now))
			binding_client_advance(&attempt->transaction, now);
	}
}

/* With -b and without -I: packets with an uplink's address may leave by another uplink. */
static void hint_at_interface(
	const struct mapping_race *race, const struct addr *remote, struct error *error)
{
	const struct addr *local = &race->request->local;
	char own[SOCKET_INTERFACE_SIZE];
	char way[SOCKET_INTERFACE_SIZE];
	char ip[ADDR_IP_TEXT_SIZE];
	struct addr source;

	if (local->family == ADDR_NONE || race->request->interface != NULL ||
		socket_source_for(remote, &source) != 0 || socket_interface_of(local, own) != 0 ||
		socket_interface_of(&source, way) != 0 || strcmp(own, way) == 0)
		return;
	error_hint(error, "%s is an address of %s, and the way there is by %s: add -I %s",
		addr_format_ip(local, ip), own, way, own);
}

/* `remote`: an address that was asked, or NULL: it was looked up. */
static void note_silence(struct mapping_race *race, size_t lane, const struct addr *remote)
{
	const char *before = remote != NULL ? "no answer from" : "cannot look up";
	const char *after = remote != NULL ? "" : ": no answer from a name server";
	struct error error;
	char name[300];

	mapping_race_name_reflector(&race->request->reflectors[lane], name, sizeof(name));
	error_set(&error, EXIT_STATUS_NETWORK, "%s %s%s within %g s", before, name, after,
		(double)race->request->timeout_ms / 1000);
	if (remote != NULL)
		hint_at_interface(race, remote, &error);
	note_error(race, &error);
}

/* The time is up: notes that for all that was still under way. */
static void note_timeout(struct mapping_race *race)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		const struct attempt *attempt = &race->attempts[i];
		if (!attempt->used || attempt->aside)
			continue;
		/* What it waits for, or a datagram that came and was no answer. */
		if (attempt->transaction.error.text[0] != '\0')
			note_error(race, &attempt->transaction.error);
		else
			note_silence(race, attempt->lane, &attempt->transaction.request.remote);
	}
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (race->lanes[i].state == LANE_RESOLVING)
			note_silence(race, i, NULL);
}

/* With must_agree, when nothing more will come: notes which server reported which address. */
static void note_disagreement(struct mapping_race *race)
{
	char said[2][300] = {"", ""};
	size_t count = 0;
	struct error error;

	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX && count < 2; i++) {
		const struct attempt *attempt = &race->attempts[i];
		char ip[ADDR_IP_TEXT_SIZE];
		if (!attempt->used || attempt->transaction.state != BINDING_CLIENT_ANSWERED)
			continue;
		addr_format_ip(&attempt->transaction.answer.mapped, ip);
		snprintf(said[count++], sizeof(said[0]), "%.200s says %s",
			race->request->reflectors[attempt->lane].host, ip);
	}
	if (count == 0)
		return;
	error_set(&error, EXIT_STATUS_NETWORK, "%s: %s%s%s",
		count == 2 ? "the servers disagree" : "no second server confirms it", said[0],
		count == 2 ? ", " : "", said[1]);
	error_hint(&error, "name a reflector that you trust with -r");
	race->error = error;
	race->has_error = true;
}

static enum mapping_race_state finish(struct mapping_race *race)
{
	race->decided = true;
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX && race->winner == NULL; i++)
		if (race->attempts[i].used && race->attempts[i].put_off)
			race->winner = &race->attempts[i];
	if (race->winner != NULL)
		return MAPPING_RACE_MAPPED;
	note_disagreement(race);
	return MAPPING_RACE_FAILED;
}

struct mapping_race *mapping_race_start(const struct mapping_race_request *request, uint64_t now)
{
	struct mapping_race *race = calloc(1, sizeof(*race));

	if (race == NULL)
		return NULL;
	race->request = request;
	race->method = request->method;
	race->deadline = now + request->timeout_ms;
	start_next(race, now);
	/* A second answer is always needed, so two servers are asked at once. */
	if (request->must_agree)
		start_next(race, now);
	return race;
}

enum mapping_race_state mapping_race_advance(
	struct mapping_race *race, const struct pollfd *fds, uint64_t now)
{
	if (race->decided)
		return finish(race);
	advance_all(race, fds, now);
	if (take_attempts(race, now))
		return finish(race);
	if (now >= race->deadline) {
		note_timeout(race);
		return finish(race);
	}
	if (now >= race->stagger_due || !is_busy(race)) {
		/* An attempt that fails at once makes room for the next, until one is under way. */
		while (start_next(race, now) && !take_attempts(race, now) && !is_busy(race))
			;
		if (race->decided || !is_busy(race))
			return finish(race);
	}
	return MAPPING_RACE_RUNNING;
}

/* One of several of an SRV record is named by its address: the domain would not say which. */
static void name_winner(
	const struct mapping_race *race, const struct attempt *winner, struct mapping *mapping)
{
	char text[ADDR_TEXT_SIZE];

	if (race->lanes[winner->lane].resolve.by_service)
		snprintf(mapping->reflector, sizeof(mapping->reflector), "%s",
			addr_format(&winner->transaction.request.remote, text));
	else
		mapping_race_name_reflector(&race->request->reflectors[winner->lane],
			mapping->reflector, sizeof(mapping->reflector));
}

void mapping_race_take(struct mapping_race *race, struct mapping_race_result *result)
{
	struct attempt *winner = race->winner;
	struct mapping *mapping = &result->mapping;
	bool own;

	memset(result, 0, sizeof(*result));
	result->winner = winner->transaction;
	winner->used = false;
	race->lanes[winner->lane].is_done |= (uint32_t)1 << winner->target;
	result->reflector = winner->lane;
	result->by_service = race->lanes[winner->lane].resolve.by_service;
	result->differs = race->differs;
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		result->contacted[i] = race->lanes[i].next > 0;
	mapping->public_addr = result->winner.answer.mapped;
	mapping->local = result->winner.local;
	mapping->protocol = race->request->protocol;
	name_winner(race, winner, mapping);
	snprintf(mapping->method, sizeof(mapping->method), "%s", result->winner.port.method->name);
	own = socket_is_local_ip(&mapping->public_addr);
	result->no_nat = own && mapping->public_addr.port == mapping->local.port;
	result->nat_here = own && !result->no_nat;
}

void mapping_race_go_on(struct mapping_race *race, uint64_t deadline, uint64_t now)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		struct attempt *attempt = &race->attempts[i];

		if (!attempt->used ||
			(race->lanes[attempt->lane].is_done >> attempt->target & 1) == 0)
			continue;
		binding_client_end(&attempt->transaction);
		attempt->used = false;
	}
	for (size_t i = 0; i < race->request->reflector_count; i++)
		if (race->lanes[i].state == LANE_TRYING)
			pass_over_done(&race->lanes[i]);
	race->decided = false;
	race->winner = NULL;
	race->deadline = deadline;
	start_next(race, now);
}

const struct error *mapping_race_error(const struct mapping_race *race)
{
	return &race->error;
}

bool mapping_race_spoke(const struct mapping_race *race)
{
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (race->lanes[i].next > 0)
			return true;
	return false;
}

bool mapping_race_cannot(const struct mapping_race *race)
{
	return race->cannot;
}

bool mapping_race_is_silent(const struct mapping_race *race, const struct addr *remote)
{
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++) {
		const struct attempt *attempt = &race->attempts[i];
		enum binding_client_state state = attempt->transaction.state;

		if (attempt->used && !attempt->aside && state < BINDING_CLIENT_ANSWERED &&
			state != BINDING_CLIENT_WAITING &&
			addr_equal(&attempt->transaction.request.remote, remote))
			return true;
	}
	return false;
}

void mapping_race_end(struct mapping_race *race)
{
	if (race == NULL)
		return;
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (race->lanes[i].state != LANE_IDLE)
			resolve_end(&race->lanes[i].resolve);
	for (size_t i = 0; i < MAPPING_RACE_ATTEMPT_MAX; i++)
		if (race->attempts[i].used)
			binding_client_end(&race->attempts[i].transaction);
	free(race);
}

enum mapping_race_state mapping_race_wait(struct mapping_race *race)
{
	uint64_t now = clock_now_ms();
	enum mapping_race_state state = mapping_race_advance(race, NULL, now);

	while (state == MAPPING_RACE_RUNNING) {
		struct pollfd fds[MAPPING_RACE_WATCH_MAX];
		uint64_t due = mapping_race_watch(race, fds);
		poll(fds, MAPPING_RACE_WATCH_MAX, clock_poll_ms(now, due));
		now = clock_now_ms();
		state = mapping_race_advance(race, fds, now);
	}
	return state;
}

int mapping_race_run(const struct mapping_race_request *request, struct mapping_race_result *result,
	struct error *error)
{
	struct mapping_race *race = mapping_race_start(request, clock_now_ms());
	enum mapping_race_state state;

	memset(result, 0, sizeof(*result));
	if (race == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory");
	state = mapping_race_wait(race);
	if (state == MAPPING_RACE_MAPPED)
		mapping_race_take(race, result);
	else
		*error = *mapping_race_error(race);
	result->spoke = mapping_race_spoke(race);
	result->cannot = mapping_race_cannot(race);
	mapping_race_end(race);
	return state == MAPPING_RACE_MAPPED ? 0 : -1;
}

void mapping_race_hint_at_udp(
	const struct mapping_race_request *request, uint64_t deadline, struct error *error)
{
	struct mapping_race_request datagrams = *request;
	uint64_t now = clock_now_ms();
	struct mapping_race_result result;
	struct error ignored;

	if (request->protocol != MAPPING_TCP || error->status != EXIT_STATUS_NETWORK ||
		error->hint[0] != '\0' || now >= deadline)
		return;
	datagrams.protocol = MAPPING_UDP;
	datagrams.method = &borrow_method_bind;
	datagrams.local.port = 0;
	datagrams.must_agree = false;
	datagrams.timeout_ms = deadline - now < UDP_HINT_MS ? deadline - now : UDP_HINT_MS;
	if (mapping_race_run(&datagrams, &result, &ignored) != 0)
		return;
	binding_client_end(&result.winner);
	error_hint(error, "%s answers over UDP: for a TCP port ask another server (-r)",
		result.mapping.reflector);
}
