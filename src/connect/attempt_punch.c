/*
 * PUNCH, SAMPLE, TELL, HEAR and PUNCH_AGAIN: the direct ways through the NATs.
 *
 * First try. Both ends' SYNs cross on their way, unless the reflector is on a much longer one: with
 * one-way times l and h from the reflector to us and to home, and d between us, our SYN leaves l
 * after the reflector's answer did, home's h after; each reaches the other's NAT d later, and
 * |l - h| <= d by the triangle inequality. So mostly neither NAT sees a SYN before its own.
 *
 * Loss. A SYN to home gets company after COMPANY_MS and a round trip: a SYN from another port. It
 * is not sent again from the same port: the first socket would have to be closed for that, and on a
 * way longer than COMPANY_MS the peer's SYN-ACK for it would meet the second socket, which would
 * answer with a RST. Where each end can let the other in, the SYN of either is enough, and both
 * must be lost. For NATs that are not so the race makes companions (companions.h), and home is told
 * of their ports.
 *
 * No direct way. Home says when the ports of its NAT cannot be predicted. Then the sampler looks at
 * ours beside the punch, from the same port, and where they cannot be predicted either, PUNCH ends
 * at once. The punch itself goes on in WAIT and RELAY: it has the time that the relay takes, which
 * by the triangle inequality is enough for a direct way that there is after all. Where our ports
 * can be predicted, the first try takes its time, and the second one is left out. In the same way
 * the punch goes on beside the relay where home is held and no second try can be made. A home that
 * died in silence is noticed by the relay alone, which waits for it some seconds: so that is asked
 * for in time.
 *
 * Second try. For NATs that allocate ports in sequence, where the reflector has a second address:
 * both sides look what port their NAT allocates next (port_sampler.h), tell each other through the
 * reflector, and connect there. It is made from another port of ours: our NAT, and home's, remember
 * for the first one what they did then, and would do the same again. The punches of the first try
 * end before, as each new SYN of theirs could take the port that we predict. Home waits until our
 * SYNs are on their way, as one of its own that is refused would cost it the port that it predicted
 * (responder.c).
 *
 * The connection to the reflector may break meanwhile: only TELL and HEAR look at it.
 */
#include "connect/attempt_punch.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

#define COMPANY_MS    250 /* and a round trip to the reflector, without an answer from home */
#define FIRST_PUNCHES 2   /* the SYN of the first try, and its company */

_Static_assert(FIRST_PUNCHES + PORT_SAMPLER_WATCH_MAX <= ATTEMPT_OWN_MAX, "all are watched");

/* Punches to all these ports of home at the same time. */
static enum phase_end start_punches(
	struct attempt *in, const uint16_t *ports, size_t count, uint32_t timeout_ms)
{
	struct addr remote = in->target;

	in->punch_count = count;
	in->due = TIMER_NONE;
	for (size_t i = 0; i < count; i++) {
		remote.port = ports[i];
		punch_start(&in->punches[i], &remote, punch_port_open, &in->port, in->now,
			timeout_ms, in->now);
	}
	return count > 0 ? END_STAYS : END_VAIN;
}

void attempt_punch_end(struct attempt *in)
{
	for (size_t i = 0; i < in->punch_count; i++)
		punch_end(&in->punches[i]);
	in->punch_count = 0;
}

void attempt_punch_watch(const struct attempt *in, struct pollfd *own)
{
	for (size_t i = 0; i < in->punch_count; i++)
		own[i] = (struct pollfd){.fd = punch_fd(&in->punches[i]), .events = POLLOUT};
}

enum phase_end attempt_punch_advance(struct attempt *in, const struct pollfd *own)
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
	enum phase_end end = attempt_punch_advance(in, own);

	if (end != END_STAYS)
		attempt_punch_end(in);
	return end;
}

uint64_t attempt_punch_company_ms(const struct attempt *in)
{
	return COMPANY_MS + in->round_trip;
}

/* See Loss. Home's NAT lets a SYN from another port in, or it waits for no SYN of ours at all. */
static void add_company(struct attempt *in, uint32_t timeout_ms)
{
	struct punch *company = &in->punches[in->punch_count];
	uint64_t wait = attempt_punch_company_ms(in);

	if (wait >= timeout_ms)
		return;
	in->punch_count++;
	punch_start(company, &in->target, punch_port_open_new, &in->port, in->now + wait,
		timeout_ms - wait, in->now);
	company->once = true;
}

static void warn_of_age(const struct attempt *in)
{
	char text[ADDR_TEXT_SIZE];

	log_warning("%s was last heard of %u s ago, at %s; trying that", in->config.key->name,
		in->age, addr_format(&in->home, text));
}

static enum phase_end begin_punch(struct attempt *in)
{
	const struct initiator_times *times = in->config.times;
	const struct name_question *question = &in->session.question;
	uint32_t timeout = in->can_predict ? times->second_after : times->first;
	struct addr other = attempt_phase_reach(in, &question->other);

	if (!in->held)
		warn_of_age(in);
	in->punched = in->now;
	start_punches(in, &in->target.port, 1, timeout);
	add_company(in, timeout);
	if (in->held && !in->can_predict && question->offer_size > 0)
		in->due = in->now + times->second_after;
	if (in->can_predict && question->home_random_ports && question->offer_size > 0) {
		port_sampler_start(&in->sampler, &in->config.reflector, &other, punch_port_open,
			&in->port, in->now);
		in->due = in->sampler.due;
	}
	return END_STAYS;
}

static void watch_punch(const struct attempt *in, struct pollfd *own)
{
	attempt_punch_watch(in, own);
	port_sampler_watch(&in->sampler, own + FIRST_PUNCHES);
}

/* See "No direct way": VAIN leaves the punches as they are, to go on beside the relay. */
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

const struct attempt_phase attempt_punch_first = {begin_punch, watch_punch, step_punch};

/* ---- the second try ----------------------------------------------------------------------- */

enum phase_end attempt_punch_judge(struct attempt *in, enum reflector_answer answer)
{
	switch (answer) {
	case REFLECTOR_ANSWER_DONE:
		return END_DONE;
	case REFLECTOR_ANSWER_LATE:
	case REFLECTOR_ANSWER_NOT_STUN:
		return attempt_phase_fail(in, "bad answer from the reflector: it is not STUN");
	case REFLECTOR_ANSWER_LOST:
	case REFLECTOR_ANSWER_UNSENT:
		return attempt_phase_fail(in, "the reflector closed the connection");
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

/* Takes our prediction: DONE, or VAIN where there is none. */
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

static enum phase_end begin_sample(struct attempt *in)
{
	struct addr other = attempt_phase_reach(in, &in->session.question.other);

	log_detail("no direct way so far: %s; looking what port comes next", attempt_phase_why(in));
	punch_port_leave(&in->port);
	port_sampler_start(
		&in->sampler, &in->config.reflector, &other, punch_port_open, &in->port, in->now);
	punch_port_listen(&in->port);
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

const struct attempt_phase attempt_punch_sample = {begin_sample, watch_sample, step_sample};

/* Asks CONNECT again. Its answer says that home has our prediction, and will send its own. */
static enum phase_end begin_tell(struct attempt *in)
{
	name_message_predict(&in->session.question, &in->ours);
	return attempt_phase_ask(in, in->config.times->answer, attempt_punch_judge);
}

static enum phase_end step_tell(struct attempt *in, const struct pollfd *own)
{
	return attempt_phase_hear(in, own, NULL, attempt_punch_judge);
}

const struct attempt_phase attempt_punch_tell = {begin_tell, attempt_phase_watch_stream, step_tell};

static enum phase_end judge_prediction(struct attempt *in, enum reflector_answer answer)
{
	enum phase_end end = attempt_punch_judge(in, answer);

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
	return attempt_phase_hear(in, own, &in->theirs, judge_prediction);
}

const struct attempt_phase attempt_punch_hear = {begin_hear, attempt_phase_watch_stream, step_hear};

static enum phase_end begin_punch_again(struct attempt *in)
{
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	size_t count = port_prediction_candidates(&in->theirs, ports);

	return start_punches(in, ports, count, in->config.times->second);
}

const struct attempt_phase attempt_punch_second = {
	begin_punch_again, attempt_punch_watch, step_punches};
