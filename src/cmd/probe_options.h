/*
 * probe_options.h - the command line of `natpunch probe`, as a struct.
 */
#ifndef NATPUNCH_CMD_PROBE_OPTIONS_H
#define NATPUNCH_CMD_PROBE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/common_options.h"
#include "natpunch/cmd/command.h"
#include "natpunch/base/error.h"
#include "natpunch/os/hook.h"
#include "natpunch/base/host_port.h"
#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"

struct probe_options {
	struct common_options common;
	struct mapping_race_request request; /* all but its mode; of the list in `common` */
	const char *format;                  /* checked */
	const char *changed_file;            /* -c, or NULL */
	const char *hook_path;               /* -e, or NULL */
	enum hook_order hook_order;
	bool hook_order_given;
	unsigned hook_events; /* --hook-events, or what goes with the order */
	bool hook_events_given;
	const char *name;               /* -n, or NULL */
	const char *key_path;           /* -K, or NULL */
	bool both;                      /* -4 -6: a line for each */
	struct forward_options forward; /* all but the secret and the wish */
	bool forward_given;             /* --forward-by, --router or --lease */
	bool verify;
	bool keep;
	uint64_t interval_ms;
	struct host_port to;  /* --to: port 0 when not given */
	char *const *command; /* what follows --, or NULL */
};

extern const struct option_row probe_option_rows[];

/*
 * Reads and checks all of it; reflectors come from -r, else from $NATPUNCH_REFLECTOR, else from the
 * built-in list. Sets how much is logged. Strings point into argv, and the request into *options,
 * which stays where it is. With -h only common.help is valid. Returns 0, or -1 with *error filled.
 */
int probe_options_read(struct probe_options *options, const struct command *row, int argc,
	char **argv, struct error *error);

#endif
