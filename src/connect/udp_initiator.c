/*
 * How the NATs between a UDP port here and one at home are opened.
 *
 * The reflectors race for a mapping of the port (mapping_race.h), as in RFC 8305. A session asks
 * each reflector that answers for home (udp_session.h), and the race goes on for the next one:
 *
 *   a session asks                  the next one after STAGGER_MS
 *   home is held there              after HELD_MS, as home most likely sends by then
 *   home is not held, not known,    at once
 *   or the answer is a refusal
 *
 * For each address of home a punch (udp_punch.h) goes on beside the session that has it, and ends
 * with it. Sessions with the same address share a punch.
 *
 * Where home is known in the other family only, and the user named no family, there is a second
 * race, in that family.
 *
 * The end: with 0 when a punch is THROUGH. With a failure when no session is open and no race has
 * more, or when the time is up. Then one more Binding, to the reflector's spare port, tells whether
 * this side's NAT makes it impossible. Of several failures the one that tells most is reported.
 *
 * Table: SESSION_MAX sessions. Rule for more: while it is full, no further reflector is asked.
 *
 * Invariants. Nothing is open at the end. The address that a reflector names gets no more than what
 * one punch sends: a reflector that lies makes us send some 40 datagrams of 72 bytes. Only one
 * punch takes datagrams from other ports of its address, as by bind only one socket can be
 * unconnected.
 */
#include "natpunch/connect/udp_initiator.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "connect/udp_session.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/client/udp_punch.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/watch.h"

#define STAGGER_MS  MAPPING_RACE_STAGGER_MS
#define HELD_MS     1000
#define SPARE_MS    1000 /* for the question to the spare port */
#define SESSION_MAX 8

enum asking_state {
	ASKING_IDLE,    /* not wanted */
	ASKING_WANTED,  /* to be begun */
	ASKING_RACING,  /* `race` is under way */
	ASKING_WAITING, /* it has given a mapping, and is to go on for the next one */
	ASKING_ENDED,
};

/* The reflectors, in the family that was given or in the other one. */
struct asking {
	enum asking_state state;
	struct mapping_race_request request;
	struct mapping_race *race; /* or NULL */
};

struct way {
	struct udp_session session;
	struct udp_punch punch; /* to its home, unless another session's goes there */
};

struct initiator {
	const struct udp_initiator_request *request;
	uint64_t deadline;
	struct asking askings[2];
	struct way ways[SESSION_MAX];
	const struct udp_session *newest; /* or NULL */
	const struct way *through;        /* or NULL */
	bool refused;                     /* this machine refuses: no more is begun */
	struct error error;
	unsigned error_rank;
};

/* ---- errors ------------------------------------------------------------------------------- */

/* Ranks how much a failure tells; `heard`: something answered. */
static unsigned rank(const struct error *error, bool heard)
{
	switch (error->status) {
	case EXIT_STATUS_LOCAL:
		return heard ? 6 : 1;
	case EXIT_STATUS_UNREACHABLE:
		return 5;
	case EXIT_STATUS_PEER:
		return 4;
	default:
		return heard ? 3 : 2;
	}
}

static void note_error(struct initiator *initiator, const struct error *error, bool heard)
{
	unsigned own = rank(error, heard);

	if (error->text[0] == '\0')
		return;
	if (initiator->request->race.reflector_count > 1)
		log_detail("%s", error->text);
	if (own <= initiator->error_rank)
		return;
	initiator->error = *error;
	initiator->error_rank = own;
}

static void explain_unknown(const struct udp_session *session, struct error *error)
{
	const char *name = session->key->name;
	const char *reflector = session->reflector.mapping.reflector;

	if (session->other_family)
		error_set(error, EXIT_STATUS_NETWORK,
			"%s knows a UDP address of %s in the other IP family only, and there is no "
			"way to that from here",
			reflector, name);
	else
		error_set(error, EXIT_STATUS_NETWORK, "%s knows no %saddress of %s", reflector,
			session->other_protocol ? "UDP " : "", name);
	error_hint(error, "at home: natpunch probe -k -u -p PORT -r %s -n %s -K FILE", reflector,
		name);
}

/* Does our NAT allocate another port for another destination? */
static bool is_symmetric(const struct initiator *initiator, const struct udp_session *session)
{
	const struct addr *mapped = &session->reflector.mapping.public_addr;
	const struct addr *asked = &session->reflector.winner.request.remote;
	struct mapping_race_request race = initiator->request->race;
	struct host_port spare = {.port = STUN_SPARE_PORT(asked->port), .port_named = true};
	struct mapping_race_result other;
	char text[ADDR_IP_TEXT_SIZE];
	struct error ignored;
	bool differs;

	addr_format_ip(asked, text);
	memcpy(spare.host, text, sizeof(text));
	race.reflectors = &spare;
	race.reflector_count = 1;
	race.protocol = MAPPING_UDP;
	race.shared = true;
	race.must_agree = false;
	race.family = (enum addr_family)asked->family;
	race.timeout_ms = SPARE_MS;
	if (mapping_race_run(&race, &other, &ignored) != 0)
		return false;
	differs = !addr_equal(&other.mapping.public_addr, mapped);
	binding_client_end(&other.winner);
	return differs;
}

/* Home is known: no datagram came from it, or it answered none of ours. */
static int explain_silence(
	const struct initiator *initiator, const struct way *way, struct error *error)
{
	const struct udp_session *session = &way->session;
	const char *name = session->key->name;
	char text[ADDR_TEXT_SIZE];

	addr_format(&session->home.addr, text);
	error_set(error, EXIT_STATUS_UNREACHABLE, "no way over UDP to %s at %s: %s", name, text,
		way->punch.heard > 0 ? "it does not hear us" : "nothing comes from there");
	if (addr_equal_ip(&session->home.addr, &session->reflector.mapping.public_addr))
		return error_hint(
			error, "it is behind the same NAT: use its address in that network");
	if (is_symmetric(initiator, session))
		return error_hint(error,
			"this side's NAT is symmetric: it takes another port for each destination, "
			"which home cannot know; UDP is not relayed");
	if (!session->home.held)
		return error_hint(error,
			"at home: natpunch probe -k -u -p PORT -r %s -n %s -K FILE",
			session->reflector.mapping.reflector, name);
	return error_hint(error, "home's NAT may be symmetric (there: natpunch check -u -p PORT), "
				 "or probe -k is older than "
				 "this, or may not use raw or rewrite; UDP is not relayed");
}

/* The time is up: of the homes that are known, a held one tells most. */
static void explain(struct initiator *initiator)
{
	const struct way *told = NULL;
	struct error error;

	for (size_t i = 0; i < SESSION_MAX; i++) {
		const struct way *way = &initiator->ways[i];
		bool punched = way->punch.state != UDP_PUNCH_NONE;

		if (way->session.state == UDP_SESSION_ASKING) {
			error_set(&error, EXIT_STATUS_NETWORK, "no answer from %s: the time is up",
				way->session.reflector.mapping.reflector);
			note_error(initiator, &error, false);
		}
		if (way->session.state == UDP_SESSION_KNOWN && punched &&
			(told == NULL || (way->session.home.held && !told->session.home.held)))
			told = way;
	}
	if (told == NULL)
		return;
	explain_silence(initiator, told, &error);
	note_error(initiator, &error, true);
}

/* ---- the punches -------------------------------------------------------------------------- */

static void tell_home(const struct udp_session *session)
{
	const char *name = session->key->name;
	char ours[ADDR_TEXT_SIZE];
	char text[ADDR_TEXT_SIZE];

	addr_format(&session->home.addr, text);
	addr_format(&session->reflector.mapping.public_addr, ours);
	if (session->home.held)
		log_detail("%s is at %s and is told to send to us, at %s", name, text, ours);
	else
		log_warning("%s was last heard of %" PRIu32 " s ago, at %s; trying that", name,
			session->home.age, text);
}

static bool is_punched(const struct initiator *initiator, const struct addr *home)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		if (initiator->ways[i].punch.state != UDP_PUNCH_NONE &&
			addr_equal(&initiator->ways[i].punch.config.remote, home))
			return true;
	return false;
}

static bool has_punch(const struct initiator *initiator)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		if (initiator->ways[i].punch.state != UDP_PUNCH_NONE)
			return true;
	return false;
}

/* Begins to punch to the home that this reflector names, unless a punch goes there already. */
static void punch_to(struct initiator *initiator, struct way *way, uint64_t now)
{
	const struct mapping_race_request *race = &initiator->request->race;
	struct udp_session *session = &way->session;
	struct udp_punch_config config = {
		.role = UDP_CHECK_INITIATOR,
		.secret = session->key->secret,
		.method = race->method,
		.local = session->reflector.winner.local,
		.remote = session->home.addr,
		.interface = race->interface,
	};

	if (session->state != UDP_SESSION_KNOWN || is_punched(initiator, &session->home.addr))
		return;
	udp_punch_end(&way->punch);
	config.one_port = has_punch(initiator);
	tell_home(session);
	if (udp_punch_start(&way->punch, &config, initiator->deadline, now, &session->error) != 0)
		session->state = UDP_SESSION_FAILED;
}

static bool is_through(const struct udp_punch *punch)
{
	return punch->state == UDP_PUNCH_THROUGH || punch->state == UDP_PUNCH_DONE;
}

/* ---- the sessions ------------------------------------------------------------------------- */

static void end_way(struct way *way)
{
	udp_punch_end(&way->punch);
	udp_session_end(&way->session);
}

static bool has_open(const struct initiator *initiator)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		if (udp_session_is_open(&initiator->ways[i].session))
			return true;
	return false;
}

static bool has_free(const struct initiator *initiator)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		if (initiator->ways[i].session.state == UDP_SESSION_NONE)
			return true;
	return false;
}

/* The caller knows that there is one. */
static struct way *find_free(struct initiator *initiator)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		if (initiator->ways[i].session.state == UDP_SESSION_NONE)
			return &initiator->ways[i];
	return NULL;
}

/* Home is known in the other family: asks there, unless the user named a family. */
static void want_other_family(struct initiator *initiator, const struct udp_session *session)
{
	struct asking *other = &initiator->askings[1];

	if (!session->other_family || initiator->request->race.family != ADDR_NONE ||
		other->state != ASKING_IDLE)
		return;
	other->request.family = udp_session_family(session) == ADDR_IPV4 ? ADDR_IPV6 : ADDR_IPV4;
	other->state = ASKING_WANTED;
}

static void take_end(struct initiator *initiator, struct way *way)
{
	struct udp_session *session = &way->session;

	if (session->state == UDP_SESSION_UNKNOWN) {
		want_other_family(initiator, session);
		explain_unknown(session, &session->error);
	}
	note_error(initiator, &session->error, true);
	if (session->error.status == EXIT_STATUS_LOCAL)
		initiator->refused = true;
	if (initiator->newest == session)
		initiator->newest = NULL;
	end_way(way);
}

static void advance_way(struct initiator *initiator, struct way *way, uint64_t now)
{
	udp_session_advance(&way->session, now);
	punch_to(initiator, way, now);
	if (way->session.state != UDP_SESSION_NONE && !udp_session_is_open(&way->session)) {
		take_end(initiator, way);
		return;
	}
	udp_punch_advance(&way->punch, now);
	if (is_through(&way->punch) && initiator->through == NULL)
		initiator->through = way;
}

/* ---- the races ---------------------------------------------------------------------------- */

static void end_race(struct asking *asking)
{
	mapping_race_end(asking->race);
	asking->race = NULL;
	asking->state = ASKING_ENDED;
}

static void take_mapping(struct initiator *initiator, struct asking *asking, uint64_t now)
{
	struct way *way = find_free(initiator);
	struct mapping_race_result result;

	mapping_race_take(asking->race, &result);
	memset(way, 0, sizeof(*way)); /* UDP_PUNCH_NONE */
	udp_session_start(&way->session, &result, initiator->request->key, now);
	initiator->newest = &way->session;
	asking->state = ASKING_WAITING;
}

static void take_failure(struct initiator *initiator, struct asking *asking)
{
	bool cannot = mapping_race_cannot(asking->race);

	note_error(initiator, mapping_race_error(asking->race), cannot);
	initiator->refused = initiator->refused || cannot;
	end_race(asking);
}

/* While the table is full, a race keeps the mapping that it has. */
static bool is_racing(const struct initiator *initiator, const struct asking *asking)
{
	return asking->state == ASKING_RACING && has_free(initiator);
}

static void advance_race(
	struct initiator *initiator, struct asking *asking, const struct pollfd *fds, uint64_t now)
{
	enum mapping_race_state state;

	if (!is_racing(initiator, asking))
		return;
	state = mapping_race_advance(asking->race, fds, now);
	if (state == MAPPING_RACE_MAPPED)
		take_mapping(initiator, asking, now);
	else if (state == MAPPING_RACE_FAILED)
		take_failure(initiator, asking);
}

/* When the race is to begin, or to go on; TIMER_NONE. */
static uint64_t next_due(const struct initiator *initiator, const struct asking *asking)
{
	const struct udp_session *newest = initiator->newest;

	if ((asking->state != ASKING_WANTED && asking->state != ASKING_WAITING) ||
		initiator->refused || !has_free(initiator))
		return TIMER_NONE;
	if (asking->state == ASKING_WANTED || newest == NULL)
		return 0;
	if (newest->state == UDP_SESSION_ASKING)
		return newest->begun + STAGGER_MS;
	return newest->home.held ? newest->known_at + HELD_MS : 0;
}

static void ask_next(struct initiator *initiator, struct asking *asking, uint64_t now)
{
	if (now < next_due(initiator, asking) || now >= initiator->deadline)
		return;
	/* Only sockets of ours share the port, so the first one does not ask for that. */
	asking->request.shared = has_open(initiator);
	if (asking->state == ASKING_WAITING) {
		mapping_race_go_on(asking->race, initiator->deadline, now);
	} else {
		asking->request.timeout_ms = initiator->deadline - now;
		asking->race = mapping_race_start(&asking->request, now);
	}
	asking->state = ASKING_RACING;
	if (asking->race != NULL) {
		advance_race(initiator, asking, NULL, now);
		return;
	}
	asking->state = ASKING_ENDED;
	error_set(&initiator->error, EXIT_STATUS_LOCAL, "no memory");
	initiator->error_rank = rank(&initiator->error, true);
}

/* ---- the loop ----------------------------------------------------------------------------- */

#define WATCH_RACES (2 * SESSION_MAX)
#define WATCH_MAX   (WATCH_RACES + 2 * MAPPING_RACE_WATCH_MAX)

_Static_assert(WATCH_MAX <= WATCH_POLL_MAX, "one watch_poll() takes all");

/* Waits for the next event, and returns the time then. */
static uint64_t wait_for_event(
	const struct initiator *initiator, struct pollfd fds[WATCH_MAX], uint64_t now)
{
	uint64_t due = initiator->deadline;

	for (size_t i = 0; i < WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	for (size_t i = 0; i < SESSION_MAX; i++) {
		const struct way *way = &initiator->ways[i];

		fds[2 * i] = (struct pollfd){.fd = udp_session_fd(&way->session), .events = POLLIN};
		fds[2 * i + 1] = (struct pollfd){.fd = udp_punch_fd(&way->punch), .events = POLLIN};
		due = timer_earlier(due, udp_session_due(&way->session));
		if (way->punch.state != UDP_PUNCH_NONE)
			due = timer_earlier(due, way->punch.due);
	}
	for (size_t i = 0; i < 2; i++) {
		const struct asking *asking = &initiator->askings[i];

		due = timer_earlier(due, next_due(initiator, asking));
		if (is_racing(initiator, asking))
			due = timer_earlier(
				due, mapping_race_watch(asking->race,
					     fds + WATCH_RACES + i * MAPPING_RACE_WATCH_MAX));
	}
	watch_poll(fds, WATCH_MAX, clock_poll_ms(now, due));
	return clock_now_ms();
}

static void advance(struct initiator *initiator, const struct pollfd *fds, uint64_t now)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		advance_way(initiator, &initiator->ways[i], now);
	for (size_t i = 0; i < 2; i++)
		advance_race(initiator, &initiator->askings[i],
			fds + WATCH_RACES + i * MAPPING_RACE_WATCH_MAX, now);
	for (size_t i = 0; i < 2; i++)
		ask_next(initiator, &initiator->askings[i], now);
}

static bool is_over(const struct initiator *initiator, uint64_t now)
{
	if (initiator->through != NULL || now >= initiator->deadline)
		return true;
	for (size_t i = 0; i < 2; i++)
		if (initiator->askings[i].state == ASKING_RACING ||
			next_due(initiator, &initiator->askings[i]) != TIMER_NONE)
			return false;
	return !has_open(initiator);
}

static void start(
	struct initiator *initiator, const struct udp_initiator_request *request, uint64_t now)
{
	memset(initiator, 0, sizeof(*initiator)); /* ASKING_IDLE, UDP_SESSION_NONE */
	initiator->request = request;
	initiator->deadline = now + request->timeout_ms;
	for (size_t i = 0; i < 2; i++) {
		initiator->askings[i].request = request->race;
		initiator->askings[i].request.protocol = MAPPING_UDP;
	}
	initiator->askings[0].state = ASKING_WANTED;
	ask_next(initiator, &initiator->askings[0], now);
}

static void end(struct initiator *initiator)
{
	for (size_t i = 0; i < SESSION_MAX; i++)
		end_way(&initiator->ways[i]);
	for (size_t i = 0; i < 2; i++)
		end_race(&initiator->askings[i]);
}

int udp_initiator_run(
	const struct udp_initiator_request *request, struct mapping *out, struct error *error)
{
	struct initiator initiator;
	struct pollfd fds[WATCH_MAX];
	uint64_t now = clock_now_ms();

	start(&initiator, request, now);
	while (!is_over(&initiator, now)) {
		now = wait_for_event(&initiator, fds, now);
		advance(&initiator, fds, now);
	}
	if (initiator.through != NULL) {
		*out = initiator.through->session.reflector.mapping;
		out->public_addr = initiator.through->punch.remote;
	} else {
		explain(&initiator);
		*error = initiator.error;
	}
	end(&initiator);
	return initiator.through != NULL ? 0 : -1;
}
