#include <string.h>

#include "natpunch/home/keep.h"
#include "natpunch/base/mapping.h"
#include "natpunch/base/host_port.h"
#include "natpunch/base/parse.h"
#include "cmd/probe_options.h"
#include "natpunch/base/text.h"

#define DEFAULT_PORT       22
#define DEFAULT_TIMEOUT_MS 5000
#define FORWARD_TIMEOUT_MS 15000
#define INTERVAL_MAX_MS    (3600 * 1000)

enum {
	OPTION_HOOK_ARGS = OPTION_LONG_ONLY,
	OPTION_HOOK_EVENTS,
	OPTION_TO,
	OPTION_FORWARD_BY,
	OPTION_ROUTER,
	OPTION_LEASE,
};

const struct option_row probe_option_rows[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector; repeatable, tried in order", true},
	{'p', "port", "PORT", "the local port to send from (22)", false},
	{'u', "udp", NULL, "a UDP port instead of a TCP port", false},
	{'4', NULL, NULL, "IPv4 only; with -6 as well both, a line for each", false},
	{'6', NULL, NULL, "IPv6 only", false},
	{'b', "bind", "ADDR", "the local address to send from", false},
	{'I', "interface", "IFACE", "the network interface to send through", false},
	{COMMON_OPTION_MARK, "mark", "N", "set this mark (SO_MARK) on all sockets", false},
	{'m', "method", "METHOD", "auto, bind, repair, rewrite or raw (auto)", false},
	{'t', "timeout", "SECONDS", "for the whole run (5; with -F and -V 15)", false},
	{'f', "format", "FORMAT", "text, ssh, json, env or a string with %a %p %A %P %r %m", false},
	{'c', "changed", "FILE", "print only when the mapping differs from the one in FILE", false},
	{'e', "exec", "PATH", "run this program when the mapping changes", false},
	{OPTION_HOOK_ARGS, "hook-args", "natmap|natter",
		"of -e's arguments: natmap or natter (natmap)", false},
	{OPTION_HOOK_EVENTS, "hook-events", "LIST",
		"which -e is run for: up,change,unreachable,down (all)", false},
	{'V', "verify", NULL, "have it dialled from outside before success is claimed", false},
	{'F', "forward", NULL, "ask the router first to forward a port to the local port", false},
	{OPTION_FORWARD_BY, "forward-by", "LIST", "with -F: only by these: pcp,nat-pmp,upnp (all)",
		false},
	{OPTION_ROUTER, "router", "ADDR", "with -F: ask this router (the gateway)", false},
	{OPTION_LEASE, "lease", "SECONDS", "with -F: for how long (7200); 0: take it back and end",
		false},
	{'k', "keep", NULL, "stay, keep the mapping alive, print a line at every change", false},
	{'i', "interval", "SECONDS", "between keep-alives with -k (25)", false},
	{OPTION_TO, "to", "HOST:PORT", "with -k: hand over to HOST:PORT what comes to the port",
		false},
	{'n', "name", "NAME", "register the mapping at the reflector under this name", false},
	{'K', "key", "FILE", "the key file that has the name's key", false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say what is tried and why", false},
	{0, NULL, NULL, NULL, false},
};

static int set_bind(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	uint16_t port = options->request.local.port;

	if (addr_parse_ip(&options->request.local, reader->argument) != 0 ||
		addr_classify(&options->request.local) == ADDR_CLASS_MULTICAST)
		return option_bad_value(reader, "address", error);
	options->request.local.port = port;
	return 0;
}

static int set_method(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	if (strcmp(reader->argument, "auto") == 0)
		return 0;
	options->request.method = borrow_find(reader->argument);
	if (options->request.method == NULL)
		return option_bad_value(reader, "method", error);
	return 0;
}

static int set_interface(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	size_t size = strlen(reader->argument);

	/* IFNAMSIZ of linux/if.h counts the NUL. */
	if (size == 0 || size >= 16)
		return option_bad_value(reader, "interface", error);
	options->request.interface = reader->argument;
	return 0;
}

static int set_format(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	const char *problem = mapping_check_format(reader->argument);

	options->format = reader->argument;
	if (problem == NULL)
		return 0;
	option_bad_value(reader, "format", error);
	return error_hint(error, "%s", problem);
}

static int set_hook_order(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	options->hook_order_given = true;
	if (hook_parse_order(reader->argument, &options->hook_order) != 0)
		return option_bad_value(reader, "order", error);
	return 0;
}

static int set_hook_events(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	options->hook_events_given = true;
	if (hook_parse_events(reader->argument, &options->hook_events) != 0)
		return option_bad_value(reader, "list of events", error);
	return 0;
}

static int set_router(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	struct addr *router = &options->forward.router;
	enum addr_class class;

	options->forward_given = true;
	if (addr_parse_ip(router, reader->argument) != 0)
		return option_bad_value(reader, "address", error);
	class = addr_classify(router);
	if (class == ADDR_CLASS_MULTICAST || class == ADDR_CLASS_UNSPECIFIED)
		return option_bad_value(reader, "address", error);
	return 0;
}

static int set_lease(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	uint64_t seconds;

	options->forward_given = true;
	if (parse_number(reader->argument, 0, ROUTER_LEASE_MAX, &seconds) != 0 ||
		(seconds > 0 && seconds < ROUTER_LEASE_MIN)) {
		option_bad_value(reader, "lease", error);
		return error_hint(error, "%d to %d seconds, or 0 to take the forward back",
			ROUTER_LEASE_MIN, ROUTER_LEASE_MAX);
	}
	options->forward.lease = (uint32_t)seconds;
	return 0;
}

static int set_methods(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	options->forward_given = true;
	if (router_parse_methods(reader->argument, &options->forward.methods) != 0)
		return option_bad_value(reader, "list of protocols", error);
	return 0;
}

static int set_option(struct probe_options *options, const struct option_reader *reader, int code,
	struct error *error)
{
	struct mapping_race_request *request = &options->request;

	switch (code) {
	case 'u':
		request->protocol = MAPPING_UDP;
		return 0;
	case 'V':
		options->verify = true;
		return 0;
	case 'k':
		options->keep = true;
		return 0;
	case 'p':
		if (parse_port(reader->argument, &request->local.port) != 0)
			return option_bad_value(reader, "port", error);
		return 0;
	case 'b':
		return set_bind(options, reader, error);
	case 'I':
		return set_interface(options, reader, error);
	case 'm':
		return set_method(options, reader, error);
	case 'f':
		return set_format(options, reader, error);
	case 'c':
		return option_take_text(reader, "file", &options->changed_file, error);
	case 'e':
		return option_take_text(reader, "program", &options->hook_path, error);
	case OPTION_HOOK_ARGS:
		return set_hook_order(options, reader, error);
	case OPTION_HOOK_EVENTS:
		return set_hook_events(options, reader, error);
	case 'i':
		if (parse_seconds(reader->argument, INTERVAL_MAX_MS, &options->interval_ms) != 0)
			return option_bad_value(reader, "interval", error);
		return 0;
	case OPTION_TO:
		if (host_port_parse(reader->argument, 0, &options->to) != 0 ||
			options->to.host[0] == '\0' || options->to.port == 0)
			return option_bad_value(reader, "address", error);
		return 0;
	case 'F':
		options->forward.wanted = true;
		return 0;
	case OPTION_FORWARD_BY:
		return set_methods(options, reader, error);
	case OPTION_ROUTER:
		return set_router(options, reader, error);
	case OPTION_LEASE:
		return set_lease(options, reader, error);
	case 'n':
		options->name = reader->argument;
		return option_check_name(options->name, error);
	case 'K':
		return option_take_text(reader, "file", &options->key_path, error);
	default:
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	}
}

/* The family that -4, -6 and -b agree on. */
static int settle_family(struct probe_options *options, struct error *error)
{
	enum addr_family *family = &options->common.family;
	enum addr_family local = (enum addr_family)options->request.local.family;

	if (local == ADDR_NONE)
		return 0;
	if (options->both)
		return error_set(error, EXIT_STATUS_USAGE,
			"-b names an address of one family, and does not go with -4 -6");
	if (*family != ADDR_NONE && *family != local)
		return error_set(error, EXIT_STATUS_USAGE,
			"the address of -b is not an IPv%d address", (int)*family);
	*family = local;
	return 0;
}

/* -F and what belongs to it. */
static int check_forward(const struct probe_options *options, struct error *error)
{
	const struct forward_options *forward = &options->forward;
	enum addr_family family = options->common.family;

	if (!forward->wanted && options->forward_given)
		return error_set(
			error, EXIT_STATUS_USAGE, "--forward-by, --router and --lease need -F");
	if (!forward->wanted)
		return 0;
	if (options->keep && forward->lease == 0)
		return error_set(error, EXIT_STATUS_USAGE,
			"--lease 0 takes the forward back and ends, which does not go with -k");
	if (family != ADDR_NONE && forward->router.family != ADDR_NONE &&
		family != (enum addr_family)forward->router.family)
		return error_set(error, EXIT_STATUS_USAGE,
			"the address of --router is not an IPv%d address", (int)family);
	if (family == ADDR_IPV6 && (forward->methods & (1U << ROUTER_PCP)) == 0)
		return error_set(error, EXIT_STATUS_USAGE, "NAT-PMP and UPnP are for IPv4 alone");
	return 0;
}

/* Checks options that need or exclude each other. */
static int check_combination(const struct probe_options *options, struct error *error)
{
	const char *needs_keep = NULL;

	if (options->hook_order_given && options->hook_path == NULL)
		return error_set(error, EXIT_STATUS_USAGE, "--hook-args needs -e");
	if (options->hook_events_given && options->hook_path == NULL)
		return error_set(error, EXIT_STATUS_USAGE, "--hook-events needs -e");
	if ((options->name == NULL) != (options->key_path == NULL))
		return error_set(error, EXIT_STATUS_USAGE, "-n and -K need each other");
	if (options->request.protocol == MAPPING_UDP && options->command != NULL)
		return error_set(error, EXIT_STATUS_USAGE,
			"a command is run for TCP connections, and does not go with -u");
	if (options->request.protocol == MAPPING_UDP && options->to.port != 0 &&
		options->request.method != NULL && options->request.method != &borrow_method_bind)
		return error_set(error, EXIT_STATUS_USAGE,
			"with -u and --to the port is taken by method bind alone");
	if (options->command != NULL && options->to.port != 0)
		return error_set(error, EXIT_STATUS_USAGE, "--to and a command exclude each other");
	if (options->interval_ms != 0)
		needs_keep = "-i";
	if (options->to.port != 0)
		needs_keep = "--to";
	if (options->command != NULL)
		needs_keep = "a command";
	if (!options->keep && needs_keep != NULL)
		return error_set(error, EXIT_STATUS_USAGE, "%s needs -k", needs_keep);
	return 0;
}

/* The command follows "--"; an operand before that is an error. */
static int take_operands(
	struct probe_options *options, const struct option_reader *reader, struct error *error)
{
	int first = reader->first_operand;

	if (first >= reader->argc) {
		if (strcmp(reader->argv[reader->argc - 1], "--") == 0)
			return error_set(error, EXIT_STATUS_USAGE, "no command after --");
		return 0;
	}
	if (strcmp(reader->argv[first - 1], "--") == 0) {
		options->command = reader->argv + first;
		return 0;
	}
	option_check_end(reader, error);
	return error_hint(error, "a command for incoming connections follows --");
}

static void set_defaults(struct probe_options *options)
{
	memset(options, 0, sizeof(*options));
	options->format = "text";
	options->forward.methods = ROUTER_ALL_METHODS;
	options->forward.lease = ROUTER_LEASE_DEFAULT;
	options->request.local.port = DEFAULT_PORT;
	options->request.protocol = MAPPING_TCP;
	options->common.takes_both = true;
}

/* Public reflectors do not dial back, and keep no names. */
static int settle_reflectors(struct probe_options *options, struct error *error)
{
	struct reflector_list *list = &options->common.reflectors;

	if (options->name == NULL && !options->verify)
		return reflector_list_settle(list, error);
	if (reflector_list_add_from_environment(list, error) != 0)
		return -1;
	if (list->count > 0)
		return 0;
	error_set(error, EXIT_STATUS_USAGE, "%s",
		options->verify ? "-V needs a reflector that dials back"
				: "-n needs a reflector that keeps names");
	return error_hint(error, "-r HOST, or NATPUNCH_REFLECTOR in the environment");
}

int probe_options_read(struct probe_options *options, const struct command *row, int argc,
	char **argv, struct error *error)
{
	struct option_reader reader;
	int code;

	set_defaults(options);
	option_start(&reader, row, argc, argv);
	while ((code = common_options_next(&options->common, &reader, error)) > OPTION_END)
		if (set_option(options, &reader, code, error) != 0)
			return -1;
	if (code == OPTION_ERROR)
		return -1;
	if (options->common.help)
		return 0;
	if (take_operands(options, &reader, error) != 0 ||
		common_options_settle(&options->common, error) != 0)
		return -1;
	options->both = options->common.ipv4 && options->common.ipv6;
	if (check_combination(options, error) != 0 || settle_family(options, error) != 0 ||
		check_forward(options, error) != 0 || settle_reflectors(options, error) != 0)
		return -1;
	/* Each of the three addresses that a router may have made reachable can take seconds. */
	if (options->common.timeout_ms == 0)
		options->common.timeout_ms = options->forward.wanted && options->verify
						     ? FORWARD_TIMEOUT_MS
						     : DEFAULT_TIMEOUT_MS;
	common_options_fill(&options->common, &options->request);
	/* Scripts of natmap and Natter take every call for a new mapping. */
	if (!options->hook_events_given)
		options->hook_events =
			options->hook_order_given ? HOOK_NEW_MAPPING : HOOK_ALL_EVENTS;
	if (options->interval_ms == 0)
		options->interval_ms = KEEP_INTERVAL_DEFAULT_MS;
	return 0;
}
