#include "natpunch/client/name_register.h"

#include <poll.h>

#include "natpunch/client/binding_client.h"
#include "natpunch/client/name_client.h"
#include "natpunch/os/clock.h"

#define SETTLE_MS 1000 /* for the question how a connection goes on after a failure */

/* Asks once more how the connection goes on; without an answer it is closed in order. */
static void settle(struct binding_client *winner, enum binding_mode mode)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + SETTLE_MS;

	winner->answer.mode = BINDING_MODE_NONE;
	winner->question.mode = mode;
	binding_client_ask_again(winner, now);
	while (winner->state == BINDING_CLIENT_ASKING && now < deadline) {
		struct pollfd watch = {.fd = binding_client_fd(winner), .events = POLLIN};

		poll(&watch, 1, clock_poll_ms(now, deadline));
		now = clock_now_ms();
		binding_client_advance(winner, now);
	}
}

static int ask_over(struct borrowed *port, struct name_question *question, const char *reflector,
	uint64_t deadline, struct error *error)
{
	struct name_client client;
	int result;

	name_client_start(&client, port, reflector, question, clock_now_ms());
	result = name_client_run(&client, deadline, error);
	*question = client.question;
	return result;
}

/* Raw has no connection: one from any port registers the port that was found. */
static int register_by_number(const struct mapping_race_request *request,
	const struct mapping_race_result *result, struct name_question *question, uint64_t deadline,
	struct error *error)
{
	struct mapping_race_request own = {
		.reflectors = &request->reflectors[result->reflector],
		.reflector_count = 1,
		.protocol = MAPPING_TCP,
		.local = result->winner.local,
		.family = (enum addr_family)result->winner.local.family,
		.interface = request->interface,
		.method = &borrow_method_bind,
		.resolver = request->resolver,
	};
	uint64_t now = clock_now_ms();
	struct mapping_race_result second;
	int status;

	own.local.port = 0;
	own.timeout_ms = deadline > now ? deadline - now : 1;
	if (mapping_race_run(&own, &second, error) != 0)
		return -1;
	question->registration.mapped_port = result->mapping.public_addr.port;
	status =
		ask_over(&second.winner.port, question, result->mapping.reflector, deadline, error);
	binding_client_end(&second.winner);
	return status;
}

static int register_over(struct mapping_race_result *result, struct name_question *question,
	enum binding_mode mode, uint64_t deadline, struct error *error)
{
	struct binding_client *winner = &result->winner;
	bool stream = winner->port.kind == BORROW_STREAM;
	int status;

	if (stream && winner->answer.mode != BINDING_MODE_HOLD)
		return name_client_set_unsupported(result->mapping.reflector, error);
	if (stream)
		question->mode = mode;
	status = ask_over(&winner->port, question, result->mapping.reflector, deadline, error);
	if (!stream)
		return status;
	if (status == 0)
		winner->answer.mode = question->granted;
	else
		settle(winner, mode);
	return status;
}

int name_register_mapping(const struct mapping_race_request *request,
	struct mapping_race_result *result, const struct key *key, struct home_facts *facts,
	enum binding_mode mode, uint64_t deadline, struct name_message_record *registered,
	struct error *error)
{
	struct mapping seen = result->mapping;
	struct name_question question;
	int status;

	seen.public_addr = result->winner.answer.mapped;
	home_facts_register(facts, key, &seen, &question);
	if (result->winner.port.kind == BORROW_HANDSHAKE)
		status = register_by_number(request, result, &question, deadline, error);
	else
		status = register_over(result, &question, mode, deadline, error);
	if (status != 0)
		return status;
	*registered = question.records[0];
	facts->rivals += name_client_report_rival(&question, facts->rivals > 0);
	return 0;
}
