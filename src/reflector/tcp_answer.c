/*
 * Each kind of message is tried in turn: a prediction that is passed on, a request about a name, an
 * end of a relay, a dial-back, and last a Binding request, whose module answers anything else with
 * an error or nothing.
 */
#include "reflector/tcp_answer.h"

#include <string.h>

#include "natpunch/os/socket.h"
#include "natpunch/proto/stun.h"

static enum tcp_fate set_mode(
	struct tcp_connection *connection, enum binding_mode mode, uint16_t seconds)
{
	connection->mode = (uint8_t)mode;
	connection->hold_seconds = seconds;
	return mode == BINDING_MODE_CLOSE ? TCP_FATE_CLOSE : TCP_FATE_KEEP;
}

/*
 * Sends home the invitation for an initiator. Returns whether it went out. Nothing is queued: if
 * home does not read, its missing keep-alives will end the connection.
 */
static bool send_invitation(struct tcp_server *tcp, const struct names_effect *effect)
{
	const struct loop_tag to = {
		.kind = tcp->tag_kind,
		.slot = effect->home_slot,
		.generation = effect->home_generation,
	};
	const struct tcp_connection *home;
	bool sent;

	if (effect->invitation_size == 0)
		return false;
	if (!tcp_connection_is_there(tcp, to)) {
		count_one(tcp->counters, COUNTER_NOT_INVITED);
		return false;
	}
	home = tcp_connection_at(tcp, to.slot);
	sent = tcp_connection_send(home, effect->invitation, effect->invitation_size);
	count_one(tcp->counters, sent ? COUNTER_INVITED : COUNTER_NOT_INVITED);
	tcp_connection_log(home, sent ? "invited to an initiator" : "does not read its invitation");
	return sent;
}

/*
 * Passes home's PREDICTION on to the initiator, unchanged: only from the connection that holds the
 * name, and only to a connection over which a CONNECT asked for that name. Returns false for
 * any other message.
 */
static bool pass_prediction(
	struct tcp_server *tcp, uint32_t slot, const uint8_t *message, size_t size)
{
	const struct tcp_connection *home = tcp_connection_at(tcp, slot);
	struct loop_tag to = {.kind = tcp->tag_kind};
	uint64_t connection;
	uint32_t entry;

	if (stun_peek_method(message, size) != STUN_METHOD_PREDICTION)
		return false;
	entry = names_read_prediction(tcp->names, message, size, &connection);
	if (entry == REGISTRY_NONE || home->name != entry + 1 || connection >> 32 == 0)
		return true;
	to.slot = (uint32_t)(connection >> 32) - 1;
	to.generation = (uint32_t)connection;
	if (tcp_connection_is_there(tcp, to) &&
		tcp_connection_at(tcp, to.slot)->asked == entry + 1 &&
		tcp_connection_send(tcp_connection_at(tcp, to.slot), message, size))
		tcp_connection_log(tcp_connection_at(tcp, to.slot), "was told home's prediction");
	return true;
}

/*
 * RELAY was granted: the initiator's connection waits for home's. Bytes behind the request are
 * lost; the initiator must not send any before the answer.
 */
static enum tcp_fate give_initiator(struct tcp_server *tcp, uint32_t slot, const uint8_t *message,
	const struct names_effect *effect, bool told, size_t used, size_t written, uint64_t now)
{
	const struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	bool sent = tcp_connection_give_away(tcp, slot, used);
	struct relay_initiator initiator = {
		.fd = connection->fd,
		.peer = connection->peer,
		.answer = tcp->output + used,
		.answer_size = written,
	};

	memcpy(initiator.transaction, message + 4, sizeof(initiator.transaction));
	relay_wait(tcp->names->relay, effect->relay, &initiator, told && sent, now);
	return TCP_FATE_GIVEN;
}

/* A JOIN, which makes a connection home's end of a relay. Returns false for any other message. */
static bool answer_join(struct tcp_server *tcp, uint32_t slot, const uint8_t *message, size_t size,
	uint64_t now, size_t *used, enum tcp_fate *fate)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	uint8_t *out = tcp->output + *used;
	uint64_t number;
	size_t written;

	if (tcp->names->relay == NULL)
		return false;
	switch (relay_answer_join(tcp->names->relay, message, size, out,
		sizeof(tcp->output) - *used, &written, &number)) {
	case RELAY_VERDICT_OTHER:
		return false;
	case RELAY_VERDICT_REFUSED:
		*used += written;
		tcp_connection_log(connection, "is refused at a relay");
		*fate = TCP_FATE_CLOSE;
		return true;
	case RELAY_VERDICT_JOINED:
		*fate = TCP_FATE_CLOSE;
		if (!tcp_connection_give_away(tcp, slot, *used))
			return true;
		*fate = TCP_FATE_GIVEN;
		relay_begin(tcp->names->relay, number, connection->fd, &connection->peer, out,
			written, now);
		return true;
	}
	return false;
}

/* The modes that this connection may get: CLOSE instead of FORGET if its source had too many. */
static struct binding_server find_server(
	struct tcp_server *tcp, const struct tcp_connection *connection, uint64_t now)
{
	struct binding_server server = tcp->server;

	if (server.can_forget && tcp->forgets != NULL)
		server.can_forget = forget_limit_admits(tcp->forgets, &connection->peer, now);
	return server;
}

/* Notes what was granted. */
static enum tcp_fate grant_mode(struct tcp_server *tcp, struct tcp_connection *connection,
	enum binding_mode mode, uint16_t seconds, uint64_t now)
{
	if (mode == BINDING_MODE_FORGET && tcp->forgets != NULL)
		forget_limit_charge(tcp->forgets, &connection->peer, now);
	return set_mode(connection, mode, seconds);
}

/* The four addresses as seen from the one that was asked, or NULL: RFC 5780 is not served there. */
static const struct binding_places *find_alternates(const struct tcp_server *tcp,
	const struct tcp_connection *connection, struct binding_places *out)
{
	struct addr local;

	if (tcp->alternates != NULL && socket_local(connection->fd, &local) == 0 &&
		alternate_around(&tcp->alternates[local.family == ADDR_IPV6 ? 1 : 0], &local, out))
		return out;
	return NULL;
}

/* A request about a name. Returns false for any other message. */
static bool answer_name(struct tcp_server *tcp, uint32_t slot, const uint8_t *message, size_t size,
	uint64_t now, size_t *used, enum tcp_fate *fate)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	struct binding_server server = find_server(tcp, connection, now);
	struct binding_places alternates;
	const struct names_caller caller = {
		.source = &connection->peer,
		.server = &server,
		.slot = slot,
		.generation = connection->generation,
		.mode = (enum binding_mode)connection->mode,
	};
	struct names_effect effect;
	size_t written;
	bool told;

	if (stun_peek_method(message, size) == STUN_METHOD_CONNECT)
		server.places = find_alternates(tcp, connection, &alternates);
	if (names_answer(tcp->names, &caller, message, size, now, tcp->output + *used,
		    STUN_MESSAGE_MAX, &written, &effect) == NAMES_OTHER)
		return false;
	*fate = TCP_FATE_KEEP;
	told = send_invitation(tcp, &effect);
	if (effect.relay != 0) {
		*fate = give_initiator(tcp, slot, message, &effect, told, *used, written, now);
		return true;
	}
	*used += written;
	if (effect.entry != REGISTRY_NONE && connection->name != effect.entry + 1) {
		tcp_connection_release_name(tcp, slot, now);
		connection->name = effect.entry + 1;
	}
	if (effect.asked != REGISTRY_NONE)
		connection->asked = effect.asked + 1;
	if (effect.has_mode)
		*fate = grant_mode(tcp, connection, effect.mode, effect.seconds, now);
	return true;
}

/* Hands a DIAL request to the dialler. An immediate answer goes into the output. */
static enum tcp_fate answer_dial(struct tcp_server *tcp, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	struct addr local;
	struct dialler_question question = {
		.asker = tcp_connection_tag(tcp, slot),
		.peer = &connection->peer,
		.local = &local,
		.message = message,
		.size = size,
	};

	if (socket_local(connection->fd, &local) != 0)
		return TCP_FATE_CLOSE;
	*used += dialler_answer(tcp->dialler, &question, tcp->output + *used, now);
	if (connection->mode == BINDING_MODE_FORGET)
		connection->mode = BINDING_MODE_NONE;
	return TCP_FATE_KEEP;
}

static enum tcp_fate answer_binding(struct tcp_server *tcp, struct tcp_connection *connection,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	struct binding_server server = find_server(tcp, connection, now);
	struct binding_request granted;
	struct binding_places alternates;
	size_t written;

	server.places = find_alternates(tcp, connection, &alternates);
	switch (binding_write_answer(&server, &connection->peer, message, size, tcp->output + *used,
		STUN_MESSAGE_MAX, &written, &granted)) {
	case BINDING_SILENT:
		return TCP_FATE_KEEP;
	case BINDING_BROKEN:
		return TCP_FATE_CLOSE;
	case BINDING_ANSWERED:
		break;
	}
	*used += written;
	return grant_mode(tcp, connection, granted.mode, granted.seconds, now);
}

static enum tcp_fate answer_any(struct tcp_server *tcp, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	enum tcp_fate fate;

	if (pass_prediction(tcp, slot, message, size))
		return TCP_FATE_KEEP;
	if (answer_name(tcp, slot, message, size, now, used, &fate) ||
		answer_join(tcp, slot, message, size, now, used, &fate))
		return fate;
	if (dialback_is_request(message, size))
		return answer_dial(tcp, slot, message, size, now, used);
	return answer_binding(tcp, connection, message, size, now, used);
}

enum tcp_fate tcp_answer_message(struct tcp_server *tcp, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used)
{
	enum tcp_fate fate;
	size_t before;

	if (sizeof(tcp->output) - *used < STUN_MESSAGE_MAX) {
		if (!tcp_connection_send(tcp_connection_at(tcp, slot), tcp->output, *used))
			return TCP_FATE_CLOSE;
		*used = 0;
	}
	before = *used;
	tcp->asked++;
	count_request(tcp->counters, COUNTER_TCP_REQUESTS, message, size);
	fate = answer_any(tcp, slot, message, size, now, used);
	if (*used > before)
		count_answer(
			tcp->counters, COUNTER_TCP_ANSWERS, tcp->output + before, *used - before);
	return fate;
}
