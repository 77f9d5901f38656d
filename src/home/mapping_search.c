/*
 * How a mapping is looked for.
 *
 * States: no race, or one (`race`). A race either replaces what is held, or compares: its winner is
 * a second opinion.
 *
 * Events:
 *   race won               its method is tried alone from now on.
 *   race lost              by any method again.
 *   silence after silence  a reflector that was left silently answers only at its other port: the
 *                          held connection is closed in order from now on (close_in_order()).
 *
 * Timer: `due`, when the owner begins the next race. The pause doubles with each failure in a row,
 * up to the interval of keep-alives or BACKOFF_MAX_MS. A family that is absent (mapping_report.h)
 * is looked for down to once in ABSENT_MAX_MS.
 *
 * Invariants: there is one race at most; other reflectors than the held one are asked first.
 */
#include "home/mapping_search.h"

#include <string.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/proto/stun.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   60000
#define ABSENT_MAX_MS    600000
#define DOUBLINGS_MAX    11

void mapping_search_init(struct mapping_search *search, const struct mapping_race_request *probe,
	uint64_t interval_ms, struct held *held, const struct mapping_report *report)
{
	memset(search, 0, sizeof(*search));
	search->probe = probe;
	search->request = *probe;
	search->request.mode = BINDING_MODE_HOLD;
	search->request.hold_seconds = (uint16_t)((interval_ms + 999) / 1000);
	search->held = held;
	search->report = report;
	search->due = TIMER_NONE;
}

/* ---- when, and whom to ask ----------------------------------------------------------------- */

uint64_t mapping_search_pause_ms(const struct mapping_search *search, unsigned failures)
{
	unsigned doublings = failures < DOUBLINGS_MAX ? failures : DOUBLINGS_MAX;
	uint64_t most = timer_earlier(search->held->interval_ms, BACKOFF_MAX_MS);

	if (mapping_report_is_absent(search->report))
		most = ABSENT_MAX_MS;
	return timers_with_jitter(timer_earlier((uint64_t)BACKOFF_FIRST_MS << doublings, most));
}

/*
 * Returns another reflector than the held one: that with the longest lifetime of connections, where
 * an unknown one counts as the longest. Of a single reflector's ports, it is the held one's.
 */
static size_t next_reflector(const struct mapping_search *search)
{
	size_t count = search->request.reflector_count;
	size_t best = (search->held->reflector + 1) % count;

	if (search->probe->reflector_count == 1)
		return search->held->reflector;
	for (size_t n = 2; n < count; n++) {
		size_t i = (search->held->reflector + n) % count;
		uint64_t lifetime = search->lifetime_ms[i];
		if (search->lifetime_ms[best] != 0 &&
			(lifetime == 0 || lifetime > search->lifetime_ms[best]))
			best = i;
	}
	return best;
}

/*
 * A router that has lost its public address may go on to use the state of that one: then no answer
 * comes from the port that we ask any more, however often we ask, as each packet keeps that state
 * alive. Another port of the reflector is another flow, for which the router makes a new mapping.
 * Asking it costs nothing if the server does not have it.
 */
void mapping_search_add_spare_port(struct mapping_search *search)
{
	const struct mapping_race_request *probe = search->probe;

	if (probe->reflector_count != 1 || search->request.reflector_count == 2)
		return;
	search->ports[0] = search->ports[1] = probe->reflectors[0];
	search->ports[1].port = STUN_SPARE_PORT(search->ports[0].port);
	search->ports[1].port_named = true;
	search->request.reflectors = search->ports;
	search->request.reflector_count = 2;
}

bool mapping_search_start(
	struct mapping_search *search, enum mapping_search_purpose purpose, uint64_t now)
{
	bool has_known = search->report->has_known;

	if (search->race != NULL)
		return false;
	search->due = TIMER_NONE;
	search->purpose = purpose;
	search->request.first = has_known ? next_reflector(search) : 0;
	/* After two reflectors have agreed on an address, one shows whether it is still right. */
	search->request.must_agree = search->probe->must_agree && !has_known;
	search->race = mapping_race_start(&search->request, now);
	if (search->race == NULL)
		search->due = now + mapping_search_pause_ms(search, search->report->races_lost);
	return true;
}

void mapping_search_put_off(struct mapping_search *search, uint64_t wait, uint64_t now)
{
	if (search->race == NULL)
		search->due = now + wait;
}

bool mapping_search_replaces(const struct mapping_search *search)
{
	return search->race != NULL && search->purpose == MAPPING_SEARCH_REPLACE;
}

void mapping_search_abandon(struct mapping_search *search)
{
	mapping_race_end(search->race);
	search->race = NULL;
}

void mapping_search_stop(struct mapping_search *search)
{
	mapping_search_abandon(search);
	search->due = TIMER_NONE;
}

/* ---- what a race finds --------------------------------------------------------------------- */

/*
 * A NAT in user space (pasta) holds on to a connection that was closed silently: the reflector does
 * not answer that port any more. If the same reflector answers at another port (`winner`), the
 * reason is that, and not a reflector or network that is down.
 */
static bool bears_no_silence(const struct mapping_search *search, const struct addr *winner)
{
	const struct held *held = search->held;

	return !held->in_order && addr_equal_ip(winner, &held->released) &&
	       mapping_race_is_silent(search->race, &held->released);
}

static void close_in_order(struct held *held)
{
	char text[ADDR_TEXT_SIZE];

	log_note("no answer from %s since a connection there was ended without a packet: they are "
		 "closed in order from now on",
		addr_format(&held->released, text));
	held->in_order = true;
}

static void take_winner(struct mapping_search *search, struct mapping_race_result *result)
{
	mapping_race_take(search->race, result);
	if (bears_no_silence(search, &result->winner.request.remote))
		close_in_order(search->held);
	mapping_search_abandon(search);
	if (search->purpose == MAPPING_SEARCH_REPLACE)
		search->request.method = result->winner.port.method;
}

/* The network, and with it the address of -b, may come later. */
static bool lacks_address(const struct mapping_search *search)
{
	const struct addr *local = &search->probe->local;

	return local->family != ADDR_NONE && !socket_is_local_ip(local);
}

static void take_loss(struct mapping_search *search)
{
	search->error = *mapping_race_error(search->race);
	search->cannot = mapping_race_cannot(search->race) && !lacks_address(search);
	search->spoke =
		mapping_race_spoke(search->race) && search->error.status != EXIT_STATUS_LOCAL;
	mapping_search_abandon(search);
	if (search->purpose == MAPPING_SEARCH_REPLACE)
		search->request.method = search->probe->method;
}

uint64_t mapping_search_watch(
	const struct mapping_search *search, struct pollfd fds[MAPPING_RACE_WATCH_MAX])
{
	if (search->race == NULL)
		return search->due;
	return timer_earlier(search->due, mapping_race_watch(search->race, fds));
}

enum mapping_search_event mapping_search_advance(struct mapping_search *search,
	const struct pollfd *fds, struct mapping_race_result *result, uint64_t now)
{
	if (search->race == NULL)
		return MAPPING_SEARCH_NOTHING;
	switch (mapping_race_advance(search->race, fds, now)) {
	case MAPPING_RACE_RUNNING:
		break;
	case MAPPING_RACE_MAPPED:
		take_winner(search, result);
		return MAPPING_SEARCH_WON;
	case MAPPING_RACE_FAILED:
		take_loss(search);
		return MAPPING_SEARCH_LOST;
	}
	return MAPPING_SEARCH_NOTHING;
}
