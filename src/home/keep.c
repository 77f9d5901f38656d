#include "natpunch/home/keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "home/registration.h"
#include "natpunch/os/netwatch.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/random.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "home/responder.h"
#include "home/verification.h"

#define RENEW_MIN_MS     2000 /* however impatient a stranger's server is */
#define STAND_MIN_MS     2000 /* a connection that was lost sooner counts as one that failed */
#define BACKOFF_FIRST_MS 500

enum race_purpose {
	RACE_REPLACE, /* its winner becomes the held one */
	RACE_COMPARE, /* a second opinion, once */
};

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct keeper {
	const struct keep_config *config;
	struct mapping_race_request request;
	struct netwatch watch;
	int signals;

	struct binding_client held;
	bool has_held;
	size_t held_reflector;
	char held_name[sizeof(((struct mapping *)0)->reflector)];
	uint64_t opened_at;

	struct mapping_race *race; /* or NULL */
	enum race_purpose purpose;
	unsigned failures; /* races lost in a row, */
	unsigned losses;   /* and connections that stood only for a moment */
	bool warned;
	bool compared;

	struct mapping_race_result
		known; /* the last mapping reported; its transaction is not used */
	bool has_known;
	bool up;

	struct verification verification; /* with `verify` */
	bool changed;                     /* the mapping did, since the last verdict */
	bool judged;                      /* there was a verdict, be it that there is none */
	bool doubted;                     /* said already that it cannot be told */
	bool shut;                        /* the last verdict: strangers do not get in */
	bool contacted[MAPPING_RACE_REFLECTOR_MAX];

	struct registration name;
	struct responder responder;

	uint64_t interval_ms;
	bool lost_while_idle;
	uint64_t lifetime_ms[MAPPING_RACE_REFLECTOR_MAX]; /* of a server's connections; 0: not known
							   */

	uint64_t ask_due;    /* the next keep-alive */
	uint64_t answer_due; /* an answer is waited for until then */
	uint64_t renew_due;  /* the server will close soon */
	uint64_t race_due;   /* backoff is over */
	uint64_t check_due;  /* the network changed and has settled */
	uint64_t down_due;
	uint64_t watchdog_due;

	bool stop;
	bool refused; /* this machine refuses: *error */
	struct error error;
};

/* ---- times -------------------------------------------------------------------------------- */

/* A little early and never twice alike, so that many homes do not ask in step. */
static uint64_t with_jitter(uint64_t ms)
{
	return ms - random_below((uint32_t)(ms / 10) + 1);
}

static uint64_t backoff_ms(const struct keeper *keeper, unsigned failures)
{
	unsigned doublings = failures < 8 ? failures : 8;
	uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings;

	if (ms > keeper->interval_ms)
		ms = keeper->interval_ms;
	return with_jitter(ms < KEEP_BACKOFF_MAX_MS ? ms : KEEP_BACKOFF_MAX_MS);
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

static uint64_t earliest(const struct keeper *keeper)
{
	const uint64_t dues[] = {keeper->ask_due, keeper->answer_due, keeper->renew_due,
		keeper->race_due, keeper->check_due, keeper->down_due, keeper->watchdog_due,
		keeper->config->hook->kill_at, registration_next(&keeper->name),
		keeper->has_held ? keeper->held.due : TIMER_NONE};
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		due = earlier(due, dues[i]);
	return due;
}

/* Is it due? Then it is not wanted any more. */
static bool take_due(uint64_t *due, uint64_t now)
{
	if (now < *due)
		return false;
	*due = TIMER_NONE;
	return true;
}

/* ---- the mapping -------------------------------------------------------------------------- */

/* A mapping that changed its port while nothing was sent was forgotten by the NAT: ask sooner. */
static void learn_interval(struct keeper *keeper, const struct mapping *mapping)
{
	const struct mapping *before = &keeper->known.mapping;

	if (!keeper->lost_while_idle ||
		!addr_equal_ip(&before->public_addr, &mapping->public_addr) ||
		!addr_equal_ip(&before->local, &mapping->local) ||
		keeper->interval_ms <= KEEP_INTERVAL_MIN_MS)
		return;
	keeper->interval_ms /= 2;
	if (keeper->interval_ms < KEEP_INTERVAL_MIN_MS)
		keeper->interval_ms = KEEP_INTERVAL_MIN_MS;
	log_detail("the mapping was lost while idle: keep-alives every %g s from now on",
		(double)keeper->interval_ms / 1000);
}

static void notify_state(struct keeper *keeper)
{
	char text[ADDR_TEXT_SIZE];
	struct notify *notify = keeper->config->notify;

	addr_format(&keeper->known.mapping.public_addr, text);
	notify_status(notify,
		keeper->shut ? "not reachable from elsewhere as %s"
		: keeper->up ? "reachable as %s"
			     : "no answer; last seen as %s",
		text);
}

static void report(struct keeper *keeper, enum hook_event event)
{
	keeper->up = event != HOOK_DOWN;
	keeper->shut = event == HOOK_UNREACHABLE;
	keeper->config->report(keeper->config->context, event, &keeper->known);
	if (!keeper->stop)
		notify_state(keeper);
}

/* ---- verification ------------------------------------------------------------------------- */

static void start_verifying(struct keeper *keeper, uint64_t now)
{
	struct reachability_request request = {
		.mapped = keeper->known.mapping.public_addr,
		.asked = keeper->held.request.remote,
		.probe = &keeper->config->probe,
		.reflector = keeper->held_reflector,
		.timeout_ms = DIALBACK_CLIENT_TIMEOUT_MS,
	};

	if (!keeper->has_held) {
		verification_postpone(&keeper->verification, now);
		return;
	}
	memcpy(request.contacted, keeper->contacted, sizeof(request.contacted));
	verification_start(&keeper->verification, &request, now);
}

static void take_untold(struct keeper *keeper)
{
	const struct reachability *reachability = &keeper->verification.reachability;

	if (reachability->unsupported && !keeper->up) {
		keeper->error = reachability->error;
		keeper->refused = true;
		return;
	}
	if (!keeper->doubted)
		log_warning("%s; trying again", reachability->error.text);
	keeper->doubted = true;
}

static void take_shut(struct keeper *keeper)
{
	const struct mapping *mapping = &keeper->known.mapping;
	struct port_owner owner = {.listens = true};
	struct error error;

	if (keeper->up && keeper->shut && !keeper->changed)
		return;
	if (port_owner_find(mapping->protocol, (enum addr_family)mapping->local.family,
		    mapping->local.port, &owner) != 0)
		owner.listens = true;
	reachability_explain(&keeper->verification.reachability, owner.listens, &error);
	log_warning("%s", error.text);
	log_note("%s", error.hint);
	report(keeper, HOOK_UNREACHABLE);
}

static void take_verdict(struct keeper *keeper, enum reachability_verdict verdict)
{
	bool was_reachable = keeper->up && !keeper->shut;

	switch (verdict) {
	case REACHABILITY_PENDING:
		return;
	case REACHABILITY_UNTOLD:
		take_untold(keeper);
		break;
	case REACHABILITY_SHUT:
		take_shut(keeper);
		break;
	case REACHABILITY_OPEN:
	case REACHABILITY_KNOWN:
		if (!was_reachable || keeper->changed)
			report(keeper, was_reachable ? HOOK_CHANGE : HOOK_UP);
		break;
	}
	if (verdict != REACHABILITY_UNTOLD)
		keeper->changed = keeper->doubted = false;
	if (!keeper->judged)
		notify_ready(keeper->config->notify);
	keeper->judged = true;
}

/* The mapping was just seen to be this. */
static void confirm(struct keeper *keeper, const struct mapping_race_result *result, uint64_t now)
{
	uint64_t patience = 3 * keeper->interval_ms;
	bool same = keeper->has_known && mapping_equal(&keeper->known.mapping, &result->mapping);
	bool first = !keeper->has_known;

	keeper->failures = 0;
	keeper->warned = false;
	keeper->down_due = now + (patience > KEEP_DOWN_MS ? patience : KEEP_DOWN_MS);
	/* One that is to be verified is reported when that is done. */
	if (same && (keeper->up || keeper->verification.due != TIMER_NONE)) {
		keeper->lost_while_idle = false;
		return;
	}
	if (!first && !same)
		learn_interval(keeper, &result->mapping);
	keeper->lost_while_idle = false;
	keeper->known = *result;
	keeper->has_known = true;
	if (keeper->config->verify) {
		keeper->changed = !same;
		start_verifying(keeper, now);
		return;
	}
	report(keeper, keeper->up && !first ? HOOK_CHANGE : HOOK_UP);
	if (first)
		notify_ready(keeper->config->notify);
}

/* ---- races -------------------------------------------------------------------------------- */

/* Another reflector than the held one, the most patient; an unknown patience counts as the best. */
static size_t next_reflector(const struct keeper *keeper)
{
	size_t count = keeper->request.reflector_count;
	size_t best = (keeper->held_reflector + 1) % count;

	for (size_t n = 2; n < count; n++) {
		size_t i = (keeper->held_reflector + n) % count;
		uint64_t lifetime = keeper->lifetime_ms[i];
		if (keeper->lifetime_ms[best] != 0 &&
			(lifetime == 0 || lifetime > keeper->lifetime_ms[best]))
			best = i;
	}
	return best;
}

static void start_race(struct keeper *keeper, enum race_purpose purpose, uint64_t now)
{
	if (keeper->race != NULL)
		return;
	keeper->race_due = TIMER_NONE;
	keeper->purpose = purpose;
	keeper->request.first = keeper->has_known ? next_reflector(keeper) : 0;
	/* Once two strangers agreed on an address, one is enough to see whether it still holds. */
	keeper->request.must_agree = keeper->config->probe.must_agree && !keeper->has_known;
	keeper->race = mapping_race_start(&keeper->request, now);
	if (keeper->race == NULL)
		keeper->race_due = now + backoff_ms(keeper, keeper->failures);
}

static void abandon_race(struct keeper *keeper)
{
	mapping_race_end(keeper->race);
	keeper->race = NULL;
}

/* Ends the held connection without a word where possible: the NAT's entry stays as it is. */
static void let_go(struct keeper *keeper)
{
	if (!keeper->has_held)
		return;
	registration_lose(&keeper->name);
	borrow_forget(&keeper->held.port);
	keeper->has_held = false;
	keeper->ask_due = TIMER_NONE;
	keeper->answer_due = TIMER_NONE;
	keeper->renew_due = TIMER_NONE;
}

/* What is held is not to be trusted any more; look for a mapping after `wait` ms. */
static void begin_anew(struct keeper *keeper, uint64_t wait, uint64_t now)
{
	let_go(keeper);
	if (keeper->race != NULL && keeper->purpose == RACE_COMPARE)
		abandon_race(keeper);
	if (wait == 0)
		start_race(keeper, RACE_REPLACE, now);
	else if (keeper->race == NULL)
		keeper->race_due = now + wait;
}

/* ---- the winner of a race ----------------------------------------------------------------- */

static void follow(struct keeper *keeper, const struct invitation *invitation, uint64_t now)
{
	const struct responder_path path = {
		.local = keeper->held.local,
		.method = keeper->request.method,
		.relay = {.reflector = keeper->held.request.remote,
			.local = keeper->config->probe.local,
			.interface = keeper->request.interface},
		.other = keeper->held.answer.other,
	};

	responder_meet(&keeper->responder, &path, invitation, now);
}

/* What comes over the held connection and is not the answer to its question. */
static void take_aside(void *context, const void *data, size_t size)
{
	struct keeper *keeper = context;
	uint64_t now = clock_now_ms();
	struct invitation invitation;

	if (!registration_take_invitation(&keeper->name, data, size, &invitation))
		registration_take(&keeper->name, data, size, now);
	else
		follow(keeper, &invitation, now);
}

static void hold(struct keeper *keeper, struct mapping_race_result *result, uint64_t now)
{
	uint64_t lifetime = keeper->lifetime_ms[result->reflector];

	/* The new one stands; only now is the old one ended. */
	registration_lose(&keeper->name);
	if (keeper->has_held)
		binding_client_end(&keeper->held);
	keeper->held = result->winner;
	keeper->has_held = true;
	keeper->held_reflector = result->reflector;
	memcpy(keeper->held_name, result->mapping.reflector, sizeof(keeper->held_name));
	keeper->opened_at = now;
	binding_client_set_listener(&keeper->held, take_aside, keeper);
	registration_hold(&keeper->name, &keeper->held, &result->mapping, now);
	keeper->ask_due = now + with_jitter(keeper->interval_ms);
	keeper->answer_due = TIMER_NONE;
	keeper->renew_due = TIMER_NONE;
	/* With one reflector only, the pair of addresses is taken until the old one is gone. */
	if (lifetime != 0 && keeper->request.reflector_count > 1) {
		lifetime = lifetime - lifetime / 4;
		keeper->renew_due = now + (lifetime > RENEW_MIN_MS ? lifetime : RENEW_MIN_MS);
	}
}

static void compare(struct keeper *keeper, const struct mapping_race_result *result)
{
	char one[ADDR_TEXT_SIZE];
	char other[ADDR_TEXT_SIZE];
	const struct mapping *known = &keeper->known.mapping;
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

static void take_winner(struct keeper *keeper, uint64_t now)
{
	struct mapping_race_result result;

	mapping_race_take(keeper->race, &result);
	abandon_race(keeper);
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		keeper->contacted[i] = keeper->contacted[i] || result.contacted[i];
	if (keeper->purpose == RACE_COMPARE) {
		compare(keeper, &result);
		binding_client_end(&result.winner);
		return;
	}
	/* What worked once is tried alone, until it does not. */
	keeper->request.method = result.winner.port.method;
	hold(keeper, &result, now);
	confirm(keeper, &result, now);
	/* By what was learnt just now. */
	keeper->ask_due = now + with_jitter(keeper->interval_ms);
	/* To be verified with, the others must stay strangers; what they dial tells more. */
	if (!keeper->compared && !keeper->request.must_agree && !keeper->config->verify &&
		keeper->request.reflector_count > 1) {
		keeper->compared = true;
		start_race(keeper, RACE_COMPARE, now);
	}
}

static void take_failure(struct keeper *keeper, uint64_t now)
{
	struct error error = *mapping_race_error(keeper->race);
	enum race_purpose purpose = keeper->purpose;
	bool cannot = mapping_race_cannot(keeper->race);

	abandon_race(keeper);
	memset(keeper->contacted, 1, sizeof(keeper->contacted));
	if (purpose == RACE_COMPARE)
		return;
	keeper->request.method = keeper->config->probe.method;
	if (!keeper->has_known && cannot) {
		keeper->error = error;
		keeper->refused = true;
		return;
	}
	if (!keeper->warned)
		log_warning("%s; trying again", error.text);
	keeper->warned = true;
	keeper->race_due = now + backoff_ms(keeper, keeper->failures);
	keeper->failures++;
}

static void advance_race(struct keeper *keeper, const struct pollfd *fds, uint64_t now)
{
	if (keeper->race == NULL)
		return;
	switch (mapping_race_advance(keeper->race, fds, now)) {
	case MAPPING_RACE_RUNNING:
		return;
	case MAPPING_RACE_MAPPED:
		take_winner(keeper, now);
		return;
	case MAPPING_RACE_FAILED:
		take_failure(keeper, now);
		return;
	}
}

/* ---- the held connection ------------------------------------------------------------------ */

/*
 * Time for the question or the answer to be lost once. On a long way KEEP_ANSWER_MS would be less
 * than a round trip: each connection would be given up while its answer is under way, and that
 * answer then draws a RST, which makes NATs forget what is to be kept.
 */
static uint64_t patience_ms(const struct keeper *keeper)
{
	int again = socket_retransmission_ms(binding_client_fd(&keeper->held));
	uint64_t ms = again > 0 ? 3 * (uint64_t)again : 0;

	if (ms < KEEP_ANSWER_MS)
		return KEEP_ANSWER_MS;
	return ms < KEEP_ANSWER_MAX_MS ? ms : KEEP_ANSWER_MAX_MS;
}

static void ask(struct keeper *keeper, uint64_t now)
{
	if (!keeper->has_held || keeper->held.state != BINDING_CLIENT_ANSWERED)
		return;
	keeper->ask_due = TIMER_NONE;
	keeper->answer_due = now + patience_ms(keeper);
	binding_client_ask_again(&keeper->held, now);
}

/* The server closed it, or the network did. */
static void lose_held(struct keeper *keeper, uint64_t now)
{
	bool own = keeper->held.answer.mode == BINDING_MODE_HOLD;
	bool idle = keeper->answer_due != TIMER_NONE;
	uint64_t stood = now - keeper->opened_at;
	uint64_t wait = 0;

	log_detail("%s", keeper->held.error.text);
	keeper->lost_while_idle = idle && own;
	/* A server of a stranger has its own idea of how long a connection may last. */
	if (!own && !idle)
		keeper->lifetime_ms[keeper->held_reflector] = stood;
	/* Who answers and closes at once would have us connect without a pause. */
	if (stood < STAND_MIN_MS)
		wait = backoff_ms(keeper, keeper->losses++);
	else
		keeper->losses = 0;
	begin_anew(keeper, wait, now);
}

static void take_answer(struct keeper *keeper, uint64_t now)
{
	struct mapping_race_result result = keeper->known;

	keeper->answer_due = TIMER_NONE;
	keeper->ask_due = now + with_jitter(keeper->interval_ms);
	memcpy(result.mapping.reflector, keeper->held_name, sizeof(keeper->held_name));
	result.mapping.public_addr = keeper->held.answer.mapped;
	result.mapping.local = keeper->held.local;
	/* Over UDP a mapping can change under what holds it. */
	if (!mapping_equal(&keeper->known.mapping, &result.mapping))
		registration_hold(&keeper->name, &keeper->held, &result.mapping, now);
	confirm(keeper, &result, now);
}

static void advance_held(struct keeper *keeper, bool happened, uint64_t now)
{
	if (!keeper->has_held || (!happened && keeper->held.due > now))
		return;
	binding_client_advance(&keeper->held, now);
	if (keeper->held.state == BINDING_CLIENT_FAILED)
		lose_held(keeper, now);
	else if (keeper->held.state == BINDING_CLIENT_ANSWERED && keeper->answer_due != TIMER_NONE)
		take_answer(keeper, now);
}

/* ---- what happens ------------------------------------------------------------------------- */

/* Links, addresses or routes changed: does the held connection still leave from where it did? */
static void check_network(struct keeper *keeper, uint64_t now)
{
	struct addr source;

	if (!keeper->has_held) {
		/* A race that began before the change may wait for what cannot come. */
		if (keeper->race != NULL && keeper->purpose == RACE_REPLACE)
			abandon_race(keeper);
		keeper->failures = 0;
		start_race(keeper, RACE_REPLACE, now);
		return;
	}
	if (socket_source_for(&keeper->held.request.remote, &source) != 0) {
		log_detail("the network changed: no route to the reflector");
		return;
	}
	if (keeper->config->probe.local.family == ADDR_NONE &&
		!addr_equal_ip(&source, &keeper->held.local)) {
		log_detail("the network changed: another local address");
		begin_anew(keeper, 0, now);
		return;
	}
	log_detail("the network may have changed: asking at once");
	ask(keeper, now);
}

static void reap(struct keeper *keeper, uint64_t now)
{
	struct launcher *launcher = keeper->config->launcher;

	hook_reap(keeper->config->hook, now);
	handover_reap(keeper->config->handover);
	if (launcher == NULL || !launcher_has_ended(launcher))
		return;
	error_set(&keeper->error, EXIT_STATUS_LOCAL,
		"the helper process is gone, which runs hooks and hands connections over");
	keeper->refused = true;
}

static void take_signals(struct keeper *keeper, uint64_t now)
{
	int number;

	while ((number = signals_take(keeper->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			keeper->stop = true;
		if (number == SIGHUP)
			keeper->check_due = now;
		if (number == SIGCHLD)
			reap(keeper, now);
	}
}

static void take_timers(struct keeper *keeper, uint64_t now)
{
	if (take_due(&keeper->check_due, now))
		check_network(keeper, now);
	if (take_due(&keeper->ask_due, now))
		ask(keeper, now);
	if (take_due(&keeper->answer_due, now)) {
		log_detail("no answer to the keep-alive");
		keeper->lost_while_idle = true;
		begin_anew(keeper, 0, now);
	}
	if (take_due(&keeper->renew_due, now))
		start_race(keeper, RACE_REPLACE, now);
	if (take_due(&keeper->race_due, now))
		start_race(keeper, RACE_REPLACE, now);
	registration_expire(&keeper->name, now);
	if (take_due(&keeper->verification.due, now))
		start_verifying(keeper, now);
	if (take_due(&keeper->down_due, now) && keeper->up) {
		keeper->verification.due = TIMER_NONE;
		report(keeper, HOOK_DOWN);
	}
	if (keeper->config->hook->kill_at <= now)
		hook_expire(keeper->config->hook, now);
	if (take_due(&keeper->watchdog_due, now)) {
		notify_watchdog(keeper->config->notify);
		keeper->watchdog_due = now + keeper->config->notify->watchdog_ms;
	}
}

enum watch_slot {
	WATCH_SIGNALS,
	WATCH_ROUTE,
	WATCH_CLOCK,
	WATCH_HELD,
	WATCH_LISTENER,
	WATCH_INITIATORS,
	WATCH_VERIFY = WATCH_INITIATORS + RESPONDER_WATCH_MAX,
	WATCH_RACE = WATCH_VERIFY + REACHABILITY_WATCH_MAX,
	WATCH_MAX = WATCH_RACE + MAPPING_RACE_WATCH_MAX,
};

static void wait_for_something(struct keeper *keeper, struct pollfd fds[WATCH_MAX], uint64_t now)
{
	uint64_t due = earliest(keeper);
	nfds_t count = WATCH_RACE;

	fds[WATCH_SIGNALS] = (struct pollfd){.fd = keeper->signals, .events = POLLIN};
	fds[WATCH_ROUTE] = (struct pollfd){.fd = keeper->watch.route_fd, .events = POLLIN};
	fds[WATCH_CLOCK] = (struct pollfd){.fd = keeper->watch.clock_fd, .events = POLLIN};
	fds[WATCH_LISTENER] = (struct pollfd){.fd = keeper->config->listener, .events = POLLIN};
	fds[WATCH_HELD] = (struct pollfd){.fd = -1};
	if (keeper->has_held)
		fds[WATCH_HELD] = (struct pollfd){.fd = binding_client_fd(&keeper->held),
			.events = binding_client_events(&keeper->held)};
	due = earlier(due, responder_watch(&keeper->responder, fds + WATCH_INITIATORS));
	due = earlier(due, verification_watch(&keeper->verification, fds + WATCH_VERIFY));
	if (keeper->race != NULL) {
		due = earlier(due, mapping_race_watch(keeper->race, fds + WATCH_RACE));
		count = WATCH_MAX;
	}
	if (poll(fds, count, clock_poll_ms(now, due)) < 0)
		for (size_t i = 0; i < WATCH_MAX; i++)
			fds[i].revents = 0;
}

static void take_events(struct keeper *keeper, const struct pollfd fds[WATCH_MAX], uint64_t now)
{
	struct mapping_race *watched = keeper->race;

	take_verdict(keeper, verification_advance(&keeper->verification, fds + WATCH_VERIFY, now));
	if (fds[WATCH_SIGNALS].revents != 0)
		take_signals(keeper, now);
	if ((fds[WATCH_ROUTE].revents != 0 || fds[WATCH_CLOCK].revents != 0) &&
		netwatch_take(&keeper->watch) && keeper->check_due == TIMER_NONE)
		keeper->check_due = now + KEEP_SETTLE_MS;
	if (fds[WATCH_LISTENER].revents != 0)
		handover_accept(keeper->config->handover, keeper->config->listener);
	responder_advance(&keeper->responder, fds + WATCH_INITIATORS, now);
	advance_held(keeper, fds[WATCH_HELD].revents != 0, now);
	take_timers(keeper, now);
	/* What poll() found belongs to the race that was running then. */
	advance_race(keeper, keeper->race == watched ? fds + WATCH_RACE : NULL, now);
}

static void start(struct keeper *keeper, const struct keep_config *config, uint64_t now)
{
	memset(keeper, 0, sizeof(*keeper));
	keeper->config = config;
	keeper->request = config->probe;
	keeper->interval_ms = config->interval_ms;
	keeper->request.mode = BINDING_MODE_HOLD;
	keeper->request.hold_seconds = (uint16_t)((config->interval_ms + 999) / 1000);
	keeper->ask_due = keeper->answer_due = keeper->renew_due = TIMER_NONE;
	keeper->race_due = keeper->check_due = keeper->down_due = TIMER_NONE;
	verification_init(&keeper->verification, config->verify_open_ms, config->verify_again_ms);
	responder_init(&keeper->responder, config->handover, &keeper->name);
	registration_init(&keeper->name, config->key);
	keeper->watchdog_due = config->notify->watchdog_ms != 0 ? now : TIMER_NONE;
	netwatch_open(&keeper->watch);
	start_race(keeper, RACE_REPLACE, now);
}

static void end(struct keeper *keeper)
{
	notify_stopping(keeper->config->notify);
	abandon_race(keeper);
	verification_end(&keeper->verification);
	responder_end(&keeper->responder);
	if (keeper->has_held)
		binding_client_end(&keeper->held);
	if (keeper->up)
		report(keeper, HOOK_DOWN);
	hook_finish(keeper->config->hook);
	netwatch_close(&keeper->watch);
	close(keeper->signals);
}

int keep_run(const struct keep_config *config, struct error *error)
{
	uint64_t now = clock_now_ms();
	struct pollfd fds[WATCH_MAX];
	struct keeper keeper;
	int signals = signals_open();

	if (signals < 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot take signals: %s", strerror(errno));
	start(&keeper, config, now);
	keeper.signals = signals;
	advance_race(&keeper, NULL, now);
	while (!keeper.stop && !keeper.refused) {
		wait_for_something(&keeper, fds, now);
		now = clock_now_ms();
		take_events(&keeper, fds, now);
	}
	if (keeper.refused)
		*error = keeper.error;
	end(&keeper);
	return keeper.refused ? -1 : 0;
}
