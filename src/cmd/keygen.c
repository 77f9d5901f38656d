#include <stdio.h>
#include <string.h>

#include "natpunch/cmd/command.h"
#include "natpunch/base/key.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"

enum {
	OPTION_REPLACE = OPTION_LONG_ONLY,
	OPTION_REMOVE_OLD,
};

static const struct option_row options[] = {
	{'K', "keys", "FILE", "the key file whose key is to be changed", false},
	{OPTION_REPLACE, "replace", NULL,
		"put the line into FILE as well, before NAME's present one", false},
	{OPTION_REMOVE_OLD, "remove-old", NULL, "take NAME's old line out of FILE", false},
	{0, NULL, NULL, NULL, false},
};

struct arguments {
	const char *name;
	const char *path; /* NULL: nothing is changed */
	bool replace;
	bool remove_old;
};

static int check_combination(const struct arguments *arguments, struct error *error)
{
	bool changes = arguments->replace || arguments->remove_old;

	if (arguments->replace && arguments->remove_old)
		return error_set(
			error, EXIT_STATUS_USAGE, "--replace and --remove-old exclude each other");
	if (changes && arguments->path == NULL)
		return error_set(error, EXIT_STATUS_USAGE, "%s needs -K",
			arguments->replace ? "--replace" : "--remove-old");
	if (!changes && arguments->path != NULL)
		return error_set(error, EXIT_STATUS_USAGE, "-K needs --replace or --remove-old");
	return 0;
}

/* Returns 0 with *out filled, 1 after -h, or -1 with *error filled. */
static int read_arguments(const struct command *command, int argc, char **argv,
	struct arguments *out, struct error *error)
{
	struct option_reader reader;
	int code;

	option_start(&reader, command, argc, argv);
	while ((code = option_next(&reader, error)) > OPTION_END) {
		if (code == OPTION_HELP)
			return 1;
		out->replace = out->replace || code == OPTION_REPLACE;
		out->remove_old = out->remove_old || code == OPTION_REMOVE_OLD;
		if (code == 'K' && option_take_text(&reader, "file", &out->path, error) != 0)
			return -1;
	}
	if (code != OPTION_END)
		return -1;
	if (reader.first_operand + 1 != argc) {
		error_set(error, EXIT_STATUS_USAGE, "one NAME is needed");
		return error_hint(error, "natpunch help keygen");
	}
	out->name = argv[reader.first_operand];
	if (option_check_name(out->name, error) != 0)
		return -1;
	return check_combination(out, error);
}

/* Prints the line before the file is changed: if only the file had the new key, the removal of the
 * old one would lock everybody out. */
static int make_key(const struct arguments *arguments, struct error *error)
{
	char line[KEY_LINE_SIZE];
	struct key key;
	int result;

	if (arguments->replace && key_file_check_one(arguments->path, arguments->name, error) != 0)
		return -1;
	snprintf(key.name, sizeof(key.name), "%s", arguments->name);
	random_fill(key.secret, sizeof(key.secret));
	result = command_print_line(key_format(&key, line), error);
	if (result == 0 && arguments->replace) {
		result = key_file_put_new(arguments->path, &key, error);
		if (result != 0)
			error_hint(error,
				"the printed line is of no use, as the file does not have it");
	}
	secret_wipe(&key, sizeof(key));
	secret_wipe(line, sizeof(line));
	return result;
}

static int run(const struct command *command, int argc, char **argv)
{
	struct arguments arguments = {.name = ""};
	struct error error;
	int result = read_arguments(command, argc, argv, &arguments, &error);

	if (result > 0) {
		command_print_help(command);
		return EXIT_STATUS_DONE;
	}
	if (result == 0)
		result = arguments.remove_old
				 ? key_file_remove_old(arguments.path, arguments.name, &error)
				 : make_key(&arguments, &error);
	if (result != 0)
		return command_fail(&error);
	if (arguments.path != NULL)
		log_note("the reflector reads it on SIGHUP");
	return EXIT_STATUS_DONE;
}

const struct command command_keygen = {
	.name = "keygen",
	.summary = "make a key for a name: one line, for every key file",
	.synopsis = "[-K FILE --replace|--remove-old] NAME",
	.options = options,
	.run = run,
};
