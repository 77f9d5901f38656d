/*
 * How a mapping is kept: found, held, watched, found again.
 *
 * A race over all reflectors (mapping_race.h) finds the mapping; its winner becomes the held
 * connection (held.c), whose keep-alives show what the mapping is. With `verify` it is dialled from
 * outside (verification.c) before it is reported. Initiators whose invitation comes over the held
 * connection go to the responder (responder.c).
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
 * held, or compares: its winner is a second opinion, once, and is ended.
 *
 * Events:
 *   race won               it becomes the held connection; its method is tried alone from now on.
 *   race lost              another one after the backoff, by any method.
 *   HELD_ANSWERED          the mapping was seen: confirm().
 *   HELD_LOST              another race: at once, or after the backoff when it stood for less than
 *                          STOOD_MIN_MS. The lifetime of a stranger's connections is learnt.
 *   HELD_SILENT            another race at once.
 *   HELD_ENDING            another race at once, while the connection is still there.
 *   network changed, woken (netwatch.h), SIGHUP: a keep-alive at once, or with another local
 *                          address another race.
 *   verdict                it is reported; one that is not there leaves things as they are.
 *   connection accepted    it goes to the hand-over.
 *   SIGTERM, SIGINT        the end. SIGCHLD: hooks and connections that ended are reaped; without
 *                          the launcher it is the end, with an error.
 *
 * A part has an init for start(), places in enum watch_slot, which wait_for_something() fills and
 * take_events() reads, a time when it is due, and an end for end(); verification.c is the model.
 *
 * Timers, here (those of the parts are in their files):
 *   race_due      the backoff is over.
 *   check_due     SETTLE_MS after the network changed, as changes come in bursts.
 *   down_due      DOWN_MS, and three intervals, after the mapping was seen last.
 *   watchdog_due  systemd wants to hear from us.
 *   hook_due()    a hook takes too long, or is called again.
 *
 * The interval is learnt: where a mapping was lost while nothing was sent, and the new one differs
 * in its port alone, the NAT forgot it; the interval is halved, down to INTERVAL_MIN_MS.
 *
 * Invariants: what works is never given up because one reflector failed (it is ended without a
 * packet, which leaves the NAT's entry as it is, and other reflectors are asked first); each
 * mapping is reported once; there is one race at most; READY is told once, before the first race.
 */
#include "natpunch/home/keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "home/held.h"
#include "home/responder.h"
#include "home/timers.h"
#include "home/verification.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/netwatch.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define INTERVAL_MIN_MS  5000 /* what learning never goes below; -i may */
#define SETTLE_MS        100
#define STOOD_MIN_MS     2000 /* a connection that was lost sooner counts as one that failed */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   60000
#define DOWN_MS          180000

enum mapping_state {
	STATE_UNREPORTED,
	STATE_UP,
	STATE_UNREACHABLE,
	STATE_DOWN,
};

enum race_purpose {
	RACE_REPLACE, /* its winner becomes the held one */
	RACE_COMPARE, /* a second opinion, once */
};

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct keep {
	const struct keep_config *config;
	struct mapping_race_request request;
	struct netwatch watch;
	int signals;

	enum mapping_state state;
	struct mapping_race_result
		known; /* the mapping that was seen last; its winner is not used */
	bool has_known;

	struct held held;
	bool lost_while_idle;
	unsigned short_lived;                             /* connections in a row */
	uint64_t lifetime_ms[MAPPING_RACE_REFLECTOR_MAX]; /* of a server's connections; 0: not known
							   */

	struct mapping_race *race; /* or NULL */
	enum race_purpose purpose;
	unsigned races_lost; /* in a row */
	bool warned;         /* of that */
	bool compared;

	struct verification verification; /* with `verify` */
	struct responder responder;

	uint64_t race_due;
	uint64_t check_due;
	uint64_t down_due;
	uint64_t watchdog_due;

	bool stop;
	bool failed; /* *error says why */
	struct error error;
};

static uint64_t backoff_ms(const struct keep *keep, unsigned failures)
{
	unsigned doublings = failures < 8 ? failures : 8;
	uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings;

	ms = timers_earlier(ms, keep->held.interval_ms);
	return timers_with_jitter(timers_earlier(ms, BACKOFF_MAX_MS));
}

/* ---- reporting ---------------------------------------------------------------------------- */

static bool is_reported(const struct keep *keep)
{
	return keep->state == STATE_UP || keep->state == STATE_UNREACHABLE;
}

static void notify_state(struct keep *keep)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&keep->known.mapping.public_addr, text);
	notify_status(keep->config->notify,
		keep->state == STATE_UNREACHABLE ? "not reachable from elsewhere as %s"
		: keep->state != STATE_UP        ? "no answer; last seen as %s"
		: keep->config->verify           ? "reachable as %s"
		: keep->config->probe.protocol == MAPPING_UDP
			? "kept as %s, not verified (natpunch check -u)"
			: "kept as %s, not verified (-V)",
		text);
}

static void report(struct keep *keep, enum hook_event event)
{
	keep->state = event == HOOK_DOWN          ? STATE_DOWN
		      : event == HOOK_UNREACHABLE ? STATE_UNREACHABLE
						  : STATE_UP;
	keep->config->report(keep->config->context, event, &keep->known);
	if (!keep->stop)
		notify_state(keep);
}

static void report_down(struct keep *keep)
{
	if (!is_reported(keep))
		return;
	verification_forget(&keep->verification);
	report(keep, HOOK_DOWN);
}

/* ---- the mapping -------------------------------------------------------------------------- */

/* A mapping that changed its port while nothing was sent was forgotten by the NAT: ask sooner. */
static void learn_interval(struct keep *keep, const struct mapping *mapping, uint64_t now)
{
	const struct mapping *before = &keep->known.mapping;
	uint64_t interval_ms = keep->held.interval_ms / 2;

	if (!keep->lost_while_idle || !addr_equal_ip(&before->public_addr, &mapping->public_addr) ||
		!addr_equal_ip(&before->local, &mapping->local) ||
		keep->held.interval_ms <= INTERVAL_MIN_MS)
		return;
	if (interval_ms < INTERVAL_MIN_MS)
		interval_ms = INTERVAL_MIN_MS;
	held_set_interval(&keep->held, interval_ms, now);
	log_detail("the mapping was lost while idle: keep-alives every %g s from now on",
		(double)interval_ms / 1000);
}

static void verify(struct keep *keep, uint64_t now)
{
	const struct held *held = &keep->held;

	if (held->open)
		verification_start(&keep->verification, &keep->known.mapping,
			&held->binding.request.remote, held->reflector, now);
	else
		verification_postpone(&keep->verification, now);
}

/* The mapping was just seen to be this. */
static void confirm(struct keep *keep, const struct mapping_race_result *seen, uint64_t now)
{
	uint64_t patience = 3 * keep->held.interval_ms;
	bool first = !keep->has_known;
	bool same = !first && mapping_equal(&keep->known.mapping, &seen->mapping);

	keep->races_lost = 0;
	keep->warned = false;
	keep->down_due = now + (patience > DOWN_MS ? patience : DOWN_MS);
	/* One that is to be verified is reported when that is done. */
	if (same && (is_reported(keep) || keep->verification.due != TIMER_NONE)) {
		keep->lost_while_idle = false;
		return;
	}
	if (!first && !same)
		learn_interval(keep, &seen->mapping, now);
	keep->lost_while_idle = false;
	keep->known = *seen;
	keep->has_known = true;
	if (keep->config->verify) {
		verify(keep, now);
		return;
	}
	report(keep, is_reported(keep) ? HOOK_CHANGE : HOOK_UP);
}

static void advance_verification(struct keep *keep, const struct pollfd *fds, uint64_t now)
{
	switch (verification_advance(&keep->verification, fds, now)) {
	case VERIFICATION_NOTHING:
		break;
	case VERIFICATION_REACHABLE:
		report(keep, keep->state == STATE_UP ? HOOK_CHANGE : HOOK_UP);
		break;
	case VERIFICATION_UNREACHABLE:
		report(keep, HOOK_UNREACHABLE);
		break;
	case VERIFICATION_IMPOSSIBLE:
		keep->error = keep->verification.error;
		keep->failed = true;
		break;
	}
}

/* ---- races -------------------------------------------------------------------------------- */

/* Another reflector than the held one, the most patient; an unknown patience counts as the best. */
static size_t next_reflector(const struct keep *keep)
{
	size_t count = keep->request.reflector_count;
	size_t best = (keep->held.reflector + 1) % count;

	for (size_t n = 2; n < count; n++) {
		size_t i = (keep->held.reflector + n) % count;
		uint64_t lifetime = keep->lifetime_ms[i];
		if (keep->lifetime_ms[best] != 0 &&
			(lifetime == 0 || lifetime > keep->lifetime_ms[best]))
			best = i;
	}
	return best;
}

static void start_race(struct keep *keep, enum race_purpose purpose, uint64_t now)
{
	if (keep->race != NULL)
		return;
	keep->race_due = TIMER_NONE;
	keep->purpose = purpose;
	keep->request.first = keep->has_known ? next_reflector(keep) : 0;
	/* Once two strangers agreed on an address, one is enough to see whether it still holds. */
	keep->request.must_agree = keep->config->probe.must_agree && !keep->has_known;
	keep->race = mapping_race_start(&keep->request, now);
	if (keep->race == NULL)
		keep->race_due = now + backoff_ms(keep, keep->races_lost);
}

static void abandon_race(struct keep *keep)
{
	mapping_race_end(keep->race);
	keep->race = NULL;
}

/* What is held is not to be trusted any more; look for a mapping after `wait` ms. */
static void begin_anew(struct keep *keep, uint64_t wait, uint64_t now)
{
	held_release(&keep->held);
	if (keep->race != NULL && keep->purpose == RACE_COMPARE)
		abandon_race(keep);
	if (wait == 0)
		start_race(keep, RACE_REPLACE, now);
	else if (keep->race == NULL)
		keep->race_due = now + wait;
}

static void compare(struct keep *keep, const struct mapping_race_result *result)
{
	char one[ADDR_TEXT_SIZE];
	char other[ADDR_TEXT_SIZE];
	const struct mapping *known = &keep->known.mapping;
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

static void take_winner(struct keep *keep, uint64_t now)
{
	struct mapping_race_result result;
	uint64_t lifetime_ms = 0;

	mapping_race_take(keep->race, &result);
	abandon_race(keep);
	verification_add_contacted(&keep->verification, result.contacted);
	if (keep->purpose == RACE_COMPARE) {
		compare(keep, &result);
		binding_client_end(&result.winner);
		return;
	}
	/* What worked once is tried alone, until it does not. */
	keep->request.method = result.winner.port.method;
	/* With one reflector only, the pair of addresses is taken until the old one is gone. */
	if (keep->request.reflector_count > 1)
		lifetime_ms = keep->lifetime_ms[result.reflector];
	held_begin(&keep->held, &result, lifetime_ms, now);
	confirm(keep, &result, now);
	/* To be verified with, the others must stay strangers; what they dial tells more. */
	if (!keep->compared && !keep->request.must_agree && !keep->config->verify &&
		keep->request.reflector_count > 1) {
		keep->compared = true;
		start_race(keep, RACE_COMPARE, now);
	}
}

/* The address of -b may come later, as a network does. */
static bool lacks_address(const struct keep *keep)
{
	const struct addr *local = &keep->config->probe.local;

	return local->family != ADDR_NONE && !socket_is_local_ip(local);
}

static void take_lost_race(struct keep *keep, uint64_t now)
{
	struct error error = *mapping_race_error(keep->race);
	enum race_purpose purpose = keep->purpose;
	bool cannot = mapping_race_cannot(keep->race);

	abandon_race(keep);
	verification_add_contacted(&keep->verification, NULL);
	if (purpose == RACE_COMPARE)
		return;
	keep->request.method = keep->config->probe.method;
	if (!keep->has_known && cannot && !lacks_address(keep)) {
		keep->error = error;
		keep->failed = true;
		return;
	}
	if (!keep->warned)
		log_warning("%s; trying again", error.text);
	if (!keep->warned && !is_reported(keep))
		notify_status(keep->config->notify, "no mapping: %s; trying again", error.text);
	keep->warned = true;
	keep->race_due = now + backoff_ms(keep, keep->races_lost);
	keep->races_lost++;
}

static void advance_race(struct keep *keep, const struct pollfd *fds, uint64_t now)
{
	if (keep->race == NULL)
		return;
	switch (mapping_race_advance(keep->race, fds, now)) {
	case MAPPING_RACE_RUNNING:
		return;
	case MAPPING_RACE_MAPPED:
		take_winner(keep, now);
		return;
	case MAPPING_RACE_FAILED:
		take_lost_race(keep, now);
		return;
	}
}

/* ---- the held connection ------------------------------------------------------------------ */

static void meet_initiator(void *context, const struct invitation *invitation, uint64_t now)
{
	struct keep *keep = context;
	const struct binding_client *binding = &keep->held.binding;
	const struct responder_path path = {
		.local = binding->local,
		.method = keep->request.method,
		.relay = {.reflector = binding->request.remote,
			.local = keep->config->probe.local,
			.interface = keep->request.interface},
		.other = binding->answer.other,
	};

	responder_meet(&keep->responder, &path, invitation, now);
}

static void take_loss(struct keep *keep, const struct held_loss *loss, uint64_t now)
{
	uint64_t wait = 0;

	keep->lost_while_idle = loss->idle && loss->promised;
	/* A server of a stranger has its own idea of how long a connection may last. */
	if (!loss->promised && !loss->idle)
		keep->lifetime_ms[loss->reflector] = loss->stood_ms;
	/* Who answers and closes at once would have us connect without a pause. */
	if (loss->stood_ms < STOOD_MIN_MS)
		wait = backoff_ms(keep, keep->short_lived++);
	else
		keep->short_lived = 0;
	begin_anew(keep, wait, now);
}

static void take_answer(struct keep *keep, uint64_t now)
{
	const struct mapping *mapping = &keep->held.mapping;
	struct mapping_race_result seen = keep->known;

	memcpy(seen.mapping.reflector, mapping->reflector, sizeof(seen.mapping.reflector));
	seen.mapping.public_addr = mapping->public_addr;
	seen.mapping.local = mapping->local;
	confirm(keep, &seen, now);
}

static void take_held_event(struct keep *keep, enum held_event event, uint64_t now)
{
	switch (event) {
	case HELD_NOTHING:
		return;
	case HELD_ANSWERED:
		take_answer(keep, now);
		return;
	case HELD_ENDING:
		start_race(keep, RACE_REPLACE, now);
		return;
	case HELD_LOST:
		take_loss(keep, &keep->held.loss, now);
		return;
	case HELD_SILENT:
		keep->lost_while_idle = true;
		begin_anew(keep, 0, now);
		return;
	}
}

/* ---- what happens ------------------------------------------------------------------------- */

/* Links, addresses or routes changed: does the held connection still leave from where it did? */
static void check_network(struct keep *keep, uint64_t now)
{
	struct addr source;

	if (!keep->held.open) {
		/* A race that began before the change may wait for what cannot come. */
		if (keep->race != NULL && keep->purpose == RACE_REPLACE)
			abandon_race(keep);
		keep->races_lost = 0;
		start_race(keep, RACE_REPLACE, now);
		return;
	}
	if (socket_source_for(&keep->held.binding.request.remote, &source) != 0) {
		log_detail("the network changed: no route to the reflector");
		return;
	}
	if (keep->config->probe.local.family == ADDR_NONE &&
		!addr_equal_ip(&source, &keep->held.binding.local)) {
		log_detail("the network changed: another local address");
		begin_anew(keep, 0, now);
		return;
	}
	log_detail("the network may have changed: asking at once");
	held_send_keepalive(&keep->held, now);
}

static void reap(struct keep *keep, uint64_t now)
{
	struct launcher *launcher = keep->config->launcher;

	hook_reap(keep->config->hook, now);
	handover_reap(keep->config->handover);
	if (launcher == NULL || !launcher_has_ended(launcher))
		return;
	error_set(&keep->error, EXIT_STATUS_LOCAL,
		"the helper process is gone, which runs hooks and hands connections over");
	keep->failed = true;
}

static void take_signals(struct keep *keep, uint64_t now)
{
	int number;

	while ((number = signals_take(keep->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			keep->stop = true;
		if (number == SIGHUP)
			keep->check_due = now;
		if (number == SIGCHLD)
			reap(keep, now);
	}
}

static void take_timers(struct keep *keep, uint64_t now)
{
	if (timers_take_due(&keep->check_due, now))
		check_network(keep, now);
	take_held_event(keep, held_expire(&keep->held, now), now);
	if (timers_take_due(&keep->race_due, now))
		start_race(keep, RACE_REPLACE, now);
	if (timers_take_due(&keep->verification.due, now))
		verify(keep, now);
	if (timers_take_due(&keep->down_due, now))
		report_down(keep);
	hook_expire(keep->config->hook, now);
	if (timers_take_due(&keep->watchdog_due, now)) {
		notify_watchdog(keep->config->notify);
		keep->watchdog_due = now + keep->config->notify->watchdog_ms;
	}
}

static uint64_t earliest(const struct keep *keep)
{
	const uint64_t dues[] = {keep->race_due, keep->check_due, keep->down_due,
		keep->watchdog_due, hook_due(keep->config->hook)};
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		due = timers_earlier(due, dues[i]);
	return due;
}

enum watch_slot {
	WATCH_SIGNALS,
	WATCH_ROUTE,
	WATCH_CLOCK,
	WATCH_HELD,
	WATCH_LISTENER,
	WATCH_RESPONDER,
	WATCH_VERIFICATION = WATCH_RESPONDER + RESPONDER_WATCH_MAX,
	WATCH_RACE = WATCH_VERIFICATION + REACHABILITY_WATCH_MAX,
	WATCH_MAX = WATCH_RACE + MAPPING_RACE_WATCH_MAX,
};

static void wait_for_something(struct keep *keep, struct pollfd fds[WATCH_MAX], uint64_t now)
{
	uint64_t due = earliest(keep);
	nfds_t count = WATCH_RACE;

	fds[WATCH_SIGNALS] = (struct pollfd){.fd = keep->signals, .events = POLLIN};
	fds[WATCH_ROUTE] = (struct pollfd){.fd = keep->watch.route_fd, .events = POLLIN};
	fds[WATCH_CLOCK] = (struct pollfd){.fd = keep->watch.clock_fd, .events = POLLIN};
	fds[WATCH_LISTENER] = (struct pollfd){.fd = keep->config->listener, .events = POLLIN};
	due = timers_earlier(due, held_watch(&keep->held, &fds[WATCH_HELD]));
	due = timers_earlier(due, responder_watch(&keep->responder, fds + WATCH_RESPONDER));
	due = timers_earlier(
		due, verification_watch(&keep->verification, fds + WATCH_VERIFICATION));
	if (keep->race != NULL) {
		due = timers_earlier(due, mapping_race_watch(keep->race, fds + WATCH_RACE));
		count = WATCH_MAX;
	}
	if (poll(fds, count, clock_poll_ms(now, due)) < 0)
		for (size_t i = 0; i < WATCH_MAX; i++)
			fds[i].revents = 0;
}

static void take_events(struct keep *keep, const struct pollfd fds[WATCH_MAX], uint64_t now)
{
	struct mapping_race *watched = keep->race;

	advance_verification(keep, fds + WATCH_VERIFICATION, now);
	if (fds[WATCH_SIGNALS].revents != 0)
		take_signals(keep, now);
	if ((fds[WATCH_ROUTE].revents != 0 || fds[WATCH_CLOCK].revents != 0) &&
		netwatch_take(&keep->watch) && keep->check_due == TIMER_NONE)
		keep->check_due = now + SETTLE_MS;
	if (fds[WATCH_LISTENER].revents != 0)
		handover_accept(keep->config->handover, keep->config->listener);
	responder_advance(&keep->responder, fds + WATCH_RESPONDER, now);
	take_held_event(keep, held_advance(&keep->held, fds[WATCH_HELD].revents != 0, now), now);
	take_timers(keep, now);
	/* What poll() found belongs to the race that was running then. */
	advance_race(keep, keep->race == watched ? fds + WATCH_RACE : NULL, now);
}

static void start(struct keep *keep, const struct keep_config *config, uint64_t now)
{
	memset(keep, 0, sizeof(*keep)); /* STATE_UNREPORTED */
	keep->config = config;
	keep->request = config->probe;
	keep->request.mode = BINDING_MODE_HOLD;
	keep->request.hold_seconds = (uint16_t)((config->interval_ms + 999) / 1000);
	keep->race_due = keep->check_due = keep->down_due = TIMER_NONE;
	held_init(&keep->held, config->key, config->interval_ms, meet_initiator, keep);
	verification_init(&keep->verification, &config->probe, config->verify_open_ms,
		config->verify_again_ms);
	responder_init(&keep->responder, config->handover, &keep->held.registration);
	keep->watchdog_due = config->notify->watchdog_ms != 0 ? now : TIMER_NONE;
	netwatch_open(&keep->watch);
	notify_ready(config->notify);
	notify_status(config->notify, "looking for a mapping");
	start_race(keep, RACE_REPLACE, now);
}

static void end(struct keep *keep)
{
	notify_stopping(keep->config->notify);
	abandon_race(keep);
	verification_end(&keep->verification);
	responder_end(&keep->responder);
	held_end(&keep->held);
	report_down(keep);
	hook_finish(keep->config->hook);
	netwatch_close(&keep->watch);
	close(keep->signals);
}

int keep_run(const struct keep_config *config, struct error *error)
{
	uint64_t now = clock_now_ms();
	struct pollfd fds[WATCH_MAX];
	struct keep keep;
	int signals = signals_open();

	if (signals < 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot take signals: %s", strerror(errno));
	start(&keep, config, now);
	keep.signals = signals;
	advance_race(&keep, NULL, now);
	while (!keep.stop && !keep.failed) {
		wait_for_something(&keep, fds, now);
		now = clock_now_ms();
		take_events(&keep, fds, now);
	}
	if (keep.failed)
		*error = keep.error;
	end(&keep);
	return keep.failed ? -1 : 0;
}
