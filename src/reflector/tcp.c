/*
 * A connection is in one of the phases of tcp_table.h, told by its first bytes; between two STUN
 * requests its mode (binding.h) says how it goes on.
 *
 *   first bytes            answer                       and then
 *   none for a while       the line                     close
 *   CR or LF               the line                     FIN, linger
 *   "GET ", "HEAD "        HTTP, after the empty line   FIN, linger
 *   a STUN request         STUN                         as its NATPUNCH-CONNECTION says (binding.h)
 *   anything else          none                         close
 *
 * After a STUN answer the connection stays for more requests, which are answered in their order:
 * for the idle time with an ordinary client, for three of its intervals when it is held, for as
 * long as the client asks with WAIT. With CLOSE the reflector closes it at once, and first, so that
 * the TIME_WAIT is here and the client can use its port again. With FORGET the reflector waits
 * until the client has acknowledged the answer, and drops the connection without FIN or RST, so
 * that the NATs on the way keep the mapping; if the client closes meanwhile, it closes in order.
 *
 * A DIAL request (dialback.h) is answered when the outcome is known; answers to later requests may
 * come before that one. It does not change how the connection goes on, unless that was to be
 * forgotten: then it stays as an ordinary one.
 *
 * With `queue` a connection whose request is for the first worker goes there, with all that it
 * has sent from that request on.
 *
 * With RELAY and JOIN (relay_messages.h) relay.c takes over the connection.
 *
 * If an answer does not fit into the socket's buffer at once, its client does not read, and the
 * connection is closed.
 *
 * Events: bytes, the client's FIN, an answer from elsewhere (tcp_deliver()), a connection from
 * another worker (tcp_take_over()), and the deadline. Timers: one deadline for each connection,
 * which means by phase and mode what expire_connection() says. The rule for a full table is in
 * tcp_table.c: make_room() carries it out.
 *
 * Invariant: every connection has a deadline at every moment.
 *
 * Over TCP a source cannot be forged, so a limit for a source cannot be turned against others
 * (rate_limit.h): while a source beyond its quota has to wait, its connections are not read.
 * Nothing is refused or lost; the client is slowed down by its own window. This host itself has no
 * limit: a proxy there asks for everybody.
 *
 * A connection is read once per event into memory that all share; its slot keeps only the beginning
 * of a request that is not whole yet. The functions that read and answer return a fate;
 * end_connection() alone carries it out.
 */
#include "reflector/tcp.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/proto/first_bytes.h"
#include "reflector/tcp_answer.h"
#include "reflector/tcp_connection.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/proto/stun.h"

#define HEADERS_MAX    8192 /* bytes of HTTP headers after which the answer does not wait */
#define HOLD_INTERVALS 3
#define HOLD_LOOK      1024
#define NOTHING_READ   UINT32_MAX

int tcp_open(struct tcp_server *tcp, struct loop *loop, uint8_t tag_kind, uint32_t connections,
	const struct reflector_times *times, struct names *names)
{
	tcp->times = *times;
	tcp->names = names;
	tcp->loop = loop;
	tcp->tag_kind = tag_kind;
	tcp->server = (struct binding_server){
		.software = "natpunch " NATPUNCH_VERSION,
		.can_forget = socket_can_forget(),
		.stream = true,
	};
	return tcp_table_open(&tcp->table, connections);
}

void tcp_close(struct tcp_server *tcp)
{
	tcp_table_close(&tcp->table);
}

static void set_deadline(struct tcp_server *tcp, uint32_t slot, uint64_t due)
{
	timer_heap_set(&tcp->table.deadlines, slot, due);
}

static enum counter why_ended(const struct tcp_connection *connection, enum tcp_fate fate)
{
	if (connection->ending != 0)
		return (enum counter)(COUNTER_ENDED_DONE + connection->ending);
	if (fate == TCP_FATE_FORGET)
		return COUNTER_ENDED_FORGOTTEN;
	return fate == TCP_FATE_GIVEN ? COUNTER_ENDED_RELAYED : COUNTER_ENDED_DONE;
}

/* Notes why it will be over, for the counters and the log. */
static void note_end(struct tcp_connection *connection, enum counter why, const char *what)
{
	connection->ending = (uint8_t)(why - COUNTER_ENDED_DONE);
	tcp_connection_log(connection, what);
}

/* Also has this host's connection tracking forget it. Returns false when it cannot be forgotten. */
static bool forget(const struct tcp_server *tcp, const struct tcp_connection *connection)
{
	struct addr local;
	bool known = tcp->conntrack != NULL && socket_local(connection->fd, &local) == 0;

	if (!socket_forget(connection->fd))
		return false;
	if (known)
		conntrack_forget(tcp->conntrack, &local, &connection->peer);
	return true;
}

static void end_connection(struct tcp_server *tcp, uint32_t slot, enum tcp_fate fate, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	if (fate != TCP_FATE_QUEUED)
		count_one(tcp->counters, why_ended(connection, fate));
	tcp_connection_release_name(tcp, slot, now);
	if (fate != TCP_FATE_GIVEN && fate != TCP_FATE_QUEUED &&
		(fate != TCP_FATE_FORGET || !forget(tcp, connection)))
		close(connection->fd);
	tcp_table_release(&tcp->table, slot);
}

static bool send_line(struct tcp_server *tcp, const struct tcp_connection *connection)
{
	char line[FIRST_BYTES_LINE_SIZE];
	bool sent = socket_send_last(
		connection->fd, line, first_bytes_write_line(&connection->peer, line));

	count_one(tcp->counters, COUNTER_LINE_REQUESTS);
	count_many(tcp->counters, COUNTER_LINE_ANSWERS, sent ? 1 : 0);
	return sent;
}

static bool send_http(struct tcp_server *tcp, const struct tcp_connection *connection)
{
	char answer[FIRST_BYTES_HTTP_SIZE];
	size_t size = first_bytes_write_http(&connection->peer, connection->head_only, answer);
	bool sent = socket_send_last(connection->fd, answer, size);

	count_one(tcp->counters, COUNTER_HTTP_REQUESTS);
	count_many(tcp->counters, COUNTER_HTTP_ANSWERS, sent ? 1 : 0);
	return sent;
}

/* Half closed after its last bytes: the client's are still read, so that no RST destroys the
 * answer.
 */
static enum tcp_fate linger(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	connection->phase = TCP_PHASE_LINGERING;
	connection->partial_size = 0;
	set_deadline(tcp, slot, now + tcp->times.linger);
	return TCP_FATE_KEEP;
}

static enum tcp_fate read_headers(struct tcp_server *tcp, uint32_t slot, size_t size, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	bool first = connection->header_size == 0;

	if (!first_bytes_skip_headers(&connection->header_state, tcp->input, size) &&
		size < (size_t)HEADERS_MAX - connection->header_size) {
		connection->header_size = (uint16_t)(connection->header_size + size);
		if (first && connection->partial_size == 0)
			set_deadline(tcp, slot, now + tcp->times.request);
		connection->partial_size = 0;
		return TCP_FATE_KEEP;
	}
	tcp_connection_log(connection, "asked by HTTP, answered");
	return send_http(tcp, connection) ? linger(tcp, slot, now) : TCP_FATE_CLOSE;
}

/* How long a held connection may be silent. */
static uint64_t hold_ms(const struct tcp_server *tcp, const struct tcp_connection *connection)
{
	uint64_t hold = (uint64_t)connection->hold_seconds * HOLD_INTERVALS * 1000;

	return hold > tcp->times.hold ? hold : tcp->times.hold;
}

/* For how long nothing has come over a held connection that missed two keep-alives; else 0. */
static uint64_t dead_for(const struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	const struct tcp_connection *connection = &tcp->table.connections[slot];
	uint64_t due = timer_heap_of(&tcp->table.deadlines, slot);
	uint64_t lasts = hold_ms(tcp, connection);

	/* A request that has begun or waits shows that the client is there. */
	if (!connection->held || connection->partial_size > 0 || connection->paused ||
		due > now + lasts / HOLD_INTERVALS)
		return 0;
	return now + lasts - due;
}

/*
 * No more can be held, and a home that has proven its name's key wants to be: of the next HOLD_LOOK
 * connections the one that has been dead for longest is no longer held. Missed keep-alives of its
 * client show that, without a system call for each.
 */
static void let_dead_go(struct tcp_server *tcp, uint64_t now)
{
	struct tcp_table *table = &tcp->table;
	uint32_t found = TCP_TABLE_NONE;
	uint64_t longest = 0;

	for (uint32_t i = 0; i < HOLD_LOOK && i < table->fresh; i++) {
		uint32_t slot = table->looked_at++ % table->fresh;
		uint64_t since = dead_for(tcp, slot, now);

		if (since > longest) {
			longest = since;
			found = slot;
		}
	}
	if (found == TCP_TABLE_NONE)
		return;
	count_one(tcp->counters, COUNTER_DEAD_HELD);
	tcp_connection_log(tcp_connection_at(tcp, found), "does not answer: it is no longer held");
	tcp_table_hold(table, found, false);
}

/* Begins or ends to hold it, as its client wants. */
static void settle_hold(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	const struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	bool wanted = connection->mode == BINDING_MODE_HOLD;

	if (wanted && !connection->held && connection->name != 0 &&
		tcp->table.held >= tcp_table_hold_max(&tcp->table))
		let_dead_go(tcp, now);
	tcp_table_hold(&tcp->table, slot, wanted);
}

/* Between two requests: how long the connection may be silent, and whether it makes room. */
static void await_request(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	const struct reflector_times *times = &tcp->times;

	settle_hold(tcp, slot, now);
	if (connection->mode != BINDING_MODE_HOLD)
		tcp_connection_release_name(tcp, slot, now);
	switch ((enum binding_mode)connection->mode) {
	case BINDING_MODE_HOLD:
		set_deadline(tcp, slot, now + hold_ms(tcp, connection));
		break;
	case BINDING_MODE_FORGET:
		connection->forget_wait = times->forget_first;
		connection->forget_by = now + times->forget;
		set_deadline(tcp, slot, now + times->forget_first);
		break;
	case BINDING_MODE_WAIT:
		set_deadline(tcp, slot, now + (uint64_t)connection->hold_seconds * 1000);
		break;
	default:
		set_deadline(tcp, slot, now + times->idle);
	}
}

static void keep_partial(struct tcp_server *tcp, uint32_t slot, const uint8_t *data, size_t size)
{
	memcpy(tcp_table_partial(&tcp->table, slot), data, size);
	tcp_connection_at(tcp, slot)->partial_size = (uint16_t)size;
}

static_assert(TCP_SERVER_INPUT == WORKER_QUEUE_BYTES, "all that is read fits into an item");

/* Counts the whole messages, at least one: requests for the queue count here, where they were read.
 */
static uint32_t count_messages(const uint8_t *data, size_t size)
{
	uint32_t count = 0;
	size_t need;

	while (size > 0 && stun_frame(data, size, &need) == STUN_FRAME_COMPLETE) {
		data += need;
		size -= need;
		count++;
	}
	return count > 0 ? count : 1;
}

/* The first worker answers from this message on. */
static enum tcp_fate enqueue(
	struct tcp_server *tcp, uint32_t slot, const uint8_t *from, size_t size, size_t used)
{
	const struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	struct worker_queue_item item = {.fd = connection->fd,
		.peer = connection->peer,
		.mode = connection->mode,
		.hold_seconds = connection->hold_seconds,
		.size = size};

	if (!tcp_connection_give_away(tcp, slot, used))
		return TCP_FATE_CLOSE;
	memcpy(item.bytes, from, size);
	return worker_queue_send(tcp->queue, &item) ? TCP_FATE_QUEUED : TCP_FATE_CLOSE;
}

/* Answers the whole messages in the input and keeps the begin of the one after them. */
static enum tcp_fate read_stun(struct tcp_server *tcp, uint32_t slot, size_t size, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	bool begun_before = connection->partial_size > 0;
	enum tcp_fate fate = TCP_FATE_KEEP;
	enum stun_frame frame = STUN_FRAME_COMPLETE;
	size_t offset = 0;
	size_t used = 0;
	size_t need = 0;

	while (fate == TCP_FATE_KEEP && offset < size) {
		const uint8_t *message = tcp->input + offset;
		frame = stun_frame(message, size - offset, &need);
		if (frame != STUN_FRAME_COMPLETE)
			break;
		if (tcp->queue != NULL && worker_queue_wants(message, need)) {
			tcp->asked += count_messages(message, size - offset);
			return enqueue(tcp, slot, message, size - offset, used);
		}
		fate = tcp_answer_message(tcp, slot, message, need, now, &used);
		offset += need;
	}
	if (fate == TCP_FATE_GIVEN)
		return fate;
	if (used > 0)
		tcp_connection_log(connection, "asked, answered");
	if (fate != TCP_FATE_KEEP && used > 0)
		socket_send_last(connection->fd, tcp->output, used);
	if (fate != TCP_FATE_KEEP || !tcp_connection_send(connection, tcp->output, used))
		return TCP_FATE_CLOSE;
	if (frame == STUN_FRAME_NOT_STUN || size - offset > STUN_MESSAGE_MAX) {
		note_end(connection, COUNTER_ENDED_UNKNOWN, "closed: not STUN");
		return TCP_FATE_CLOSE;
	}
	keep_partial(tcp, slot, tcp->input + offset, size - offset);
	if (offset == size)
		await_request(tcp, slot, now);
	else if (offset > 0 || !begun_before)
		set_deadline(tcp, slot, now + tcp->times.request);
	return TCP_FATE_KEEP;
}

static enum tcp_fate read_greeting(struct tcp_server *tcp, uint32_t slot, size_t size, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	switch (first_bytes_classify(tcp->input, size)) {
	case FIRST_BYTES_MORE:
		if (connection->partial_size == 0)
			set_deadline(tcp, slot, now + tcp->times.request);
		keep_partial(tcp, slot, tcp->input, size);
		return TCP_FATE_KEEP;
	case FIRST_BYTES_STUN:
		connection->phase = TCP_PHASE_STUN;
		return read_stun(tcp, slot, size, now);
	case FIRST_BYTES_NEWLINE:
		tcp_connection_log(connection, "pressed return, line sent");
		return send_line(tcp, connection) ? linger(tcp, slot, now) : TCP_FATE_CLOSE;
	case FIRST_BYTES_HEAD:
		connection->head_only = true;
		/* fall through */
	case FIRST_BYTES_GET:
		connection->phase = TCP_PHASE_HTTP;
		return read_headers(tcp, slot, size, now);
	case FIRST_BYTES_UNKNOWN:
		break;
	}
	note_end(connection, COUNTER_ENDED_UNKNOWN, "closed: it speaks no protocol of ours");
	return TCP_FATE_CLOSE;
}

/* The client has sent its FIN. It may still read, as `nc -N` does. */
static enum tcp_fate read_end(struct tcp_server *tcp, const struct tcp_connection *connection)
{
	if (connection->phase == TCP_PHASE_QUIET && connection->partial_size == 0) {
		tcp_connection_log(connection, "closed without a word, line sent");
		send_line(tcp, connection);
	} else if (connection->phase == TCP_PHASE_HTTP) {
		tcp_connection_log(connection, "asked by HTTP, answered");
		send_http(tcp, connection);
	}
	return TCP_FATE_CLOSE;
}

static enum tcp_fate read_and_answer(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	size_t had = connection->partial_size;
	ssize_t got = recv(connection->fd, tcp->input + had, sizeof(tcp->input) - had, 0);
	size_t size;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? TCP_FATE_KEEP : TCP_FATE_CLOSE;
	if (got == 0)
		return read_end(tcp, connection);
	tcp->asked = 0;
	if (had > 0)
		memcpy(tcp->input, tcp_table_partial(&tcp->table, slot), had);
	size = had + (size_t)got;
	switch ((enum tcp_phase)connection->phase) {
	case TCP_PHASE_QUIET:
		return read_greeting(tcp, slot, size, now);
	case TCP_PHASE_STUN:
		return read_stun(tcp, slot, size, now);
	case TCP_PHASE_HTTP:
		return read_headers(tcp, slot, size, now);
	case TCP_PHASE_LINGERING:
		break;
	}
	return TCP_FATE_KEEP;
}

/* What the source of a connection has used of its measure, or NULL where it has none. */
static uint64_t *find_measure(const struct tcp_server *tcp, const struct addr *peer, uint64_t now)
{
	if (tcp->sources == NULL ||
		(!tcp->limits_loopback && addr_classify(peer) == ADDR_CLASS_LOOPBACK))
		return NULL;
	return rate_limit_table_find(tcp->sources, peer, now);
}

/*
 * Stops reading the connection for `wait` ms, which do not count for its deadline; or for longer,
 * until connections of its source that wait already have had their turn: else all would be due
 * again for the one that may be read then.
 */
static void pause_reading(struct tcp_server *tcp, uint32_t slot, uint64_t wait, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	uint64_t due = timer_heap_of(&tcp->table.deadlines, slot);
	uint64_t turn = (uint64_t)tcp_table_waiting(&tcp->table, &connection->peer) * 1000 /
			tcp->sources->each.per_second;

	if (wait < turn)
		wait = turn;
	/* A new connection has no deadline yet. */
	connection->due_later = (due == TIMER_NONE ? now + tcp->times.silence : due) + wait;
	tcp_table_pause(&tcp->table, slot, true);
	set_deadline(tcp, slot, now + wait);
	count_one(tcp->counters, COUNTER_LIMITED_SOURCE);
	tcp_connection_log(connection, "is put off: its address asks too often");
}

/* Reads once and answers. Each read counts for the source, and each message. */
static enum tcp_fate read_and_charge(
	struct tcp_server *tcp, uint32_t slot, uint64_t *spent, uint64_t now)
{
	enum tcp_fate fate;

	tcp->asked = NOTHING_READ;
	fate = read_and_answer(tcp, slot, now);
	if (spent != NULL && tcp->asked != NOTHING_READ)
		rate_limit_charge(&tcp->sources->each, spent, tcp->asked > 1 ? tcp->asked : 1, now);
	return fate;
}

/* The same, unless the source has to wait. */
static enum tcp_fate converse(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	uint64_t *spent = find_measure(tcp, &tcp_connection_at(tcp, slot)->peer, now);
	uint64_t wait = spent != NULL ? rate_limit_wait(&tcp->sources->each, *spent, now) : 0;

	if (wait == 0)
		return read_and_charge(tcp, slot, spent, now);
	pause_reading(tcp, slot, wait, now);
	return TCP_FATE_KEEP;
}

static uint32_t make_room(struct tcp_server *tcp, int fd, const struct addr *peer, uint64_t now)
{
	uint32_t slot = tcp_table_take(&tcp->table, fd, peer);
	uint32_t victim;

	if (slot != TCP_TABLE_NONE)
		return slot;
	victim = tcp_table_victim(&tcp->table, peer);
	if (victim == TCP_TABLE_NONE)
		return victim;
	count_one(tcp->counters, COUNTER_LIMITED_CONNECTION);
	note_end(tcp_connection_at(tcp, victim), COUNTER_ENDED_EVICTED, "closed to make room");
	end_connection(tcp, victim,
		tcp_connection_at(tcp, victim)->mode == BINDING_MODE_FORGET ? TCP_FATE_FORGET
									    : TCP_FATE_CLOSE,
		now);
	return tcp_table_take(&tcp->table, fd, peer);
}

/* Of a paused connection, the loop only reports that its client has gone. */
static bool watch(struct tcp_server *tcp, uint32_t slot)
{
	const struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	return loop_add(tcp->loop, connection->fd, connection->paused ? 0 : EPOLLIN,
		       tcp_connection_tag(tcp, slot)) == 0;
}

static bool watch_again(struct tcp_server *tcp, uint32_t slot)
{
	const struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	return loop_change(tcp->loop, connection->fd, connection->paused ? 0 : EPOLLIN,
		       tcp_connection_tag(tcp, slot)) == 0;
}

void tcp_adopt(struct tcp_server *tcp, int fd, const struct addr *peer, uint64_t now)
{
	uint32_t slot = make_room(tcp, fd, peer, now);
	const struct tcp_connection *connection;
	enum tcp_fate fate;

	if (slot == TCP_TABLE_NONE) {
		count_one(tcp->counters, COUNTER_ENDED_NO_ROOM);
		close(fd);
		return;
	}
	/* Most requests have come with the connection: answering now saves a turn of the loop. */
	connection = tcp_connection_at(tcp, slot);
	fate = converse(tcp, slot, now);
	if (fate == TCP_FATE_KEEP && !watch(tcp, slot))
		fate = TCP_FATE_CLOSE;
	if (fate != TCP_FATE_KEEP)
		end_connection(tcp, slot, fate, now);
	else if (!connection->paused && connection->phase == TCP_PHASE_QUIET &&
		 connection->partial_size == 0)
		set_deadline(tcp, slot, now + tcp->times.silence);
}

void tcp_take_over(struct tcp_server *tcp, const struct worker_queue_item *item, uint64_t now)
{
	uint32_t slot = make_room(tcp, item->fd, &item->peer, now);
	struct tcp_connection *connection;
	enum tcp_fate fate;

	if (slot == TCP_TABLE_NONE) {
		count_one(tcp->counters, COUNTER_ENDED_NO_ROOM);
		close(item->fd);
		return;
	}
	connection = tcp_connection_at(tcp, slot);
	connection->phase = TCP_PHASE_STUN;
	connection->mode = item->mode;
	connection->hold_seconds = item->hold_seconds;
	memcpy(tcp->input, item->bytes, item->size);
	tcp->asked = 0;
	/* First into the loop, then answered: a relay takes it out of the loop again. */
	fate = watch(tcp, slot) ? read_stun(tcp, slot, item->size, now) : TCP_FATE_CLOSE;
	if (fate != TCP_FATE_KEEP)
		end_connection(tcp, slot, fate, now);
}

void tcp_deliver(
	struct tcp_server *tcp, struct loop_tag asker, const void *data, size_t size, uint64_t now)
{
	if (!tcp_connection_is_there(tcp, asker))
		return;
	if (tcp_connection_send(tcp_connection_at(tcp, asker.slot), data, size))
		count_answer(tcp->counters, COUNTER_TCP_ANSWERS, data, size);
	else
		end_connection(tcp, asker.slot, TCP_FATE_CLOSE, now);
}

void tcp_revoke(struct tcp_server *tcp, uint32_t slot, uint32_t generation, uint64_t now)
{
	const struct loop_tag tag = {.kind = tcp->tag_kind, .slot = slot, .generation = generation};

	if (!tcp_connection_is_there(tcp, tag))
		return;
	tcp_connection_log(tcp_connection_at(tcp, slot), "closed: its key is no longer valid");
	end_connection(tcp, slot, TCP_FATE_CLOSE, now);
}

void tcp_event(struct tcp_server *tcp, struct loop_tag tag, uint64_t now)
{
	enum tcp_fate fate;

	if (!tcp_connection_is_there(tcp, tag))
		return;
	fate = tcp_connection_at(tcp, tag.slot)->paused ? TCP_FATE_CLOSE
							: converse(tcp, tag.slot, now);
	if (fate == TCP_FATE_KEEP && tcp_connection_at(tcp, tag.slot)->paused &&
		!watch_again(tcp, tag.slot))
		fate = TCP_FATE_CLOSE;
	if (fate != TCP_FATE_KEEP)
		end_connection(tcp, tag.slot, fate, now);
}

uint64_t tcp_next(struct tcp_server *tcp)
{
	uint32_t slot;
	uint64_t due;

	return timer_heap_first(&tcp->table.deadlines, &slot, &due) ? due : TIMER_NONE;
}

/* Has the client acknowledged the answer? Then neither end needs the connection any more. */
static enum tcp_fate try_to_forget(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	uint64_t next;

	if (now >= connection->forget_by || socket_unacknowledged(connection->fd) <= 0) {
		tcp_connection_log(connection, "forgotten");
		return TCP_FATE_FORGET;
	}
	connection->forget_wait *= 2;
	next = now + connection->forget_wait;
	set_deadline(tcp, slot, next < connection->forget_by ? next : connection->forget_by);
	return TCP_FATE_KEEP;
}

static enum tcp_fate resume_reading(struct tcp_server *tcp, uint32_t slot)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	tcp_table_pause(&tcp->table, slot, false);
	set_deadline(tcp, slot, connection->due_later);
	return watch_again(tcp, slot) ? TCP_FATE_KEEP : TCP_FATE_CLOSE;
}

/* If we are late ourselves the client may have spoken in time: so look before the line is sent. */
static enum tcp_fate end_silence(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);
	uint64_t *spent = find_measure(tcp, &connection->peer, now);
	enum tcp_fate fate = read_and_charge(tcp, slot, spent, now);

	if (fate != TCP_FATE_KEEP || tcp->asked != NOTHING_READ)
		return fate;
	tcp_connection_log(connection, "said nothing, line sent");
	send_line(tcp, connection);
	return TCP_FATE_CLOSE;
}

static enum tcp_fate expire_connection(struct tcp_server *tcp, uint32_t slot, uint64_t now)
{
	struct tcp_connection *connection = tcp_connection_at(tcp, slot);

	if (connection->paused)
		return resume_reading(tcp, slot);
	if (connection->phase == TCP_PHASE_LINGERING)
		return TCP_FATE_CLOSE;
	if (connection->partial_size > 0 || connection->phase == TCP_PHASE_HTTP) {
		note_end(connection, COUNTER_ENDED_SLOW, "closed: too slow");
		return TCP_FATE_CLOSE;
	}
	if (connection->phase == TCP_PHASE_QUIET)
		return end_silence(tcp, slot, now);
	if (connection->mode == BINDING_MODE_FORGET)
		return try_to_forget(tcp, slot, now);
	if (connection->mode == BINDING_MODE_HOLD) {
		note_end(connection, COUNTER_ENDED_IDLE, "silent for too long, dropped");
		return TCP_FATE_FORGET;
	}
	note_end(connection, COUNTER_ENDED_IDLE,
		connection->mode == BINDING_MODE_WAIT ? "closed: waited long enough"
						      : "closed: idle");
	return TCP_FATE_CLOSE;
}

void tcp_expire(struct tcp_server *tcp, uint64_t now)
{
	uint32_t slot;

	while (timer_heap_pop(&tcp->table.deadlines, now, &slot)) {
		enum tcp_fate fate = expire_connection(tcp, slot, now);
		if (fate != TCP_FATE_KEEP)
			end_connection(tcp, slot, fate, now);
	}
}
