/*
 * name_options.h - the options of the commands that ask reflectors about one NAME with its key:
 * lookup and connect. Each command's table says which of them it has.
 */
#ifndef NATPUNCH_CMD_NAME_OPTIONS_H
#define NATPUNCH_CMD_NAME_OPTIONS_H

#include "cmd/common_options.h"
#include "natpunch/base/error.h"
#include "natpunch/cmd/command.h"

struct name_options {
	struct common_options common; /* with one reflector or more */
	const char *key_path;         /* -K */
	const char *name;             /* the operand */
};

/* Takes an option of the command's own. Returns 0, or -1 with *error filled. */
typedef int name_options_own(
	void *context, const struct option_reader *reader, int code, struct error *error);

/*
 * Reads all options and the operand of the row's command, and sets how much is logged. The default
 * timeout is set before. The texts stay the caller's argv. Returns 0, or -1 with *error filled:
 * EXIT_STATUS_USAGE.
 */
int name_options_read(struct name_options *options, const struct command *row, int argc,
	char **argv, name_options_own *own, void *context, struct error *error);

#endif
