/* Stands in for what a portable build lacks: commands, whose rows say so and have no options; and
 * connect -u. */
#include "cmd/connect_udp.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/log.h"

static int refuse(const struct command *command, int argc, char **argv)
{
	struct error error;

	(void)argc;
	(void)argv;
	log_set_command("");
	error_set(&error, EXIT_STATUS_USAGE,
		"%s is for Linux: this build has connect, lookup and keygen", command->name);
	return command_fail(&error);
}

const struct command command_probe = {.name = "probe", .run = refuse};
const struct command command_reflect = {.name = "reflect", .run = refuse};
const struct command command_check = {.name = "check", .run = refuse};

int connect_udp_run(const struct name_options *chosen, const struct connect_udp_options *options,
	struct error *error)
{
	(void)chosen;
	(void)options;
	return error_set(error, EXIT_STATUS_USAGE, "-u is for Linux, and not in this build");
}
