/*
 * How a name stays registered.
 *
 * States:
 *   NONE      no connection is held (`over` is NULL), or there is no key, or the reflector keeps no
 *             names, or the method holds no connection.
 *   ASKING    a REGISTER was sent over the held connection (`asking`).
 *   WAITING   until `due`: registered, or refused.
 *
 * Events:
 *   a mapping is held, or has changed         NONE, WAITING, ASKING -> ASKING
 *   the key has changed                       WAITING, ASKING -> ASKING
 *   the facts (home_facts.h) have news        WAITING, when it is registered -> ASKING
 *   success                                   ASKING -> WAITING; invitations count from 1 again.
 *                                             The first registration that sees another home of that
 *                                             name warns of it, once until that home is gone
 *   refused, no answer                        ASKING -> WAITING, with one warning until a success
 *   the held connection is gone               any -> NONE
 *   an invitation                             taken if it is genuine, new, and of the session that
 *                                             was registered last
 *
 * Timers, all in `due`:
 *   ASKING    REGISTRATION_ANSWER_MS until it is given up; over UDP name_client.h sends again.
 *   WAITING   REGISTRATION_REFRESH_MS, as a reflector may have lost its records;
 *             REGISTRATION_RETRY_MS after a refusal.
 *
 * Invariant: nothing is sent or taken except over a held connection.
 */
#include "home/registration.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"

/*
 * Said when the reflector refuses the key. The mapping is kept all the same: the key may have been
 * good before.
 */
#define NEW_KEY                                                                                    \
	"the same line must stand in the reflector's key file; where the key was changed, put "    \
	"the new line into the key file here and send SIGHUP"

void registration_init(
	struct registration *registration, const struct key *key, struct home_facts *facts)
{
	memset(registration, 0, sizeof(*registration));
	registration->key = key;
	registration->facts = facts;
	registration->due = TIMER_NONE;
}

void registration_part(struct registration *registration)
{
	if (registration->rival)
		registration->facts->rivals--;
	registration->rival = false;
}

/* Warns once until the next success: a refusal will be the same a minute later. */
static void warn(struct registration *registration, const char *problem, const char *hint)
{
	if (registration->warned)
		log_detail("%s", problem);
	else
		log_warning("%s is not registered%s%s: %s%s%s", registration->key->name,
			registration->beside ? " at " : "",
			registration->beside ? registration->mapping.reflector : "", problem,
			hint[0] != '\0' ? "; " : "", hint);
	registration->warned = true;
}

void registration_miss(
	struct registration *registration, const char *reflector, const char *problem)
{
	snprintf(registration->mapping.reflector, sizeof(registration->mapping.reflector), "%s",
		reflector);
	warn(registration, problem, "");
}

static void put_off(struct registration *registration, uint64_t now)
{
	registration->asking = registration->registered = false;
	registration->due = now + REGISTRATION_RETRY_MS;
}

static void note_rival(struct registration *registration)
{
	unsigned *rivals = &registration->facts->rivals;
	bool rival = name_client_report_rival(&registration->client.question, *rivals > 0);

	registration_part(registration);
	*rivals += rival;
	registration->rival = rival;
}

static void take_state(struct registration *registration, uint64_t now)
{
	const struct name_client *client = &registration->client;
	char text[ADDR_TEXT_SIZE];

	switch (client->state) {
	case NAME_CLIENT_ASKING:
		return;
	case NAME_CLIENT_FAILED:
		warn(registration, client->error.text,
			client->refused ? NEW_KEY : client->error.hint);
		put_off(registration, now);
		return;
	case NAME_CLIENT_DONE:
		addr_format(&client->question.records[0].addr, text);
		if (registration->warned)
			log_note("%s is registered as %s, at %s", registration->key->name, text,
				registration->mapping.reflector);
		else
			log_detail("%s is registered as %s, at %s", registration->key->name, text,
				registration->mapping.reflector);
		note_rival(registration);
		registration->warned = false;
		registration->asking = false;
		registration->registered = true;
		memcpy(registration->expected.session, client->question.transaction + 4,
			sizeof(registration->expected.session));
		registration->expected.number = 0;
		registration->expected.protocol = registration->mapping.protocol;
		registration->due = now + REGISTRATION_REFRESH_MS;
		return;
	}
}

static void send_registration(struct registration *registration, uint64_t now)
{
	struct binding_client *over = registration->over;
	bool stream = over->port.kind == BORROW_STREAM;
	struct name_question question;

	home_facts_register(
		registration->facts, registration->key, &registration->mapping, &question);
	question.registration.seconds = stream ? 0 : REGISTRATION_PROMISE_UDP_S;
	registration->asking = true;
	registration->due = now + REGISTRATION_ANSWER_MS;
	binding_client_hold(over, now);
	name_client_start(&registration->client, &over->port, registration->mapping.reflector,
		&question, now);
	take_state(registration, now);
}

void registration_start(struct registration *registration, struct binding_client *over,
	const struct mapping *mapping, uint64_t now)
{
	if (registration->key == NULL)
		return;
	registration_stop(registration);
	registration->over = over;
	registration->mapping = *mapping;
	if (over->port.kind == BORROW_HANDSHAKE) {
		warn(registration, "method raw holds no connection to say it over", "");
		return;
	}
	if (over->port.kind == BORROW_STREAM && over->answer.mode != BINDING_MODE_HOLD) {
		struct error error;

		/* The text names the reflector, as there may be several. */
		error_set(&error, EXIT_STATUS_NETWORK, "%s keeps no names", mapping->reflector);
		warn(registration, error.text, "");
		return;
	}
	send_registration(registration, now);
}

void registration_renew(struct registration *registration, uint64_t now)
{
	struct mapping mapping = registration->mapping;

	registration->warned = false;
	if (registration->over != NULL)
		registration_start(registration, registration->over, &mapping, now);
}

void registration_stop(struct registration *registration)
{
	registration->over = NULL;
	registration->asking = registration->registered = false;
	registration->due = TIMER_NONE;
}

void registration_take_response(
	struct registration *registration, const void *data, size_t size, uint64_t now)
{
	if (!registration->asking)
		return;
	name_client_take(&registration->client, data, size, now);
	take_state(registration, now);
}

bool registration_take_invitation(
	struct registration *registration, const void *data, size_t size, struct invitation *out)
{
	if (registration->key == NULL || registration->over == NULL)
		return false;
	switch (invitation_read(&registration->expected, registration->key->secret, data, size)) {
	case 0:
		*out = registration->expected;
		return true;
	case 1:
		return false;
	default:
		log_detail("a false invitation came and was passed over");
		return false;
	}
}

void registration_predict(const struct registration *registration,
	const struct invitation_asker *asker, const struct port_prediction *prediction)
{
	uint8_t bytes[INVITATION_SIZE_MAX];
	uint8_t random[12];
	size_t size;

	if (registration->key == NULL || registration->over == NULL ||
		registration->over->port.kind != BORROW_STREAM)
		return;
	random_fill(random, sizeof(random));
	size = invitation_write_prediction(
		asker, prediction, registration->key, random, bytes, sizeof(bytes));
	if (send(registration->over->port.fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		log_detail("the reflector does not take our prediction");
}

bool registration_wants_look(const struct registration *registration)
{
	const struct mapping *mapping = &registration->mapping;

	return registration->registered && registration->over->port.kind == BORROW_STREAM &&
	       mapping->public_addr.port != mapping->local.port;
}

static bool has_news(const struct registration *registration)
{
	return registration->registered && !registration->asking &&
	       home_facts_are_news(
		       registration->facts, &registration->mapping, &registration->client.question);
}

/* While asking over UDP, the request is sent again before the answer is given up. */
uint64_t registration_next(const struct registration *registration)
{
	if (registration->asking && registration->client.due < registration->due)
		return registration->client.due;
	return has_news(registration) ? 0 : registration->due;
}

void registration_expire(struct registration *registration, uint64_t now)
{
	if (registration->asking)
		name_client_expire(&registration->client, now);
	if (registration->over == NULL || (now < registration->due && !has_news(registration)))
		return;
	if (!registration->asking) {
		send_registration(registration, now);
		return;
	}
	warn(registration, "no answer", "");
	put_off(registration, now);
}
