#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/client_sandbox.h"
#include "cmd/check_report.h"
#include "cmd/common_options.h"
#include "natpunch/check/classify.h"
#include "natpunch/cmd/command.h"
#include "natpunch/check/lifetime.h"
#include "natpunch/check/lifetime_search.h"
#include "natpunch/base/parse.h"
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
	{'4', NULL, NULL, "IPv4 only", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'f', "format", "text|json", "of what is printed: text or json (text)", false},
	{OPTION_LIFETIME, "lifetime", "SECONDS",
		"find out how long a silent mapping lives, up to so long", false},
	{'v', "verbose", NULL, "say what is tried and how it went", false},
	{0, NULL, NULL, NULL, false},
};

struct check_options {
	struct common_options common;
	struct mapping_race_request request;
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
	char safe[128];

	if (reader->first_operand < reader->argc) {
		const char *word = reader->argv[reader->first_operand];
		return error_set(error, EXIT_STATUS_USAGE, "unexpected argument: %s",
			text_escape(safe, sizeof(safe), word, strlen(word)));
	}
	if (common_options_settle(&check->common, error) != 0 ||
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
	option_start(&reader, row, argc, argv);
	while ((code = common_options_next(&check->common, &reader, error)) > OPTION_END)
		if (set_option(check, &reader, code, error) != 0)
			return -1;
	if (code == OPTION_ERROR)
		return -1;
	return check->common.help ? 0 : settle(check, &reader, error);
}

/* On one line of a terminal, written over again and again. */
static void show_progress(void *context, const struct lifetime_progress *progress)
{
	char so_far[32] = "";

	(void)context;
	if (progress->least > 0)
		snprintf(so_far, sizeof(so_far), ", %u s at least", progress->least);
	fprintf(stderr, "\r\033[Kmapping lifetime: %u of at most %u s%s (Ctrl-C ends it)",
		progress->elapsed, progress->bound, so_far);
}

/* A signal that would end the program ends the search: what was found out until then is told. */
static void find_lifetime(const struct check_options *check, struct nat_report *report)
{
	bool terminal = isatty(STDERR_FILENO) && !check->common.verbose;
	struct lifetime_request request = {
		.probe = &check->request,
		.asked = report->asked,
		.reflector = report->asked_number,
		.bound = check->lifetime,
		.stop = signals_open(),
		.progress = terminal ? show_progress : NULL,
	};

	lifetime_search(&request, &report->lifetime);
	if (terminal)
		fputs("\r\033[K", stderr);
	if (request.stop < 0)
		return;
	while (signals_take(request.stop) != 0)
		;
	close(request.stop);
	signals_restore();
}

/* Returns 0, or -1 with *error filled. */
static int find_out(
	const struct check_options *check, struct nat_report *report, struct error *error)
{
	struct check_options confined = *check;
	const struct client_sandbox_plan plan = {
		.stay = CLIENT_SANDBOX_ONCE, .taps = true, .reflectors = &check->common.reflectors};
	struct client_sandbox sandbox;
	int status = -1;

	confined.request.resolver = &sandbox.resolver;
	if (client_sandbox_open(&sandbox, &plan, error) == 0) {
		client_sandbox_find_owner(&sandbox, &confined.request, true);
		status = client_sandbox_enter(&plan, error);
	}
	if (status == 0)
		status = classify_run(&confined.request, report, error);
	if (status == 0 && check->lifetime > 0)
		find_lifetime(&confined, report);
	client_sandbox_close(&sandbox);
	return status;
}

static int run(const struct command *row, int argc, char **argv)
{
	struct check_options check = {.json = false};
	struct nat_report report;
	struct error error;

	if (read_options(&check, row, argc, argv, &error) != 0)
		return command_fail(&error);
	if (check.common.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	if (find_out(&check, &report, &error) != 0)
		return command_fail(&error);
	if (check.json)
		check_report_json(&report);
	else
		check_report_text(&report);
	return report.direct == NAT_YES ? EXIT_STATUS_DONE : EXIT_STATUS_UNREACHABLE;
}

const struct command command_check = {
	.name = "check",
	.summary = "tell which kind of NAT this is, and what works through it",
	.synopsis = "[options]",
	.options = options,
	.run = run,
};
