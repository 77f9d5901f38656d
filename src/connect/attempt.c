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
 * The deadlines are those of struct initiator_times. An answer that brings a new nonce has the
 * question asked again, with the deadline put off. An attempt ends OPEN with a connection, SILENT,
 * VAIN or FAILED.
 *
 * Loss. A SYN to the reflector that is lost does not wait for the kernel (reflector_call.h). A
 * question that came too late (the reflector took us for a person, after 200 ms) or not at all, so
 * that the connection ends without an answer, has the attempt begin again from a new port,
 * TRIES_MAX times in all: at once the first time, as the line comes when the kernel would send the
 * question again; then after PAUSE. A SYN to home has company from another port after COMPANY_MS.
 * It is not sent again from the same port: the first socket would have to be closed for that, and
 * on a way longer than COMPANY_MS the peer's SYN-ACK for it would meet the second one and be
 * answered by a RST. Where both ends can let the other in, the SYN of either is enough, and both
 * must be lost. For NATs that are not so the race makes companions (companions.h), of whose ports
 * home is told.
 *
 * No direct way. Home says when the ports of its NAT cannot be predicted. Then the sampler looks
 * beside the punch of the first try, at the same port, and where ours cannot be predicted either,
 * PUNCH ends at once; the punch itself goes on in WAIT and RELAY, and has the time that the relay
 * takes, which by the triangle's inequality is enough for a direct way that there is after all.
 * Where ours can be, the first try takes its time, and the second one is left out. In the same way
 * the punch goes on beside the relay where home is held and no second try can be made. A home that
 * died in silence is known by the relay alone, which waits for it some seconds: so that is asked
 * for in time.
 *
 * A phase is a row: begin() starts it, watch() says what it waits for, step() is called after each
 * event and at the deadline. begin() and step() return STAYS, or how the phase ended.
 *
 * A connection can be established in three ways; the first one is used:
 *
 *   ours     connect() from our port to home's mapping. It meets home's own SYN (a simultaneous
 *            open), or finds home's NAT open and sshd behind it.
 *   home's   accepted on our port, in each phase after ASK. Where home's NAT maps each destination
 *            to another port, home comes from a port that nobody could predict; it gets through to
 *            us when our own NAT lets it, or when there is none. The listener also takes a SYN of
 *            home's that came while we were between two tries.
 *   nearby   connect() from any port to an address of home's own, in each phase after ASK, where
 *            the reflector sees us at the place where it sees home. nearby.h says why there alone,
 *            and why the other two are preferred for a tenth of a second.
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
 * The second try (SAMPLE to PUNCH_AGAIN) is for NATs that allocate ports in sequence, and is made
 * when the reflector has a second address: both sides look what port they will come from next
 * (port_sampler.h), tell each other through the reflector, and go there. It is made from another
 * port of ours: our NAT, and home's, remember for the first one what they did then, and so would do
 * it again. The punches of the first try end before, as each new SYN of theirs could take the port
 * that we predict. Home waits until our SYNs are on their way, as one of its own that is refused
 * would cost it the port that it predicted (responder.c).
 *
 * Families. Home can be told of our mapping, and we of its, in the family only that the reflector
 * sees us in. Where home is known in the other one alone, there is nothing to punch, and the
 * attempt waits at once. Behind a NAT64 that family is IPv4, and what is connected to are the IPv6
 * addresses that stand for home and the reflector.
 */
#include "connect/attempt.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/client/name_client.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/relay_messages.h"

#define TRIES_MAX    6   /* at an address where our question came too late, or was not answered */
#define PAUSE_MS     100 /* before the third of them, and before each that follows twice as much */
#define COMPANY_MS   250 /* and a round trip to the reflector, without an answer from home */
#define ARRIVALS_MAX 16  /* that wait on our port; rule for more: the kernel drops their SYNs */

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

/* How a phase ended. Each but the first three is how the attempt ends. */
enum phase_end {
	END_STAYS,  /* it has not */
	END_DONE,   /* the next phase has what it needs */
	END_VAIN,   /* no direct way this time; `error` is not set */
	END_OPEN,   /* `connection` is the one to home */
	END_LATE,   /* our question was late or lost, and not heard: once more */
	END_SILENT, /* nothing came from this address of the reflector */
	END_NEXT,   /* it will not do */
	END_FAILED  /* no other of the family will do either */
};

/* What an attempt polls: the listener, home's own addresses, what the phase has of its own. */
enum watch {
	WATCH_LISTENER,
	WATCH_NEARBY,
	WATCH_OWN = WATCH_NEARBY + NEARBY_MAX,
};

/* The punch of the first try, and its company; a sampler may be watched beside them. */
#define FIRST_PUNCHES 2

_Static_assert(FIRST_PUNCHES + PORT_SAMPLER_WATCH_MAX <= ATTEMPT_OWN_MAX, "all are watched");
_Static_assert(REFLECTOR_CALL_MAX + 1 <= ATTEMPT_OWN_MAX, "and the nonce's datagram");

/* ---- how it ends -------------------------------------------------------------------------- */

/* The reflector is to blame. */
static enum phase_end stop(struct attempt *in, enum phase_end end, enum exit_status status,
	const char *what, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&in->session.reflector, text);
	error_set(&in->error, status, "%s %s: %s", what, text, why);
	return end;
}

static const char *why_no_way(const struct attempt *in)
{
	return strerror(in->problem != 0 ? in->problem : ETIMEDOUT);
}

static void hint_way(struct attempt *in)
{
	const struct addr *own = &in->nearby.hosts[0];
	char text[ADDR_IP_TEXT_SIZE];

	if (in->nearby.count > 0)
		error_hint(&in->error,
			"home is behind the same NAT as this machine, and does not answer at its "
			"own address (%s); look why: ssh -p %u %s",
			strerror(in->nearby.problem != 0 ? in->nearby.problem : ETIMEDOUT),
			own->port, addr_format_ip(own, text));
	else
		error_hint(&in->error,
			"by way of a third host: ssh -N -R 1337:localhost:22 HOST at home, "
			"then ssh -J HOST "
			"-p 1337 localhost here");
}

/* Home is known, in our family or in the other one, and there is no way to it. */
static enum phase_end fail(struct attempt *in, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	if (in->home.family == ADDR_NONE) {
		error_set(&in->error, EXIT_STATUS_NETWORK,
			"%s knows no IPv%d address of %s, only one of the other family; %s",
			addr_format(&in->session.reflector, text),
			(int)in->session.reflector.family, in->config.key->name, why);
		return END_FAILED;
	}
	error_set(&in->error, EXIT_STATUS_UNREACHABLE, "no direct way to %s at %s: %s; %s",
		in->config.key->name, addr_format(&in->home, text), why_no_way(in), why);
	hint_way(in);
	return END_FAILED;
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

/* A socket on that port; 0: on one that the kernel makes up. Returns -1 and errno. */
static int bind_to_port(const struct attempt *in, const struct addr *port)
{
	struct addr local = *port;
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

/* As punch_opener has it; the context is the attempt. */
static int open_from_port(void *context, const struct addr *remote)
{
	struct attempt *in = context;
	int fd = bind_to_port(in, &in->local);

	if (fd < 0)
		return -1;
	if (socket_connect(fd, remote) != 0 ||
		(in->local.port == 0 && socket_local(fd, &in->local) != 0))
		return give_up(fd);
	return fd;
}

/* The same, from a port that nothing else leaves from. */
static int open_from_new_port(void *context, const struct addr *remote)
{
	const struct addr none = {.port = 0};
	int fd = bind_to_port(context, &none);

	return fd >= 0 && socket_connect(fd, remote) != 0 ? give_up(fd) : fd;
}

/* Without it there is one way less. */
static void listen_on_port(struct attempt *in)
{
	int fd = bind_to_port(in, &in->local);

	if (fd >= 0 && listen(fd, ARRIVALS_MAX) != 0)
		fd = give_up(fd);
	if (fd < 0)
		log_detail("cannot listen for home: %s", strerror(errno));
	in->listener = fd;
}

static void leave_port(struct attempt *in)
{
	if (in->listener >= 0)
		close(in->listener);
	in->listener = -1;
	in->local = (struct addr){.port = 0};
}

static enum phase_end take_arrivals(struct attempt *in)
{
	char text[ADDR_TEXT_SIZE];
	struct addr peer;

	/* What does not fit into one turn is there at the next. */
	for (int i = 0; i < ARRIVALS_MAX; i++) {
		int fd = socket_accept(in->listener, &peer);

		if (fd < 0)
			return END_STAYS;
		addr_format(&peer, text);
		if (addr_equal_ip(&peer, &in->target)) {
			log_detail("home connected to us, from %s", text);
			in->connection = fd;
			return END_OPEN;
		}
		log_detail("%s is not home: closed", text);
		close(fd);
	}
	return END_STAYS;
}

/* ---- asking and hearing ------------------------------------------------------------------- */

/* What comes of an answer; NONE: there was none in time. */
typedef enum phase_end judge_answer(struct attempt *in, enum reflector_answer answer);

static enum phase_end ask(struct attempt *in, uint32_t patience_ms, judge_answer *judge)
{
	enum reflector_answer answer = reflector_session_ask(&in->session);

	in->patience = patience_ms;
	in->due = in->now + patience_ms;
	return answer == REFLECTOR_ANSWER_NONE ? END_STAYS : judge(in, answer);
}

/* The answer; with `prediction`, home's. */
static enum phase_end hear(struct attempt *in, const struct pollfd *own,
	struct port_prediction *prediction, judge_answer *judge)
{
	enum reflector_answer answer = REFLECTOR_ANSWER_NONE;

	if (own->revents != 0)
		answer = reflector_session_read(&in->session, prediction);
	if (answer == REFLECTOR_ANSWER_AGAIN)
		return ask(in, in->patience, judge);
	if (answer == REFLECTOR_ANSWER_NONE && in->now < in->due)
		return END_STAYS;
	return judge(in, answer);
}

static void watch_stream(const struct attempt *in, struct pollfd *own)
{
	own[0] = (struct pollfd){.fd = in->session.stream, .events = POLLIN};
}

/* ---- the reflector ------------------------------------------------------------------------ */

static uint64_t earlier(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

/* Before it is asked once more: at once the first time. */
static enum phase_end begin_pause(struct attempt *in)
{
	in->due = in->now + (in->tries > 1 ? (uint64_t)PAUSE_MS << (in->tries - 2) : 0);
	return in->due > in->now ? END_STAYS : END_DONE;
}

static enum phase_end step_pause(struct attempt *in, const struct pollfd *own)
{
	(void)own;
	return in->now < in->due ? END_STAYS : END_DONE;
}

static enum phase_end begin_connect(struct attempt *in)
{
	reflector_session_start(&in->session, &in->config.reflector, in->config.key);
	if (reflector_call_start(
		    &in->call, &in->config.reflector, open_from_new_port, in, in->now) != 0)
		return stop(in, END_NEXT, EXIT_STATUS_LOCAL, "cannot connect to",
			strerror(in->call.problem));
	in->called = in->now;
	in->give_up = in->now + in->config.times->next_address;
	in->due = earlier(in->call.due, in->give_up);
	return END_STAYS;
}

/* The nonce's datagram may be faster. */
static void watch_connect(const struct attempt *in, struct pollfd *own)
{
	reflector_call_watch(&in->call, own);
	own[REFLECTOR_CALL_MAX] = (struct pollfd){.fd = in->session.datagram, .events = POLLIN};
}

/* From now on its port is ours. */
static enum phase_end take_call(struct attempt *in, int fd)
{
	in->session.stream = fd;
	in->round_trip = in->now - in->called;
	if (socket_local(fd, &in->local) != 0)
		return stop(in, END_NEXT, EXIT_STATUS_LOCAL, "cannot connect to", strerror(errno));
	listen_on_port(in);
	return END_DONE;
}

static enum phase_end step_connect(struct attempt *in, const struct pollfd *own)
{
	int fd;

	if (own[REFLECTOR_CALL_MAX].revents != 0)
		reflector_session_take_nonce(&in->session);
	fd = reflector_call_advance(&in->call, own, in->now);
	in->due = earlier(in->call.due, in->give_up);
	if (fd >= 0)
		return take_call(in, fd);
	/* Refused, or it was established and is gone already. */
	if (in->call.problem != 0)
		return stop(in, in->call.problem == ECONNRESET ? END_LATE : END_NEXT,
			EXIT_STATUS_NETWORK, "cannot connect to", strerror(in->call.problem));
	return in->now < in->give_up ? END_STAYS
				     : stop(in, END_SILENT, EXIT_STATUS_NETWORK, "no answer from",
					       "the time is up");
}

static enum phase_end wait_for_nonce(const struct attempt *in)
{
	return reflector_session_has_nonce(&in->session) || in->now >= in->due ? END_DONE
									       : END_STAYS;
}

static enum phase_end begin_nonce(struct attempt *in)
{
	in->due = in->now + in->config.times->nonce;
	return wait_for_nonce(in);
}

static void watch_nonce(const struct attempt *in, struct pollfd *own)
{
	own[0] = (struct pollfd){.fd = in->session.datagram, .events = POLLIN};
}

static enum phase_end step_nonce(struct attempt *in, const struct pollfd *own)
{
	if (own[0].revents != 0)
		reflector_session_take_nonce(&in->session);
	return wait_for_nonce(in);
}

/* Home's TCP port in that family; NULL: it is not known. */
static const struct name_message_record *find_record(
	const struct name_question *question, enum addr_family family)
{
	for (size_t i = 0; i < question->record_count; i++)
		if (question->records[i].addr.family == family &&
			question->records[i].protocol == MAPPING_TCP)
			return &question->records[i];
	return NULL;
}

/* What is connected to, to reach an address that the reflector names. */
static struct addr reach(const struct attempt *in, const struct addr *addr)
{
	struct addr target = *addr;

	if (in->config.family != (enum addr_family)in->config.reflector.family)
		nat64_map(&in->config.nat64, &target, &target);
	return target;
}

static enum phase_end find_home(struct attempt *in)
{
	const struct name_question *question = &in->session.question;
	enum addr_family family = in->config.family;
	const struct name_message_record *record = find_record(question, family);
	const char *name = in->config.key->name;
	char text[ADDR_TEXT_SIZE];

	if (record == NULL &&
		find_record(question, family == ADDR_IPV4 ? ADDR_IPV6 : ADDR_IPV4) != NULL) {
		log_detail("%s is not known in IPv%d, but in the other family", name, (int)family);
		return END_VAIN;
	}
	if (record == NULL) {
		error_set(&in->error, EXIT_STATUS_NETWORK, "%s knows no %saddress of %s",
			addr_format(&in->session.reflector, text),
			question->record_count > 0 ? "TCP " : "", name);
		error_hint(
			&in->error, "at home: natpunch probe -k -r %s -n %s -K FILE", text, name);
		return END_FAILED;
	}
	if (record->held)
		log_detail("%s is at %s and is told to connect to us", name,
			addr_format(&record->addr, text));
	in->home = record->addr;
	in->target = reach(in, &record->addr);
	in->held = record->held;
	in->age = record->age;
	in->can_predict = record->held && question->other.family == family;
	nearby_start(&in->nearby, question->hosts, question->host_count);
	return END_DONE;
}

static enum phase_end judge_connect(struct attempt *in, enum reflector_answer answer)
{
	static const struct {
		enum phase_end end;
		enum exit_status status;
		const char *what, *why; /* NULL: the session's */
	} rows[] = {
		[REFLECTOR_ANSWER_NONE] = {END_SILENT, EXIT_STATUS_NETWORK, "no answer from",
			"the time is up"},
		[REFLECTOR_ANSWER_ERROR] = {END_FAILED, EXIT_STATUS_NETWORK,
			"no answer for that name from", "it reports an error"},
		[REFLECTOR_ANSWER_MALFORMED] = {END_FAILED, EXIT_STATUS_PEER, "bad answer from",
			NULL},
		[REFLECTOR_ANSWER_LATE] = {END_LATE, EXIT_STATUS_NETWORK, "no answer from",
			"the question came too late"},
		[REFLECTOR_ANSWER_NOT_STUN] = {END_FAILED, EXIT_STATUS_PEER, "bad answer from",
			"it is not STUN"},
		[REFLECTOR_ANSWER_LOST] = {END_LATE, EXIT_STATUS_NETWORK, "no answer from", NULL},
		[REFLECTOR_ANSWER_UNSENT] = {END_LATE, EXIT_STATUS_NETWORK, NULL, NULL},
	};
	const struct reflector_session *session = &in->session;
	char text[ADDR_TEXT_SIZE];

	if (answer == REFLECTOR_ANSWER_DONE)
		return find_home(in);
	addr_format(&session->reflector, text);
	if (answer == REFLECTOR_ANSWER_REFUSED)
		name_client_set_refused(text, in->config.key, &in->error);
	else if (answer == REFLECTOR_ANSWER_UNSUPPORTED)
		name_client_set_unsupported(text, &in->error);
	if (answer == REFLECTOR_ANSWER_REFUSED || answer == REFLECTOR_ANSWER_UNSUPPORTED)
		return END_FAILED;
	return stop(in, rows[answer].end, rows[answer].status,
		rows[answer].what != NULL ? rows[answer].what : session->what,
		rows[answer].why != NULL ? rows[answer].why : session->why);
}

static enum phase_end begin_ask(struct attempt *in)
{
	return ask(in, in->config.times->answer, judge_connect);
}

static enum phase_end step_ask(struct attempt *in, const struct pollfd *own)
{
	return hear(in, own, NULL, judge_connect);
}

static void warn_of_age(const struct attempt *in)
{
	char text[ADDR_TEXT_SIZE];

	log_warning("%s was last heard of %u s ago, at %s; trying that", in->config.key->name,
		in->age, addr_format(&in->home, text));
}

static enum phase_end begin_unheld(struct attempt *in)
{
	char text[ADDR_TEXT_SIZE], reflector[ADDR_TEXT_SIZE];

	if (in->held)
		return END_DONE;
	if (!in->config.puts_off) {
		warn_of_age(in);
		return END_DONE;
	}
	log_detail("%s was last heard of by %s %u s ago, at %s; asking on", in->config.key->name,
		addr_format(&in->session.reflector, reflector), in->age,
		addr_format(&in->home, text));
	in->due = TIMER_NONE;
	return END_STAYS;
}

/* ---- punching ----------------------------------------------------------------------------- */

/* To all these ports of home at once; one is the usual case. */
static enum phase_end start_punches(
	struct attempt *in, const uint16_t *ports, size_t count, uint32_t timeout_ms)
{
	struct addr remote = in->target;

	in->punch_count = count;
	in->due = TIMER_NONE;
	for (size_t i = 0; i < count; i++) {
		remote.port = ports[i];
		punch_start(
			&in->punches[i], &remote, open_from_port, in, in->now, timeout_ms, in->now);
	}
	return count > 0 ? END_STAYS : END_VAIN;
}

static void end_punches(struct attempt *in)
{
	for (size_t i = 0; i < in->punch_count; i++)
		punch_end(&in->punches[i]);
	in->punch_count = 0;
}

static void watch_punches(const struct attempt *in, struct pollfd *own)
{
	for (size_t i = 0; i < in->punch_count; i++)
		own[i] = (struct pollfd){.fd = punch_fd(&in->punches[i]), .events = POLLOUT};
}

/* One turn of all punches. STAYS: one or more are still tried. */
static enum phase_end advance_punches(struct attempt *in, const struct pollfd *own)
{
	enum phase_end end = END_VAIN;
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < in->punch_count; i++) {
		struct punch *punch = &in->punches[i];

		punch_advance(punch, own[i].revents != 0, in->now);
		if (punch->state == PUNCH_OPEN) {
			log_detail("connected to %s at try %u", addr_format(&punch->remote, text),
				punch->tries);
			in->connection = punch_take(punch);
			return END_OPEN;
		}
		if (punch->problem != 0 && !punch->once)
			in->problem = punch->problem;
		if (punch->state == PUNCH_TRYING)
			end = END_STAYS;
	}
	return end;
}

static enum phase_end step_punches(struct attempt *in, const struct pollfd *own)
{
	enum phase_end end = advance_punches(in, own);

	if (end != END_STAYS)
		end_punches(in);
	return end;
}

static uint64_t company_ms(const struct attempt *in)
{
	return COMPANY_MS + in->round_trip;
}

/*
 * A SYN that is lost is not to wait for the kernel. From the same port there can be no other one
 * beside it; from another port home's NAT lets it in, or the first SYN is not what it waits for.
 */
static void add_company(struct attempt *in, uint32_t timeout_ms)
{
	struct punch *company = &in->punches[in->punch_count];
	uint64_t wait = company_ms(in);

	if (wait >= timeout_ms)
		return;
	in->punch_count++;
	punch_start(company, &in->target, open_from_new_port, in, in->now + wait, timeout_ms - wait,
		in->now);
	company->once = true;
}

static enum phase_end begin_punch(struct attempt *in)
{
	const struct initiator_times *times = in->config.times;
	const struct name_question *question = &in->session.question;
	uint32_t timeout = in->can_predict ? times->second_after : times->first;
	struct addr other = reach(in, &question->other);

	in->punched = in->now;
	start_punches(in, &in->target.port, 1, timeout);
	add_company(in, timeout);
	if (in->held && !in->can_predict && question->offer_size > 0)
		in->due = in->now + times->second_after;
	if (in->can_predict && question->home_random_ports && question->offer_size > 0) {
		port_sampler_start(
			&in->sampler, &in->config.reflector, &other, open_from_port, in, in->now);
		in->due = in->sampler.due;
	}
	return END_STAYS;
}

static void watch_punch(const struct attempt *in, struct pollfd *own)
{
	watch_punches(in, own);
	port_sampler_watch(&in->sampler, own + FIRST_PUNCHES);
}

/*
 * What home cannot predict and we cannot either needs no waiting, and what there is no second try
 * for does not need all the time: it goes on beside the relay.
 */
static enum phase_end step_punch(struct attempt *in, const struct pollfd *own)
{
	enum phase_end end = step_punches(in, own);

	if (end != END_STAYS)
		return end;
	if (in->sampler.state == PORT_SAMPLER_NONE)
		return in->now < in->due ? END_STAYS : END_VAIN;
	port_sampler_advance(&in->sampler, own + FIRST_PUNCHES, in->now);
	in->due = in->sampler.due;
	if (port_sampler_is_random(&in->sampler)) {
		log_detail("neither home's port nor ours can be predicted: no direct way is "
			   "waited for");
		end = END_VAIN;
	}
	if (in->sampler.state == PORT_SAMPLER_DONE)
		port_sampler_end(&in->sampler);
	return end;
}

/* ---- the second try ----------------------------------------------------------------------- */

/* Once home is known: DONE; VAIN where the answer is another; or the reflector is lost. */
static enum phase_end judge(struct attempt *in, enum reflector_answer answer)
{
	switch (answer) {
	case REFLECTOR_ANSWER_DONE:
		return END_DONE;
	case REFLECTOR_ANSWER_LATE:
	case REFLECTOR_ANSWER_NOT_STUN:
		return fail(in, "bad answer from the reflector: it is not STUN");
	case REFLECTOR_ANSWER_LOST:
	case REFLECTOR_ANSWER_UNSENT:
		return fail(in, "the reflector closed the connection");
	default:
		return END_VAIN;
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

/* What port we will come from: DONE or VAIN, once the sampler is. */
static enum phase_end take_sample(struct attempt *in)
{
	in->due = in->sampler.due;
	if (in->sampler.state != PORT_SAMPLER_DONE)
		return END_STAYS;
	in->ours = in->sampler.prediction;
	port_sampler_end(&in->sampler);
	log_prediction("our", &in->ours);
	return in->ours.port != 0 ? END_DONE : END_VAIN;
}

/* From a new port of ours. */
static enum phase_end begin_sample(struct attempt *in)
{
	struct addr other = reach(in, &in->session.question.other);

	log_detail("no direct way so far: %s; looking what port comes next", why_no_way(in));
	leave_port(in);
	port_sampler_start(
		&in->sampler, &in->config.reflector, &other, open_from_port, in, in->now);
	listen_on_port(in);
	return take_sample(in);
}

static void watch_sample(const struct attempt *in, struct pollfd *own)
{
	port_sampler_watch(&in->sampler, own);
}

static enum phase_end step_sample(struct attempt *in, const struct pollfd *own)
{
	port_sampler_advance(&in->sampler, own, in->now);
	return take_sample(in);
}

/* By another CONNECT. Its answer says that home has been told, and will tell. */
static enum phase_end begin_tell(struct attempt *in)
{
	name_message_predict(&in->session.question, &in->ours);
	return ask(in, in->config.times->answer, judge);
}

static enum phase_end step_tell(struct attempt *in, const struct pollfd *own)
{
	return hear(in, own, NULL, judge);
}

static enum phase_end judge_prediction(struct attempt *in, enum reflector_answer answer)
{
	enum phase_end end = judge(in, answer);

	if (end != END_DONE)
		return end;
	log_prediction("home's", &in->theirs);
	return in->theirs.port != 0 ? END_DONE : END_VAIN;
}

static enum phase_end begin_hear(struct attempt *in)
{
	in->due = in->now + in->config.times->prediction;
	return END_STAYS;
}

static enum phase_end step_hear(struct attempt *in, const struct pollfd *own)
{
	return hear(in, own, &in->theirs, judge_prediction);
}

static enum phase_end begin_punch_again(struct attempt *in)
{
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	size_t count = port_prediction_candidates(&in->theirs, ports);

	return start_punches(in, ports, count, in->config.times->second);
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

static enum phase_end begin_wait(struct attempt *in)
{
	in->due = TIMER_NONE;
	return name_message_take_offer(&in->session.question)
		       ? END_STAYS
		       : fail(in, "the reflector does not relay");
}

/* Without a punch there is nothing. */
static void watch_wait(const struct attempt *in, struct pollfd *own)
{
	watch_punches(in, own + 1);
}

static enum phase_end step_wait(struct attempt *in, const struct pollfd *own)
{
	return advance_punches(in, own + 1) == END_OPEN ? END_OPEN : END_STAYS;
}

static void watch_relay(const struct attempt *in, struct pollfd *own)
{
	watch_stream(in, own);
	watch_punches(in, own + 1);
}

/* Behind the answer comes the session: of that not one byte is read here. */
static enum phase_end judge_relay(struct attempt *in, enum reflector_answer answer)
{
	struct reflector_session *session = &in->session;
	enum phase_end end = judge(in, answer);
	char text[ADDR_TEXT_SIZE];

	if (end == END_VAIN)
		return fail(in, why_no_relay(session, answer));
	if (end != END_DONE)
		return end;
	log_detail("connected by a relay: all bytes pass through %s",
		addr_format(&session->reflector, text));
	in->connection = reflector_session_take(session);
	return END_OPEN;
}

static enum phase_end begin_relay(struct attempt *in)
{
	char text[ADDR_TEXT_SIZE];

	if (in->home.family == ADDR_NONE)
		log_detail("no family in common with %s; asking for a relay", in->config.key->name);
	else
		log_detail("no direct way to %s: %s; asking for a relay",
			addr_format(&in->home, text), why_no_way(in));
	return ask(in, in->config.times->relay, judge_relay);
}

static enum phase_end step_relay(struct attempt *in, const struct pollfd *own)
{
	if (step_wait(in, own) == END_OPEN)
		return END_OPEN;
	return hear(in, own, NULL, judge_relay);
}

/* ---- from phase to phase ------------------------------------------------------------------ */

static const struct {
	enum phase_end (*begin)(struct attempt *in);
	void (*watch)(const struct attempt *in, struct pollfd *own);
	enum phase_end (*step)(struct attempt *in, const struct pollfd *own);
	enum phase done, vain; /* what follows */
} phases[] = {
	[PHASE_PAUSE] = {begin_pause, watch_wait, step_pause, .done = PHASE_CONNECT},
	[PHASE_CONNECT] = {begin_connect, watch_connect, step_connect, .done = PHASE_NONCE},
	[PHASE_NONCE] = {begin_nonce, watch_nonce, step_nonce, .done = PHASE_ASK},
	[PHASE_ASK] = {begin_ask, watch_stream, step_ask, PHASE_UNHELD, PHASE_WAIT},
	[PHASE_UNHELD] = {begin_unheld, watch_wait, step_wait, .done = PHASE_PUNCH},
	[PHASE_PUNCH] = {begin_punch, watch_punch, step_punch, .vain = PHASE_SAMPLE},
	[PHASE_SAMPLE] = {begin_sample, watch_sample, step_sample, PHASE_TELL, PHASE_WAIT},
	[PHASE_TELL] = {begin_tell, watch_stream, step_tell, PHASE_HEAR, PHASE_WAIT},
	[PHASE_HEAR] = {begin_hear, watch_stream, step_hear, PHASE_PUNCH_AGAIN, PHASE_WAIT},
	[PHASE_PUNCH_AGAIN] = {begin_punch_again, watch_punches, step_punches, .vain = PHASE_WAIT},
	[PHASE_WAIT] = {begin_wait, watch_wait, step_wait, .done = PHASE_RELAY},
	[PHASE_RELAY] = {begin_relay, watch_relay, step_relay, .done = PHASE_RELAY},
};

static void close_all(struct attempt *in)
{
	end_punches(in);
	nearby_end(&in->nearby);
	port_sampler_end(&in->sampler);
	leave_port(in);
	reflector_call_end(&in->call);
	reflector_session_end(&in->session);
	if (in->connection >= 0)
		close(in->connection);
	in->connection = -1;
}

/* All but the connection, which is the caller's to take. */
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
	return phases[next].begin(in);
}

static enum phase_end begin_again(struct attempt *in)
{
	log_detail("%s", in->error.text);
	close_all(in);
	if (++in->tries == TRIES_MAX)
		return END_NEXT;
	in->phase = PHASE_PAUSE;
	return begin_pause(in);
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
	attempt->listener = -1;
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
	settle(attempt, begin_connect(attempt));
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
		(struct pollfd){.fd = known ? attempt->listener : -1, .events = POLLIN};
	phases[attempt->phase].watch(attempt, fds + WATCH_OWN);
	due = earlier(due, nearby_watch(&attempt->nearby, fds + WATCH_NEARBY));
	for (size_t i = 0; i < attempt->punch_count; i++)
		due = earlier(due, attempt->punches[i].due);
	return due;
}

void attempt_advance(
	struct attempt *attempt, const struct pollfd fds[ATTEMPT_WATCH_MAX], uint64_t now)
{
	enum phase_end end = END_STAYS;

	if (!is_under_way(attempt))
		return;
	attempt->now = now;
	if (fds[WATCH_LISTENER].revents != 0)
		end = take_arrivals(attempt);
	if (end == END_STAYS)
		end = phases[attempt->phase].step(attempt, fds + WATCH_OWN);
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
	return attempt->punched + number * company_ms(attempt);
}

void attempt_try(struct attempt *attempt, uint64_t now)
{
	attempt->now = now;
	warn_of_age(attempt);
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
		settle(attempt, stop(attempt, END_SILENT, EXIT_STATUS_NETWORK, "no answer from",
					"the time is up"));
	else
		settle(attempt, fail(attempt, "the time is up"));
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
