#include <stdio.h>
#include <string.h>

#include "natpunch/cmd/command.h"
#include "natpunch/os/log.h"
#include "natpunch/os/startup.h"
#include "natpunch/base/text.h"

static const struct command *const commands[] = {
	&command_probe,
	&command_reflect,
	&command_check,
	&command_connect,
	&command_lookup,
	&command_keygen,
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *stream)
{
	fputs("usage: natpunch [-h|--help] [-V|--version] COMMAND ...\n\n", stream);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (commands[i]->options != NULL)
			fprintf(stream, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fputs("  help       print the help of a command\n", stream);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int fail_unknown(const char *what, const char *name)
{
	char safe[64];
	struct error error;

	text_escape(safe, sizeof(safe), name, strlen(name));
	error_set(&error, EXIT_STATUS_USAGE, "unknown %s: %s", what, safe);
	error_hint(&error, "natpunch --help lists the commands");
	return command_fail(&error);
}

static int run_help(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stdout);
		return EXIT_STATUS_DONE;
	}
	const struct command *command = find_command(argv[1]);
	if (command == NULL)
		return fail_unknown("command", argv[1]);
	if (command->options == NULL)
		return command->run(command, argc - 1, argv + 1);
	command_print_help(command);
	return EXIT_STATUS_DONE;
}

int main(int argc, char **argv)
{
	struct error error;

	startup_reset_signals();
	if (startup_fill_descriptors(&error) != 0)
		return command_fail(&error);
	if (argc < 2) {
		print_help(stderr);
		return EXIT_STATUS_USAGE;
	}
	const char *word = argv[1];
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		return command_finish_output(run_help(1, argv + 1));
	if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
		puts("natpunch " NATPUNCH_VERSION);
		return command_finish_output(EXIT_STATUS_DONE);
	}
	if (strcmp(word, "help") == 0)
		return command_finish_output(run_help(argc - 1, argv + 1));
	if (word[0] == '-')
		return fail_unknown("option", word);

	const struct command *command = find_command(word);
	if (command == NULL)
		return fail_unknown("command", word);
	log_set_command(command->name);
	return command_finish_output(command->run(command, argc - 1, argv + 1));
}
