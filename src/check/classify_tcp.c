/*
 * Over TCP. A tap sees the SYNs that come to this machine (arrivals.h). Without one, a NAT cannot
 * be told from this machine's firewall, from a port on which nothing listens, and from another
 * machine that answers: all NATs on the way let in a SYN that came here, whatever happened to it
 * then.
 *
 *   dial-back       SYN seen     what it means
 *   connected       yes          let in
 *   connected       no tap       let in, to this machine or to another: not proved
 *   connected       no           a NAT leads it to another machine: this one remains unknown
 *   refused         yes          let in; nothing listens, or this machine's firewall rejects it
 *   timed out       yes          let in; this machine's firewall drops it
 *   refused         no           a NAT rejects it
 *   timed out       no           a NAT drops it
 *   not connected   no tap       kept out; by what cannot be told
 */
#include "check/classify_tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/evidence.h"
#include "natpunch/check/router_report.h"
#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/firewall.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/client/reachability.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/os/tap.h"
#include "natpunch/client/binding_client.h"

#define SIGHT_TIMEOUT_MS   2500
#define HAIRPIN_TIMEOUT_MS 1000
#define UDP_TIMEOUT_MS     1000

struct survey {
	const struct mapping_race_request *request;
	struct nat_report *report;
	size_t reflector;
	struct addr asked;
	struct addr other; /* OTHER-ADDRESS, or ADDR_NONE */
	enum binding_mode mode;
	const struct borrow_method *method;
};

/* ---- filtering ---------------------------------------------------------------------------- */

/* A dial-back, and whether it came to this machine. */
struct knock {
	struct dialback_result result; /* place 0: no reflector dialled */
	enum arrival arrival;
};

/* No SYN came that is certainly the dial-back's. */
static bool did_not_come(const struct knock *knock)
{
	return knock->arrival == ARRIVAL_MISSING || knock->arrival == ARRIVAL_DOUBTFUL;
}

static bool is_through(const struct knock *knock)
{
	return knock->result.place != 0 && dialback_is_through(knock->result.outcome) &&
	       knock->arrival != ARRIVAL_MISSING;
}

/* It got through, and there is no proof that it was to this machine. */
static bool is_unproved(const struct knock *knock)
{
	return is_through(knock) && knock->arrival != ARRIVAL_SEEN;
}

/* Did all NATs let the dial-back in? */
static enum nat_answer judge_knock(const struct knock *knock)
{
	if (knock->result.place == 0)
		return NAT_UNTOLD;
	if (is_through(knock) || knock->arrival == ARRIVAL_SEEN)
		return NAT_YES;
	if (dialback_is_through(knock->result.outcome))
		return NAT_UNTOLD;
	return did_not_come(knock) ? NAT_NO : NAT_UNTOLD;
}

static int describe(const struct knock *knock, char *out, size_t size)
{
	char from[ADDR_TEXT_SIZE];
	const char *seen = "";

	if (knock->result.place == 0)
		return snprintf(out, size, "%s", "");
	if (!is_through(knock))
		seen = knock->arrival == ARRIVAL_SEEN ? ", its SYN came here"
		       : did_not_come(knock)          ? ", its SYN did not come here"
						      : "";
	return snprintf(out, size, "%s: %s%s", addr_format(&knock->result.from, from),
		dialback_outcome_name(knock->result.outcome), seen);
}

static void judge_unsolicited(struct nat_report *report, const struct knock *knock)
{
	describe(knock, report->unsolicited_evidence, sizeof(report->unsolicited_evidence));
	switch (judge_knock(knock)) {
	case NAT_YES:
		report->unsolicited = NAT_UNSOLICITED_LET_IN;
		return;
	case NAT_UNTOLD:
		if (report->unsolicited_evidence[0] == '\0')
			snprintf(report->unsolicited_evidence, sizeof(report->unsolicited_evidence),
				"no reflector dialled back");
		return;
	case NAT_NO:
		report->unsolicited =
			knock->result.outcome == DIALBACK_REFUSED       ? NAT_UNSOLICITED_RESET
			: knock->result.outcome == DIALBACK_UNREACHABLE ? NAT_UNSOLICITED_ICMP
									: NAT_UNSOLICITED_DROPPED;
		return;
	}
}

static void judge_firewall(
	struct nat_report *report, const struct arrivals *arrivals, const struct knock *knock)
{
	struct nat_finding *finding = &report->firewall;
	char name[FIREWALL_NAME_SIZE];
	char why[ARRIVALS_WHY_SIZE];
	char from[ADDR_TEXT_SIZE];

	if (is_through(knock) && !is_unproved(knock)) {
		finding->answer = NAT_NO;
		snprintf(finding->evidence, sizeof(finding->evidence), "a connection came through");
		return;
	}
	if (is_unproved(knock) || (knock->arrival == ARRIVAL_UNTOLD &&
					  (knock->result.place != 0 || arrivals->problem != 0))) {
		arrivals_explain(arrivals, knock->arrival, why);
		snprintf(finding->evidence, sizeof(finding->evidence), "%s", why);
		return;
	}
	if (knock->result.place == 0 || knock->arrival != ARRIVAL_SEEN) {
		snprintf(finding->evidence, sizeof(finding->evidence),
			"nothing came as far as this machine");
		return;
	}
	addr_format(&knock->result.from, from);
	if (knock->result.outcome == DIALBACK_REFUSED && report->listens.answer == NAT_NO) {
		finding->answer = NAT_NO;
		snprintf(finding->evidence, sizeof(finding->evidence),
			"this machine itself refused %s, as nothing listens", from);
		return;
	}
	firewall_name(name);
	finding->answer = NAT_YES;
	snprintf(finding->evidence, sizeof(finding->evidence),
		"a SYN of %s came to this machine and was %s here%s%s", from,
		knock->result.outcome == DIALBACK_TIMED_OUT ? "dropped" : "rejected",
		name[0] != '\0' ? ", by one of: " : "", name);
}

static void judge_stranger(
	struct nat_report *report, const struct reachability *dialled, const struct knock *knock)
{
	struct nat_finding *finding = &report->stranger;
	size_t size = sizeof(finding->evidence);
	char why[ARRIVALS_WHY_SIZE];
	int used;

	if (!dialled->stranger) {
		snprintf(finding->evidence, size, "%s",
			dialled->verdict == REACHABILITY_UNTOLD
				? dialled->error.text
				: "no reflector has an address that was never contacted");
		return;
	}
	used = describe(knock, finding->evidence, size);
	if (!is_unproved(knock)) {
		finding->answer = is_through(knock) ? NAT_YES : NAT_NO;
		return;
	}
	snprintf(finding->evidence + used, size - (size_t)used,
		"; not proved that it was to this machine: %s",
		arrivals_explain(&dialled->arrivals, knock->arrival, why));
}

/* Notes the machine that the dial-back reached in place of this one. */
static void note_other(struct nat_report *report, const struct dialback_result *result)
{
	char banner[4 * DIALBACK_BANNER_MAX + 1];

	dialback_format_banner(result, banner, sizeof(banner));
	snprintf(report->other, sizeof(report->other), "another machine%s%s%s",
		banner[0] != '\0' ? " (its greeting: " : "", banner, banner[0] != '\0' ? ")" : "");
}

static void judge_arrival(
	struct nat_report *report, const struct arrivals *arrivals, const struct knock *knock)
{
	struct nat_finding *finding = &report->arrived;
	size_t size = sizeof(finding->evidence);
	char from[ADDR_TEXT_SIZE];
	char why[ARRIVALS_WHY_SIZE];
	int used;

	if (knock->result.place == 0) {
		snprintf(finding->evidence, size, "no reflector dialled back");
		return;
	}
	addr_format(&knock->result.from, from);
	if (knock->arrival == ARRIVAL_UNTOLD || (is_through(knock) && did_not_come(knock))) {
		arrivals_explain(arrivals, knock->arrival, why);
		snprintf(finding->evidence, size, "%s", why);
		return;
	}
	finding->answer = knock->arrival == ARRIVAL_SEEN ? NAT_YES : NAT_NO;
	used = snprintf(finding->evidence, size, "the SYN from %s %s to this machine", from,
		finding->answer == NAT_YES ? "came" : "did not come");
	if (!reachability_is_elsewhere(&knock->result, knock->arrival))
		return;
	note_other(report, &knock->result);
	snprintf(finding->evidence + used, size - (size_t)used, "; it was answered by %s",
		report->other);
}

static void describe_filtering(
	struct nat_report *report, const struct knock *stranger, const struct knock *known)
{
	size_t size = sizeof(report->filtering_evidence);
	int used = describe(stranger, report->filtering_evidence, size);

	if (known->result.place == 0 || used < 0 || (size_t)used + 2 >= size)
		return;
	if (used > 0)
		used += snprintf(report->filtering_evidence + used, size - (size_t)used, "; ");
	describe(known, report->filtering_evidence + used, size - (size_t)used);
}

static void look_at_filtering(struct survey *survey)
{
	static const struct knock nobody;
	struct nat_report *report = survey->report;
	struct reachability dialled;
	struct reachability_request request = {
		.local = report->local,
		.mapped = report->mapped,
		.asked = survey->asked,
		.probe = survey->request,
		.reflector = survey->reflector,
		.timeout_ms = DIALBACK_CLIENT_TIMEOUT_MS,
	};
	struct knock evidence, known;
	const struct knock *stranger;

	for (size_t i = 0; i < survey->reflector; i++)
		request.contacted[i] = true;
	reachability_run(&dialled, &request);
	report->unprivileged =
		dialled.arrivals.problem == EPERM || dialled.arrivals.problem == EACCES;
	evidence = (struct knock){dialled.evidence, dialled.evidence_arrival};
	known = (struct knock){dialled.known, dialled.known_arrival};
	stranger = dialled.stranger ? &evidence : &nobody;
	report->filtering = nat_report_judge_filtering(judge_knock(stranger), judge_knock(&known));
	describe_filtering(report, stranger, &known);
	judge_stranger(report, &dialled, stranger);
	if (report->filtering_evidence[0] == '\0')
		snprintf(report->filtering_evidence, sizeof(report->filtering_evidence), "%s",
			dialled.error.text);
	judge_arrival(report, &dialled.arrivals, dialled.stranger ? stranger : &known);
	/* The stranger's dial-back says most. If it says nothing, the known address's may. */
	if (!dialled.stranger || judge_knock(stranger) == NAT_UNTOLD)
		stranger = known.result.place != 0 ? &known : stranger;
	judge_unsolicited(report, stranger);
	judge_firewall(report, &dialled.arrivals,
		known.result.place != 0 && judge_knock(stranger) != NAT_YES ? &known : stranger);
}

/* ---- mapping ------------------------------------------------------------------------------ */

struct look {
	struct binding_client transactions[EVIDENCE_SAMPLE_MAX];
	size_t count;
};

static void start_look(struct survey *survey, struct look *look, const struct addr *remote)
{
	struct borrow_request request = {
		.protocol = MAPPING_TCP,
		.local = survey->request->local,
		.remote = *remote,
		.interface = survey->request->interface,
		.owner = survey->request->owner,
	};

	if (look->count == EVIDENCE_SAMPLE_MAX)
		return;
	binding_client_start(&look->transactions[look->count++], survey->method, &request,
		survey->mode, 0, clock_now_ms());
}

static void await_look(struct look *look)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + SIGHT_TIMEOUT_MS;

	while (now < deadline) {
		struct pollfd fds[EVIDENCE_SAMPLE_MAX];
		uint64_t due = deadline;
		size_t busy = 0;
		for (size_t i = 0; i < look->count; i++) {
			struct binding_client *transaction = &look->transactions[i];
			bool waits = transaction->state < BINDING_CLIENT_ANSWERED;
			fds[i] = (struct pollfd){.fd = waits ? binding_client_fd(transaction) : -1,
				.events = binding_client_events(transaction)};
			busy += waits;
			if (waits && transaction->due < due)
				due = transaction->due;
		}
		if (busy == 0)
			return;
		poll(fds, look->count, clock_poll_ms(now, due));
		now = clock_now_ms();
		for (size_t i = 0; i < look->count; i++)
			if (look->transactions[i].state < BINDING_CLIENT_ANSWERED &&
				(fds[i].revents != 0 || look->transactions[i].due <= now))
				binding_client_advance(&look->transactions[i], now);
	}
}

static void start_looks(struct survey *survey, struct look *look, bool *lie)
{
	struct addr place = survey->other;

	*lie = place.family != ADDR_NONE && addr_equal_ip(&place, &survey->asked);
	if (place.family == survey->asked.family && place.port != 0) {
		if (!addr_equal(&place, &survey->asked))
			start_look(survey, look, &place);
		if (!*lie && place.port != survey->asked.port) {
			place.port = survey->asked.port;
			start_look(survey, look, &place);
			place = survey->asked;
			place.port = survey->other.port;
			start_look(survey, look, &place);
		}
	}
	for (size_t i = 0; i < survey->request->reflector_count; i++) {
		struct error error;
		if (i == survey->reflector)
			continue;
		if (evidence_look_up(survey->request, i, (enum addr_family)survey->asked.family,
			    clock_now_ms() + SIGHT_TIMEOUT_MS, &place, &error) != 0)
			log_detail("%s", error.text);
		else
			start_look(survey, look, &place);
	}
}

static void look_at_mapping(struct survey *survey)
{
	struct nat_sample samples[EVIDENCE_SAMPLE_MAX + 1] = {
		{.asked = survey->asked, .mapped = survey->report->mapped}};
	struct look look = {.count = 0};
	size_t count = 1;
	bool lie;

	start_looks(survey, &look, &lie);
	await_look(&look);
	for (size_t i = 0; i < look.count; i++) {
		struct binding_client *transaction = &look.transactions[i];
		if (transaction->state == BINDING_CLIENT_ANSWERED) {
			samples[count].asked = transaction->request.remote;
			samples[count++].mapped = transaction->answer.mapped;
		} else if (transaction->error.text[0] != '\0') {
			log_detail("%s", transaction->error.text);
		}
		binding_client_end(transaction);
	}
	evidence_judge_mapping(samples, count, lie, survey->report);
}

/* ---- hairpinning -------------------------------------------------------------------------- */

/* Connects to our own mapping. Returns 0, or an errno value. */
static int dial_mapping(const struct survey *survey)
{
	int fd = socket_open((enum addr_family)survey->asked.family, SOCK_STREAM, 0);
	struct pollfd watch = {.fd = fd, .events = POLLOUT};
	int problem = ETIMEDOUT;

	if (fd < 0)
		return errno;
	if (socket_connect(fd, &survey->report->mapped) != 0)
		problem = errno;
	else if (poll(&watch, 1, HAIRPIN_TIMEOUT_MS) == 1)
		problem = socket_take_error(fd);
	close(fd);
	return problem;
}

/* Takes the first SYN that has come. Returns false if none has. */
static bool take_syn(int tap, struct addr *source)
{
	size_t size;
	int got = 0;

	while (tap >= 0 && got >= 0) {
		got = tap_receive(tap, MAPPING_TCP, source, NULL, NULL, 0, &size);
		if (got == 1)
			return true;
	}
	return false;
}

static void look_at_hairpin(struct survey *survey)
{
	struct nat_report *report = survey->report;
	struct nat_finding *finding = &report->hairpin;
	struct addr source;
	char from[ADDR_TEXT_SIZE];
	int problem;
	int tap;

	if (report->nat.answer == NAT_NO) {
		snprintf(finding->evidence, sizeof(finding->evidence), "there is no NAT");
		return;
	}
	tap = tap_open((enum addr_family)report->local.family, MAPPING_TCP, report->local.port);
	problem = dial_mapping(survey);
	if (take_syn(tap, &source)) {
		finding->answer = NAT_YES;
		snprintf(finding->evidence, sizeof(finding->evidence),
			"a SYN from here to the mapping came back, from %s",
			addr_format(&source, from));
	} else if (problem != 0 || tap >= 0) {
		finding->answer = NAT_NO;
		snprintf(finding->evidence, sizeof(finding->evidence),
			"connecting to the mapping from here: %s",
			problem != 0 ? strerror(problem) : "somebody else answered");
	} else {
		snprintf(finding->evidence, sizeof(finding->evidence),
			"the mapping answered; whether it was this machine cannot be seen");
	}
	if (tap >= 0)
		close(tap);
}

/* ------------------------------------------------------------------------------------------- */

/* Asks the reflectors in order until one answers. Those behind it stay strangers. */
static int find_mapping(
	struct survey *survey, struct mapping_race_result *result, struct error *error)
{
	struct error first = {.status = EXIT_STATUS_DONE};

	for (size_t i = 0; i < survey->request->reflector_count; i++) {
		struct mapping_race_request one = *survey->request;
		one.reflectors = &survey->request->reflectors[i];
		one.reflector_count = 1;
		one.first = 0;
		one.must_agree = false;
		one.mode = survey->mode;
		if (mapping_race_run(&one, result, error) == 0) {
			survey->reflector = i;
			return 0;
		}
		survey->report->spoke = survey->report->spoke || result->spoke;
		survey->report->cannot = survey->report->cannot || result->cannot;
		if (first.status == EXIT_STATUS_DONE)
			first = *error;
		if (error->status == EXIT_STATUS_LOCAL)
			break;
		log_detail("%s", error->text);
	}
	*error = first;
	mapping_race_hint_at_udp(survey->request, clock_now_ms() + UDP_TIMEOUT_MS, error);
	return -1;
}

int classify_tcp(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error)
{
	struct survey survey = {
		.request = request,
		.report = report,
		.mode = socket_can_forget() ? BINDING_MODE_FORGET : BINDING_MODE_CLOSE,
	};
	struct mapping_race_result result;

	if (find_mapping(&survey, &result, error) != 0)
		return -1;
	survey.asked = result.winner.request.remote;
	survey.other = result.winner.answer.other;
	survey.method = result.winner.port.method;
	report->asked = survey.asked;
	report->asked_number = survey.reflector;
	report->local = result.mapping.local;
	report->mapped = result.mapping.public_addr;
	memcpy(report->reflector, result.mapping.reflector, sizeof(report->reflector));
	memcpy(report->method, result.mapping.method, sizeof(report->method));
	evidence_find_surroundings(request, &survey.asked, report);
	look_at_filtering(&survey);
	if (trial != NULL)
		router_report_try(request, trial, &result, report);
	look_at_hairpin(&survey);
	look_at_mapping(&survey);
	binding_client_end(&result.winner);
	return 0;
}
