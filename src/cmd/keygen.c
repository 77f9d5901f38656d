#include <stdio.h>
#include <string.h>

#include "natpunch/cmd/command.h"
#include "natpunch/base/key.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"

static const struct option_row options[] = {
	{0, NULL, NULL, NULL, false},
};

/* Returns 0 with *name set, 1 after -h, or -1 with *error filled. */
static int read_arguments(const struct command *command, int argc, char **argv, const char **name,
	struct error *error)
{
	struct option_reader reader;
	int code;

	option_start(&reader, command, argc, argv);
	code = option_next(&reader, error);
	if (code == OPTION_HELP)
		return 1;
	if (code != OPTION_END)
		return -1;
	if (reader.first_operand + 1 != argc) {
		error_set(error, EXIT_STATUS_USAGE, "one NAME is wanted");
		return error_hint(error, "natpunch help keygen");
	}
	*name = argv[reader.first_operand];
	return option_check_name(*name, error);
}

static int run(const struct command *command, int argc, char **argv)
{
	char line[KEY_LINE_SIZE];
	struct error error;
	struct key key;
	const char *name = NULL;
	int result = read_arguments(command, argc, argv, &name, &error);

	if (result < 0)
		return command_fail(&error);
	if (result > 0) {
		command_print_help(command);
		return EXIT_STATUS_DONE;
	}
	snprintf(key.name, sizeof(key.name), "%s", name != NULL ? name : "");
	random_fill(key.secret, sizeof(key.secret));
	puts(key_format(&key, line));
	secret_wipe(&key, sizeof(key));
	secret_wipe(line, sizeof(line));
	return EXIT_STATUS_DONE;
}

const struct command command_keygen = {
	.name = "keygen",
	.summary = "make a key for a name: a line for both key files",
	.synopsis = "NAME",
	.options = options,
	.run = run,
};
