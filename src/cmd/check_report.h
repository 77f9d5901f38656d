/*
 * check_report.h - prints what `natpunch check` found out, for people; check_json.h for machines.
 *
 * A side is a family. A single side is printed without the name of its family. Of two sides, the
 * verdict names each family, and then each side is printed as it would be alone, the better one
 * first. A side that could not be judged is a line at the end.
 */
#ifndef NATPUNCH_CMD_CHECK_REPORT_H
#define NATPUNCH_CMD_CHECK_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/check/nat_report.h"

struct common_options;

struct check_side {
	bool judged;
	struct nat_report report;
	struct error error; /* when not judged: why */
};

/*
 * Returns the side that the verdict is about: one that was judged goes before one that was not, and
 * among those the order is yes, perhaps, no; of equals it is the first. `count` is 1 or 2; of two
 * sides, IPv4 is the first.
 */
const struct check_side *check_report_best(const struct check_side *sides, size_t count);

/*
 * At least one side must be judged. To standard output: the verdict, then for each family what to
 * do, a picture of the path and the table. `given`: the options, for the commands to run.
 */
void check_report_text(
	const struct check_side *sides, size_t count, const struct common_options *given);

#endif
