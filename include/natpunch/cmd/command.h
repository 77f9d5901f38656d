/*
 * command.h - a subcommand: a row in main's table. Its table of options is read strictly, and gives
 * the help text as well.
 */
#ifndef NATPUNCH_CMD_COMMAND_H
#define NATPUNCH_CMD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"

/*
 * To add or rename an option: its row in the command's table, where the command reads it, and its
 * page in man/, which tests/lint/help.t compares. The help and the completions follow from the row.
 * An old name may also stand in hints, in connect.c's --ssh-config, in README.md and in
 * src/service.
 */

/* Codes of long options that have no letter start here. */
#define OPTION_LONG_ONLY 256

#define OPTION_TABLE_MAX 48

struct option_row {
	int code;             /* the letter, or from OPTION_LONG_ONLY up; 0 ends the table */
	const char *name;     /* the long option's name */
	const char *argument; /* "PORT", or NULL for a flag */
	const char *help;     /* one line */
	bool repeatable;
};

struct command {
	const char *name;
	const char *summary;              /* one line for `natpunch --help` */
	const char *synopsis;             /* what follows `natpunch NAME` */
	const struct option_row *options; /* NULL: not in this build; run says so */
	int (*run)(
		const struct command *command, int argc, char **argv); /* returns the exit status */
};

/* Each subcommand's row lives in its own file. */
extern const struct command command_check;
extern const struct command command_keygen;
extern const struct command command_lookup;
extern const struct command command_connect;
extern const struct command command_probe;
extern const struct command command_reflect;

struct option_reader {
	const struct command *command;
	int argc;
	char **argv;
	bool seen[OPTION_TABLE_MAX];
	int first_operand;    /* argv index, valid after the last option */
	const char *argument; /* of the option just read */
};

#define OPTION_END   0
#define OPTION_ERROR (-1)
#define OPTION_HELP  'h'

/*
 * Reads argv[1..] of a subcommand (argv[0] is its name). option_next() returns the next option's
 * code with reader->argument set, OPTION_END after the last, OPTION_HELP for -h or --help, or
 * OPTION_ERROR with *error filled (EXIT_STATUS_USAGE): an unknown option, a missing argument, or a
 * second use of one that is not repeatable.
 */
void option_start(
	struct option_reader *reader, const struct command *command, int argc, char **argv);
int option_next(struct option_reader *reader, struct error *error);

/* A usage error for the value of the option just read: `invalid port: '22x'`. Returns -1. */
int option_bad_value(const struct option_reader *reader, const char *what, struct error *error);

/* Sets *out to the value of the option just read. Returns 0, or -1 as above when it is empty. */
int option_take_text(const struct option_reader *reader, const char *what, const char **out,
	struct error *error);

/* Behind the last option: returns 0 when nothing follows, or -1 as above, with the first operand.
 */
int option_check_end(const struct option_reader *reader, struct error *error);

/* Returns 0 when it is a name that a key may have, or -1 with *error filled, usage and a hint. */
int option_check_name(const char *name, struct error *error);

/* Prints the command's help to stdout. */
void command_print_help(const struct command *command);

/* Prints the error with log_print_error() and returns its status. */
int command_fail(const struct error *error);

/*
 * Call it at the end: a result that could not be written, as on a full disk, must be reported.
 * Returns `status`, or that of the failure.
 */
int command_finish_output(int status);

/* Prints a line of the result at once. Returns 0, or -1 with *error filled. */
int command_print_line(const char *line, struct error *error);

#endif
