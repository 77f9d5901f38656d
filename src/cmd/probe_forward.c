#include "cmd/probe_forward.h"

#include <inttypes.h>

#include "cmd/probe_record.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/log.h"

#define HIGH_PORTS 2200 /* with -k: port 2222 instead of 22, and so on */

/* The port that a router granted last is asked for again: with another, it would forward both. */
static void take_wish(struct probe_forward *forward, const struct probe_options *options,
	const struct probe_record *record)
{
	if (!record->known || record->mapping.protocol != options->request.protocol)
		return;
	forward->options.wish[0] = record->mapping.router_port;
	forward->options.wish_port = record->mapping.local.port;
}

/*
 * If the router does not forward to low ports, -k takes another local port, unless --to or a
 * command says where connections go; the port of the last run, so that the mapping stays.
 */
static void choose_high_port(struct probe_forward *forward, const struct probe_options *options,
	const struct probe_record *record)
{
	const struct mapping *last = &record->mapping;
	uint16_t low = options->request.local.port;

	if (!options->keep || low >= FORWARD_LOW_PORTS || options->command != NULL ||
		options->to.port != 0 || options->request.protocol != MAPPING_TCP)
		return;
	forward->options.high_port = (uint16_t)(HIGH_PORTS + low);
	if (record->known && last->protocol == MAPPING_TCP && last->router_port != 0 &&
		last->local.port >= FORWARD_LOW_PORTS)
		forward->options.high_port = last->local.port;
}

int probe_forward_prepare(
	struct probe_forward *forward, const struct probe_options *options, struct error *error)
{
	const char *path = options->changed_file;
	struct probe_records records = {.ipv4.known = false};

	*forward = (struct probe_forward){.options = options->forward};
	if (!forward->options.wanted)
		return 0;
	router_read_secret(&forward->options.secret);
	if (path != NULL && probe_record_read(path, &records, error) != 0)
		return -1;
	if (!options->keep && records.ipv4.known && records.ipv4.mapping.router_port != 0)
		forward->run_before_s = probe_record_age(path);
	take_wish(forward, options, &records.ipv4);
	choose_high_port(forward, options, &records.ipv4);
	return 0;
}

/* Repeated runs must renew the lease before it ends, also when one of them fails. */
static void warn_of_lease(const struct probe_forward *probe, const struct both_families *both)
{
	const struct forward *forward = &both->sides[0].forward;
	uint32_t lease = forward->result.lease;

	if (!forward_is_granted(forward) || forward->result.router.family != ADDR_IPV4 ||
		lease == 0 || lease >= 2 * probe->run_before_s)
		return;
	log_warning("the router forwards for %u s only, and the last run was %" PRIu64
		    " s ago: stay with -k, or run it more often",
		lease, probe->run_before_s);
}

void probe_forward_ask(
	const struct probe_forward *forward, struct both_families *both, uint64_t deadline)
{
	both_families_ask_routers(both, &forward->options, deadline);
	warn_of_lease(forward, both);
}

int probe_forward_take_back(
	const struct probe_forward *probe, struct both_families *both, uint64_t deadline)
{
	size_t asked = both_families_ask_routers(both, &probe->options, deadline);
	int status = EXIT_STATUS_DONE;
	struct error error;

	if (asked == 0) {
		error_set(&error, EXIT_STATUS_NETWORK, "there is no router to ask");
		return command_fail(&error);
	}
	for (size_t i = 0; i < both->count; i++) {
		const struct forward *forward = &both->sides[i].forward;
		int own = forward->asked ? forward_taken_back(forward, &error) : EXIT_STATUS_DONE;

		/* With two families it is no error if one has no router that answers. */
		if (own == EXIT_STATUS_NETWORK && asked == 2 && i == 1 &&
			status == EXIT_STATUS_DONE)
			own = EXIT_STATUS_DONE;
		if (own != EXIT_STATUS_DONE)
			log_print_error(&error);
		if (status == EXIT_STATUS_DONE || own == EXIT_STATUS_UNREACHABLE)
			status = own;
	}
	return status;
}

void probe_forward_hint(const struct both_families *both)
{
	for (size_t i = 0; i < both->count; i++) {
		const struct family_side *side = &both->sides[i];
		struct error error;

		if (!forward_is_forbidden(&side->forward))
			continue;
		error_set(&error, EXIT_STATUS_UNREACHABLE, "the router refuses");
		forward_hint(&side->forward, &side->request, &error);
		log_note("%s", error.hint);
	}
}

void probe_forward_log_unproved(const struct mapping *mapping)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (mapping->router_port == 0 || mapping->public_addr.family != ADDR_IPV4 ||
		mapping->router_port == mapping->public_addr.port)
		return;
	log_warning("not proved that port %u of %s lets strangers in: the router forwards its port "
		    "%u; -V finds out",
		mapping->public_addr.port, addr_format_ip(&mapping->public_addr, ip),
		mapping->router_port);
}
