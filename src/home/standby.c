/*
 * How a name is registered at more reflectors than the one by which the mapping is kept.
 *
 * States of a place:
 *
 *   FREE     no address (ADDR_NONE).
 *   COVERED  the kept connection is at this address: nothing is done here.
 *   RESTING  not connected, until `due`.
 *   ASKING   connecting, or waiting for the first answer.
 *   HELD     held.open: kept alive, and the name registered over it (held.c, registration.c).
 *
 *   FREE --looked up--> RESTING --due--> ASKING --answer--> HELD
 *                          ^______failed____|________lost_____|
 *
 * A place is stale once its name does not resolve to its address any more. A stale place that is
 * not HELD becomes FREE at once; one that is HELD does so when the name is registered at an address
 * that its reflector's name resolves to now. So nothing is lost when a name server lies, or when
 * the host at the new address is not up yet.
 *
 * Events:
 *   name looked up    its addresses get places; places with other addresses are stale. A look-up
 *                     that failed changes nothing.
 *   answer            the owner gets it, and may take the connection over (held_take_over()); then
 *                     the place is COVERED.
 *   failed, lost      RESTING, for a pause that doubles with each failure in a row.
 *   kept is lost      a keep-alive goes over each HELD connection; the first answer shows the
 *                     mapping sooner than a race.
 *
 * Timers: `due` of each place; look_due; those of each held connection.
 *
 * Invariants: home connects to these reflectors only while a mapping is kept, so that nothing is in
 * the way of the race that looks for one, and the port and the method are known to work; no two
 * places have the same address, as one port has one connection to it; an answer counts only if the
 * reflector promised to hold the connection; no failure here touches the kept connection.
 *
 * Threat: as for the kept connection. A name server can lead home to an attacker's host, but home
 * leaves no reflector before another one has proved that it has the name's key.
 */
#include "home/standby.h"

#include <stdio.h>
#include <string.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/proto/stun.h"

#define DOUBLINGS_MAX  16
#define WARNED_FROM    2 /* failures in a row: a reflector may be started again */
#define WATCH_LOOK_UP  STANDBY_MAX
#define NAME_TEXT_SIZE sizeof(((struct mapping *)0)->reflector)

void standby_init(struct standby *standby, const struct key *key,
	const struct mapping_race_request *probe, const struct mapping_race_request *request,
	struct held *kept, bool tells_lookups,
	void (*invited)(void *context, const struct held *over, const struct invitation *invitation,
		uint64_t now),
	void *context)
{
	memset(standby, 0, sizeof(*standby));
	standby->key = key;
	standby->probe = probe;
	standby->request = request;
	standby->kept = kept;
	standby->tells_lookups = tells_lookups;
	standby->times = STANDBY_TIMES_DEFAULT;
	standby->invited = invited;
	standby->context = context;
}

/* Over UDP each method can ask several: by bind, sockets that are connected share the port. */
bool standby_serves(const struct standby *standby)
{
	const struct mapping_race_request *request = standby->request;

	if (standby->key == NULL || request->method == NULL)
		return false;
	return request->protocol == MAPPING_UDP || request->method != &borrow_method_raw;
}

/* ---- the kept connection ------------------------------------------------------------------- */

/* If there is a single reflector, the upkeep may race its spare port as a second one. */
static size_t kept_reflector(const struct standby *standby)
{
	return standby->probe->reflector_count > 1 ? standby->kept->reflector : 0;
}

static bool is_covered(const struct standby *standby, const struct addr *addr)
{
	const struct held *kept = standby->kept;
	const struct addr *remote = &kept->binding.request.remote;

	return kept->open && addr_equal_ip(remote, addr) &&
	       (remote->port == addr->port || (standby->probe->reflector_count == 1 &&
						      remote->port == STUN_SPARE_PORT(addr->port)));
}

static bool is_in_use(const struct standby_place *place)
{
	return place->addr.family != ADDR_NONE;
}

static bool is_at(const struct held *held, const struct addr *addr)
{
	const struct binding_client *binding = &held->binding;

	return held->open && (addr_equal(&binding->request.remote, addr) ||
				     addr_equal(&binding->answer.other, addr));
}

bool standby_is_reflector(const struct standby *standby, const struct addr *addr)
{
	if (is_at(standby->kept, addr))
		return true;
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (addr_equal(&standby->places[i].addr, addr) ||
			is_at(&standby->places[i].held, addr))
			return true;
	return false;
}

/* Does the kept reflector's name resolve to other addresses now? */
static bool is_kept_stale(const struct standby *standby)
{
	const struct held *kept = standby->kept;

	if (!kept->open || kept->binding.followed || standby->warned_full ||
		!standby->looked[kept_reflector(standby)])
		return false;
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		const struct standby_place *place = &standby->places[i];
		if (is_in_use(place) && !place->stale && is_covered(standby, &place->addr))
			return false;
	}
	return true;
}

/* ---- places -------------------------------------------------------------------------------- */

static bool is_registered_at(const struct standby_place *place)
{
	if (is_covered(place->standby, &place->addr))
		return place->standby->kept->registration.registered;
	return place->held.registration.registered;
}

/* Is there, or will there be soon, another connection to this place's reflector? */
static bool is_served(const struct standby_place *place)
{
	const struct standby *standby = place->standby;

	if (standby->kept->open && kept_reflector(standby) == place->reflector &&
		!is_kept_stale(standby))
		return true;
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		const struct standby_place *other = &standby->places[i];
		if (other != place && is_in_use(other) && !other->stale &&
			other->reflector == place->reflector && (other->asking || other->held.open))
			return true;
	}
	return false;
}

static bool may_try(const struct standby_place *place)
{
	return place->standby->kept->open && standby_serves(place->standby) && !place->stale &&
	       (place->by_service || !is_served(place));
}

static void name_place(const struct standby_place *place, char out[NAME_TEXT_SIZE])
{
	char text[ADDR_TEXT_SIZE];

	if (place->by_service)
		snprintf(out, NAME_TEXT_SIZE, "%s", addr_format(&place->addr, text));
	else
		mapping_race_name_reflector(
			&place->standby->probe->reflectors[place->reflector], out, NAME_TEXT_SIZE);
}

static void stop_asking(struct standby_place *place)
{
	if (place->asking)
		binding_client_end(&place->client);
	place->asking = false;
}

static void free_place(struct standby_place *place)
{
	stop_asking(place);
	held_end(&place->held);
	registration_part(&place->held.registration);
	place->addr.family = ADDR_NONE;
}

/*
 * Looks up the names soon, look_early_ms after the last round at the earliest: a reason may come
 * again and again.
 */
static void look_up_soon(struct standby *standby, uint64_t now)
{
	uint64_t early = standby->looked_at + standby->times.look_early_ms;

	standby->look_due = timer_earlier(standby->look_due, early > now ? early : now);
}

static void rest(struct standby_place *place, uint64_t now)
{
	const struct standby_times *times = &place->standby->times;
	unsigned doublings = place->failures < DOUBLINGS_MAX ? place->failures : DOUBLINGS_MAX;

	place->due = now + timers_with_jitter(timer_earlier(
				   times->pause_first_ms << doublings, times->pause_max_ms));
	place->failures++;
}

static void fail(
	struct standby_place *place, const char *problem, unsigned warned_from, uint64_t now)
{
	char name[NAME_TEXT_SIZE];

	stop_asking(place);
	rest(place, now);
	name_place(place, name);
	/* While no mapping is kept, the upkeep warns of that instead. */
	if (place->failures >= warned_from && place->standby->kept->open)
		registration_miss(&place->held.registration, name, problem);
	else
		log_detail("%s: %s; trying again", name, problem);
}

static void start_asking(struct standby_place *place, uint64_t now)
{
	const struct mapping_race_request *how = place->standby->request;
	const struct borrow_request request = {
		.protocol = how->protocol,
		.local = how->local,
		.remote = place->addr,
		.interface = how->interface,
		.owner = how->owner,
		.leave_free = how->leave_free,
		.shared = how->shared,
	};

	place->standby->contacted[place->reflector] = true;
	place->asking = true;
	place->due = now + how->timeout_ms;
	binding_client_start(
		&place->client, how->method, &request, BINDING_MODE_HOLD, how->hold_seconds, now);
}

static void hold(struct standby_place *place, uint64_t now)
{
	const struct binding_client *client = &place->client;
	struct mapping_race_result result = {.winner = *client, .reflector = place->reflector};
	struct mapping *mapping = &result.mapping;

	mapping->public_addr = client->answer.mapped;
	mapping->local = client->local;
	mapping->protocol = place->standby->request->protocol;
	name_place(place, mapping->reflector);
	snprintf(mapping->method, sizeof(mapping->method), "%s", client->port.method->name);
	place->asking = false;
	place->held.interval_ms = place->standby->kept->interval_ms;
	held_begin(&place->held, &result, 0, now);
}

/* Returns whether the reflector has answered now. */
static bool go_on_asking(struct standby_place *place, bool happened, uint64_t now)
{
	struct binding_client *client = &place->client;

	if (happened || client->due <= now)
		binding_client_advance(client, now);
	if (client->state == BINDING_CLIENT_FAILED) {
		fail(place, client->error.text, WARNED_FROM, now);
		return false;
	}
	if (client->state != BINDING_CLIENT_ANSWERED) {
		if (now >= place->due)
			fail(place, "no answer", WARNED_FROM, now);
		return false;
	}
	if (client->port.kind == BORROW_STREAM && client->answer.mode != BINDING_MODE_HOLD) {
		fail(place, "the reflector keeps no names", 1, now);
		return false;
	}
	hold(place, now);
	return true;
}

/* Returns whether a keep-alive was answered. */
static bool go_on_holding(struct standby_place *place, bool happened, uint64_t now)
{
	struct held *held = &place->held;
	enum held_event event = held_advance(held, happened, now);

	if (event == HELD_NOTHING)
		event = held_expire(held, now);
	if (event == HELD_LOST || event == HELD_SILENT) {
		if (now - held->opened_at >= place->standby->times.stood_ms)
			place->failures = 0;
		rest(place, now);
		look_up_soon(place->standby, now);
	}
	return event == HELD_ANSWERED;
}

/* The kept connection has this address now, perhaps since this place began to connect. */
static void cover(struct standby_place *place, uint64_t now)
{
	stop_asking(place);
	held_release(&place->held);
	place->failures = 0;
	place->due = now;
}

/* Returns whether the place's connection has just answered. */
static bool advance_place(struct standby_place *place, bool happened, uint64_t now)
{
	if (!is_in_use(place))
		return false;
	if (is_covered(place->standby, &place->addr)) {
		cover(place, now);
		return false;
	}
	if (place->held.open)
		return go_on_holding(place, happened, now);
	if (place->asking)
		return go_on_asking(place, happened, now);
	if (now >= place->due && may_try(place))
		start_asking(place, now);
	return false;
}

/* ---- the names ----------------------------------------------------------------------------- */

/* Is the name registered at an address that this reflector's name resolves to now? */
static bool is_known(const struct standby *standby, size_t reflector)
{
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		const struct standby_place *place = &standby->places[i];
		if (is_in_use(place) && !place->stale && place->reflector == reflector &&
			is_registered_at(place))
			return true;
	}
	return false;
}

static void drop_stale(struct standby *standby)
{
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		struct standby_place *place = &standby->places[i];
		char text[ADDR_TEXT_SIZE];

		if (!is_in_use(place) || !place->stale ||
			(place->held.open && !is_known(standby, place->reflector)))
			continue;
		log_detail("%s no longer leads to %s",
			standby->probe->reflectors[place->reflector].host,
			addr_format(&place->addr, text));
		free_place(place);
	}
}

static void warn_full(struct standby *standby)
{
	if (!standby->warned_full)
		log_warning("%s is registered at %d addresses of reflectors, and not at more",
			standby->key->name, STANDBY_MAX);
	standby->warned_full = true;
}

static void take_invitation(void *context, const struct invitation *invitation, uint64_t now)
{
	struct standby_place *place = context;

	place->standby->invited(place->standby->context, &place->held, invitation, now);
}

static struct standby_place *find_place(struct standby *standby, const struct addr *addr)
{
	struct standby_place *free_one = NULL;

	for (size_t i = 0; i < STANDBY_MAX; i++) {
		struct standby_place *place = &standby->places[i];
		if (is_in_use(place) && addr_equal(&place->addr, addr))
			return place;
		if (!is_in_use(place) && free_one == NULL)
			free_one = place;
	}
	return free_one;
}

static void add_place(
	struct standby *standby, const struct addr *addr, bool by_service, uint64_t now)
{
	struct standby_place *place = find_place(standby, addr);

	if (place == NULL) {
		warn_full(standby);
		return;
	}
	if (is_in_use(place)) {
		if (place->stale)
			place->reflector = standby->name;
		place->by_service = place->by_service || by_service;
		place->stale = false;
		return;
	}
	*place = (struct standby_place){.standby = standby,
		.addr = *addr,
		.reflector = standby->name,
		.by_service = by_service,
		.due = now};
	held_init(&place->held, standby->key, standby->kept->registration.facts,
		standby->kept->interval_ms, take_invitation, place);
	place->held.registration.beside = true;
}

static void warn_unknown(struct standby *standby)
{
	const char *host = standby->probe->reflectors[standby->name].host;
	const char *why = standby->resolve.error.text;
	struct addr literal;

	if (standby->tells_lookups && addr_parse_ip(&literal, host) != 0 &&
		!standby->looked[standby->name] && !standby->lookup_warned[standby->name]) {
		log_warning("%s is not registered at %s: cannot look it up: %s", standby->key->name,
			host, why);
		standby->lookup_warned[standby->name] = true;
		return;
	}
	log_detail("cannot look up %s: %s", host, why);
}

static bool is_wanted(const struct standby *standby, const struct addr *addr)
{
	return standby->request->family == ADDR_NONE || addr->family == standby->request->family;
}

static void take_lookup(struct standby *standby, uint64_t now)
{
	const struct resolve *resolve = &standby->resolve;
	size_t wanted = 0;

	if (resolve->count == 0)
		warn_unknown(standby);
	for (size_t i = 0; i < resolve->count; i++)
		wanted += is_wanted(standby, &resolve->found[i]);
	if (wanted == 0)
		return;
	standby->looked[standby->name] = true;
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (standby->places[i].reflector == standby->name)
			standby->places[i].stale = true;
	for (size_t i = 0; i < resolve->count; i++) {
		struct addr addr = resolve_target(resolve, i);
		if (is_wanted(standby, &resolve->found[i]))
			add_place(standby, &addr, resolve->by_service, now);
	}
}

static void start_lookup(struct standby *standby)
{
	const struct mapping_race_request *request = standby->request;

	resolve_start_reflector(&standby->resolve, request->resolver,
		&standby->probe->reflectors[standby->name],
		request->look_up_both ? ADDR_NONE : request->family);
}

static void advance_lookup(struct standby *standby, bool happened, uint64_t now)
{
	if (!standby->looking && standby->kept->open && standby_serves(standby) &&
		timers_take_due(&standby->look_due, now)) {
		standby->looking = true;
		standby->looked_at = now;
		standby->name = 0;
		start_lookup(standby);
	}
	if (standby->looking && happened)
		resolve_advance(&standby->resolve);
	while (standby->looking && standby->resolve.done) {
		take_lookup(standby, now);
		resolve_end(&standby->resolve);
		standby->name++;
		standby->looking = standby->name < standby->probe->reflector_count;
		if (standby->looking)
			start_lookup(standby);
		else
			standby->look_due = timer_earlier(standby->look_due,
				now + timers_with_jitter(standby->times.look_ms));
	}
}

/* ---- what happens -------------------------------------------------------------------------- */

void standby_ask(struct standby *standby, uint64_t now)
{
	if (standby->key == NULL)
		return;
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (is_in_use(&standby->places[i]))
			held_send_keepalive(&standby->places[i].held, now);
	look_up_soon(standby, now);
}

static void begin_anew(struct standby_place *place, uint64_t now)
{
	stop_asking(place);
	held_release(&place->held);
	place->failures = 0;
	place->due = now;
}

static bool leaves_from_elsewhere(const struct standby_place *place)
{
	struct addr source;

	return place->standby->probe->local.family == ADDR_NONE &&
	       socket_source_for(&place->addr, &source) == 0 &&
	       !addr_equal_ip(&source, &place->held.binding.local);
}

void standby_check_network(struct standby *standby, uint64_t now)
{
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		struct standby_place *place = &standby->places[i];
		if (is_in_use(place) && (!place->held.open || leaves_from_elsewhere(place)))
			begin_anew(place, now);
	}
	standby_ask(standby, now);
}

void standby_restart(struct standby *standby, uint64_t now)
{
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (is_in_use(&standby->places[i]))
			begin_anew(&standby->places[i], now);
}

void standby_look_up(struct standby *standby, uint64_t now)
{
	if (standby->key != NULL)
		standby->look_due = now;
}

void standby_renew(struct standby *standby, uint64_t now)
{
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (is_in_use(&standby->places[i]))
			registration_renew(&standby->places[i].held.registration, now);
}

static uint64_t place_due(const struct standby_place *place)
{
	if (place->asking)
		return timer_earlier(place->due, place->client.due);
	return may_try(place) ? place->due : TIMER_NONE;
}

static uint64_t watch_place(const struct standby_place *place, struct pollfd *fd)
{
	if (place->held.open)
		return held_watch(&place->held, fd);
	*fd = (struct pollfd){.fd = -1};
	if (!is_in_use(place) || is_covered(place->standby, &place->addr))
		return TIMER_NONE;
	if (place->asking)
		*fd = (struct pollfd){.fd = binding_client_fd(&place->client),
			.events = binding_client_events(&place->client)};
	return place_due(place);
}

uint64_t standby_watch(const struct standby *standby, struct pollfd fds[STANDBY_WATCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < STANDBY_MAX; i++)
		due = timer_earlier(due, watch_place(&standby->places[i], &fds[i]));
	fds[WATCH_LOOK_UP] = (struct pollfd){
		.fd = standby->looking ? standby->resolve.fd : -1, .events = POLLIN};
	if (!standby->looking && standby->kept->open && standby_serves(standby))
		due = timer_earlier(due, standby->look_due);
	return due;
}

struct held *standby_advance(
	struct standby *standby, const struct pollfd fds[STANDBY_WATCH_MAX], uint64_t now)
{
	struct held *answered = NULL;

	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (advance_place(&standby->places[i], fds[i].revents != 0, now))
			answered = &standby->places[i].held;
	advance_lookup(standby, fds[WATCH_LOOK_UP].revents != 0, now);
	drop_stale(standby);
	return answered;
}

struct held *standby_successor(struct standby *standby)
{
	if (!is_kept_stale(standby))
		return NULL;
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		struct standby_place *place = &standby->places[i];
		if (is_in_use(place) && !place->stale &&
			place->reflector == kept_reflector(standby) &&
			place->held.registration.registered &&
			place->held.binding.state == BINDING_CLIENT_ANSWERED)
			return &place->held;
	}
	return NULL;
}

/* Does the place count as a reflector? Of the addresses of a host name, only the first does. */
static bool counts(const struct standby_place *place)
{
	const struct standby *standby = place->standby;

	if (!is_in_use(place) || place->stale)
		return false;
	for (size_t i = 0; &standby->places[i] != place && !place->by_service; i++) {
		const struct standby_place *other = &standby->places[i];
		if (is_in_use(other) && !other->stale && other->reflector == place->reflector)
			return false;
	}
	return true;
}

void standby_count(const struct standby *standby, size_t *registered, size_t *all)
{
	*registered = *all = 0;
	for (size_t i = 0; i < STANDBY_MAX; i++) {
		const struct standby_place *place = &standby->places[i];
		if (!counts(place))
			continue;
		++*all;
		*registered += place->by_service ? is_registered_at(place)
						 : is_known(standby, place->reflector);
	}
}

void standby_end(struct standby *standby)
{
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (is_in_use(&standby->places[i]))
			free_place(&standby->places[i]);
	if (standby->looking)
		resolve_end(&standby->resolve);
	standby->looking = false;
}
