/*
 * Over UDP, from one unconnected socket on the port, or from a raw one if a daemon has the port.
 *
 * Questions are asked in three rounds. The first round asks one address for the mapping. The second
 * asks the same address to answer from its other address and from its other port (CHANGE-REQUEST,
 * RFC 5780 7.2): which answers arrive tells the filtering, as no other address was contacted yet.
 * The third asks the other addresses for the mapping. Each question is sent up to SENDINGS times,
 * as datagrams get lost.
 *
 * A tap sees what comes to this machine. If the socket did not get it, this machine dropped it.
 *
 * Threat: anybody can send a datagram. Only one with the transaction id of a question is an answer.
 */
#include "check/classify_udp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/proto/binding.h"
#include "check/evidence.h"
#include "natpunch/check/router_report.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/firewall.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/packet.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/tap.h"

#define SENDINGS     3
#define RTO_MS       300 /* then twice that, and again */
#define ROUND_MS     1800
#define QUESTION_MAX 24

struct question {
	struct binding_request request;
	struct addr asked;
	struct addr source; /* where the answer came from */
	bool heard;         /* the socket got the answer */
	bool arrived;       /* the socket got it, or the tap saw it */
	struct binding_answer answer;
};

struct datagrams {
	const struct mapping_race_request *request;
	struct nat_report *report;
	int fd;
	bool raw;
	int tap; /* or -1 */
	struct addr local;
	struct question questions[QUESTION_MAX];
	size_t count;
};

/* ---- the port ----------------------------------------------------------------------------- */

static int refuse(const struct datagrams *datagrams, int problem, struct error *error)
{
	char holder[PORT_OWNER_HOLDER_SIZE];
	struct port_owner owner;
	uint16_t port = datagrams->request->local.port;

	datagrams->report->cannot = true;
	error_set(error, EXIT_STATUS_LOCAL, "cannot use port %u: %s", port, strerror(problem));
	if (port_owner_find_again(MAPPING_UDP, (enum addr_family)datagrams->local.family, port,
		    datagrams->request->owner, &owner) == 0 &&
		owner.listens)
		privileges_hint(
			error, PRIVILEGES_NET_RAW, port_owner_describe_holder(&owner, holder));
	else if (problem == EACCES || problem == EPERM)
		privileges_hint(error, PRIVILEGES_NET_BIND_SERVICE, "");
	return -1;
}

/* Opens the port in the family of `remote`; `local` is where packets to that leave from. */
static int open_port(struct datagrams *datagrams, const struct addr *remote, struct error *error)
{
	struct packet_filter filter = {.destination_count = 1};
	struct addr any = {.family = remote->family, .port = datagrams->request->local.port};
	int problem;

	if (socket_source_for(remote, &datagrams->local) != 0) {
		error_set(error, EXIT_STATUS_LOCAL, "no way to the reflector: %s", strerror(errno));
		return socket_hint_offline(error);
	}
	datagrams->local.port = any.port;
	datagrams->tap = tap_open((enum addr_family)remote->family, MAPPING_UDP, any.port);
	datagrams->report->unprivileged = datagrams->tap < 0 && (errno == EPERM || errno == EACCES);
	datagrams->fd = socket_open((enum addr_family)remote->family, SOCK_DGRAM, 0);
	if (datagrams->fd >= 0 && socket_bind(datagrams->fd, &any) == 0)
		return 0;
	problem = errno;
	if (datagrams->fd >= 0)
		close(datagrams->fd);
	filter.destinations[0] = any.port;
	datagrams->fd = packet_open((enum addr_family)remote->family, MAPPING_UDP, &filter);
	datagrams->raw = true;
	return datagrams->fd >= 0 ? 0 : refuse(datagrams, problem, error);
}

static void close_port(struct datagrams *datagrams)
{
	if (datagrams->fd >= 0)
		close(datagrams->fd);
	if (datagrams->tap >= 0)
		close(datagrams->tap);
	datagrams->fd = datagrams->tap = -1;
}

static void send_to(
	const struct datagrams *datagrams, const struct addr *to, const void *data, size_t size)
{
	struct segment_datagram datagram = {
		.source = datagrams->local, .destination = *to, .data = data, .data_size = size};
	uint8_t bytes[256];
	struct sockaddr_storage address;
	struct addr target = *to;
	socklen_t length;

	if (datagrams->raw) {
		size = segment_write_udp(&datagram, bytes, sizeof(bytes));
		data = bytes;
		target.port = 0; /* raw(7): for IPv6 it would be a protocol */
	}
	length = socket_from_addr(&target, &address);
	/* A datagram that the network refuses counts as lost. */
	if (sendto(datagrams->fd, data, size, MSG_NOSIGNAL, (struct sockaddr *)&address, length) <
		0)
		log_detail("cannot send: %s", strerror(errno));
}

/* Reads one datagram. Returns 1, 0 for one that cannot be read, -1 for none. */
static int receive_one(const struct datagrams *datagrams, struct addr *source, uint8_t *out,
	size_t capacity, size_t *size)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	struct segment_packet packet;
	struct segment_datagram datagram;
	ssize_t got;

	if (!datagrams->raw) {
		got = recvfrom(datagrams->fd, out, capacity, 0, (struct sockaddr *)&from, &length);
		if (got < 0)
			return errno == EAGAIN ? -1 : 0;
		socket_to_addr(&from, source);
		*size = (size_t)got;
		return 1;
	}
	got = packet_receive(datagrams->fd, &datagrams->local, bytes, sizeof(bytes), &packet);
	if (got < 0)
		return -1;
	if (got == 0 || segment_read_udp(&datagram, &packet) != 0 || datagram.data_size > capacity)
		return 0;
	*source = datagram.source;
	*size = datagram.data_size;
	memcpy(out, datagram.data, *size);
	return 1;
}

/* ---- asking ------------------------------------------------------------------------------- */

static struct question *add_question(struct datagrams *datagrams, const struct addr *asked)
{
	struct question *question = &datagrams->questions[datagrams->count];
	uint8_t random[12];

	/* There is room for all rounds. If the table is full all the same, the last one goes. */
	if (datagrams->count < QUESTION_MAX - 1)
		datagrams->count++;
	memset(question, 0, sizeof(*question));
	question->asked = *asked;
	random_fill(random, sizeof(random));
	stun_make_transaction(question->request.transaction, random);
	return question;
}

static void judge(struct datagrams *datagrams, const uint8_t *data, size_t size,
	const struct addr *source, bool tapped)
{
	for (size_t i = 0; i < datagrams->count; i++) {
		struct question *question = &datagrams->questions[i];
		struct binding_answer answer;
		const char *why;
		if (binding_read_answer(&question->request,
			    (enum addr_family)question->asked.family, data, size, &answer,
			    &why) != BINDING_MAPPED)
			continue;
		question->answer = answer;
		question->source = *source;
		question->arrived = true;
		question->heard = question->heard || !tapped;
		return;
	}
}

static void receive_all(struct datagrams *datagrams)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct addr source;
	size_t size;
	int got;

	while ((got = receive_one(datagrams, &source, bytes, sizeof(bytes), &size)) >= 0)
		if (got == 1)
			judge(datagrams, bytes, size, &source, false);
	while (datagrams->tap >= 0 && (got = tap_receive(datagrams->tap, MAPPING_UDP, &source, NULL,
					       bytes, sizeof(bytes), &size)) >= 0)
		if (got == 1)
			judge(datagrams, bytes, size, &source, true);
}

/* Sends each question from `first` on that was not heard to be answered. Returns how many. */
static size_t send_open(const struct datagrams *datagrams, size_t first)
{
	uint8_t bytes[128];
	size_t open = 0;

	for (size_t i = first; i < datagrams->count; i++) {
		const struct question *question = &datagrams->questions[i];
		if (question->heard)
			continue;
		open++;
		send_to(datagrams, &question->asked, bytes,
			binding_write_request(&question->request, bytes, sizeof(bytes)));
	}
	return open;
}

static bool all_heard(const struct datagrams *datagrams, size_t first)
{
	for (size_t i = first; i < datagrams->count; i++)
		if (!datagrams->questions[i].heard)
			return false;
	return true;
}

static void ask_round(struct datagrams *datagrams, size_t first)
{
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + ROUND_MS;
	uint64_t again = now;
	uint64_t rto = RTO_MS;
	int sent = 0;

	while (now < deadline && !all_heard(datagrams, first)) {
		struct pollfd fds[2] = {{.fd = datagrams->fd, .events = POLLIN},
			{.fd = datagrams->tap, .events = POLLIN}};
		if (now >= again && sent++ < SENDINGS) {
			send_open(datagrams, first);
			again = sent < SENDINGS ? now + rto : deadline;
			rto *= 2;
		}
		poll(fds, 2, clock_poll_ms(now, again < deadline ? again : deadline));
		receive_all(datagrams);
		now = clock_now_ms();
	}
}

/* ---- filtering ---------------------------------------------------------------------------- */

static enum nat_answer judge_change(const struct datagrams *datagrams,
	const struct question *question, const struct addr *place)
{
	if (question == NULL)
		return NAT_UNTOLD;
	if (question->arrived)
		return addr_equal(&question->source, place) ? NAT_YES : NAT_UNTOLD;
	/* Without a tap, this machine's firewall may have dropped it. */
	return datagrams->tap >= 0 ? NAT_NO : NAT_UNTOLD;
}

static int describe(
	const struct question *question, const struct addr *place, char *out, size_t size)
{
	char text[ADDR_TEXT_SIZE];

	if (question == NULL)
		return snprintf(out, size, "%s", "");
	return snprintf(out, size, "from %s: %s", addr_format(place, text),
		question->heard     ? "heard"
		: question->arrived ? "came here, and was dropped here"
				    : "nothing came");
}

static void judge_firewall(const struct datagrams *datagrams, const struct question *question,
	const struct addr *place)
{
	struct nat_finding *finding = &datagrams->report->firewall;
	char name[FIREWALL_NAME_SIZE];
	char text[ADDR_TEXT_SIZE];

	if (question != NULL && question->heard) {
		finding->answer = NAT_NO;
		snprintf(finding->evidence, sizeof(finding->evidence),
			"an unsolicited datagram came through");
	} else if (datagrams->tap < 0) {
		snprintf(finding->evidence, sizeof(finding->evidence),
			"to see what comes to this machine takes CAP_NET_RAW");
	} else if (question == NULL || !question->arrived) {
		snprintf(finding->evidence, sizeof(finding->evidence),
			"nothing unsolicited came as far as this machine");
	} else {
		firewall_name(name);
		finding->answer = NAT_YES;
		snprintf(finding->evidence, sizeof(finding->evidence),
			"a datagram of %s came to this machine and was dropped here%s%s",
			addr_format(place, text), name[0] != '\0' ? ", by one of: " : "", name);
	}
}

static void judge_stranger(const struct question *stranger, const struct addr *place,
	enum nat_answer in, struct nat_report *report)
{
	struct nat_finding *finding = &report->stranger;

	describe(stranger, place, finding->evidence, sizeof(finding->evidence));
	if (stranger == NULL)
		snprintf(finding->evidence, sizeof(finding->evidence),
			"no reflector can answer from an address that was never contacted");
	else if (stranger->heard && in == NAT_YES)
		finding->answer = NAT_YES;
	else if (!stranger->heard)
		finding->answer = NAT_NO;
	report->unsolicited = in == NAT_YES  ? NAT_UNSOLICITED_LET_IN
			      : in == NAT_NO ? NAT_UNSOLICITED_DROPPED
					     : NAT_UNSOLICITED_UNTOLD;
	memcpy(report->unsolicited_evidence, finding->evidence,
		sizeof(report->unsolicited_evidence));
}

static void look_at_filtering(
	struct datagrams *datagrams, const struct addr *asked, const struct addr *other)
{
	struct nat_report *report = datagrams->report;
	struct question *stranger = NULL, *known = NULL;
	struct addr known_place = *asked;
	size_t first = datagrams->count;
	size_t size = sizeof(report->filtering_evidence);
	enum nat_answer in;
	int used;

	if (other->family == asked->family && other->port != asked->port) {
		known_place.port = other->port;
		known = add_question(datagrams, asked);
		known->request.change_port = true;
	}
	if (known != NULL && !addr_equal_ip(other, asked)) {
		stranger = add_question(datagrams, asked);
		stranger->request.change_ip = stranger->request.change_port = true;
	}
	ask_round(datagrams, first);
	in = judge_change(datagrams, stranger, other);
	report->filtering =
		nat_report_judge_filtering(in, judge_change(datagrams, known, &known_place));
	used = describe(stranger, other, report->filtering_evidence, size);
	if (known != NULL && used >= 0 && (size_t)used + 2 < size) {
		if (used > 0)
			used += snprintf(
				report->filtering_evidence + used, size - (size_t)used, "; ");
		describe(known, &known_place, report->filtering_evidence + used,
			size - (size_t)used);
	}
	if (known == NULL)
		snprintf(report->filtering_evidence, size,
			"the reflector needs a second address (reflect -a)");
	judge_stranger(stranger, other, in, report);
	judge_firewall(datagrams, stranger != NULL && stranger->arrived ? stranger : known,
		stranger != NULL && stranger->arrived ? other : &known_place);
}

/* ---- mapping ------------------------------------------------------------------------------ */

static void ask_elsewhere(struct datagrams *datagrams, size_t reflector, const struct addr *asked,
	const struct addr *other, bool *lie)
{
	struct addr place = *other;

	*lie = other->family != ADDR_NONE && addr_equal_ip(other, asked);
	if (other->family == asked->family && !addr_equal(other, asked)) {
		add_question(datagrams, &place);
		if (!*lie && other->port != asked->port) {
			place.port = asked->port;
			add_question(datagrams, &place);
			place = *asked;
			place.port = other->port;
			add_question(datagrams, &place);
		}
	}
	for (size_t i = 0; i < datagrams->request->reflector_count; i++) {
		struct error error;
		if (i == reflector || datagrams->count >= QUESTION_MAX - 1)
			continue;
		if (evidence_look_up(datagrams->request, i, (enum addr_family)asked->family,
			    clock_now_ms() + ROUND_MS, &place, &error) != 0)
			log_detail("%s", error.text);
		else
			add_question(datagrams, &place);
	}
}

static void look_at_mapping(struct datagrams *datagrams, size_t reflector, const struct addr *asked,
	const struct addr *other)
{
	struct nat_sample samples[EVIDENCE_SAMPLE_MAX] = {
		{.asked = *asked, .mapped = datagrams->report->mapped}};
	size_t count = 1;
	size_t first = datagrams->count;
	bool lie;

	ask_elsewhere(datagrams, reflector, asked, other, &lie);
	ask_round(datagrams, first);
	for (size_t i = first; i < datagrams->count && count < EVIDENCE_SAMPLE_MAX; i++) {
		const struct question *question = &datagrams->questions[i];
		if (!question->arrived)
			continue;
		samples[count].asked = question->asked;
		samples[count++].mapped = question->answer.mapped;
	}
	evidence_judge_mapping(samples, count, lie, datagrams->report);
}

/* ---- hairpinning -------------------------------------------------------------------------- */

/* Sends a datagram from another port to our own mapping, and waits for it to come in. */
static void look_at_hairpin(struct datagrams *datagrams)
{
	struct nat_finding *finding = &datagrams->report->hairpin;
	struct datagrams other = *datagrams;
	struct pollfd fds[2] = {
		{.fd = datagrams->fd, .events = POLLIN}, {.fd = datagrams->tap, .events = POLLIN}};
	uint8_t marker[20], bytes[STUN_DATAGRAM_MAX];
	struct addr source;
	size_t size;
	uint64_t now = clock_now_ms();
	uint64_t deadline = now + RTO_MS;
	char text[ADDR_TEXT_SIZE];

	random_fill(marker, sizeof(marker));
	other.raw = false;
	other.fd = socket_open((enum addr_family)datagrams->local.family, SOCK_DGRAM, 0);
	if (other.fd >= 0)
		send_to(&other, &datagrams->report->mapped, marker, sizeof(marker));
	while (now < deadline && finding->answer == NAT_UNTOLD &&
		poll(fds, 2, clock_poll_ms(now, deadline)) > 0) {
		int got = receive_one(datagrams, &source, bytes, sizeof(bytes), &size);
		if (got < 0 && datagrams->tap >= 0)
			got = tap_receive(datagrams->tap, MAPPING_UDP, &source, NULL, bytes,
				sizeof(bytes), &size);
		if (got == 1 && size == sizeof(marker) && memcmp(bytes, marker, size) == 0)
			finding->answer = NAT_YES;
		now = clock_now_ms();
	}
	if (other.fd >= 0)
		close(other.fd);
	if (finding->answer == NAT_YES)
		snprintf(finding->evidence, sizeof(finding->evidence),
			"a datagram from here to the mapping came back, from %s",
			addr_format(&source, text));
	else
		snprintf(finding->evidence, sizeof(finding->evidence),
			"a datagram from here to the mapping did not come back");
	if (finding->answer != NAT_YES)
		finding->answer = NAT_NO;
}

/* ------------------------------------------------------------------------------------------- */

/* Asks one reflector for the mapping. Returns 0, or -1 with *error filled and nothing open. */
static int ask_reflector(
	struct datagrams *datagrams, size_t index, struct addr *asked, struct error *error)
{
	const struct host_port *reflector = &datagrams->request->reflectors[index];
	struct nat_report *report = datagrams->report;
	const struct question *question;
	uint64_t deadline = clock_now_ms() + datagrams->request->timeout_ms;

	if (evidence_look_up(datagrams->request, index, datagrams->request->family, deadline, asked,
		    error) != 0)
		return -1;
	report->spoke = true;
	if (open_port(datagrams, asked, error) != 0) {
		close_port(datagrams);
		return -1;
	}
	mapping_race_name_reflector(reflector, report->reflector, sizeof(report->reflector));
	datagrams->count = 0;
	question = add_question(datagrams, asked);
	ask_round(datagrams, 0);
	if (!question->arrived) {
		close_port(datagrams);
		return error_set(error, EXIT_STATUS_NETWORK, "no answer from %.200s over UDP",
			report->reflector);
	}
	report->local = datagrams->local;
	report->mapped = question->answer.mapped;
	snprintf(report->method, sizeof(report->method), "%s", datagrams->raw ? "raw" : "bind");
	return 0;
}

int classify_udp(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error)
{
	struct datagrams datagrams = {.request = request, .report = report, .fd = -1, .tap = -1};
	struct error first = {.status = EXIT_STATUS_DONE};
	struct addr asked, other;
	size_t i;

	for (i = 0; i < request->reflector_count; i++) {
		if (ask_reflector(&datagrams, i, &asked, error) == 0)
			break;
		if (first.status == EXIT_STATUS_DONE)
			first = *error;
		if (error->status == EXIT_STATUS_LOCAL)
			break;
	}
	if (datagrams.fd < 0) {
		*error = first;
		return -1;
	}
	other = datagrams.questions[0].answer.other;
	report->asked = asked;
	report->asked_number = i;
	evidence_find_surroundings(request, &asked, report);
	look_at_filtering(&datagrams, &asked, &other);
	if (trial != NULL)
		router_report_try(request, trial, NULL, report);
	if (report->nat.answer == NAT_YES)
		look_at_hairpin(&datagrams);
	else
		snprintf(report->hairpin.evidence, sizeof(report->hairpin.evidence),
			"there is no NAT");
	look_at_mapping(&datagrams, i, &asked, &other);
	close_port(&datagrams);
	return 0;
}
