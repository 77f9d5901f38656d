/*
 * check_json.h - prints what `natpunch check` found out, for machines.
 */
#ifndef NATPUNCH_CMD_CHECK_JSON_H
#define NATPUNCH_CMD_CHECK_JSON_H

#include <stddef.h>

#include "cmd/check_report.h"

/*
 * As check_report_text(). To standard output: one line. natpunch-check(1) lists its fields; a later
 * version may add fields, and takes none away.
 */
void check_report_json(const struct check_side *sides, size_t count);

#endif
