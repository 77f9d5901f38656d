/*
 * A relay is a slot of a table, in one of these states:
 *
 *   FREE --reserve--> RESERVED --wait--> WAITING --begin--> FLOWING --> FREE
 *                                           \--> FREE: home does not come, the initiator goes
 *
 *   RESERVED  has a ticket; for as long as one request is answered
 *   WAITING   the initiator's connection is here; home was told and has `join_ms` to come
 *   FLOWING   both are here, and each is sent what the other says (flow.h)
 *
 * The rule for a full table, and for a name that has as many relays as it may: among all, or among
 * those of the name, the relay ends of which an end has left TCP keep-alives unanswered for
 * longest, and for `dead_ms` at least (keepalive.h). If there is none, the new one is refused, with
 * an error that says which of the two was full. No relay ends because it is silent, and no dead one
 * ends before its place is needed: an end that does not answer may come back, and is given up after
 * some 53 minutes. The keep-alives also keep the mappings in the NATs on the way. A FIN is passed
 * on after the bytes before it, and the other direction goes on; when one end is cut off, so is the
 * other. A relay outlives the removal of its name's key.
 *
 * What it costs: six descriptors each, and in the kernel the sockets' buffers and two pipes.
 *
 * A relay is watched edge-triggered, and each event moves both directions on until neither can. So
 * the loop is told nothing while data flows, and it does not spin on a side that is ready while the
 * other is not, or that has hung up while the other still reads. A relay that could go on and on
 * is stopped after TURNS, marked, and continued after the others.
 *
 * Threat: an attacker without a key gets no further than a JOIN, which is refused by the same bytes
 * for every reason. It is checked against the one relay that it names, so each guess costs the
 * attacker a connection, and a waiting relay nothing. An attacker with a key can take as many slots
 * as his name may have, can send as fast as home's connection takes it, and can stop reading: that
 * costs buffers of a fixed size. He cannot end a relay whose ends are there.
 */
#include "reflector/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/flow.h"
#include "natpunch/os/keepalive.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/proto/stun_auth.h"

#define TURNS  32 /* of 64 KiB in or out for one direction, before others have theirs */
#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

const struct sandbox_call relay_calls[] = {
	SOCKET_OPTION_ROW(SOL_SOCKET, SO_KEEPALIVE),
	SOCKET_OPTION_ROW(SOL_SOCKET, SO_LINGER), /* flow_abort() */
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_KEEPIDLE),
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_KEEPINTVL),
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_KEEPCNT),
	SOCKET_OPTION_ROW(IPPROTO_TCP, TCP_NODELAY),
	SANDBOX_END,
};

enum phase {
	PHASE_FREE,
	PHASE_RESERVED,
	PHASE_WAITING,
	PHASE_FLOWING,
};

enum leg {
	LEG_INITIATOR,
	LEG_HOME,
	LEGS,
};

struct relay_slot {
	enum phase phase;
	uint32_t generation;
	bool again;   /* FLOWING: was stopped after TURNS */
	uint64_t due; /* WAITING */
	uint64_t began;
	int fds[LEGS]; /* -1: not here */
	struct addr peers[LEGS];
	struct flow flows[LEGS]; /* from that leg to the other */
	uint8_t token[RELAY_TOKEN_SIZE];
	uint8_t transaction[STUN_TRANSACTION_SIZE]; /* of the initiator's request */
	uint8_t answer[RELAY_ANSWER];
	size_t answer_size;
	char name[KEY_NAME_SIZE];
};

/* ---- the table ---------------------------------------------------------------------------- */

int relay_open(
	struct relay *relay, struct loop *loop, uint8_t tag_kind, const struct relay_limits *limits)
{
	*relay = (struct relay){.limits = *limits, .loop = loop, .tag_kind = tag_kind};
	relay->slots = calloc(limits->all, sizeof(*relay->slots));
	return relay->slots != NULL ? 0 : -1;
}

static uint64_t make_number(uint64_t slot, uint32_t generation)
{
	return slot << 32 | generation;
}

/* The slot of that number, or NULL when it is free or another relay's by now. */
static struct relay_slot *find(const struct relay *relay, uint64_t number)
{
	uint32_t slot = (uint32_t)(number >> 32);

	if (relay->slots == NULL || slot >= relay->limits.all ||
		relay->slots[slot].generation != (uint32_t)number ||
		relay->slots[slot].phase == PHASE_FREE)
		return NULL;
	return &relay->slots[slot];
}

static void release(struct relay *relay, struct relay_slot *slot)
{
	uint32_t generation = slot->generation;

	flow_close(&slot->flows[LEG_INITIATOR]);
	flow_close(&slot->flows[LEG_HOME]);
	secret_wipe(slot, sizeof(*slot));
	slot->generation = generation;
	relay->used--;
}

/* The first slot that is free, or NULL; and how many the name has. */
static struct relay_slot *find_free(const struct relay *relay, const char *name, uint32_t *same)
{
	struct relay_slot *found = NULL;

	*same = 0;
	for (uint32_t i = 0; i < relay->limits.all; i++) {
		struct relay_slot *slot = &relay->slots[i];

		if (slot->phase != PHASE_FREE)
			*same += strcmp(slot->name, name) == 0;
		else if (found == NULL)
			found = slot;
	}
	return found;
}

/* ---- ends --------------------------------------------------------------------------------- */

static void log_slot(const struct relay_slot *slot, const char *what)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("relay for %s at %s %s", addr_format(&slot->peers[LEG_INITIATOR], text),
			slot->name, what);
}

static bool send_all(int fd, const void *data, size_t size)
{
	return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Before the first byte was relayed: tells the initiator why, and closes in order. */
static void refuse(struct relay *relay, struct relay_slot *slot, unsigned code)
{
	uint8_t bytes[RELAY_ANSWER];
	size_t size = relay_message_write_error(
		STUN_METHOD_RELAY, slot->transaction, code, bytes, sizeof(bytes));

	if (send_all(slot->fds[LEG_INITIATOR], bytes, size))
		count_answer(relay->counters, COUNTER_TCP_ANSWERS, bytes, size);
	close(slot->fds[LEG_INITIATOR]);
	release(relay, slot);
}

static void log_end(const struct relay_slot *slot, const char *how, uint64_t now)
{
	const struct flow *flows = slot->flows;

	if (!log_admits())
		return;
	log_detail("relay for %s %s after %llu s: %llu bytes to it, %llu bytes from it", slot->name,
		how, (unsigned long long)(now - slot->began) / 1000,
		(unsigned long long)flows[LEG_INITIATOR].passed,
		(unsigned long long)flows[LEG_HOME].passed);
}

static void count_passed(const struct relay_slot *slot, struct counters *counters)
{
	count_many(counters, COUNTER_RELAYED_TO_HOME, slot->flows[LEG_INITIATOR].passed);
	count_many(counters, COUNTER_RELAYED_FROM_HOME, slot->flows[LEG_HOME].passed);
}

void relay_count(const struct relay *relay, struct counters *counters)
{
	for (uint32_t i = 0; relay->slots != NULL && i < relay->limits.all; i++)
		if (relay->slots[i].phase == PHASE_FLOWING)
			count_passed(&relay->slots[i], counters);
	count_many(counters, COUNTER_RELAYS, relay->used);
	count_many(counters, COUNTER_RELAYS_MAX, relay->slots != NULL ? relay->limits.all : 0);
}

static void finish(struct relay *relay, struct relay_slot *slot, bool in_order, uint64_t now)
{
	log_end(slot, in_order ? "ended" : "was cut", now);
	count_passed(slot, relay->counters);
	for (int leg = 0; leg < LEGS; leg++) {
		relay->passed += slot->flows[leg].passed;
		if (in_order)
			close(slot->fds[leg]);
		else
			flow_abort(slot->fds[leg]);
	}
	release(relay, slot);
}

void relay_close(struct relay *relay)
{
	for (uint32_t i = 0; relay->slots != NULL && i < relay->limits.all; i++) {
		struct relay_slot *slot = &relay->slots[i];

		if (slot->phase == PHASE_FREE)
			continue;
		for (int leg = 0; leg < LEGS; leg++) {
			relay->passed += slot->flows[leg].passed;
			if (slot->fds[leg] >= 0)
				flow_abort(slot->fds[leg]);
		}
		release(relay, slot);
	}
	if (relay->slots != NULL)
		log_detail("relayed in all: %llu connections, %llu bytes",
			(unsigned long long)relay->sessions, (unsigned long long)relay->passed);
	free(relay->slots);
	relay->slots = NULL;
}

/* ---- a place ------------------------------------------------------------------------------ */

/* For how long an end has been dead, if one is; else 0. */
static uint32_t dead_for(const struct relay *relay, const struct relay_slot *slot)
{
	uint32_t longest = 0;

	for (int leg = 0; slot->phase == PHASE_FLOWING && leg < LEGS; leg++) {
		uint32_t since = keepalive_dead_ms(slot->fds[leg], relay->limits.dead_ms);

		longest = since > longest ? since : longest;
	}
	return longest;
}

/* Ends the relay that has been dead for longest, of that name or (NULL) of any. False: all live. */
static bool end_dead(struct relay *relay, const char *name, uint64_t now)
{
	struct relay_slot *found = NULL;
	uint32_t longest = 0;

	for (uint32_t i = 0; i < relay->limits.all; i++) {
		struct relay_slot *slot = &relay->slots[i];
		uint32_t since =
			name == NULL || strcmp(slot->name, name) == 0 ? dead_for(relay, slot) : 0;

		if (since > longest) {
			longest = since;
			found = slot;
		}
	}
	if (found == NULL)
		return false;
	count_one(relay->counters, name != NULL ? COUNTER_DEAD_RELAY_NAME : COUNTER_DEAD_RELAY);
	log_slot(found, "does not answer: its place goes to another");
	finish(relay, found, false, now);
	return true;
}

static void take(struct relay_slot *slot, const char *name)
{
	static const struct flow none = {.pipe = {-1, -1}};

	slot->generation = slot->generation == UINT32_MAX ? 1 : slot->generation + 1;
	slot->phase = PHASE_RESERVED;
	slot->fds[LEG_INITIATOR] = slot->fds[LEG_HOME] = -1;
	slot->flows[LEG_INITIATOR] = slot->flows[LEG_HOME] = none;
	memcpy(slot->name, name, strlen(name) + 1);
	random_fill(slot->token, sizeof(slot->token));
}

unsigned relay_reserve(
	struct relay *relay, const char *name, struct relay_ticket *ticket, uint64_t now)
{
	uint32_t same;
	struct relay_slot *slot = find_free(relay, name, &same);

	if (same >= relay->limits.name && !end_dead(relay, name, now))
		return RELAY_MESSAGE_NAME_FULL;
	if (same < relay->limits.name && slot == NULL && !end_dead(relay, NULL, now))
		return RELAY_MESSAGE_FULL;
	slot = find_free(relay, name, &same);
	take(slot, name);
	relay->used++;
	ticket->number = make_number((uint32_t)(slot - relay->slots), slot->generation);
	memcpy(ticket->token, slot->token, sizeof(ticket->token));
	return 0;
}

/* ---- the initiator ------------------------------------------------------------------------ */

static bool watch(struct relay *relay, const struct relay_slot *slot, int leg)
{
	struct loop_tag tag = {
		.kind = relay->tag_kind,
		.slot = (uint32_t)(slot - relay->slots) * LEGS + (uint32_t)leg,
		.generation = slot->generation,
	};

	return loop_add(relay->loop, slot->fds[leg], EVENTS, tag) == 0;
}

/* By keep-alives NATs remember an idle connection, and an end that is gone is noticed. */
static void prepare(int fd)
{
	keepalive_start(fd);
	socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void relay_wait(struct relay *relay, uint64_t number, const struct relay_initiator *initiator,
	bool told, uint64_t now)
{
	struct relay_slot *slot = find(relay, number);

	if (slot == NULL || slot->phase != PHASE_RESERVED ||
		initiator->answer_size > sizeof(slot->answer)) {
		close(initiator->fd);
		return;
	}
	slot->phase = PHASE_WAITING;
	slot->fds[LEG_INITIATOR] = initiator->fd;
	slot->peers[LEG_INITIATOR] = initiator->peer;
	slot->due = now + relay->limits.join_ms;
	memcpy(slot->transaction, initiator->transaction, sizeof(slot->transaction));
	memcpy(slot->answer, initiator->answer, initiator->answer_size);
	slot->answer_size = initiator->answer_size;
	if (!told)
		refuse(relay, slot, RELAY_MESSAGE_NOT_HOME);
	else if (!watch(relay, slot, LEG_INITIATOR))
		refuse(relay, slot, RELAY_MESSAGE_FULL);
	else
		prepare(initiator->fd);
}

/* ---- home --------------------------------------------------------------------------------- */

enum relay_verdict relay_answer_join(struct relay *relay, const void *data, size_t data_size,
	void *out, size_t capacity, size_t *size, uint64_t *number)
{
	static const uint8_t nobodys[RELAY_TOKEN_SIZE];
	const struct relay_slot *slot;
	struct stun_message message;
	bool waits, proven;
	int join;

	*size = 0;
	if (stun_peek_method(data, data_size) != STUN_METHOD_JOIN ||
		stun_parse(&message, data, data_size) < 0)
		return RELAY_VERDICT_OTHER;
	join = relay_message_read_join(&message, number);
	if (join > 0)
		return RELAY_VERDICT_OTHER;
	slot = find(relay, *number);
	waits = join == 0 && slot != NULL && slot->phase == PHASE_WAITING;
	proven = stun_auth_check(&message, waits ? slot->token : nobodys, RELAY_TOKEN_SIZE) ==
		 STUN_AUTH_VALID;
	if (waits && proven) {
		*size = relay_message_write_joined(&message, slot->token, out, capacity);
		return RELAY_VERDICT_JOINED;
	}
	*size = relay_message_write_error(
		STUN_METHOD_JOIN, message.transaction, RELAY_MESSAGE_UNPROVEN, out, capacity);
	return RELAY_VERDICT_REFUSED;
}

static void move_on(struct relay *relay, struct relay_slot *slot, uint64_t now)
{
	enum flow_result results[LEGS];

	for (int leg = 0; leg < LEGS; leg++) {
		results[leg] = flow_advance(&slot->flows[leg], TURNS);
		if (results[leg] == FLOW_BROKEN) {
			finish(relay, slot, false, now);
			return;
		}
	}
	slot->again = results[0] == FLOW_MORE || results[1] == FLOW_MORE;
	if (results[0] == FLOW_ENDED && results[1] == FLOW_ENDED)
		finish(relay, slot, true, now);
}

void relay_begin(struct relay *relay, uint64_t number, int fd, const struct addr *peer,
	const void *answer, size_t answer_size, uint64_t now)
{
	struct relay_slot *slot = find(relay, number);
	int initiator;

	if (slot == NULL || slot->phase != PHASE_WAITING) {
		close(fd);
		return;
	}
	initiator = slot->fds[LEG_INITIATOR];
	slot->fds[LEG_HOME] = fd;
	slot->peers[LEG_HOME] = *peer;
	if (flow_open(&slot->flows[LEG_INITIATOR], initiator, fd) != 0 ||
		flow_open(&slot->flows[LEG_HOME], fd, initiator) != 0 ||
		!watch(relay, slot, LEG_HOME)) {
		close(fd);
		log_slot(slot, "failed: no descriptor or memory left");
		refuse(relay, slot, RELAY_MESSAGE_FULL);
		return;
	}
	prepare(fd);
	slot->phase = PHASE_FLOWING;
	slot->began = now;
	relay->sessions++;
	count_one(relay->counters, COUNTER_RELAYS_BEGUN);
	log_slot(slot, "begins");
	if (!send_all(initiator, slot->answer, slot->answer_size) ||
		!send_all(fd, answer, answer_size)) {
		finish(relay, slot, false, now);
		return;
	}
	count_answer(relay->counters, COUNTER_TCP_ANSWERS, slot->answer, slot->answer_size);
	count_answer(relay->counters, COUNTER_TCP_ANSWERS, answer, answer_size);
	move_on(relay, slot, now);
}

/* ---- both --------------------------------------------------------------------------------- */

void relay_event(struct relay *relay, struct loop_tag tag, uint32_t events, uint64_t now)
{
	uint64_t number = make_number(tag.slot / LEGS, tag.generation);
	struct relay_slot *slot = find(relay, number);

	if (slot == NULL)
		return;
	if (slot->phase == PHASE_FLOWING) {
		if ((events & EPOLLERR) != 0)
			finish(relay, slot, false, now);
		else
			move_on(relay, slot, now);
	} else if (slot->phase == PHASE_WAITING && (events & ~(uint32_t)EPOLLOUT) != 0) {
		log_slot(slot, "is off: it went away, or could not wait");
		close(slot->fds[LEG_INITIATOR]);
		release(relay, slot);
	}
}

uint64_t relay_next(const struct relay *relay)
{
	uint64_t due = TIMER_NONE;

	for (uint32_t i = 0; relay->used > 0 && i < relay->limits.all; i++) {
		const struct relay_slot *slot = &relay->slots[i];

		if (slot->phase == PHASE_FLOWING && slot->again)
			return 0;
		if (slot->phase == PHASE_WAITING && slot->due < due)
			due = slot->due;
	}
	return due;
}

void relay_expire(struct relay *relay, uint64_t now)
{
	for (uint32_t i = 0; relay->used > 0 && i < relay->limits.all; i++) {
		struct relay_slot *slot = &relay->slots[i];

		if (slot->phase == PHASE_FLOWING && slot->again) {
			move_on(relay, slot, now);
		} else if (slot->phase == PHASE_WAITING && now >= slot->due) {
			log_slot(slot, "is off: home did not come");
			refuse(relay, slot, RELAY_MESSAGE_NOT_HOME);
		}
	}
}
