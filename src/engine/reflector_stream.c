/*
 * A connection is read once per event into memory that all share; only what is left of a request
 * that has begun is kept in its slot. The functions that talk return a fate; it is carried out in
 * one place, end_connection(), so that none goes on with a slot that is gone.
 */
#include "natpunch/reflector_stream.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/greeting.h"
#include "natpunch/log.h"
#include "natpunch/socket.h"
#include "natpunch/socket_linux.h"
#include "natpunch/stun.h"

#define HEADERS_MAX    8192 /* bytes of HTTP headers after which the answer does not wait */
#define HOLD_INTERVALS 3
#define NOTHING_READ   UINT32_MAX

enum fate {
	FATE_KEEP,
	FATE_CLOSE,
	FATE_FORGET,
	FATE_GIVEN,  /* the descriptor belongs to a relay now */
	FATE_HANDED, /* or to another thread, which goes on with it */
};

int reflector_stream_open(struct reflector_stream *stream, struct loop *loop, uint8_t tag_kind,
	uint32_t connections, const struct reflector_times *times, struct reflector_names *names)
{
	stream->times = *times;
	stream->names = names;
	stream->loop = loop;
	stream->tag_kind = tag_kind;
	stream->server = (struct binding_server){
		.software = "natpunch " NATPUNCH_VERSION,
		.can_forget = socket_can_forget(),
		.stream = true,
	};
	return reflector_table_open(&stream->table, connections);
}

void reflector_stream_close(struct reflector_stream *stream)
{
	reflector_table_close(&stream->table);
}

static void tell(const struct reflector_connection *connection, const char *what)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("tcp %s %s", addr_format(&connection->peer, text), what);
}

static struct reflector_connection *at_slot(struct reflector_stream *stream, uint32_t slot)
{
	return &stream->table.connections[slot];
}

static bool is_there(struct reflector_stream *stream, struct loop_tag tag)
{
	return tag.slot < stream->table.fresh && at_slot(stream, tag.slot)->fd >= 0 &&
	       at_slot(stream, tag.slot)->generation == tag.generation;
}

static struct loop_tag tag_of(struct reflector_stream *stream, uint32_t slot)
{
	return (struct loop_tag){
		.kind = stream->tag_kind,
		.slot = slot,
		.generation = at_slot(stream, slot)->generation,
	};
}

static void set_deadline(struct reflector_stream *stream, uint32_t slot, uint64_t due)
{
	deadline_set(&stream->table.deadlines, slot, due);
}

/* The name that was registered over this connection, if any, is not held by it any more. */
static void release_name(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	if (connection->name != 0)
		reflector_names_release(
			stream->names, connection->name - 1, slot, connection->generation, now);
	connection->name = 0;
}

static enum counter why_ended(const struct reflector_connection *connection, enum fate fate)
{
	if (connection->ending != 0)
		return (enum counter)(COUNTER_ENDED_DONE + connection->ending);
	if (fate == FATE_FORGET)
		return COUNTER_ENDED_FORGOTTEN;
	return fate == FATE_GIVEN ? COUNTER_ENDED_RELAYED : COUNTER_ENDED_DONE;
}

/* Notes why it will be over, for the counters and the log. */
static void note_end(struct reflector_connection *connection, enum counter why, const char *what)
{
	connection->ending = (uint8_t)(why - COUNTER_ENDED_DONE);
	tell(connection, what);
}

static void end_connection(
	struct reflector_stream *stream, uint32_t slot, enum fate fate, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	if (fate != FATE_HANDED)
		count_one(stream->counters, why_ended(connection, fate));
	release_name(stream, slot, now);
	if (fate != FATE_GIVEN && fate != FATE_HANDED &&
		(fate != FATE_FORGET || !socket_forget(connection->fd)))
		close(connection->fd);
	reflector_table_release(&stream->table, slot);
}

static bool send_flagged(
	const struct reflector_connection *connection, const void *data, size_t size, int flags)
{
	return size == 0 || send(connection->fd, data, size, MSG_NOSIGNAL | flags) == (ssize_t)size;
}

static bool send_all(const struct reflector_connection *connection, const void *data, size_t size)
{
	return send_flagged(connection, data, size, 0);
}

/*
 * For the last bytes: leaves them with the kernel, which sends them in one segment with the FIN.
 * Only where close() or shutdown() is what comes next.
 */
static bool send_last(const struct reflector_connection *connection, const void *data, size_t size)
{
	return send_flagged(connection, data, size, MSG_MORE);
}

static bool send_line(
	struct reflector_stream *stream, const struct reflector_connection *connection)
{
	char line[GREETING_LINE_SIZE];
	bool sent = send_last(connection, line, greeting_write_line(&connection->peer, line));

	count_one(stream->counters, COUNTER_LINE_REQUESTS);
	count_many(stream->counters, COUNTER_LINE_ANSWERS, sent ? 1 : 0);
	return sent;
}

static bool send_http(
	struct reflector_stream *stream, const struct reflector_connection *connection)
{
	char answer[GREETING_HTTP_SIZE];
	size_t size = greeting_write_http(&connection->peer, connection->head_only, answer);
	bool sent = send_last(connection, answer, size);

	count_one(stream->counters, COUNTER_HTTP_REQUESTS);
	count_many(stream->counters, COUNTER_HTTP_ANSWERS, sent ? 1 : 0);
	return sent;
}

/* Half closes: the client's last bytes are still read, so that no RST destroys the answer. */
static enum fate linger(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	if (shutdown(connection->fd, SHUT_WR) != 0)
		return FATE_CLOSE;
	connection->phase = REFLECTOR_LINGERING;
	connection->partial_size = 0;
	set_deadline(stream, slot, now + stream->times.linger);
	return FATE_KEEP;
}

static enum fate read_headers(
	struct reflector_stream *stream, uint32_t slot, size_t size, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	bool first = connection->header_size == 0;

	if (!greeting_skip_headers(&connection->header_state, stream->input, size) &&
		size < (size_t)HEADERS_MAX - connection->header_size) {
		connection->header_size = (uint16_t)(connection->header_size + size);
		if (first && connection->partial_size == 0)
			set_deadline(stream, slot, now + stream->times.request);
		connection->partial_size = 0;
		return FATE_KEEP;
	}
	tell(connection, "asked by HTTP, answered");
	return send_http(stream, connection) ? linger(stream, slot, now) : FATE_CLOSE;
}

static enum fate set_mode(
	struct reflector_connection *connection, enum binding_mode mode, uint16_t seconds)
{
	connection->mode = (uint8_t)mode;
	connection->hold_seconds = seconds;
	return mode == BINDING_MODE_CLOSE ? FATE_CLOSE : FATE_KEEP;
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
	if (!is_there(stream, to)) {
		count_one(stream->counters, COUNTER_NOT_INVITED);
		return false;
	}
	home = at_slot(stream, to.slot);
	sent = send_all(home, effect->invitation, effect->invitation_size);
	count_one(stream->counters, sent ? COUNTER_INVITED : COUNTER_NOT_INVITED);
	tell(home, sent ? "invited to a traveller" : "does not read its invitation");
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
	const struct reflector_connection *home = at_slot(stream, slot);
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
	if (is_there(stream, to) && at_slot(stream, to.slot)->asked == entry + 1 &&
		send_all(at_slot(stream, to.slot), message, size))
		tell(at_slot(stream, to.slot), "was told home's forecast");
	return true;
}

/*
 * Sends the answers to earlier requests and takes the connection out of the loop: a relay is to
 * have it. What the client has sent behind this request is lost; it was to wait.
 */
static enum fate give_away(struct reflector_stream *stream, uint32_t slot, size_t used)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	/* One that has just come is not in the loop yet. */
	loop_remove(stream->loop, connection->fd);
	return send_all(connection, stream->output, used) ? FATE_GIVEN : FATE_CLOSE;
}

/* RELAY was granted: the traveller's connection waits for home's. */
static enum fate give_traveller(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, const struct reflector_names_effect *effect, bool told, size_t used,
	size_t written, uint64_t now)
{
	const struct reflector_connection *connection = at_slot(stream, slot);
	enum fate fate = give_away(stream, slot, used);
	struct reflector_relay_traveller traveller = {
		.fd = connection->fd,
		.peer = connection->peer,
		.answer = stream->output + used,
		.answer_size = written,
	};

	memcpy(traveller.transaction, message + 4, sizeof(traveller.transaction));
	reflector_relay_wait(
		stream->names->relay, effect->relay, &traveller, told && fate == FATE_GIVEN, now);
	return FATE_GIVEN;
}

/* A JOIN, which makes a connection home's end of a relay. Returns false for any other message. */
static bool answer_join(struct reflector_stream *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used, enum fate *fate)
{
	struct reflector_connection *connection = at_slot(stream, slot);
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
		tell(connection, "is refused at a relay");
		*fate = FATE_CLOSE;
		return true;
	case REFLECTOR_RELAY_JOINED:
		*fate = give_away(stream, slot, *used);
		if (*fate == FATE_GIVEN)
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
	size_t size, uint64_t now, size_t *used, enum fate *fate)
{
	struct reflector_connection *connection = at_slot(stream, slot);
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
	*fate = FATE_KEEP;
	told = send_invitation(stream, &effect);
	if (effect.relay != 0) {
		*fate = give_traveller(stream, slot, message, &effect, told, *used, written, now);
		return true;
	}
	*used += written;
	if (effect.entry != REGISTRY_NONE && connection->name != effect.entry + 1) {
		release_name(stream, slot, now);
		connection->name = effect.entry + 1;
	}
	if (effect.asked != REGISTRY_NONE)
		connection->asked = effect.asked + 1;
	if (effect.has_mode)
		*fate = set_mode(connection, effect.mode, effect.seconds);
	return true;
}

/* Hands a DIAL request over. What it answers at once goes into the output. */
static enum fate answer_dial(struct reflector_stream *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	struct addr local;
	struct reflector_dial_question question = {
		.asker = tag_of(stream, slot),
		.peer = &connection->peer,
		.local = &local,
		.message = message,
		.size = size,
	};

	if (socket_local(connection->fd, &local) != 0)
		return FATE_CLOSE;
	*used += reflector_dial_ask(stream->dial, &question, stream->output + *used, now);
	if (connection->mode == BINDING_MODE_FORGET)
		connection->mode = BINDING_MODE_NONE;
	return FATE_KEEP;
}

static enum fate answer_binding(struct reflector_stream *stream,
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
		return FATE_KEEP;
	case BINDING_BROKEN:
		return FATE_CLOSE;
	case BINDING_ANSWERED:
		break;
	}
	*used += written;
	return set_mode(connection, granted.mode, granted.seconds);
}

static enum fate answer_any(struct reflector_stream *stream, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	enum fate fate;

	if (pass_forecast(stream, slot, message, size))
		return FATE_KEEP;
	if (answer_name(stream, slot, message, size, now, used, &fate) ||
		answer_join(stream, slot, message, size, now, used, &fate))
		return fate;
	if (dialback_is_request(message, size))
		return answer_dial(stream, slot, message, size, now, used);
	return answer_binding(stream, connection, message, size, used);
}

/* Answers one whole message behind what is already in the output. */
static enum fate answer_message(struct reflector_stream *stream, uint32_t slot,
	const uint8_t *message, size_t size, uint64_t now, size_t *used)
{
	enum fate fate;
	size_t before;

	if (sizeof(stream->output) - *used < STUN_MESSAGE_MAX) {
		if (!send_all(at_slot(stream, slot), stream->output, *used))
			return FATE_CLOSE;
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

/* Between two requests: how long the connection may be silent, and whether it makes room. */
static void await_request(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	const struct reflector_times *times = &stream->times;
	uint64_t hold = (uint64_t)connection->hold_seconds * HOLD_INTERVALS * 1000;

	reflector_table_hold(&stream->table, slot, connection->mode == BINDING_MODE_HOLD);
	if (connection->mode != BINDING_MODE_HOLD)
		release_name(stream, slot, now);
	switch ((enum binding_mode)connection->mode) {
	case BINDING_MODE_HOLD:
		set_deadline(stream, slot, now + (hold > times->hold ? hold : times->hold));
		break;
	case BINDING_MODE_FORGET:
		connection->forget_wait = times->forget_first;
		connection->forget_by = now + times->forget;
		set_deadline(stream, slot, now + times->forget_first);
		break;
	case BINDING_MODE_WAIT:
		set_deadline(stream, slot, now + (uint64_t)connection->hold_seconds * 1000);
		break;
	default:
		set_deadline(stream, slot, now + times->idle);
	}
}

static void keep_partial(
	struct reflector_stream *stream, uint32_t slot, const uint8_t *data, size_t size)
{
	memcpy(reflector_table_partial(&stream->table, slot), data, size);
	at_slot(stream, slot)->partial_size = (uint16_t)size;
}

static_assert(
	REFLECTOR_STREAM_INPUT == REFLECTOR_HANDOFF_BYTES, "all that is read can be handed over");

/* The first thread answers from this message on. */
static enum fate hand_over(struct reflector_stream *stream, uint32_t slot, const uint8_t *from,
	size_t size, size_t used)
{
	const struct reflector_connection *connection = at_slot(stream, slot);
	struct reflector_handed handed = {.fd = connection->fd,
		.peer = connection->peer,
		.mode = connection->mode,
		.hold_seconds = connection->hold_seconds,
		.size = size};

	if (give_away(stream, slot, used) != FATE_GIVEN)
		return FATE_CLOSE;
	memcpy(handed.bytes, from, size);
	return reflector_handoff_send(stream->handoff, &handed) ? FATE_HANDED : FATE_CLOSE;
}

/* Answers the whole messages in the input and keeps the begin of the one after them. */
static enum fate read_stun(
	struct reflector_stream *stream, uint32_t slot, size_t size, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	bool begun_before = connection->partial_size > 0;
	enum fate fate = FATE_KEEP;
	enum stun_frame frame = STUN_FRAME_COMPLETE;
	size_t offset = 0;
	size_t used = 0;
	size_t need = 0;

	while (fate == FATE_KEEP && offset < size) {
		const uint8_t *message = stream->input + offset;
		frame = stun_frame(message, size - offset, &need);
		if (frame != STUN_FRAME_COMPLETE)
			break;
		if (stream->handoff != NULL && reflector_handoff_wants(message, need))
			return hand_over(stream, slot, message, size - offset, used);
		fate = answer_message(stream, slot, message, need, now, &used);
		offset += need;
	}
	if (fate == FATE_GIVEN)
		return fate;
	if (used > 0)
		tell(connection, "asked, answered");
	/* Bytes that nobody has read make a RST of the FIN, and what waits for it is lost. */
	if (fate == FATE_CLOSE && offset == size)
		send_last(connection, stream->output, used);
	else if (!send_all(connection, stream->output, used))
		return FATE_CLOSE;
	if (fate != FATE_KEEP)
		return FATE_CLOSE;
	if (frame == STUN_FRAME_NOT_STUN || size - offset > STUN_MESSAGE_MAX) {
		note_end(connection, COUNTER_ENDED_UNKNOWN, "closed: not STUN");
		return FATE_CLOSE;
	}
	keep_partial(stream, slot, stream->input + offset, size - offset);
	if (offset == size)
		await_request(stream, slot, now);
	else if (offset > 0 || !begun_before)
		set_deadline(stream, slot, now + stream->times.request);
	return FATE_KEEP;
}

static enum fate read_greeting(
	struct reflector_stream *stream, uint32_t slot, size_t size, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	switch (greeting_classify(stream->input, size)) {
	case GREETING_MORE:
		if (connection->partial_size == 0)
			set_deadline(stream, slot, now + stream->times.request);
		keep_partial(stream, slot, stream->input, size);
		return FATE_KEEP;
	case GREETING_STUN:
		connection->phase = REFLECTOR_STUN;
		return read_stun(stream, slot, size, now);
	case GREETING_NEWLINE:
		tell(connection, "pressed return, line sent");
		return send_line(stream, connection) ? linger(stream, slot, now) : FATE_CLOSE;
	case GREETING_HEAD:
		connection->head_only = true;
		/* fall through */
	case GREETING_GET:
		connection->phase = REFLECTOR_HTTP;
		return read_headers(stream, slot, size, now);
	case GREETING_UNKNOWN:
		break;
	}
	note_end(connection, COUNTER_ENDED_UNKNOWN, "closed: speaks nothing known");
	return FATE_CLOSE;
}

/* The client has sent its FIN. It may still read, as `nc -N` does. */
static enum fate read_end(
	struct reflector_stream *stream, const struct reflector_connection *connection)
{
	if (connection->phase == REFLECTOR_QUIET && connection->partial_size == 0) {
		tell(connection, "closed without a word, line sent");
		send_line(stream, connection);
	} else if (connection->phase == REFLECTOR_HTTP) {
		tell(connection, "asked by HTTP, answered");
		send_http(stream, connection);
	}
	return FATE_CLOSE;
}

static enum fate read_and_answer(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	size_t had = connection->partial_size;
	ssize_t got = recv(connection->fd, stream->input + had, sizeof(stream->input) - had, 0);
	size_t size;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? FATE_KEEP : FATE_CLOSE;
	if (got == 0)
		return read_end(stream, connection);
	stream->asked = 0;
	if (had > 0)
		memcpy(stream->input, reflector_table_partial(&stream->table, slot), had);
	size = had + (size_t)got;
	switch ((enum reflector_phase)connection->phase) {
	case REFLECTOR_QUIET:
		return read_greeting(stream, slot, size, now);
	case REFLECTOR_STUN:
		return read_stun(stream, slot, size, now);
	case REFLECTOR_HTTP:
		return read_headers(stream, slot, size, now);
	case REFLECTOR_LINGERING:
		break;
	}
	return FATE_KEEP;
}

/* What the source of a connection has used of its measure, or NULL where it has none. */
static uint64_t *find_measure(
	const struct reflector_stream *stream, const struct addr *peer, uint64_t now)
{
	if (stream->sources == NULL ||
		(!stream->limits_loopback && addr_classify(peer) == ADDR_CLASS_LOOPBACK))
		return NULL;
	return rate_table_find(stream->sources, peer, now);
}

/* Leaves the connection alone for a while, which does not count for its deadline. */
static void pause_reading(
	struct reflector_stream *stream, uint32_t slot, uint64_t wait, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	uint64_t due = deadline_of(&stream->table.deadlines, slot);

	/* One that has just come has none yet. */
	connection->due_later = (due == DEADLINE_NONE ? now + stream->times.silence : due) + wait;
	connection->paused = true;
	set_deadline(stream, slot, now + wait);
	count_one(stream->counters, COUNTER_LIMITED_SOURCE);
	tell(connection, "is put off: its address asks too often");
}

/* Reads once and answers, unless the source has to wait. Each read counts, and each message. */
static enum fate converse(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	uint64_t *spent = find_measure(stream, &at_slot(stream, slot)->peer, now);
	uint64_t wait = spent != NULL ? rate_wait(&stream->sources->each, *spent, now) : 0;
	enum fate fate;

	if (wait > 0) {
		pause_reading(stream, slot, wait, now);
		return FATE_KEEP;
	}
	stream->asked = NOTHING_READ;
	fate = read_and_answer(stream, slot, now);
	if (spent != NULL && stream->asked != NOTHING_READ)
		rate_charge(
			&stream->sources->each, spent, stream->asked > 1 ? stream->asked : 1, now);
	return fate;
}

static uint32_t make_room(
	struct reflector_stream *stream, int fd, const struct addr *peer, uint64_t now)
{
	uint32_t slot = reflector_table_take(&stream->table, fd, peer);
	uint32_t victim;

	if (slot != REFLECTOR_TABLE_NONE)
		return slot;
	victim = reflector_table_victim(&stream->table, peer);
	if (victim == REFLECTOR_TABLE_NONE)
		return victim;
	count_one(stream->counters, COUNTER_LIMITED_CONNECTION);
	note_end(at_slot(stream, victim), COUNTER_ENDED_EVICTED, "closed to make room");
	end_connection(stream, victim,
		at_slot(stream, victim)->mode == BINDING_MODE_FORGET ? FATE_FORGET : FATE_CLOSE,
		now);
	return reflector_table_take(&stream->table, fd, peer);
}

/* Of one that is paused, only that its client has gone is told. */
static bool watch(struct reflector_stream *stream, uint32_t slot)
{
	const struct reflector_connection *connection = at_slot(stream, slot);

	return loop_add(stream->loop, connection->fd, connection->paused ? 0 : EPOLLIN,
		       tag_of(stream, slot)) == 0;
}

static bool watch_again(struct reflector_stream *stream, uint32_t slot)
{
	const struct reflector_connection *connection = at_slot(stream, slot);

	return loop_change(stream->loop, connection->fd, connection->paused ? 0 : EPOLLIN,
		       tag_of(stream, slot)) == 0;
}

void reflector_stream_adopt(
	struct reflector_stream *stream, int fd, const struct addr *peer, uint64_t now)
{
	uint32_t slot = make_room(stream, fd, peer, now);
	const struct reflector_connection *connection;
	enum fate fate;

	if (slot == REFLECTOR_TABLE_NONE) {
		count_one(stream->counters, COUNTER_ENDED_NO_ROOM);
		close(fd);
		return;
	}
	/* Most clients' requests are here already: the answer then costs no turn of the loop. */
	connection = at_slot(stream, slot);
	fate = converse(stream, slot, now);
	if (fate == FATE_KEEP && !watch(stream, slot))
		fate = FATE_CLOSE;
	if (fate != FATE_KEEP)
		end_connection(stream, slot, fate, now);
	else if (!connection->paused && connection->phase == REFLECTOR_QUIET &&
		 connection->partial_size == 0)
		set_deadline(stream, slot, now + stream->times.silence);
}

void reflector_stream_take_over(
	struct reflector_stream *stream, const struct reflector_handed *handed, uint64_t now)
{
	uint32_t slot = make_room(stream, handed->fd, &handed->peer, now);
	struct reflector_connection *connection;
	enum fate fate;

	if (slot == REFLECTOR_TABLE_NONE) {
		count_one(stream->counters, COUNTER_ENDED_NO_ROOM);
		close(handed->fd);
		return;
	}
	connection = at_slot(stream, slot);
	connection->phase = REFLECTOR_STUN;
	connection->mode = handed->mode;
	connection->hold_seconds = handed->hold_seconds;
	memcpy(stream->input, handed->bytes, handed->size);
	stream->asked = 0;
	/* In the loop before it is answered: what is given to a relay is taken out of it. */
	fate = watch(stream, slot) ? read_stun(stream, slot, handed->size, now) : FATE_CLOSE;
	if (fate != FATE_KEEP)
		end_connection(stream, slot, fate, now);
}

void reflector_stream_deliver(struct reflector_stream *stream, struct loop_tag asker,
	const void *data, size_t size, uint64_t now)
{
	if (!is_there(stream, asker))
		return;
	if (send_all(at_slot(stream, asker.slot), data, size))
		count_answer(stream->counters, COUNTER_TCP_ANSWERS, data, size);
	else
		end_connection(stream, asker.slot, FATE_CLOSE, now);
}

void reflector_stream_event(struct reflector_stream *stream, struct loop_tag tag, uint64_t now)
{
	enum fate fate;

	if (!is_there(stream, tag))
		return;
	fate = at_slot(stream, tag.slot)->paused ? FATE_CLOSE : converse(stream, tag.slot, now);
	if (fate == FATE_KEEP && at_slot(stream, tag.slot)->paused &&
		!watch_again(stream, tag.slot))
		fate = FATE_CLOSE;
	if (fate != FATE_KEEP)
		end_connection(stream, tag.slot, fate, now);
}

uint64_t reflector_stream_next(struct reflector_stream *stream)
{
	uint32_t slot;
	uint64_t due;

	return deadline_first(&stream->table.deadlines, &slot, &due) ? due : DEADLINE_NONE;
}

/* Has the client acknowledged the answer? Then neither end needs the connection any more. */
static enum fate try_to_forget(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);
	uint64_t next;

	if (now >= connection->forget_by || socket_unacknowledged(connection->fd) <= 0) {
		tell(connection, "forgotten");
		return FATE_FORGET;
	}
	connection->forget_wait *= 2;
	next = now + connection->forget_wait;
	set_deadline(stream, slot, next < connection->forget_by ? next : connection->forget_by);
	return FATE_KEEP;
}

static enum fate resume_reading(struct reflector_stream *stream, uint32_t slot)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	connection->paused = false;
	set_deadline(stream, slot, connection->due_later);
	return watch_again(stream, slot) ? FATE_KEEP : FATE_CLOSE;
}

static enum fate expire_connection(struct reflector_stream *stream, uint32_t slot, uint64_t now)
{
	struct reflector_connection *connection = at_slot(stream, slot);

	if (connection->paused)
		return resume_reading(stream, slot);
	if (connection->phase == REFLECTOR_LINGERING)
		return FATE_CLOSE;
	if (connection->partial_size > 0 || connection->phase == REFLECTOR_HTTP) {
		note_end(connection, COUNTER_ENDED_SLOW, "closed: too slow");
		return FATE_CLOSE;
	}
	if (connection->phase == REFLECTOR_QUIET) {
		tell(connection, "said nothing, line sent");
		send_line(stream, connection);
		return FATE_CLOSE;
	}
	if (connection->mode == BINDING_MODE_FORGET)
		return try_to_forget(stream, slot, now);
	if (connection->mode == BINDING_MODE_HOLD) {
		note_end(connection, COUNTER_ENDED_IDLE, "silent for too long, dropped");
		return FATE_FORGET;
	}
	note_end(connection, COUNTER_ENDED_IDLE,
		connection->mode == BINDING_MODE_WAIT ? "closed: waited long enough"
						      : "closed: idle");
	return FATE_CLOSE;
}

void reflector_stream_expire(struct reflector_stream *stream, uint64_t now)
{
	uint32_t slot;

	while (deadline_pop(&stream->table.deadlines, now, &slot)) {
		enum fate fate = expire_connection(stream, slot, now);
		if (fate != FATE_KEEP)
			end_connection(stream, slot, fate, now);
	}
}
