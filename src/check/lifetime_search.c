/*
 * A lane is one trial, with a mapping of its own, in one of these states.
 *
 *   BEGUN --answer--> SILENT --time (UDP)--> CALLED --> OVER
 *      \________________\_______________________\-----> OVER
 *
 * Over TCP the reflector ends the silence by its FIN; a FIN before its time, and data at any time,
 * make the trial void. Over UDP the caller, one socket for all lanes, ends the silence; a datagram
 * that comes before is a late answer, and the silence begins anew.
 */
#include "natpunch/check/lifetime_search.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check/evidence.h"
#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/check/lifetime.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/client/binding_client.h"

#define BEGIN_MS 4000 /* to make a mapping */
#define GRACE_MS 2000 /* after the silence, for the packet to arrive, even if it is lost once */
#define EARLY_MS 500  /* so much before its time a FIN may come */
#define RTO_MS   250  /* then twice that, and so on */

static_assert(LIFETIME_SEARCH_EXTRA_MS > BEGIN_MS + GRACE_MS, "each lane's time is bounded");

enum lane_state {
	LANE_BEGUN,
	LANE_SILENT,
	LANE_CALLED,
	LANE_OVER,
};

struct lane {
	enum lane_state state;
	int fd; /* UDP; TCP has the transaction's */
	struct binding_client transaction;
	struct binding_request question;
	uint16_t port;   /* UDP: the public one */
	uint64_t silent; /* since when */
	uint64_t again;  /* when to send again, */
	uint64_t rto;    /* and the pause after that */
	uint64_t due;    /* when the state ends */
};

struct search {
	const struct lifetime_request *request;
	struct addr asked;
	int caller; /* UDP, or -1 */
	bool unsupported;
	bool stopped;
	size_t count;
	struct lifetime_trial trials[LIFETIME_TRIAL_MAX];
	struct lane lanes[LIFETIME_TRIAL_MAX];
	struct error error; /* the first thing that went wrong */
};

static bool is_tcp(const struct search *search)
{
	return search->request->probe->protocol == MAPPING_TCP;
}

static int lane_fd(const struct search *search, const struct lane *lane)
{
	return is_tcp(search) ? binding_client_fd(&lane->transaction) : lane->fd;
}

static void close_lane(const struct search *search, struct lane *lane)
{
	lane->state = LANE_OVER;
	if (is_tcp(search))
		binding_client_end(&lane->transaction);
	else if (lane->fd >= 0)
		close(lane->fd);
	lane->fd = -1;
}

static void end_lane(struct search *search, struct lane *lane, enum lifetime_sign sign)
{
	struct lifetime_trial *trial = &search->trials[lane - search->lanes];

	trial->sign = sign;
	if (sign != LIFETIME_VOID)
		log_detail("a mapping that was silent for %u s: %s", trial->seconds,
			sign == LIFETIME_ALIVE ? "alive" : "gone");
	close_lane(search, lane);
}

static void fail_lane(struct search *search, struct lane *lane, const char *why)
{
	if (search->error.text[0] == '\0')
		error_set(&search->error, EXIT_STATUS_NETWORK, "%s", why);
	log_detail("a mapping that was to be silent for %u s: %s",
		search->trials[lane - search->lanes].seconds, why);
	end_lane(search, lane, LIFETIME_VOID);
}

static void begin_silence(const struct search *search, struct lane *lane, uint64_t now)
{
	lane->state = LANE_SILENT;
	lane->silent = now;
	lane->due = now + search->trials[lane - search->lanes].seconds * 1000u;
	if (is_tcp(search))
		lane->due += GRACE_MS;
}

/* ---- TCP ---------------------------------------------------------------------------------- */

static void begin_tcp(struct search *search, struct lane *lane, uint64_t now)
{
	struct borrow_request request = {
		.protocol = MAPPING_TCP,
		.remote = search->asked,
		.interface = search->request->probe->interface,
	};

	binding_client_start(&lane->transaction, borrow_find("bind"), &request, BINDING_MODE_WAIT,
		search->trials[lane - search->lanes].seconds, now);
}

static void advance_transaction(struct search *search, struct lane *lane, uint64_t now)
{
	const struct binding_answer *answer = &lane->transaction.answer;

	binding_client_advance(&lane->transaction, now);
	if (lane->transaction.state == BINDING_CLIENT_FAILED) {
		fail_lane(search, lane, lane->transaction.error.text);
		return;
	}
	if (lane->transaction.state != BINDING_CLIENT_ANSWERED)
		return;
	if (answer->mode == BINDING_MODE_WAIT &&
		answer->seconds == search->trials[lane - search->lanes].seconds)
		begin_silence(search, lane, now);
	else
		search->unsupported = true;
}

static void hear_end(struct search *search, struct lane *lane, uint64_t now)
{
	uint64_t seconds = search->trials[lane - search->lanes].seconds;
	uint8_t byte;
	ssize_t got = recv(binding_client_fd(&lane->transaction), &byte, sizeof(byte), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		fail_lane(search, lane, "the reflector spoke when it was to be silent");
	else if (got < 0) /* RST: from a NAT that has forgotten the connection */
		end_lane(search, lane, LIFETIME_GONE);
	else if (now + EARLY_MS < lane->silent + seconds * 1000)
		fail_lane(search, lane, "the reflector closed before its time");
	else
		end_lane(search, lane, LIFETIME_ALIVE);
}

static void step_tcp(struct search *search, struct lane *lane, bool event, uint64_t now)
{
	if (lane->state == LANE_BEGUN) {
		if (event || lane->transaction.due <= now)
			advance_transaction(search, lane, now);
	} else if (event) {
		hear_end(search, lane, now);
	}
}

/* ---- UDP ---------------------------------------------------------------------------------- */

static int open_datagrams(const struct search *search)
{
	const char *interface = search->request->probe->interface;
	int fd = socket_open((enum addr_family)search->asked.family, SOCK_DGRAM, 0);
	int saved;

	if (fd < 0)
		return -1;
	if ((interface == NULL || socket_bind_interface(fd, interface) == 0) &&
		socket_connect(fd, &search->asked) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* A datagram that the network refuses counts as lost, and is sent again. */
static void send_question(const struct search *search, struct lane *lane, uint64_t now)
{
	uint8_t bytes[128];
	size_t size = binding_write_request(&lane->question, bytes, sizeof(bytes));
	int fd = lane->state == LANE_CALLED ? search->caller : lane->fd;

	if (send(fd, bytes, size, MSG_NOSIGNAL) < 0)
		log_detail("cannot send: %s", strerror(errno));
	lane->again = now + lane->rto;
	lane->rto *= 2;
}

static void new_question(
	const struct search *search, struct lane *lane, uint16_t response_port, uint64_t now)
{
	uint8_t random[12];

	memset(&lane->question, 0, sizeof(lane->question));
	random_fill(random, sizeof(random));
	stun_make_transaction(lane->question.transaction, random);
	lane->question.response_port = response_port;
	lane->rto = RTO_MS;
	send_question(search, lane, now);
}

static void begin_udp(struct search *search, struct lane *lane, uint64_t now)
{
	lane->fd = open_datagrams(search);
	if (lane->fd < 0)
		fail_lane(search, lane, strerror(errno));
	else
		new_question(search, lane, 0, now);
}

static void hear_lane(struct search *search, struct lane *lane, uint64_t now)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct binding_answer answer;
	const char *why;
	ssize_t got;

	while (lane->state != LANE_OVER && (got = recv(lane->fd, bytes, sizeof(bytes), 0)) >= 0) {
		bool mapped =
			binding_read_answer(&lane->question, (enum addr_family)search->asked.family,
				bytes, (size_t)got, &answer, &why) == BINDING_MAPPED;
		if (lane->state == LANE_CALLED && mapped) {
			end_lane(search, lane, LIFETIME_ALIVE);
		} else if (lane->state == LANE_SILENT) {
			begin_silence(search, lane, now);
		} else if (lane->state == LANE_BEGUN && mapped) {
			lane->port = answer.mapped.port;
			begin_silence(search, lane, now);
		}
	}
}

/* A server that answers the caller itself does not know RESPONSE-PORT, whatever it answers. */
static void hear_caller(struct search *search)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct binding_answer answer;
	const char *why;
	ssize_t got;

	while ((got = recv(search->caller, bytes, sizeof(bytes), 0)) >= 0)
		for (size_t i = 0; i < search->count; i++) {
			enum binding_outcome outcome = binding_read_answer(
				&search->lanes[i].question, (enum addr_family)search->asked.family,
				bytes, (size_t)got, &answer, &why);
			if (search->lanes[i].state == LANE_CALLED &&
				(outcome == BINDING_REFUSED || outcome == BINDING_MAPPED))
				search->unsupported = true;
		}
}

static void step_udp(struct search *search, struct lane *lane, bool event, uint64_t now)
{
	if (event)
		hear_lane(search, lane, now);
	if (lane->state == LANE_SILENT && lane->due <= now) {
		lane->state = LANE_CALLED;
		lane->due = now + GRACE_MS;
		new_question(search, lane, lane->port, now);
	} else if (lane->state != LANE_SILENT && lane->state != LANE_OVER && lane->again <= now) {
		send_question(search, lane, now);
	}
}

/* ------------------------------------------------------------------------------------------- */

static void step(struct search *search, struct lane *lane, bool event, uint64_t now)
{
	if (is_tcp(search))
		step_tcp(search, lane, event, now);
	else
		step_udp(search, lane, event, now);
	if (lane->state == LANE_OVER || lane->due > now)
		return;
	if (lane->state == LANE_BEGUN)
		fail_lane(search, lane, "no answer");
	else
		end_lane(search, lane, LIFETIME_GONE);
}

static uint64_t lane_due(const struct search *search, const struct lane *lane)
{
	uint64_t again = lane->state == LANE_SILENT  ? TIMER_NONE
			 : !is_tcp(search)           ? lane->again
			 : lane->state == LANE_BEGUN ? lane->transaction.due
						     : TIMER_NONE;

	return again < lane->due ? again : lane->due;
}

static void wait_for_events(const struct search *search, struct pollfd *fds, uint64_t now)
{
	uint64_t due = search->request->progress != NULL ? now + 1000 : TIMER_NONE;

	for (size_t i = 0; i < search->count; i++) {
		const struct lane *lane = &search->lanes[i];
		fds[i] = (struct pollfd){.fd = -1};
		if (lane->state == LANE_OVER)
			continue;
		fds[i].fd = lane_fd(search, lane);
		fds[i].events = (short)(is_tcp(search) && lane->state == LANE_BEGUN
						? binding_client_events(&lane->transaction)
						: POLLIN);
		if (lane_due(search, lane) < due)
			due = lane_due(search, lane);
	}
	fds[search->count] = (struct pollfd){.fd = search->caller, .events = POLLIN};
	fds[search->count + 1] = (struct pollfd){.fd = search->request->stop, .events = POLLIN};
	poll(fds, search->count + 2, clock_poll_ms(now, due));
}

static void tell_progress(const struct search *search, uint64_t elapsed_ms)
{
	struct lifetime_progress progress = {
		.elapsed = (uint32_t)(elapsed_ms / 1000),
		.bound = search->request->bound,
		.least = lifetime_judge(search->trials, search->count).least,
	};

	if (search->request->progress != NULL)
		search->request->progress(search->request->context, &progress);
}

static void begin(struct search *search, uint64_t now)
{
	if (!is_tcp(search))
		search->caller = open_datagrams(search);
	for (size_t i = 0; i < search->count; i++) {
		struct lane *lane = &search->lanes[i];
		*lane = (struct lane){.fd = -1, .due = now + BEGIN_MS};
		if (is_tcp(search))
			begin_tcp(search, lane, now);
		else
			begin_udp(search, lane, now);
	}
}

static void run(struct search *search)
{
	uint64_t began = clock_now_ms();
	uint64_t now = began;
	uint64_t end = began + search->request->bound * 1000u + LIFETIME_SEARCH_EXTRA_MS;

	begin(search, now);
	while (!search->stopped && !search->unsupported && now < end &&
		!lifetime_is_settled(search->trials, search->count)) {
		struct pollfd fds[LIFETIME_TRIAL_MAX + 2];
		tell_progress(search, now - began);
		wait_for_events(search, fds, now);
		now = clock_now_ms();
		if (fds[search->count].revents != 0)
			hear_caller(search);
		search->stopped = fds[search->count + 1].revents != 0;
		for (size_t i = 0; i < search->count; i++)
			if (search->lanes[i].state != LANE_OVER)
				step(search, &search->lanes[i], fds[i].revents != 0, now);
	}
	for (size_t i = 0; i < search->count; i++)
		if (search->lanes[i].state != LANE_OVER)
			close_lane(search, &search->lanes[i]);
	if (search->caller >= 0)
		close(search->caller);
}

static void conclude(const struct search *search, struct nat_lifetime *out)
{
	struct lifetime_bounds bounds = lifetime_judge(search->trials, search->count);
	const char *stopped = search->stopped ? "; the search was ended early" : "";
	char asked[ADDR_TEXT_SIZE];

	addr_format(&search->asked, asked);
	out->least = bounds.least;
	out->most = bounds.most;
	if (search->unsupported)
		snprintf(out->evidence, sizeof(out->evidence),
			is_tcp(search) ? "%s cannot send after a silence: name a reflector that "
					 "runs natpunch (-r)"
				       : "%s cannot answer to another port (RESPONSE-PORT): name "
					 "one that runs natpunch reflect -a (-r)",
			asked);
	else if (bounds.least == 0)
		snprintf(out->evidence, sizeof(out->evidence),
			"nothing came from %s, not even after a second of silence%s%.200s%s", asked,
			search->error.text[0] != '\0' ? ": " : "", search->error.text, stopped);
	else if (bounds.most == 0)
		snprintf(out->evidence, sizeof(out->evidence),
			"mappings of other ports, with packets from %s: alive after %u s of "
			"silence%s",
			asked, bounds.least, stopped);
	else
		snprintf(out->evidence, sizeof(out->evidence),
			"mappings of other ports, with packets from %s: alive after %u s of "
			"silence, gone after %u s%s",
			asked, bounds.least, bounds.most, stopped);
}

/* Asks one reflector. Returns true if no other one need be asked. */
static bool ask(
	const struct lifetime_request *request, const struct addr *asked, struct nat_lifetime *out)
{
	struct search search = {.request = request, .asked = *asked, .caller = -1};

	search.count = lifetime_plan(request->bound, search.trials);
	run(&search);
	conclude(&search, out);
	return search.stopped || out->least != 0;
}

void lifetime_search(const struct lifetime_request *request, struct nat_lifetime *out)
{
	const struct mapping_race_request *probe = request->probe;

	memset(out, 0, sizeof(*out));
	out->wanted = true;
	if (ask(request, &request->asked, out))
		return;
	for (size_t i = 0; i < probe->reflector_count; i++) {
		struct nat_lifetime other = {.wanted = true};
		struct addr place;
		struct error error;

		if (i == request->reflector)
			continue;
		if (evidence_look_up(probe, i, (enum addr_family)request->asked.family,
			    clock_now_ms() + BEGIN_MS, &place, &error) != 0) {
			log_detail("%s", error.text);
		} else if (ask(request, &place, &other)) {
			*out = other;
			return;
		}
	}
}
