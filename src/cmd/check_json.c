#include "cmd/check_json.h"

#include <stdio.h>

#include "natpunch/base/text.h"
#include "natpunch/client/router.h"

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

/* null: it cannot be told. */
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
	put_name(
		"obstacle_owner", report->owner != NAT_OWNER_UNTOLD, nat_owner_name(report->owner));
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
		printf(",\"family\":%u", best == 0 ? 4U : 6U);
		put_other(&sides[1 - best], best == 0 ? 6 : 4);
	}
	puts("}");
}
