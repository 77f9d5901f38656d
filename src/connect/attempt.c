/*
 * How connect gets to home by one address of the reflector: phases, one after the other.
 *
 *   phase    ends by                         deadline      DONE: next   VAIN: next
 *   PAUSE    the time                        PAUSE_MS      CONNECT
 *   CONNECT  the TCP handshake               next_address  NONCE
 *   NONCE    the nonce's datagram            nonce         ASK
 *   ASK      the answer to CONNECT           answer        UNHELD       WAIT
 *   UNHELD   attempt_try(), if that is put   none          PUNCH
 *            off; at once where home is held
 *   PUNCH    a connection; or the sampler    second_after               SAMPLE
 *            says that there can be none     or first                   WAIT
 *            where a relay is offered to a   second_after               WAIT
 *            home that is held
 *   SAMPLE   all answers, or one that fails  the sampler's TELL         WAIT
 *   TELL     the answer to CONNECT           answer        HEAR         WAIT
 *   HEAR     home's PREDICTION               prediction    PUNCH_AGAIN  WAIT
 *   PUNCH_AGAIN  a connection                second                     WAIT
 *   WAIT     attempt_relay()                 none          RELAY
 *   RELAY    the answer to RELAY             relay
 *
 * The deadlines are those of struct initiator_times. An attempt ends OPEN with a connection,
 * SILENT, VAIN or FAILED. A phase is a row of functions (attempt_phase.h). Their reasons stand
 * beside them: attempt_find.c for PAUSE to UNHELD, attempt_punch.c for PUNCH to PUNCH_AGAIN,
 * attempt_relay.c for WAIT and RELAY.
 *
 * Events, in this order after each poll: the listener has a connection from home; the phase's own;
 * home's own addresses. A phase that ends LATE has the attempt begin again at PAUSE, TRIES_MAX
 * times in all.
 *
 * Timers: `due` of the phase, and those of the punches, of the sampler and of `nearby`.
 *
 * Invariant: what an attempt that has ended has open is the connection of OPEN alone.
 *
 * A connection can be established in three ways; the first one is used:
 *
 *   ours     connect() from our port to home's mapping. It meets home's own SYN (a simultaneous
 *            open), or finds home's NAT open and sshd behind it.
 *   home's   accepted on our port (punch_port.h), in each phase after ASK. Where home's NAT is
 *            symmetric, home comes from a port that nobody could predict; it gets through to us
 *            when our own NAT lets it, or when there is none.
 *   nearby   connect() from any port to an address of home's own, in each phase after ASK, where
 *            the reflector sees us at the place where it sees home. nearby.h says why there alone,
 *            and why the other two are preferred for a tenth of a second.
 *
 * Families. Home can be told of our mapping, and we of its, in the family only that the reflector
 * sees us in. Where home is known in the other one alone, there is nothing to punch, and the
 * attempt waits at once. Behind a NAT64 that family is IPv4, and what is connected to are the IPv6
 * addresses that stand for home and the reflector.
 */
#include "connect/attempt.h"

#include <string.h>
#include <unistd.h>

#include "connect/attempt_find.h"
#include "connect/attempt_phase.h"
#include "connect/attempt_punch.h"
#include "connect/attempt_relay.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

#define TRIES_MAX 6 /* at an address where our question came too late, or was not answered */

enum phase {
	PHASE_PAUSE,
	PHASE_CONNECT,
	PHASE_NONCE,
	PHASE_ASK,
	PHASE_UNHELD,
	PHASE_PUNCH,
	PHASE_SAMPLE,
	PHASE_TELL,
	PHASE_HEAR,
	PHASE_PUNCH_AGAIN,
	PHASE_WAIT,
	PHASE_RELAY,
};

static const struct {
	const struct attempt_phase *at;
	enum phase done, vain; /* what follows */
} phases[] = {
	[PHASE_PAUSE] = {&attempt_find_pause, .done = PHASE_CONNECT},
	[PHASE_CONNECT] = {&attempt_find_connect, .done = PHASE_NONCE},
	[PHASE_NONCE] = {&attempt_find_nonce, .done = PHASE_ASK},
	[PHASE_ASK] = {&attempt_find_ask, PHASE_UNHELD, PHASE_WAIT},
	[PHASE_UNHELD] = {&attempt_find_unheld, .done = PHASE_PUNCH},
	[PHASE_PUNCH] = {&attempt_punch_first, .vain = PHASE_SAMPLE},
	[PHASE_SAMPLE] = {&attempt_punch_sample, PHASE_TELL, PHASE_WAIT},
	[PHASE_TELL] = {&attempt_punch_tell, PHASE_HEAR, PHASE_WAIT},
	[PHASE_HEAR] = {&attempt_punch_hear, PHASE_PUNCH_AGAIN, PHASE_WAIT},
	[PHASE_PUNCH_AGAIN] = {&attempt_punch_second, .vain = PHASE_WAIT},
	[PHASE_WAIT] = {&attempt_relay_wait, .done = PHASE_RELAY},
	[PHASE_RELAY] = {&attempt_relay_ask, .done = PHASE_RELAY},
};

/* What an attempt polls: the listener, home's own addresses, what the phase has of its own. */
enum watch {
	WATCH_LISTENER,
	WATCH_NEARBY,
	WATCH_OWN = WATCH_NEARBY + NEARBY_MAX,
};

static void close_all(struct attempt *in)
{
	attempt_punch_end(in);
	nearby_end(&in->nearby);
	port_sampler_end(&in->sampler);
	punch_port_leave(&in->port);
	reflector_call_end(&in->call);
	reflector_session_end(&in->session);
	if (in->connection >= 0)
		close(in->connection);
	in->connection = -1;
}

/* Closes all except the connection, which is for attempt_take(). */
static void open_way(struct attempt *in)
{
	int connection = in->connection;

	in->connection = -1;
	close_all(in);
	in->connection = connection;
	in->state = ATTEMPT_OPEN;
}

static enum phase_end follow(struct attempt *in, enum phase_end end)
{
	enum phase next = end == END_DONE ? phases[in->phase].done : phases[in->phase].vain;

	if (in->phase == PHASE_PUNCH &&
		(!in->can_predict || in->session.question.home_random_ports))
		next = PHASE_WAIT;
	in->phase = next;
	return phases[next].at->begin(in);
}

static enum phase_end begin_again(struct attempt *in)
{
	log_detail("%s", in->error.text);
	close_all(in);
	if (++in->tries == TRIES_MAX)
		return END_NEXT;
	in->phase = PHASE_PAUSE;
	return attempt_find_pause.begin(in);
}

static enum attempt_state state_of(enum phase phase)
{
	switch (phase) {
	case PHASE_PAUSE:
	case PHASE_CONNECT:
		return ATTEMPT_CALLING;
	case PHASE_NONCE:
	case PHASE_ASK:
		return ATTEMPT_ASKING;
	case PHASE_UNHELD:
		return ATTEMPT_UNHELD;
	case PHASE_WAIT:
		return ATTEMPT_WAITING;
	default:
		return ATTEMPT_BUSY;
	}
}

static void settle(struct attempt *in, enum phase_end end)
{
	while (end == END_DONE || end == END_VAIN || end == END_LATE)
		end = end == END_LATE ? begin_again(in) : follow(in, end);
	if (end == END_OPEN) {
		open_way(in);
		return;
	}
	if (end == END_STAYS) {
		in->state = state_of((enum phase)in->phase);
		return;
	}
	close_all(in);
	in->state = end == END_SILENT ? ATTEMPT_SILENT
		    : end == END_NEXT ? ATTEMPT_VAIN
				      : ATTEMPT_FAILED;
}

static bool is_under_way(const struct attempt *in)
{
	return in->state >= ATTEMPT_CALLING && in->state <= ATTEMPT_WAITING;
}

void attempt_init(struct attempt *attempt, const struct attempt_config *config)
{
	memset(attempt, 0, sizeof(*attempt)); /* PUNCH_NONE, PORT_SAMPLER_NONE */
	attempt->config = *config;
	punch_port_init(&attempt->port, (enum addr_family)config->reflector.family);
	attempt->connection = -1;
	attempt->session.stream = -1;
	attempt->session.datagram = -1;
	nearby_init(&attempt->nearby);
}

void attempt_start(struct attempt *attempt, uint64_t now)
{
	attempt->now = now;
	attempt->tries = 0;
	attempt->phase = PHASE_CONNECT;
	settle(attempt, attempt_find_connect.begin(attempt));
}

uint64_t attempt_watch(const struct attempt *attempt, struct pollfd fds[ATTEMPT_WATCH_MAX])
{
	bool known = attempt->home.family != ADDR_NONE;
	uint64_t due = attempt->due;

	for (size_t i = 0; i < ATTEMPT_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (!is_under_way(attempt))
		return TIMER_NONE;
	fds[WATCH_LISTENER] =
		(struct pollfd){.fd = known ? attempt->port.listener : -1, .events = POLLIN};
	phases[attempt->phase].at->watch(attempt, fds + WATCH_OWN);
	due = timer_earlier(due, nearby_watch(&attempt->nearby, fds + WATCH_NEARBY));
	for (size_t i = 0; i < attempt->punch_count; i++)
		due = timer_earlier(due, attempt->punches[i].due);
	return due;
}

static enum phase_end take_arrival(struct attempt *in)
{
	in->connection = punch_port_accept(&in->port, &in->target);
	return in->connection >= 0 ? END_OPEN : END_STAYS;
}

void attempt_advance(
	struct attempt *attempt, const struct pollfd fds[ATTEMPT_WATCH_MAX], uint64_t now)
{
	enum phase_end end = END_STAYS;

	if (!is_under_way(attempt))
		return;
	attempt->now = now;
	if (fds[WATCH_LISTENER].revents != 0)
		end = take_arrival(attempt);
	if (end == END_STAYS)
		end = phases[attempt->phase].at->step(attempt, fds + WATCH_OWN);
	/* Last, so that the way through the NATs comes first. */
	if (end != END_OPEN && nearby_advance(&attempt->nearby, fds + WATCH_NEARBY,
				       attempt->phase >= PHASE_WAIT, now)) {
		attempt->connection = nearby_take(&attempt->nearby);
		end = END_OPEN;
	}
	settle(attempt, end);
}

uint64_t attempt_company_due(const struct attempt *attempt, unsigned number)
{
	if (attempt->state != ATTEMPT_BUSY || attempt->phase != PHASE_PUNCH || !attempt->held ||
		attempt->can_predict || attempt->session.question.home_random_ports)
		return TIMER_NONE;
	return attempt->punched + number * attempt_punch_company_ms(attempt);
}

void attempt_try(struct attempt *attempt, uint64_t now)
{
	attempt->now = now;
	settle(attempt, END_DONE);
}

void attempt_relay(struct attempt *attempt, uint64_t now)
{
	attempt->now = now;
	settle(attempt, END_DONE);
}

void attempt_expire(struct attempt *attempt)
{
	if (!is_under_way(attempt))
		return;
	if (attempt->phase <= PHASE_ASK)
		settle(attempt, attempt_phase_stop(attempt, END_SILENT, EXIT_STATUS_NETWORK,
					"no answer from", "the time is up"));
	else
		settle(attempt, attempt_phase_fail(attempt, "the time is up"));
}

int attempt_take(struct attempt *attempt)
{
	int fd = attempt->connection;

	attempt->connection = -1;
	attempt->state = ATTEMPT_IDLE;
	return fd;
}

void attempt_end(struct attempt *attempt)
{
	close_all(attempt);
	attempt->state = ATTEMPT_IDLE;
}
