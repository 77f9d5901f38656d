/*
 * name_options.h - the options of the commands that ask one reflector about one NAME with its key:
 * lookup and connect. Their tables say which of them there are.
 */
#ifndef NATPUNCH_CMD_NAME_OPTIONS_H
#define NATPUNCH_CMD_NAME_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/cmd/command.h"
#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"

struct name_options {
	struct host_port reflector; /* -r */
	const char *reflector_text; /* as it was written */
	const char *key_path;       /* -K */
	const char *name;           /* the operand */
	enum addr_family family;    /* -4, -6, or ADDR_NONE for both */
	uint64_t timeout_ms;        /* -t; the caller's default before */
	bool help;                  /* was asked for: nothing else was checked */
};

/* What a command does with the options of its own. Returns 0, or -1 with *error filled. */
typedef int name_options_own(
	void *context, const struct option_reader *reader, int code, struct error *error);

/*
 * Reads all options and the operand of the row's command, and sets how much is logged by -q and -v.
 * The texts stay the caller's argv. Returns 0, or -1 with *error filled: EXIT_STATUS_USAGE.
 */
int name_options_read(struct name_options *options, const struct command *row, int argc,
	char **argv, name_options_own *own, void *context, struct error *error);

#endif
