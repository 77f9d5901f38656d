/*
 * What is known and said of a family's mapping.
 *
 * States, and the event (hook.h) of each change:
 *
 *   NONE        --seen, or verified-->      UP           HOOK_UP
 *   UP          --another mapping-->        UP           HOOK_CHANGE
 *   any         --strangers kept out-->     UNREACHABLE  HOOK_UNREACHABLE, with `verify` alone
 *   UNREACHABLE --strangers get in-->       UP           HOOK_UP
 *   UP, UNREACHABLE --no answer, or end-->  DOWN         HOOK_DOWN
 *   DOWN        --seen, or verified-->      UP           HOOK_UP
 *
 * Events: those of the owner (upkeep.c), by the functions of the header. Timers: none.
 *
 * Two families. A family that never had a mapping is absent while the other one has one: its
 * losses are details in the log, and its races become rare (mapping_search.c).
 *
 * Invariant: of one loss there is one warning at most, until a mapping is seen again.
 */
#include "home/mapping_report.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/os/log.h"

void mapping_report_init(struct mapping_report *report, const struct keep_config *config,
	enum addr_family family, const struct standby *standby, const struct mapping_report *other)
{
	memset(report, 0, sizeof(*report)); /* MAPPING_REPORT_NONE */
	report->config = config;
	report->family = family;
	report->standby = standby;
	report->other = other;
}

bool mapping_report_is_absent(const struct mapping_report *report)
{
	const struct mapping_report *other = report->other;

	return other != NULL && !report->has_known && !report->refused &&
	       (other->has_known || (other->spoke && !report->spoke));
}

bool mapping_report_is_hopeless(const struct mapping_report *report)
{
	return report->refused || (!report->has_known && !report->spoke && report->races_lost > 0);
}

bool mapping_report_stands(const struct mapping_report *report)
{
	return report->state == MAPPING_REPORT_UP || report->state == MAPPING_REPORT_UNREACHABLE;
}

static void write_status(struct mapping_report *report)
{
	const struct keep_config *config = report->config;
	char text[ADDR_TEXT_SIZE];
	size_t used;

	standby_count(report->standby, &report->known_at, &report->known_of);
	snprintf(report->status, sizeof(report->status),
		report->state == MAPPING_REPORT_UNREACHABLE ? "not reachable from elsewhere as %s"
		: report->state != MAPPING_REPORT_UP        ? "no answer; last seen as %s"
		: config->verify                            ? "reachable as %s"
							    : "kept as %s, not verified (-V)",
		addr_format(&report->known.mapping.public_addr, text));
	used = strlen(report->status);
	if (report->known_of > 1 && report->state != MAPPING_REPORT_DOWN)
		snprintf(report->status + used, sizeof(report->status) - used,
			"; %s is registered at %zu of %zu reflectors", config->key->name,
			report->known_at, report->known_of);
}

void mapping_report_tell(struct mapping_report *report, enum hook_event event)
{
	report->state = event == HOOK_DOWN          ? MAPPING_REPORT_DOWN
			: event == HOOK_UNREACHABLE ? MAPPING_REPORT_UNREACHABLE
						    : MAPPING_REPORT_UP;
	report->config->report(report->config->context, event, &report->known);
	write_status(report);
}

void mapping_report_count(struct mapping_report *report)
{
	size_t known_at, known_of;

	standby_count(report->standby, &known_at, &known_of);
	if ((known_at != report->known_at || known_of != report->known_of) &&
		mapping_report_stands(report))
		write_status(report);
}

/* Not for a mapping that has changed: a report follows. */
static void note_end_of_outage(struct mapping_report *report)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&report->known.mapping.public_addr, text);
	log_note("there are answers again: %s is still the mapping", text);
	write_status(report);
}

void mapping_report_take_answer(struct mapping_report *report, bool same)
{
	report->races_lost = 0;
	report->refused = false;
	if (report->warned && same)
		note_end_of_outage(report);
	report->warned = false;
}

/*
 * Not worth a warning: the same loss again; a family that is absent (except IPv4, if it had an
 * address to ask); a refusal that ends keep_run(). Of two families without an address to ask, IPv4
 * says why, for both. And before the other family's first race has ended, it is not known yet which
 * of these holds.
 */
static bool is_silent(const struct mapping_report *report)
{
	const struct mapping_report *other = report->other;
	bool is_ipv6 = report->family == ADDR_IPV6;

	if (report->warned || (report->refused && other == NULL))
		return true;
	if (other == NULL || report->has_known)
		return false;
	if (other->races_lost == 0 && !other->has_known)
		return true;
	if (mapping_report_is_absent(report))
		return is_ipv6 || !report->spoke;
	if (report->refused)
		return mapping_report_is_hopeless(other);
	return is_ipv6 && !report->spoke;
}

void mapping_report_take_loss(struct mapping_report *report, const struct error *error)
{
	if (is_silent(report)) {
		log_detail("%s; trying again", error->text);
		return;
	}
	if (report->other != NULL)
		log_warning("IPv%d: %s; trying again", (int)report->family, error->text);
	else
		log_warning("%s; trying again", error->text);
	if (!mapping_report_stands(report))
		snprintf(report->status, sizeof(report->status), "no mapping: %.100s; trying again",
			error->text);
	report->warned = true;
}

void mapping_report_compare(
	const struct mapping_report *report, const struct mapping_race_result *second)
{
	char one[ADDR_TEXT_SIZE];
	char other[ADDR_TEXT_SIZE];
	const struct mapping *known = &report->known.mapping;
	const struct mapping *seen = &second->mapping;

	if (mapping_equal(known, seen))
		return;
	addr_format(&known->public_addr, one);
	addr_format(&seen->public_addr, other);
	if (!addr_equal_ip(&known->public_addr, &seen->public_addr))
		log_warning("the reflectors disagree: %s saw %s, %s saw %s; a proxy or a second "
			    "way out is on the path",
			known->reflector, one, seen->reflector, other);
	else
		log_warning("%s saw %s, %s saw %s: the NAT's mapping depends on the destination, "
			    "so strangers will not get through",
			known->reflector, one, seen->reflector, other);
}
