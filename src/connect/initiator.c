/*
 * How a connection may come to stand, whichever is first:
 *
 *   ours     connect() from our port to home's mapping. It meets home's own SYN (a simultaneous
 *            open), or finds home's NAT open and sshd behind it.
 *   home's   accepted on our port. Where home's NAT maps each destination to another port, home
 *            comes from a port that nobody could predict; it gets through to us when our own NAT
 *            lets it, or when there is none. It also takes a SYN of home's that came while we were
 *            between two tries.
 *
 * The listener is there before the reflector is asked, as home may be faster than the answer. It is
 * not for strangers: who does not come from home's address is closed. That is no proof; ssh asks
 * for one from both sides.
 *
 * Both ends' SYNs cross on their way, if the reflector is not on a much longer one: with one-way
 * times l and h from the reflector to us and to home, and d between us, our SYN leaves l after the
 * reflector's answer did, home's h after; each reaches the other's NAT d later, |l - h| <= d by the
 * triangle's inequality. So mostly neither NAT sees a SYN before its own.
 *
 * Where nothing stands in SECOND_AFTER_MS, and the reflector has a second address, there is a
 * second try, which takes care of NATs that count: both sides look what port they will come from
 * next (port_sampler.h), tell each other through the reflector, and go there. It is made from
 * another port of ours: our NAT, and home's, remember for the first one what they did then, and so
 * would do it again. Home waits until our SYNs are on their way, as one of its own that is refused
 * would cost it the port that it predicted (responder.c).
 */
#include "natpunch/connect/initiator.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/proto/port_prediction.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/proto/invitation.h"
#include "natpunch/os/log.h"
#include "natpunch/client/punch.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/relay_messages.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/os/resolve.h"
#include "natpunch/client/port_sampler.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/stun.h"

#define NONCE_WAIT_MS     30   /* how much later than the handshake the nonce may come by UDP */
#define NEXT_ADDRESS_MS   2000 /* of the reflector's: the next is tried then */
#define ANSWER_TIMEOUT_MS 5000
#define RELAY_TIMEOUT_MS  8000 /* the reflector's own patience with home, and more */
#define SECOND_AFTER_MS   1500 /* without a connection; a SYN was sent again meanwhile */
#define SECOND_TIMEOUT_MS 2500 /* for the connections of the second try */
#define FORECAST_WAIT_MS  3000 /* for home's; it takes PORT_SAMPLER_TIMEOUT_MS at most to look */
#define TRIES_MAX         6    /* at an address where our question came too late */
#define ARRIVALS_MAX      16 /* that wait on our port; rule for more: the kernel drops their SYNs */

enum step {
	STEP_CONNECTING, /* the handshake with the reflector */
	STEP_NONCE,      /* it is done; the nonce is waited for a little longer */
	STEP_ASKING,
	STEP_PUNCHING,  /* home is known from here on */
	STEP_LOOKING,   /* what port we will come from */
	STEP_TELLING,   /* it to home, by another CONNECT */
	STEP_LISTENING, /* for what home says of its own */
	STEP_RELAYING,  /* there is no direct way: home is waited for at the reflector */
	STEP_OPEN,
	STEP_AGAIN,  /* our question was late, and not heard */
	STEP_NEXT,   /* this address of the reflector will not do */
	STEP_FAILED, /* no other will do either */
};

struct initiator {
	const struct initiator_request *request;
	enum step step;
	struct addr reflector;
	struct addr local; /* the port that everything leaves from */
	int stream;        /* to the reflector, from that port; or -1 */
	int datagram;      /* to the reflector, for the nonce; or -1 */
	int listener;      /* on that port too, for home's connection; or -1 */
	int arrived;       /* home's connection, once it is there; or -1 */
	uint64_t due;
	struct name_question question;
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t received;
	struct addr home; /* as the reflector knows it */
	struct punch punches[PORT_PREDICTION_CANDIDATES];
	size_t punch_count;
	int problem; /* of the last one that failed; 0: none did */
	bool second; /* try */
	struct port_sampler sampler;
	struct error *error;
};

static void stop(struct initiator *initiator, enum step step, enum exit_status status,
	const char *what, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&initiator->reflector, text);
	error_set(initiator->error, status, "%s %s: %s", what, text, why);
	initiator->step = step;
}

/* Closes and keeps errno. */
static int give_up(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

/* A socket on our port, which the first one makes up. Returns -1 and errno. */
static int bind_to_port(const struct initiator *initiator)
{
	struct addr local = initiator->local;
	int fd;

	local.family = initiator->reflector.family;
	fd = socket_open((enum addr_family)local.family, SOCK_STREAM, IPPROTO_TCP);
	if (fd < 0)
		return -1;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0 ||
		socket_bind(fd, &local) != 0)
		return give_up(fd);
	return fd;
}

static int open_from_port(struct initiator *initiator, const struct addr *remote)
{
	int fd = bind_to_port(initiator);

	if (fd < 0)
		return -1;
	if (socket_connect(fd, remote) != 0 ||
		(initiator->local.port == 0 && socket_local(fd, &initiator->local) != 0))
		return give_up(fd);
	return fd;
}

static int open_punch(void *context, const struct addr *remote)
{
	return open_from_port(context, remote);
}

/* ---- the nonce ---------------------------------------------------------------------------- */

static size_t write_request(struct initiator *initiator, uint8_t *out, size_t capacity)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	return name_message_write(&initiator->question, random, out, capacity);
}

/* Whatever goes wrong here costs a round trip and nothing else. */
static void fetch_nonce(struct initiator *initiator)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;

	initiator->datagram =
		socket_open((enum addr_family)initiator->reflector.family, SOCK_DGRAM, IPPROTO_UDP);
	if (initiator->datagram < 0 ||
		socket_connect(initiator->datagram, &initiator->reflector) != 0)
		return;
	size = write_request(initiator, bytes, sizeof(bytes));
	if (send(initiator->datagram, bytes, size, 0) < 0)
		return;
}

static bool has_nonce(const struct initiator *initiator)
{
	return initiator->question.nonce_size > 0;
}

static void take_nonce(struct initiator *initiator)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	const char *why;
	ssize_t got = recv(initiator->datagram, bytes, sizeof(bytes), 0);

	if (got > 0)
		name_message_read(&initiator->question, bytes, (size_t)got, &why);
	else if (errno != EAGAIN && errno != EINTR) {
		close(initiator->datagram);
		initiator->datagram = -1;
	}
}

/* ---- the question ------------------------------------------------------------------------- */

static void ask(struct initiator *initiator, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = write_request(initiator, bytes, sizeof(bytes));

	initiator->step = STEP_ASKING;
	initiator->due = now + ANSWER_TIMEOUT_MS;
	if (send(initiator->stream, bytes, size, 0) != (ssize_t)size)
		stop(initiator, STEP_NEXT, EXIT_STATUS_NETWORK, "cannot ask", strerror(errno));
}

static void finish_handshake(struct initiator *initiator, uint64_t now)
{
	int problem = socket_take_error(initiator->stream);

	if (problem != 0) {
		stop(initiator, STEP_NEXT, EXIT_STATUS_NETWORK, "cannot connect to",
			strerror(problem));
		return;
	}
	if (has_nonce(initiator) || initiator->datagram < 0) {
		ask(initiator, now);
		return;
	}
	initiator->step = STEP_NONCE;
	initiator->due = now + NONCE_WAIT_MS;
}

/* The record of our own family; home can be told of our mapping in no other. */
static const struct name_message_record *choose(const struct initiator *initiator)
{
	const struct name_question *question = &initiator->question;

	for (size_t i = 0; i < question->record_count; i++)
		if (question->records[i].addr.family == initiator->reflector.family &&
			question->records[i].protocol == MAPPING_TCP)
			return &question->records[i];
	return NULL;
}

/* A second try takes what the NAT does at another address, and a home that is there to be told. */
static bool can_try_again(
	const struct initiator *initiator, const struct name_message_record *record)
{
	return record->held && initiator->question.other.family == initiator->reflector.family;
}

/* To all these ports of home at once; one is the usual case. */
static void start_punches(struct initiator *initiator, const uint16_t *ports, size_t count,
	uint64_t timeout_ms, uint64_t now)
{
	struct addr remote = initiator->home;

	initiator->step = STEP_PUNCHING;
	initiator->punch_count = count;
	for (size_t i = 0; i < count; i++) {
		remote.port = ports[i];
		punch_start(&initiator->punches[i], &remote, open_punch, initiator, now, timeout_ms,
			now);
	}
}

static void end_punches(struct initiator *initiator)
{
	for (size_t i = 0; i < initiator->punch_count; i++)
		punch_end(&initiator->punches[i]);
	initiator->punch_count = 0;
}

static void begin_punch(struct initiator *initiator, uint64_t now)
{
	const struct name_message_record *record = choose(initiator);
	const char *name = initiator->request->key->name;
	char text[ADDR_TEXT_SIZE];

	if (record == NULL) {
		stop(initiator, STEP_NEXT, EXIT_STATUS_NETWORK, "no address of that name at",
			initiator->question.record_count > 0 ? "it is known in the other family"
							     : "home was never heard of there");
		return;
	}
	addr_format(&record->addr, text);
	if (record->held)
		log_detail("%s is at %s and is told to connect to us", name, text);
	else
		log_warning("%s was last heard of %u s ago, at %s; trying that", name, record->age,
			text);
	initiator->home = record->addr;
	start_punches(initiator, &record->addr.port, 1,
		can_try_again(initiator, record) ? SECOND_AFTER_MS : PUNCH_TIMEOUT_MS, now);
}

static void take_answer(struct initiator *initiator, const void *data, size_t size, uint64_t now)
{
	const char *why = "";

	switch (name_message_read(&initiator->question, data, size, &why)) {
	case NAME_MESSAGE_AGAIN:
		ask(initiator, now);
		return;
	case NAME_MESSAGE_DONE:
		begin_punch(initiator, now);
		return;
	case NAME_MESSAGE_UNRELATED:
		return;
	case NAME_MESSAGE_REFUSED:
		stop(initiator, STEP_FAILED, EXIT_STATUS_NETWORK, "the key is refused by",
			"the same line must stand in its key file");
		return;
	case NAME_MESSAGE_UNSUPPORTED:
		stop(initiator, STEP_FAILED, EXIT_STATUS_NETWORK, "no names are kept by",
			"that takes natpunch reflect with -K");
		return;
	case NAME_MESSAGE_FAILED:
		stop(initiator, STEP_FAILED, EXIT_STATUS_NETWORK, "no answer for that name from",
			"it reports an error");
		return;
	case NAME_MESSAGE_MALFORMED:
		stop(initiator, STEP_FAILED, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

/* ---- the relay ---------------------------------------------------------------------------- */

/* What the last try met with; the first one may still be under way. */
static const char *why_no_way(const struct initiator *initiator)
{
	int problem = initiator->problem;

	for (size_t i = 0; problem == 0 && i < initiator->punch_count; i++)
		problem = initiator->punches[i].problem;
	return strerror(problem != 0 ? problem : ETIMEDOUT);
}

/* Neither a direct way nor this one. */
static void fail(struct initiator *initiator, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	error_set(initiator->error, EXIT_STATUS_UNREACHABLE, "no direct way to %s at %s: %s; %s",
		initiator->request->key->name, addr_format(&initiator->home, text),
		why_no_way(initiator), why);
	error_hint(initiator->error,
		"by way of a third host: ssh -R 1337:localhost:22 HOST at home, then ssh -p 1337 "
		"HOST");
	initiator->step = STEP_FAILED;
}

static void ask_for_relay(struct initiator *initiator, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = write_request(initiator, bytes, sizeof(bytes));

	initiator->step = STEP_RELAYING;
	initiator->due = now + RELAY_TIMEOUT_MS;
	if (send(initiator->stream, bytes, size, 0) != (ssize_t)size)
		fail(initiator, "the reflector is gone");
}

static void begin_relay(struct initiator *initiator, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	if (!name_message_take_offer(&initiator->question)) {
		fail(initiator, "the reflector does not relay");
		return;
	}
	log_detail("no direct way to %s: %s; asking for a relay",
		addr_format(&initiator->home, text), why_no_way(initiator));
	ask_for_relay(initiator, now);
}

static const char *why_no_relay(unsigned code)
{
	switch (code) {
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

static void take_relay(struct initiator *initiator, const void *data, size_t size, uint64_t now)
{
	const char *why = "";
	char text[ADDR_TEXT_SIZE];

	switch (name_message_read(&initiator->question, data, size, &why)) {
	case NAME_MESSAGE_AGAIN:
		ask_for_relay(initiator, now);
		return;
	case NAME_MESSAGE_DONE:
		log_detail("connected by a relay: all bytes pass through %s",
			addr_format(&initiator->reflector, text));
		initiator->arrived = initiator->stream;
		initiator->stream = -1;
		initiator->step = STEP_OPEN;
		return;
	case NAME_MESSAGE_UNRELATED:
		return;
	case NAME_MESSAGE_MALFORMED:
		fail(initiator, why);
		return;
	default:
		fail(initiator, why_no_relay(initiator->question.code));
	}
}

/* ---- the second try ----------------------------------------------------------------------- */

static void listen_on_port(struct initiator *initiator);

static void begin_second(struct initiator *initiator, uint64_t now)
{
	log_detail("no direct way so far: %s; looking what port comes next", why_no_way(initiator));
	initiator->second = true;
	initiator->step = STEP_LOOKING;
	if (initiator->listener >= 0)
		close(initiator->listener);
	initiator->local = (struct addr){.port = 0};
	port_sampler_start(&initiator->sampler, &initiator->reflector, &initiator->question.other,
		open_punch, initiator, now);
	listen_on_port(initiator);
}

static void tell_home(struct initiator *initiator, uint64_t now)
{
	ask(initiator, now);
	if (initiator->step == STEP_ASKING)
		initiator->step = STEP_TELLING;
	else
		fail(initiator, "the reflector is gone");
}

static void log_prediction(const char *whose, const struct port_prediction *prediction)
{
	if (prediction->port == 0)
		log_detail("%s port cannot be predicted", whose);
	else
		log_detail("%s next port is %u, and then %+d each", whose, prediction->port,
			prediction->step);
}

static void advance_sights(
	struct initiator *initiator, const struct pollfd fds[PORT_SAMPLER_WATCH_MAX], uint64_t now)
{
	const struct port_prediction *prediction = &initiator->sampler.prediction;

	port_sampler_advance(&initiator->sampler, fds, now);
	if (initiator->sampler.state != PORT_SAMPLER_DONE)
		return;
	log_prediction("our", prediction);
	if (prediction->port == 0) {
		begin_relay(initiator, now);
		return;
	}
	name_message_predict(&initiator->question, prediction);
	tell_home(initiator, now);
}

/* The answer to the second CONNECT: home has been told, and will tell. */
static void take_told(struct initiator *initiator, const void *data, size_t size, uint64_t now)
{
	const char *why;

	switch (name_message_read(&initiator->question, data, size, &why)) {
	case NAME_MESSAGE_AGAIN:
		tell_home(initiator, now);
		return;
	case NAME_MESSAGE_DONE:
		initiator->step = STEP_LISTENING;
		initiator->due = now + FORECAST_WAIT_MS;
		return;
	case NAME_MESSAGE_UNRELATED:
		return;
	default:
		begin_relay(initiator, now);
	}
}

/* Home's prediction, if it is; anything else is passed over. */
static void take_prediction(
	struct initiator *initiator, const void *data, size_t size, uint64_t now)
{
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	struct port_prediction prediction;
	size_t count;

	if (invitation_read_prediction(initiator->request->key->secret,
		    initiator->question.transaction + 4, data, size, &prediction) != 0)
		return;
	log_prediction("home's", &prediction);
	count = port_prediction_candidates(&prediction, ports);
	if (count == 0)
		begin_relay(initiator, now);
	else
		start_punches(initiator, ports, count, SECOND_TIMEOUT_MS, now);
}

/* ---- answers ------------------------------------------------------------------------------ */

/* Does the reflector have the word? */
static bool hears(const struct initiator *initiator)
{
	return initiator->step == STEP_ASKING ||
	       (initiator->step >= STEP_TELLING && initiator->step <= STEP_RELAYING);
}

static void take_message(struct initiator *initiator, const void *data, size_t size, uint64_t now)
{
	switch (initiator->step) {
	case STEP_ASKING:
		take_answer(initiator, data, size, now);
		return;
	case STEP_TELLING:
		take_told(initiator, data, size, now);
		return;
	case STEP_LISTENING:
		take_prediction(initiator, data, size, now);
		return;
	default:
		take_relay(initiator, data, size, now);
	}
}

static void lose_stream(struct initiator *initiator, const char *why)
{
	if (initiator->step > STEP_PUNCHING)
		fail(initiator, "the reflector is gone");
	else
		stop(initiator, STEP_NEXT, EXIT_STATUS_NETWORK, "no answer from", why);
}

static void take_noise(struct initiator *initiator)
{
	if (initiator->step > STEP_PUNCHING)
		fail(initiator, "the reflector says what is not STUN");
	else if (first_bytes_is_line(initiator->bytes, initiator->received))
		stop(initiator, STEP_AGAIN, EXIT_STATUS_NETWORK, "no answer from",
			"the question came too late");
	else
		stop(initiator, STEP_FAILED, EXIT_STATUS_PEER, "bad answer from", "it is not STUN");
}

/* How much to read. Behind the answer to RELAY comes the session: of that not one byte. */
static size_t wanted(const struct initiator *initiator)
{
	size_t need;

	if (initiator->step != STEP_RELAYING)
		return sizeof(initiator->bytes) - initiator->received;
	(void)stun_frame(initiator->bytes, initiator->received, &need);
	return need - initiator->received;
}

/* All whole messages that are there. */
static void take_messages(struct initiator *initiator, uint64_t now)
{
	size_t need;

	while (hears(initiator)) {
		enum stun_frame frame = stun_frame(initiator->bytes, initiator->received, &need);
		if (frame == STUN_FRAME_NOT_STUN)
			take_noise(initiator);
		if (frame != STUN_FRAME_COMPLETE)
			return;
		take_message(initiator, initiator->bytes, need, now);
		initiator->received -= need;
		memmove(initiator->bytes, initiator->bytes + need, initiator->received);
	}
}

static void read_stream(struct initiator *initiator, uint64_t now)
{
	ssize_t got = recv(
		initiator->stream, initiator->bytes + initiator->received, wanted(initiator), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		lose_stream(initiator, got == 0 ? "it closed the connection" : strerror(errno));
		return;
	}
	initiator->received += (size_t)got;
	take_messages(initiator, now);
}

/* ---- home's connection -------------------------------------------------------------------- */

/* Without it there is one way less. */
static void listen_on_port(struct initiator *initiator)
{
	int fd = bind_to_port(initiator);

	if (fd >= 0 && listen(fd, ARRIVALS_MAX) != 0)
		fd = give_up(fd);
	if (fd < 0)
		log_detail("cannot listen for home: %s", strerror(errno));
	initiator->listener = fd;
}

static void take_arrivals(struct initiator *initiator)
{
	char text[ADDR_TEXT_SIZE];
	struct addr peer;

	/* What does not fit into one turn is there at the next. */
	for (int i = 0; i < ARRIVALS_MAX && initiator->arrived < 0; i++) {
		int fd = socket_accept(initiator->listener, &peer);

		if (fd < 0)
			return;
		addr_format(&peer, text);
		if (addr_equal_ip(&peer, &initiator->home)) {
			log_detail("home connected to us, from %s", text);
			initiator->arrived = fd;
			initiator->step = STEP_OPEN;
			return;
		}
		log_detail("%s is not home: closed", text);
		close(fd);
	}
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* Returns whether this one is still tried. One that stands is taken, and the others given up. */
static bool advance_punch(
	struct initiator *initiator, struct punch *punch, bool happened, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	punch_advance(punch, happened, now);
	if (punch->state == PUNCH_OPEN) {
		log_detail("connected to %s at try %u", addr_format(&punch->remote, text),
			punch->tries);
		initiator->arrived = punch_take(punch);
		initiator->step = STEP_OPEN;
	} else if (punch->state == PUNCH_FAILED) {
		initiator->problem = punch->problem;
	}
	return punch->state == PUNCH_TRYING;
}

static void advance_punches(struct initiator *initiator, const struct pollfd *fds, uint64_t now)
{
	bool tried = false;

	for (size_t i = 0; i < initiator->punch_count && initiator->step == STEP_PUNCHING; i++)
		if (advance_punch(initiator, &initiator->punches[i], fds[i].revents != 0, now))
			tried = true;
	if (initiator->step != STEP_PUNCHING || tried)
		return;
	end_punches(initiator);
	if (!initiator->second && initiator->question.other.family != ADDR_NONE &&
		can_try_again(initiator, choose(initiator)))
		begin_second(initiator, now);
	else
		begin_relay(initiator, now);
}

enum watch {
	WATCH_STREAM,
	WATCH_DATAGRAM,
	WATCH_LISTENER,
	WATCH_PUNCHES, /* or sampler */
	WATCH_COUNT = WATCH_PUNCHES + PORT_PREDICTION_CANDIDATES,
};

_Static_assert(
	PORT_SAMPLER_WATCH_MAX <= PORT_PREDICTION_CANDIDATES, "sampler are watched in their place");

static void advance(struct initiator *initiator, const struct pollfd fds[WATCH_COUNT], uint64_t now)
{
	if (fds[WATCH_DATAGRAM].revents != 0 && initiator->step <= STEP_NONCE)
		take_nonce(initiator);
	/* What came behind an earlier answer, while it was not wanted yet. */
	take_messages(initiator, now);
	if (initiator->step == STEP_CONNECTING && fds[WATCH_STREAM].revents != 0)
		finish_handshake(initiator, now);
	else if (initiator->step == STEP_NONCE && (has_nonce(initiator) || now >= initiator->due))
		ask(initiator, now);
	else if (hears(initiator) && fds[WATCH_STREAM].revents != 0)
		read_stream(initiator, now);
	else if (initiator->step == STEP_PUNCHING)
		advance_punches(initiator, fds + WATCH_PUNCHES, now);
	else if (initiator->step == STEP_LOOKING)
		advance_sights(initiator, fds + WATCH_PUNCHES, now);
	else if (now >= initiator->due && initiator->step < STEP_PUNCHING)
		stop(initiator, STEP_NEXT, EXIT_STATUS_NETWORK, "no answer from", "the time is up");
	else if (now >= initiator->due && initiator->step == STEP_RELAYING)
		fail(initiator, "no answer from the reflector's relay");
	else if (now >= initiator->due)
		begin_relay(initiator, now);
	if (initiator->step == STEP_PUNCHING && fds[WATCH_LISTENER].revents != 0)
		take_arrivals(initiator);
}

static int poll_ms(uint64_t now, uint64_t due)
{
	if (due <= now)
		return 0;
	return due - now > 1000 ? 1000 : (int)(due - now);
}

/* Returns when advance() is wanted without an event. */
static uint64_t watch(const struct initiator *initiator, struct pollfd fds[WATCH_COUNT])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < WATCH_COUNT; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	if (initiator->step == STEP_LOOKING) {
		port_sampler_watch(&initiator->sampler, fds + WATCH_PUNCHES);
		return initiator->sampler.due;
	}
	if (initiator->step != STEP_PUNCHING) {
		if (initiator->step != STEP_NONCE)
			fds[WATCH_STREAM].fd = initiator->stream;
		if (initiator->step == STEP_CONNECTING)
			fds[WATCH_STREAM].events = POLLOUT;
		if (initiator->step <= STEP_NONCE)
			fds[WATCH_DATAGRAM].fd = initiator->datagram;
		return initiator->due;
	}
	fds[WATCH_LISTENER].fd = initiator->listener;
	for (size_t i = 0; i < initiator->punch_count; i++) {
		const struct punch *punch = &initiator->punches[i];
		fds[WATCH_PUNCHES + i] = (struct pollfd){.fd = punch_fd(punch), .events = POLLOUT};
		if (punch->state == PUNCH_TRYING && punch->due < due)
			due = punch->due;
	}
	return due;
}

/* Runs until there is a connection, or this address of the reflector will not do. */
static void run(struct initiator *initiator, uint64_t deadline)
{
	uint64_t now = clock_now_ms();

	while (initiator->step < STEP_OPEN && now < deadline) {
		struct pollfd fds[WATCH_COUNT];
		uint64_t due = watch(initiator, fds);

		if (poll(fds, WATCH_COUNT, poll_ms(now, due < deadline ? due : deadline)) < 0)
			memset(fds, 0, sizeof(fds));
		now = clock_now_ms();
		advance(initiator, fds, now);
	}
	if (initiator->step >= STEP_PUNCHING && initiator->step < STEP_OPEN)
		fail(initiator, "the time is up");
	else if (initiator->step < STEP_PUNCHING)
		stop(initiator, STEP_FAILED, EXIT_STATUS_NETWORK, "no answer from",
			"the time is up");
}

static void start(struct initiator *initiator, const struct initiator_request *request,
	const struct addr *reflector, struct error *error)
{
	memset(initiator, 0, sizeof(*initiator));
	initiator->request = request;
	initiator->reflector = *reflector;
	initiator->datagram = -1;
	initiator->listener = -1;
	initiator->arrived = -1;
	initiator->error = error;
	initiator->step = STEP_CONNECTING;
	initiator->due = clock_now_ms() + NEXT_ADDRESS_MS;
	name_message_start(&initiator->question, STUN_METHOD_CONNECT, request->key);
	fetch_nonce(initiator);
	initiator->stream = open_from_port(initiator, reflector);
	if (initiator->stream < 0)
		stop(initiator, STEP_NEXT, EXIT_STATUS_LOCAL, "cannot connect to", strerror(errno));
	else
		listen_on_port(initiator);
}

/* Returns the connection, or -1. */
static int end(struct initiator *initiator)
{
	end_punches(initiator);
	port_sampler_end(&initiator->sampler);
	if (initiator->stream >= 0)
		close(initiator->stream);
	if (initiator->datagram >= 0)
		close(initiator->datagram);
	if (initiator->listener >= 0)
		close(initiator->listener);
	return initiator->arrived;
}

static void wait_for_names(struct resolve *resolve, uint64_t deadline)
{
	uint64_t now = clock_now_ms();

	while (!resolve->done && now < deadline) {
		struct pollfd ready = {.fd = resolve->fd, .events = POLLIN};
		poll(&ready, 1, poll_ms(now, deadline));
		resolve_advance(resolve);
		now = clock_now_ms();
	}
}

/* Sets *fd with STEP_OPEN, and *error with STEP_FAILED and STEP_NEXT: how it ended. */
static enum step ask_at(const struct addr *reflector, const struct initiator_request *request,
	uint64_t deadline, int *fd, struct error *error)
{
	struct initiator initiator;

	for (int i = 0; i < TRIES_MAX; i++) {
		start(&initiator, request, reflector, error);
		run(&initiator, deadline);
		*fd = end(&initiator);
		if (initiator.step != STEP_AGAIN)
			return initiator.step;
		log_detail("%s", error->text);
	}
	return STEP_NEXT;
}

int initiator_connect(const struct initiator_request *request, struct error *error)
{
	const struct host_port *reflector = request->reflector;
	uint64_t deadline = clock_now_ms() + request->timeout_ms;
	struct resolve resolve;
	enum step step = STEP_NEXT;
	int fd = -1;

	resolve_start_reflector(&resolve, request->resolver, reflector, request->family);
	wait_for_names(&resolve, deadline);
	if (!resolve.done || resolve.count == 0)
		error_set(error, EXIT_STATUS_NETWORK, "cannot look up %s: %s", reflector->host,
			resolve.done ? resolve.error.text : "no answer from a name server");
	for (size_t i = 0; i < resolve.count && step == STEP_NEXT; i++) {
		step = ask_at(&resolve.found[i], request, deadline, &fd, error);
		if (step == STEP_NEXT)
			log_detail("%s", error->text);
	}
	resolve_end(&resolve);
	return fd;
}
