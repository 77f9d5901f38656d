/*
 * How a mapping is kept: found, held, watched, found again.
 *
 * A race over all reflectors (mapping_race.h) finds the mapping; its winner becomes the held
 * connection (held.c), whose keep-alives show what the mapping is. With `verify` it is dialled from
 * outside (verification.c) before it is reported. With a name, connections to the other reflectors
 * stand by (standby.c). Initiators whose invitation comes over any of these connections go to the
 * responder (responder.c).
 *
 * States of the mapping, and what report() tells of each (hook.h):
 *
 *   UNREPORTED  --seen, or verified-->  UP           HOOK_UP
 *   UP          --another one-->        UP           HOOK_CHANGE
 *   any         --strangers kept out--> UNREACHABLE  HOOK_UNREACHABLE, with `verify` alone
 *   UNREACHABLE --strangers get in-->   UP           HOOK_UP
 *   UP, UNREACHABLE --down_due, end-->  DOWN         HOOK_DOWN
 *   DOWN        --seen, or verified-->  UP           HOOK_UP
 *
 * Beside it there is a held connection or none, and a race or none. A race either replaces what is
 * held, or compares: its winner is a second opinion, once, and is ended. With those that stand by,
 * there is no race that compares.
 *
 * Events:
 *   race won               it becomes the held connection; its method is tried alone from now on.
 *   race lost              another one after the backoff, by any method.
 *   silence after silence  a reflector that was left without a packet answers at its other port
 *                          alone: connections are closed in order from now on.
 *   HELD_ANSWERED          the mapping was seen: confirm().
 *   HELD_LOST              another race: at once, or after the backoff when it stood for less than
 *                          STOOD_MIN_MS. The lifetime of a stranger's connections is learnt.
 *   HELD_SILENT            another race at once; of a single reflector, from now on, at two ports.
 *   HELD_ENDING            another race at once, while the connection is still there.
 *   one that stands by     it becomes the held connection, where there is none or another one is
 *   answers                looked for, or where the held one's reflector has moved. Whenever a race
 *                          begins to replace what is held, each is asked, so that the first answer
 *                          of all wins. The first one's mapping is the second opinion.
 *   network changed        a keep-alive at once, or with another local address another race.
 *   another public address the router is asked at once whether it forwards still (lease.c).
 *   the router forwards anew, or no more: it is dialled again.
 *   verdict                it is reported; one that is not there leaves things as they are. Where
 *                          strangers do not get in and the router forwards, others are dialled
 *                          first (trial.c), and one that does becomes what is kept.
 *
 * Timers, here (those of the parts are in their files):
 *   race_due      the backoff is over.
 *   down_due      DOWN_MS, and three intervals, after the mapping was seen last.
 *
 * The interval is learnt: where a mapping was lost while nothing was sent, and the new one differs
 * in its port alone, the NAT forgot it; the interval is halved, down to INTERVAL_MIN_MS.
 *
 * Two families. Each has an upkeep of its own, and knows the other one only to be quiet beside it:
 * a family that never had a mapping is looked for less and less often, down to once in
 * ABSENT_MAX_MS, and without a word, while the other one has one. The network's change has it
 * looked for at once.
 *
 * Invariants: what works is never given up because one reflector failed (it is ended without a
 * packet, which leaves the NAT's entry as it is, and other reflectors are asked first); each
 * mapping is reported once; there is one race at most.
 */
#include "home/upkeep.h"

#include <stdio.h>
#include <string.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/stun.h"
#include "natpunch/os/socket_linux.h"

#define INTERVAL_MIN_MS  5000 /* what learning never goes below; -i may */
#define STOOD_MIN_MS     2000 /* a connection that was lost sooner counts as one that failed */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   60000
#define DOWN_MS          180000
#define ABSENT_MAX_MS    600000
#define DOUBLINGS_MAX    11

/* What is not asked for is not missed: a family that this host, or the reflector, does not have. */
static bool is_absent(const struct upkeep *upkeep)
{
	const struct upkeep *other = upkeep->other;

	return other != NULL && !upkeep->has_known && !upkeep->refused &&
	       (other->has_known || (other->spoke && !upkeep->spoke));
}

static uint64_t backoff_ms(const struct upkeep *upkeep, unsigned failures)
{
	unsigned doublings = failures < DOUBLINGS_MAX ? failures : DOUBLINGS_MAX;
	uint64_t most = timers_earlier(upkeep->held.interval_ms, BACKOFF_MAX_MS);

	if (is_absent(upkeep))
		most = ABSENT_MAX_MS;
	return timers_with_jitter(timers_earlier((uint64_t)BACKOFF_FIRST_MS << doublings, most));
}

/* ---- reporting ---------------------------------------------------------------------------- */

static bool is_reported(const struct upkeep *upkeep)
{
	return upkeep->state == UPKEEP_UP || upkeep->state == UPKEEP_UNREACHABLE;
}

static void note_state(struct upkeep *upkeep)
{
	const struct keep_config *config = upkeep->config;
	char text[ADDR_TEXT_SIZE];
	size_t used;

	standby_count(&upkeep->standby, &upkeep->known_at, &upkeep->known_of);
	snprintf(upkeep->status, sizeof(upkeep->status),
		upkeep->state == UPKEEP_UNREACHABLE ? "not reachable from elsewhere as %s"
		: upkeep->state != UPKEEP_UP        ? "no answer; last seen as %s"
		: config->verify                    ? "reachable as %s"
						    : "kept as %s, not verified (-V)",
		addr_format(&upkeep->known.mapping.public_addr, text));
	used = strlen(upkeep->status);
	if (upkeep->known_of > 1 && upkeep->state != UPKEEP_DOWN)
		snprintf(upkeep->status + used, sizeof(upkeep->status) - used,
			"; %s is registered at %zu of %zu reflectors", config->key->name,
			upkeep->known_at, upkeep->known_of);
}

static void report(struct upkeep *upkeep, enum hook_event event)
{
	upkeep->state = event == HOOK_DOWN          ? UPKEEP_DOWN
			: event == HOOK_UNREACHABLE ? UPKEEP_UNREACHABLE
						    : UPKEEP_UP;
	upkeep->config->report(upkeep->config->context, event, &upkeep->known);
	note_state(upkeep);
}

static void report_down(struct upkeep *upkeep)
{
	if (!is_reported(upkeep))
		return;
	verification_forget(&upkeep->verification);
	report(upkeep, HOOK_DOWN);
}

/* ---- the mapping -------------------------------------------------------------------------- */

/* A mapping that changed its port while nothing was sent was forgotten by the NAT: ask sooner. */
static void learn_interval(struct upkeep *upkeep, const struct mapping *mapping, uint64_t now)
{
	const struct mapping *before = &upkeep->known.mapping;
	uint64_t interval_ms = upkeep->held.interval_ms / 2;

	if (!upkeep->lost_while_idle ||
		!addr_equal_ip(&before->public_addr, &mapping->public_addr) ||
		!addr_equal_ip(&before->local, &mapping->local) ||
		upkeep->held.interval_ms <= INTERVAL_MIN_MS)
		return;
	if (interval_ms < INTERVAL_MIN_MS)
		interval_ms = INTERVAL_MIN_MS;
	held_set_interval(&upkeep->held, interval_ms, now);
	log_detail("the mapping was lost while idle: keep-alives every %g s from now on",
		(double)interval_ms / 1000);
}

/* By the reflector that saw it, over `binding`. */
static void dial(struct upkeep *upkeep, const struct mapping *mapping,
	const struct binding_client *binding, size_t reflector, uint64_t now)
{
	verification_start(&upkeep->verification, mapping, &binding->request.remote,
		upkeep->probe->reflector_count > 1 ? reflector : 0, now);
}

static void verify(struct upkeep *upkeep, uint64_t now)
{
	const struct held *held = &upkeep->held;

	trial_end(&upkeep->trial);
	verification_add_contacted(&upkeep->verification, upkeep->standby.contacted);
	if (held->open)
		dial(upkeep, &upkeep->known.mapping, &held->binding, held->reflector, now);
	else
		verification_postpone(&upkeep->verification, now);
}

/* The first of what the router may have made possible, as only what is dialled tells which it is.
 */
static void choose_candidate(struct upkeep *upkeep, const struct addr *seen)
{
	struct forward_search search;

	forward_search_begin(&search, seen);
	upkeep->candidate = FORWARD_SEEN;
	if (upkeep->config->verify)
		upkeep->candidate =
			forward_search_next(&search, &upkeep->lease.forward, upkeep->probe);
}

/* A mapping that is another one now, or is kept anew, is reported all the same. */
static void note_end_of_outage(struct upkeep *upkeep)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&upkeep->known.mapping.public_addr, text);
	log_note("there are answers again: %s is still the mapping", text);
	note_state(upkeep);
}

/* What was just seen is the mapping: of the port, or of what the router has to do with it. */
static void confirm(struct upkeep *upkeep, const struct mapping_race_result *seen, uint64_t now)
{
	uint64_t patience = 3 * upkeep->held.interval_ms;
	bool first = !upkeep->has_known;
	struct mapping_race_result told = *seen;
	bool same;

	if (first)
		choose_candidate(upkeep, &seen->mapping.public_addr);
	forward_search_tell(
		&upkeep->lease.forward, upkeep->candidate, upkeep->probe, &told.mapping);
	same = !first && mapping_equal(&upkeep->known.mapping, &told.mapping);
	upkeep->races_lost = 0;
	upkeep->refused = false;
	if (upkeep->warned && same)
		note_end_of_outage(upkeep);
	upkeep->warned = false;
	upkeep->down_due = now + (patience > DOWN_MS ? patience : DOWN_MS);
	/* One that is to be verified is reported when that is done. */
	if (same && (is_reported(upkeep) || upkeep->verification.due != TIMER_NONE)) {
		upkeep->lost_while_idle = false;
		return;
	}
	if (!first && !same)
		learn_interval(upkeep, &told.mapping, now);
	/* A router with another outer address may forward no more, and not say so. */
	if (!first && !addr_equal_ip(&upkeep->known.mapping.public_addr, &told.mapping.public_addr))
		lease_hurry(&upkeep->lease, now);
	upkeep->lost_while_idle = false;
	upkeep->known = told;
	upkeep->has_known = true;
	trial_forget(&upkeep->trial);
	if (upkeep->config->verify) {
		verify(upkeep, now);
		return;
	}
	report(upkeep, is_reported(upkeep) ? HOOK_CHANGE : HOOK_UP);
}

/* ---- races -------------------------------------------------------------------------------- */

/*
 * Another reflector than the held one, the most patient; an unknown patience counts as the best. Of
 * the ports of one and the same, the one that was asked last.
 */
static size_t next_reflector(const struct upkeep *upkeep)
{
	size_t count = upkeep->request.reflector_count;
	size_t best = (upkeep->held.reflector + 1) % count;

	if (upkeep->probe->reflector_count == 1)
		return upkeep->held.reflector;
	for (size_t n = 2; n < count; n++) {
		size_t i = (upkeep->held.reflector + n) % count;
		uint64_t lifetime = upkeep->lifetime_ms[i];
		if (upkeep->lifetime_ms[best] != 0 &&
			(lifetime == 0 || lifetime > upkeep->lifetime_ms[best]))
			best = i;
	}
	return best;
}

/*
 * A router that has lost its address may hold on to the state of it: then no answer comes any more
 * from where we asked, however often we do, as each packet keeps that state alive. Another port of
 * the reflector is another flow, which the router maps anew. A server that does not have it costs
 * nothing.
 */
static void add_spare_port(struct upkeep *upkeep)
{
	const struct mapping_race_request *probe = upkeep->probe;

	if (probe->reflector_count != 1 || upkeep->request.reflector_count == 2)
		return;
	upkeep->ports[0] = upkeep->ports[1] = probe->reflectors[0];
	upkeep->ports[1].port = STUN_SPARE_PORT(upkeep->ports[0].port);
	upkeep->ports[1].port_named = true;
	upkeep->request.reflectors = upkeep->ports;
	upkeep->request.reflector_count = 2;
}

static void start_race(struct upkeep *upkeep, enum upkeep_purpose purpose, uint64_t now)
{
	if (upkeep->race != NULL)
		return;
	upkeep->race_due = TIMER_NONE;
	upkeep->purpose = purpose;
	upkeep->request.first = upkeep->has_known ? next_reflector(upkeep) : 0;
	/* Once two strangers agreed on an address, one is enough to see whether it still holds. */
	upkeep->request.must_agree = upkeep->probe->must_agree && !upkeep->has_known;
	upkeep->race = mapping_race_start(&upkeep->request, now);
	if (upkeep->race == NULL)
		upkeep->race_due = now + backoff_ms(upkeep, upkeep->races_lost);
	if (purpose == UPKEEP_REPLACE)
		standby_ask(&upkeep->standby, now);
}

static void abandon_race(struct upkeep *upkeep)
{
	mapping_race_end(upkeep->race);
	upkeep->race = NULL;
}

/* What is held is not to be trusted any more; look for a mapping after `wait` ms. */
static void begin_anew(struct upkeep *upkeep, uint64_t wait, uint64_t now)
{
	held_release(&upkeep->held);
	if (upkeep->race != NULL && upkeep->purpose == UPKEEP_COMPARE)
		abandon_race(upkeep);
	if (wait == 0)
		start_race(upkeep, UPKEEP_REPLACE, now);
	else if (upkeep->race == NULL)
		upkeep->race_due = now + wait;
	standby_ask(&upkeep->standby, now);
}

static void compare(struct upkeep *upkeep, const struct mapping_race_result *result)
{
	char one[ADDR_TEXT_SIZE];
	char other[ADDR_TEXT_SIZE];
	const struct mapping *known = &upkeep->known.mapping;
	const struct mapping *second = &result->mapping;

	if (mapping_equal(known, second))
		return;
	addr_format(&known->public_addr, one);
	addr_format(&second->public_addr, other);
	if (!addr_equal_ip(&known->public_addr, &second->public_addr))
		log_warning("the reflectors disagree: %s saw %s, %s saw %s; a proxy or a second "
			    "way out is on the path",
			known->reflector, one, second->reflector, other);
	else
		log_warning("%s saw %s, %s saw %s: the NAT's mapping depends on the destination, "
			    "so strangers will not get through",
			known->reflector, one, second->reflector, other);
}

/*
 * A NAT in user space (pasta) holds on to a connection that ends without a packet: from that port,
 * the reflector does not answer any more. It is that, and not a dead reflector or network, where
 * the same reflector answers at another port (`winner`).
 */
static bool bears_no_silence(const struct upkeep *upkeep, const struct addr *winner)
{
	const struct held *held = &upkeep->held;

	return !held->in_order && addr_equal_ip(winner, &held->released) &&
	       mapping_race_is_silent(upkeep->race, &held->released);
}

static void close_in_order(struct upkeep *upkeep)
{
	char text[ADDR_TEXT_SIZE];

	log_note("no answer from %s since a connection there was ended without a packet: they are "
		 "closed in order from now on",
		addr_format(&upkeep->held.released, text));
	upkeep->held.in_order = true;
}

static void take_winner(struct upkeep *upkeep, uint64_t now)
{
	struct mapping_race_result result;
	uint64_t lifetime_ms = 0;

	mapping_race_take(upkeep->race, &result);
	upkeep->spoke = true;
	if (bears_no_silence(upkeep, &result.winner.request.remote))
		close_in_order(upkeep);
	abandon_race(upkeep);
	verification_add_contacted(&upkeep->verification, result.contacted);
	if (upkeep->purpose == UPKEEP_COMPARE) {
		compare(upkeep, &result);
		binding_client_end(&result.winner);
		return;
	}
	/* What worked once is tried alone, until it does not. */
	upkeep->request.method = result.winner.port.method;
	/* With one reflector only, the pair of addresses is taken until the old one is gone. */
	if (upkeep->request.reflector_count > 1)
		lifetime_ms = upkeep->lifetime_ms[result.reflector];
	lease_set_remote(&upkeep->lease, &result.winner.request.remote, now);
	held_begin(&upkeep->held, &result, lifetime_ms, now);
	if (upkeep->config->key != NULL &&
		borrow_is_in_the_way(&upkeep->held.binding.port, &upkeep->held.binding.request))
		udp_responder_warn_deaf(&upkeep->udp_responder);
	confirm(upkeep, &result, now);
	/* To be verified with, the others must stay strangers; what they dial tells more. */
	if (!upkeep->compared && !upkeep->request.must_agree && !upkeep->config->verify &&
		upkeep->probe->reflector_count > 1 && !standby_serves(&upkeep->standby)) {
		upkeep->compared = true;
		start_race(upkeep, UPKEEP_COMPARE, now);
	}
}

/* The address of -b may come later, as a network does. */
static bool lacks_address(const struct upkeep *upkeep)
{
	const struct addr *local = &upkeep->probe->local;

	return local->family != ADDR_NONE && !socket_is_local_ip(local);
}

/*
 * What need not be said: the same twice; that a family is missing (IPv4 should not be); a refusal
 * that is to be the end; and of two families that have nobody to ask, IPv4 tells why, for both.
 * Nor is anything said before it is known what the first race of the other family comes to.
 */
static bool is_silent(const struct upkeep *upkeep)
{
	const struct upkeep *other = upkeep->other;
	bool is_ipv6 = upkeep->request.family == ADDR_IPV6;

	if (upkeep->warned || (upkeep->refused && other == NULL))
		return true;
	if (other == NULL || upkeep->has_known)
		return false;
	if (other->races_lost == 0 && !other->has_known)
		return true;
	if (is_absent(upkeep))
		return is_ipv6 || !upkeep->spoke;
	if (upkeep->refused)
		return upkeep_is_hopeless(other);
	return is_ipv6 && !upkeep->spoke;
}

static void tell_loss(struct upkeep *upkeep, const struct error *error)
{
	if (is_silent(upkeep)) {
		log_detail("%s; trying again", error->text);
		return;
	}
	if (upkeep->other != NULL)
		log_warning("IPv%d: %s; trying again", (int)upkeep->request.family, error->text);
	else
		log_warning("%s; trying again", error->text);
	if (!is_reported(upkeep))
		snprintf(upkeep->status, sizeof(upkeep->status), "no mapping: %.100s; trying again",
			error->text);
	upkeep->warned = true;
}

static void take_lost_race(struct upkeep *upkeep, uint64_t now)
{
	struct error error = *mapping_race_error(upkeep->race);
	enum upkeep_purpose purpose = upkeep->purpose;
	bool cannot = mapping_race_cannot(upkeep->race);

	upkeep->spoke = mapping_race_spoke(upkeep->race) && error.status != EXIT_STATUS_LOCAL;
	abandon_race(upkeep);
	verification_add_contacted(&upkeep->verification, NULL);
	if (purpose == UPKEEP_COMPARE)
		return;
	upkeep->request.method = upkeep->probe->method;
	if (!upkeep->has_known && cannot && !lacks_address(upkeep)) {
		upkeep->error = error;
		upkeep->refused = true;
	}
	tell_loss(upkeep, &error);
	upkeep->race_due = now + backoff_ms(upkeep, upkeep->races_lost);
	upkeep->races_lost++;
}

bool upkeep_is_hopeless(const struct upkeep *upkeep)
{
	return upkeep->refused || (!upkeep->has_known && !upkeep->spoke && upkeep->races_lost > 0);
}

static void advance_race(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	if (upkeep->race == NULL)
		return;
	switch (mapping_race_advance(upkeep->race, fds, now)) {
	case MAPPING_RACE_RUNNING:
		return;
	case MAPPING_RACE_MAPPED:
		take_winner(upkeep, now);
		return;
	case MAPPING_RACE_FAILED:
		take_lost_race(upkeep, now);
		return;
	}
}

/* ---- reachability ------------------------------------------------------------------------- */

/* Nothing else is to be tried. */
static void report_unreachable(struct upkeep *upkeep, uint64_t now)
{
	const struct error *why = &upkeep->trial.why;

	if (!verification_conclude(&upkeep->verification, &upkeep->known.mapping))
		return;
	log_warning("%s", why->text);
	log_note("%s", why->hint);
	report(upkeep, HOOK_UNREACHABLE);
	/* The router may have lost what it forwards, or somebody has taken it back. */
	lease_hurry(&upkeep->lease, now);
}

static void dial_trial(struct upkeep *upkeep, uint64_t now)
{
	const struct trial *trial = &upkeep->trial;
	const struct held *held = &upkeep->held;

	verification_add_contacted(&upkeep->verification, trial->result.contacted);
	if (trial->punched)
		dial(upkeep, &trial->mapping, &trial->result.winner, trial->result.reflector, now);
	else if (held->open)
		dial(upkeep, &trial->mapping, &held->binding, held->reflector, now);
	else
		verification_postpone(&upkeep->verification, now);
}

static void try_next(struct upkeep *upkeep, uint64_t now)
{
	struct mapping_race_result kept = upkeep->known;

	kept.mapping = upkeep->held.mapping;
	switch (trial_next(&upkeep->trial, &kept, upkeep->config->verify_open_ms, now)) {
	case TRIAL_RESTING:
		report_unreachable(upkeep, now);
		return;
	case TRIAL_RACING:
		verification_postpone(&upkeep->verification, now);
		return;
	case TRIAL_READY:
		dial_trial(upkeep, now);
		return;
	}
}

static void take_shut(struct upkeep *upkeep, uint64_t now)
{
	const struct reachability *reachability = &upkeep->verification.reachability;
	struct trial *trial = &upkeep->trial;
	const struct mapping *mapping = &upkeep->known.mapping;

	if (trial->state == TRIAL_READY) {
		try_next(upkeep, now);
		return;
	}
	forward_explain_shut(
		&upkeep->lease.forward, upkeep->probe, reachability, mapping, &trial->why);
	if (forward_search_goes_on(reachability) &&
		trial_begin(trial, &upkeep->request, upkeep->candidate, &mapping->public_addr, now))
		try_next(upkeep, now);
	else
		report_unreachable(upkeep, now);
}

/* A stranger got in by what was tried: that is the mapping from now on. */
static void keep_trial(struct upkeep *upkeep, uint64_t now)
{
	struct trial *trial = &upkeep->trial;

	if (trial->state != TRIAL_READY)
		return;
	upkeep->candidate = trial->candidate;
	upkeep->known = trial->result;
	upkeep->known.mapping = trial->mapping;
	if (!trial_take(trial))
		return;
	if (upkeep->race != NULL)
		abandon_race(upkeep);
	upkeep->race_due = TIMER_NONE;
	upkeep->request.local.port = trial->result.mapping.local.port;
	upkeep->request.method = trial->result.winner.port.method;
	held_begin(&upkeep->held, &trial->result, 0, now);
}

static void advance_trial(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	switch (trial_advance(&upkeep->trial, fds, now)) {
	case TRIAL_NOTHING:
		break;
	case TRIAL_FOUND:
		dial_trial(upkeep, now);
		break;
	case TRIAL_LOST:
		try_next(upkeep, now);
		break;
	}
}

static void advance_verification(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	switch (verification_advance(&upkeep->verification, fds, now)) {
	case VERIFICATION_NOTHING:
	case VERIFICATION_UNREACHABLE:
		break;
	case VERIFICATION_REACHABLE:
		keep_trial(upkeep, now);
		report(upkeep, upkeep->state == UPKEEP_UP ? HOOK_CHANGE : HOOK_UP);
		break;
	case VERIFICATION_SHUT:
		take_shut(upkeep, now);
		break;
	case VERIFICATION_IMPOSSIBLE:
		upkeep->error = upkeep->verification.error;
		upkeep->refused = true;
		if (upkeep->other != NULL)
			log_warning("%s", upkeep->error.text);
		break;
	}
}

/* ---- the held connection ------------------------------------------------------------------ */

static void meet_over_udp(struct upkeep *upkeep, const struct held *over,
	const struct invitation *invitation, uint64_t now)
{
	const struct binding_client *binding = &over->binding;
	const struct udp_responder_path path = {
		.local = binding->local,
		.reflector = binding->request.remote,
		.method = upkeep->probe->method,
		.interface = upkeep->request.interface,
		.one_port = upkeep->probe->shared,
		.key = upkeep->config->key,
	};

	udp_responder_meet(&upkeep->udp_responder, &path, &invitation->initiator, now);
}

static struct responder_path make_path(const struct upkeep *upkeep, const struct held *over)
{
	const struct binding_client *binding = &over->binding;

	return (struct responder_path){
		.local = binding->local,
		.method = upkeep->request.method,
		.relay = {.reflector = binding->request.remote,
			.local = upkeep->probe->local,
			.interface = upkeep->request.interface},
		.other = binding->answer.other,
		.registration = &over->registration,
	};
}

static void meet_over(
	void *context, const struct held *over, const struct invitation *invitation, uint64_t now)
{
	struct upkeep *upkeep = context;
	const struct responder_path path = make_path(upkeep, over);

	if (invitation->protocol == MAPPING_UDP)
		meet_over_udp(upkeep, over, invitation, now);
	else
		responder_meet(&upkeep->responder, &path, invitation, now);
}

static void meet_initiator(void *context, const struct invitation *invitation, uint64_t now)
{
	struct upkeep *upkeep = context;

	meet_over(upkeep, &upkeep->held, invitation, now);
}

/* Once for each mapping: where the port cannot be predicted, an initiator should know it. */
static void look_at_ports(struct upkeep *upkeep, uint64_t now)
{
	const struct held *held = &upkeep->held;
	const struct responder_path path = make_path(upkeep, held);
	bool random_ports;

	if (responder_take_look(&upkeep->responder, &random_ports)) {
		upkeep->facts.random_ports = random_ports;
		upkeep->looked = held->mapping;
		if (random_ports)
			log_detail("our ports cannot be predicted: telling the reflector");
	}
	if (held->open && registration_wants_look(&held->registration) &&
		!mapping_equal(&upkeep->looked, &held->mapping))
		responder_look(&upkeep->responder, &path, now);
}

/* Where strangers get in by another port than the mapping's, a look-up is to tell that one. */
static void note_proved(struct upkeep *upkeep)
{
	const struct addr *proved = &upkeep->known.mapping.public_addr;
	const struct addr *held = &upkeep->held.mapping.public_addr;
	bool other = upkeep->has_known && addr_equal_ip(proved, held) && proved->port != held->port;

	if (upkeep->held.open)
		upkeep->facts.proved = other ? *proved : (struct addr){.family = ADDR_NONE};
}

static void take_loss(struct upkeep *upkeep, const struct held_loss *loss, uint64_t now)
{
	uint64_t wait = 0;

	/*
	 * A server of a stranger has its own idea of how long a connection may last. Where it was
	 * asked from another port, as the NAT forgot the old one, it sends a RST.
	 */
	upkeep->lost_while_idle = loss->idle && (loss->promised || loss->reset);
	if (!loss->promised && !loss->idle)
		upkeep->lifetime_ms[loss->reflector] = loss->stood_ms;
	/* Who answers and closes at once would have us connect without a pause. */
	if (loss->stood_ms < STOOD_MIN_MS)
		wait = backoff_ms(upkeep, upkeep->short_lived++);
	else
		upkeep->short_lived = 0;
	begin_anew(upkeep, wait, now);
}

static void take_answer(struct upkeep *upkeep, uint64_t now)
{
	const struct mapping *mapping = &upkeep->held.mapping;
	struct mapping_race_result seen = upkeep->known;

	memcpy(seen.mapping.reflector, mapping->reflector, sizeof(seen.mapping.reflector));
	seen.mapping.public_addr = mapping->public_addr;
	seen.mapping.local = mapping->local;
	/* Without a connection (UDP, raw) it is the answer to the keep-alive that shows it. */
	upkeep->lost_while_idle = true;
	confirm(upkeep, &seen, now);
}

static void take_held_event(struct upkeep *upkeep, enum held_event event, uint64_t now)
{
	switch (event) {
	case HELD_NOTHING:
		return;
	case HELD_ANSWERED:
		take_answer(upkeep, now);
		return;
	case HELD_ENDING:
		start_race(upkeep, UPKEEP_REPLACE, now);
		return;
	case HELD_LOST:
		take_loss(upkeep, &upkeep->held.loss, now);
		return;
	case HELD_SILENT:
		upkeep->lost_while_idle = true;
		add_spare_port(upkeep);
		begin_anew(upkeep, 0, now);
		return;
	}
}

/* ---- those that stand by ------------------------------------------------------------------- */

/* To be verified with, the other reflectors must stay strangers until there is a verdict. */
static bool stands_by(const struct upkeep *upkeep)
{
	return !upkeep->config->verify || upkeep->verification.judged;
}

/* The mapping as this connection shows it. */
static struct mapping_race_result see(const struct upkeep *upkeep, const struct held *held)
{
	struct mapping_race_result seen = upkeep->known;

	seen.mapping = held->mapping;
	seen.no_nat = socket_is_local_ip(&held->mapping.public_addr) &&
		      held->mapping.public_addr.port == held->mapping.local.port;
	forward_note(&upkeep->lease.forward, &seen.mapping);
	return seen;
}

/* What one of them holds is what keeps the mapping from now on. */
static void change_over(struct upkeep *upkeep, struct held *to, uint64_t now)
{
	struct mapping_race_result seen = see(upkeep, to);

	if (upkeep->race != NULL)
		abandon_race(upkeep);
	upkeep->race_due = TIMER_NONE;
	log_detail("the mapping is kept by %s from now on", to->mapping.reflector);
	lease_set_remote(&upkeep->lease, &to->binding.request.remote, now);
	held_take_over(&upkeep->held, to, now);
	/* Where its port differs, no NAT has forgotten it: this reflector sees another one. */
	upkeep->lost_while_idle = false;
	confirm(upkeep, &seen, now);
}

static void take_second_opinion(struct upkeep *upkeep, const struct held *from)
{
	struct mapping_race_result seen = see(upkeep, from);

	upkeep->compared = true;
	compare(upkeep, &seen);
}

static void advance_standby(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	struct held *answered;
	struct held *successor;

	if (!stands_by(upkeep))
		return;
	answered = standby_advance(&upkeep->standby, fds, now);
	successor = standby_successor(&upkeep->standby);
	if (answered != NULL && upkeep->has_known &&
		(!upkeep->held.open || (upkeep->race != NULL && upkeep->purpose == UPKEEP_REPLACE)))
		change_over(upkeep, answered, now);
	else if (successor != NULL)
		change_over(upkeep, successor, now);
	else if (answered != NULL && !upkeep->compared && !upkeep->config->verify)
		take_second_opinion(upkeep, answered);
}

/* The service manager hears at how many reflectors the name is registered. */
static void note_registrations(struct upkeep *upkeep)
{
	size_t known_at, known_of;

	standby_count(&upkeep->standby, &known_at, &known_of);
	if ((known_at != upkeep->known_at || known_of != upkeep->known_of) && is_reported(upkeep))
		note_state(upkeep);
}

void upkeep_look_up(struct upkeep *upkeep, uint64_t now)
{
	standby_look_up(&upkeep->standby, now);
}

void upkeep_renew_name(struct upkeep *upkeep, uint64_t now)
{
	registration_renew(&upkeep->held.registration, now);
	standby_renew(&upkeep->standby, now);
}

/* ---- what happens ------------------------------------------------------------------------- */

/* What is kept is the local port again, whatever became of it. */
static void leave_trial(struct upkeep *upkeep)
{
	trial_forget(&upkeep->trial);
	upkeep->candidate = FORWARD_SEEN;
	upkeep->request.local.port = upkeep->probe->local.port;
}

/* What the router does is something else now: it may be it that lets strangers in. */
static void advance_lease(struct upkeep *upkeep, uint64_t now)
{
	bool was_punched = upkeep->candidate == FORWARD_PUNCH;
	struct mapping *known = &upkeep->known.mapping;

	if (!lease_advance(&upkeep->lease, now))
		return;
	leave_trial(upkeep);
	forward_note(&upkeep->lease.forward, known);
	if (!upkeep->has_known || !upkeep->config->verify)
		return;
	if (was_punched) {
		begin_anew(upkeep, 0, now);
	} else if (upkeep->held.open) {
		known->public_addr = upkeep->held.mapping.public_addr;
		choose_candidate(upkeep, &known->public_addr);
		forward_search_tell(
			&upkeep->lease.forward, upkeep->candidate, upkeep->probe, known);
	}
	verify(upkeep, now);
}

/* Does the held connection still leave from where it did? */
void upkeep_check_network(struct upkeep *upkeep, uint64_t now)
{
	struct addr source;

	lease_hurry(&upkeep->lease, now);
	standby_check_network(&upkeep->standby, now);
	if (!upkeep->held.open) {
		/* A race that began before the change may wait for what cannot come. */
		if (upkeep->race != NULL && upkeep->purpose == UPKEEP_REPLACE)
			abandon_race(upkeep);
		upkeep->races_lost = 0;
		start_race(upkeep, UPKEEP_REPLACE, now);
		return;
	}
	if (socket_source_for(&upkeep->held.binding.request.remote, &source) != 0) {
		log_detail("the network changed: no route to the reflector");
		return;
	}
	if (upkeep->probe->local.family == ADDR_NONE &&
		!addr_equal_ip(&source, &upkeep->held.binding.local)) {
		log_detail("the network changed: another local address");
		begin_anew(upkeep, 0, now);
		return;
	}
	log_detail("the network may have changed: asking at once");
	held_send_keepalive(&upkeep->held, now);
}

void upkeep_change_port(struct upkeep *upkeep, uint64_t now)
{
	leave_trial(upkeep);
	lease_change_port(&upkeep->lease, now);
	standby_restart(&upkeep->standby, now);
	if (upkeep->race != NULL)
		abandon_race(upkeep);
	begin_anew(upkeep, 0, now);
}

static void take_timers(struct upkeep *upkeep, uint64_t now)
{
	take_held_event(upkeep, held_expire(&upkeep->held, now), now);
	if (timers_take_due(&upkeep->race_due, now))
		start_race(upkeep, UPKEEP_REPLACE, now);
	if (timers_take_due(&upkeep->verification.due, now))
		verify(upkeep, now);
	if (timers_take_due(&upkeep->down_due, now))
		report_down(upkeep);
}

uint64_t upkeep_watch(const struct upkeep *upkeep, struct pollfd fds[UPKEEP_WATCH_MAX])
{
	uint64_t due = timers_earlier(upkeep->race_due, upkeep->down_due);

	due = timers_earlier(due, held_watch(&upkeep->held, fds + UPKEEP_WATCH_HELD));
	due = timers_earlier(
		due, responder_watch(&upkeep->responder, fds + UPKEEP_WATCH_RESPONDER));
	due = timers_earlier(
		due, udp_responder_watch(&upkeep->udp_responder, fds + UPKEEP_WATCH_UDP_RESPONDER));
	due = timers_earlier(
		due, verification_watch(&upkeep->verification, fds + UPKEEP_WATCH_VERIFICATION));
	due = timers_earlier(due, lease_watch(&upkeep->lease, fds + UPKEEP_WATCH_LEASE));
	due = timers_earlier(due, trial_watch(&upkeep->trial, fds + UPKEEP_WATCH_TRIAL));
	for (size_t i = UPKEEP_WATCH_STANDBY; i < UPKEEP_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (stands_by(upkeep))
		due = timers_earlier(
			due, standby_watch(&upkeep->standby, fds + UPKEEP_WATCH_STANDBY));
	if (upkeep->race != NULL)
		due = timers_earlier(
			due, mapping_race_watch(upkeep->race, fds + UPKEEP_WATCH_RACE));
	return due;
}

void upkeep_advance(struct upkeep *upkeep, const struct pollfd fds[UPKEEP_WATCH_MAX], uint64_t now)
{
	struct mapping_race *watched = upkeep->race;
	bool happened = fds[UPKEEP_WATCH_HELD].revents != 0;

	advance_trial(upkeep, fds + UPKEEP_WATCH_TRIAL, now);
	advance_verification(upkeep, fds + UPKEEP_WATCH_VERIFICATION, now);
	responder_advance(&upkeep->responder, fds + UPKEEP_WATCH_RESPONDER, now);
	udp_responder_advance(&upkeep->udp_responder, now);
	take_held_event(upkeep, held_advance(&upkeep->held, happened, now), now);
	take_timers(upkeep, now);
	look_at_ports(upkeep, now);
	note_proved(upkeep);
	/* Before a race: what took over has ended it. */
	advance_standby(upkeep, fds + UPKEEP_WATCH_STANDBY, now);
	advance_lease(upkeep, now);
	/* What poll() found belongs to the race that was running then. */
	advance_race(upkeep, upkeep->race == watched ? fds + UPKEEP_WATCH_RACE : NULL, now);
	note_registrations(upkeep);
}

void upkeep_init(struct upkeep *upkeep, const struct keep_config *config,
	const struct mapping_race_request *probe, const struct upkeep *other)
{
	memset(upkeep, 0, sizeof(*upkeep)); /* UPKEEP_UNREPORTED */
	upkeep->config = config;
	upkeep->probe = probe;
	upkeep->other = other;
	upkeep->request = *probe;
	upkeep->request.mode = BINDING_MODE_HOLD;
	upkeep->request.hold_seconds = (uint16_t)((config->interval_ms + 999) / 1000);
	upkeep->race_due = upkeep->down_due = TIMER_NONE;
	home_facts_init(&upkeep->facts);
	held_init(&upkeep->held, config->key, &upkeep->facts, config->interval_ms, meet_initiator,
		upkeep);
	standby_init(&upkeep->standby, config->key, probe, &upkeep->request, &upkeep->held,
		other == NULL || probe->family == ADDR_IPV4, meet_over, upkeep);
	verification_init(
		&upkeep->verification, probe, config->verify_open_ms, config->verify_again_ms);
	responder_init(&upkeep->responder, config->handover);
	udp_responder_init(&upkeep->udp_responder);
	lease_init(&upkeep->lease, config->forward, probe);
	trial_init(&upkeep->trial, probe, &upkeep->lease.forward);
}

void upkeep_start(struct upkeep *upkeep, uint64_t now)
{
	start_race(upkeep, UPKEEP_REPLACE, now);
	advance_race(upkeep, NULL, now);
}

void upkeep_end(struct upkeep *upkeep)
{
	abandon_race(upkeep);
	verification_end(&upkeep->verification);
	trial_end(&upkeep->trial);
	responder_end(&upkeep->responder);
	udp_responder_end(&upkeep->udp_responder);
	standby_end(&upkeep->standby);
	held_end(&upkeep->held);
	report_down(upkeep);
	/* Without a mapping, another probe may be what keeps the port, by the same forward. */
	lease_end(&upkeep->lease, upkeep->has_known);
}
