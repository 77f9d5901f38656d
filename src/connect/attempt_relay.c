#include "connect/attempt_relay.h"

#include "connect/attempt_punch.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/proto/relay_messages.h"

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
		       : attempt_phase_fail(in, "the reflector does not relay");
}

static void watch_wait(const struct attempt *in, struct pollfd *own)
{
	attempt_punch_watch(in, own + 1);
}

static enum phase_end step_wait(struct attempt *in, const struct pollfd *own)
{
	return attempt_punch_advance(in, own + 1) == END_OPEN ? END_OPEN : END_STAYS;
}

const struct attempt_phase attempt_relay_wait = {begin_wait, watch_wait, step_wait};

static void watch_relay(const struct attempt *in, struct pollfd *own)
{
	attempt_phase_watch_stream(in, own);
	attempt_punch_watch(in, own + 1);
}

/* The bytes behind the answer are of the session: none of them is read here. */
static enum phase_end judge_relay(struct attempt *in, enum reflector_answer answer)
{
	struct reflector_session *session = &in->session;
	enum phase_end end = attempt_punch_judge(in, answer);
	char text[ADDR_TEXT_SIZE];

	if (end == END_VAIN)
		return attempt_phase_fail(in, why_no_relay(session, answer));
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
			addr_format(&in->home, text), attempt_phase_why(in));
	return attempt_phase_ask(in, in->config.times->relay, judge_relay);
}

static enum phase_end step_relay(struct attempt *in, const struct pollfd *own)
{
	if (step_wait(in, own) == END_OPEN)
		return END_OPEN;
	return attempt_phase_hear(in, own, NULL, judge_relay);
}

const struct attempt_phase attempt_relay_ask = {begin_relay, watch_relay, step_relay};
