#include "cmd/name_options.h"

#include "natpunch/base/parse.h"
#include "natpunch/os/log.h"
#include "natpunch/proto/stun.h"

#define TIMEOUT_MAX_MS (3600 * 1000)

/* What is looked at when all have been read. */
struct flags {
	bool ipv4, ipv6, quiet, verbose;
};

/* Returns 0, or -1 with *error filled, or 1: it is none of these. */
static int set_option(struct name_options *options, struct flags *flags,
	const struct option_reader *reader, int code, struct error *error)
{
	switch (code) {
	case 'r':
		options->reflector_text = reader->argument;
		if (host_port_parse(reader->argument, STUN_DEFAULT_PORT, &options->reflector) != 0)
			return option_bad_value(reader, "reflector", error);
		return 0;
	case 'K':
		options->key_path = reader->argument;
		return reader->argument[0] != '\0' ? 0 : option_bad_value(reader, "file", error);
	case 't':
		if (parse_seconds(reader->argument, TIMEOUT_MAX_MS, &options->timeout_ms) != 0)
			return option_bad_value(reader, "timeout", error);
		return 0;
	case '4':
		flags->ipv4 = true;
		return 0;
	case '6':
		flags->ipv6 = true;
		return 0;
	case 'q':
		flags->quiet = true;
		return 0;
	case 'v':
		flags->verbose = true;
		return 0;
	default:
		return 1;
	}
}

static int usage_error(struct error *error, const struct command *row, const char *problem)
{
	error_set(error, EXIT_STATUS_USAGE, "%s", problem);
	return error_hint(error, "natpunch help %s", row->name);
}

static int settle(struct name_options *options, const struct flags *flags,
	const struct option_reader *reader, struct error *error)
{
	const struct command *row = reader->command;

	if (flags->ipv4 && flags->ipv6)
		return usage_error(error, row, "-4 and -6 exclude each other");
	if (flags->quiet && flags->verbose)
		return usage_error(error, row, "-q and -v exclude each other");
	if (reader->first_operand + 1 != reader->argc)
		return usage_error(error, row, "one NAME is wanted");
	options->name = reader->argv[reader->first_operand];
	if (option_check_name(options->name, error) != 0)
		return -1;
	if (options->reflector_text == NULL)
		return usage_error(error, row, "no reflector named: -r");
	if (options->key_path == NULL)
		return usage_error(error, row, "no key file named: -K");
	options->family = flags->ipv4 ? ADDR_IPV4 : flags->ipv6 ? ADDR_IPV6 : ADDR_NONE;
	if (flags->quiet)
		log_set_level(LOG_LEVEL_QUIET);
	if (flags->verbose)
		log_set_level(LOG_LEVEL_VERBOSE);
	return 0;
}

int name_options_read(struct name_options *options, const struct command *row, int argc,
	char **argv, name_options_own *own, void *context, struct error *error)
{
	struct flags flags = {.ipv4 = false};
	struct option_reader reader;
	int code;

	option_start(&reader, row, argc, argv);
	while ((code = option_next(&reader, error)) != OPTION_END) {
		int result;

		if (code == OPTION_ERROR)
			return -1;
		if (code == OPTION_HELP) {
			options->help = true;
			return 0;
		}
		result = set_option(options, &flags, &reader, code, error);
		if (result > 0)
			result = own(context, &reader, code, error);
		if (result != 0)
			return -1;
	}
	return settle(options, &flags, &reader, error);
}
