/*
 * What is printed of two families: the verdict about both, each by itself, and one that lacks; and
 * JSON. Verdicts and steps are in check_advice.
 */
#include "cmd/check_json.h"
#include "cmd/check_report.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cmd/common_options.h"
#include "natpunch/base/addr.h"
#include "natpunch/client/router.h"
#include "tap.h"

static struct check_side sides[2];
static struct common_options given; /* what the user gave */

static struct addr address(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("no address: %s", ip);
	addr.port = port;
	return addr;
}

static void set_judged(size_t index, enum nat_answer direct)
{
	static const char *const ips[] = {"203.0.113.2", "2001:db8::2"};

	sides[index] = (struct check_side){
		.judged = true, .report = {.protocol = MAPPING_TCP, .direct = direct}};
	sides[index].report.local = sides[index].report.mapped = address(ips[index], 22);
	sides[index].report.nat.answer = NAT_NO;
	sides[index].report.listens.answer = NAT_YES;
	if (direct == NAT_NO)
		sides[index].report.obstacle = NAT_OBSTACLE_ROUTER;
}

static void set_lacking(size_t index)
{
	sides[index] = (struct check_side){.judged = false};
	error_set(&sides[index].error, EXIT_STATUS_NETWORK, "it has \"none\"");
}

/* What is written to standard output: the text, or JSON. */
static const char *printed(bool json, size_t count)
{
	static char text[16384];
	FILE *file = tmpfile();
	int kept = dup(STDOUT_FILENO);
	ssize_t size;

	if (file == NULL || kept < 0)
		bail_out("no file");
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	if (json)
		check_report_json(sides, count);
	else
		check_report_text(sides, count, &given);
	fflush(stdout);
	dup2(kept, STDOUT_FILENO);
	close(kept);
	size = pread(fileno(file), text, sizeof(text) - 1, 0);
	text[size > 0 ? size : 0] = '\0';
	fclose(file);
	return text;
}

static const char *printed_text(size_t count)
{
	return printed(false, count);
}

static const char *printed_json(size_t count)
{
	return printed(true, count);
}

static const char *first_line(const char *text)
{
	static char line[256];

	snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
	return line;
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

/* Where `part` is in `text` for the last time. */
static const char *last(const char *text, const char *part)
{
	const char *found = NULL;

	while ((text = strstr(text, part)) != NULL)
		found = text++;
	return found;
}

static void test_best(void)
{
	static const struct {
		enum nat_answer answers[2];
		size_t best;
		const char *line;
	} rows[] = {
		{{NAT_YES, NAT_YES}, 0,
			"yes: anybody can connect to TCP port 22 here, over IPv4 and over IPv6"},
		{{NAT_YES, NAT_NO}, 0,
			"yes: anybody can connect to TCP port 22 here over IPv4, nobody over IPv6"},
		{{NAT_NO, NAT_YES}, 1,
			"yes: anybody can connect to TCP port 22 here over IPv6, nobody over IPv4"},
		{{NAT_UNTOLD, NAT_YES}, 1,
			"yes: anybody can connect to TCP port 22 here over IPv6; over IPv4 that "
			"cannot be told"},
		{{NAT_NO, NAT_UNTOLD}, 1,
			"perhaps: nobody can connect to TCP port 22 here over IPv4; over IPv6 that "
			"cannot be told"},
		{{NAT_UNTOLD, NAT_UNTOLD}, 0,
			"perhaps: whether anybody can connect to TCP port 22 here cannot be told, "
			"over IPv4 or over IPv6"},
		{{NAT_NO, NAT_NO}, 0,
			"no: nobody can connect to TCP port 22 here, over IPv4 or over IPv6"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_judged(0, rows[i].answers[0]);
		set_judged(1, rows[i].answers[1]);
		is_uint(check_report_best(sides, 2) - sides, rows[i].best, "%s", rows[i].line);
		is_str(first_line(printed_text(2)), rows[i].line, "its first line");
	}
	set_lacking(0);
	set_judged(1, NAT_NO);
	is_uint(check_report_best(sides, 2) - sides, 1, "one that is judged, whatever it is");
	set_lacking(1);
	is_uint(check_report_best(sides, 2) - sides, 0, "none is");
	ok(!check_report_best(sides, 2)->judged, "and that can be seen");
}

static void test_text(void)
{
	const char *text;
	char alone[8192];

	set_judged(0, NAT_YES);
	set_judged(1, NAT_NO);
	snprintf(alone, sizeof(alone), "%s", printed_text(1));
	is_str(first_line(alone),
		"yes: anybody can connect to TCP port 22 here, through 203.0.113.2 port 22",
		"one family: its verdict is the first line");
	ok(!has(alone, "IPv"), "one family: no word of families");
	text = printed_text(2);
	ok(has(text, "\n\nIPv4:\nyes: anybody can connect to TCP port 22 here"), "two: IPv4's");
	ok(has(text, "\n\nIPv6:\nno: a firewall on the way lets nobody in"), "two: and IPv6's");
	ok(has(text, alone), "two: with all that one has alone");
	ok(strstr(text, "\nIPv4:\n") < strstr(text, "\nIPv6:\n"), "two: the better one first");
	set_judged(0, NAT_NO);
	set_judged(1, NAT_YES);
	text = printed_text(2);
	ok(strstr(text, "\nIPv6:\n") < strstr(text, "\nIPv4:\n"), "two: whichever it is");
	set_judged(1, NAT_NO);
	text = printed_text(2);
	ok(has(text, "keygen") && strstr(text, "keygen") == last(text, "keygen"),
		"two: the steps to a name once");
	ok(has(text, "What to do: come in by the name, as above.\n"), "two: and then named");
	set_judged(0, NAT_YES);
	set_lacking(1);
	text = printed_text(2);
	is_str(first_line(text), first_line(alone), "one is lacking: the other's verdict");
	ok(has(text, "\nIPv6: it has \"none\"\n"), "one is lacking: a line says so");
	ok(!has(text, "IPv4"), "one is lacking: and no other");
}

static void test_json(void)
{
	const char *text;
	char alone[8192];

	set_judged(0, NAT_NO);
	set_judged(1, NAT_YES);
	snprintf(alone, sizeof(alone), "%s", printed_json(1));
	ok(!has(alone, "\"family\"") && !has(alone, "\"other\""), "one family: as ever");
	text = printed_json(2);
	ok(strncmp(text, "{\"protocol\":\"tcp\",\"direct\":true,", 32) == 0, "two: the better one");
	ok(has(text, ",\"family\":6,\"other\":{\"protocol\":\"tcp\",\"direct\":false,"),
		"two: which it is, and the other one");
	ok(has(text, ",\"family\":4}}\n"), "two: which that is");
	set_lacking(0);
	text = printed_json(2);
	ok(has(text, ",\"family\":6,\"other\":{\"error\":\"it has \\\"none\\\"\",\"family\":4}}\n"),
		"one is lacking: the reason");
}

/* A NAT that keeps strangers out, and a router in front of it that speaks PCP and UPnP. */
static struct nat_report *set_router(void)
{
	struct nat_report *report = &sides[0].report;

	set_judged(0, NAT_NO);
	report->obstacle = NAT_OBSTACLE_ROUTER;
	report->router.at = address("10.0.0.1", 0);
	report->router.external = address("100.64.0.2", 0);
	report->router.methods = 1U << ROUTER_PCP | 1U << ROUTER_UPNP;
	strcpy(report->router.evidence, "10.0.0.1 answered after 4 ms");
	strcpy(report->router.forwards.evidence, "the reason");
	return report;
}

static void test_router(void)
{
	struct nat_report *report = set_router();
	const char *text = printed_text(1);

	ok(has(text, "\n  router             PCP, UPnP; its own address is 100.64.0.2\n"),
		"a router: what it speaks");
	ok(has(text, " 10.0.0.1 answered after 4 ms; with -F, check tries whether it forwards "
		     "port 22\n"),
		"a router: who, and what can be tried");
	text = printed_json(1);
	ok(has(text, ",\"router\":\"10.0.0.1\",\"router_evidence\":\"10.0.0.1 answered after 4 "
		     "ms\",\"router_methods\":[\"pcp\",\"upnp\"],\"router_addr\":\"100.64.0.2\","
		     "\"router_forwards\":null,\"router_forwards_evidence\":\"the reason\","),
		"a router: for machines");

	report->router.tried = true;
	report->router.forwards.answer = NAT_NO;
	text = printed_text(1);
	ok(has(text, "\n  router forwards    no\n"), "it does not: in the table");
	ok(!has(text, "check -F"), "it does not: which need not be tried again");

	report->router.forwards.answer = NAT_YES;
	report->obstacle = NAT_OBSTACLE_CARRIER;
	report->owner = NAT_OWNER_ROUTER_OR_PROVIDER;
	ok(has(printed_json(1), ",\"obstacle\":\"carrier\",\"obstacle_owner\":\"router or "
				"provider\",\"local_addr\""),
		"whose it is: for machines");
	ok(has(printed_json(1), "\"router_forwards\":true,"), "it would: for machines");
	set_judged(0, NAT_YES);
	text = printed_text(1);
	ok(!has(text, "router "), "no gateway: nothing is told");
	ok(has(printed_json(1), ",\"router\":null,\"router_evidence\":\"\",\"router_"
				"methods\":[],\"router_addr\":"
				"null,\"router_forwards\":null,"),
		"no gateway: for machines");
	set_router()->router.methods = 0;
	sides[0].report.router.external.family = ADDR_NONE;
	text = printed_text(1);
	ok(has(text, "\n  router             speaks none of PCP, NAT-PMP and UPnP\n"),
		"one that is silent");
	ok(!has(text, "-F"), "is no next step");
}

int main(void)
{
	test_best();
	test_text();
	test_json();
	test_router();
	return done_testing();
}
