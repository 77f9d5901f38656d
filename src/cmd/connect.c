#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/command.h"
#include "natpunch/keys.h"
#include "natpunch/log.h"
#include "natpunch/parse.h"
#include "natpunch/pump.h"
#include "natpunch/secret.h"
#include "natpunch/stun.h"
#include "natpunch/text.h"
#include "natpunch/traveller.h"

#define DEFAULT_TIMEOUT_MS 10000
#define TIMEOUT_MAX_MS     (3600 * 1000)
#define PATH_SIZE          1024

enum {
	OPTION_SSH_CONFIG = OPTION_LONG_ONLY,
};

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "the reflector that the name is registered at", false},
	{'K', "key", "FILE", "the key file that has the name's key", false},
	{'4', NULL, NULL, "IPv4 only", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'t', "timeout", "SECONDS", "until the connection must stand (10)", false},
	{OPTION_SSH_CONFIG, "ssh-config", NULL, "print what to put into ssh_config, and end",
		false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say what is tried", false},
	{0, NULL, NULL, NULL, false},
};

struct connect_command {
	struct traveller_request request;
	struct parse_host_port reflector;
	const char *reflector_text;
	const char *key_path;
	const char *name;
	struct key key;
	bool ssh_config;
	bool help;
	bool ipv4;
	bool ipv6;
	bool quiet;
	bool verbose;
};

static int set_option(struct connect_command *command, const struct option_reader *reader, int code,
	struct error *error)
{
	switch (code) {
	case 'r':
		command->reflector_text = reader->argument;
		if (parse_host_port(reader->argument, STUN_DEFAULT_PORT, &command->reflector) != 0)
			return option_bad_value(reader, "reflector", error);
		return 0;
	case 'K':
		command->key_path = reader->argument;
		return reader->argument[0] != '\0' ? 0 : option_bad_value(reader, "file", error);
	case '4':
		command->ipv4 = true;
		return 0;
	case '6':
		command->ipv6 = true;
		return 0;
	case 't':
		if (parse_seconds(reader->argument, TIMEOUT_MAX_MS, &command->request.timeout_ms) !=
			0)
			return option_bad_value(reader, "timeout", error);
		return 0;
	case OPTION_SSH_CONFIG:
		command->ssh_config = true;
		return 0;
	case 'q':
		command->quiet = true;
		return 0;
	case 'v':
		command->verbose = true;
		return 0;
	default:
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	}
}

static int usage_error(struct error *error, const char *problem)
{
	error_set(error, EXIT_STATUS_USAGE, "%s", problem);
	return error_hint(error, "natpunch help connect");
}

static int check(
	struct connect_command *command, const struct option_reader *reader, struct error *error)
{
	char safe[128];

	if (command->ipv4 && command->ipv6)
		return usage_error(error, "-4 and -6 exclude each other");
	if (command->quiet && command->verbose)
		return usage_error(error, "-q and -v exclude each other");
	if (reader->first_operand + 1 != reader->argc)
		return usage_error(error, "one NAME is wanted");
	command->name = reader->argv[reader->first_operand];
	if (!key_is_name(command->name, strlen(command->name)))
		return error_set(error, EXIT_STATUS_USAGE, "invalid name: '%s'",
			text_escape(safe, sizeof(safe), command->name, strlen(command->name)));
	if (command->reflector_text == NULL)
		return usage_error(error, "no reflector named: -r");
	if (command->key_path == NULL)
		return usage_error(error, "no key file named: -K");
	command->request.reflector = &command->reflector;
	if (command->ipv4)
		command->request.family = ADDR_IPV4;
	if (command->ipv6)
		command->request.family = ADDR_IPV6;
	return 0;
}

static int read_options(struct connect_command *command, const struct command *row, int argc,
	char **argv, struct error *error)
{
	struct option_reader reader = {.first_operand = 0};
	int code;

	option_start(&reader, row, argc, argv);
	while ((code = option_next(&reader, error)) != OPTION_END) {
		if (code == OPTION_HELP) {
			command->help = true;
			return 0;
		}
		if (code == OPTION_ERROR || set_option(command, &reader, code, error) != 0)
			return -1;
	}
	return check(command, &reader, error);
}

/* What text_escape() has nothing to do for, and ssh does not take for one of its own tokens. */
static bool is_plain(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x20 || *text > 0x7e || *text == '\\' || *text == '%')
			return false;
	return true;
}

/* ssh runs the command with a shell, from any directory. Returns 0, or -1 with *error filled. */
static int make_absolute(const char *path, char *out, size_t size, struct error *error)
{
	size_t used = 0;

	if (path[0] != '/') {
		if (getcwd(out, size) == NULL)
			return error_set(error, EXIT_STATUS_LOCAL, "no current directory: %s",
				strerror(errno));
		used = strlen(out);
		out[used++] = '/';
	}
	if (used > size || strlen(path) >= size - used)
		return error_set(error, EXIT_STATUS_LOCAL, "the key file's path is too long");
	memcpy(out + used, path, strlen(path) + 1);
	return 0;
}

static int print_ssh_config(const struct connect_command *command, struct error *error)
{
	char path[PATH_SIZE] = "";
	char quoted_path[4 * PATH_SIZE];
	char quoted_reflector[4 * PATH_SIZE];

	if (command->key_path == NULL || access(command->key_path, R_OK) != 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot read the key file: %s", strerror(errno));
	if (make_absolute(command->key_path, path, sizeof(path), error) != 0)
		return -1;
	if (!is_plain(path) || !is_plain(command->reflector_text))
		return error_set(error, EXIT_STATUS_LOCAL,
			"a %%, a backslash or a byte that is not ASCII has no place in ssh_config");
	text_escape_shell(quoted_path, sizeof(quoted_path), path);
	text_escape_shell(quoted_reflector, sizeof(quoted_reflector), command->reflector_text);
	printf("Host %s\n"
	       "    HostKeyAlias %s\n"
	       "    CheckHostIP no\n"
	       "    ProxyCommand natpunch connect -q -r %s -K %s %s\n",
		command->name, command->name, quoted_reflector, quoted_path, command->name);
	return 0;
}

static int connect_and_pump(struct connect_command *command, struct error *error)
{
	int fd;

	if (keys_load_one(command->key_path, command->name, &command->key, error) != 0)
		return -1;
	command->request.key = &command->key;
	fd = traveller_connect(&command->request, error);
	secret_wipe(&command->key, sizeof(command->key));
	if (fd < 0)
		return -1;
	return pump_run(STDIN_FILENO, STDOUT_FILENO, fd, error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct connect_command command = {.request = {.timeout_ms = DEFAULT_TIMEOUT_MS}};
	struct error error;
	int status;

	if (read_options(&command, row, argc, argv, &error) != 0)
		return command_fail(&error);
	if (command.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	if (command.quiet)
		log_set_level(LOG_LEVEL_QUIET);
	if (command.verbose)
		log_set_level(LOG_LEVEL_VERBOSE);
	signal(SIGPIPE, SIG_IGN);
	if (command.ssh_config)
		status = print_ssh_config(&command, &error);
	else
		status = connect_and_pump(&command, &error);
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_connect = {
	.name = "connect",
	.summary = "connect to a home by its name, through both NATs: ssh's ProxyCommand",
	.synopsis = "-r HOST[:PORT] -K FILE [-46qv] [-t SECONDS] NAME",
	.options = options,
	.run = run,
};
