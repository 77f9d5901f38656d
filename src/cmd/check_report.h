/*
 * check_report.h - prints what `natpunch check` found out, for people and for machines.
 */
#ifndef NATPUNCH_CMD_CHECK_REPORT_H
#define NATPUNCH_CMD_CHECK_REPORT_H

#include "natpunch/check/nat_report.h"

/* To standard output: the verdict, a picture of the path, the table. */
void check_report_text(const struct nat_report *report);

/* One line of JSON; natpunch-check(1) lists its fields. */
void check_report_json(const struct nat_report *report);

#endif
