/*
 * All reflectors are asked at once: one that is dead costs no other one's time.
 *
 * States: each name is looked up, and becomes a target, or with SRV records one for each address.
 * Each target has a race of its own over its addresses (mapping_race.h), and then a mapping or an
 * error. When none is under way any more, or the time is up, the mappings are registered in turn,
 * over what they were found with.
 *
 * Invariants: no address is asked twice, nor that of the first mapping, which is open, as the port
 * can have only one connection to it; all that was opened is closed.
 */
#include "natpunch/client/register_each.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/client/name_register.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/watch.h"

struct target {
	struct host_port addresses[RESOLVE_MAX];
	char name[sizeof(((struct mapping *)0)->reflector)];
	struct mapping_race_request request;
	struct mapping_race *race; /* under way, or NULL */
	bool mapped;
	struct mapping_race_result result;
	struct error error;
};

struct each {
	const struct register_each_request *request;
	struct resolve names[MAPPING_RACE_REFLECTOR_MAX];
	bool looking[MAPPING_RACE_REFLECTOR_MAX];
	struct target targets[REGISTER_EACH_MAX];
	size_t count;
	size_t others; /* how many there are to register at */
};

#define WATCH_MAX (MAPPING_RACE_REFLECTOR_MAX + REGISTER_EACH_MAX * MAPPING_RACE_WATCH_MAX)

_Static_assert(WATCH_MAX <= WATCH_POLL_MAX, "one watch_poll() takes all");

static void tell_failure(struct each *each, const char *reflector, const struct error *error)
{
	each->others++;
	each->request->tell(each->request->context, reflector, NULL, NULL, error);
}

/* ---- targets ------------------------------------------------------------------------------ */

static bool is_asked(const struct each *each, const struct addr *addr)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (addr_equal(&each->request->first->winner.request.remote, addr))
		return true;
	addr_format_ip(addr, ip);
	for (size_t i = 0; i < each->count; i++) {
		const struct target *target = &each->targets[i];
		for (size_t n = 0; n < target->request.reflector_count; n++)
			if (target->addresses[n].port == addr->port &&
				strcmp(target->addresses[n].host, ip) == 0)
				return true;
	}
	return false;
}

static struct target *add_target(struct each *each, const char *name)
{
	struct error error;
	struct target *target;

	if (each->count == REGISTER_EACH_MAX) {
		error_set(
			&error, EXIT_STATUS_NETWORK, "more than %d reflectors", REGISTER_EACH_MAX);
		tell_failure(each, name, &error);
		return NULL;
	}
	target = &each->targets[each->count++];
	each->others++;
	*target = (struct target){.request = *each->request->probe};
	snprintf(target->name, sizeof(target->name), "%s", name);
	target->request.reflectors = target->addresses;
	target->request.reflector_count = 0;
	target->request.first = 0;
	target->request.must_agree = false;
	target->request.shared = true;
	target->request.method = each->request->first->winner.port.method;
	return target;
}

static void add_address(struct target *target, const struct addr *addr)
{
	struct host_port *to = &target->addresses[target->request.reflector_count++];
	char ip[ADDR_IP_TEXT_SIZE];

	*to = (struct host_port){.port = addr->port, .port_named = true};
	snprintf(to->host, sizeof(to->host), "%s", addr_format_ip(addr, ip));
}

static bool is_wanted(const struct each *each, const struct addr *addr)
{
	enum addr_family family = each->request->probe->family;

	return family == ADDR_NONE || addr->family == family;
}

static void add_targets(struct each *each, size_t index, uint64_t now)
{
	const struct resolve *names = &each->names[index];
	const struct host_port *reflector = &each->request->probe->reflectors[index];
	struct target *target = NULL;
	char text[sizeof(target->name)];
	size_t before = each->count;

	mapping_race_name_reflector(reflector, text, sizeof(text));
	for (size_t i = 0; i < names->count; i++) {
		struct addr addr = resolve_target(names, i);
		if (!is_wanted(each, &names->found[i]) || is_asked(each, &addr))
			continue;
		if (names->by_service)
			addr_format(&addr, text);
		if (target == NULL || names->by_service)
			target = add_target(each, text);
		if (target == NULL)
			break;
		add_address(target, &addr);
	}
	for (; before < each->count; before++) {
		target = &each->targets[before];
		target->race = mapping_race_start(&target->request, now);
		if (target->race == NULL)
			error_set(&target->error, EXIT_STATUS_LOCAL, "no memory");
	}
}

static void take_lookup(struct each *each, size_t index, uint64_t now)
{
	const struct host_port *reflector = &each->request->probe->reflectors[index];
	struct resolve *names = &each->names[index];
	struct addr literal;
	struct error error;

	each->looking[index] = false;
	if (names->count > 0) {
		/* One address of a host is enough, and the first mapping has one of its host. */
		if (names->by_service || index != each->request->first->reflector)
			add_targets(each, index, now);
	} else if (each->request->tells_lookups && addr_parse_ip(&literal, reflector->host) != 0) {
		error_set(&error, names->error.status, "cannot look it up: %s", names->error.text);
		tell_failure(each, reflector->host, &error);
	}
}

/* ---- all at once -------------------------------------------------------------------------- */

static uint64_t watch(const struct each *each, struct pollfd fds[WATCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (each->looking[i])
			fds[i] = (struct pollfd){.fd = each->names[i].fd, .events = POLLIN};
	fds += MAPPING_RACE_REFLECTOR_MAX;
	for (size_t i = 0; i < each->count; i++, fds += MAPPING_RACE_WATCH_MAX) {
		uint64_t own = TIMER_NONE;
		if (each->targets[i].race != NULL)
			own = mapping_race_watch(each->targets[i].race, fds);
		due = timer_earlier(due, own);
	}
	return due;
}

static void advance_target(struct target *target, const struct pollfd *fds, uint64_t now)
{
	enum mapping_race_state state;

	if (target->race == NULL)
		return;
	state = mapping_race_advance(target->race, fds, now);
	if (state == MAPPING_RACE_RUNNING)
		return;
	target->mapped = state == MAPPING_RACE_MAPPED;
	if (target->mapped)
		mapping_race_take(target->race, &target->result);
	else
		target->error = *mapping_race_error(target->race);
	mapping_race_end(target->race);
	target->race = NULL;
}

static void advance(struct each *each, const struct pollfd fds[WATCH_MAX], uint64_t now)
{
	const struct pollfd *races = fds + MAPPING_RACE_REFLECTOR_MAX;
	size_t watched = each->count;

	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++) {
		if (each->looking[i] && fds[i].revents != 0)
			resolve_advance(&each->names[i]);
		if (each->looking[i] && each->names[i].done)
			take_lookup(each, i, now);
	}
	for (size_t i = 0; i < each->count; i++)
		advance_target(&each->targets[i],
			i < watched ? races + i * MAPPING_RACE_WATCH_MAX : NULL, now);
}

static bool is_busy(const struct each *each)
{
	for (size_t i = 0; i < MAPPING_RACE_REFLECTOR_MAX; i++)
		if (each->looking[i])
			return true;
	for (size_t i = 0; i < each->count; i++)
		if (each->targets[i].race != NULL)
			return true;
	return false;
}

static void look_up_all(struct each *each)
{
	const struct mapping_race_request *probe = each->request->probe;

	for (size_t i = 0; i < probe->reflector_count; i++) {
		each->looking[i] = true;
		resolve_start_reflector(&each->names[i], probe->resolver, &probe->reflectors[i],
			probe->look_up_both ? ADDR_NONE : probe->family);
	}
}

/* Reports the names that no name server answered for. Races report their own timeouts. */
static void end_lookups(struct each *each)
{
	const struct mapping_race_request *probe = each->request->probe;
	struct error error;

	for (size_t i = 0; i < probe->reflector_count; i++) {
		if (each->looking[i] && each->request->tells_lookups) {
			error_set(&error, EXIT_STATUS_NETWORK,
				"cannot look it up: no answer from a name server");
			tell_failure(each, probe->reflectors[i].host, &error);
		}
		resolve_end(&each->names[i]);
	}
}

static void find_all(struct each *each)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + each->request->probe->timeout_ms;
	struct pollfd fds[WATCH_MAX];

	look_up_all(each);
	memset(fds, 0, sizeof(fds));
	advance(each, fds, now);
	while (is_busy(each) && now < deadline) {
		uint64_t due = watch(each, fds);

		watch_poll(fds, WATCH_MAX, clock_poll_ms(now, due < deadline ? due : deadline));
		now = clock_now_ms();
		advance(each, fds, now);
	}
	end_lookups(each);
}

/* ---- registering -------------------------------------------------------------------------- */

static bool register_target(struct each *each, struct target *target)
{
	const struct register_each_request *request = each->request;
	struct mapping_race_result *result = &target->result;
	uint64_t deadline = clock_now_ms() + target->request.timeout_ms;
	struct name_message_record registered;
	bool done;

	if (target->race != NULL)
		error_set(&target->error, EXIT_STATUS_NETWORK, "no answer within %g s",
			(double)target->request.timeout_ms / 1000);
	mapping_race_end(target->race);
	if (!target->mapped) {
		request->tell(request->context, target->name, NULL, NULL, &target->error);
		return false;
	}
	snprintf(result->mapping.reflector, sizeof(result->mapping.reflector), "%s", target->name);
	done = name_register_mapping(&target->request, result, request->key, request->facts,
		       request->mode, deadline, &registered, &target->error) == 0;
	request->tell(request->context, target->name, result, done ? &registered : NULL,
		done ? NULL : &target->error);
	binding_client_end(&result->winner);
	return done;
}

size_t register_each(const struct register_each_request *request, size_t *others)
{
	struct each each = {.request = request};
	size_t done = 0;

	*others = 0;
	if ((request->probe->reflector_count == 1 && !request->first->by_service) ||
		request->probe->must_agree)
		return 0;
	find_all(&each);
	for (size_t i = 0; i < each.count; i++)
		done += register_target(&each, &each.targets[i]);
	*others = each.others;
	return done;
}
