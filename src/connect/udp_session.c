#include "connect/udp_session.h"

#include <string.h>

#include "natpunch/base/timer_heap.h"

#define ASK_AGAIN_MS 1000

enum addr_family udp_session_family(const struct udp_session *session)
{
	return (enum addr_family)session->reflector.mapping.public_addr.family;
}

bool udp_session_is_open(const struct udp_session *session)
{
	return session->state == UDP_SESSION_ASKING || session->state == UDP_SESSION_KNOWN;
}

static void ask(struct udp_session *session, uint64_t now)
{
	struct name_question question;

	name_message_start(&question, STUN_METHOD_CONNECT, session->key);
	name_client_start(&session->client, &session->reflector.winner.port,
		session->reflector.mapping.reflector, &question, now);
	session->asked = true;
	session->ask_due = TIMER_NONE;
}

void udp_session_start(struct udp_session *session, const struct mapping_race_result *result,
	const struct key *key, uint64_t now)
{
	memset(session, 0, sizeof(*session));
	session->state = UDP_SESSION_ASKING;
	session->reflector = *result;
	session->key = key;
	session->begun = now;
	ask(session, now);
}

int udp_session_fd(const struct udp_session *session)
{
	return udp_session_is_open(session) ? session->reflector.winner.port.fd : -1;
}

uint64_t udp_session_due(const struct udp_session *session)
{
	if (!udp_session_is_open(session))
		return TIMER_NONE;
	return session->asked ? session->client.due : session->ask_due;
}

/* Returns home's UDP record in our family; or NULL, and notes what there is instead. */
static const struct name_message_record *find_home(struct udp_session *session)
{
	const struct name_question *question = &session->client.question;

	for (size_t i = 0; i < question->record_count; i++) {
		const struct name_message_record *record = &question->records[i];

		if (record->protocol != MAPPING_UDP)
			session->other_protocol = true;
		else if ((enum addr_family)record->addr.family != udp_session_family(session))
			session->other_family = true;
		else
			return record;
	}
	return NULL;
}

/* No host has such an address. A machine with the name's key may register any other one. */
static bool is_nowhere(const struct addr *addr)
{
	enum addr_class class = addr_classify(addr);

	return class == ADDR_CLASS_UNSPECIFIED || class == ADDR_CLASS_MULTICAST;
}

static void take_home(
	struct udp_session *session, const struct name_message_record *record, uint64_t now)
{
	if (is_nowhere(&record->addr)) {
		error_set(&session->error, EXIT_STATUS_PEER,
			"bad answer from %s: nobody can be there",
			session->reflector.mapping.reflector);
		session->state = UDP_SESSION_FAILED;
		return;
	}
	if (session->state != UDP_SESSION_KNOWN)
		session->known_at = now;
	session->state = UDP_SESSION_KNOWN;
	session->home = *record;
}

static void take_answer(struct udp_session *session, uint64_t now)
{
	const struct name_message_record *record;

	if (!session->asked || session->client.state == NAME_CLIENT_ASKING)
		return;
	session->asked = false;
	session->ask_due = now + ASK_AGAIN_MS;
	if (session->client.state == NAME_CLIENT_FAILED) {
		if (session->state == UDP_SESSION_KNOWN)
			return;
		session->error = session->client.error;
		session->state = UDP_SESSION_FAILED;
		return;
	}
	record = find_home(session);
	if (record != NULL)
		take_home(session, record, now);
	else if (session->state != UDP_SESSION_KNOWN)
		session->state = UDP_SESSION_UNKNOWN;
}

static void read_answers(struct udp_session *session, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];

	for (unsigned i = 0;
		i < UDP_SESSION_RECEIVE_MAX && session->client.state == NAME_CLIENT_ASKING; i++) {
		ssize_t got = borrow_receive(&session->reflector.winner.port, bytes, sizeof(bytes));

		if (got < 0)
			return;
		name_client_take(&session->client, bytes, (size_t)got, now);
	}
}

void udp_session_advance(struct udp_session *session, uint64_t now)
{
	if (!udp_session_is_open(session))
		return;
	if (session->asked) {
		read_answers(session, now);
		name_client_expire(&session->client, now);
	}
	take_answer(session, now);
	if (udp_session_is_open(session) && now >= session->ask_due)
		ask(session, now);
}

void udp_session_end(struct udp_session *session)
{
	if (session->state == UDP_SESSION_NONE)
		return;
	binding_client_end(&session->reflector.winner);
	session->state = UDP_SESSION_NONE;
}
