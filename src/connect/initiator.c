/*
 * The race between the ways to home: an attempt (attempt.h) for each address of the reflector, the
 * families by turns (RFC 8305 section 4), all in one poll(2).
 *
 * Events, in this order after each poll:
 *
 *   an attempt is OPEN     it wins, and all others are ended
 *   an attempt is BUSY     the reflector answered there: those of the same family that are still
 *                          CALLING are taken back. Home hears of one of our ports in each family
 *   nothing is under way, or `next_due` has come
 *                          the next attempt begins; of a family that has one past CALLING, or one
 *                          that FAILED, there is none
 *   nothing is under way, and there is no next
 *                          the first that is WAITING asks for a relay. There is none: the end
 *
 * So a direct way in either family is taken before a relay, and where home and we have no family in
 * common, or no route in it, the relay is asked for at once.
 *
 * Timers: next_due, those of the attempts, and the request's deadline, which ends all. Invariant:
 * what is not IDLE when the race is over is ended.
 */
#include "natpunch/connect/initiator.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "connect/attempt.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"

#define ATTEMPT_MAX RESOLVE_MAX

struct race {
	struct attempt attempts[ATTEMPT_MAX];
	size_t count;
	uint32_t stagger_ms;
	uint64_t next_due; /* TIMER_NONE: there is no next */
	uint64_t now;
};

/* The families by turns, the resolver's first one first. */
static void line_up(struct race *race, const struct resolve *names,
	const struct initiator_request *request, const struct initiator_times *times)
{
	size_t next[2] = {0, 0};
	bool six = names->count > 0 && names->found[0].family == ADDR_IPV6;

	for (; race->count < names->count; six = !six) {
		enum addr_family family = six ? ADDR_IPV6 : ADDR_IPV4;
		size_t *at = &next[six];

		while (*at < names->count && names->found[*at].family != family)
			(*at)++;
		if (*at == names->count)
			continue;
		attempt_init(&race->attempts[race->count++],
			&(struct attempt_config){
				.reflector = resolve_target(names, *at),
				.family = family,
				.nat64 = names->nat64,
				.key = request->key,
				.times = times,
			});
		(*at)++;
	}
}

static bool is_under_way(const struct attempt *attempt)
{
	return attempt->state == ATTEMPT_CALLING || attempt->state == ATTEMPT_BUSY;
}

/* Has the family one that answered, or said that it is in vain? */
static bool is_taken(const struct race *race, enum addr_family family)
{
	for (size_t i = 0; i < race->count; i++) {
		const struct attempt *attempt = &race->attempts[i];

		if (attempt->config.family == family && attempt->state != ATTEMPT_IDLE &&
			attempt->state != ATTEMPT_CALLING && attempt->state != ATTEMPT_VAIN)
			return true;
	}
	return false;
}

static void take_back_callers(struct race *race)
{
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].state == ATTEMPT_CALLING &&
			is_taken(race, race->attempts[i].config.family))
			attempt_end(&race->attempts[i]);
}

static bool goes_on(const struct race *race)
{
	for (size_t i = 0; i < race->count; i++)
		if (is_under_way(&race->attempts[i]))
			return true;
	return false;
}

static struct attempt *find(struct race *race, enum attempt_state state)
{
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].state == state &&
			(state != ATTEMPT_IDLE || !is_taken(race, race->attempts[i].config.family)))
			return &race->attempts[i];
	return NULL;
}

/* One that is over before the others is told; the last one's error is the whole's. */
static void tell_end(const struct race *race, const struct attempt *attempt)
{
	if (race->count > 1 && (attempt->state == ATTEMPT_VAIN || attempt->state == ATTEMPT_FAILED))
		log_detail("%s", attempt->error.text);
}

/* Returns false once nothing is under way any more, or one is open. */
static bool begin_what_is_due(struct race *race)
{
	struct attempt *next;

	take_back_callers(race);
	if (find(race, ATTEMPT_OPEN) != NULL)
		return false;
	while ((next = find(race, ATTEMPT_IDLE)) != NULL &&
		(!goes_on(race) || race->now >= race->next_due)) {
		attempt_start(next, race->now);
		tell_end(race, next);
		race->next_due = race->now + race->stagger_ms;
	}
	if (next == NULL)
		race->next_due = TIMER_NONE;
	while (!goes_on(race) && (next = find(race, ATTEMPT_WAITING)) != NULL) {
		attempt_relay(next, race->now);
		tell_end(race, next);
	}
	return goes_on(race);
}

static void wait_for_events(struct race *race, uint64_t deadline)
{
	struct pollfd fds[ATTEMPT_MAX][ATTEMPT_WATCH_MAX];
	uint64_t due = race->next_due < deadline ? race->next_due : deadline;

	for (size_t i = 0; i < race->count; i++) {
		uint64_t own = attempt_watch(&race->attempts[i], fds[i]);

		due = own < due ? own : due;
	}
	if (poll(fds[0], (nfds_t)(race->count * ATTEMPT_WATCH_MAX), clock_poll_ms(race->now, due)) <
		0)
		for (size_t i = 0; i < race->count * ATTEMPT_WATCH_MAX; i++)
			fds[i / ATTEMPT_WATCH_MAX][i % ATTEMPT_WATCH_MAX].revents = 0;
	race->now = clock_now_ms();
	for (size_t i = 0; i < race->count; i++) {
		enum attempt_state before = race->attempts[i].state;

		attempt_advance(&race->attempts[i], fds[i], race->now);
		if (race->attempts[i].state != before)
			tell_end(race, &race->attempts[i]);
	}
}

/* How much a failure tells. */
static int rank(const struct error *error)
{
	switch (error->status) {
	case EXIT_STATUS_UNREACHABLE:
		return 3;
	case EXIT_STATUS_PEER:
		return 2;
	case EXIT_STATUS_NETWORK:
		return 1;
	default:
		return 0;
	}
}

/*
 * As ssh has a connection that it made itself: a key is sent when it is struck, and not kept back
 * until the one before was acknowledged (RFC 9293 section 3.7.4), and a peer that is gone is
 * noticed. A connection that has died has no options to set.
 */
static void prepare(int fd)
{
	socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

/* The connection of the winner; or -1 and the most telling error. All are ended. */
static int finish(struct race *race, struct error *error)
{
	struct attempt *winner = find(race, ATTEMPT_OPEN);
	int fd = winner != NULL ? attempt_take(winner) : -1;
	const struct error *telling = NULL;

	for (size_t i = 0; i < race->count && fd < 0; i++) {
		struct attempt *attempt = &race->attempts[i];

		attempt_expire(attempt);
		if (attempt->state != ATTEMPT_IDLE &&
			(telling == NULL || rank(&attempt->error) > rank(telling)))
			telling = &attempt->error;
	}
	if (telling != NULL)
		*error = *telling;
	if (fd >= 0)
		prepare(fd);
	for (size_t i = 0; i < race->count; i++)
		attempt_end(&race->attempts[i]);
	return fd;
}

int initiator_connect(const struct initiator_request *request, struct error *error)
{
	static const struct initiator_times usual = INITIATOR_TIMES_DEFAULT;
	const struct initiator_times *times = request->times != NULL ? request->times : &usual;
	const struct host_port *reflector = request->reflector;
	uint64_t deadline = clock_now_ms() + request->timeout_ms;
	struct race race = {.stagger_ms = times->stagger};
	struct resolve resolve;

	resolve_start_reflector(&resolve, request->resolver, reflector, request->family);
	resolve_wait(&resolve, reflector->host, deadline, error);
	line_up(&race, &resolve, request, times);
	resolve_end(&resolve);
	race.now = clock_now_ms();
	while (begin_what_is_due(&race) && race.now < deadline)
		wait_for_events(&race, deadline);
	return finish(&race, error);
}
