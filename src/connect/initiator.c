/*
 * The race between the ways to home: an attempt (attempt.h) for each address of each reflector, all
 * in one poll(2). The addresses come as their names are looked up (reflector_queue.h).
 *
 * Which address is next (is_before()): an address that was not tried yet; then one of a reflector
 * that answered; then one of the reflector that was tried least; then the order given decides. So a
 * dead reflector costs one `stagger`, and a reflector that answers is asked in both families.
 *
 * Events, in this order after each poll:
 *
 *   an attempt is OPEN     it wins, and all others end
 *   an attempt is ASKING   it has reached the reflector: attempts of the same family and reflector
 *                          that are still CALLING are taken back. So home is told of one port of
 *                          ours in each family
 *   an attempt is BUSY     and its reflector holds home: for `held`, or until a companion is due,
 *                          no other reflector is asked, and attempts that are CALLING or ASKING
 *                          are taken back. So no punch takes the port that another one predicts
 *   a punch has no connection, and its company has none
 *                          another attempt is made beside it (companions.h)
 *   an attempt is SILENT   its address is tried again, until the deadline
 *   nothing is under way, or `next_due` has come (`stagger` after the last begin, or at once when
 *   an attempt led nowhere, UNHELD and WAITING included)
 *                          the next attempt begins, except at a reflector and in a family that has
 *                          one past CALLING, or one that FAILED
 *   no direct way is left, or a third of the time
 *                          the first that is WAITING asks for a relay, and the next one `held`
 *                          later
 *   nor a relay            of those that are UNHELD the freshest is tried, and the next one
 *                          `stagger` later. Not before: by now another machine may have that
 *                          address, and ssh would warn of its host key
 *
 * A direct way is left while an attempt punches, or an address was not tried. The race waits for a
 * reflector that has not answered: for `stagger` where it is not reached, for `held` where it is.
 * So a dead reflector does not delay the relay of another.
 *
 * So the race prefers a direct way by any reflector, in either family, to a relay. Where home and
 * we have no family in common, or no route in it, it asks for the relay at once. What a reflector
 * says of the name (not known, not held, the key refused) ends only the attempts at that reflector.
 *
 * Timers: those of next_event(), those of the attempts, and the request's deadline, which ends all.
 * Invariant: at the end each attempt is IDLE, and the queue and the companions are closed.
 */
#include "natpunch/connect/initiator.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "connect/attempt.h"
#include "connect/companions.h"
#include "connect/reflector_queue.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/watch.h"

#define NONE REFLECTOR_QUEUE_MAX

struct race {
	const struct initiator_request *request;
	const struct initiator_times *times;
	struct reflector_queue queue;
	struct attempt attempts[REFLECTOR_QUEUE_MAX]; /* with the queue's addresses */
	unsigned begins[REFLECTOR_QUEUE_MAX];         /* how often each was begun */
	bool relays[REFLECTOR_QUEUE_MAX];             /* has asked for a relay */
	struct companions companions;                 /* the rules of this file leave them out */
	size_t count;                                 /* attempts: what the queue had so far */
	uint64_t now, deadline;
	uint64_t next_due;
	uint64_t begun_at;   /* the last begin of an address that was not tried before */
	uint64_t held_until; /* until then no other reflector is asked */
	uint64_t relay_next; /* when another relay may be asked for */
	uint64_t relay_by;   /* from then on a direct way is not waited for */
	struct error error;  /* the most telling so far */
	unsigned error_rank; /* 0: there is none */
};

static unsigned reflector_of(const struct race *race, size_t i)
{
	return race->queue.addresses[i].reflector;
}

/* The first in that state, or NONE. */
static size_t find(const struct race *race, enum attempt_state state)
{
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].state == state)
			return i;
	return NONE;
}

static bool is_direct(const struct race *race, size_t i)
{
	return race->attempts[i].state == ATTEMPT_BUSY && !race->relays[i];
}

/* ---- errors ------------------------------------------------------------------------------- */

/* Ranks how much a failure tells; `heard`: something answered. */
static unsigned rank(const struct error *error, bool heard)
{
	switch (error->status) {
	case EXIT_STATUS_UNREACHABLE:
		return 5;
	case EXIT_STATUS_PEER:
		return 4;
	case EXIT_STATUS_NETWORK:
		return heard ? 3 : 2;
	default:
		return 1;
	}
}

static void note_error(struct race *race, const struct error *error, bool heard)
{
	unsigned own = rank(error, heard);

	if (own <= race->error_rank)
		return;
	race->error = *error;
	race->error_rank = own;
}

/* Logs as a detail what does not end the whole. */
static void note_end(struct race *race, size_t i)
{
	const struct attempt *attempt = &race->attempts[i];
	bool again = attempt->state == ATTEMPT_SILENT && race->now < race->deadline;

	note_error(race, &attempt->error, attempt->state == ATTEMPT_FAILED);
	if (again || race->count > 1 || reflector_queue_has_several(&race->queue))
		log_detail("%s", attempt->error.text);
}

/* Is there an error of the same reflector that tells more, or as much and comes first? */
static bool is_told_better(const struct race *race, size_t i)
{
	unsigned own = rank(&race->attempts[i].error, true);

	for (size_t k = 0; k < race->count; k++) {
		const struct error *error = &race->attempts[k].error;
		unsigned other = error->text[0] != '\0' ? rank(error, true) : 0;

		if (reflector_of(race, k) == reflector_of(race, i) && k != i &&
			(other > own || (other == own && k < i)))
			return true;
	}
	return false;
}

/* Logs a line for each other reflector: why it did not lead home either. */
static void tell_others(const struct race *race)
{
	for (size_t i = 0; i < race->count; i++) {
		const char *text = race->attempts[i].error.text;

		if (text[0] != '\0' && strcmp(text, race->error.text) != 0 &&
			!is_told_better(race, i))
			log_error("%s", text);
	}
}

/* ---- which one is next -------------------------------------------------------------------- */

static bool has_answered(const struct attempt *attempt)
{
	return attempt->state == ATTEMPT_FAILED ||
	       (attempt->state >= ATTEMPT_ASKING && attempt->state <= ATTEMPT_WAITING);
}

/* Has the reflector answered? ADDR_NONE: in any family. */
static bool is_taken(const struct race *race, unsigned reflector, enum addr_family family)
{
	for (size_t i = 0; i < race->count; i++)
		if (reflector_of(race, i) == reflector && has_answered(&race->attempts[i]) &&
			(family == ADDR_NONE || race->queue.addresses[i].family == family))
			return true;
	return false;
}

/* Does an attempt at another reflector, which holds home, still have the time for itself? */
static bool is_held_elsewhere(const struct race *race, unsigned reflector)
{
	if (race->now >= race->held_until)
		return false;
	for (size_t i = 0; i < race->count; i++)
		if (reflector_of(race, i) != reflector && is_direct(race, i) &&
			race->attempts[i].held)
			return true;
	return false;
}

static unsigned begins_at(const struct race *race, unsigned reflector)
{
	unsigned sum = 0;

	for (size_t i = 0; i < race->count; i++)
		if (reflector_of(race, i) == reflector)
			sum += race->begins[i];
	return sum;
}

static bool is_before(const struct race *race, size_t a, size_t b)
{
	unsigned at_a = reflector_of(race, a);
	unsigned at_b = reflector_of(race, b);
	bool lives_a = is_taken(race, at_a, ADDR_NONE);

	if (race->begins[a] != race->begins[b])
		return race->begins[a] < race->begins[b];
	if (lives_a != is_taken(race, at_b, ADDR_NONE))
		return lives_a;
	if (begins_at(race, at_a) != begins_at(race, at_b))
		return begins_at(race, at_a) < begins_at(race, at_b);
	return at_a != at_b ? at_a < at_b : a < b;
}

static size_t find_next(const struct race *race)
{
	size_t next = NONE;

	for (size_t i = 0; i < race->count; i++) {
		unsigned reflector = reflector_of(race, i);

		if (race->attempts[i].state != ATTEMPT_IDLE ||
			is_taken(race, reflector, race->queue.addresses[i].family) ||
			is_held_elsewhere(race, reflector))
			continue;
		if (next == NONE || is_before(race, i, next))
			next = i;
	}
	return next;
}

/* ---- what is due -------------------------------------------------------------------------- */

static void take_back(struct race *race)
{
	for (size_t i = 0; i < race->count; i++) {
		struct attempt *attempt = &race->attempts[i];
		unsigned reflector = reflector_of(race, i);
		bool calls = attempt->state == ATTEMPT_CALLING;

		if (!calls && attempt->state != ATTEMPT_ASKING)
			continue;
		if (is_held_elsewhere(race, reflector))
			race->begins[i]--;
		else if (!calls || !is_taken(race, reflector, attempt->config.family))
			continue;
		attempt_end(attempt);
	}
}

/* When another reflector may be asked: once there would be a companion, there may be any other. */
static uint64_t alone_until(const struct race *race, const struct attempt *attempt)
{
	return timer_earlier(race->now + race->times->held, attempt_company_due(attempt, 1));
}

/* Follows the change of an attempt that was in the state `before`. */
static void take_state(struct race *race, size_t i, enum attempt_state before)
{
	struct attempt *attempt = &race->attempts[i];

	if (attempt->state == before)
		return;
	switch (attempt->state) {
	case ATTEMPT_SILENT:
	case ATTEMPT_VAIN:
	case ATTEMPT_FAILED:
		note_end(race, i);
		race->next_due = race->now;
		break;
	case ATTEMPT_UNHELD:
	case ATTEMPT_WAITING:
		race->next_due = race->now;
		break;
	case ATTEMPT_BUSY:
		if (attempt->held && before < ATTEMPT_BUSY)
			race->held_until = alone_until(race, attempt);
		break;
	default:
		break;
	}
	if (attempt->state == ATTEMPT_SILENT)
		attempt_end(attempt);
}

static void begin(struct race *race, size_t i)
{
	const struct reflector_address *address = &race->queue.addresses[i];

	if (race->begins[i]++ == 0)
		race->begun_at = race->now;
	race->relays[i] = false;
	race->next_due = race->now + race->times->stagger;
	attempt_init(
		&race->attempts[i], &(struct attempt_config){
					    .reflector = address->target,
					    .family = address->family,
					    .nat64 = address->nat64,
					    .key = race->request->key,
					    .times = race->times,
					    .puts_off = reflector_queue_has_several(&race->queue),
				    });
	attempt_start(&race->attempts[i], race->now);
	take_state(race, i, ATTEMPT_IDLE);
}

/* Is anything under way? The look-up of the first name is. */
static bool goes_on(const struct race *race)
{
	if (race->count == 0)
		return !race->queue.names[0].done;
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].state >= ATTEMPT_CALLING &&
			race->attempts[i].state <= ATTEMPT_BUSY)
			return true;
	return race->begun_at == 0 && !race->queue.names[0].done;
}

static bool begin_next(struct race *race)
{
	size_t next = find_next(race);

	if (next == NONE || (goes_on(race) && race->now < race->next_due))
		return false;
	begin(race, next);
	return true;
}

/* Is there an address that was not tried, or a reflector that may still answer? */
static bool may_hear_more(const struct race *race)
{
	bool is_early = race->now < race->begun_at + race->times->stagger;
	size_t next = find_next(race);

	if (next != NONE && race->begins[next] == 0)
		return true;
	if (is_early &&
		(find(race, ATTEMPT_CALLING) != NONE || reflector_queue_is_growing(&race->queue)))
		return true;
	return find(race, ATTEMPT_ASKING) != NONE && race->now < race->begun_at + race->times->held;
}

static bool ask_for_relay(struct race *race)
{
	size_t i = find(race, ATTEMPT_WAITING);
	bool is_time = race->now >= race->relay_by;

	for (size_t k = 0; k < race->count && !is_time; k++)
		if (is_direct(race, k))
			return false;
	if (i == NONE || race->now < race->relay_next || (!is_time && may_hear_more(race)))
		return false;
	race->relays[i] = true;
	race->relay_next = race->now + race->times->held;
	attempt_relay(&race->attempts[i], race->now);
	take_state(race, i, ATTEMPT_WAITING);
	/* A relay that is refused does not delay the next one. */
	if (race->attempts[i].state != ATTEMPT_BUSY)
		race->relay_next = race->now;
	return true;
}

/* Nothing better is under way: attempts that are BUSY are at unheld addresses too. */
static bool try_unheld(struct race *race)
{
	size_t freshest = NONE;

	if (find(race, ATTEMPT_WAITING) != NONE || may_hear_more(race) ||
		(goes_on(race) && race->now < race->next_due))
		return false;
	for (size_t i = 0; i < race->count; i++) {
		const struct attempt *attempt = &race->attempts[i];

		if (attempt->state == ATTEMPT_BUSY && (attempt->held || race->relays[i]))
			return false;
		if (attempt->state == ATTEMPT_UNHELD &&
			(freshest == NONE || attempt->age < race->attempts[freshest].age))
			freshest = i;
	}
	if (freshest == NONE)
		return false;
	race->next_due = race->now + race->times->stagger;
	attempt_try(&race->attempts[freshest], race->now);
	take_state(race, freshest, ATTEMPT_UNHELD);
	return true;
}

/* Returns the attempt that leads home, or NULL. */
static struct attempt *find_open(struct race *race)
{
	size_t i = find(race, ATTEMPT_OPEN);

	return i != NONE ? &race->attempts[i] : companions_find_open(&race->companions);
}

static void add_companions(struct race *race)
{
	for (size_t i = 0; i < race->count; i++)
		if (is_direct(race, i) &&
			race->now >= companions_due(&race->companions, &race->attempts[i]))
			companions_begin(&race->companions, &race->attempts[i], race->now);
}

/* Returns false once nothing is under way, or an attempt is open. */
static bool begin_what_is_due(struct race *race)
{
	do {
		take_back(race);
		if (find_open(race) != NULL)
			return false;
	} while (begin_next(race) || ask_for_relay(race) || try_unheld(race));
	add_companions(race);
	return goes_on(race) || find(race, ATTEMPT_WAITING) != NONE ||
	       find(race, ATTEMPT_UNHELD) != NONE || reflector_queue_is_growing(&race->queue);
}

/* When begin_what_is_due() may find another answer, without an event. */
static uint64_t next_event(const struct race *race)
{
	const uint64_t times[] = {race->next_due, race->held_until,
		race->begun_at + race->times->stagger, race->begun_at + race->times->held,
		race->relay_next, race->relay_by};
	uint64_t due = race->deadline;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] > race->now && times[i] < due)
			due = times[i];
	for (size_t i = 0; i < race->count; i++)
		due = timer_earlier(due, companions_due(&race->companions, &race->attempts[i]));
	return due;
}

/* ---- the loop ----------------------------------------------------------------------------- */

#define OWN_WATCH (REFLECTOR_QUEUE_WATCH_MAX + COMPANIONS_WATCH_MAX)
#define WATCH_MAX (OWN_WATCH + REFLECTOR_QUEUE_MAX * ATTEMPT_WATCH_MAX)

_Static_assert(WATCH_MAX <= WATCH_POLL_MAX, "one watch_poll() takes all");

static void take_names(struct race *race, const struct pollfd *fds)
{
	if (fds != NULL)
		reflector_queue_advance(&race->queue, fds);
	for (; race->count < race->queue.count; race->count++)
		attempt_init(&race->attempts[race->count], &(struct attempt_config){.key = NULL});
}

static void wait_for_events(struct race *race)
{
	struct pollfd fds[WATCH_MAX];
	struct pollfd *companions = fds + REFLECTOR_QUEUE_WATCH_MAX;
	struct pollfd *own = fds + OWN_WATCH;
	size_t count = OWN_WATCH + race->count * ATTEMPT_WATCH_MAX;
	size_t watched = race->count;
	uint64_t due = next_event(race);
	uint64_t companions_at = companions_watch(&race->companions, companions);

	due = timer_earlier(due, companions_at);
	reflector_queue_watch(&race->queue, fds);
	for (size_t i = 0; i < watched; i++) {
		uint64_t at = attempt_watch(&race->attempts[i], own + i * ATTEMPT_WATCH_MAX);

		due = timer_earlier(due, at);
	}
	watch_poll(fds, count, clock_poll_ms(race->now, due));
	race->now = clock_now_ms();
	take_names(race, fds);
	companions_advance(&race->companions, companions, race->now);
	for (size_t i = 0; i < watched; i++) {
		enum attempt_state before = race->attempts[i].state;

		attempt_advance(&race->attempts[i], own + i * ATTEMPT_WATCH_MAX, race->now);
		take_state(race, i, before);
	}
}

/*
 * Sets what ssh sets on a connection of its own: a keystroke is sent at once, and does not wait for
 * the acknowledgment of the one before (RFC 9293 section 3.7.4), and a peer that is gone is
 * noticed. A connection that has died refuses both, and its first read says why.
 */
static void prepare(int fd)
{
	socket_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

/* Ends all. Returns the connection of the winner; or -1 and the error that tells most. */
static int finish(struct race *race, struct error *error)
{
	struct attempt *winner = find_open(race);
	int fd = winner != NULL ? attempt_take(winner) : -1;

	for (size_t i = 0; i < race->count && fd < 0; i++) {
		enum attempt_state before = race->attempts[i].state;

		attempt_expire(&race->attempts[i]);
		take_state(race, i, before);
	}
	if (fd < 0)
		reflector_queue_expire(&race->queue);
	if (race->queue.error.text[0] != '\0')
		note_error(race, &race->queue.error, false);
	*error = race->error;
	if (fd >= 0)
		prepare(fd);
	else if (reflector_queue_has_several(&race->queue))
		tell_others(race);
	for (size_t i = 0; i < race->count; i++)
		attempt_end(&race->attempts[i]);
	companions_end(&race->companions);
	reflector_queue_end(&race->queue);
	return fd;
}

int initiator_connect(const struct initiator_request *request, struct error *error)
{
	static const struct initiator_times usual = INITIATOR_TIMES_DEFAULT;
	uint64_t now = clock_now_ms();
	struct race race = {
		.request = request,
		.times = request->times != NULL ? request->times : &usual,
		.now = now,
		.deadline = now + request->timeout_ms,
		.relay_by = now + request->timeout_ms - request->timeout_ms / 3,
	};

	race.next_due = now + race.times->stagger;
	reflector_queue_start(&race.queue, request->reflectors, request->family, request->resolver);
	take_names(&race, NULL);
	while (begin_what_is_due(&race) && race.now < race.deadline)
		wait_for_events(&race);
	return finish(&race, error);
}
