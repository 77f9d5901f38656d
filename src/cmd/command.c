#include "natpunch/cmd/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/key.h"
#include "natpunch/os/log.h"
#include "natpunch/base/text.h"

struct getopt_tables {
	char letters[2 * OPTION_TABLE_MAX + 8];
	struct option longs[OPTION_TABLE_MAX + 2];
};

static void build_tables(const struct command *command, struct getopt_tables *tables)
{
	size_t used = 0;
	size_t count = 0;

	tables->letters[used++] = '+'; /* stop at the first operand */
	tables->letters[used++] = ':'; /* tell a missing argument apart */
	tables->letters[used++] = OPTION_HELP;
	tables->longs[count++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	for (const struct option_row *row = command->options; row->code != 0; row++) {
		int has_argument = row->argument != NULL ? required_argument : no_argument;
		if (row->code < OPTION_LONG_ONLY) {
			tables->letters[used++] = (char)row->code;
			if (row->argument != NULL)
				tables->letters[used++] = ':';
		}
		if (row->name != NULL)
			tables->longs[count++] =
				(struct option){row->name, has_argument, NULL, row->code};
	}
	tables->letters[used] = '\0';
	tables->longs[count] = (struct option){NULL, 0, NULL, 0};
}

void option_start(
	struct option_reader *reader, const struct command *command, int argc, char **argv)
{
	memset(reader, 0, sizeof(*reader));
	reader->command = command;
	reader->argc = argc;
	reader->argv = argv;
	optind = 1;
	opterr = 0;
}

static const struct option_row *find_row(const struct command *command, int code)
{
	for (const struct option_row *row = command->options; row->code != 0; row++)
		if (row->code == code)
			return row;
	return NULL;
}

/* "-p" or "--hook-args", as the help writes it. */
static void name_option(const struct option_row *row, char *out, size_t size)
{
	if (row->code < OPTION_LONG_ONLY)
		snprintf(out, size, "-%c", row->code);
	else
		snprintf(out, size, "--%s", row->name);
}

static int usage_error(const struct option_reader *reader, struct error *error, const char *problem,
	const char *subject)
{
	char safe[128];

	text_escape(safe, sizeof(safe), subject, strlen(subject));
	error_set(error, EXIT_STATUS_USAGE, "%s: %s", problem, safe);
	error_hint(error, "natpunch help %s", reader->command->name);
	return OPTION_ERROR;
}

/* What getopt_long() stumbled over: a letter in optopt, or else a whole word. */
static int unknown_option(
	const struct option_reader *reader, struct error *error, const char *problem)
{
	char letter[3] = {'-', (char)optopt, '\0'};
	bool is_letter = optopt > 0 && optopt < OPTION_LONG_ONLY;
	const char *word = optind > 0 && optind <= reader->argc ? reader->argv[optind - 1] : "?";

	if (is_letter && strncmp(word, "--", 2) != 0)
		return usage_error(reader, error, problem, letter);
	return usage_error(reader, error, problem, word);
}

int option_next(struct option_reader *reader, struct error *error)
{
	struct getopt_tables tables;
	int code;

	build_tables(reader->command, &tables);
	code = getopt_long(reader->argc, reader->argv, tables.letters, tables.longs, NULL);
	if (code == -1) {
		reader->first_operand = optind;
		return OPTION_END;
	}
	if (code == '?')
		return unknown_option(reader, error, "unknown option");
	if (code == ':')
		return unknown_option(reader, error, "option needs an argument");
	if (code == OPTION_HELP)
		return OPTION_HELP;

	const struct option_row *row = find_row(reader->command, code);
	size_t index = (size_t)(row - reader->command->options);
	char name[40];
	name_option(row, name, sizeof(name));
	if (reader->seen[index] && !row->repeatable)
		return usage_error(reader, error, "option given twice", name);
	reader->seen[index] = true;
	reader->argument = optarg;
	return code;
}

int option_bad_value(const struct option_reader *reader, const char *what, struct error *error)
{
	char safe[128];
	const char *value = reader->argument != NULL ? reader->argument : "";

	text_escape(safe, sizeof(safe), value, strlen(value));
	return error_set(error, EXIT_STATUS_USAGE, "invalid %s: '%s'", what, safe);
}

int option_check_end(const struct option_reader *reader, struct error *error)
{
	char safe[128];
	const char *word = reader->argv[reader->first_operand];

	if (reader->first_operand >= reader->argc)
		return 0;
	return error_set(error, EXIT_STATUS_USAGE, "unexpected argument: %s",
		text_escape(safe, sizeof(safe), word, strlen(word)));
}

int option_take_text(
	const struct option_reader *reader, const char *what, const char **out, struct error *error)
{
	*out = reader->argument;
	return *out[0] != '\0' ? 0 : option_bad_value(reader, what, error);
}

int option_check_name(const char *name, struct error *error)
{
	char safe[128];

	if (key_is_name(name, strlen(name)))
		return 0;
	error_set(error, EXIT_STATUS_USAGE, "invalid name: '%s'",
		text_escape(safe, sizeof(safe), name, strlen(name)));
	return error_hint(error, "1 to 63 of a-z 0-9 . _ -, and first a letter or a digit");
}

/* Two blanks before the text, always: completions of shells tell it from an argument by them. */
static void print_option(const struct option_row *row)
{
	char left[64];
	char letter[8] = "    ";

	if (row->code < OPTION_LONG_ONLY)
		snprintf(letter, sizeof(letter), "-%c%s", row->code, row->name != NULL ? ", " : "");
	snprintf(left, sizeof(left), "%s%s%s%s%s", letter, row->name != NULL ? "--" : "",
		row->name != NULL ? row->name : "", row->argument != NULL ? " " : "",
		row->argument != NULL ? row->argument : "");
	printf("  %-29s  %s\n", left, row->help);
}

void command_print_help(const struct command *command)
{
	printf("usage: natpunch %s %s\n%s\n\n", command->name, command->synopsis, command->summary);
	for (const struct option_row *row = command->options; row->code != 0; row++)
		print_option(row);
	printf("  %-29s  %s\n", "-h, --help", "print this help");
}

int command_fail(const struct error *error)
{
	log_print_error(error);
	return (int)error->status;
}

int command_print_line(const char *line, struct error *error)
{
	if (puts(line) != EOF && fflush(stdout) == 0)
		return 0;
	return error_set(
		error, EXIT_STATUS_LOCAL, "cannot write to standard output: %s", strerror(errno));
}

int command_finish_output(int status)
{
	struct error error;

	/* A command that failed has told why. */
	if (status != EXIT_STATUS_DONE)
		return status;
	if (fflush(stdout) != 0)
		error_set(&error, EXIT_STATUS_LOCAL, "cannot write to standard output: %s",
			strerror(errno));
	else if (ferror(stdout))
		error_set(&error, EXIT_STATUS_LOCAL, "cannot write to standard output");
	else
		return status;
	return command_fail(&error);
}
