#include <stdio.h>
#include <string.h>

#include "natpunch/clock.h"
#include "natpunch/command.h"
#include "natpunch/keys.h"
#include "natpunch/log.h"
#include "natpunch/mapping.h"
#include "natpunch/naming.h"
#include "natpunch/parse.h"
#include "natpunch/probe.h"
#include "natpunch/secret.h"
#include "natpunch/socket.h"
#include "natpunch/text.h"

#define DEFAULT_TIMEOUT_MS 5000
#define TIMEOUT_MAX_MS     (3600 * 1000)

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector", false},
	{'K', "key", "FILE", "the key file that has the name's key", false},
	{'4', NULL, NULL, "the IPv4 address only", false},
	{'6', NULL, NULL, "the IPv6 address only", false},
	{'t', "timeout", "SECONDS", "for the whole run (5)", false},
	{'f', "format", "FORMAT", "text, ssh, json, env or a string with %a %p %A %P %r %m", false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say how old the address is, and what is tried", false},
	{0, NULL, NULL, NULL, false},
};

struct lookup_command {
	struct probe_request request; /* for the connection to the reflector */
	const char *key_path;
	const char *format;
	const char *name;
	bool help;
	bool ipv4;
	bool ipv6;
	bool quiet;
	bool verbose;
};

static int set_reflector(
	struct lookup_command *command, const struct option_reader *reader, struct error *error)
{
	if (parse_host_port(reader->argument, STUN_DEFAULT_PORT, command->request.reflectors) != 0)
		return option_bad_value(reader, "reflector", error);
	command->request.reflector_count = 1;
	return 0;
}

static int set_format(
	struct lookup_command *command, const struct option_reader *reader, struct error *error)
{
	const char *problem = mapping_check_format(reader->argument);

	command->format = reader->argument;
	if (problem == NULL)
		return 0;
	option_bad_value(reader, "format", error);
	return error_hint(error, "%s", problem);
}

static int set_option(struct lookup_command *command, const struct option_reader *reader, int code,
	struct error *error)
{
	switch (code) {
	case 'r':
		return set_reflector(command, reader, error);
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
	case 'f':
		return set_format(command, reader, error);
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
	return error_hint(error, "natpunch help lookup");
}

static int check(
	struct lookup_command *command, const struct option_reader *reader, struct error *error)
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
	if (command->request.reflector_count == 0)
		return usage_error(error, "no reflector named: -r");
	if (command->key_path == NULL)
		return usage_error(error, "no key file named: -K");
	return 0;
}

static int read_options(struct lookup_command *command, const struct command *row, int argc,
	char **argv, struct error *error)
{
	struct option_reader reader;
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

/* Asks over a connection of its own, from any port. */
static int ask(const struct lookup_command *command, const struct key *key,
	struct rendezvous *rendezvous, struct mapping *mapping, struct error *error)
{
	uint64_t deadline = clock_now_ms() + command->request.timeout_ms;
	struct probe_result connection;
	struct naming naming;
	int status;

	if (probe_run(&command->request, &connection, error) != 0)
		return -1;
	*mapping = connection.mapping;
	rendezvous_start(rendezvous, STUN_METHOD_LOOKUP, key);
	naming_start(
		&naming, &connection.winner.port, mapping->reflector, rendezvous, clock_now_ms());
	status = naming_run(&naming, deadline, error);
	*rendezvous = naming.rendezvous;
	transaction_end(&connection.winner);
	return status;
}

static bool is_better(const struct rendezvous_record *record, const struct rendezvous_record *than)
{
	struct addr source;
	bool routed = socket_source_for(&record->addr, &source) == 0;
	bool than_routed = socket_source_for(&than->addr, &source) == 0;

	if (routed != than_routed)
		return routed;
	if (record->held != than->held)
		return record->held;
	return record->age < than->age;
}

/* Of the two families the one that can be reached from here, is held, is fresher; or NULL. */
static const struct rendezvous_record *choose(
	const struct lookup_command *command, const struct rendezvous *rendezvous)
{
	const struct rendezvous_record *best = NULL;

	for (size_t i = 0; i < rendezvous->record_count; i++) {
		const struct rendezvous_record *record = &rendezvous->records[i];

		if ((command->ipv4 && record->addr.family != ADDR_IPV4) ||
			(command->ipv6 && record->addr.family != ADDR_IPV6))
			continue;
		if (best == NULL || is_better(record, best))
			best = record;
	}
	return best;
}

static int fail_unregistered(const struct lookup_command *command,
	const struct rendezvous *rendezvous, const struct mapping *mapping, struct error *error)
{
	const char *family = command->ipv4 ? "IPv4 " : command->ipv6 ? "IPv6 " : "";

	error_set(error, EXIT_STATUS_NETWORK, "%s knows no %saddress of %s", mapping->reflector,
		family, command->name);
	if (rendezvous->record_count > 0)
		return -1;
	return error_hint(error, "at home: natpunch probe -r %s -n %s -K FILE", mapping->reflector,
		command->name);
}

/* The forms of probe; those for machines have the age as well. */
static int print_record(const struct lookup_command *command,
	const struct rendezvous_record *record, struct mapping *mapping, struct error *error)
{
	char line[MAPPING_LINE_SIZE];
	const char *held = record->held ? "true" : "false";

	mapping->public_addr = record->addr;
	mapping->protocol = record->protocol;
	mapping->local = (struct addr){.family = ADDR_NONE, .port = record->local_port};
	memcpy(mapping->method, "lookup", sizeof("lookup"));
	if (mapping_format(mapping, command->format, line) != 0)
		return error_set(error, EXIT_STATUS_USAGE, "the format makes too long a line");
	if (strcmp(command->format, "json") == 0)
		printf("%.*s,\"name\":\"%s\",\"age\":%u,\"held\":%s}\n", (int)strlen(line) - 1,
			line, command->name, record->age, held);
	else if (strcmp(command->format, "env") == 0)
		printf("%s NATPUNCH_NAME=%s NATPUNCH_AGE=%u NATPUNCH_HELD=%s\n", line,
			command->name, record->age, held);
	else
		puts(line);
	return 0;
}

static void remark(const struct lookup_command *command, const struct rendezvous *rendezvous)
{
	for (size_t i = 0; i < rendezvous->record_count; i++) {
		const struct rendezvous_record *record = &rendezvous->records[i];
		char text[ADDR_TEXT_SIZE];

		addr_format(&record->addr, text);
		if (record->held)
			log_detail("%s is at %s now (%s, local port %u)", command->name, text,
				mapping_protocol_name(record->protocol), record->local_port);
		else
			log_detail("%s was at %s, %u s ago (%s, local port %u)", command->name,
				text, record->age, mapping_protocol_name(record->protocol),
				record->local_port);
	}
}

static int look_up(const struct lookup_command *command, const struct key *key, struct error *error)
{
	const struct rendezvous_record *record;
	struct rendezvous rendezvous;
	struct mapping mapping;

	if (ask(command, key, &rendezvous, &mapping, error) != 0)
		return -1;
	remark(command, &rendezvous);
	record = choose(command, &rendezvous);
	if (record == NULL)
		return fail_unregistered(command, &rendezvous, &mapping, error);
	return print_record(command, record, &mapping, error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct lookup_command command = {.format = "text"};
	struct error error;
	struct key key;
	int status;

	command.request.protocol = MAPPING_TCP;
	command.request.timeout_ms = DEFAULT_TIMEOUT_MS;
	command.request.method = &borrow_method_bind;
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
	if (keys_load_one(command.key_path, command.name, &key, &error) != 0)
		return command_fail(&error);
	status = look_up(&command, &key, &error);
	secret_wipe(&key, sizeof(key));
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_lookup = {
	.name = "lookup",
	.summary = "print the last known address of a name",
	.synopsis = "-r HOST[:PORT] -K FILE [-46qv] [-f FORMAT] [-t SECONDS] NAME",
	.options = options,
	.run = run,
};
