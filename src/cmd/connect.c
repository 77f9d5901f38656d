#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/client_sandbox.h"
#include "cmd/connect_udp.h"
#include "natpunch/base/mapping.h"
#include "natpunch/base/parse.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/key_file.h"
#include "cmd/name_options.h"
#include "natpunch/connect/socket_pass.h"
#include "natpunch/connect/stdio_pump.h"
#include "natpunch/base/secret.h"
#include "natpunch/base/text.h"
#include "natpunch/connect/initiator.h"

#define DEFAULT_TIMEOUT_MS 10000
#define PATH_SIZE          1024
#define INTERVAL_MAX_MS    (3600 * 1000)

enum {
	OPTION_SSH_CONFIG = OPTION_LONG_ONLY,
	OPTION_FDPASS,
};

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector; repeatable, tried in order", true},
	{'K', "key", "FILE", "the key file that has the name's key", false},
	{'4', NULL, NULL, "IPv4 only", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'t', "timeout", "SECONDS", "until the connection must stand (10)", false},
	{COMMON_OPTION_MARK, "mark", "N", "set this mark (SO_MARK) on all sockets", false},
	{'u', "udp", NULL, "open both NATs between -p and the name's UDP port; print where that is",
		false},
	{'p', "port", "PORT", "with -u: the local UDP port, of the daemon here", false},
	{'m', "method", "METHOD", "with -u: auto, bind, rewrite or raw (auto)", false},
	{'f', "format", "FORMAT", "with -u: text, json, env or a string with %a %p %A %P %r %m",
		false},
	{'k', "keep", NULL, "with -u: stay, and print a line at every change", false},
	{'i', "interval", "SECONDS", "with -k: until the way is opened again (25)", false},
	{OPTION_FDPASS, "fdpass", NULL, "pass the connection to ssh, and end: ProxyUseFdpass yes",
		false},
	{OPTION_SSH_CONFIG, "ssh-config", NULL, "print what to put into ssh_config, and end",
		false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say what is tried", false},
	{0, NULL, NULL, NULL, false},
};

struct connect_command {
	struct name_options options;
	bool ssh_config;
	bool fdpass;
	struct connect_udp_options udp;
};

/* Returns 0, or -1 with *error filled, or 1: it is none of -u's. */
static int set_udp(struct connect_udp_options *udp, const struct option_reader *reader, int code,
	struct error *error)
{
	const char *problem;

	switch (code) {
	case 'u':
		udp->wanted = true;
		return 0;
	case 'p':
		if (parse_port(reader->argument, &udp->port) != 0)
			return option_bad_value(reader, "port", error);
		return 0;
	case 'm':
		udp->method = reader->argument;
		return 0;
	case 'f':
		udp->format = reader->argument;
		problem = mapping_check_format(reader->argument);
		if (problem == NULL)
			return 0;
		option_bad_value(reader, "format", error);
		return error_hint(error, "%s", problem);
	case 'k':
		udp->keep = true;
		return 0;
	case 'i':
		if (parse_seconds(reader->argument, INTERVAL_MAX_MS, &udp->interval_ms) != 0)
			return option_bad_value(reader, "interval", error);
		return 0;
	default:
		return 1;
	}
}

/* Checks options that need or exclude each other. */
static int check_udp(const struct connect_command *command, struct error *error)
{
	const struct connect_udp_options *udp = &command->udp;

	if (!udp->wanted && (udp->port != 0 || udp->method != NULL || udp->format != NULL ||
				    udp->keep || udp->interval_ms != 0))
		return error_set(error, EXIT_STATUS_USAGE, "-p, -m, -f, -k and -i need -u");
	if (!udp->wanted)
		return 0;
	if (command->fdpass || command->ssh_config)
		return error_set(error, EXIT_STATUS_USAGE,
			"--fdpass and --ssh-config are about TCP, and do not go with -u");
	if (udp->port == 0) {
		error_set(error, EXIT_STATUS_USAGE, "-u needs -p");
		return error_hint(
			error, "the UDP port of the daemon here, as WireGuard's ListenPort");
	}
	if (udp->interval_ms != 0 && !udp->keep)
		return error_set(error, EXIT_STATUS_USAGE, "-i needs -k");
	return 0;
}

static int run_udp(const struct connect_command *command, struct error *error)
{
	if (common_options_mark(&command->options.common, error) != 0)
		return -1;
	return connect_udp_run(&command->options, &command->udp, error);
}

static int set_own(void *context, const struct option_reader *reader, int code, struct error *error)
{
	struct connect_command *command = context;
	int result = set_udp(&command->udp, reader, code, error);

	if (result <= 0)
		return result;
	switch (code) {
	case OPTION_SSH_CONFIG:
		command->ssh_config = true;
		return 0;
	case OPTION_FDPASS:
		command->fdpass = true;
		return 0;
	default:
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	}
}

/* Would neither text_escape() nor ssh, which has tokens that begin with %, change it? */
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

/* The options that matter later on, each with a blank before it. */
static void write_kept_options(const struct name_options *chosen, char *out, size_t size)
{
	const char *family = chosen->common.family == ADDR_IPV4   ? " -4"
			     : chosen->common.family == ADDR_IPV6 ? " -6"
								  : "";
	char timeout[32] = "";
	char mark[32] = "";

	if (chosen->common.timeout_ms != DEFAULT_TIMEOUT_MS)
		snprintf(timeout, sizeof(timeout), " -t %" PRIu64 ".%03u",
			chosen->common.timeout_ms / 1000,
			(unsigned)(chosen->common.timeout_ms % 1000));
	if (chosen->common.mark != 0)
		snprintf(mark, sizeof(mark), " --mark %" PRIu32, chosen->common.mark);
	snprintf(out, size, "%s%s%s", family, timeout, mark);
}

static bool are_plain(const struct reflector_list *reflectors)
{
	for (size_t i = 0; i < reflectors->count; i++)
		if (!is_plain(reflectors->all[i].host))
			return false;
	return true;
}

static int print_ssh_config(const struct name_options *chosen, struct error *error)
{
	char path[PATH_SIZE] = "";
	char quoted_path[4 * PATH_SIZE];
	char kept[96];
	struct key key;

	/* A configuration that cannot work must not get into a file that stays. */
	if (key_file_load_one(chosen->key_path, chosen->name, &key, error) != 0)
		return -1;
	secret_wipe(&key, sizeof(key));
	if (make_absolute(chosen->key_path, path, sizeof(path), error) != 0)
		return -1;
	if (!is_plain(path) || !are_plain(&chosen->common.reflectors))
		return error_set(error, EXIT_STATUS_LOCAL,
			"a %%, a backslash or a byte that is not ASCII has no place in ssh_config");
	text_escape_shell(quoted_path, sizeof(quoted_path), path);
	write_kept_options(chosen, kept, sizeof(kept));
	printf("Host %s\n"
	       "    HostKeyAlias %s\n"
	       "    CheckHostIP no\n"
	       "    ProxyUseFdpass yes\n"
	       "    ProxyCommand natpunch connect%s",
		chosen->name, chosen->name, kept);
	common_options_print_reflectors(&chosen->common);
	printf(" -K %s --fdpass %s\n", quoted_path, chosen->name);
	return 0;
}

static struct initiator_request make_request(
	const struct name_options *chosen, const struct key *key)
{
	return (struct initiator_request){
		.reflectors = &chosen->common.reflectors,
		.key = key,
		.family = chosen->common.family,
		.timeout_ms = chosen->common.timeout_ms,
	};
}

/* Returns the connection, or -1 with *error filled. Confined, if the system can. */
static int open_connection(const struct name_options *chosen, struct key *key, struct error *error)
{
	struct initiator_request request = make_request(chosen, key);
	const struct client_sandbox_plan plan = {.stay = CLIENT_SANDBOX_FROM_ANY_PORT,
		.reflectors = &chosen->common.reflectors,
		.marks = chosen->common.mark != 0,
		.secret = true};
	struct client_sandbox sandbox;
	int fd = -1;

	request.resolver = &sandbox.resolver;
	if (client_sandbox_open(&sandbox, &plan, error) == 0 &&
		key_file_load_one(chosen->key_path, chosen->name, key, error) == 0 &&
		client_sandbox_enter(&plan, error) == 0)
		fd = initiator_connect(&request, error);
	client_sandbox_close(&sandbox);
	return fd;
}
static int connect_and_serve(const struct connect_command *command, struct error *error)
{
	const struct name_options *chosen = &command->options;
	struct key key = {.name = ""};
	int fd = -1;

	if (command->fdpass && socket_pass_check(STDOUT_FILENO, error) != 0)
		return -1;
	if (common_options_mark(&chosen->common, error) == 0)
		fd = open_connection(chosen, &key, error);
	secret_wipe(&key, sizeof(key));
	if (fd < 0)
		return -1;
	if (command->fdpass)
		return socket_pass_run(STDOUT_FILENO, fd, error);
	return stdio_pump_run(STDIN_FILENO, STDOUT_FILENO, fd, error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct connect_command command = {
		.options = {.common = {.timeout_ms = DEFAULT_TIMEOUT_MS}}};
	struct error error;
	int status;

	if (name_options_read(&command.options, row, argc, argv, set_own, &command, &error) != 0)
		return command_fail(&error);
	if (command.options.common.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	signal(SIGPIPE, SIG_IGN);
	if (check_udp(&command, &error) != 0)
		status = -1;
	else if (command.udp.wanted)
		status = run_udp(&command, &error);
	else if (command.ssh_config)
		status = print_ssh_config(&command.options, &error);
	else
		status = connect_and_serve(&command, &error);
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_connect = {
	.name = "connect",
	.summary = "connect to a home by its name, through both NATs: ssh's ProxyCommand",
	.synopsis = "[-r HOST[:PORT]]... -K FILE [-46qv] [-t SECONDS] [--mark N] [--fdpass] "
		    "[--ssh-config] [-u -p PORT [-k] [-f FORMAT] [-i SECONDS] [-m METHOD]] NAME",
	.options = options,
	.run = run,
};
