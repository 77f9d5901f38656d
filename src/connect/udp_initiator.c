/*
 * How a UDP port here and one at home come to have the way to each other open.
 *
 * Each reflector is asked in turn, and in a family that home is not known in, for the other one:
 *
 *   1. a Binding, from the local port (mapping_race.h): so its mapping there is known, and the port
 *      borrowed that the rest is said from.
 *   2. CONNECT, again and again, ASK_AGAIN_MS after each answer: home is told our mapping each time
 *      (invitation.h), as one of the datagrams on the way to it may be lost.
 *   3. with the first answer, checks to home's mapping, from the local port too (udp_punch.h). They
 *      go on beside 2. A mapping that is another one in a later answer is punched to anew.
 *
 * It ends with 0 when the punch is THROUGH; with the reflector's word when that is a refusal, or
 * has no UDP address of home; else when the time is up. Then one more Binding, to the reflector's
 * spare port, tells whether it is this side's NAT that makes it impossible.
 *
 * Invariants: nothing is open at the end. No more is sent to where the reflector says that home is
 * than one punch sends: a reflector that lies has us send some 40 datagrams of 72 bytes.
 */
#include "natpunch/connect/udp_initiator.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/client/name_client.h"
#include "natpunch/client/udp_punch.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"

#define ASK_AGAIN_MS 1000
#define SPARE_MS     1000 /* for the question to the spare port */

enum outcome {
	OUTCOME_NONE, /* it goes on */
	OUTCOME_THROUGH,
	OUTCOME_UNKNOWN, /* no UDP address of home there in this family */
	OUTCOME_FAILED,
};

#define RECEIVE_MAX 64 /* datagrams at once, so that a flood does not outlast the time */

/* One reflector, in one family. */
struct session {
	const struct udp_initiator_request *request;
	struct mapping_race_result reflector; /* our mapping, and the borrowed port */
	struct name_client client;            /* CONNECT */
	bool asked;                           /* it is under way, or there is an answer */
	uint64_t ask_due;                     /* the next CONNECT, or TIMER_NONE */
	struct udp_punch punch;
	struct name_message_record home; /* where that goes to */
	bool has_home;
	bool other_protocol, other_family; /* home is known there in that */
};

static enum addr_family family_of(const struct session *session)
{
	return (enum addr_family)session->reflector.mapping.public_addr.family;
}

static void ask(struct session *session, uint64_t now)
{
	struct name_question question;

	name_message_start(&question, STUN_METHOD_CONNECT, session->request->key);
	name_client_start(&session->client, &session->reflector.winner.port,
		session->reflector.mapping.reflector, &question, now);
	session->asked = true;
	session->ask_due = TIMER_NONE;
}

/* Home's UDP record in our family; or NULL, and what there is instead is noted. */
static const struct name_message_record *find_home(struct session *session)
{
	const struct name_question *question = &session->client.question;

	for (size_t i = 0; i < question->record_count; i++) {
		const struct name_message_record *record = &question->records[i];

		if (record->protocol != MAPPING_UDP)
			session->other_protocol = true;
		else if ((enum addr_family)record->addr.family != family_of(session))
			session->other_family = true;
		else
			return record;
	}
	return NULL;
}

/* Where nobody can be. Whoever has the name's key may still say anything else. */
static bool is_nowhere(const struct addr *addr)
{
	enum addr_class class = addr_classify(addr);

	return class == ADDR_CLASS_UNSPECIFIED || class == ADDR_CLASS_MULTICAST;
}

static void tell_home(const struct session *session)
{
	const char *name = session->request->key->name;
	char ours[ADDR_TEXT_SIZE];
	char text[ADDR_TEXT_SIZE];

	addr_format(&session->home.addr, text);
	addr_format(&session->reflector.mapping.public_addr, ours);
	if (session->home.held)
		log_detail("%s is at %s and is told to send to us, at %s", name, text, ours);
	else
		log_warning("%s was last heard of %" PRIu32 " s ago, at %s; trying that", name,
			session->home.age, text);
}

/* Begins to send to home, unless that is under way. Returns 0, or -1 with *error filled. */
static int follow(struct session *session, const struct name_message_record *record,
	uint64_t deadline, uint64_t now, struct error *error)
{
	const struct mapping_race_request *race = &session->request->race;
	const struct udp_punch_config config = {
		.role = UDP_CHECK_INITIATOR,
		.secret = session->request->key->secret,
		.method = race->method,
		.local = session->reflector.winner.local,
		.remote = record->addr,
		.interface = race->interface,
	};

	if (session->has_home && addr_equal(&session->home.addr, &record->addr))
		return 0;
	if (is_nowhere(&record->addr))
		return error_set(error, EXIT_STATUS_PEER, "bad answer from %s: nobody can be there",
			session->reflector.mapping.reflector);
	udp_punch_end(&session->punch);
	session->home = *record;
	session->has_home = true;
	tell_home(session);
	return udp_punch_start(&session->punch, &config, deadline, now, error);
}

/* What the reflector has said. FAILED: with *error filled. */
static enum outcome take_answer(
	struct session *session, uint64_t deadline, uint64_t now, struct error *error)
{
	const struct name_message_record *record;

	if (!session->asked || session->client.state == NAME_CLIENT_ASKING)
		return OUTCOME_NONE;
	session->asked = false;
	session->ask_due = now + ASK_AGAIN_MS;
	if (session->client.state == NAME_CLIENT_FAILED) {
		*error = session->client.error;
		return session->has_home ? OUTCOME_NONE : OUTCOME_FAILED;
	}
	record = find_home(session);
	if (record == NULL)
		return session->has_home ? OUTCOME_NONE : OUTCOME_UNKNOWN;
	return follow(session, record, deadline, now, error) == 0 ? OUTCOME_NONE : OUTCOME_FAILED;
}

static void read_answers(struct session *session, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	for (unsigned i = 0; i < RECEIVE_MAX && session->client.state == NAME_CLIENT_ASKING; i++) {
		ssize_t got = borrow_receive(&session->reflector.winner.port, bytes, sizeof(bytes));

		if (got < 0)
			return;
		name_client_take(&session->client, bytes, (size_t)got, now);
	}
}

/* Waits for the next event, and returns the time then. */
static uint64_t wait_for_event(const struct session *session, uint64_t deadline, uint64_t now)
{
	const struct udp_punch *punch = &session->punch;
	struct pollfd fds[] = {
		{.fd = session->reflector.winner.port.fd, .events = POLLIN},
		{.fd = udp_punch_fd(punch), .events = POLLIN},
	};
	uint64_t due = session->ask_due < deadline ? session->ask_due : deadline;

	if (session->asked && session->client.due < due)
		due = session->client.due;
	if (session->has_home && punch->due < due)
		due = punch->due;
	poll(fds, 2, clock_poll_ms(now, due));
	return clock_now_ms();
}

static enum outcome advance(
	struct session *session, uint64_t deadline, uint64_t now, struct error *error)
{
	enum outcome outcome;

	if (session->asked) {
		read_answers(session, now);
		name_client_expire(&session->client, now);
	}
	outcome = take_answer(session, deadline, now, error);
	if (outcome != OUTCOME_NONE)
		return outcome;
	if (now >= session->ask_due)
		ask(session, now);
	if (!session->has_home)
		return OUTCOME_NONE;
	udp_punch_advance(&session->punch, now);
	return session->punch.state == UDP_PUNCH_THROUGH || session->punch.state == UDP_PUNCH_DONE
		       ? OUTCOME_THROUGH
		       : OUTCOME_NONE;
}

static enum outcome meet(struct session *session, uint64_t deadline, struct error *error)
{
	uint64_t now = clock_now_ms();
	enum outcome outcome = OUTCOME_NONE;

	ask(session, now);
	while (outcome == OUTCOME_NONE && now < deadline) {
		now = wait_for_event(session, deadline, now);
		outcome = advance(session, deadline, now, error);
	}
	if (outcome != OUTCOME_NONE)
		return outcome;
	if (!session->has_home)
		error_set(error, EXIT_STATUS_NETWORK, "no answer from %s: the time is up",
			session->reflector.mapping.reflector);
	return OUTCOME_FAILED;
}

/* Does our NAT map the port otherwise where another destination is asked? */
static bool is_symmetric(const struct session *session)
{
	const struct addr *mapped = &session->reflector.mapping.public_addr;
	const struct addr *asked = &session->reflector.winner.request.remote;
	struct mapping_race_request race = session->request->race;
	struct host_port spare = {.port = STUN_SPARE_PORT(asked->port), .port_named = true};
	struct mapping_race_result other;
	char text[ADDR_IP_TEXT_SIZE];
	struct error ignored;
	bool differs;

	addr_format_ip(asked, text);
	memcpy(spare.host, text, sizeof(text));
	race.reflectors = &spare;
	race.reflector_count = 1;
	race.protocol = MAPPING_UDP;
	race.shared = true;
	race.must_agree = false;
	race.family = (enum addr_family)asked->family;
	race.timeout_ms = SPARE_MS;
	if (mapping_race_run(&race, &other, &ignored) != 0)
		return false;
	differs = !addr_equal(&other.mapping.public_addr, mapped);
	binding_client_end(&other.winner);
	return differs;
}

/* Home is known, and no datagram came from there, or none of ours was answered. */
static int explain(const struct session *session, struct error *error)
{
	const char *name = session->request->key->name;
	char text[ADDR_TEXT_SIZE];

	addr_format(&session->home.addr, text);
	error_set(error, EXIT_STATUS_UNREACHABLE, "no way over UDP to %s at %s: %s", name, text,
		session->punch.heard > 0 ? "it does not hear us" : "nothing comes from there");
	if (addr_equal_ip(&session->home.addr, &session->reflector.mapping.public_addr))
		return error_hint(
			error, "it is behind the same NAT: use its address in that network");
	if (is_symmetric(session))
		return error_hint(error,
			"this side's NAT is symmetric: it takes another port for each destination, "
			"which home cannot know; UDP is not relayed");
	if (!session->home.held)
		return error_hint(error, "at home: natpunch probe -k -u -r %s -n %s -K FILE",
			session->reflector.mapping.reflector, name);
	return error_hint(error,
		"home's NAT may be symmetric (there: natpunch check -u), or probe -k is older than "
		"this, or may not use raw or rewrite; UDP is not relayed");
}

static int explain_unknown(const struct session *session, struct error *error)
{
	const char *name = session->request->key->name;
	const char *reflector = session->reflector.mapping.reflector;

	if (session->other_family)
		error_set(error, EXIT_STATUS_NETWORK,
			"%s knows a UDP address of %s in the other IP family only, and there is no "
			"way to that from here",
			reflector, name);
	else
		error_set(error, EXIT_STATUS_NETWORK, "%s knows no %saddress of %s", reflector,
			session->other_protocol ? "UDP " : "", name);
	return error_hint(
		error, "at home: natpunch probe -k -u -r %s -n %s -K FILE", reflector, name);
}

/* One reflector in one family, or in either. */
static enum outcome try_reflector(const struct udp_initiator_request *request, size_t index,
	enum addr_family *family, uint64_t deadline, struct mapping *out, struct error *error)
{
	struct session session = {.request = request, .ask_due = TIMER_NONE};
	struct mapping_race_request race = request->race;
	uint64_t now = clock_now_ms();
	enum outcome outcome;

	race.reflectors += index;
	race.reflector_count = 1;
	race.protocol = MAPPING_UDP;
	race.family = *family;
	race.timeout_ms = deadline > now ? deadline - now : 1;
	if (mapping_race_run(&race, &session.reflector, error) != 0)
		return OUTCOME_FAILED;
	outcome = meet(&session, deadline, error);
	*out = session.reflector.mapping;
	out->public_addr = session.punch.remote;
	udp_punch_end(&session.punch);
	if (outcome == OUTCOME_FAILED && session.has_home)
		explain(&session, error);
	if (outcome == OUTCOME_UNKNOWN)
		explain_unknown(&session, error);
	*family = session.other_family ? (family_of(&session) == ADDR_IPV4 ? ADDR_IPV6 : ADDR_IPV4)
				       : ADDR_NONE;
	binding_client_end(&session.reflector.winner);
	return outcome;
}

int udp_initiator_run(
	const struct udp_initiator_request *request, struct mapping *out, struct error *error)
{
	uint64_t deadline = clock_now_ms() + request->timeout_ms;

	for (size_t i = 0; i < request->race.reflector_count; i++) {
		enum addr_family family = request->race.family;
		enum addr_family given = family;
		enum outcome outcome = try_reflector(request, i, &family, deadline, out, error);

		struct error other;

		if (outcome == OUTCOME_UNKNOWN && given == ADDR_NONE && family != ADDR_NONE) {
			outcome = try_reflector(request, i, &family, deadline, out, &other);
			/* Where that family leads nowhere, what was said first tells more. */
			if (outcome == OUTCOME_FAILED && other.status == EXIT_STATUS_UNREACHABLE)
				*error = other;
		}
		if (outcome == OUTCOME_THROUGH)
			return 0;
		if (error->status == EXIT_STATUS_UNREACHABLE || error->status == EXIT_STATUS_LOCAL)
			return -1;
	}
	return -1;
}
