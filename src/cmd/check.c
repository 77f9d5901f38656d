#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/both_families.h"
#include "natpunch/client/client_sandbox.h"
#include "cmd/check_json.h"
#include "cmd/check_report.h"
#include "cmd/common_options.h"
#include "natpunch/check/classify.h"
#include "natpunch/client/forward.h"
#include "natpunch/cmd/command.h"
#include "natpunch/check/lifetime.h"
#include "natpunch/check/lifetime_search.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/parallel.h"
#include "natpunch/os/signals.h"
#include "natpunch/base/text.h"

#define DEFAULT_PORT 22
#define TIMEOUT_MS   5000 /* for a reflector to answer */

enum long_option {
	OPTION_LIFETIME = OPTION_LONG_ONLY,
};

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector; repeatable, the more the better",
		true},
	{'p', "port", "PORT", "the local port in question (22)", false},
	{'u', "udp", NULL, "a UDP port instead of a TCP port", false},
	{'F', "forward", NULL, "try whether the router forwards the port to us", false},
	{'4', NULL, NULL, "IPv4 only", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'f', "format", "text|json", "of what is printed: text or json (text)", false},
	{COMMON_OPTION_MARK, "mark", "N", "set this mark (SO_MARK) on all sockets", false},
	{OPTION_LIFETIME, "lifetime", "SECONDS",
		"find out how long a silent mapping lives, up to so long", false},
	{'v', "verbose", NULL, "say what is tried and how it went", false},
	{0, NULL, NULL, NULL, false},
};

struct check_options {
	struct common_options common;
	struct mapping_race_request request;
	struct forward_options forward;
	uint16_t lifetime; /* seconds; 0: not asked for */
	bool json;
};

static int set_format(
	struct check_options *check, const struct option_reader *reader, struct error *error)
{
	check->json = strcmp(reader->argument, "json") == 0;
	if (!check->json && strcmp(reader->argument, "text") != 0)
		return option_bad_value(reader, "format", error);
	return 0;
}

static int set_lifetime(
	struct check_options *check, const struct option_reader *reader, struct error *error)
{
	uint64_t value;

	if (parse_number(reader->argument, LIFETIME_BOUND_MIN, LIFETIME_BOUND_MAX, &value) != 0)
		return option_bad_value(reader, "lifetime", error);
	check->lifetime = (uint16_t)value;
	return 0;
}

static int set_option(struct check_options *check, const struct option_reader *reader, int code,
	struct error *error)
{
	switch (code) {
	case 'p':
		if (parse_port(reader->argument, &check->request.local.port) != 0)
			return option_bad_value(reader, "port", error);
		return 0;
	case 'u':
		check->request.protocol = MAPPING_UDP;
		return 0;
	case 'F':
		check->forward.wanted = true;
		return 0;
	case 'f':
		return set_format(check, reader, error);
	case OPTION_LIFETIME:
		return set_lifetime(check, reader, error);
	default:
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	}
}

static int settle(
	struct check_options *check, const struct option_reader *reader, struct error *error)
{
	if (option_check_end(reader, error) != 0 ||
		common_options_settle(&check->common, error) != 0 ||
		reflector_list_settle(&check->common.reflectors, error) != 0)
		return -1;
	common_options_fill(&check->common, &check->request);
	return 0;
}

static int read_options(struct check_options *check, const struct command *row, int argc,
	char **argv, struct error *error)
{
	struct option_reader reader;
	int code;

	check->request.local.port = DEFAULT_PORT;
	check->request.protocol = MAPPING_TCP;
	check->common.timeout_ms = TIMEOUT_MS;
	check->common.takes_both = true;
	check->forward.methods = ROUTER_ALL_METHODS;
	check->forward.lease = ROUTER_TRIAL_LEASE;
	option_start(&reader, row, argc, argv);
	while ((code = common_options_next(&check->common, &reader, error)) > OPTION_END)
		if (set_option(check, &reader, code, error) != 0)
			return -1;
	if (code == OPTION_ERROR)
		return -1;
	return check->common.help ? 0 : settle(check, &reader, error);
}

/* On one line of a terminal, which each call overwrites. */
static void show_progress(void *context, const struct lifetime_progress *progress)
{
	char so_far[32] = "";

	(void)context;
	if (progress->least > 0)
		snprintf(so_far, sizeof(so_far), ", %u s at least", progress->least);
	fprintf(stderr, "\r\033[Kmapping lifetime: %u of at most %u s%s (Ctrl-C ends it)",
		progress->elapsed, progress->bound, so_far);
}

/* The request and its result, in each family that is checked. */
struct check_job {
	const struct check_options *options;
	struct both_families families;
	struct check_side sides[2];
	bool copy; /* this is the second process */
	int stop;  /* once it is readable, the search for a lifetime ends; -1: not open yet */
};

/* Processes that look names up end, and so does the copy: SIGCHLD is no reason to end. */
static void ignore_children(void)
{
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &children, NULL);
}

/*
 * A signal that would end the program ends the search, and the results so far are printed. The
 * parent tells the copy to end.
 */
static void open_stop(struct check_job *job)
{
	int signals;

	if (!job->copy && job->stop >= 0)
		return;
	signals = signals_open();
	ignore_children();
	if (job->copy)
		signal(SIGIO, SIG_IGN);
	else
		job->stop = signals;
}

static void close_stop(const struct check_job *job)
{
	if (job->stop < 0)
		return;
	while (signals_take(job->stop) != 0)
		;
	close(job->stop);
	signals_restore();
}

static void find_lifetime(
	struct check_job *job, const struct mapping_race_request *probe, struct nat_report *report)
{
	bool terminal = isatty(STDERR_FILENO) && !job->options->common.verbose && !job->copy;
	struct lifetime_request request = {
		.probe = probe,
		.asked = report->asked,
		.reflector = report->asked_number,
		.bound = job->options->lifetime,
		.progress = terminal ? show_progress : NULL,
	};

	open_stop(job);
	request.stop = job->stop;
	lifetime_search(&request, &report->lifetime);
	if (terminal)
		fputs("\r\033[K", stderr);
}

static void judge_side(struct check_job *job, size_t index, const struct client_sandbox *sandbox)
{
	struct mapping_race_request *request = &job->families.sides[index].request;
	struct check_side *side = &job->sides[index];
	const struct forward_options *forward = &job->options->forward;
	const struct router_trial trial = {.options = forward, .stop = job->copy ? job->stop : -1};

	request->resolver = &sandbox->resolver;
	request->owner = &sandbox->owner;
	side->judged = classify_run(request, forward->wanted ? &trial : NULL, &side->report,
			       &side->error) == 0;
	if (side->judged && job->options->lifetime > 0)
		find_lifetime(job, request, &side->report);
	request->resolver = NULL;
	request->owner = NULL;
}

/* Judges the sides from `first` to before `end`, confined, one after another. */
static void judge_sides(struct check_job *job, size_t first, size_t end)
{
	struct mapping_race_request any = job->options->request;
	const struct client_sandbox_plan plan = {.stay = CLIENT_SANDBOX_ONCE,
		.taps = true,
		.reflectors = &job->options->common.reflectors};
	struct error error = {.text = ""};
	struct client_sandbox sandbox;
	int status = client_sandbox_open(&sandbox, &plan, &error);

	if (status == 0) {
		client_sandbox_find_owner(&sandbox, &any, true);
		status = client_sandbox_enter(&plan, &error);
	}
	for (size_t i = first; i < end; i++) {
		job->sides[i] = (struct check_side){.error = error, .report = {.cannot = true}};
		if (status == 0)
			judge_side(job, i, &sandbox);
	}
	client_sandbox_close(&sandbox);
}

static void judge_in_copy(void *context, int stop)
{
	struct check_job *job = context;

	job->copy = true;
	job->stop = stop;
	judge_sides(job, 1, 2);
}

/* Judges two families at the same time, or, if that fails, one after the other. */
static void find_out(struct check_job *job)
{
	size_t count = job->families.count;
	struct check_side *second = &job->sides[1];
	struct parallel copy = PARALLEL_NONE;
	bool started = count == 2 &&
		       parallel_start(&copy, judge_in_copy, job, second, sizeof(*second)) == 0;

	judge_sides(job, 0, started ? 1 : count);
	if (started && job->options->lifetime > 0)
		open_stop(job);
	if (started && !parallel_finish(&copy, job->stop, second, sizeof(*second))) {
		*second = (struct check_side){.judged = false};
		error_set(&second->error, EXIT_STATUS_LOCAL, "it was not judged to the end");
	}
	close_stop(job);
}

/* No side has a mapping: returns the error that says most. */
static int fail(struct check_job *job)
{
	for (size_t i = 0; i < job->families.count; i++) {
		struct family_side *side = &job->families.sides[i];

		side->error = job->sides[i].error;
		side->spoke = job->sides[i].report.spoke;
		side->cannot = job->sides[i].report.cannot;
	}
	return command_fail(&job->sides[both_families_most_telling(&job->families)].error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct check_options check = {.json = false};
	struct check_job job = {.options = &check, .stop = -1};
	const struct check_side *best;
	struct error error;

	if (read_options(&check, row, argc, argv, &error) != 0)
		return command_fail(&error);
	if (check.common.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	if (common_options_mark(&check.common, &error) != 0)
		return command_fail(&error);
	if (check.forward.wanted)
		router_read_secret(&check.forward.secret);
	both_families_init(&job.families, &check.request, false);
	find_out(&job);
	best = check_report_best(job.sides, job.families.count);
	if (!best->judged)
		return fail(&job);
	if (check.json)
		check_report_json(job.sides, job.families.count);
	else
		check_report_text(job.sides, job.families.count, &check.common);
	return best->report.direct == NAT_YES ? EXIT_STATUS_DONE : EXIT_STATUS_UNREACHABLE;
}

const struct command command_check = {
	.name = "check",
	.summary = "tell which kind of NAT this is, and what works through it",
	.synopsis = "[options]",
	.options = options,
	.run = run,
};
