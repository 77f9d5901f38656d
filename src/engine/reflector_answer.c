/*
 * A message is offered to those who may know it, one after the other: a forecast that only passes
 * through, a question about a name, an end of a relay, a dial-back, and at last a Binding request,
 * which answers whatever else it is with an error or nothing.
 */
#include "natpunch/reflector_answer.h"

#include <string.h>

#include "natpunch/socket.h"
#include "natpunch/stun.h"

static enum reflector_fate set_mode(
	struct reflector_connection *connection, enum binding_mode mode, uint16_t seconds)
{
	connection->mode = (uint8_t)mode;
	connection->hold_seconds = seconds;
	return mode == BINDING_MODE_CLOSE ? REFLECTOR_FATE_CLOSE : REFLECTOR_FATE_KEEP;
}

/*
 * What a traveller's question has home told. Returns whether it was. A home that does not read is
 * one that a keep-alive will find gone; nothing is queued for it.
 */
static bool send_invitation(
	struct reflector_stream *stream, const struct reflector_names_effect *effect)
{
	const struct loop_tag to = {
		.kind = stream->tag_kind,
		.slot = effect->home_slot,
		.generation = effect->home_generation,
	};
	const struct reflector_connection *home;
	bool sent;

	if (effect->invitation_size == 0)
		return false;
	if (!reflector_connection_is_there(stream, to)) {
		count_one(stream->counters, COUNTER_NOT_INVITED);
		return false;
	}
	home = reflector_connection_at(stream, to.slot);
	sent = reflector_connection_send(home, effect->invitation, effect->invitation_size);
	count_one(stream->counters, sent ? COUNTER_INVITED : COUNTER_NOT_INVITED);
	reflector_connection_tell(
		home, sent ? "invited to a traveller" : "does not read its invitation");
	return sent;
}

/*
 * Home's FORECAST goes on to the traveller as it is. Not to anybody else: only over the connection
 * that holds the name, and to one over which that name was asked for. Returns false for any other
 * message.
 */
static bool pass_forecast(
	struct reflector_stream *stream, uint32_t slot, const uint8_t *message, size_t size)
{
	const struct reflector_connection *home = reflector_connection_at(stream, slot);
	struct loop_tag to = {.kind = stream->tag_kind};
	uint64_t connection;
	uint32_t entry;

	if (stun_peek_method(message, size) != STUN_METHOD_FORECAST)
		return false;
	entry = reflector_names_hear_forecast(stream->names, message, size, &connection);
	if (entry == REGISTRY_NONE || home->name != entry + 1 || connection >> 32 == 0)
		return true;
	to.slot = (uint32_t)(connection >> 32) - 1;
	to.generation = (uint32_t)connection;
	if (reflector_connection_is_there(stream, to) &&
		reflector_connection_at(stream, to.slot)->asked == entry + 1 &&
		reflector_connection_send(reflector_connection_at(stream, to.slot), message, size))
		reflector_connection_tell(
			reflector_connection_at(stream, to.slot), "was told home's forecast");
	return true;
}

/*
 * RELAY was granted: the traveller's connection waits for home's. What it has sent behind this
 * request is lost; it was to wait.
 */
static enum reflector_fate give_traveller(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, const struct reflector_names_effect *effect, bool told, size_t used,
	size_t written, uint64_t now)
{
	const struct reflector_connection *connection = reflector_connection_at(stream, slot);
	bool sent = reflector_connection_give_away(stream, slot, used);
	struct reflector_relay_traveller traveller = {
		.fd = connection->fd,
		.peer = connection->peer,
		.answer = stream->output + used,
		.answer_size = written,
	};

	memcpy(traveller.transaction, message + 4, sizeof(traveller.transaction));
	reflector_relay_wait(stream->names->relay, effect->relay, &traveller, told && sent, now);
	return REFLECTOR_FATE_GIVEN;
}

/* A JOIN, which makes a connection home's end of a relay. Returns false for any other message. */
static bool answer_join(struct reflector_stream *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used, enum reflector_fate *fate)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);
	uint8_t *out = stream->output + *used;
	uint64_t number;
	size_t written;

	if (stream->names->relay == NULL)
		return false;
	switch (reflector_relay_hear(stream->names->relay, message, size, out,
		sizeof(stream->output) - *used, &written, &number)) {
	case REFLECTOR_RELAY_OTHER:
		return false;
	case REFLECTOR_RELAY_REFUSED:
		*used += written;
		reflector_connection_tell(connection, "is refused at a relay");
		*fate = REFLECTOR_FATE_CLOSE;
		return true;
	case REFLECTOR_RELAY_JOINED:
		*fate = REFLECTOR_FATE_CLOSE;
		if (!reflector_connection_give_away(stream, slot, *used))
			return true;
		*fate = REFLECTOR_FATE_GIVEN;
		reflector_relay_begin(stream->names->relay, number, connection->fd,
			&connection->peer, out, written, now);
		return true;
	}
	return false;
}

/* The places as seen from the one that was asked, or NULL: RFC 5780 is not served there. */
static const struct binding_places *find_places(const struct reflector_stream *stream,
	const struct reflector_connection *connection, struct binding_places *out)
{
	struct addr local;

	if (stream->places != NULL && socket_local(connection->fd, &local) == 0 &&
		reflector_places_around(
			&stream->places[local.family == ADDR_IPV6 ? 1 : 0], &local, out))
		return out;
	return NULL;
}

/* A question about a name, or one that is. Returns false for any other message. */
static bool answer_name(struct reflector_stream *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used, enum reflector_fate *fate)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);
	struct binding_server server = stream->server;
	struct binding_places places;
	const struct reflector_names_caller caller = {
		.source = &connection->peer,
		.server = &server,
		.slot = slot,
		.generation = connection->generation,
		.mode = (enum binding_mode)connection->mode,
	};
	struct reflector_names_effect effect;
	size_t written;
	bool told;

	if (stun_peek_method(message, size) == STUN_METHOD_CONNECT)
		server.places = find_places(stream, connection, &places);
	if (reflector_names_answer(stream->names, &caller, message, size, now,
		    stream->output + *used, STUN_MESSAGE_MAX, &written,
		    &effect) == REFLECTOR_NAMES_OTHER)
		return false;
	*fate = REFLECTOR_FATE_KEEP;
	told = send_invitation(stream, &effect);
	if (effect.relay != 0) {
		*fate = give_traveller(stream, slot, message, &effect, told, *used, written, now);
		return true;
	}
	*used += written;
	if (effect.entry != REGISTRY_NONE && connection->name != effect.entry + 1) {
		reflector_connection_release_name(stream, slot, now);
		connection->name = effect.entry + 1;
	}
	if (effect.asked != REGISTRY_NONE)
		connection->asked = effect.asked + 1;
	if (effect.has_mode)
		*fate = set_mode(connection, effect.mode, effect.seconds);
	return true;
}

/* Hands a DIAL request over. What it answers at once goes into the output. */
static enum reflector_fate answer_dial(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);
	struct addr local;
	struct reflector_dial_question question = {
		.asker = reflector_connection_tag(stream, slot),
		.peer = &connection->peer,
		.local = &local,
		.message = message,
		.size = size,
	};

	if (socket_local(connection->fd, &local) != 0)
		return REFLECTOR_FATE_CLOSE;
	*used += reflector_dial_ask(stream->dial, &question, stream->output + *used, now);
	if (connection->mode == BINDING_MODE_FORGET)
		connection->mode = BINDING_MODE_NONE;
	return REFLECTOR_FATE_KEEP;
}

static enum reflector_fate answer_binding(struct reflector_stream *stream,
	struct reflector_connection *connection, const uint8_t *message, size_t size, size_t *used)
{
	struct binding_server server = stream->server;
	struct binding_request granted;
	struct binding_places places;
	size_t written;

	server.places = find_places(stream, connection, &places);
	switch (binding_answer(&server, &connection->peer, message, size, stream->output + *used,
		STUN_MESSAGE_MAX, &written, &granted)) {
	case BINDING_SILENT:
		return REFLECTOR_FATE_KEEP;
	case BINDING_BROKEN:
		return REFLECTOR_FATE_CLOSE;
	case BINDING_ANSWERED:
		break;
	}
	*used += written;
	return set_mode(connection, granted.mode, granted.seconds);
}

static enum reflector_fate answer_any(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	struct reflector_connection *connection = reflector_connection_at(stream, slot);
	enum reflector_fate fate;

	if (pass_forecast(stream, slot, message, size))
		return REFLECTOR_FATE_KEEP;
	if (answer_name(stream, slot, message, size, now, used, &fate) ||
		answer_join(stream, slot, message, size, now, used, &fate))
		return fate;
	if (dialback_is_request(message, size))
		return answer_dial(stream, slot, message, size, now, used);
	return answer_binding(stream, connection, message, size, used);
}

enum reflector_fate reflector_answer_message(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	enum reflector_fate fate;
	size_t before;

	if (sizeof(stream->output) - *used < STUN_MESSAGE_MAX) {
		if (!reflector_connection_send(
			    reflector_connection_at(stream, slot), stream->output, *used))
			return REFLECTOR_FATE_CLOSE;
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
