/*
 * check_advice.h - what a person can do about a report: the verdict in one sentence, which names
 * whose the obstacle is where the evidence tells, and the commands to run.
 *
 * A command is whole: it has the port and the options that the user gave, so that it works when it
 * is pasted. HOST in a command stands for a host that the user has to name.
 */
#ifndef NATPUNCH_CMD_CHECK_ADVICE_H
#define NATPUNCH_CMD_CHECK_ADVICE_H

#include <stdbool.h>

#include "cmd/common_options.h"
#include "natpunch/check/nat_report.h"

/* To standard output: one line, "yes: ...", "no: ..." or "perhaps: ...". */
void check_advice_print_verdict(
	const struct nat_report *report, const struct common_options *given);

/*
 * To standard output: lines, the first of which begins with "What to do: ". The steps to get in by
 * a name are printed unless *by_name is set, and set it, so that they are printed once.
 */
void check_advice_print_steps(
	const struct nat_report *report, const struct common_options *given, bool *by_name);

#endif
