/*
 * check_advice.h - what a person can do about a report: the verdict in one sentence, which names
 * whose doing it is where the evidence tells, and the commands to run.
 *
 * A command is whole: it has the port and the options that the user gave, so that it works when it
 * is pasted. HOST in one stands for a host that the user has to name.
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
 * To standard output: lines that begin with "What to do: ". Where *by_name is set, the steps to get
 * in by a name were printed before, and are not again; it is set when they are.
 */
void check_advice_print_steps(
	const struct nat_report *report, const struct common_options *given, bool *by_name);

#endif
