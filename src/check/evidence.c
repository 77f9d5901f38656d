#include "check/evidence.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/check/router_report.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/hops.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define HOPS_TIMEOUT_MS 800

static_assert(HOPS_MAX == NAT_HOP_MAX, "as many hops in the report as are looked for");

int evidence_look_up(const struct mapping_race_request *request, size_t number,
	enum addr_family family, uint64_t deadline, struct addr *out, struct error *error)
{
	const struct host_port *reflector = &request->reflectors[number];
	size_t i = 0;
	struct resolve resolve;
	int status;

	resolve_start_reflector(
		&resolve, request->resolver, reflector, request->look_up_both ? ADDR_NONE : family);
	status = resolve_wait(&resolve, reflector->host, deadline, error);
	while (status == 0 && i < resolve.count && request->look_up_both &&
		resolve.found[i].family != family)
		i++;
	if (status == 0 && i < resolve.count)
		*out = resolve_target(&resolve, i);
	else if (status == 0)
		status = error_set(error, EXIT_STATUS_NETWORK,
			"cannot look up %s: it has no IPv%d address", reflector->host, (int)family);
	resolve_end(&resolve);
	return status;
}

static void find_listener(const struct mapping_race_request *request, struct nat_report *report)
{
	struct nat_finding *finding = &report->listens;
	bool bound = strcmp(report->method, borrow_method_bind.name) == 0;
	struct port_owner owner;

	if (port_owner_find_again(report->protocol, (enum addr_family)report->local.family,
		    report->local.port, request->owner, &owner) != 0) {
		snprintf(finding->evidence, sizeof(finding->evidence),
			"the list of listeners in /proc/net cannot be read");
		return;
	}
	/* Over UDP the questions themselves hold a port that was free. */
	if (owner.pid == getpid())
		owner.listens = false;
	finding->answer =
		owner.listens && port_owner_takes(&owner, &report->local, bound) ? NAT_YES : NAT_NO;
	if (owner.listens && finding->answer == NAT_NO)
		snprintf(finding->evidence, sizeof(finding->evidence), "%s",
			port_owner_describe(&owner, report->elsewhere, sizeof(report->elsewhere)));
	else if (!owner.listens)
		snprintf(finding->evidence, sizeof(finding->evidence),
			"nothing listens on this port");
	else if (owner.name[0] != '\0')
		snprintf(finding->evidence, sizeof(finding->evidence), "%s, process %ld",
			owner.name, (long)owner.pid);
	else
		snprintf(finding->evidence, sizeof(finding->evidence), "a process of another user");
}

/* Returns the first router from `first` on with an address of that class, or NAT_HOP_MAX. */
static size_t find_hop(const struct nat_report *report, size_t first, enum addr_class class)
{
	size_t i = first;

	while (i < NAT_HOP_MAX &&
		(report->hops[i].family == ADDR_NONE || addr_classify(&report->hops[i]) != class))
		i++;
	return i;
}

/*
 * Counts the routers on the way to the one that has the public address. That one does not count: it
 * takes the packets itself, and so reports no time to live that is over.
 */
static size_t count_before_nat(
	const struct mapping_race_request *request, const struct nat_report *report)
{
	struct hops hops;
	size_t count = 0;

	hops_find(&hops, &report->mapped, request->interface, HOPS_TIMEOUT_MS);
	for (size_t i = 0; i < HOPS_MAX; i++)
		if (hops.at[i].family != ADDR_NONE)
			count = i + 1;
	return count;
}

/*
 * Router `shared` is in a provider's network. If the public address is beyond the entry to that
 * network, the provider has a NAT. If a router in front of the network has the public address, the
 * provider has none: some providers number their gateways from that range.
 */
static void judge_shared(
	const struct mapping_race_request *request, size_t shared, struct nat_report *report)
{
	size_t before = count_before_nat(request, report);
	size_t entry = shared > 0 ? shared : 1;
	char *out = report->layers_evidence;
	size_t size = sizeof(report->layers_evidence);
	char hop[ADDR_IP_TEXT_SIZE];
	char mapped[ADDR_IP_TEXT_SIZE];

	addr_format_ip(&report->hops[shared], hop);
	addr_format_ip(&report->mapped, mapped);
	if (before >= entry) {
		report->layers = 2;
		snprintf(out, size,
			"%s is in a provider's network (100.64.0.0/10), and %s is not in front "
			"of it: the provider has a NAT",
			hop, mapped);
	} else if (report->hops[before].family != ADDR_NONE) {
		report->nat_hop = before + 1;
		snprintf(out, size,
			"%s is in a provider's network (100.64.0.0/10), but router %zu on the "
			"way, in front of it, has %s",
			hop, before + 1, mapped);
	} else {
		snprintf(out, size,
			"%s is in a provider's network (100.64.0.0/10): there may be another NAT",
			hop);
	}
}

/*
 * Counts one layer if the public address is not our own, and a second one if the provider certainly
 * has a NAT. A router's address alone proves no NAT; nor does a second private network, as a home
 * may have several without a NAT between them.
 */
static void count_layers(const struct mapping_race_request *request, struct nat_report *report)
{
	size_t shared = addr_classify(&report->local) == ADDR_CLASS_SHARED
				? NAT_HOP_MAX
				: find_hop(report, 0, ADDR_CLASS_SHARED);
	size_t private = find_hop(report, 1, ADDR_CLASS_PRIVATE);
	char text[ADDR_IP_TEXT_SIZE];

	report->layers = report->nat.answer == NAT_YES;
	if (report->layers == 0)
		return;
	if (addr_classify(&report->mapped) == ADDR_CLASS_SHARED) {
		report->layers = 2;
		snprintf(report->layers_evidence, sizeof(report->layers_evidence),
			"%s is in a provider's network (100.64.0.0/10): the provider has a NAT",
			addr_format_ip(&report->mapped, text));
	} else if (shared < NAT_HOP_MAX) {
		judge_shared(request, shared, report);
	} else if (private < NAT_HOP_MAX) {
		snprintf(report->layers_evidence, sizeof(report->layers_evidence),
			"router %zu on the way, %s, is private too: there may be another NAT",
			private + 1, addr_format_ip(&report->hops[private], text));
	} else {
		snprintf(report->layers_evidence, sizeof(report->layers_evidence),
			"no other private network is seen on the way");
	}
}

static void compare_ports(struct nat_report *report)
{
	unsigned local = report->local.port;
	unsigned public_port = report->mapped.port;

	report->preserved.answer = local == public_port ? NAT_YES : NAT_NO;
	report->parity.answer = (local + public_port) % 2 == 0 ? NAT_YES : NAT_NO;
	snprintf(report->preserved.evidence, sizeof(report->preserved.evidence),
		"%u here, %u outside", local, public_port);
	snprintf(report->parity.evidence, sizeof(report->parity.evidence), "%s here, %s outside",
		local % 2 == 0 ? "even" : "odd", public_port % 2 == 0 ? "even" : "odd");
}

void evidence_find_surroundings(const struct mapping_race_request *request,
	const struct addr *reflector, struct nat_report *report)
{
	char local[ADDR_TEXT_SIZE];
	char mapped[ADDR_TEXT_SIZE];
	uint64_t deadline;
	struct hops hops;

	find_listener(request, report);
	/* A NAT in user space may keep this machine's address and change the port. */
	report->nat.answer =
		socket_is_local_ip(&report->mapped) && report->mapped.port == report->local.port
			? NAT_NO
			: NAT_YES;
	snprintf(report->nat.evidence, sizeof(report->nat.evidence), "%s here is %s outside",
		addr_format(&report->local, local), addr_format(&report->mapped, mapped));
	/* Mostly one hop is silent and the search waits for it: to ask the router takes no more. */
	deadline = clock_now_ms() + HOPS_TIMEOUT_MS;
	hops_start(&hops, reflector, request->interface);
	router_report_look(request, reflector, report);
	hops_finish(&hops, deadline);
	memcpy(report->hops, hops.at, sizeof(report->hops));
	count_layers(request, report);
	compare_ports(report);
}

void evidence_judge_mapping(
	const struct nat_sample *samples, size_t count, bool lie, struct nat_report *report)
{
	char *out = report->mapping_evidence;
	size_t size = sizeof(report->mapping_evidence);
	char asked[ADDR_TEXT_SIZE];
	char mapped[ADDR_TEXT_SIZE];
	int used = 0;

	report->mapping = report->nat.answer == NAT_NO ? NAT_MAPPING_NONE
						       : nat_report_judge_mapping(samples, count);
	for (size_t i = 0; i < count && used >= 0 && (size_t)used < size; i++)
		used += snprintf(out + used, size - (size_t)used, "%s%s saw %s", i > 0 ? ", " : "",
			addr_format(&samples[i].asked, asked),
			addr_format(&samples[i].mapped, mapped));
	if (lie && used >= 0 && (size_t)used < size)
		used += snprintf(out + used, size - (size_t)used,
			"; its other address is the same one, which is a lie");
	if (report->mapping == NAT_MAPPING_UNTOLD && used >= 0 && (size_t)used < size)
		snprintf(out + used, size - (size_t)used, ": the reflector needs a second address");
}
