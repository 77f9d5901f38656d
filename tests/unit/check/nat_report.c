/* What follows from what was seen: mapping, filtering, verdict, obstacle. */
#include "natpunch/check/nat_report.h"

#include <string.h>

#include "tap.h"

#define SIGHT_MAX 4

static struct addr address(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("no address: %s", ip);
	addr.port = port;
	return addr;
}

/* "198.51.100.10:3478 saw port 22" as {"198.51.100.10", 3478, 22}. */
struct seen {
	const char *ip;
	uint16_t port;
	uint16_t mapped;
};

static void is_mapping(const struct seen *seen, enum nat_mapping want, const char *name)
{
	struct nat_sample samples[SIGHT_MAX];
	size_t count = 0;

	for (; count < SIGHT_MAX && seen[count].ip != NULL; count++) {
		samples[count].asked = address(seen[count].ip, seen[count].port);
		samples[count].mapped = address("203.0.113.2", seen[count].mapped);
	}
	is_str(nat_mapping_name(nat_report_judge_mapping(samples, count)), nat_mapping_name(want),
		"%s", name);
}

static void test_mapping(void)
{
	static const char a[] = "198.51.100.10", b[] = "198.51.100.11", c[] = "192.0.2.9";

	is_mapping((struct seen[]){{a, 1, 22}, {NULL, 0, 0}}, NAT_MAPPING_UNTOLD, "one sample");
	is_mapping((struct seen[]){{a, 1, 22}, {a, 2, 22}, {NULL, 0, 0}}, NAT_MAPPING_UNTOLD,
		"two ports of one address see the same: not enough");
	is_mapping((struct seen[]){{a, 1, 22}, {a, 2, 23}, {NULL, 0, 0}},
		NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT, "they see different ones");
	is_mapping((struct seen[]){{a, 1, 22}, {b, 1, 22}, {NULL, 0, 0}},
		NAT_MAPPING_ENDPOINT_INDEPENDENT, "another address sees the same");
	is_mapping((struct seen[]){{a, 1, 22}, {b, 1, 23}, {NULL, 0, 0}}, NAT_MAPPING_DEPENDENT,
		"another address sees another one");
	is_mapping((struct seen[]){{a, 1, 22}, {b, 1, 23}, {b, 2, 23}, {NULL, 0, 0}},
		NAT_MAPPING_ADDRESS_DEPENDENT, "both of its ports the same");
	is_mapping((struct seen[]){{a, 1, 22}, {b, 1, 23}, {b, 2, 24}, {NULL, 0, 0}},
		NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT, "its ports different ones");
	is_mapping((struct seen[]){{a, 1, 22}, {b, 1, 23}, {c, 1, 24}, {NULL, 0, 0}},
		NAT_MAPPING_DEPENDENT, "three addresses, three mappings");
	is_mapping((struct seen[]){{a, 1, 22}, {a, 1, 23}, {NULL, 0, 0}}, NAT_MAPPING_UNTOLD,
		"one place asked twice says nothing of ports");
}

static void is_filtering(enum nat_answer stranger, enum nat_answer known, enum nat_filtering want)
{
	is_str(nat_filtering_name(nat_report_judge_filtering(stranger, known)),
		nat_filtering_name(want), "a stranger gets in: %s, a known address: %s",
		nat_answer_name(stranger), nat_answer_name(known));
}

static void test_filtering(void)
{
	is_filtering(NAT_YES, NAT_YES, NAT_FILTERING_ENDPOINT_INDEPENDENT);
	is_filtering(NAT_YES, NAT_UNTOLD, NAT_FILTERING_ENDPOINT_INDEPENDENT);
	is_filtering(NAT_NO, NAT_YES, NAT_FILTERING_ADDRESS_DEPENDENT);
	is_filtering(NAT_NO, NAT_NO, NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
	is_filtering(NAT_NO, NAT_UNTOLD, NAT_FILTERING_DEPENDENT);
	is_filtering(NAT_UNTOLD, NAT_YES, NAT_FILTERING_NOT_BY_PORT);
	is_filtering(NAT_UNTOLD, NAT_NO, NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
	is_filtering(NAT_UNTOLD, NAT_UNTOLD, NAT_FILTERING_UNTOLD);
}

static struct nat_report strict_nat(void)
{
	struct nat_report report;

	memset(&report, 0, sizeof(report));
	report.protocol = MAPPING_TCP;
	report.local = address("192.168.1.2", 22);
	report.mapped = address("203.0.113.2", 22);
	report.listens.answer = NAT_YES;
	report.nat.answer = NAT_YES;
	report.layers = 1;
	report.mapping = NAT_MAPPING_ENDPOINT_INDEPENDENT;
	report.filtering = NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
	report.stranger.answer = NAT_NO;
	return report;
}

static void is_judged(struct nat_report *report, enum nat_answer direct, enum nat_answer punch,
	enum nat_obstacle obstacle, const char *name)
{
	nat_report_judge(report);
	is_str(nat_answer_name(report->direct), nat_answer_name(direct), "%s: direct", name);
	is_str(nat_answer_name(report->punch), nat_answer_name(punch), "%s: connect", name);
	is_str(nat_obstacle_name(report->obstacle), nat_obstacle_name(obstacle), "%s: obstacle",
		name);
}

static void test_verdict(void)
{
	struct nat_report report = strict_nat();

	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_ROUTER, "a strict NAT");
	report.layers = 2;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_CARRIER, "two of them");
	report.layers = 1;
	report.local = address("100.64.0.9", 22);
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_CARRIER, "a carrier's customer");
	report = strict_nat();
	report.mapping = NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
	is_judged(&report, NAT_NO, NAT_NO, NAT_OBSTACLE_ROUTER, "a symmetric NAT");
	report.mapping = NAT_MAPPING_UNTOLD;
	is_judged(&report, NAT_NO, NAT_UNTOLD, NAT_OBSTACLE_ROUTER, "with one sample");

	report = strict_nat();
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.firewall.answer = NAT_YES;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_FIREWALL, "a firewall at home");
	report.firewall.answer = NAT_NO;
	report.listens.answer = NAT_NO;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_NOTHING_LISTENS, "nothing listens");
	snprintf(report.elsewhere, sizeof(report.elsewhere), "sshd listens on ::1 only");
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_LISTENS_ELSEWHERE, "or elsewhere");
	report.elsewhere[0] = '\0';
	report.listens.answer = NAT_YES;
	report.stranger.answer = NAT_YES;
	is_judged(&report, NAT_YES, NAT_YES, NAT_OBSTACLE_NONE, "a full cone");
	report.stranger.answer = NAT_UNTOLD;
	report.filtering = NAT_FILTERING_NOT_BY_PORT;
	is_judged(&report, NAT_UNTOLD, NAT_YES, NAT_OBSTACLE_UNTOLD, "no stranger at hand");
	ok(!nat_report_is_unproved(&report), "no stranger at hand: there is nothing to prove");

	report = strict_nat();
	report.filtering = NAT_FILTERING_UNTOLD;
	snprintf(report.other, sizeof(report.other), "another machine");
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_OTHER_MACHINE, "another machine");
	report.stranger.answer = NAT_UNTOLD;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_OTHER_MACHINE, "and no stranger");
	report.listens.answer = NAT_NO;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_OTHER_MACHINE, "nor a listener");

	report = strict_nat();
	report.protocol = MAPPING_UDP;
	report.listens.answer = NAT_NO;
	is_judged(&report, NAT_NO, NAT_YES, NAT_OBSTACLE_ROUTER, "UDP");
	report.filtering = NAT_FILTERING_UNTOLD;
	report.stranger.answer = NAT_UNTOLD;
	is_judged(&report, NAT_UNTOLD, NAT_YES, NAT_OBSTACLE_UNTOLD, "UDP, untold");
}

/* Strangers get through, and it cannot be told to which machine. */
static void test_unproved(void)
{
	struct nat_report report = strict_nat();

	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.stranger.answer = NAT_UNTOLD;
	ok(nat_report_is_unproved(&report), "somebody answers strangers: that is not proved");
	is_judged(&report, NAT_UNTOLD, NAT_YES, NAT_OBSTACLE_UNTOLD, "somebody answers strangers");
	report.listens.answer = NAT_NO;
	is_judged(&report, NAT_UNTOLD, NAT_YES, NAT_OBSTACLE_UNTOLD, "though nothing listens here");
	report.stranger.answer = NAT_YES;
	ok(!nat_report_is_unproved(&report), "a stranger that came here is a proof");
	report.stranger.answer = NAT_UNTOLD;
	report.protocol = MAPPING_UDP;
	ok(!nat_report_is_unproved(&report), "over UDP nobody answers");
	is_judged(&report, NAT_YES, NAT_YES, NAT_OBSTACLE_UNTOLD, "over UDP");
}

int main(void)
{
	test_mapping();
	test_filtering();
	test_verdict();
	test_unproved();
	return done_testing();
}
