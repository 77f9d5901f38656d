#include "cmd/common_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"

#define TIMEOUT_MAX_MS (3600 * 1000)

/* Returns 0, or -1 with *error filled, or 1: it is none of these. */
static int set_option(struct common_options *common, const struct option_reader *reader, int code,
	struct error *error)
{
	switch (code) {
	case 'r':
		return reflector_list_add(&common->reflectors, reader->argument, error);
	case 't':
		if (parse_seconds(reader->argument, TIMEOUT_MAX_MS, &common->timeout_ms) != 0)
			return option_bad_value(reader, "timeout", error);
		return 0;
	case '4':
		common->ipv4 = true;
		return 0;
	case '6':
		common->ipv6 = true;
		return 0;
	case 'q':
		common->quiet = true;
		return 0;
	case 'v':
		common->verbose = true;
		return 0;
	case COMMON_OPTION_MARK:
		if (parse_mark(reader->argument, &common->mark) != 0)
			return option_bad_value(reader, "mark", error);
		return 0;
	default:
		return 1;
	}
}

int common_options_next(
	struct common_options *common, struct option_reader *reader, struct error *error)
{
	int result = 0;
	int code = OPTION_END;

	while (result == 0) {
		code = option_next(reader, error);
		if (code == OPTION_END || code == OPTION_ERROR)
			return code;
		common->help = code == OPTION_HELP;
		if (common->help)
			return OPTION_END;
		result = set_option(common, reader, code, error);
	}
	return result < 0 ? OPTION_ERROR : code;
}

int common_options_settle(struct common_options *common, struct error *error)
{
	if (common->quiet && common->verbose)
		return error_set(error, EXIT_STATUS_USAGE, "-q and -v exclude each other");
	if (common->ipv4 && common->ipv6 && !common->takes_both)
		return error_set(error, EXIT_STATUS_USAGE, "-4 and -6 exclude each other");
	common->family = ADDR_NONE;
	if (common->ipv4 != common->ipv6)
		common->family = common->ipv4 ? ADDR_IPV4 : ADDR_IPV6;
	if (common->quiet)
		log_set_level(LOG_LEVEL_QUIET);
	if (common->verbose)
		log_set_level(LOG_LEVEL_VERBOSE);
	return 0;
}

int common_options_mark(const struct common_options *common, struct error *error)
{
	if (common->mark == 0 || socket_set_mark(common->mark) == 0)
		return 0;
	error_set(error, EXIT_STATUS_LOCAL, "cannot mark what is sent: %s", strerror(errno));
	if (errno == EPERM)
		privileges_hint(error, PRIVILEGES_NET_ADMIN, "");
	return -1;
}

void common_options_fill(const struct common_options *common, struct mapping_race_request *request)
{
	request->reflectors = common->reflectors.all;
	request->reflector_count = common->reflectors.count;
	request->must_agree = common->reflectors.must_agree;
	request->family = common->family;
	request->timeout_ms = common->timeout_ms;
}

void common_options_print_reflectors(const struct common_options *common)
{
	char text[HOST_PORT_TEXT_SIZE];
	char quoted[4 * HOST_PORT_TEXT_SIZE];

	for (size_t i = 0; i < common->reflectors.count; i++) {
		host_port_format(&common->reflectors.all[i], text);
		text_escape_shell(quoted, sizeof(quoted), text);
		printf(" -r %s", quoted);
	}
}
