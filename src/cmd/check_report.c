#include "cmd/check_report.h"

#include <stdio.h>
#include <string.h>

#include "cmd/check_advice.h"
#include "natpunch/base/text.h"
#include "natpunch/client/router.h"

const struct check_side *check_report_best(const struct check_side *sides, size_t count)
{
	static const int ranks[] = {[NAT_NO] = 1, [NAT_UNTOLD] = 2, [NAT_YES] = 3};
	const struct check_side *best = &sides[0];
	int most = 0;

	for (size_t i = 0; i < count; i++) {
		int rank = sides[i].judged ? ranks[sides[i].report.direct] : 0;

		if (rank <= most)
			continue;
		most = rank;
		best = &sides[i];
	}
	return best;
}

/* ---- the verdict -------------------------------------------------------------------------- */

/* Of two sides, IPv4 is the first. */
static unsigned family_of(size_t index)
{
	return index == 0 ? 4 : 6;
}

/* Two families in one sentence: first the one that lets strangers in, or that more is known of. */
static void print_verdict(const struct check_side *sides)
{
	static const char *const words[] = {
		[NAT_YES] = "yes", [NAT_UNTOLD] = "perhaps", [NAT_NO] = "no"};
	static const char *const who[] = {[NAT_YES] = "anybody", [NAT_NO] = "nobody"};
	const struct nat_report *report = &check_report_best(sides, 2)->report;
	size_t first = (sides[1].report.direct == NAT_YES && sides[0].report.direct != NAT_YES) ||
		       sides[0].report.direct == NAT_UNTOLD;
	enum nat_answer one = sides[first].report.direct;
	enum nat_answer other = sides[1 - first].report.direct;
	bool tcp = report->protocol == MAPPING_TCP;
	char port[48];

	snprintf(port, sizeof(port), "%s %s port %u here", tcp ? "connect to" : "send to",
		tcp ? "TCP" : "UDP", report->local.port);
	printf("%s: ", words[report->direct]);
	if (one == NAT_UNTOLD)
		printf("whether anybody can %s cannot be told, over IPv4 or over IPv6\n", port);
	else if (other == NAT_UNTOLD)
		printf("%s can %s over IPv%u; over IPv%u that cannot be told\n", who[one], port,
			family_of(first), family_of(1 - first));
	else if (one == other)
		printf("%s can %s, over IPv4 %s over IPv6\n", who[one], port,
			one == NAT_YES ? "and" : "or");
	else
		printf("%s can %s over IPv%u, %s over IPv%u\n", who[one], port, family_of(first),
			who[other], family_of(1 - first));
}

/* ---- the picture -------------------------------------------------------------------------- */

/* The NAT is router `nat_hop`; if that is not known, it is in front of the first public one. */
static bool is_behind_nat(const struct nat_report *report, size_t hop)
{
	if (report->nat_hop > 0)
		return hop >= report->nat_hop;
	return addr_classify(&report->hops[hop]) == ADDR_CLASS_PUBLIC;
}

static void print_picture(const struct nat_report *report)
{
	char text[ADDR_TEXT_SIZE];
	char name[sizeof(report->reflector)];
	bool inside = report->nat.answer == NAT_YES;

	printf("\n  this machine  %s\n", addr_format(&report->local, text));
	for (size_t i = 0; i < NAT_HOP_MAX; i++) {
		const struct addr *hop = &report->hops[i];
		if (hop->family == ADDR_NONE)
			continue;
		if (inside && is_behind_nat(report, i)) {
			printf("       |\n   [ the NAT ]  %s outside\n",
				addr_format(&report->mapped, text));
			inside = false;
		}
		printf("       |\n     router     %s (%s)\n", addr_format_ip(hop, text),
			addr_class_name(addr_classify(hop)));
	}
	if (inside)
		printf("       |\n   [ the NAT ]  %s outside\n",
			addr_format(&report->mapped, text));
	printf("       |\n   reflector    %s\n\n",
		text_escape(name, sizeof(name), report->reflector, strlen(report->reflector)));
}

/* ---- the table ---------------------------------------------------------------------------- */

static void print_row(const char *name, const char *value, const char *evidence)
{
	printf("  %-18s %s\n", name, value);
	if (evidence[0] != '\0')
		printf("  %-18s   %s\n", "", evidence);
}

static void print_finding(const char *name, const struct nat_finding *finding)
{
	print_row(name, nat_answer_name(finding->answer), finding->evidence);
}

static void print_lifetime(const struct nat_lifetime *lifetime)
{
	char value[64];

	if (!lifetime->wanted)
		return;
	if (lifetime->least == 0)
		snprintf(value, sizeof(value), "%s", nat_answer_name(NAT_UNTOLD));
	else if (lifetime->most == 0)
		snprintf(value, sizeof(value), "at least %u s", lifetime->least);
	else
		snprintf(value, sizeof(value), "between %u and %u s", lifetime->least,
			lifetime->most);
	print_row("mapping lifetime", value, lifetime->evidence);
}

static void print_router(const struct nat_report *report)
{
	const struct nat_router *router = &report->router;
	bool speaks = router->methods != 0;
	char value[128], methods[ROUTER_METHODS_TEXT_SIZE], ip[ADDR_IP_TEXT_SIZE];
	char evidence[sizeof(router->evidence) + 80];

	if (router->at.family == ADDR_NONE)
		return;
	snprintf(value, sizeof(value), "%s%s%s",
		speaks ? router_methods_format(router->methods, methods)
		       : "speaks none of PCP, NAT-PMP and UPnP",
		router->external.family != ADDR_NONE ? "; its own address is " : "",
		router->external.family != ADDR_NONE ? addr_format_ip(&router->external, ip) : "");
	snprintf(evidence, sizeof(evidence), "%s", router->evidence);
	if (speaks && !router->tried && report->direct != NAT_YES &&
		!nat_report_is_unproved(report))
		snprintf(evidence, sizeof(evidence),
			"%s; with -F, check tries whether it forwards port %u", router->evidence,
			report->local.port);
	print_row("router", value, evidence);
	if (router->tried)
		print_finding("router forwards", &router->forwards);
}

static void print_table(const struct nat_report *report)
{
	char layers[32];

	print_finding("listens", &report->listens);
	print_finding("NAT", &report->nat);
	snprintf(layers, sizeof(layers), report->layers > 0 ? "%u at least" : "%u", report->layers);
	print_row("layers", layers, report->layers_evidence);
	print_router(report);
	print_row("mapping", nat_mapping_name(report->mapping), report->mapping_evidence);
	print_row("filtering", nat_filtering_name(report->filtering), report->filtering_evidence);
	print_row("unsolicited", nat_unsolicited_name(report->unsolicited),
		report->unsolicited_evidence);
	print_finding("port preserved", &report->preserved);
	print_finding("parity preserved", &report->parity);
	print_finding("hairpinning", &report->hairpin);
	print_finding("local firewall", &report->firewall);
	if (report->protocol == MAPPING_TCP)
		print_finding("arrived here", &report->arrived);
	print_finding("stranger got in", &report->stranger);
	print_lifetime(&report->lifetime);
}

static void print_side(
	const struct check_side *side, const struct common_options *given, bool *by_name)
{
	check_advice_print_verdict(&side->report, given);
	puts("");
	check_advice_print_steps(&side->report, given, by_name);
	print_picture(&side->report);
	print_table(&side->report);
}

void check_report_text(
	const struct check_side *sides, size_t count, const struct common_options *given)
{
	bool each = count == 2 && sides[0].judged && sides[1].judged;
	size_t best = (size_t)(check_report_best(sides, count) - sides);
	bool by_name = false;

	if (!each) {
		print_side(&sides[best], given, &by_name);
		if (count == 2)
			printf("\nIPv%u: %s\n", family_of(1 - best), sides[1 - best].error.text);
		return;
	}
	print_verdict(sides);
	for (size_t i = 0; i < count; i++) {
		size_t index = i == 0 ? best : 1 - best;

		printf("\nIPv%u:\n", family_of(index));
		print_side(&sides[index], given, &by_name);
	}
}
