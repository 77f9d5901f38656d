/*
 * PAUSE, CONNECT, NONCE, ASK and UNHELD: from an address of the reflector to that of home.
 *
 * Loss. A SYN to the reflector that is lost does not wait for the kernel (reflector_call.h). The
 * question may come too late: after 200 ms the reflector took us for a person and sent a line. Or
 * it may not come at all, and the connection ends without an answer. Then the phase ends LATE, and
 * the attempt begins again from a new port: at once the first time, as the line comes when the
 * kernel would send the question again; then after PAUSE_MS, and each further time after twice as
 * long.
 *
 * The listener is there before the reflector is asked, as home may be faster than the answer.
 */
#include "connect/attempt_find.h"

#include <errno.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/client/name_client.h"
#include "natpunch/os/log.h"

#define PAUSE_MS 100

_Static_assert(REFLECTOR_CALL_MAX + 1 <= ATTEMPT_OWN_MAX, "all and the nonce's datagram");

static enum phase_end begin_pause(struct attempt *in)
{
	in->due = in->now + (in->tries > 1 ? (uint64_t)PAUSE_MS << (in->tries - 2) : 0);
	return in->due > in->now ? END_STAYS : END_DONE;
}

static void watch_nothing(const struct attempt *in, struct pollfd *own)
{
	(void)in;
	(void)own;
}

static enum phase_end step_pause(struct attempt *in, const struct pollfd *own)
{
	(void)own;
	return in->now < in->due ? END_STAYS : END_DONE;
}

const struct attempt_phase attempt_find_pause = {begin_pause, watch_nothing, step_pause};

static enum phase_end begin_connect(struct attempt *in)
{
	reflector_session_start(&in->session, &in->config.reflector, in->config.key);
	if (reflector_call_start(
		    &in->call, &in->config.reflector, punch_port_open_new, &in->port, in->now) != 0)
		return attempt_phase_stop(in, END_NEXT, EXIT_STATUS_LOCAL, "cannot connect to",
			strerror(in->call.problem));
	in->called = in->now;
	in->give_up = in->now + in->config.times->next_address;
	in->due = timer_earlier(in->call.due, in->give_up);
	return END_STAYS;
}

/* The datagram with the nonce may be faster than the handshake. */
static void watch_connect(const struct attempt *in, struct pollfd *own)
{
	reflector_call_watch(&in->call, own);
	own[REFLECTOR_CALL_MAX] = (struct pollfd){.fd = in->session.datagram, .events = POLLIN};
}

/* Its port is ours from now on. */
static enum phase_end take_call(struct attempt *in, int fd)
{
	in->session.stream = fd;
	in->round_trip = in->now - in->called;
	if (punch_port_take(&in->port, fd) != 0)
		return attempt_phase_stop(
			in, END_NEXT, EXIT_STATUS_LOCAL, "cannot connect to", strerror(errno));
	punch_port_listen(&in->port);
	return END_DONE;
}

static enum phase_end step_connect(struct attempt *in, const struct pollfd *own)
{
	int fd;

	if (own[REFLECTOR_CALL_MAX].revents != 0)
		reflector_session_take_nonce(&in->session);
	fd = reflector_call_advance(&in->call, own, in->now);
	in->due = timer_earlier(in->call.due, in->give_up);
	if (fd >= 0)
		return take_call(in, fd);
	/* ECONNRESET: it was established, and the reflector has ended it already. */
	if (in->call.problem != 0)
		return attempt_phase_stop(in, in->call.problem == ECONNRESET ? END_LATE : END_NEXT,
			EXIT_STATUS_NETWORK, "cannot connect to", strerror(in->call.problem));
	return in->now < in->give_up ? END_STAYS
				     : attempt_phase_stop(in, END_SILENT, EXIT_STATUS_NETWORK,
					       "no answer from", "the time is up");
}

const struct attempt_phase attempt_find_connect = {begin_connect, watch_connect, step_connect};

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

const struct attempt_phase attempt_find_nonce = {begin_nonce, watch_nonce, step_nonce};

/* Returns home's TCP record in that family, or NULL. */
static const struct name_message_record *find_record(
	const struct name_question *question, enum addr_family family)
{
	for (size_t i = 0; i < question->record_count; i++)
		if (question->records[i].addr.family == family &&
			question->records[i].protocol == MAPPING_TCP)
			return &question->records[i];
	return NULL;
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
	in->target = attempt_phase_reach(in, &record->addr);
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
	return attempt_phase_stop(in, rows[answer].end, rows[answer].status,
		rows[answer].what != NULL ? rows[answer].what : session->what,
		rows[answer].why != NULL ? rows[answer].why : session->why);
}

static enum phase_end begin_ask(struct attempt *in)
{
	return attempt_phase_ask(in, in->config.times->answer, judge_connect);
}

static enum phase_end step_ask(struct attempt *in, const struct pollfd *own)
{
	return attempt_phase_hear(in, own, NULL, judge_connect);
}

const struct attempt_phase attempt_find_ask = {begin_ask, attempt_phase_watch_stream, step_ask};

static enum phase_end begin_unheld(struct attempt *in)
{
	char text[ADDR_TEXT_SIZE], reflector[ADDR_TEXT_SIZE];

	if (in->held || !in->config.puts_off)
		return END_DONE;
	log_detail("%s was last heard of by %s %u s ago, at %s; asking on", in->config.key->name,
		addr_format(&in->session.reflector, reflector), in->age,
		addr_format(&in->home, text));
	in->due = TIMER_NONE;
	return END_STAYS;
}

/* attempt_try() ends it. */
static enum phase_end step_unheld(struct attempt *in, const struct pollfd *own)
{
	(void)in;
	(void)own;
	return END_STAYS;
}

const struct attempt_phase attempt_find_unheld = {begin_unheld, watch_nothing, step_unheld};
