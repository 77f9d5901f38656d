#include <string.h>
#include <unistd.h>

#include "cmd/common_options.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/base/host_port.h"
#include "natpunch/base/parse.h"
#include "natpunch/reflector/reflector.h"
#include "natpunch/proto/stun.h"

#define OPTION_NO_DIAL OPTION_LONG_ONLY
#define OPTION_METRICS (OPTION_LONG_ONLY + 1)

/* Lines about clients per second, and at once after a rest. */
#define LOG_PER_SECOND 100
#define LOG_BURST      1000

static const struct option_row options[] = {
	{'l', "listen", "[ADDR:]PORT", "listen here, UDP and TCP; repeatable; 3478", true},
	{'T', "text", "[ADDR:]PORT", "also answer at once with the line; repeatable", true},
	{'a', "alternate", "ADDR",
		"a second local address, for RFC 5780 and dial-back; one of "
		"IPv4, one of IPv6",
		true},
	{'C', "connections", "N", "most TCP connections at once; 1024", false},
	{'K', "keys", "FILE", "serve the names in this file; read again on SIGHUP", false},
	{'S', "state", "FILE", "keep here where names were seen, over restarts", false},
	{'R', "relay", NULL, "relay where no direct way can be had", false},
	{'U', "user", "USER", "become this user once the ports are open", false},
	{OPTION_NO_DIAL, "no-dial", NULL, "dial nobody back", false},
	{'j', "jobs", "N", "threads, for as many processors; 1", false},
	{OPTION_METRICS, "metrics", "PORT", "tell counters by HTTP there, on loopback alone",
		false},
	{'q', "quiet", NULL, "print errors only", false},
	{'v', "verbose", NULL, "print a line for each thing that happens", false},
	{0, NULL, NULL, NULL, false},
};

static int add_listen(
	struct reflector_config *config, const struct reflector_listen *listen, struct error *error)
{
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < config->listen_count; i++)
		if (addr_equal(&config->listen[i].addr, &listen->addr))
			return error_set(error, EXIT_STATUS_USAGE, "address given twice: %s",
				addr_format(&listen->addr, text));
	if (config->listen_count == REFLECTOR_LISTEN_MAX)
		return error_set(error, EXIT_STATUS_USAGE, "more than %d addresses to listen on",
			REFLECTOR_LISTEN_MAX);
	config->listen[config->listen_count++] = *listen;
	return 0;
}

/* A port without an address means every address of either family. */
static int add_port(struct reflector_config *config, uint16_t port, enum reflector_service service,
	bool spare, struct error *error)
{
	struct reflector_listen listen = {.service = service, .optional = true, .spare = spare};

	listen.addr.port = port;
	listen.addr.family = ADDR_IPV4;
	if (add_listen(config, &listen, error) != 0)
		return -1;
	listen.addr.family = ADDR_IPV6;
	return add_listen(config, &listen, error);
}

static int read_listen(const struct option_reader *reader, struct reflector_config *config,
	enum reflector_service service, struct error *error)
{
	struct reflector_listen listen = {.service = service};
	struct host_port parsed;

	if (host_port_parse_listen(reader->argument, &parsed) != 0)
		return option_bad_value(reader, "[ADDR:]PORT", error);
	if (parsed.host[0] == '\0')
		return add_port(config, parsed.port, service, false, error);
	if (addr_parse_ip(&listen.addr, parsed.host) != 0 ||
		addr_classify(&listen.addr) == ADDR_CLASS_MULTICAST)
		return option_bad_value(reader, "address to listen on", error);
	listen.addr.port = parsed.port;
	return add_listen(config, &listen, error);
}

static int read_alternate(
	const struct option_reader *reader, struct reflector_config *config, struct error *error)
{
	struct addr addr;
	struct addr *alternate;
	enum addr_class class;

	if (addr_parse_ip(&addr, reader->argument) != 0)
		return option_bad_value(reader, "alternate address", error);
	class = addr_classify(&addr);
	if (class == ADDR_CLASS_UNSPECIFIED || class == ADDR_CLASS_MULTICAST)
		return option_bad_value(reader, "alternate address", error);
	alternate = &config->alternates[addr.family == ADDR_IPV6];
	if (alternate->family != ADDR_NONE)
		return error_set(error, EXIT_STATUS_USAGE,
			"more than one alternate address for IPv%d", addr.family);
	*alternate = addr;
	return 0;
}

static int read_connections(
	const struct option_reader *reader, struct reflector_config *config, struct error *error)
{
	uint64_t number;

	if (parse_number(reader->argument, 1, REFLECTOR_CONNECTIONS_MAX, &number) != 0)
		return option_bad_value(reader, "number of connections", error);
	config->connections = (uint32_t)number;
	config->connections_fixed = true;
	return 0;
}

static int read_jobs(
	const struct option_reader *reader, struct reflector_config *config, struct error *error)
{
	uint64_t number;

	if (parse_number(reader->argument, 1, REFLECTOR_JOBS_MAX, &number) != 0)
		return option_bad_value(reader, "number of threads", error);
	config->jobs = (uint32_t)number;
	return 0;
}

static int read_metrics(
	const struct option_reader *reader, struct reflector_config *config, struct error *error)
{
	if (parse_port(reader->argument, &config->metrics_port) != 0)
		return option_bad_value(reader, "port", error);
	return 0;
}

static bool listens_in_full(const struct reflector_config *config)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (config->listen[i].service == REFLECTOR_FULL)
			return true;
	return false;
}

static bool uses_port(const struct reflector_config *config, uint16_t port)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (config->listen[i].addr.port == port)
			return true;
	return false;
}

/*
 * The default port, and a spare one: a home whose router still has state of an address that it has
 * lost gets a new mapping by asking there.
 */
static int add_default_ports(struct reflector_config *config, struct error *error)
{
	uint16_t spare = STUN_SPARE_PORT(STUN_DEFAULT_PORT);

	if (add_port(config, STUN_DEFAULT_PORT, REFLECTOR_FULL, false, error) != 0)
		return -1;
	if (uses_port(config, spare) || config->listen_count + 2 > REFLECTOR_LISTEN_MAX)
		return 0;
	return add_port(config, spare, REFLECTOR_FULL, true, error);
}

/* Checks the options together. */
static int check_options(const struct option_reader *reader, struct reflector_config *config,
	struct common_options *common, struct error *error)
{
	if (option_check_end(reader, error) != 0 || common_options_settle(common, error) != 0)
		return -1;
	if (config->state_path != NULL && config->keys_path == NULL) {
		error_set(error, EXIT_STATUS_USAGE, "-S needs -K");
		return error_hint(error, "without keys there are no names to keep");
	}
	if (config->state_path != NULL && file_is_same(config->keys_path, config->state_path)) {
		error_set(error, EXIT_STATUS_USAGE, "-S and -K name the same file");
		return error_hint(error, "the file of -S is written, and would lose the keys");
	}
	if (config->relay && config->keys_path == NULL) {
		error_set(error, EXIT_STATUS_USAGE, "-R needs -K");
		return error_hint(error, "a relay is for names with a key alone");
	}
	if (!listens_in_full(config))
		return add_default_ports(config, error);
	return 0;
}

static int set_option(struct reflector_config *config, const struct option_reader *reader, int code,
	struct error *error)
{
	switch (code) {
	case 'l':
		return read_listen(reader, config, REFLECTOR_FULL, error);
	case 'T':
		return read_listen(reader, config, REFLECTOR_TEXT, error);
	case 'C':
		return read_connections(reader, config, error);
	case 'a':
		return read_alternate(reader, config, error);
	case OPTION_NO_DIAL:
		config->no_dial = true;
		return 0;
	case 'j':
		return read_jobs(reader, config, error);
	case OPTION_METRICS:
		return read_metrics(reader, config, error);
	case 'K':
		return option_take_text(reader, "file", &config->keys_path, error);
	case 'S':
		return option_take_text(reader, "file", &config->state_path, error);
	case 'U':
		config->has_user = true;
		return privileges_find_user(reader->argument, &config->user, error);
	case 'R':
		config->relay = true;
		return 0;
	default:
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	}
}

/* Returns 0, 1 after -h, or -1 with *error filled. */
static int read_options(const struct command *command, int argc, char **argv,
	struct reflector_config *config, struct error *error)
{
	struct common_options common = {.help = false};
	struct option_reader reader;
	int code;

	option_start(&reader, command, argc, argv);
	while ((code = common_options_next(&common, &reader, error)) > OPTION_END)
		if (set_option(config, &reader, code, error) != 0)
			return -1;
	if (code == OPTION_ERROR)
		return -1;
	return common.help ? 1 : check_options(&reader, config, &common, error);
}

static int run(const struct command *command, int argc, char **argv)
{
	struct reflector_config config = {
		.connections = REFLECTOR_CONNECTIONS_DEFAULT,
		.times = REFLECTOR_TIMES_DEFAULT,
		.confine = true,
		.relay_limits = RELAY_LIMITS_DEFAULT,
		.limits = REFLECTOR_LIMITS_DEFAULT,
	};
	struct reflector *reflector;
	struct error error;
	int result = read_options(command, argc, argv, &config, &error);

	if (result < 0)
		return command_fail(&error);
	if (result > 0) {
		command_print_help(command);
		return EXIT_STATUS_DONE;
	}
	/* A process that was taken over must not have descriptors that its parent forgot to close.
	 */
	descriptors_close_from(STDERR_FILENO + 1, -1);
	log_set_limit(LOG_PER_SECOND, LOG_BURST);
	reflector = reflector_open(&config, &error);
	if (reflector == NULL)
		return command_fail(&error);
	result = reflector_run(reflector, &error);
	reflector_close(reflector);
	return result == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_reflect = {
	.name = "reflect",
	.summary = "tell whoever asks which address it was seen from",
	.synopsis = "[-l [ADDR:]PORT]... [-T [ADDR:]PORT]... [-a ADDR]... [-C N] "
		    "[-K FILE [-S FILE] [-R]] [-U USER] [--no-dial] [-j N] [--metrics PORT] [-qv]",
	.options = options,
	.run = run,
};
