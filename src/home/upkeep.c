/*
 * How a mapping is kept: found, held, watched, found again.
 *
 * The parts, of which none knows another one's timers:
 *
 *   mapping_search.c  races over all reflectors find the mapping; the winner is
 *   held.c            the held connection, whose keep-alives show the mapping.
 *   verification.c    with `verify`: finds out whether the mapping lets strangers in, before it is
 *                     reported. If it does not, and the router forwards (lease.c),
 *   trial.c           has the other mappings dialled that the router may have made.
 *   standby.c         with a name: holds connections to the other reflectors.
 *   invitations.c     takes the invitations that come over any of these connections.
 *   mapping_report.c  knows the mapping, and says what is to be said of it.
 *
 * States: a connection is held or not, and a race runs or not. A race that replaces looks for
 * another connection to hold; one that compares asks one more reflector, once, after the first
 * mapping. With standby.c no race compares.
 *
 * Events:
 *   race won               its connection is held.
 *   race lost              the next one after a pause.
 *   HELD_ANSWERED          the mapping was seen: confirm().
 *   HELD_LOST              a race at once, or after a pause if the connection was held for less
 * than STOOD_MIN_MS. The lifetime of this server's connections is learnt. HELD_SILENT            a
 * race at once; a single reflector is asked at two ports from now on. HELD_ENDING            a race
 * at once, while the connection is still open. a standby connection   it becomes the held one, if
 * none is held or a race looks for another, or answers                if the held one's reflector
 * has moved. Whenever such a race begins, each standby connection is asked: the first answer of all
 * wins. The first one's mapping is the second opinion. network changed        a keep-alive at once,
 * or a race if the local address is another one. another public address the router is asked at once
 * whether it still forwards (lease.c). the router's forward   the mapping is dialled again. has
 * changed verdict                it is reported; without one, the last report stands. If strangers
 * do not get in and the router forwards, the other mappings are dialled first (trial.c); one that
 * lets strangers in is kept.
 *
 * Timer: down_due, DOWN_MS or three intervals, if that is longer, after the mapping was seen last.
 *
 * The interval is learnt: if a mapping was lost between two keep-alives, and the new one has
 * another port alone, the NAT forgot it; the interval is halved, down to INTERVAL_MIN_MS.
 *
 * Invariants: no working connection is given up because one reflector failed (it is closed
 * silently, which leaves the NAT's entry as it is, and other reflectors are asked first); each
 * mapping is reported once.
 */
#include "home/upkeep.h"

#include <string.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/home/udp_forward.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define INTERVAL_MIN_MS 5000 /* learning never goes below; -i may */
#define STOOD_MIN_MS    2000 /* a connection that is lost sooner counts as a failure */
#define DOWN_MS         180000

static void report_down(struct upkeep *upkeep)
{
	if (!mapping_report_stands(&upkeep->report))
		return;
	verification_forget(&upkeep->verification);
	mapping_report_tell(&upkeep->report, HOOK_DOWN);
}

/* Begins a race for a connection to hold, and asks over the standby connections. */
static void look_for_mapping(struct upkeep *upkeep, uint64_t now)
{
	if (mapping_search_start(&upkeep->search, MAPPING_SEARCH_REPLACE, now))
		standby_ask(&upkeep->standby, now);
}

/* The held connection is lost or in doubt: looks for a mapping after `wait` ms. */
static void begin_anew(struct upkeep *upkeep, uint64_t wait, uint64_t now)
{
	held_release(&upkeep->held);
	if (!mapping_search_replaces(&upkeep->search))
		mapping_search_abandon(&upkeep->search);
	if (wait == 0)
		look_for_mapping(upkeep, now);
	else
		mapping_search_put_off(&upkeep->search, wait, now);
	standby_ask(&upkeep->standby, now);
}

/* ---- the mapping -------------------------------------------------------------------------- */

/*
 * If a mapping was lost while nothing was sent and another port came, the NAT had forgotten it:
 * keep-alives become more frequent.
 */
static void learn_interval(struct upkeep *upkeep, const struct mapping *mapping, uint64_t now)
{
	const struct mapping *before = &upkeep->report.known.mapping;
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

/* Has the mapping dialled by way of the reflector that saw it over `binding`. */
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
		dial(upkeep, &upkeep->report.known.mapping, &held->binding, held->reflector, now);
	else
		verification_postpone(&upkeep->verification, now);
}

/* Takes the first mapping that the router may have made: dialling tells if it is the right one. */
static void choose_candidate(struct upkeep *upkeep, const struct addr *seen)
{
	struct forward_search search;

	forward_search_begin(&search, seen);
	upkeep->candidate = FORWARD_SEEN;
	if (upkeep->config->verify)
		upkeep->candidate =
			forward_search_next(&search, &upkeep->lease.forward, upkeep->probe);
}

/*
 * A reflector has just seen `seen`: takes it as the mapping, or the one that the router's forward
 * makes of it.
 */
static void confirm(struct upkeep *upkeep, const struct mapping_race_result *seen, uint64_t now)
{
	uint64_t patience = 3 * upkeep->held.interval_ms;
	bool first = !upkeep->report.has_known;
	struct mapping_race_result told = *seen;
	bool same;

	if (first)
		choose_candidate(upkeep, &seen->mapping.public_addr);
	forward_search_tell(
		&upkeep->lease.forward, upkeep->candidate, upkeep->probe, &told.mapping);
	same = !first && mapping_equal(&upkeep->report.known.mapping, &told.mapping);
	mapping_report_take_answer(&upkeep->report, same);
	upkeep->down_due = now + (patience > DOWN_MS ? patience : DOWN_MS);
	/* A mapping to be verified is reported after its verdict. */
	if (same && (mapping_report_stands(&upkeep->report) ||
			    upkeep->verification.due != TIMER_NONE)) {
		upkeep->lost_while_idle = false;
		return;
	}
	if (!first && !same)
		learn_interval(upkeep, &told.mapping, now);
	/* A router with another public address may have lost its forward, and not say so. */
	if (!first && !addr_equal_ip(
			      &upkeep->report.known.mapping.public_addr, &told.mapping.public_addr))
		lease_hurry(&upkeep->lease, now);
	upkeep->lost_while_idle = false;
	upkeep->report.known = told;
	upkeep->report.has_known = true;
	trial_forget(&upkeep->trial);
	if (upkeep->config->verify) {
		verify(upkeep, now);
		return;
	}
	mapping_report_tell(
		&upkeep->report, mapping_report_stands(&upkeep->report) ? HOOK_CHANGE : HOOK_UP);
}

/* ---- races -------------------------------------------------------------------------------- */

static void take_winner(
	struct upkeep *upkeep, const struct mapping_race_result *result, uint64_t now)
{
	uint64_t lifetime_ms = 0;

	/* A single reflector has one address: the pair is in use until the old one is gone. */
	if (upkeep->search.request.reflector_count > 1)
		lifetime_ms = upkeep->search.lifetime_ms[result->reflector];
	lease_set_remote(&upkeep->lease, &result->winner.request.remote, now);
	held_begin(&upkeep->held, result, lifetime_ms, now);
	invitations_check_method(&upkeep->invitations, &upkeep->held);
	confirm(upkeep, result, now);
	/* With `verify`, the others must stay strangers, and their dial-backs show more. */
	if (!upkeep->compared && !upkeep->search.request.must_agree && !upkeep->config->verify &&
		upkeep->probe->reflector_count > 1 && !standby_serves(&upkeep->standby)) {
		upkeep->compared = true;
		mapping_search_start(&upkeep->search, MAPPING_SEARCH_COMPARE, now);
	}
}

static void take_won_race(struct upkeep *upkeep, struct mapping_race_result *result, uint64_t now)
{
	upkeep->report.spoke = true;
	verification_add_contacted(&upkeep->verification, result->contacted);
	if (upkeep->search.purpose == MAPPING_SEARCH_REPLACE) {
		take_winner(upkeep, result, now);
		return;
	}
	mapping_report_compare(&upkeep->report, result);
	binding_client_end(&result->winner);
}

static void take_lost_race(struct upkeep *upkeep, uint64_t now)
{
	struct mapping_report *report = &upkeep->report;
	struct mapping_search *search = &upkeep->search;

	report->spoke = search->spoke;
	verification_add_contacted(&upkeep->verification, NULL);
	if (search->purpose == MAPPING_SEARCH_COMPARE)
		return;
	if (!report->has_known && search->cannot) {
		report->error = search->error;
		report->refused = true;
	}
	mapping_report_take_loss(report, &search->error);
	mapping_search_put_off(search, mapping_search_pause_ms(search, report->races_lost), now);
	report->races_lost++;
}

bool upkeep_is_hopeless(const struct upkeep *upkeep)
{
	return mapping_report_is_hopeless(&upkeep->report);
}

static void advance_search(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	struct mapping_race_result result;

	switch (mapping_search_advance(&upkeep->search, fds, &result, now)) {
	case MAPPING_SEARCH_NOTHING:
		return;
	case MAPPING_SEARCH_WON:
		take_won_race(upkeep, &result, now);
		return;
	case MAPPING_SEARCH_LOST:
		take_lost_race(upkeep, now);
		return;
	}
}

/* ---- reachability ------------------------------------------------------------------------- */

/* No other mapping is left to try. */
static void report_unreachable(struct upkeep *upkeep, uint64_t now)
{
	const struct error *why = &upkeep->trial.why;

	if (!verification_conclude(&upkeep->verification, &upkeep->report.known.mapping))
		return;
	log_warning("%s", why->text);
	log_note("%s", why->hint);
	mapping_report_tell(&upkeep->report, HOOK_UNREACHABLE);
	/* The router may have lost its forward, or another host has ended it. */
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
	struct mapping_race_result kept = upkeep->report.known;

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
	const struct mapping *mapping = &upkeep->report.known.mapping;

	if (trial->state == TRIAL_READY) {
		try_next(upkeep, now);
		return;
	}
	forward_explain_shut(
		&upkeep->lease.forward, upkeep->probe, reachability, mapping, &trial->why);
	if (forward_search_goes_on(reachability) &&
		trial_begin(trial, &upkeep->search.request, upkeep->candidate,
			&mapping->public_addr, now))
		try_next(upkeep, now);
	else
		report_unreachable(upkeep, now);
}

/* If a trial is under way, a stranger got in by its mapping, which is kept from now on. */
static void keep_trial(struct upkeep *upkeep, uint64_t now)
{
	struct trial *trial = &upkeep->trial;

	if (trial->state != TRIAL_READY)
		return;
	upkeep->candidate = trial->candidate;
	upkeep->report.known = trial->result;
	upkeep->report.known.mapping = trial->mapping;
	if (!trial_take(trial))
		return;
	mapping_search_stop(&upkeep->search);
	upkeep->search.request.local.port = trial->result.mapping.local.port;
	upkeep->search.request.method = trial->result.winner.port.method;
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
		mapping_report_tell(&upkeep->report,
			upkeep->report.state == MAPPING_REPORT_UP ? HOOK_CHANGE : HOOK_UP);
		break;
	case VERIFICATION_SHUT:
		take_shut(upkeep, now);
		break;
	case VERIFICATION_IMPOSSIBLE:
		upkeep->report.error = upkeep->verification.error;
		upkeep->report.refused = true;
		if (upkeep->report.other != NULL)
			log_warning("%s", upkeep->report.error.text);
		break;
	}
}

/* ---- the held connection ------------------------------------------------------------------ */

static void meet_over(
	void *context, const struct held *over, const struct invitation *invitation, uint64_t now)
{
	struct upkeep *upkeep = context;

	invitations_take(&upkeep->invitations, over, invitation, now);
}

static void meet_initiator(void *context, const struct invitation *invitation, uint64_t now)
{
	struct upkeep *upkeep = context;

	meet_over(upkeep, &upkeep->held, invitation, now);
}

static void take_loss(struct upkeep *upkeep, const struct held_loss *loss, uint64_t now)
{
	uint64_t wait = 0;

	/*
	 * A server that promised nothing ends connections by its own rules. A RST shows that the
	 * NAT forgot the mapping, so that the server was asked from another port.
	 */
	upkeep->lost_while_idle = loss->idle && (loss->promised || loss->reset);
	if (!loss->promised && !loss->idle)
		upkeep->search.lifetime_ms[loss->reflector] = loss->stood_ms;
	/*
	 * Without a pause, a server that answers and closes at once would have us connect all the
	 * time.
	 */
	if (loss->stood_ms < STOOD_MIN_MS)
		wait = mapping_search_pause_ms(&upkeep->search, upkeep->short_lived++);
	else
		upkeep->short_lived = 0;
	begin_anew(upkeep, wait, now);
}

static void take_answer(struct upkeep *upkeep, uint64_t now)
{
	const struct mapping *mapping = &upkeep->held.mapping;
	struct mapping_race_result seen = upkeep->report.known;

	memcpy(seen.mapping.reflector, mapping->reflector, sizeof(seen.mapping.reflector));
	seen.mapping.public_addr = mapping->public_addr;
	seen.mapping.local = mapping->local;
	/* Without a connection (UDP, raw) only the answer to a keep-alive shows another mapping. */
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
		look_for_mapping(upkeep, now);
		return;
	case HELD_LOST:
		take_loss(upkeep, &upkeep->held.loss, now);
		return;
	case HELD_SILENT:
		upkeep->lost_while_idle = true;
		mapping_search_add_spare_port(&upkeep->search);
		begin_anew(upkeep, 0, now);
		return;
	}
}

/* ---- standby connections ------------------------------------------------------------------ */

/* With `verify`, the other reflectors must stay strangers until there is a verdict. */
static bool stands_by(const struct upkeep *upkeep)
{
	return !upkeep->config->verify || upkeep->verification.judged;
}

/* Returns the mapping as this connection shows it. */
static struct mapping_race_result see(const struct upkeep *upkeep, const struct held *held)
{
	struct mapping_race_result seen = upkeep->report.known;

	seen.mapping = held->mapping;
	seen.no_nat = socket_is_local_ip(&held->mapping.public_addr) &&
		      held->mapping.public_addr.port == held->mapping.local.port;
	forward_note(&upkeep->lease.forward, &seen.mapping);
	return seen;
}

/* The standby connection `to` keeps the mapping from now on. */
static void change_over(struct upkeep *upkeep, struct held *to, uint64_t now)
{
	struct mapping_race_result seen = see(upkeep, to);

	mapping_search_stop(&upkeep->search);
	log_detail("the mapping is kept by %s from now on", to->mapping.reflector);
	lease_set_remote(&upkeep->lease, &to->binding.request.remote, now);
	held_take_over(&upkeep->held, to, now);
	/* If its port differs, no NAT has forgotten it: this reflector sees another mapping. */
	upkeep->lost_while_idle = false;
	confirm(upkeep, &seen, now);
}

static void take_second_opinion(struct upkeep *upkeep, const struct held *from)
{
	struct mapping_race_result seen = see(upkeep, from);

	upkeep->compared = true;
	mapping_report_compare(&upkeep->report, &seen);
}

static void advance_standby(struct upkeep *upkeep, const struct pollfd *fds, uint64_t now)
{
	struct held *answered;
	struct held *successor;

	if (!stands_by(upkeep))
		return;
	answered = standby_advance(&upkeep->standby, fds, now);
	successor = standby_successor(&upkeep->standby);
	if (answered != NULL && upkeep->report.has_known &&
		(!upkeep->held.open || mapping_search_replaces(&upkeep->search)))
		change_over(upkeep, answered, now);
	else if (successor != NULL)
		change_over(upkeep, successor, now);
	else if (answered != NULL && !upkeep->compared && !upkeep->config->verify)
		take_second_opinion(upkeep, answered);
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

/* ---- the parts together -------------------------------------------------------------------- */

/* Goes back to the user's local port, and forgets the trial. */
static void leave_trial(struct upkeep *upkeep)
{
	trial_forget(&upkeep->trial);
	upkeep->candidate = FORWARD_SEEN;
	upkeep->search.request.local.port = upkeep->probe->local.port;
}

/* The router's forward has changed: the mapping that lets strangers in may be another one. */
static void advance_lease(struct upkeep *upkeep, uint64_t now)
{
	bool was_punched = upkeep->candidate == FORWARD_PUNCH;
	struct mapping *known = &upkeep->report.known.mapping;

	if (!lease_advance(&upkeep->lease, now))
		return;
	leave_trial(upkeep);
	forward_note(&upkeep->lease.forward, known);
	if (!upkeep->report.has_known || !upkeep->config->verify)
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

void upkeep_check_network(struct upkeep *upkeep, uint64_t now)
{
	struct addr source;

	lease_hurry(&upkeep->lease, now);
	standby_check_network(&upkeep->standby, now);
	if (!upkeep->held.open) {
		/* A race that began before the change may wait for answers that cannot come. */
		if (mapping_search_replaces(&upkeep->search))
			mapping_search_abandon(&upkeep->search);
		upkeep->report.races_lost = 0;
		look_for_mapping(upkeep, now);
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
	mapping_search_abandon(&upkeep->search);
	begin_anew(upkeep, 0, now);
}

static void take_timers(struct upkeep *upkeep, uint64_t now)
{
	take_held_event(upkeep, held_expire(&upkeep->held, now), now);
	if (timers_take_due(&upkeep->search.due, now))
		look_for_mapping(upkeep, now);
	if (timers_take_due(&upkeep->verification.due, now))
		verify(upkeep, now);
	if (timers_take_due(&upkeep->down_due, now))
		report_down(upkeep);
}

uint64_t upkeep_watch(const struct upkeep *upkeep, struct pollfd fds[UPKEEP_WATCH_MAX])
{
	uint64_t due =
		timer_earlier(upkeep->down_due, held_watch(&upkeep->held, fds + UPKEEP_WATCH_HELD));

	due = timer_earlier(
		due, invitations_watch(&upkeep->invitations, fds + UPKEEP_WATCH_INVITATIONS));
	due = timer_earlier(
		due, verification_watch(&upkeep->verification, fds + UPKEEP_WATCH_VERIFICATION));
	due = timer_earlier(due, lease_watch(&upkeep->lease, fds + UPKEEP_WATCH_LEASE));
	due = timer_earlier(due, trial_watch(&upkeep->trial, fds + UPKEEP_WATCH_TRIAL));
	for (size_t i = UPKEEP_WATCH_STANDBY; i < UPKEEP_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (stands_by(upkeep))
		due = timer_earlier(
			due, standby_watch(&upkeep->standby, fds + UPKEEP_WATCH_STANDBY));
	return timer_earlier(due, mapping_search_watch(&upkeep->search, fds + UPKEEP_WATCH_RACE));
}

void upkeep_advance(struct upkeep *upkeep, const struct pollfd fds[UPKEEP_WATCH_MAX], uint64_t now)
{
	const struct mapping_race *watched = upkeep->search.race;
	bool happened = fds[UPKEEP_WATCH_HELD].revents != 0;

	advance_trial(upkeep, fds + UPKEEP_WATCH_TRIAL, now);
	advance_verification(upkeep, fds + UPKEEP_WATCH_VERIFICATION, now);
	invitations_advance(&upkeep->invitations, fds + UPKEEP_WATCH_INVITATIONS, now);
	take_held_event(upkeep, held_advance(&upkeep->held, happened, now), now);
	take_timers(upkeep, now);
	invitations_look(&upkeep->invitations, &upkeep->held, now);
	invitations_note_proved(&upkeep->invitations, &upkeep->held, &upkeep->report.known.mapping);
	/* Before the race: a standby connection that takes over ends it. */
	advance_standby(upkeep, fds + UPKEEP_WATCH_STANDBY, now);
	advance_lease(upkeep, now);
	/* The fds are of the race that ran when poll(2) was called. */
	advance_search(
		upkeep, upkeep->search.race == watched ? fds + UPKEEP_WATCH_RACE : NULL, now);
	mapping_report_count(&upkeep->report);
}

/* To verify without a privilege takes the port from the forward for a while. */
static void pass_stray(void *context, const struct addr *source, const void *data, size_t size)
{
	const struct upkeep *upkeep = context;

	udp_forward_pass(upkeep->config->udp_forward, source, data, size, clock_now_ms());
}

void upkeep_init(struct upkeep *upkeep, const struct keep_config *config,
	const struct mapping_race_request *probe, const struct upkeep *other)
{
	struct mapping_search *search = &upkeep->search;
	struct home_facts *facts = &upkeep->invitations.facts;

	memset(upkeep, 0, sizeof(*upkeep));
	upkeep->config = config;
	upkeep->probe = probe;
	upkeep->down_due = TIMER_NONE;
	mapping_report_init(&upkeep->report, config, probe->family, &upkeep->standby,
		other != NULL ? &other->report : NULL);
	mapping_search_init(search, probe, config->interval_ms, &upkeep->held, &upkeep->report);
	/* Over UDP, with the standby connections. */
	search->request.shared = probe->shared || config->key != NULL;
	invitations_init(
		&upkeep->invitations, probe, &search->request, config->key, config->handover);
	upkeep->invitations.standby = &upkeep->standby;
	held_init(&upkeep->held, config->key, facts, config->interval_ms, meet_initiator, upkeep);
	standby_init(&upkeep->standby, config->key, probe, &search->request, &upkeep->held,
		other == NULL || probe->family == ADDR_IPV4, meet_over, upkeep);
	verification_init(
		&upkeep->verification, probe, config->verify_open_ms, config->verify_again_ms);
	upkeep->verification.stray = config->udp_forward != NULL ? pass_stray : NULL;
	upkeep->verification.context = upkeep;
	lease_init(&upkeep->lease, config->forward, probe);
	trial_init(&upkeep->trial, probe, &upkeep->lease.forward);
}

void upkeep_start(struct upkeep *upkeep, uint64_t now)
{
	look_for_mapping(upkeep, now);
	advance_search(upkeep, NULL, now);
}

void upkeep_end(struct upkeep *upkeep)
{
	mapping_search_abandon(&upkeep->search);
	verification_end(&upkeep->verification);
	trial_end(&upkeep->trial);
	invitations_end(&upkeep->invitations);
	standby_end(&upkeep->standby);
	held_end(&upkeep->held);
	report_down(upkeep);
	/* Without a mapping, the port and its forward may be another probe's. */
	lease_end(&upkeep->lease, upkeep->report.has_known);
}
