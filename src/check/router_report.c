#include "natpunch/check/router_report.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/forward.h"
#include "natpunch/client/forward_search.h"
#include "natpunch/client/hint_command.h"
#include "natpunch/client/reachability.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/signals.h"

#define WATCH_STOP 2 /* signals, and the trial's `stop` */

/* Plans a request to the gateway of the mapping. Returns false if there is none to ask. */
static bool plan(const struct mapping_race_request *request, const struct forward_options *options,
	const struct addr *reflector, const struct nat_report *report, struct router_request *out)
{
	struct mapping_race_request own = *request;

	own.local = report->local;
	return forward_plan(&own, options, reflector, false, out);
}

/* ---- to look ------------------------------------------------------------------------------ */

static void take_look(const struct router *router, struct nat_router *report)
{
	const struct router_result *result = &router->result;
	size_t size = sizeof(report->evidence);
	char ip[ADDR_IP_TEXT_SIZE];
	int used;

	report->at = result->router;
	report->methods = result->methods;
	report->external = result->external;
	addr_format_ip(&report->at, ip);
	if (!result->heard) {
		snprintf(report->evidence, size, "%s: %s", ip,
			result->problem != 0 ? strerror(result->problem) : "no answer");
		return;
	}
	used = snprintf(report->evidence, size, "%s answered after %u ms", ip,
		(unsigned)result->answered_ms);
	if (result->result != PCP_RESULT_DONE)
		snprintf(report->evidence + used, size - (size_t)used,
			"; it tells no address of its own (NAT-PMP: %s)", result->refusal);
}

void router_report_look(const struct mapping_race_request *request, const struct addr *reflector,
	struct nat_report *report)
{
	const struct forward_options options = {.methods = ROUTER_ALL_METHODS};
	struct router_request question;
	struct router router;

	snprintf(report->router.forwards.evidence, sizeof(report->router.forwards.evidence),
		"not tried");
	if (!plan(request, &options, reflector, report, &question))
		return;
	question.look = true;
	router_start(&router, &question, clock_now_ms());
	router_run(&router, 1);
	take_look(&router, &report->router);
	router_end(&router);
}

/* ---- to try ------------------------------------------------------------------------------- */

struct attempt {
	const struct mapping_race_request *request;
	struct nat_report *report;
	struct forward forward;
	struct mapping_race_result result;
	struct reachability dialled;
	int stop[WATCH_STOP];
	bool stopped;
};

static bool has_stopped(const struct pollfd *stop)
{
	return stop[0].revents != 0 || stop[1].revents != 0;
}

/* As reachability_run(), except that a signal or `stop` ends it. */
static void dial(struct attempt *attempt)
{
	const struct nat_report *report = attempt->report;
	struct reachability *dialled = &attempt->dialled;
	struct reachability_request question = {
		.local = report->local,
		.mapped = attempt->result.mapping.public_addr,
		.asked = attempt->result.winner.request.remote,
		.probe = attempt->request,
		.reflector = report->asked_number,
		.timeout_ms = DIALBACK_CLIENT_TIMEOUT_MS,
	};
	uint64_t now = clock_now_ms();

	for (size_t i = 0; i < report->asked_number; i++)
		question.contacted[i] = true;
	reachability_start(dialled, &question, now);
	reachability_advance(dialled, NULL, now);
	while (dialled->verdict == REACHABILITY_PENDING && !attempt->stopped) {
		struct pollfd fds[REACHABILITY_WATCH_MAX + WATCH_STOP];
		struct pollfd *stop = fds + REACHABILITY_WATCH_MAX;
		uint64_t due = reachability_watch(dialled, fds);

		for (size_t i = 0; i < WATCH_STOP; i++)
			stop[i] = (struct pollfd){.fd = attempt->stop[i], .events = POLLIN};
		poll(fds, REACHABILITY_WATCH_MAX + WATCH_STOP, clock_poll_ms(now, due));
		now = clock_now_ms();
		attempt->stopped = has_stopped(stop);
		reachability_advance(dialled, fds, now);
	}
	reachability_end(dialled);
}

/* Does the NAT let known addresses in anyhow? Then it proves nothing that one gets in. */
static bool knows_no_ports(const struct nat_report *report)
{
	return report->filtering == NAT_FILTERING_NOT_BY_PORT ||
	       report->filtering == NAT_FILTERING_ADDRESS_DEPENDENT;
}

/* Did the dial-back come as far as this machine? */
static enum nat_answer judge_dial(const struct attempt *attempt)
{
	const struct reachability *dialled = &attempt->dialled;
	bool came = dialled->verdict == REACHABILITY_OPEN ||
		    dialled->verdict == REACHABILITY_KNOWN ||
		    dialled->evidence_arrival == ARRIVAL_SEEN;

	if (came)
		return dialled->stranger || !knows_no_ports(attempt->report) ? NAT_YES : NAT_UNTOLD;
	return dialled->verdict == REACHABILITY_SHUT ? NAT_NO : NAT_UNTOLD;
}

static void note_dial(struct attempt *attempt, const char *does)
{
	struct nat_finding *finding = &attempt->report->router.forwards;
	const struct dialback_result *result = &attempt->dialled.evidence;
	size_t size = sizeof(finding->evidence);
	char from[ADDR_TEXT_SIZE], to[ADDR_TEXT_SIZE], why[ARRIVALS_WHY_SIZE];
	bool doubt = reachability_find_doubt(&attempt->dialled, why);
	int used;

	addr_format(&result->from, from);
	addr_format(&attempt->result.mapping.public_addr, to);
	used = snprintf(finding->evidence, size, "%s; %s %s through %s", does, from,
		doubt ? "got" : "came to this machine", to);
	if (doubt)
		snprintf(finding->evidence + used, size - (size_t)used,
			"; not proved that it is to this machine: %s", why);
}

/* Would a trial disturb something, or is there no router to ask? Then the evidence says so. */
static bool is_left_alone(
	const struct mapping_race_request *request, const struct nat_report *report, char *out)
{
	const struct port_owner *owner = request->owner;

	out[0] = '\0';
	if (report->stranger.answer == NAT_YES)
		snprintf(out, NAT_EVIDENCE_SIZE, "not tried: strangers get in already");
	else if (nat_report_is_unproved(report))
		snprintf(out, NAT_EVIDENCE_SIZE,
			"not tried: strangers get through already, perhaps to this machine");
	else if (report->router.methods == 0)
		snprintf(out, NAT_EVIDENCE_SIZE, "not tried: there is no router that can be asked");
	else if (owner != NULL && owner->keeper != 0)
		snprintf(out, NAT_EVIDENCE_SIZE,
			"not tried: natpunch (pid %ld) keeps the port, and its forward is left "
			"alone",
			(long)owner->keeper);
	return out[0] != '\0';
}

/* If the public port is not the local one: does the router's port of that number lead here? */
static bool forwards_already(struct attempt *attempt)
{
	struct addr *mapped = &attempt->result.mapping.public_addr;
	const struct nat_report *report = attempt->report;
	struct addr seen = *mapped;
	char why[ARRIVALS_WHY_SIZE];
	bool does;

	if (mapped->family != ADDR_IPV4 || mapped->port == report->local.port)
		return false;
	mapped->port = report->local.port;
	dial(attempt);
	does = judge_dial(attempt) == NAT_YES;
	if (does)
		note_dial(attempt, reachability_find_doubt(&attempt->dialled, why)
					   ? "that port is answered already, and was left alone"
					   : "it does already, and was left alone");
	*mapped = seen;
	return does;
}

/* Has the addresses that the forward may lead to dialled until a dial-back gets in. */
static enum nat_answer try_candidates(struct attempt *attempt)
{
	struct mapping_race_request one = *attempt->request;
	uint64_t deadline = clock_now_ms() + one.timeout_ms;
	enum nat_answer answer = NAT_UNTOLD;

	one.reflectors = &attempt->request->reflectors[attempt->report->asked_number];
	one.reflector_count = 1;
	one.first = 0;
	one.local = attempt->report->local;
	while (answer != NAT_YES && !attempt->stopped &&
		forward_next(&attempt->forward, &one, &attempt->result, deadline) == FORWARD_TRY) {
		dial(attempt);
		answer = judge_dial(attempt);
	}
	binding_client_end(&attempt->result.winner);
	return answer;
}

/* The router granted a port: do strangers get in by it? */
static void prove(struct attempt *attempt, bool dials)
{
	struct nat_router *report = &attempt->report->router;
	const struct router_result *result = &attempt->forward.result;
	size_t size = sizeof(report->forwards.evidence);
	const char *title = router_method_title(result->method);
	char does[64];

	snprintf(does, sizeof(does), "it forwarded its port %u by %s", result->port, title);
	snprintf(report->forwards_by, sizeof(report->forwards_by), "%s", title);
	if (dials)
		report->forwards.answer = try_candidates(attempt);
	if (report->forwards.answer == NAT_YES)
		note_dial(attempt, does);
	else if (report->forwards.answer == NAT_NO)
		snprintf(report->forwards.evidence, size,
			"%s, but a NAT or a firewall beyond it, or on this machine, kept strangers "
			"out",
			does);
	else
		snprintf(report->forwards.evidence, size, "%s; whether strangers get in by it: %s",
			does,
			!dials ? "nobody dials over UDP"
			: attempt->dialled.error.text[0] != '\0'
				? attempt->dialled.error.text
				: "cannot be told with these reflectors");
}

static void note_failure(struct attempt *attempt)
{
	struct nat_finding *finding = &attempt->report->router.forwards;
	struct error error;

	if (attempt->forward.state == ROUTER_REFUSED)
		finding->answer = NAT_NO;
	forward_explain_failure(&attempt->forward, attempt->request, &error);
	snprintf(finding->evidence, sizeof(finding->evidence), "%.150s%s%.230s", error.text,
		error.hint[0] != '\0' ? "; " : "", error.hint);
}

/*
 * Takes the forward back, also if no answer says that it was granted; not so by UPnP, where the
 * forward may be another program's.
 */
static void take_back(const struct attempt *attempt, const struct router_request *granted)
{
	const struct router_result *result = &attempt->forward.result;
	struct router_request question = *granted;
	bool sure = attempt->forward.state == ROUTER_DONE;
	char command[HINT_COMMAND_SIZE];
	struct router router;

	question.lease = 0;
	question.methods &= sure ? 1U << result->method : ~(1U << ROUTER_UPNP);
	if (sure)
		question.wish = result->port;
	if (question.methods == 0)
		return;
	router_start(&router, &question, clock_now_ms());
	router_run(&router, 1);
	if (sure && router.state != ROUTER_DONE)
		log_warning("the router does not take back the forward of its port %u: %s",
			result->port,
			hint_command_format("probe -F --lease 0", attempt->request, command));
	router_end(&router);
}

static void run_trial(struct attempt *attempt, const struct forward_options *options, bool dials)
{
	struct nat_report *report = attempt->report;
	struct router_request question;
	struct router router;
	char why[ARRIVALS_WHY_SIZE];

	if (dials && forwards_already(attempt)) {
		if (!reachability_find_doubt(&attempt->dialled, why))
			report->router.forwards.answer = NAT_YES;
		return;
	}
	if (attempt->stopped || !plan(attempt->request, options, &report->asked, report, &question))
		return;
	question.methods = report->router.methods;
	router_start(&router, &question, clock_now_ms());
	router_run(&router, 1);
	attempt->forward.asked = true;
	attempt->forward.state = router.state;
	attempt->forward.result = router.result;
	router_end(&router);
	if (router.state == ROUTER_DONE)
		prove(attempt, dials);
	else
		note_failure(attempt);
	question.secret = &options->secret;
	if (router.state != ROUTER_REFUSED)
		take_back(attempt, &question);
}

/*
 * No signal ends the program before the forward is taken back. In the copy of the process that
 * includes SIGIO, which says that the parent has ended.
 */
static void block_parent_end(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(how, &set, NULL);
}

static void unblock_children(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void router_report_try(const struct mapping_race_request *request, const struct router_trial *trial,
	const struct mapping_race_result *seen, struct nat_report *report)
{
	struct attempt attempt = {.request = request, .report = report};

	report->router.tried = !is_left_alone(request, report, report->router.forwards.evidence);
	if (!report->router.tried)
		return;
	if (seen != NULL) {
		attempt.result = *seen;
		/* The connection stays the caller's. */
		memset(&attempt.result.winner, 0, sizeof(attempt.result.winner));
		attempt.result.winner.request.remote = seen->winner.request.remote;
		attempt.result.winner.port.fd = -1;
	}
	attempt.stop[0] = signals_open();
	attempt.stop[1] = trial->stop;
	unblock_children();
	block_parent_end(SIG_BLOCK);
	run_trial(&attempt, trial->options, seen != NULL);
	if (attempt.stop[0] >= 0)
		close(attempt.stop[0]);
	signals_restore();
	block_parent_end(SIG_UNBLOCK);
}
