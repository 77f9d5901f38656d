/*
 * Fuzzes the command lines of all subcommands: whatever the words, the options are read to the end
 * or refused, with a status of the manual, and nothing is read behind an end.
 *
 * The input is the words, each up to a NUL; the first byte chooses the subcommand. None gets to
 * work: two words that are no options stand behind the others, as the first may be taken for the
 * argument of an option. What probe runs behind "--" may be anything, so of probe only the reader
 * of its options is called.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "natpunch/cmd/command.h"
#include "cmd/probe_options.h"

#define WORDS_MAX 24

/* Where the sanitizers report, when standard error is closed; they alone have this. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static const struct command *const commands[] = {&command_reflect, &command_check, &command_lookup,
	&command_connect, &command_keygen, &command_probe};

/* What is printed goes nowhere, but for the words of the one who checks. */
static void silence(bool silent)
{
	static int nowhere = -1, out, told;

	if (nowhere < 0) {
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		out = dup(STDOUT_FILENO);
		told = dup(STDERR_FILENO);
		fuzz_check(nowhere >= 0 && out >= 0 && told >= 0);
		if (__sanitizer_set_report_fd)
			__sanitizer_set_report_fd((void *)(intptr_t)told);
	}
	fflush(stdout);
	dup2(silent ? nowhere : out, STDOUT_FILENO);
	dup2(silent ? nowhere : told, STDERR_FILENO);
}

/* getopt() remembers where in a word it was; see its manual for the 0. */
static void forget_getopt(void)
{
	char name[] = "natpunch";
	char *words[] = {name, NULL};

	optind = 0;
	(void)getopt(1, words, "");
}

static void read_probe(int count, char **words)
{
	struct probe_options options;
	struct error error = {.status = EXIT_STATUS_DONE};

	if (probe_options_read(&options, &command_probe, count, words, &error) != 0) {
		fuzz_check(error.status == EXIT_STATUS_USAGE && error.text[0] != '\0');
		return;
	}
	if (options.common.help)
		return;
	fuzz_check(options.request.local.port > 0 && options.request.timeout_ms > 0);
	fuzz_check(options.request.reflector_count > 0);
	fuzz_check(options.interval_ms > 0 && (options.name == NULL) == (options.key_path == NULL));
	fuzz_check(options.command == NULL || options.command[0] != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct command *command;
	char *text, *words[WORDS_MAX + 4];
	char name[] = "natpunch", none[] = "--no-such-option", other[] = "--neither-this";
	int count = 0;

	if (size < 1)
		return 0;
	command = commands[data[0] % (sizeof(commands) / sizeof(commands[0]))];
	text = malloc(size);
	fuzz_check(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	words[count++] = name;
	for (size_t at = 0; at < size - 1 && count < WORDS_MAX; at += strlen(text + at) + 1)
		words[count++] = text + at;
	forget_getopt();
	if (command == &command_probe) {
		words[count] = NULL;
		read_probe(count, words);
	} else {
		int status;

		words[count++] = none;
		words[count++] = other;
		words[count] = NULL;
		silence(true);
		status = command->run(command, count, words);
		silence(false);
		fuzz_check(status == EXIT_STATUS_USAGE || status == EXIT_STATUS_DONE);
	}
	free(text);
	return 0;
}
