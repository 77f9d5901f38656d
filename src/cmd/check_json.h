/*
 * check_json.h - prints what `natpunch check` found out, for machines.
 */
#ifndef NATPUNCH_CMD_CHECK_JSON_H
#define NATPUNCH_CMD_CHECK_JSON_H

#include <stddef.h>

#include "cmd/check_report.h"

/*
 * For sides one of which is judged, as in check_report_text(). To standard output: one line, whose
 * fields are in natpunch-check(1); fields are added and not taken away.
 */
void check_report_json(const struct check_side *sides, size_t count);

#endif
