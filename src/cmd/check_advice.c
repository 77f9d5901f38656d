/*
 * The verdict says what is so; a step says what to do, and ends with a command where there is one.
 * The first step is the one that is most likely to help, and the others begin with "Or".
 *
 * nat_report_judge() says whose an obstacle is, and nothing is guessed here: where that cannot be
 * told, the sentence says what was seen.
 */
#include "cmd/check_advice.h"

#include <inttypes.h>
#include <stdio.h>

#include "natpunch/client/router.h"
#include "natpunch/proto/stun.h"

static const char *protocol_word(const struct nat_report *report)
{
	return report->protocol == MAPPING_TCP ? "TCP" : "UDP";
}

/* ---- the verdict -------------------------------------------------------------------------- */

static void print_yes(const struct nat_report *report)
{
	char ip[ADDR_IP_TEXT_SIZE];

	printf("yes: anybody can %s %s port %u here, through %s port %u",
		report->protocol == MAPPING_TCP ? "connect to" : "send to", protocol_word(report),
		report->local.port, addr_format_ip(&report->mapped, ip), report->mapped.port);
	if (report->elsewhere[0] != '\0')
		printf(", but %s", report->elsewhere);
	else if (report->listens.answer == NAT_NO)
		printf(", but nothing listens on it yet");
	puts("");
}

static void print_perhaps(const struct nat_report *report, bool one)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (nat_report_is_unproved(report))
		printf("perhaps: somebody answers at %s port %u, and it is not proved that it is "
		       "this machine\n",
			addr_format_ip(&report->mapped, ip), report->mapped.port);
	else
		printf("perhaps: whether anybody gets in to %s port %u here cannot be told with "
		       "%s\n",
			protocol_word(report), report->local.port,
			one ? "this reflector" : "these reflectors");
}

/* Something on the way keeps strangers out. */
static void print_kept_out(const struct nat_report *report)
{
	const char *protocol = protocol_word(report);
	unsigned port = report->local.port;
	char ip[ADDR_IP_TEXT_SIZE];

	switch (report->owner) {
	case NAT_OWNER_ROUTER:
		printf("no: your router (%s) lets nobody in to %s port %u here\n",
			addr_format_ip(report->router.at.family != ADDR_NONE ? &report->router.at
									     : &report->hops[0],
				ip),
			protocol, port);
		return;
	case NAT_OWNER_PROVIDER:
		printf("no: your provider lets nobody in to %s port %u here\n", protocol, port);
		return;
	case NAT_OWNER_ROUTER_OR_PROVIDER:
		printf("no: your router, your provider or both let nobody in to %s port %u here\n",
			protocol, port);
		return;
	default:
		printf("no: a %s on the way lets nobody in to %s port %u here\n",
			report->nat.answer == NAT_NO ? "firewall" : "NAT", protocol, port);
		return;
	}
}

static void print_no(const struct nat_report *report)
{
	const char *protocol = protocol_word(report);
	unsigned port = report->local.port;
	char ip[ADDR_IP_TEXT_SIZE];

	switch (report->obstacle) {
	case NAT_OBSTACLE_OTHER_MACHINE:
		printf("no: %s port %u leads to %s, not to this one\n",
			addr_format_ip(&report->mapped, ip), report->mapped.port, report->other);
		return;
	case NAT_OBSTACLE_NOTHING_LISTENS:
		printf("no: nothing listens on %s port %u here\n", protocol, port);
		return;
	case NAT_OBSTACLE_LISTENS_ELSEWHERE:
		printf("no: on port %u %s\n", port, report->elsewhere);
		return;
	case NAT_OBSTACLE_FIREWALL:
		printf("no: this machine's firewall lets nobody in to %s port %u\n", protocol,
			port);
		return;
	case NAT_OBSTACLE_ROUTER:
	case NAT_OBSTACLE_CARRIER:
		print_kept_out(report);
		return;
	case NAT_OBSTACLE_NONE:
	case NAT_OBSTACLE_UNTOLD:
		printf("no: nobody gets in to %s port %u here, and what keeps them out cannot be "
		       "told\n",
			protocol, port);
		return;
	}
}

void check_advice_print_verdict(const struct nat_report *report, const struct common_options *given)
{
	switch (report->direct) {
	case NAT_YES:
		print_yes(report);
		return;
	case NAT_NO:
		print_no(report);
		return;
	case NAT_UNTOLD:
		print_perhaps(report, given->reflectors.count == 1);
		return;
	}
}

/* ---- commands ----------------------------------------------------------------------------- */

static bool has_own_reflector(const struct common_options *given)
{
	return !given->reflectors.must_agree;
}

/*
 * Prints "  natpunch WORDS" with the port and the user's options. The caller prints the reflectors
 * and ends the line.
 */
static void begin_command(const char *words, const struct nat_report *report,
	const struct common_options *given, enum addr_family family)
{
	printf("  natpunch %s", words);
	if (family != ADDR_NONE)
		printf(" -%d", (int)family);
	if (report->protocol == MAPPING_UDP)
		printf(" -u");
	if (report->local.port != 22 || report->protocol == MAPPING_UDP)
		printf(" -p %u", report->local.port);
	if (given->mark != 0)
		printf(" --mark %" PRIu32, given->mark);
}

static void print_reflectors(const struct common_options *given)
{
	if (has_own_reflector(given))
		common_options_print_reflectors(given);
}

/* For a command that needs a reflector of one's own. */
static void print_own_reflectors(const struct common_options *given)
{
	if (has_own_reflector(given))
		common_options_print_reflectors(given);
	else
		printf(" -r HOST");
}

static void print_check(
	const char *words, const struct nat_report *report, const struct common_options *given)
{
	begin_command(words, report, given, given->family);
	print_reflectors(given);
	puts("");
}

/* Without -6 a probe prints IPv4 where there is a mapping. */
static enum addr_family probe_family(
	const struct nat_report *report, const struct common_options *given)
{
	return report->local.family == ADDR_IPV6 ? ADDR_IPV6 : given->family;
}

/* The probe that asks the router to forward, and over TCP verifies that strangers get in. */
static void print_forward_command(
	const struct nat_report *report, const struct common_options *given)
{
	bool dials = report->protocol == MAPPING_TCP && has_own_reflector(given);

	begin_command(
		dials ? "probe -F -V" : "probe -F", report, given, probe_family(report, given));
	print_reflectors(given);
	puts("");
}

/* ---- strangers get in --------------------------------------------------------------------- */

static void print_login(const struct nat_report *report, const char *what)
{
	char ip[ADDR_IP_TEXT_SIZE];

	printf("  ssh -p %u %s%s\n", report->mapped.port, addr_format_ip(&report->mapped, ip),
		what);
}

static bool is_ssh(const struct nat_report *report)
{
	return report->protocol == MAPPING_TCP && report->local.port == 22;
}

static void print_keep(const struct nat_report *report, const struct common_options *given)
{
	if (report->nat.answer == NAT_NO)
		return;
	puts("Run this here, so that the NAT does not forget the way in:");
	begin_command("probe -k", report, given, probe_family(report, given));
	print_reflectors(given);
	puts("");
}

static void print_open(const struct nat_report *report, const struct common_options *given)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (report->elsewhere[0] != '\0')
		printf("What to do: have it listen on %s as well.\n",
			addr_format_ip(&report->local, ip));
	else if (report->listens.answer == NAT_NO)
		printf("What to do: start the server on %s port %u.\n", protocol_word(report),
			report->local.port);
	else if (is_ssh(report)) {
		puts("What to do: log in, from anywhere else:");
		print_login(report, "");
	} else
		printf("What to do: use %s port %u, from anywhere else.\n",
			addr_format_ip(&report->mapped, ip), report->mapped.port);
	print_keep(report, given);
}

/* ---- it cannot be told -------------------------------------------------------------------- */

static void print_try(const struct nat_report *report, const char *what)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (is_ssh(report)) {
		printf("What to do: log in from another network, as from a phone's%s:\n",
			what[0] != '\0' ? ", and see which machine it is" : "");
		print_login(report, what);
	} else if (report->protocol == MAPPING_TCP) {
		printf("What to do: connect from another network, as from a phone's, to %s port "
		       "%u.\n",
			addr_format_ip(&report->mapped, ip), report->mapped.port);
	}
}

static void print_doubt(const struct nat_report *report, const struct common_options *given)
{
	if (nat_report_is_unproved(report)) {
		print_try(report, " hostname");
		if (report->unprivileged) {
			puts("Or check again as root, who may watch what comes to this machine:");
			print_check("check", report, given);
		}
		return;
	}
	print_try(report, "");
	puts(report->protocol == MAPPING_TCP
			? "Or check again with HOST, another host that runs natpunch reflect:"
			: "What to do: check again with HOST, a reflector of two addresses "
			  "(reflect "
			  "-a):");
	begin_command("check", report, given, given->family);
	if (report->protocol == MAPPING_TCP)
		print_reflectors(given);
	puts(" -r HOST");
}

/* ---- they are kept out -------------------------------------------------------------------- */

/* Is the obstacle on the way to this machine, or may it be? */
static bool is_stopped_on_the_way(const struct nat_report *report)
{
	return report->obstacle == NAT_OBSTACLE_ROUTER ||
	       report->obstacle == NAT_OBSTACLE_CARRIER || report->obstacle == NAT_OBSTACLE_UNTOLD;
}

/* If a forward by the router is the step to take, prints it and returns true. */
static bool print_forward(const struct nat_report *report, const struct common_options *given)
{
	const struct nat_router *router = &report->router;
	char methods[ROUTER_METHODS_TEXT_SIZE];
	bool may = router->forwards.answer == NAT_UNTOLD && router->forwards_by[0] != '\0';

	if (!is_stopped_on_the_way(report))
		return false;
	if (router->forwards.answer == NAT_YES && router->forwards_by[0] == '\0')
		printf("What to do: nothing at the router, which forwards port %u already. This "
		       "prints the\naddress that leads here:\n",
			report->local.port);
	else if (router->forwards.answer == NAT_YES)
		printf("What to do: have your router forward the port. It did, by %s, when it was "
		       "tried:\n",
			router->forwards_by);
	else if (may)
		printf("What to do: have your router forward the port. It agrees to, by %s; "
		       "whether anybody\ngets in then was not told:\n",
			router->forwards_by);
	else if (router->methods != 0 && !router->tried && report->direct == NAT_NO &&
		 (report->owner == NAT_OWNER_ROUTER ||
			 (report->owner == NAT_OWNER_UNTOLD &&
				 report->obstacle != NAT_OBSTACLE_UNTOLD)))
		printf("What to do: ask your router to forward the port; it speaks %s:\n",
			router_methods_format(router->methods, methods));
	else
		return false;
	print_forward_command(report, given);
	return true;
}

static void print_laptop(const struct nat_report *report, const struct common_options *given)
{
	if (report->protocol == MAPPING_UDP) {
		printf("On the laptop, with the port of its own program after -p:\n"
		       "  natpunch connect -u -p %u",
			report->local.port);
		print_own_reflectors(given);
		puts(" -K natpunch.key home");
		return;
	}
	printf("On the laptop:\n  natpunch connect%s", is_ssh(report) ? " --ssh-config" : "");
	print_own_reflectors(given);
	puts(is_ssh(report) ? " -K natpunch.key home >>~/.ssh/config\n  ssh home"
			    : " -K natpunch.key home");
}

/* The ports that the user gave: the reflector listens on them instead of the default one. */
static void print_ports(const struct common_options *given)
{
	const struct reflector_list *list = &given->reflectors;
	bool named = false;

	for (size_t i = 0; i < list->count && has_own_reflector(given); i++)
		named = named || list->all[i].port != STUN_DEFAULT_PORT;
	for (size_t i = 0; i < list->count && named; i++) {
		size_t first = 0;

		while (list->all[first].port != list->all[i].port)
			first++;
		if (first == i)
			printf(" -l %u", list->all[i].port);
	}
	puts("");
}

/* A laptop that connects by a name needs no port that lets everybody in. */
static void print_by_name(
	const struct nat_report *report, const struct common_options *given, bool *told)
{
	bool relay = report->punch == NAT_NO && report->protocol == MAPPING_TCP;

	if (*told) {
		puts("What to do: come in by the name, as above.");
		return;
	}
	*told = true;
	puts("What to do: give this machine a name; natpunch connect comes in by it.\n"
	     "Make a key here, and copy the file to the reflector and to the laptop:\n"
	     "  (umask 077; natpunch keygen home >natpunch.key)");
	puts(!has_own_reflector(given)
			? "On HOST, a host of yours with a public address, as the reflector:"
		: given->reflectors.count > 1
			? "On each reflector, with its other options, in place of the old one:"
			: "On the reflector, with its other options, in place of the old one:");
	printf("  natpunch reflect -K natpunch.key%s", relay ? " -R" : "");
	print_ports(given);
	puts("Here, for as long as you want to get in:");
	begin_command("probe -k", report, given, given->family);
	print_own_reflectors(given);
	puts(" -n home -K natpunch.key");
	print_laptop(report, given);
}

/* Says from which networks the laptop gets in by the name. */
static void print_reach(const struct nat_report *report)
{
	if (report->protocol == MAPPING_UDP)
		puts(report->punch == NAT_YES
				? "This gets in from most networks; natpunch-nat(7) lists them."
				: "This gets in from some networks only; natpunch-nat(7) lists "
				  "them.");
	else if (report->punch == NAT_NO)
		puts("With -R the reflector passes the connection on where nothing else works.");
	else if (report->filtering != NAT_FILTERING_ADDRESS_DEPENDENT)
		puts("If it fails from some network, start the reflector with -R as well.");
}

/* What can be done at the router, or by the provider. */
static void print_others(const struct nat_report *report, const struct common_options *given)
{
	char ip[ADDR_IP_TEXT_SIZE];

	addr_format_ip(&report->local, ip);
	if (report->owner == NAT_OWNER_ROUTER)
		printf("Or in your router's settings, %s %s port %u %s %s.\n",
			report->nat.answer == NAT_NO ? "allow" : "forward", protocol_word(report),
			report->local.port, report->nat.answer == NAT_NO ? "for" : "to", ip);
	else if (report->owner == NAT_OWNER_PROVIDER)
		puts("Or ask your provider for a public address of your own, or for IPv6.");
	else if (report->owner == NAT_OWNER_ROUTER_OR_PROVIDER && report->router.methods != 0 &&
		 !report->router.tried) {
		puts("Or try whether it is enough that your router forwards the port:");
		print_check("check -F", report, given);
	} else if (report->owner == NAT_OWNER_ROUTER_OR_PROVIDER)
		puts("Or ask your provider for a public address of your own, and forward the port "
		     "in\nyour router.");
}

static void print_blocked(
	const struct nat_report *report, const struct common_options *given, bool *by_name)
{
	if (print_forward(report, given)) {
		if (report->router.forwards.answer != NAT_YES)
			puts("Or come in by a name, whatever the router does: see "
			     "natpunch-connect(1).");
		return;
	}
	print_by_name(report, given, by_name);
	print_reach(report);
	print_others(report, given);
}

/* What is wrong at this machine, or at its address: mend it, and look again. */
static void print_mend(const struct nat_report *report, const struct common_options *given)
{
	unsigned port = report->local.port;
	char ip[ADDR_IP_TEXT_SIZE];

	addr_format_ip(&report->local, ip);
	if (report->obstacle == NAT_OBSTACLE_OTHER_MACHINE)
		printf("What to do: if your router forwards port %u, have it forward that to %s,\n"
		       "or take another port (-p).",
			report->mapped.port, ip);
	else if (report->obstacle == NAT_OBSTACLE_NOTHING_LISTENS)
		printf("What to do: start the server on port %u.", port);
	else if (report->obstacle == NAT_OBSTACLE_LISTENS_ELSEWHERE)
		printf("What to do: have it listen on %s as well.", ip);
	else
		printf("What to do: allow %s port %u in this machine's firewall.",
			protocol_word(report), port);
	puts(" Then check again:");
	print_check("check", report, given);
}

static void print_unseen(const struct nat_report *report, const struct common_options *given)
{
	puts("What to do: check again as root, who may watch what comes to this machine:");
	print_check("check", report, given);
}

void check_advice_print_steps(
	const struct nat_report *report, const struct common_options *given, bool *by_name)
{
	if (report->direct == NAT_YES)
		print_open(report, given);
	else if (report->direct == NAT_UNTOLD) {
		if (!print_forward(report, given))
			print_doubt(report, given);
	} else if (!is_stopped_on_the_way(report))
		print_mend(report, given);
	else if (report->obstacle == NAT_OBSTACLE_UNTOLD && report->unprivileged)
		print_unseen(report, given);
	else
		print_blocked(report, given, by_name);
}
