/* The verdict and the steps, each as a person reads them. */
#include "cmd/check_advice.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/addr.h"
#include "natpunch/client/router.h"
#include "tap.h"

static struct nat_report report;
static struct common_options given;
static bool by_name;

static struct addr address(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("no address: %s", ip);
	addr.port = port;
	return addr;
}

/* A home router that keeps strangers out, and one reflector of two addresses. */
static void set_scene(void)
{
	static const struct common_options none;
	static const struct nat_report empty;
	struct error error;

	given = none;
	if (reflector_list_add(&given.reflectors, "198.51.100.10", &error) != 0)
		bail_out("no reflector");
	by_name = false;
	report = empty;
	report.protocol = MAPPING_TCP;
	report.local = address("192.168.1.2", 22);
	report.mapped = address("203.0.113.2", 41843);
	report.hops[0] = address("192.168.1.1", 0);
	report.hops[1] = address("203.0.113.1", 0);
	report.listens.answer = NAT_YES;
	report.nat.answer = NAT_YES;
	report.layers = 1;
	report.mapping = NAT_MAPPING_ENDPOINT_INDEPENDENT;
	report.filtering = NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
	report.stranger.answer = NAT_NO;
}

static void set_router(unsigned methods, enum nat_answer forwards, const char *by)
{
	report.router.at = address("192.168.1.1", 0);
	report.router.methods = methods;
	report.router.tried = forwards != NAT_UNTOLD || by[0] != '\0';
	report.router.forwards.answer = forwards;
	snprintf(report.router.forwards_by, sizeof(report.router.forwards_by), "%s", by);
}

static void set_udp(void)
{
	report.protocol = MAPPING_UDP;
	report.local.port = 5022;
}

/* What is written to standard output. */
static const char *advice(void)
{
	static char text[4096];
	FILE *file = tmpfile();
	int kept = dup(STDOUT_FILENO);
	ssize_t size;

	if (file == NULL || kept < 0)
		bail_out("no file");
	nat_report_judge(&report);
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	check_advice_print_verdict(&report, &given);
	check_advice_print_steps(&report, &given, &by_name);
	fflush(stdout);
	dup2(kept, STDOUT_FILENO);
	close(kept);
	size = pread(fileno(file), text, sizeof(text) - 1, 0);
	text[size > 0 ? size : 0] = '\0';
	fclose(file);
	return text;
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static void test_open(void)
{
	set_scene();
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.stranger.answer = NAT_YES;
	is_str(advice(),
		"yes: anybody can connect to TCP port 22 here, through 203.0.113.2 port 41843\n"
		"What to do: log in, from anywhere else:\n"
		"  ssh -p 41843 203.0.113.2\n"
		"Run this here, so that the NAT does not forget the way in:\n"
		"  natpunch probe -k -r 198.51.100.10\n",
		"strangers get in");
	report.nat.answer = NAT_NO;
	ok(!has(advice(), "probe"), "without a NAT nothing is forgotten");
	report.local.port = 8022;
	ok(has(advice(), "\nWhat to do: use 203.0.113.2 port 41843, from anywhere else.\n"),
		"another server");
	set_scene();
	set_udp();
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.stranger.answer = NAT_YES;
	report.listens.answer = NAT_NO;
	is_str(advice(),
		"yes: anybody can send to UDP port 5022 here, through 203.0.113.2 port 41843, but "
		"nothing listens on it yet\n"
		"What to do: start the server on UDP port 5022.\n"
		"Run this here, so that the NAT does not forget the way in:\n"
		"  natpunch probe -k -u -p 5022 -r 198.51.100.10\n",
		"over UDP, to nobody yet");
}

static void test_router(void)
{
	set_scene();
	is_str(advice(),
		"no: your router (192.168.1.1) lets nobody in to TCP port 22 here\n"
		"What to do: give this machine a name; natpunch connect comes in by it.\n"
		"Make a key here, and copy the file to the reflector and to the laptop:\n"
		"  (umask 077; natpunch keygen home >natpunch.key)\n"
		"On the reflector, with its other options, in place of the old one:\n"
		"  natpunch reflect -K natpunch.key\n"
		"Here, for as long as you want to get in:\n"
		"  natpunch probe -k -r 198.51.100.10 -n home -K natpunch.key\n"
		"On the laptop:\n"
		"  natpunch connect --ssh-config -r 198.51.100.10 -K natpunch.key home "
		">>~/.ssh/config\n"
		"  ssh home\n"
		"If it fails from some network, start the reflector with -R as well.\n"
		"Or in your router's settings, forward TCP port 22 to 192.168.1.2.\n",
		"a router that filters");
	report.mapping = NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
	by_name = false;
	ok(has(advice(), "\n  natpunch reflect -K natpunch.key -R\n"),
		"a port for each destination: with a relay");

	set_scene();
	set_udp();
	ok(has(advice(), "\n  natpunch probe -k -u -p 5022 -r 198.51.100.10 -n home -K "
			 "natpunch.key\n"
			 "On the laptop, with the port of its own program after -p:\n"
			 "  natpunch connect -u -p 5022 -r 198.51.100.10 -K natpunch.key home\n"
			 "This gets in from most networks;"),
		"over UDP");

	set_scene();
	set_router(1U << ROUTER_PCP | 1U << ROUTER_UPNP, NAT_UNTOLD, "");
	is_str(advice(),
		"no: your router (192.168.1.1) lets nobody in to TCP port 22 here\n"
		"What to do: ask your router to forward the port; it speaks PCP, UPnP:\n"
		"  natpunch probe -F -V -r 198.51.100.10\n"
		"Or come in by a name, whatever the router does: see natpunch-connect(1).\n",
		"a router that speaks");
	set_router(1U << ROUTER_PCP, NAT_NO, "");
	ok(!has(advice(), "-F"), "one that refused is not asked again");
	set_router(1U << ROUTER_PCP, NAT_YES, "PCP");
	report.layers = 2;
	is_str(advice(),
		"no: your router (192.168.1.1) lets nobody in to TCP port 22 here\n"
		"What to do: have your router forward the port. It did, by PCP, when it was "
		"tried:\n"
		"  natpunch probe -F -V -r 198.51.100.10\n",
		"one that forwards, whatever else is on the way");
	set_router(1U << ROUTER_PCP, NAT_YES, "");
	ok(has(advice(), "\nWhat to do: nothing at the router, which forwards port 22 already."),
		"one that does already");
	set_router(1U << ROUTER_PCP, NAT_UNTOLD, "PCP");
	set_udp();
	ok(has(advice(), "It agrees to, by PCP;") &&
			has(advice(), "\n  natpunch probe -F -u -p 5022 "
				      "-r 198.51.100.10\n"),
		"one that grants, over UDP, which is no proof");
	set_scene();
	set_router(1U << ROUTER_PCP, NAT_YES, "PCP");
	report.listens.answer = NAT_NO;
	ok(has(advice(), "no: nothing listens on TCP port 22 here\n"),
		"where nothing listens, a forward is not the first thing");
}

/* Whose it is: never more than the evidence has. */
static void test_owner(void)
{
	set_scene();
	report.hops[1].family = ADDR_NONE;
	ok(has(advice(), "no: a NAT on the way lets nobody in to TCP port 22 here\n"),
		"a NAT that may be anybody's");
	ok(!has(advice(), "your router"), "nobody is named");
	set_router(1U << ROUTER_PCP, NAT_UNTOLD, "");
	report.router.external = report.mapped;
	ok(has(advice(), "no: your router (192.168.1.1) "), "the router has the public address");
	report.router.external = address("100.64.0.9", 0);
	ok(has(advice(), "no: your router, your provider or both let nobody in"),
		"it has another one, in the provider's network");
	ok(has(advice(), "\n  natpunch check -F -r 198.51.100.10\n"), "which a trial would tell");

	set_scene();
	report.layers = 2;
	ok(has(advice(), "no: your router, your provider or both let nobody in"), "two NATs");
	set_router(1U << ROUTER_PCP, NAT_NO, "");
	ok(has(advice(), "no: your router, your provider or both let nobody in"),
		"two NATs, and the router forwards nothing");
	set_router(1U << ROUTER_PCP, NAT_NO, "PCP");
	ok(has(advice(), "no: your provider lets nobody in to TCP port 22 here\n"),
		"two NATs, and the router did forward");
	ok(has(advice(), "\nOr ask your provider for a public address of your own"),
		"what the provider can do");
	set_scene();
	report.local = address("100.64.0.9", 22);
	ok(has(advice(), "no: your provider lets nobody in"), "the provider's network");

	set_scene();
	report.nat.answer = NAT_NO;
	report.mapping = NAT_MAPPING_NONE;
	report.local = report.mapped = address("2001:db8::2", 22);
	ok(has(advice(), "no: a firewall on the way lets nobody in"), "a firewall that may be "
								      "anybody's");
	set_router(1U << ROUTER_PCP, NAT_UNTOLD, "");
	ok(has(advice(), "\n  natpunch probe -F -V -6 -r 198.51.100.10\n"), "IPv6: with -6");
}

/* At this machine. */
static void test_here(void)
{
	set_scene();
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.firewall.answer = NAT_YES;
	is_str(advice(),
		"no: this machine's firewall lets nobody in to TCP port 22\n"
		"What to do: allow TCP port 22 in this machine's firewall. Then check again:\n"
		"  natpunch check -r 198.51.100.10\n",
		"a firewall");
	report.listens.answer = NAT_NO;
	is_str(advice(),
		"no: nothing listens on TCP port 22 here\n"
		"What to do: start the server on port 22. Then check again:\n"
		"  natpunch check -r 198.51.100.10\n",
		"nothing listens");
	strcpy(report.elsewhere, "sshd listens on ::1 only");
	is_str(advice(),
		"no: on port 22 sshd listens on ::1 only\n"
		"What to do: have it listen on 192.168.1.2 as well. Then check again:\n"
		"  natpunch check -r 198.51.100.10\n",
		"it listens elsewhere");
	strcpy(report.other, "another machine");
	is_str(advice(),
		"no: 203.0.113.2 port 41843 leads to another machine, not to this one\n"
		"What to do: if your router forwards port 41843, have it forward that to "
		"192.168.1.2,\n"
		"or take another port (-p). Then check again:\n"
		"  natpunch check -r 198.51.100.10\n",
		"another machine");

	set_scene();
	report.filtering = NAT_FILTERING_UNTOLD;
	report.unprivileged = true;
	is_str(advice(),
		"no: nobody gets in to TCP port 22 here, and what keeps them out cannot be told\n"
		"What to do: check again as root, who may watch what comes to this machine:\n"
		"  natpunch check -r 198.51.100.10\n",
		"without the right to watch");
	report.unprivileged = false;
	ok(has(advice(), "What to do: give this machine a name"), "not for want of rights");
}

static void test_perhaps(void)
{
	set_scene();
	report.filtering = NAT_FILTERING_NOT_BY_PORT;
	report.stranger.answer = NAT_UNTOLD;
	is_str(advice(),
		"perhaps: whether anybody gets in to TCP port 22 here cannot be told with this "
		"reflector\n"
		"What to do: log in from another network, as from a phone's:\n"
		"  ssh -p 41843 203.0.113.2\n"
		"Or check again with HOST, another host that runs natpunch reflect:\n"
		"  natpunch check -r 198.51.100.10 -r HOST\n",
		"no stranger at hand");
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	report.unprivileged = true;
	is_str(advice(),
		"perhaps: somebody answers at 203.0.113.2 port 41843, and it is not proved that it "
		"is this machine\n"
		"What to do: log in from another network, as from a phone's, and see which machine "
		"it is:\n"
		"  ssh -p 41843 203.0.113.2 hostname\n"
		"Or check again as root, who may watch what comes to this machine:\n"
		"  natpunch check -r 198.51.100.10\n",
		"somebody answers strangers");
	set_scene();
	set_udp();
	report.filtering = NAT_FILTERING_UNTOLD;
	report.stranger.answer = NAT_UNTOLD;
	ok(has(advice(),
		   "\nWhat to do: check again with HOST, a reflector of two addresses (reflect "
		   "-a):\n  natpunch check -u -p 5022 -r HOST\n"),
		"over UDP");
}

/* What the user gave is in each command. */
static void test_given(void)
{
	struct error error;

	set_scene();
	given.family = ADDR_IPV4;
	given.mark = 7;
	report.local.port = 2222;
	if (reflector_list_add(&given.reflectors, "[2001:db8::10]:3479", &error) != 0)
		bail_out("no reflector");
	ok(has(advice(), "\n  natpunch probe -k -4 -p 2222 --mark 7 -r 198.51.100.10 -r "
			 "'[2001:db8::10]:3479' -n home -K natpunch.key\n"),
		"family, port, mark and both reflectors");
	ok(!has(advice(), "ssh"), "another server: not a word of ssh");
	by_name = false;
	ok(has(advice(), "\nOn each reflector, with its other options, in place of the old one:\n"
			 "  natpunch reflect -K natpunch.key -l 3478 -l 3479\n"),
		"each reflector listens on the ports that were named");
	set_scene();
	given.reflectors.must_agree = true;
	given.reflectors.all[0].port = 3479;
	ok(has(advice(), "\nOn HOST, a host of yours with a public address, as the reflector:\n"
			 "  natpunch reflect -K natpunch.key\n"),
		"public servers keep no names");
	by_name = false;
	ok(has(advice(), "\n  natpunch probe -k -r HOST -n home -K natpunch.key\n"),
		"and are not named");
}

int main(void)
{
	test_open();
	test_router();
	test_owner();
	test_here();
	test_perhaps();
	test_given();
	return done_testing();
}
