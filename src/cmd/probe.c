#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/addr.h"
#include "natpunch/clock.h"
#include "natpunch/command.h"
#include "natpunch/file.h"
#include "natpunch/log.h"
#include "natpunch/mapping.h"
#include "natpunch/parse.h"
#include "natpunch/probe.h"
#include "natpunch/socket.h"
#include "natpunch/text.h"

#define DEFAULT_PORT       22
#define DEFAULT_TIMEOUT_MS 5000
#define TIMEOUT_MAX_MS     (3600 * 1000)
#define RECORD_MODE        0644

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector; repeatable, tried in order", true},
	{'p', "port", "PORT", "the local port to punch for (22)", false},
	{'u', "udp", NULL, "a UDP port instead of a TCP port", false},
	{'4', NULL, NULL, "IPv4 only", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'b', "bind", "ADDR", "the local address to send from", false},
	{'I', "interface", "IFACE", "the network interface to send through", false},
	{'m', "method", "METHOD", "auto, bind or repair (auto)", false},
	{'t', "timeout", "SECONDS", "for the whole run (5)", false},
	{'f', "format", "FORMAT", "text, ssh, json, env or a string with %a %p %A %P %r %m", false},
	{'c', "changed", "FILE", "print only when the mapping differs from the one in FILE", false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say what is tried and why", false},
	{0, NULL, NULL, NULL, false},
};

struct probe_command {
	struct probe_request request;
	const char *format;
	const char *changed_file;
	bool help;
	bool ipv4;
	bool ipv6;
	bool quiet;
	bool verbose;
};

static int add_reflector(struct probe_command *command, const char *text, struct error *error)
{
	struct probe_request *request = &command->request;
	char safe[128];

	if (request->reflector_count == PROBE_REFLECTOR_MAX)
		return error_set(
			error, EXIT_STATUS_USAGE, "more than %d reflectors", PROBE_REFLECTOR_MAX);
	if (parse_host_port(
		    text, STUN_DEFAULT_PORT, &request->reflectors[request->reflector_count]) == 0 &&
		request->reflectors[request->reflector_count].host[0] != '\0') {
		request->reflector_count++;
		return 0;
	}
	text_escape(safe, sizeof(safe), text, strlen(text));
	return error_set(error, EXIT_STATUS_USAGE, "invalid reflector: '%s'", safe);
}

/* $NATPUNCH_REFLECTOR: the same as several -r, with spaces between. */
static int add_reflectors_from_environment(struct probe_command *command, struct error *error)
{
	const char *rest = getenv("NATPUNCH_REFLECTOR");

	while (rest != NULL && *rest != '\0') {
		char word[PARSE_HOST_SIZE + 16];
		size_t size = strcspn(rest, " ");

		if (size >= sizeof(word))
			return error_set(error, EXIT_STATUS_USAGE,
				"invalid reflector in NATPUNCH_REFLECTOR");
		memcpy(word, rest, size);
		word[size] = '\0';
		if (size > 0 && add_reflector(command, word, error) != 0)
			return -1;
		rest += size;
		rest += strspn(rest, " ");
	}
	return 0;
}

static int set_bind(
	struct probe_command *command, const struct option_reader *reader, struct error *error)
{
	uint16_t port = command->request.local.port;

	if (addr_parse_ip(&command->request.local, reader->argument) != 0)
		return option_bad_value(reader, "address", error);
	command->request.local.port = port;
	return 0;
}

static int set_method(
	struct probe_command *command, const struct option_reader *reader, struct error *error)
{
	if (strcmp(reader->argument, "auto") == 0)
		return 0;
	command->request.method = borrow_find(reader->argument);
	if (command->request.method == NULL)
		return option_bad_value(reader, "method", error);
	return 0;
}

static int set_interface(
	struct probe_command *command, const struct option_reader *reader, struct error *error)
{
	size_t size = strlen(reader->argument);

	/* IFNAMSIZ of linux/if.h counts the NUL. */
	if (size == 0 || size >= 16)
		return option_bad_value(reader, "interface", error);
	command->request.interface = reader->argument;
	return 0;
}

static int set_format(
	struct probe_command *command, const struct option_reader *reader, struct error *error)
{
	const char *problem = mapping_check_format(reader->argument);

	command->format = reader->argument;
	if (problem == NULL)
		return 0;
	option_bad_value(reader, "format", error);
	return error_hint(error, "%s", problem);
}

static int set_option(struct probe_command *command, const struct option_reader *reader, int code,
	struct error *error)
{
	struct probe_request *request = &command->request;

	switch (code) {
	case 'r':
		return add_reflector(command, reader->argument, error);
	case 'p':
		if (parse_port(reader->argument, &request->local.port) != 0)
			return option_bad_value(reader, "port", error);
		return 0;
	case 'u':
		request->protocol = MAPPING_UDP;
		return 0;
	case '4':
		command->ipv4 = true;
		return 0;
	case '6':
		command->ipv6 = true;
		return 0;
	case 'b':
		return set_bind(command, reader, error);
	case 'I':
		return set_interface(command, reader, error);
	case 'm':
		return set_method(command, reader, error);
	case 't':
		if (parse_seconds(reader->argument, TIMEOUT_MAX_MS, &request->timeout_ms) != 0)
			return option_bad_value(reader, "timeout", error);
		return 0;
	case 'f':
		return set_format(command, reader, error);
	case 'c':
		command->changed_file = reader->argument;
		return reader->argument[0] != '\0' ? 0 : option_bad_value(reader, "file", error);
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

/* The family that -4, -6 and -b agree on. */
static int settle_family(struct probe_command *command, struct error *error)
{
	struct probe_request *request = &command->request;

	if (command->ipv4 && command->ipv6)
		return error_set(error, EXIT_STATUS_USAGE, "-4 and -6 exclude each other");
	if (command->ipv4)
		request->family = ADDR_IPV4;
	if (command->ipv6)
		request->family = ADDR_IPV6;
	if (request->local.family == ADDR_NONE)
		return 0;
	if (request->family != ADDR_NONE && request->family != request->local.family)
		return error_set(error, EXIT_STATUS_USAGE,
			"the address of -b is not an IPv%d address", (int)request->family);
	request->family = (enum addr_family)request->local.family;
	return 0;
}

static int read_options(struct probe_command *command, const struct command *row, int argc,
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
	if (reader.first_operand < argc) {
		char safe[128];
		const char *operand = argv[reader.first_operand];
		text_escape(safe, sizeof(safe), operand, strlen(operand));
		return error_set(error, EXIT_STATUS_USAGE, "unexpected argument: %s", safe);
	}
	if (command->quiet && command->verbose)
		return error_set(error, EXIT_STATUS_USAGE, "-q and -v exclude each other");
	if (settle_family(command, error) != 0)
		return -1;
	if (command->request.reflector_count == 0 &&
		add_reflectors_from_environment(command, error) != 0)
		return -1;
	if (command->request.reflector_count == 0) {
		error_set(error, EXIT_STATUS_USAGE, "no reflector named");
		return error_hint(error, "-r HOST, or NATPUNCH_REFLECTOR in the environment");
	}
	return 0;
}

/* What a person should know about the mapping before relying on it. */
static void remark(const struct probe_result *result)
{
	char ip[ADDR_IP_TEXT_SIZE];
	enum addr_class class = addr_classify(&result->mapping.public_addr);

	addr_format_ip(&result->mapping.public_addr, ip);
	if (result->no_nat)
		log_note("no NAT: %s is an address of this machine", ip);
	else if (class != ADDR_CLASS_PUBLIC)
		log_warning("%s is a %s address: it is not reachable from everywhere", ip,
			addr_class_name(class));
}

static int print_mapping(
	const struct probe_command *command, const struct mapping *mapping, struct error *error)
{
	char line[MAPPING_LINE_SIZE];

	if (mapping_format(mapping, command->format, line) != 0)
		return error_set(error, EXIT_STATUS_USAGE, "the format makes too long a line");
	puts(line);
	if (fflush(stdout) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot write to standard output: %s",
			strerror(errno));
	return 0;
}

/* Reads what FILE remembers: *known is false when there is nothing yet. */
static int recall(const char *path, struct mapping *mapping, bool *known, struct error *error)
{
	char data[MAPPING_RECORD_SIZE];
	char safe[160];
	int missing;
	ssize_t size = file_read(path, data, sizeof(data), &missing, error);

	*known = false;
	if (size < 0)
		return -1;
	if (missing)
		return 0;
	if (mapping_decode_record(mapping, data, (size_t)size) == 0) {
		*known = true;
		return 0;
	}
	text_escape(safe, sizeof(safe), path, strlen(path));
	error_set(error, EXIT_STATUS_LOCAL, "%s does not hold a mapping", safe);
	return error_hint(error, "it is left as it is; remove it to begin anew");
}

static int remember(const char *path, const struct mapping *mapping, struct error *error)
{
	char data[MAPPING_RECORD_SIZE];

	if (mapping_encode_record(mapping, data) != 0)
		return error_set(error, EXIT_STATUS_BUG, "the mapping does not fit its record");
	return file_replace(path, data, strlen(data), RECORD_MODE, error);
}

/* -c: under the lock, so that of two runs that find the same change only one tells it. */
static int print_if_changed(
	const struct probe_command *command, const struct mapping *mapping, struct error *error)
{
	uint64_t deadline = clock_now_ms() + command->request.timeout_ms;
	struct mapping before;
	bool known;
	int result = -1;
	int lock = file_lock_directory(command->changed_file, deadline, error);

	if (lock < 0)
		return -1;
	if (recall(command->changed_file, &before, &known, error) == 0) {
		if (known && mapping_equal(&before, mapping)) {
			log_detail("the mapping is the one in %s", command->changed_file);
			result = 0;
		} else if (print_mapping(command, mapping, error) == 0) {
			result = remember(command->changed_file, mapping, error);
		}
	}
	close(lock);
	return result;
}

/* A damaged, unreadable or unwritable FILE is told before the network is asked. */
static int check_file(const struct probe_command *command, struct error *error)
{
	struct mapping before;
	bool known;

	if (command->changed_file == NULL)
		return 0;
	if (file_check_writable(command->changed_file, error) != 0)
		return -1;
	return recall(command->changed_file, &before, &known, error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct probe_command command = {.format = "text"};
	struct probe_result result;
	struct error error;
	int status;

	command.request.local.port = DEFAULT_PORT;
	command.request.protocol = MAPPING_TCP;
	command.request.timeout_ms = DEFAULT_TIMEOUT_MS;
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
	command.request.mode = socket_can_forget() ? BINDING_MODE_FORGET : BINDING_MODE_CLOSE;
	if (check_file(&command, &error) != 0 || probe_run(&command.request, &result, &error) != 0)
		return command_fail(&error);

	if (command.changed_file != NULL)
		status = print_if_changed(&command, &result.mapping, &error);
	else
		status = print_mapping(&command, &result.mapping, &error);
	remark(&result);
	transaction_end(&result.winner);
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_probe = {
	.name = "probe",
	.summary = "find and keep the public address of a local port",
	.synopsis = "[options]",
	.options = options,
	.run = run,
};
