/*
 * How a connection is held.
 *
 * States, by `open` and binding.state:
 *
 *   CLOSED --held_begin()--> IDLE --keepalive_due--> ASKING --answer--> IDLE
 *     ^                        |                       |
 *     |______ HELD_LOST _______|____ or HELD_SILENT ___|
 *
 *   CLOSED  nothing is open, and no timer runs.
 *   IDLE    the reflector has answered (ANSWERED). The last keep-alive keeps the NAT's entry alive.
 *   ASKING  a keep-alive is under way: the Binding request over the same connection or from the
 *           same port. Home sends it, as a NAT need not refresh a mapping for inbound packets (RFC
 *           4787 REQ-6), and its answer proves the mapping.
 *
 * Events:
 *   answer        -> HELD_ANSWERED; `mapping` is what the answer says. Over UDP the NAT can
 *                    allocate a new port in between: then the name is registered anew.
 *   closed        -> HELD_LOST, in IDLE and in ASKING: a FIN, a RST, or an error of the network.
 *   answer_due    -> HELD_SILENT.
 *   renew_due     -> HELD_ENDING: the owner makes the next connection while this one is open.
 *   other message -> an invitation goes to `invited`, any other one to the registration.
 *
 * Timers:
 *   keepalive_due  in IDLE: the interval, less some jitter.
 *   answer_due     in ASKING: three times the kernel's retransmission timeout, HELD_ANSWER_MS at
 *                  least and HELD_ANSWER_MAX_MS at most.
 *   renew_due      three quarters of the lifetime of this server's connections, if that is known.
 *   and those of the Binding request (sent again over UDP) and of the registration.
 *
 * Invariants: keepalive_due and answer_due never run both; `mapping` is what the last answer said;
 * a new connection is open before the old one is closed; a connection that is lost or in doubt is
 * closed silently, as a FIN or RST makes NATs forget the mapping, unless `in_order` is set: some
 * NATs do not bear a silent close.
 */
#include "home/held.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define END_PATIENCE_MS 2000

static void stop_timers(struct held *held)
{
	held->keepalive_due = held->answer_due = held->renew_due = TIMER_NONE;
}

void held_init(struct held *held, const struct key *key, struct home_facts *facts,
	uint64_t interval_ms,
	void (*invited)(void *context, const struct invitation *invitation, uint64_t now),
	void *context)
{
	memset(held, 0, sizeof(*held));
	held->interval_ms = interval_ms;
	held->invited = invited;
	held->context = context;
	registration_init(&held->registration, key, facts);
	stop_timers(held);
}

static void start_keepalive_timer(struct held *held, uint64_t now)
{
	held->keepalive_due = now + timers_with_jitter(held->interval_ms);
}

void held_set_interval(struct held *held, uint64_t interval_ms, uint64_t now)
{
	held->interval_ms = interval_ms;
	if (held->keepalive_due != TIMER_NONE)
		start_keepalive_timer(held, now);
}

/* Takes a message that is not the answer to the Binding request. */
static void take_other_message(void *context, const void *data, size_t size)
{
	struct held *held = context;
	struct invitation invitation;

	if (registration_take_invitation(&held->registration, data, size, &invitation))
		held->invited(held->context, &invitation, held->now);
	else
		registration_take_response(&held->registration, data, size, held->now);
}

void held_begin(struct held *held, const struct mapping_race_result *result, uint64_t lifetime_ms,
	uint64_t now)
{
	uint64_t renew_ms = lifetime_ms - lifetime_ms / 4;

	/* The new connection is open: only now close the old one. */
	held_end(held);
	held->open = true;
	held->binding = result->winner;
	held->mapping = result->mapping;
	held->reflector = result->reflector;
	held->opened_at = held->now = now;
	binding_client_set_listener(&held->binding, take_other_message, held);
	registration_start(&held->registration, &held->binding, &held->mapping, now);
	start_keepalive_timer(held, now);
	if (lifetime_ms != 0)
		held->renew_due =
			now + (renew_ms > HELD_RENEW_MIN_MS ? renew_ms : HELD_RENEW_MIN_MS);
}

/*
 * Leaves time for the request or the answer to be lost once. On a path with long round trips
 * HELD_ANSWER_MS would be too short: each connection would be given up with its answer under way,
 * and that answer would then draw a RST, which makes NATs forget the mapping.
 */
static uint64_t answer_patience_ms(const struct held *held)
{
	int again = socket_retransmission_ms(binding_client_fd(&held->binding));
	uint64_t ms = again > 0 ? 3 * (uint64_t)again : 0;

	if (ms < HELD_ANSWER_MS)
		return HELD_ANSWER_MS;
	return ms < HELD_ANSWER_MAX_MS ? ms : HELD_ANSWER_MAX_MS;
}

void held_send_keepalive(struct held *held, uint64_t now)
{
	if (!held->open || held->binding.state != BINDING_CLIENT_ANSWERED)
		return;
	held->keepalive_due = TIMER_NONE;
	held->answer_due = now + answer_patience_ms(held);
	binding_client_ask_again(&held->binding, now);
}

uint64_t held_watch(const struct held *held, struct pollfd *fd)
{
	uint64_t due = timer_earlier(held->keepalive_due, held->answer_due);

	*fd = (struct pollfd){.fd = -1};
	if (!held->open)
		return TIMER_NONE;
	*fd = (struct pollfd){.fd = binding_client_fd(&held->binding),
		.events = binding_client_events(&held->binding)};
	due = timer_earlier(due, held->renew_due);
	due = timer_earlier(due, held->binding.due);
	return timer_earlier(due, registration_next(&held->registration));
}

static enum held_event take_loss(struct held *held, uint64_t now)
{
	log_detail("%s", held->binding.error.text);
	held->loss = (struct held_loss){
		.reflector = held->reflector,
		.stood_ms = now - held->opened_at,
		.idle = held->answer_due != TIMER_NONE,
		.reset = held->binding.reset,
		.promised = held->binding.answer.mode == BINDING_MODE_HOLD,
	};
	held_release(held);
	return HELD_LOST;
}

static enum held_event take_answer(struct held *held, uint64_t now)
{
	struct mapping before = held->mapping;

	held->answer_due = TIMER_NONE;
	start_keepalive_timer(held, now);
	held->mapping.public_addr = held->binding.answer.mapped;
	held->mapping.local = held->binding.local;
	if (!mapping_equal(&before, &held->mapping))
		registration_start(&held->registration, &held->binding, &held->mapping, now);
	return HELD_ANSWERED;
}

enum held_event held_advance(struct held *held, bool happened, uint64_t now)
{
	if (!held->open || (!happened && held->binding.due > now))
		return HELD_NOTHING;
	held->now = now;
	binding_client_advance(&held->binding, now);
	if (held->binding.state == BINDING_CLIENT_FAILED)
		return take_loss(held, now);
	if (held->binding.state == BINDING_CLIENT_ANSWERED && held->answer_due != TIMER_NONE)
		return take_answer(held, now);
	return HELD_NOTHING;
}

enum held_event held_expire(struct held *held, uint64_t now)
{
	if (!held->open)
		return HELD_NOTHING;
	if (timers_take_due(&held->keepalive_due, now))
		held_send_keepalive(held, now);
	if (timers_take_due(&held->answer_due, now)) {
		log_detail("no answer to the keep-alive");
		held_release(held);
		return HELD_SILENT;
	}
	registration_expire(&held->registration, now);
	return timers_take_due(&held->renew_due, now) ? HELD_ENDING : HELD_NOTHING;
}

/* Call it before the connection is closed, which the registration points to. */
static bool leave(struct held *held)
{
	bool was_open = held->open;

	registration_stop(&held->registration);
	stop_timers(held);
	held->open = false;
	return was_open;
}

void held_take_over(struct held *held, struct held *from, uint64_t now)
{
	const struct mapping_race_result taken = {
		.mapping = from->mapping, .reflector = from->reflector, .winner = from->binding};

	/* The initiator's invitation may be under way. */
	held->registration.expected = from->registration.expected;
	leave(from);
	held_begin(held, &taken, 0, now);
}

static void close_in_order(struct held *held)
{
	/* Without an answer to its FIN the connection would use the port for minutes. */
	if (held->binding.port.kind == BORROW_STREAM)
		socket_set_flag(
			held->binding.port.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, END_PATIENCE_MS);
	binding_client_end(&held->binding);
}

void held_release(struct held *held)
{
	if (!leave(held))
		return;
	held->released = (struct addr){.family = ADDR_NONE};
	if (held->in_order) {
		close_in_order(held);
		return;
	}
	if (held->binding.port.kind == BORROW_STREAM)
		held->released = held->binding.request.remote;
	borrow_forget(&held->binding.port);
}

void held_end(struct held *held)
{
	if (leave(held))
		close_in_order(held);
}
