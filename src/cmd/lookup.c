#include <stdio.h>
#include <string.h>

#include "natpunch/client/client_sandbox.h"
#include "natpunch/os/clock.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/log.h"
#include "natpunch/base/mapping.h"
#include "cmd/name_options.h"
#include "natpunch/client/name_client.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"

#define DEFAULT_TIMEOUT_MS 5000
#define ASK_ON_MS          1000 /* for a better address than one that is not held, or than none */
#define PATIENCE_MS        500 /* with one that was reached, before another is asked; then twice that */

static const struct option_row options[] = {
	{'r', "reflector", "HOST[:PORT]", "ask this reflector; repeatable, tried in order", true},
	{'K', "key", "FILE", "the key file that has the name's key", false},
	{'u', "udp", NULL, "the address of the UDP port, not of the TCP port", false},
	{'4', NULL, NULL, "the IPv4 address only", false},
	{'6', NULL, NULL, "the IPv6 address only", false},
	{'t', "timeout", "SECONDS", "for the whole run (5)", false},
	{'f', "format", "FORMAT", "text, ssh, json, env or a string with %a %p %A %P %r %m", false},
	{'q', "quiet", NULL, "say nothing but errors", false},
	{'v', "verbose", NULL, "say how old the address is, and what is tried", false},
	{0, NULL, NULL, NULL, false},
};

struct lookup_command {
	struct name_options options;
	struct mapping_race_request request; /* for the connection to the reflector */
	const char *format;
	enum mapping_protocol protocol;
};

static int set_option(
	void *context, const struct option_reader *reader, int code, struct error *error)
{
	struct lookup_command *command = context;
	const char *problem;

	if (code == 'u') {
		command->protocol = MAPPING_UDP;
		return 0;
	}
	if (code != 'f')
		return error_set(error, EXIT_STATUS_BUG, "option -%c is not handled", code);
	command->format = reader->argument;
	problem = mapping_check_format(reader->argument);
	if (problem == NULL)
		return 0;
	option_bad_value(reader, "format", error);
	return error_hint(error, "%s", problem);
}

/* What was found so far. */
struct finding {
	bool found;
	struct name_message_record record;
	struct mapping mapping; /* with the reflector that says so */
	bool is_silent;         /* a reflector was reached, and did not answer in the time it had */
	unsigned rounds;        /* in which all were asked */
	struct error errors[REFLECTOR_LIST_MAX]; /* what each said of the name, or did not */
	size_t error_count;
};

static bool is_better(
	const struct name_message_record *record, const struct name_message_record *than)
{
	struct addr source;
	bool routed = socket_source_for(&record->addr, &source) == 0;
	bool than_routed = socket_source_for(&than->addr, &source) == 0;

	if (routed != than_routed)
		return routed;
	if (record->held != than->held)
		return record->held;
	return record->addr.family == ADDR_IPV4;
}

/* Chooses a family: one that this machine can reach, then one that is held, then IPv4; or NULL. */
static const struct name_message_record *choose(const struct lookup_command *command,
	const struct name_question *question, enum mapping_protocol protocol)
{
	const struct name_message_record *best = NULL;

	for (size_t i = 0; i < question->record_count; i++) {
		const struct name_message_record *record = &question->records[i];

		if (record->protocol != protocol ||
			(command->options.common.family != ADDR_NONE &&
				record->addr.family != command->options.common.family))
			continue;
		if (best == NULL || is_better(record, best))
			best = record;
	}
	return best;
}

static int set_unregistered_error(const struct lookup_command *command,
	const struct name_question *question, const struct mapping *mapping, struct error *error)
{
	static const char *const families[] = {
		[ADDR_NONE] = "", [ADDR_IPV4] = "IPv4 ", [ADDR_IPV6] = "IPv6 "};
	bool udp = command->protocol == MAPPING_UDP;
	bool other = choose(command, question, udp ? MAPPING_TCP : MAPPING_UDP) != NULL;

	error_set(error, EXIT_STATUS_NETWORK, "%s knows no %s%saddress of %s", mapping->reflector,
		families[command->options.common.family],
		udp     ? "UDP "
		: other ? "TCP "
			: "",
		command->options.name);
	if (other && udp)
		return error_hint(error, "it knows a TCP one: leave out -u");
	if (other)
		return error_hint(error, "it knows a UDP one: add -u");
	if (question->record_count > 0)
		return -1;
	return error_hint(error, "at home: natpunch probe%s -r %s -n %s -K FILE",
		udp ? " -u -p PORT" : "", mapping->reflector, command->options.name);
}

/* In the forms of probe; json and env have the age as well. */
static int print_record(const struct lookup_command *command,
	const struct name_message_record *record, struct mapping *mapping, struct error *error)
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
			line, command->options.name, record->age, held);
	else if (strcmp(command->format, "env") == 0)
		printf("%s NATPUNCH_NAME=%s NATPUNCH_AGE=%u NATPUNCH_HELD=%s\n", line,
			command->options.name, record->age, held);
	else
		puts(line);
	return 0;
}

static void log_records(const struct lookup_command *command, const struct name_question *question)
{
	for (size_t i = 0; i < question->record_count; i++) {
		const struct name_message_record *record = &question->records[i];
		char text[ADDR_TEXT_SIZE];

		addr_format(&record->addr, text);
		if (record->held)
			log_detail("%s is at %s now (%s, local port %u)", command->options.name,
				text, mapping_protocol_name(record->protocol), record->local_port);
		else
			log_detail("%s was at %s, %u s ago (%s, local port %u)",
				command->options.name, text, record->age,
				mapping_protocol_name(record->protocol), record->local_port);
	}
}

/* Asks over the connection of the race, and ends it. Returns 0, or -1 with *error filled. */
static int ask(struct mapping_race_result *connection, const struct key *key, uint64_t deadline,
	struct name_question *question, struct error *error)
{
	struct name_client client;
	int status;

	name_message_start(question, STUN_METHOD_LOOKUP, key);
	name_client_start(&client, &connection->winner.port, connection->mapping.reflector,
		question, clock_now_ms());
	status = name_client_run(&client, deadline, error);
	*question = client.question;
	binding_client_end(&connection->winner);
	return status;
}

static int ask_one(const struct lookup_command *command, const struct key *key,
	struct mapping_race_result *connection, uint64_t deadline, struct finding *finding,
	struct error *error)
{
	const struct name_message_record *record;
	struct name_question question;

	if (command->request.reflector_count > 1)
		log_detail("asking %s", connection->mapping.reflector);
	if (ask(connection, key, deadline, &question, error) != 0)
		return -1;
	log_records(command, &question);
	record = choose(command, &question, command->protocol);
	if (record == NULL)
		return set_unregistered_error(command, &question, &connection->mapping, error);
	if (finding->found && !record->held && record->age >= finding->record.age)
		return 0;
	finding->found = true;
	finding->record = *record;
	finding->mapping = connection->mapping;
	return 0;
}

/* Once each. */
static void note_failure(struct finding *finding, const struct error *error)
{
	for (size_t i = 0; i < finding->error_count; i++)
		if (strcmp(finding->errors[i].text, error->text) == 0)
			return;
	if (finding->error_count < REFLECTOR_LIST_MAX)
		finding->errors[finding->error_count++] = *error;
}

/* A bad answer tells more than a refusal, and else the first; the others are told before it. */
static int fail(const struct finding *finding, struct error *error)
{
	size_t telling = 0;

	for (size_t i = finding->error_count; i-- > 0;)
		if (finding->errors[i].status == EXIT_STATUS_PEER)
			telling = i;
	for (size_t i = 0; i < finding->error_count; i++)
		if (i != telling)
			log_error("%s", finding->errors[i].text);
	*error = finding->errors[telling];
	return -1;
}

/* Until a reflector holds the name, or none is left. Each that is reached has so much time. */
static void ask_all(const struct lookup_command *command, const struct key *key, uint64_t deadline,
	uint64_t patience, struct mapping_race *race, struct finding *finding)
{
	struct mapping_race_result connection;
	struct error error;

	while (mapping_race_wait(race) == MAPPING_RACE_MAPPED) {
		uint64_t now = clock_now_ms();
		uint64_t until = deadline > now + patience ? now + patience : deadline;
		bool failed;

		mapping_race_take(race, &connection);
		failed = ask_one(command, key, &connection, until, finding, &error) != 0;
		now = clock_now_ms();
		if (failed)
			note_failure(finding, &error);
		if (failed && now >= until)
			finding->is_silent = true;
		if (finding->found && finding->record.held)
			return;
		if ((finding->found || finding->is_silent) && deadline > now + ASK_ON_MS)
			deadline = now + ASK_ON_MS;
		mapping_race_go_on(race, deadline, now);
	}
	if (finding->rounds++ == 0 && mapping_race_error(race)->text[0] != '\0')
		note_failure(finding, mapping_race_error(race));
}

/* All are asked; and, as long as none knows the name and one may still answer, once more. */
static int look_up(const struct lookup_command *command, const struct key *key, struct error *error)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + command->request.timeout_ms;
	bool several = command->request.reflector_count > 1;
	uint64_t patience = several ? PATIENCE_MS : command->request.timeout_ms;
	struct finding finding = {.found = false};

	do {
		struct lookup_command rest = *command;
		struct mapping_race *race;

		rest.request.timeout_ms = deadline - now;
		race = mapping_race_start(&rest.request, now);
		if (race == NULL)
			return error_set(error, EXIT_STATUS_LOCAL, "no memory");
		finding.is_silent = false;
		ask_all(&rest, key, deadline, patience, race, &finding);
		mapping_race_end(race);
		now = clock_now_ms();
		patience *= 2;
	} while (!finding.found && finding.is_silent && now < deadline);
	if (!finding.found)
		return fail(&finding, error);
	return print_record(command, &finding.record, &finding.mapping, error);
}

static int look_up_confined(
	const struct lookup_command *command, struct key *key, struct error *error)
{
	struct lookup_command confined = *command;
	const struct client_sandbox_plan plan = {.stay = CLIENT_SANDBOX_FROM_ANY_PORT,
		.reflectors = &command->options.common.reflectors,
		.secret = true};
	struct client_sandbox sandbox;
	int status = -1;

	confined.request.resolver = &sandbox.resolver;
	if (client_sandbox_open(&sandbox, &plan, error) == 0 &&
		key_file_load_one(command->options.key_path, command->options.name, key, error) ==
			0 &&
		client_sandbox_enter(&plan, error) == 0)
		status = look_up(&confined, key, error);
	client_sandbox_close(&sandbox);
	return status;
}

static int run(const struct command *row, int argc, char **argv)
{
	struct lookup_command command = {.options = {.common = {.timeout_ms = DEFAULT_TIMEOUT_MS}},
		.format = "text",
		.protocol = MAPPING_TCP};
	struct error error;
	struct key key;
	int status;

	if (name_options_read(&command.options, row, argc, argv, set_option, &command, &error) != 0)
		return command_fail(&error);
	if (command.options.common.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	command.request.protocol = MAPPING_TCP;
	command.request.method = &borrow_method_bind;
	common_options_fill(&command.options.common, &command.request);
	/* -4 and -6 choose among the addresses of the name, not the way to the reflector. */
	command.request.family = ADDR_NONE;
	status = look_up_confined(&command, &key, &error);
	secret_wipe(&key, sizeof(key));
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&error);
}

const struct command command_lookup = {
	.name = "lookup",
	.summary = "print the last known address of a name",
	.synopsis = "[-r HOST[:PORT]]... -K FILE [-46quv] [-f FORMAT] [-t SECONDS] NAME",
	.options = options,
	.run = run,
};
