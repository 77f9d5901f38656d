/* When the home router is not tried. tests/lab/63-check-router.t has what a trial finds out. */
#include "natpunch/check/router_report.h"

#include <string.h>

#include "natpunch/client/forward.h"
#include "natpunch/os/port_owner.h"
#include "tap.h"

static struct nat_report report;
static struct port_owner owner;

/* A router that speaks, and a NAT that keeps strangers out; nobody keeps the port. */
static void set_scene(void)
{
	owner = (struct port_owner){.listens = true};
	report = (struct nat_report){.protocol = MAPPING_TCP, .stranger = {.answer = NAT_NO}};
	report.router.methods = 1U << ROUTER_PCP;
}

static const char *try(void)
{
	const struct forward_options options = {.methods = ROUTER_ALL_METHODS, .lease = 120};
	const struct router_trial trial = {.options = &options, .stop = -1};
	const struct mapping_race_request request = {.owner = &owner, .local = {.port = 22}};

	router_report_try(&request, &trial, NULL, &report);
	return report.router.forwards.evidence;
}

int main(void)
{
	set_scene();
	try();
	ok(report.router.tried, "a router that speaks is tried");

	set_scene();
	report.stranger.answer = NAT_YES;
	is_str(try(), "not tried: strangers get in already", "strangers get in");
	ok(!report.router.tried, "it is not tried");

	set_scene();
	report.stranger.answer = NAT_UNTOLD;
	report.filtering = NAT_FILTERING_ENDPOINT_INDEPENDENT;
	is_str(try(), "not tried: strangers get through already, perhaps to this machine",
		"somebody answers strangers");
	ok(!report.router.tried, "it is not tried");

	set_scene();
	report.router.methods = 0;
	is_str(try(), "not tried: there is no router that can be asked", "nobody to ask");
	ok(!report.router.tried, "it is not tried");

	set_scene();
	owner.keeper = 812;
	is_str(try(), "not tried: natpunch (pid 812) keeps the port, and its forward is left alone",
		"a probe keeps the port");
	ok(!report.router.tried, "it is not tried");
	is_int(report.router.forwards.answer, NAT_UNTOLD, "so nothing is told");
	return done_testing();
}
