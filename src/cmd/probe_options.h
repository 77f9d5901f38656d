/*
 * probe_options.h - the command line of `natpunch probe`, as a struct.
 */
#ifndef NATPUNCH_CMD_PROBE_OPTIONS_H
#define NATPUNCH_CMD_PROBE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/cmd/command.h"
#include "natpunch/base/error.h"
#include "natpunch/os/hook.h"
#include "natpunch/base/host_port.h"
#include "natpunch/client/mapping_race.h"

struct probe_options {
	struct mapping_race_request request; /* all but its mode */
	const char *format;                  /* checked */
	const char *changed_file;            /* -c, or NULL */
	const char *hook_path;               /* -e, or NULL */
	enum hook_order hook_order;
	bool hook_order_given;
	const char *name;     /* -n, or NULL */
	const char *key_path; /* -K, or NULL */
	bool verify;
	bool keep;
	uint64_t interval_ms;
	struct host_port to;  /* --to: port 0 when not given */
	char *const *command; /* what follows --, or NULL */
	bool help;
	bool ipv4;
	bool ipv6;
	bool quiet;
	bool verbose;
};

extern const struct option_row probe_option_rows[];

/*
 * Reads and checks all of it; reflectors come from -r, else from $NATPUNCH_REFLECTOR, else from the
 * built-in list. Strings point into argv. Returns 0, or -1 with *error filled.
 */
int probe_options_read(struct probe_options *options, const struct command *row, int argc,
	char **argv, struct error *error);

#endif
