#include "cmd/check_report.h"

#include <stdio.h>
#include <string.h>

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

/* Of two, IPv4 is the first. */
static unsigned family_of(size_t index)
{
	return index == 0 ? ADDR_IPV4 : ADDR_IPV6;
}

/* Two families on one line. */
static void print_verdict(const struct check_side *sides)
{
	static const char *const words[] = {
		[NAT_YES] = "yes", [NAT_UNTOLD] = "perhaps", [NAT_NO] = "no"};
	enum nat_answer ipv4 = sides[0].report.direct;
	enum nat_answer ipv6 = sides[1].report.direct;

	printf("%s: ", words[check_report_best(sides, 2)->report.direct]);
	if (ipv4 == NAT_YES && ipv6 == NAT_YES)
		puts("strangers get in over IPv4 and over IPv6");
	else if (ipv4 == NAT_NO && ipv6 == NAT_NO)
		puts("strangers get in neither over IPv4 nor over IPv6");
	else
		printf("strangers get in: over IPv4 %s, over IPv6 %s\n", words[ipv4], words[ipv6]);
}

static const char *protocol_word(const struct nat_report *report)
{
	return report->protocol == MAPPING_TCP ? "TCP" : "UDP";
}

static void print_untold(const struct nat_report *report)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (nat_report_is_unproved(report)) {
		printf("perhaps: strangers get through %s port %u, but that it is to this machine "
		       "is not proved\n  %s\n",
			addr_format_ip(&report->mapped, ip), report->mapped.port,
			report->arrived.evidence);
		return;
	}
	printf("perhaps: whether strangers get in to %s port %u cannot be told with these "
	       "reflectors\n"
	       "  name a second one with -r, or one that runs `natpunch reflect -a ADDR`\n",
		protocol_word(report), report->local.port);
}

static void print_direct(const struct nat_report *report)
{
	char ip[ADDR_IP_TEXT_SIZE];
	unsigned port = report->mapped.port;

	addr_format_ip(&report->mapped, ip);
	switch (report->direct) {
	case NAT_YES:
		printf("yes: strangers get in to %s port %u through %s port %u\n",
			protocol_word(report), report->local.port, ip, port);
		if (report->protocol == MAPPING_TCP && report->local.port == 22)
			printf("  ssh -p %u %s\n", port, ip);
		if (report->elsewhere[0] != '\0')
			printf("  but %s\n", report->elsewhere);
		else if (report->listens.answer == NAT_NO)
			printf("  but nothing listens on port %u yet; start the service\n",
				report->local.port);
		return;
	case NAT_NO:
		printf("no: strangers do not get in to %s port %u through %s port %u\n",
			protocol_word(report), report->local.port, ip, port);
		return;
	case NAT_UNTOLD:
		print_untold(report);
		return;
	}
}

static void print_punch(const struct nat_report *report)
{
	if (report->direct == NAT_YES || report->protocol == MAPPING_UDP)
		return;
	switch (report->punch) {
	case NAT_YES:
		puts(report->filtering == NAT_FILTERING_ADDRESS_DEPENDENT
				? "natpunch connect: yes, from everywhere"
				: "natpunch connect: yes, from laptops without a NAT or with "
				  "one whose mapping is endpoint-independent; from others "
				  "through a relay (reflect -R)");
		break;
	case NAT_NO:
		puts("natpunch connect: only from laptops without a NAT or with one that does "
		     "not filter by port; from others through a relay (reflect -R)");
		break;
	case NAT_UNTOLD:
		puts("natpunch connect: perhaps; the mapping behaviour cannot be told");
		break;
	}
	printf("what works through any NAT, run here, with a HOST of yours outside:\n"
	       "  ssh -N -R 1337:localhost:%u HOST\n"
	       "%s",
		report->local.port,
		report->local.port == 22
			? "and then, from anywhere:\n"
			  "  ssh -J HOST -p 1337 localhost\n"
			: "and then, from anywhere, for a server at localhost port 1337 there:\n"
			  "  ssh -N -L 1337:localhost:1337 HOST\n");
}

/* The probe that has the router forward, as it would be called here. */
static const char *forward_command(const struct nat_report *report, char out[64])
{
	char port[16] = "";

	if (report->local.port != 22)
		snprintf(port, sizeof(port), " -p %u", report->local.port);
	snprintf(out, 64, "natpunch probe -F%s%s%s", report->local.family == ADDR_IPV6 ? " -6" : "",
		report->protocol == MAPPING_UDP ? " -u" : "", port);
	return out;
}

/* "PCP, NAT-PMP" */
static const char *list_methods(unsigned methods, char out[64])
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ROUTER_METHOD_COUNT; i++)
		if (methods & (1U << i))
			used += (size_t)snprintf(out + used, 64 - used, "%s%s",
				used > 0 ? ", " : "", router_method_title((enum router_method)i));
	return out;
}

/* It is the way that strangers do not get through, or may be. */
static bool is_stopped_on_the_way(const struct nat_report *report)
{
	return report->obstacle == NAT_OBSTACLE_ROUTER ||
	       report->obstacle == NAT_OBSTACLE_CARRIER || report->obstacle == NAT_OBSTACLE_UNTOLD;
}

/* What the home router has to do with it. Returns true where that is all there is to say. */
static bool print_forward(const struct nat_report *report)
{
	const struct nat_router *router = &report->router;
	char command[64];

	if (router->forwards.answer != NAT_YES || !is_stopped_on_the_way(report))
		return false;
	if (router->forwards_by[0] == '\0')
		printf("what would change it: nothing has to: the router forwards port %u already; "
		       "%s tells by which address\n",
			report->local.port, forward_command(report, command));
	else
		printf("what would change it: the router speaks %s and would forward port %u: "
		       "%s\n",
			router->forwards_by, report->local.port, forward_command(report, command));
	return true;
}

/* After what else would change it: is the router worth asking? */
static void print_forward_hint(const struct nat_report *report)
{
	const struct nat_router *router = &report->router;
	char command[64], methods[64];

	if (router->methods == 0 || !is_stopped_on_the_way(report))
		return;
	forward_command(report, command);
	if (!router->tried && report->obstacle != NAT_OBSTACLE_UNTOLD)
		printf("  or, as the router speaks %s: %s asks it to forward port %u\n",
			list_methods(router->methods, methods), command, report->local.port);
	if (router->forwards.answer == NAT_NO)
		printf("  %s would not do: %s\n", command, router->forwards.evidence);
}

static void print_change(const struct nat_report *report)
{
	unsigned port = report->local.port;
	char ip[ADDR_IP_TEXT_SIZE];
	char mapped[ADDR_IP_TEXT_SIZE];

	if (print_forward(report))
		return;
	switch (report->obstacle) {
	case NAT_OBSTACLE_OTHER_MACHINE:
		printf("what would change it: %s port %u leads to %s; have the router forward "
		       "it to this machine, or take another port\n",
			addr_format_ip(&report->mapped, mapped), report->mapped.port,
			report->other);
		return;
	case NAT_OBSTACLE_NOTHING_LISTENS:
		printf("what would change it: nothing listens on port %u; start the service\n",
			port);
		return;
	case NAT_OBSTACLE_LISTENS_ELSEWHERE:
		printf("what would change it: %s; have it listen on %s as well\n",
			report->elsewhere, addr_format_ip(&report->local, ip));
		return;
	case NAT_OBSTACLE_FIREWALL:
		printf("what would change it: a firewall of this machine keeps port %u shut; allow "
		       "it\n  %s\n",
			port, report->firewall.evidence);
		return;
	case NAT_OBSTACLE_ROUTER:
		if (report->nat.answer == NAT_NO)
			printf("what would change it: a firewall on the way keeps strangers out; "
			       "allow port %u in the router\n",
				port);
		else
			printf("what would change it: the router; forward %s port %u to this "
			       "machine, or set its NAT to full cone\n",
				protocol_word(report), port);
		return;
	case NAT_OBSTACLE_CARRIER:
		puts("what would change it: the carrier's NAT; ask the carrier for a public "
		     "address, or use IPv6");
		return;
	case NAT_OBSTACLE_NONE:
	case NAT_OBSTACLE_UNTOLD:
		return;
	}
}

/* ---- the picture -------------------------------------------------------------------------- */

/* The NAT is router `nat_hop`, or stands in front of the first public one. */
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
	char value[128], methods[64], ip[ADDR_IP_TEXT_SIZE];
	char evidence[sizeof(router->evidence) + 80];

	if (router->at.family == ADDR_NONE)
		return;
	snprintf(value, sizeof(value), "%s%s%s",
		speaks ? list_methods(router->methods, methods) : "nothing that can be asked",
		router->external.family != ADDR_NONE ? "; its own address is " : "",
		router->external.family != ADDR_NONE ? addr_format_ip(&router->external, ip) : "");
	snprintf(evidence, sizeof(evidence), "%s", router->evidence);
	if (speaks && !router->tried && report->direct != NAT_YES &&
		!nat_report_is_unproved(report))
		snprintf(evidence, sizeof(evidence),
			"%s; natpunch check -F tries whether it forwards port %u", router->evidence,
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

static void print_side(const struct nat_report *report)
{
	print_direct(report);
	print_punch(report);
	print_change(report);
	print_forward_hint(report);
}

void check_report_text(const struct check_side *sides, size_t count)
{
	bool each = count == 2 && sides[0].judged && sides[1].judged;

	if (each)
		print_verdict(sides);
	for (size_t i = 0; i < count; i++) {
		if (!sides[i].judged)
			continue;
		if (each)
			printf("\nIPv%u:\n", family_of(i));
		print_side(&sides[i].report);
		if (count == 2 && !each)
			printf("IPv%u: %s\n", family_of(1 - i), sides[1 - i].error.text);
		print_picture(&sides[i].report);
		print_table(&sides[i].report);
	}
}

/* ---- for machines ------------------------------------------------------------------------- */

static void put_text(const char *name, const char *value)
{
	char quoted[2 * NAT_EVIDENCE_SIZE + 16];

	printf(",\"%s\":%s", name, text_escape_json(quoted, sizeof(quoted), value));
}

static void put_answer(const char *name, enum nat_answer answer)
{
	printf(",\"%s\":%s", name,
		answer == NAT_UNTOLD ? "null"
		: answer == NAT_YES  ? "true"
				     : "false");
}

static void put_finding(const char *name, const struct nat_finding *finding)
{
	char evidence[48];

	put_answer(name, finding->answer);
	snprintf(evidence, sizeof(evidence), "%s_evidence", name);
	put_text(evidence, finding->evidence);
}

/* What cannot be told is null. */
static void put_name(const char *name, bool told, const char *value)
{
	if (told)
		put_text(name, value);
	else
		printf(",\"%s\":null", name);
}

static void put_addr(const char *name, const struct addr *addr)
{
	char key[48];
	char ip[ADDR_IP_TEXT_SIZE];

	snprintf(key, sizeof(key), "%s_addr", name);
	put_text(key, addr_format_ip(addr, ip));
	printf(",\"%s_port\":%u", name, addr->port);
}

static void put_hops(const struct nat_report *report)
{
	char ip[ADDR_IP_TEXT_SIZE];

	printf(",\"hops\":[");
	for (size_t i = 0; i < NAT_HOP_MAX; i++) {
		bool known = report->hops[i].family != ADDR_NONE;
		printf("%s%s%s%s", i > 0 ? "," : "", known ? "\"" : "",
			known ? addr_format_ip(&report->hops[i], ip) : "null", known ? "\"" : "");
	}
	printf("]");
}

static void put_seconds(const char *name, uint16_t seconds)
{
	if (seconds > 0)
		printf(",\"%s\":%u", name, seconds);
	else
		printf(",\"%s\":null", name);
}

static void put_router(const struct nat_router *router)
{
	char ip[ADDR_IP_TEXT_SIZE];
	const char *comma = "";

	put_name("router", router->at.family != ADDR_NONE, addr_format_ip(&router->at, ip));
	put_text("router_evidence", router->evidence);
	printf(",\"router_methods\":[");
	for (size_t i = 0; i < ROUTER_METHOD_COUNT; i++) {
		if ((router->methods & (1U << i)) == 0)
			continue;
		printf("%s\"%s\"", comma, router_method_name((enum router_method)i));
		comma = ",";
	}
	printf("]");
	put_name("router_addr", router->external.family != ADDR_NONE,
		addr_format_ip(&router->external, ip));
	put_finding("router_forwards", &router->forwards);
}

static void put_report(const struct nat_report *report)
{
	printf("\"protocol\":\"%s\"", mapping_protocol_name(report->protocol));
	put_answer("direct", report->direct);
	put_answer("connect", report->punch);
	put_name("obstacle", report->obstacle != NAT_OBSTACLE_UNTOLD,
		nat_obstacle_name(report->obstacle));
	put_addr("local", &report->local);
	put_addr("public", &report->mapped);
	put_text("reflector", report->reflector);
	put_text("method", report->method);
	put_finding("listens", &report->listens);
	put_finding("nat", &report->nat);
	printf(",\"layers\":%u", report->layers);
	put_text("layers_evidence", report->layers_evidence);
	put_hops(report);
	put_router(&report->router);
	put_name("mapping", report->mapping != NAT_MAPPING_UNTOLD,
		nat_mapping_name(report->mapping));
	put_text("mapping_evidence", report->mapping_evidence);
	put_name("filtering", report->filtering != NAT_FILTERING_UNTOLD,
		nat_filtering_name(report->filtering));
	put_text("filtering_evidence", report->filtering_evidence);
	put_name("unsolicited", report->unsolicited != NAT_UNSOLICITED_UNTOLD,
		nat_unsolicited_name(report->unsolicited));
	put_text("unsolicited_evidence", report->unsolicited_evidence);
	put_finding("port_preserved", &report->preserved);
	put_finding("parity_preserved", &report->parity);
	put_finding("hairpinning", &report->hairpin);
	put_finding("local_firewall", &report->firewall);
	put_finding("arrived", &report->arrived);
	put_finding("stranger", &report->stranger);
	put_seconds("lifetime_least", report->lifetime.least);
	put_seconds("lifetime_most", report->lifetime.most);
	put_text("lifetime_evidence",
		report->lifetime.wanted ? report->lifetime.evidence : "not asked for");
}

static void put_other(const struct check_side *other, unsigned family)
{
	char quoted[2 * sizeof(other->error.text) + 16];

	printf(",\"other\":{");
	if (other->judged)
		put_report(&other->report);
	else
		printf("\"error\":%s", text_escape_json(quoted, sizeof(quoted), other->error.text));
	printf(",\"family\":%u}", family);
}

void check_report_json(const struct check_side *sides, size_t count)
{
	size_t best = (size_t)(check_report_best(sides, count) - sides);

	printf("{");
	put_report(&sides[best].report);
	if (count == 2) {
		printf(",\"family\":%u", family_of(best));
		put_other(&sides[1 - best], family_of(1 - best));
	}
	puts("}");
}
