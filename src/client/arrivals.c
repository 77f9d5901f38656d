#include "natpunch/client/arrivals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/log.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/os/tap.h"

void arrivals_open(struct arrivals *arrivals, const struct addr *local, const struct addr *mapped)
{
	memset(arrivals, 0, sizeof(*arrivals));
	arrivals->tap = -1;
	arrivals->local = *local;
	arrivals->public_port = mapped->port;
	if (local->family != mapped->family)
		return;
	arrivals->tap = tap_open((enum addr_family)local->family, MAPPING_TCP, TAP_ANY_PORT);
	if (arrivals->tap >= 0)
		return;
	arrivals->problem = errno;
	log_detail("cannot watch what comes to port %u: %s", local->port, strerror(errno));
}

void arrivals_expect(struct arrivals *arrivals, const struct addr *reflector)
{
	for (size_t i = 0; i < arrivals->expected_count; i++)
		if (addr_equal_ip(&arrivals->expected[i], reflector))
			return;
	if (arrivals->expected_count < ARRIVALS_EXPECTED_MAX)
		arrivals->expected[arrivals->expected_count++] = *reflector;
}

void arrivals_read(struct arrivals *arrivals)
{
	struct arrivals_syn syn;
	size_t size;
	int got = 0;

	while (arrivals->tap >= 0 && got >= 0) {
		got = tap_receive(
			arrivals->tap, MAPPING_TCP, &syn.source, &syn.destination, NULL, 0, &size);
		if (got != 1)
			continue;
		if (arrivals->count >= ARRIVALS_MAX)
			arrivals->lost = true;
		arrivals->seen[arrivals->count++ % ARRIVALS_MAX] = syn;
	}
	if (arrivals->tap >= 0 && tap_has_lost(arrivals->tap))
		arrivals->lost = true;
}

static bool is_to_port(const struct arrivals *arrivals, const struct arrivals_syn *syn)
{
	return syn->destination.port == arrivals->local.port ||
	       syn->destination.port == arrivals->public_port;
}

static bool looks_like(
	const struct arrivals *arrivals, const struct arrivals_syn *syn, const struct addr *from)
{
	if (from->port == 0)
		return addr_equal_ip(&syn->source, from);
	return syn->source.port == from->port &&
	       (addr_equal_ip(&syn->source, from) || is_to_port(arrivals, syn));
}

/* Another reflector's dial-back, unless `from` is an address that no one sees from outside. */
static bool is_expected(
	const struct arrivals *arrivals, const struct arrivals_syn *syn, const struct addr *from)
{
	if (addr_classify(from) != ADDR_CLASS_PUBLIC || addr_equal_ip(&syn->source, from))
		return false;
	for (size_t i = 0; i < arrivals->expected_count; i++)
		if (addr_equal_ip(&syn->source, &arrivals->expected[i]))
			return true;
	return false;
}

static bool is_for_us(const struct arrivals *arrivals, const struct arrivals_syn *syn)
{
	return addr_equal_ip(&syn->destination, &arrivals->local) ||
	       socket_is_local_ip(&syn->destination);
}

enum arrival arrivals_judge(struct arrivals *arrivals, const struct addr *from)
{
	size_t first = arrivals->count > ARRIVALS_MAX ? arrivals->count - ARRIVALS_MAX : 0;
	bool doubtful = false;

	for (size_t i = first; i < arrivals->count; i++) {
		const struct arrivals_syn *syn = &arrivals->seen[i % ARRIVALS_MAX];
		bool like = looks_like(arrivals, syn, from);

		if (!like && (!is_to_port(arrivals, syn) || is_expected(arrivals, syn, from)))
			continue;
		if (is_for_us(arrivals, syn) && like)
			return ARRIVAL_SEEN;
		/* One that only passes through to another machine leaves it open whose it is. */
		if (!like && !is_for_us(arrivals, syn))
			continue;
		doubtful = true;
		arrivals->doubt = syn->source;
	}
	if (arrivals->lost)
		return ARRIVAL_UNTOLD;
	return doubtful ? ARRIVAL_DOUBTFUL : ARRIVAL_MISSING;
}

enum arrival arrivals_find(struct arrivals *arrivals, const struct addr *from)
{
	struct addr here;

	if (arrivals->local.family != from->family)
		return ARRIVAL_UNTOLD;
	if (arrivals->tap < 0)
		return port_owner_find_other_end(from, &here) ? ARRIVAL_SEEN : ARRIVAL_UNTOLD;
	arrivals_read(arrivals);
	return arrivals_judge(arrivals, from);
}

const char *arrivals_explain(
	const struct arrivals *arrivals, enum arrival arrival, char out[ARRIVALS_WHY_SIZE])
{
	char doubt[ADDR_TEXT_SIZE];

	if (arrival == ARRIVAL_DOUBTFUL)
		snprintf(out, ARRIVALS_WHY_SIZE,
			"what came was from %s, which a proxy or a NAT may have made of it",
			addr_format(&arrivals->doubt, doubt));
	else if (arrivals->lost)
		snprintf(out, ARRIVALS_WHY_SIZE, "more came at once than can be watched");
	else if (arrivals->problem == EPERM || arrivals->problem == EACCES)
		snprintf(out, ARRIVALS_WHY_SIZE,
			"to see what comes to this machine takes "
			"CAP_NET_RAW");
	else if (arrivals->problem != 0)
		snprintf(out, ARRIVALS_WHY_SIZE, "what comes to this machine cannot be seen: %s",
			strerror(arrivals->problem));
	else
		snprintf(out, ARRIVALS_WHY_SIZE, "addresses are translated on the way");
	return out;
}

void arrivals_close(struct arrivals *arrivals)
{
	if (arrivals->tap >= 0)
		close(arrivals->tap);
	arrivals->tap = -1;
}
