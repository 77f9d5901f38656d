/*
 * A message is offered to those who may know it, one after the other: a forecast that only passes
 * through, a question about a name, an end of a relay, a dial-back, and at last a Binding request,
 * which answers whatever else it is with an error or nothing.
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
 * What a traveller's question has home told. Returns whether it was. A home that does not read is
 * one that a keep-alive will find gone; nothing is queued for it.
 */
static bool send_invitation(
	struct tcp_server *stream, const struct names_effect *effect)
{
	const struct loop_tag to = {
		.kind = stream->tag_kind,
		.slot = effect->home_slot,
		.generation = effect->home_generation,
	};
	const struct tcp_connection *home;
	bool sent;

	if (effect->invitation_size == 0)
		return false;
	if (!tcp_connection_is_there(stream, to)) {
		count_one(stream->counters, COUNTER_NOT_INVITED);
		return false;
	}
	home = tcp_connection_at(stream, to.slot);
	sent = tcp_connection_send(home, effect->invitation, effect->invitation_size);
	count_one(stream->counters, sent ? COUNTER_INVITED : COUNTER_NOT_INVITED);
	tcp_connection_tell(
		home, sent ? "invited to a traveller" : "does not read its invitation");
	return sent;
}

/*
 * Home's FORECAST goes on to the traveller as it is. Not to anybody else: only over the connection
 * that holds the name, and to one over which that name was asked for. Returns false for any other
 * message.
 */
static bool pass_forecast(
	struct tcp_server *stream, uint32_t slot, const uint8_t *message, size_t size)
{
	const struct tcp_connection *home = tcp_connection_at(stream, slot);
	struct loop_tag to = {.kind = stream->tag_kind};
	uint64_t connection;
	uint32_t entry;

	if (stun_peek_method(message, size) != STUN_METHOD_FORECAST)
		return false;
	entry = names_hear_prediction(stream->names, message, size, &connection);
	if (entry == REGISTRY_NONE || home->name != entry + 1 || connection >> 32 == 0)
		return true;
	to.slot = (uint32_t)(connection >> 32) - 1;
	to.generation = (uint32_t)connection;
	if (tcp_connection_is_there(stream, to) &&
		tcp_connection_at(stream, to.slot)->asked == entry + 1 &&
		tcp_connection_send(tcp_connection_at(stream, to.slot), message, size))
		tcp_connection_tell(
			tcp_connection_at(stream, to.slot), "was told home's forecast");
	return true;
}

/*
 * RELAY was granted: the traveller's connection waits for home's. What it has sent behind this
 * request is lost; it was to wait.
 */
static enum tcp_fate give_traveller(struct tcp_server *stream, uint32_t slot,
	const uint8_t *message, const struct names_effect *effect, bool told, size_t used,
	size_t written, uint64_t now)
{
	const struct tcp_connection *connection = tcp_connection_at(stream, slot);
	bool sent = tcp_connection_give_away(stream, slot, used);
	struct relay_initiator traveller = {
		.fd = connection->fd,
		.peer = connection->peer,
		.answer = stream->output + used,
		.answer_size = written,
	};

	memcpy(traveller.transaction, message + 4, sizeof(traveller.transaction));
	relay_wait(stream->names->relay, effect->relay, &traveller, told && sent, now);
	return TCP_FATE_GIVEN;
}

/* A JOIN, which makes a connection home's end of a relay. Returns false for any other message. */
static bool answer_join(struct tcp_server *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used, enum tcp_fate *fate)
{
	struct tcp_connection *connection = tcp_connection_at(stream, slot);
	uint8_t *out = stream->output + *used;
	uint64_t number;
	size_t written;

	if (stream->names->relay == NULL)
		return false;
	switch (relay_hear(stream->names->relay, message, size, out,
		sizeof(stream->output) - *used, &written, &number)) {
	case RELAY_VERDICT_OTHER:
		return false;
	case RELAY_VERDICT_REFUSED:
		*used += written;
		tcp_connection_tell(connection, "is refused at a relay");
		*fate = TCP_FATE_CLOSE;
		return true;
	case RELAY_VERDICT_JOINED:
		*fate = TCP_FATE_CLOSE;
		if (!tcp_connection_give_away(stream, slot, *used))
			return true;
		*fate = TCP_FATE_GIVEN;
		relay_begin(stream->names->relay, number, connection->fd,
			&connection->peer, out, written, now);
		return true;
	}
	return false;
}

/* The places as seen from the one that was asked, or NULL: RFC 5780 is not served there. */
static const struct binding_places *find_places(const struct tcp_server *stream,
	const struct tcp_connection *connection, struct binding_places *out)
{
	struct addr local;

	if (stream->places != NULL && socket_local(connection->fd, &local) == 0 &&
		alternate_around(
			&stream->places[local.family == ADDR_IPV6 ? 1 : 0], &local, out))
		return out;
	return NULL;
}

/* A question about a name, or one that is. Returns false for any other message. */
static bool answer_name(struct tcp_server *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used, enum tcp_fate *fate)
{
	struct tcp_connection *connection = tcp_connection_at(stream, slot);
	struct binding_server server = stream->server;
	struct binding_places places;
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
		server.places = find_places(stream, connection, &places);
	if (names_answer(stream->names, &caller, message, size, now,
		    stream->output + *used, STUN_MESSAGE_MAX, &written,
		    &effect) == NAMES_OTHER)
		return false;
	*fate = TCP_FATE_KEEP;
	told = send_invitation(stream, &effect);
	if (effect.relay != 0) {
		*fate = give_traveller(stream, slot, message, &effect, told, *used, written, now);
		return true;
	}
	*used += written;
	if (effect.entry != REGISTRY_NONE && connection->name != effect.entry + 1) {
		tcp_connection_release_name(stream, slot, now);
		connection->name = effect.entry + 1;
	}
	if (effect.asked != REGISTRY_NONE)
		connection->asked = effect.asked + 1;
	if (effect.has_mode)
		*fate = set_mode(connection, effect.mode, effect.seconds);
	return true;
}

/* Hands a DIAL request over. What it answers at once goes into the output. */
static enum tcp_fate answer_dial(struct tcp_server *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	struct tcp_connection *connection = tcp_connection_at(stream, slot);
	struct addr local;
	struct dialler_question question = {
		.asker = tcp_connection_tag(stream, slot),
		.peer = &connection->peer,
		.local = &local,
		.message = message,
		.size = size,
	};

	if (socket_local(connection->fd, &local) != 0)
		return TCP_FATE_CLOSE;
	*used += dialler_ask(stream->dial, &question, stream->output + *used, now);
	if (connection->mode == BINDING_MODE_FORGET)
		connection->mode = BINDING_MODE_NONE;
	return TCP_FATE_KEEP;
}

static enum tcp_fate answer_binding(struct tcp_server *stream,
	struct tcp_connection *connection, const uint8_t *message, size_t size, size_t *used)
{
	struct binding_server server = stream->server;
	struct binding_request granted;
	struct binding_places places;
	size_t written;

	server.places = find_places(stream, connection, &places);
	switch (binding_answer(&server, &connection->peer, message, size, stream->output + *used,
		STUN_MESSAGE_MAX, &written, &granted)) {
	case BINDING_SILENT:
		return TCP_FATE_KEEP;
	case BINDING_BROKEN:
		return TCP_FATE_CLOSE;
	case BINDING_ANSWERED:
		break;
	}
	*used += written;
	return set_mode(connection, granted.mode, granted.seconds);
}

static enum tcp_fate answer_any(struct tcp_server *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	struct tcp_connection *connection = tcp_connection_at(stream, slot);
	enum tcp_fate fate;

	if (pass_forecast(stream, slot, message, size))
		return TCP_FATE_KEEP;
	if (answer_name(stream, slot, message, size, now, used, &fate) ||
		answer_join(stream, slot, message, size, now, used, &fate))
		return fate;
	if (dialback_is_request(message, size))
		return answer_dial(stream, slot, message, size, now, used);
	return answer_binding(stream, connection, message, size, used);
}

enum tcp_fate tcp_answer_message(struct tcp_server *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	enum tcp_fate fate;
	size_t before;

	if (sizeof(stream->output) - *used < STUN_MESSAGE_MAX) {
		if (!tcp_connection_send(
			    tcp_connection_at(stream, slot), stream->output, *used))
			return TCP_FATE_CLOSE;
		*used = 0;
	}
	before = *used;
	stream->asked++;
	count_request(stream->counters, COUNTER_TCP_REQUESTS, message, size);
	fate = answer_any(stream, slot, message, size, now, used);
	if (*used > before)
		count_answer(stream->counters, COUNTER_TCP_ANSWERS, stream->output + before,
			*used - before);
	return fate;
}
