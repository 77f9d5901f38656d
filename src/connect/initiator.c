/*
 * How connect gets to home: phases, one after the other, each a function that waits for its own
 * events until its own deadline.
 *
 *   phase                 ends by                         deadline     then
 *   connect_to_reflector  the TCP handshake               next_address the next address
 *   wait_for_nonce        the nonce's datagram            nonce        the same, without it
 *   ask_for_home          the answer to CONNECT           answer       the next address
 *   punch_first           a connection                    second_after try_second
 *                                                         or first     relay
 *   try_second            a connection
 *     sample_ports        all answers, or one that fails  the sampler's  relay
 *     tell_home           the answer to CONNECT           answer       relay
 *     hear_prediction     home's PREDICTION                 prediction   relay
 *     punch_ports         a connection                    second       relay
 *   ask_for_relay         the answer to RELAY             relay        the end
 *
 * The deadlines are those of struct initiator_times, and the request's own ends them all. An answer
 * that brings a new nonce has the question asked again, with the deadline put off.
 *
 * A connection can be established in two ways; the first one is used:
 *
 *   ours     connect() from our port to home's mapping. It meets home's own SYN (a simultaneous
 *            open), or finds home's NAT open and sshd behind it.
 *   home's   accepted on our port, in each phase after ask_for_home. Where home's NAT maps each
 *            destination to another port, home comes from a port that nobody could predict; it gets
 *            through to us when our own NAT lets it, or when there is none. The listener also takes
 *            a SYN of home's that came while we were between two tries.
 *
 * The listener is there before the reflector is asked, as home may be faster than the answer. It is
 * not for strangers: a connection that does not come from home's address is closed. That is no
 * proof; ssh asks for one from both sides.
 *
 * The connection to the reflector may break while we punch: only the phases that ask or hear the
 * reflector look at it.
 *
 * Both ends' SYNs cross on their way, if the reflector is not on a much longer one: with one-way
 * times l and h from the reflector to us and to home, and d between us, our SYN leaves l after the
 * reflector's answer did, home's h after; each reaches the other's NAT d later, |l - h| <= d by the
 * triangle's inequality. So mostly neither NAT sees a SYN before its own.
 *
 * The second try is for NATs that allocate ports in sequence, and is made when the reflector has a
 * second address: both sides look what port they will come from next (port_sampler.h), tell each
 * other through the reflector, and go there. It is made from another port of ours: our NAT, and
 * home's, remember for the first one what they did then, and so would do it again. The punches of
 * the first try end before, as each new SYN of theirs could take the port that we predict. Home
 * waits until our SYNs are on their way, as one of its own that is refused would cost it the port
 * that it predicted (responder.c).
 */
#include "natpunch/connect/initiator.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connect/reflector_session.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/client/port_sampler.h"
#include "natpunch/client/punch.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/port_prediction.h"
#include "natpunch/proto/relay_messages.h"

#define TRIES_MAX    6  /* at an address where our question came too late */
#define ARRIVALS_MAX 16 /* that wait on our port; rule for more: the kernel drops their SYNs */

/* How a phase ended. Each but the first two is how the whole ends at this address. */
enum phase_end {
	PHASE_DONE,   /* the next phase has what it needs */
	PHASE_VAIN,   /* no direct way this time; *error is not set */
	PHASE_OPEN,   /* `connection` is the one to home */
	PHASE_LATE,   /* our question was late, and not heard: once more */
	PHASE_NEXT,   /* this address of the reflector will not do */
	PHASE_FAILED, /* no other will do either */
};

struct initiator {
	const struct initiator_request *request;
	const struct initiator_times *times;
	struct error *error;
	uint64_t deadline; /* of the whole */
	uint64_t now;      /* after the last wait */
	struct reflector_session session;
	struct addr local; /* the port that everything leaves from */
	struct addr home;  /* as the reflector knows it; ADDR_NONE: not yet */
	bool can_predict; /* what a second try takes: home is there to be told, and two addresses */
	int listener;     /* on our port, for home's connection; or -1 */
	int connection;   /* to home, once it is established; or -1 */
	int problem;      /* of the last try that failed; 0: none did */
};

/* What a phase polls: the listener, then its own descriptors. */
enum watch {
	WATCH_LISTENER,
	WATCH_OWN,
	WATCH_MAX = WATCH_OWN + PORT_PREDICTION_CANDIDATES,
};

_Static_assert(PORT_SAMPLER_WATCH_MAX <= PORT_PREDICTION_CANDIDATES, "a sampler's are watched too");

/* ---- how it ends -------------------------------------------------------------------------- */

/* The reflector is to blame. */
static enum phase_end stop(struct initiator *in, enum phase_end end, enum exit_status status,
	const char *what, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&in->session.reflector, text);
	error_set(in->error, status, "%s %s: %s", what, text, why);
	return end;
}

static const char *why_no_way(const struct initiator *in)
{
	return strerror(in->problem != 0 ? in->problem : ETIMEDOUT);
}

/* Home is known, and there is no way to it. */
static enum phase_end fail(struct initiator *in, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	error_set(in->error, EXIT_STATUS_UNREACHABLE, "no direct way to %s at %s: %s; %s",
		in->request->key->name, addr_format(&in->home, text), why_no_way(in), why);
	error_hint(in->error, "by way of a third host: ssh -N -R 1337:localhost:22 HOST at home, "
			      "then ssh -J HOST "
			      "-p 1337 localhost here");
	return PHASE_FAILED;
}

/* ---- our port ----------------------------------------------------------------------------- */

/* Closes and keeps errno. */
static int give_up(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

/* A socket on our port, which the first one makes up. Returns -1 and errno. */
static int bind_to_port(const struct initiator *in)
{
	struct addr local = in->local;
	int fd;

	local.family = in->session.reflector.family;
	fd = socket_open((enum addr_family)local.family, SOCK_STREAM, IPPROTO_TCP);
	if (fd < 0)
		return -1;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0 ||
		socket_bind(fd, &local) != 0)
		return give_up(fd);
	return fd;
}

/* As punch_opener has it; the context is the initiator. */
static int open_from_port(void *context, const struct addr *remote)
{
	struct initiator *in = context;
	int fd = bind_to_port(in);

	if (fd < 0)
		return -1;
	if (socket_connect(fd, remote) != 0 ||
		(in->local.port == 0 && socket_local(fd, &in->local) != 0))
		return give_up(fd);
	return fd;
}

/* Without it there is one way less. */
static void listen_on_port(struct initiator *in)
{
	int fd = bind_to_port(in);

	if (fd >= 0 && listen(fd, ARRIVALS_MAX) != 0)
		fd = give_up(fd);
	if (fd < 0)
		log_detail("cannot listen for home: %s", strerror(errno));
	in->listener = fd;
}

static void leave_port(struct initiator *in)
{
	if (in->listener >= 0)
		close(in->listener);
	in->listener = -1;
	in->local = (struct addr){.port = 0};
}

static void take_arrivals(struct initiator *in)
{
	char text[ADDR_TEXT_SIZE];
	struct addr peer;

	/* What does not fit into one turn is there at the next. */
	for (int i = 0; i < ARRIVALS_MAX; i++) {
		int fd = socket_accept(in->listener, &peer);

		if (fd < 0)
			return;
		addr_format(&peer, text);
		if (addr_equal_ip(&peer, &in->home)) {
			log_detail("home connected to us, from %s", text);
			in->connection = fd;
			return;
		}
		log_detail("%s is not home: closed", text);
		close(fd);
	}
}

/* ---- waiting ------------------------------------------------------------------------------ */

/*
 * Until something happens at fds[WATCH_OWN] and the `count` - 1 behind it, or `due`. Returns DONE
 * for the phase to go on; else its end: home's connection came, or the time for the whole is up.
 */
static enum phase_end wait_for(
	struct initiator *in, struct pollfd fds[WATCH_MAX], size_t count, uint64_t due)
{
	bool known = in->home.family != ADDR_NONE;

	if (in->now >= in->deadline)
		return known ? fail(in, "the time is up")
			     : stop(in, PHASE_FAILED, EXIT_STATUS_NETWORK, "no answer from",
				       "the time is up");
	fds[WATCH_LISTENER] = (struct pollfd){.fd = known ? in->listener : -1, .events = POLLIN};
	due = due < in->deadline ? due : in->deadline;
	if (poll(fds, (nfds_t)(WATCH_OWN + count), clock_poll_ms(in->now, due)) < 0)
		for (size_t i = 0; i < WATCH_OWN + count; i++)
			fds[i].revents = 0;
	in->now = clock_now_ms();
	if (fds[WATCH_LISTENER].revents != 0)
		take_arrivals(in);
	return in->connection >= 0 ? PHASE_OPEN : PHASE_DONE;
}

/* The next answer, or home's prediction; NONE when none came until `due`. */
static enum phase_end hear(struct initiator *in, uint64_t due, struct port_prediction *prediction,
	enum reflector_answer *answer)
{
	enum phase_end end = PHASE_DONE;

	*answer = REFLECTOR_ANSWER_NONE;
	while (end == PHASE_DONE && *answer == REFLECTOR_ANSWER_NONE && in->now < due) {
		struct pollfd fds[WATCH_MAX] = {
			[WATCH_OWN] = {.fd = in->session.stream, .events = POLLIN}};

		end = wait_for(in, fds, 1, due);
		if (end == PHASE_DONE && fds[WATCH_OWN].revents != 0)
			*answer = reflector_session_read(&in->session, prediction);
	}
	return end;
}

static enum phase_end ask(struct initiator *in, uint64_t timeout_ms, enum reflector_answer *answer)
{
	enum phase_end end = PHASE_DONE;

	do {
		*answer = reflector_session_ask(&in->session);
		if (*answer == REFLECTOR_ANSWER_NONE)
			end = hear(in, in->now + timeout_ms, NULL, answer);
	} while (end == PHASE_DONE && *answer == REFLECTOR_ANSWER_AGAIN);
	return end;
}

/* ---- the reflector ------------------------------------------------------------------------ */

/* The nonce's datagram may be faster. */
static enum phase_end connect_to_reflector(struct initiator *in)
{
	struct reflector_session *session = &in->session;
	uint64_t due = in->now + in->times->next_address;
	enum phase_end end;
	int problem;

	for (;;) {
		struct pollfd fds[WATCH_MAX] = {
			[WATCH_OWN] = {.fd = session->stream, .events = POLLOUT},
			[WATCH_OWN + 1] = {.fd = session->datagram, .events = POLLIN}};

		end = wait_for(in, fds, 2, due);
		if (end != PHASE_DONE)
			return end;
		if (fds[WATCH_OWN + 1].revents != 0)
			reflector_session_take_nonce(session);
		if (fds[WATCH_OWN].revents != 0)
			break;
		if (in->now >= due)
			return stop(in, PHASE_NEXT, EXIT_STATUS_NETWORK, "no answer from",
				"the time is up");
	}
	problem = socket_take_error(session->stream);
	return problem == 0 ? PHASE_DONE
			    : stop(in, PHASE_NEXT, EXIT_STATUS_NETWORK, "cannot connect to",
				      strerror(problem));
}

static enum phase_end wait_for_nonce(struct initiator *in)
{
	struct reflector_session *session = &in->session;
	uint64_t due = in->now + in->times->nonce;
	enum phase_end end = PHASE_DONE;

	while (end == PHASE_DONE && !reflector_session_has_nonce(session) && in->now < due) {
		struct pollfd fds[WATCH_MAX] = {
			[WATCH_OWN] = {.fd = session->datagram, .events = POLLIN}};

		end = wait_for(in, fds, 1, due);
		if (end == PHASE_DONE && fds[WATCH_OWN].revents != 0)
			reflector_session_take_nonce(session);
	}
	return end;
}

/* The record of our own family; home can be told of our mapping in no other. */
static const struct name_message_record *choose(const struct initiator *in)
{
	const struct name_question *question = &in->session.question;

	for (size_t i = 0; i < question->record_count; i++)
		if (question->records[i].addr.family == in->session.reflector.family &&
			question->records[i].protocol == MAPPING_TCP)
			return &question->records[i];
	return NULL;
}

static enum phase_end find_home(struct initiator *in)
{
	const struct name_question *question = &in->session.question;
	const struct name_message_record *record = choose(in);
	const char *name = in->request->key->name;
	char text[ADDR_TEXT_SIZE];

	if (record == NULL)
		return stop(in, PHASE_NEXT, EXIT_STATUS_NETWORK, "no address of that name at",
			question->record_count > 0 ? "it is known in the other family"
						   : "home was never heard of there");
	addr_format(&record->addr, text);
	if (record->held)
		log_detail("%s is at %s and is told to connect to us", name, text);
	else
		log_warning("%s was last heard of %u s ago, at %s; trying that", name, record->age,
			text);
	in->home = record->addr;
	in->can_predict = record->held && question->other.family == in->session.reflector.family;
	return PHASE_DONE;
}

static enum phase_end ask_for_home(struct initiator *in)
{
	static const struct {
		enum phase_end end;
		enum exit_status status;
		const char *what, *why; /* NULL: the session's */
	} rows[] = {
		[REFLECTOR_ANSWER_NONE] = {PHASE_NEXT, EXIT_STATUS_NETWORK, "no answer from",
			"the time is up"},
		[REFLECTOR_ANSWER_REFUSED] = {PHASE_FAILED, EXIT_STATUS_NETWORK,
			"the key is refused by", "the same line must stand in its key file"},
		[REFLECTOR_ANSWER_UNSUPPORTED] = {PHASE_FAILED, EXIT_STATUS_NETWORK,
			"no names are kept by", "that takes natpunch reflect with -K"},
		[REFLECTOR_ANSWER_ERROR] = {PHASE_FAILED, EXIT_STATUS_NETWORK,
			"no answer for that name from", "it reports an error"},
		[REFLECTOR_ANSWER_MALFORMED] = {PHASE_FAILED, EXIT_STATUS_PEER, "bad answer from",
			NULL},
		[REFLECTOR_ANSWER_LATE] = {PHASE_LATE, EXIT_STATUS_NETWORK, "no answer from",
			"the question came too late"},
		[REFLECTOR_ANSWER_NOT_STUN] = {PHASE_FAILED, EXIT_STATUS_PEER, "bad answer from",
			"it is not STUN"},
		[REFLECTOR_ANSWER_LOST] = {PHASE_NEXT, EXIT_STATUS_NETWORK, "no answer from", NULL},
		[REFLECTOR_ANSWER_UNSENT] = {PHASE_NEXT, EXIT_STATUS_NETWORK, NULL, NULL},
	};
	const struct reflector_session *session = &in->session;
	enum reflector_answer answer;
	enum phase_end end = ask(in, in->times->answer, &answer);

	if (end != PHASE_DONE)
		return end;
	if (answer == REFLECTOR_ANSWER_DONE)
		return find_home(in);
	return stop(in, rows[answer].end, rows[answer].status,
		rows[answer].what != NULL ? rows[answer].what : session->what,
		rows[answer].why != NULL ? rows[answer].why : session->why);
}

/* ---- punching ----------------------------------------------------------------------------- */

/* One turn of all punches. DONE: one or more are still tried. */
static enum phase_end advance_punches(struct initiator *in, struct punch *punches, size_t count)
{
	struct pollfd fds[WATCH_MAX];
	uint64_t due = TIMER_NONE;
	char text[ADDR_TEXT_SIZE];
	enum phase_end end;

	for (size_t i = 0; i < count; i++) {
		fds[WATCH_OWN + i] =
			(struct pollfd){.fd = punch_fd(&punches[i]), .events = POLLOUT};
		due = punches[i].due < due ? punches[i].due : due;
	}
	end = wait_for(in, fds, count, due);
	if (end != PHASE_DONE)
		return end;
	end = PHASE_VAIN;
	for (size_t i = 0; i < count; i++) {
		struct punch *punch = &punches[i];

		punch_advance(punch, fds[WATCH_OWN + i].revents != 0, in->now);
		if (punch->state == PUNCH_OPEN) {
			log_detail("connected to %s at try %u", addr_format(&punch->remote, text),
				punch->tries);
			in->connection = punch_take(punch);
			return PHASE_OPEN;
		}
		in->problem = punch->problem != 0 ? punch->problem : in->problem;
		if (punch->state == PUNCH_TRYING)
			end = PHASE_DONE;
	}
	return end;
}

/* To all these ports of home at once; one is the usual case. Ends by OPEN, VAIN or FAILED. */
static enum phase_end punch_ports(
	struct initiator *in, const uint16_t *ports, size_t count, uint64_t timeout_ms)
{
	struct punch punches[PORT_PREDICTION_CANDIDATES];
	struct addr remote = in->home;
	enum phase_end end;

	for (size_t i = 0; i < count; i++) {
		remote.port = ports[i];
		punch_start(&punches[i], &remote, open_from_port, in, in->now, timeout_ms, in->now);
	}
	do
		end = advance_punches(in, punches, count);
	while (end == PHASE_DONE);
	for (size_t i = 0; i < count; i++)
		punch_end(&punches[i]);
	return end;
}

static enum phase_end punch_first(struct initiator *in)
{
	return punch_ports(in, &in->home.port, 1,
		in->can_predict ? in->times->second_after : in->times->first);
}

/* ---- the second try ----------------------------------------------------------------------- */

/* Once home is known: DONE; VAIN where the answer is another; or the reflector is lost. */
static enum phase_end judge(struct initiator *in, enum reflector_answer answer)
{
	switch (answer) {
	case REFLECTOR_ANSWER_DONE:
		return PHASE_DONE;
	case REFLECTOR_ANSWER_LATE:
	case REFLECTOR_ANSWER_NOT_STUN:
		return fail(in, "the reflector says what is not STUN");
	case REFLECTOR_ANSWER_LOST:
	case REFLECTOR_ANSWER_UNSENT:
		return fail(in, "the reflector is gone");
	default:
		return PHASE_VAIN;
	}
}

static void log_prediction(const char *whose, const struct port_prediction *prediction)
{
	if (prediction->port == 0)
		log_detail("%s port cannot be predicted", whose);
	else
		log_detail("%s next port is %u, and then %+d each", whose, prediction->port,
			prediction->step);
}

/* What port we will come from, of a new one of ours. */
static enum phase_end sample_ports(struct initiator *in, struct port_prediction *ours)
{
	struct port_sampler sampler;
	enum phase_end end = PHASE_DONE;

	log_detail("no direct way so far: %s; looking what port comes next", why_no_way(in));
	leave_port(in);
	port_sampler_start(&sampler, &in->session.reflector, &in->session.question.other,
		open_from_port, in, in->now);
	listen_on_port(in);
	while (end == PHASE_DONE && sampler.state != PORT_SAMPLER_DONE) {
		struct pollfd fds[WATCH_MAX];

		port_sampler_watch(&sampler, fds + WATCH_OWN);
		end = wait_for(in, fds, PORT_SAMPLER_WATCH_MAX, sampler.due);
		if (end == PHASE_DONE)
			port_sampler_advance(&sampler, fds + WATCH_OWN, in->now);
	}
	*ours = sampler.prediction;
	port_sampler_end(&sampler);
	if (end != PHASE_DONE)
		return end;
	log_prediction("our", ours);
	return ours->port != 0 ? PHASE_DONE : PHASE_VAIN;
}

/* By another CONNECT. Its answer says that home has been told, and will tell. */
static enum phase_end tell_home(struct initiator *in, const struct port_prediction *ours)
{
	enum reflector_answer answer;
	enum phase_end end;

	name_message_predict(&in->session.question, ours);
	end = ask(in, in->times->answer, &answer);
	return end == PHASE_DONE ? judge(in, answer) : end;
}

static enum phase_end hear_prediction(struct initiator *in, struct port_prediction *theirs)
{
	enum reflector_answer answer;
	enum phase_end end = hear(in, in->now + in->times->prediction, theirs, &answer);

	if (end == PHASE_DONE)
		end = judge(in, answer);
	if (end != PHASE_DONE)
		return end;
	log_prediction("home's", theirs);
	return theirs->port != 0 ? PHASE_DONE : PHASE_VAIN;
}

static enum phase_end try_second(struct initiator *in)
{
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	struct port_prediction ours, theirs;
	enum phase_end end = sample_ports(in, &ours);

	if (end == PHASE_DONE)
		end = tell_home(in, &ours);
	if (end == PHASE_DONE)
		end = hear_prediction(in, &theirs);
	if (end == PHASE_DONE)
		end = punch_ports(
			in, ports, port_prediction_candidates(&theirs, ports), in->times->second);
	return end;
}

/* ---- the relay ---------------------------------------------------------------------------- */

static const char *why_no_relay(
	const struct reflector_session *session, enum reflector_answer answer)
{
	if (answer == REFLECTOR_ANSWER_NONE)
		return "no answer from the reflector's relay";
	if (answer == REFLECTOR_ANSWER_MALFORMED)
		return session->why;
	switch (session->question.code) {
	case RELAY_MESSAGE_OFF:
		return "the reflector does not relay";
	case RELAY_MESSAGE_NOT_HOME:
		return "home does not come to the reflector's relay";
	case RELAY_MESSAGE_NAME_FULL:
		return "too many relayed connections for that name";
	case RELAY_MESSAGE_FULL:
		return "the reflector's relay is full";
	default:
		return "the reflector refuses to relay";
	}
}

/* Behind the answer comes the session: of that not one byte is read here. */
static enum phase_end ask_for_relay(struct initiator *in)
{
	struct reflector_session *session = &in->session;
	enum reflector_answer answer;
	char text[ADDR_TEXT_SIZE];
	enum phase_end end;

	if (!name_message_take_offer(&session->question))
		return fail(in, "the reflector does not relay");
	log_detail("no direct way to %s: %s; asking for a relay", addr_format(&in->home, text),
		why_no_way(in));
	end = ask(in, in->times->relay, &answer);
	if (end == PHASE_DONE)
		end = judge(in, answer);
	if (end == PHASE_VAIN)
		return fail(in, why_no_relay(session, answer));
	if (end != PHASE_DONE)
		return end;
	log_detail("connected by a relay: all bytes pass through %s",
		addr_format(&session->reflector, text));
	in->connection = reflector_session_take(session);
	return PHASE_OPEN;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static enum phase_end start(struct initiator *in, const struct addr *reflector)
{
	in->now = clock_now_ms();
	reflector_session_start(&in->session, reflector, in->request->key);
	in->session.stream = open_from_port(in, reflector);
	if (in->session.stream < 0)
		return stop(
			in, PHASE_NEXT, EXIT_STATUS_LOCAL, "cannot connect to", strerror(errno));
	listen_on_port(in);
	return PHASE_DONE;
}

/* Sets *fd with OPEN; sets *error with each other end. */
static enum phase_end try_address(const struct addr *reflector,
	const struct initiator_request *request, uint64_t deadline, int *fd, struct error *error)
{
	static const struct initiator_times usual = INITIATOR_TIMES_DEFAULT;
	struct initiator in = {.request = request,
		.times = request->times != NULL ? request->times : &usual,
		.error = error,
		.deadline = deadline,
		.listener = -1,
		.connection = -1};
	enum phase_end end = start(&in, reflector);

	if (end == PHASE_DONE)
		end = connect_to_reflector(&in);
	if (end == PHASE_DONE)
		end = wait_for_nonce(&in);
	if (end == PHASE_DONE)
		end = ask_for_home(&in);
	if (end == PHASE_DONE)
		end = punch_first(&in);
	if (end == PHASE_VAIN && in.can_predict)
		end = try_second(&in);
	if (end == PHASE_VAIN)
		end = ask_for_relay(&in);
	leave_port(&in);
	reflector_session_end(&in.session);
	*fd = in.connection;
	return end;
}

static enum phase_end ask_at(const struct addr *reflector, const struct initiator_request *request,
	uint64_t deadline, int *fd, struct error *error)
{
	enum phase_end end = PHASE_LATE;

	for (int i = 0; i < TRIES_MAX && end == PHASE_LATE; i++) {
		end = try_address(reflector, request, deadline, fd, error);
		if (end == PHASE_LATE)
			log_detail("%s", error->text);
	}
	return end == PHASE_LATE ? PHASE_NEXT : end;
}

int initiator_connect(const struct initiator_request *request, struct error *error)
{
	const struct host_port *reflector = request->reflector;
	uint64_t deadline = clock_now_ms() + request->timeout_ms;
	struct resolve resolve;
	enum phase_end end = PHASE_NEXT;
	int fd = -1;

	resolve_start_reflector(&resolve, request->resolver, reflector, request->family);
	resolve_wait(&resolve, reflector->host, deadline, error);
	for (size_t i = 0; i < resolve.count && end == PHASE_NEXT; i++) {
		end = ask_at(&resolve.found[i], request, deadline, &fd, error);
		if (end == PHASE_NEXT)
			log_detail("%s", error->text);
	}
	resolve_end(&resolve);
	return fd;
}
