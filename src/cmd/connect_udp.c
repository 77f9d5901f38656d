#include "cmd/connect_udp.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/secret.h"
#include "natpunch/base/text.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/client/client_sandbox.h"
#include "natpunch/cmd/command.h"
#include "natpunch/connect/udp_initiator.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/log.h"

#define INTERVAL_DEFAULT_MS 25000

static int set_method(const char *text, struct mapping_race_request *race, struct error *error)
{
	char safe[64];

	if (text == NULL || strcmp(text, "auto") == 0)
		return 0;
	race->method = borrow_find(text);
	if (race->method != NULL)
		return 0;
	text_escape(safe, sizeof(safe), text, strlen(text));
	return error_set(error, EXIT_STATUS_USAGE, "invalid method: '%s'", safe);
}

static int print(const struct mapping *mapping, const char *format, struct error *error)
{
	char line[MAPPING_LINE_SIZE];

	if (mapping_format(mapping, format != NULL ? format : "text", line) != 0)
		return error_set(error, EXIT_STATUS_USAGE, "the format makes too long a line");
	return command_print_line(line, error);
}

static void pause_until(uint64_t due)
{
	uint64_t now;

	while ((now = clock_now_ms()) < due)
		poll(NULL, 0, clock_poll_ms(now, due));
}

/*
 * Opens the way again and again, which keeps it open while the daemons are silent, and notices when
 * it changes. Returns -1, and only on an error of this machine.
 */
static int keep(const struct udp_initiator_request *request,
	const struct connect_udp_options *options, struct mapping *told, struct error *error)
{
	uint64_t interval = options->interval_ms != 0 ? options->interval_ms : INTERVAL_DEFAULT_MS;
	bool warned = false;

	for (;;) {
		struct mapping mapping;

		pause_until(clock_now_ms() + interval);
		if (udp_initiator_run(request, &mapping, error) != 0) {
			if (warned)
				log_detail("%s; trying again", error->text);
			else
				log_warning("%s; trying again", error->text);
			warned = true;
			continue;
		}
		if (warned)
			log_note("the way to %s is open again", request->key->name);
		warned = false;
		if (addr_equal(&mapping.public_addr, &told->public_addr))
			continue;
		*told = mapping;
		if (print(&mapping, options->format, error) != 0)
			return -1;
	}
}

static int run(const struct udp_initiator_request *request,
	const struct connect_udp_options *options, struct error *error)
{
	struct mapping mapping;

	if (udp_initiator_run(request, &mapping, error) != 0 ||
		print(&mapping, options->format, error) != 0)
		return -1;
	return options->keep ? keep(request, options, &mapping, error) : 0;
}

int connect_udp_run(const struct name_options *chosen, const struct connect_udp_options *options,
	struct error *error)
{
	const struct client_sandbox_plan plan = {
		.stay = options->keep ? CLIENT_SANDBOX_KEEPS : CLIENT_SANDBOX_ONCE,
		.reflectors = &chosen->common.reflectors,
		.marks = chosen->common.mark != 0,
		.secret = true};
	struct key key = {.name = ""};
	struct udp_initiator_request request = {
		.key = &key, .timeout_ms = chosen->common.timeout_ms};
	struct client_sandbox sandbox;
	int status = -1;

	common_options_fill(&chosen->common, &request.race);
	request.race.protocol = MAPPING_UDP;
	request.race.local.port = options->port;
	request.race.resolver = &sandbox.resolver;
	if (set_method(options->method, &request.race, error) != 0)
		return -1;
	if (client_sandbox_open(&sandbox, &plan, error) == 0 &&
		key_file_load_one(chosen->key_path, chosen->name, &key, error) == 0) {
		client_sandbox_find_owner(&sandbox, &request.race, false);
		if (client_sandbox_enter(&plan, error) == 0)
			status = run(&request, options, error);
	}
	client_sandbox_close(&sandbox);
	secret_wipe(&key, sizeof(key));
	return status;
}
