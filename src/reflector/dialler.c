/*
 * One question makes a job of one or two calls: from the address that was asked, and from the other
 * one. Each call connects from a fresh port, waits for the first line that the other end says, and
 * ends. The job is answered when its last call has ended, DIALBACK_TIMEOUT_MS after the question at
 * the latest; until then the kernel sends a SYN that is not answered again, after a second and, in
 * newer kernels, after two.
 *
 * Threat: a client has us dial hosts of others. The rules, each with a test:
 *   - only the IP address that the question came from is called, over a connection whose handshake
 *     has proven it; never a port that this reflector listens on at one of its own addresses;
 *   - of one source one job at a time, DIALLER_EACH in the long run;
 *   - of one site DIALLER_SITE_MAX at a time, DIALLER_SITE in the long run;
 *   - DIALLER_MAX jobs at a time, DIALLER_ALL in the long run;
 *   - at most DIALBACK_BANNER_MAX bytes are read, and told to nobody except the asker.
 *
 * Threat: a client keeps us busy, so that others are not dialled. One site (rate_limit_site()) has
 * up to 65536 sources, so the rules for a source do not bind it, and the last of the places, and of
 * the burst for all together, are for sites that have few: DIALLER_RESERVE and DIALLER_RESERVE_ALL.
 *
 * A question beyond these rules is answered at once with DIALBACK_LIMITED: nothing waits, and
 * nothing is dialled late. A client that goes away does not end its calls: else it would make room
 * for its next ones.
 *
 * A job holds its slot in the table while one of its calls is under way. A call is a descriptor and
 * a bit: connecting, or connected and waiting for the banner. Its outcome in the job's answer is
 * TIMED_OUT from the start, and is replaced when more is known; so the deadline only ends the calls
 * that are left.
 */
#include "reflector/dialler.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static struct dialler_job *job_at(struct dialler *dialler, uint32_t slot)
{
	return &dialler->jobs[slot / DIALBACK_RESULT_MAX];
}

void dialler_open(struct dialler *dialler, const struct dialler_config *config, struct loop *loop,
	uint8_t tag_kind, dialler_deliver *deliver, void *context)
{
	memset(dialler, 0, sizeof(*dialler));
	dialler->config = *config;
	dialler->loop = loop;
	dialler->tag_kind = tag_kind;
	dialler->deliver = deliver;
	dialler->context = context;
	for (size_t i = 0; i < DIALLER_MAX; i++)
		for (size_t k = 0; k < DIALBACK_RESULT_MAX; k++)
			dialler->jobs[i].calls[k].fd = -1;
	/* With rules that do not fit the table nobody would be dialled. */
	if (rate_limit_open(&dialler->rate, DIALLER_EACH, DIALLER_ALL) != 0 ||
		rate_limit_open(&dialler->sites, DIALLER_SITE, DIALLER_ALL) != 0)
		dialler->config.off = true;
	dialler->sites.reserve = DIALLER_RESERVE_ALL;
}

void dialler_close(struct dialler *dialler)
{
	for (size_t i = 0; i < DIALLER_MAX; i++)
		for (size_t k = 0; k < DIALBACK_RESULT_MAX; k++)
			if (dialler->jobs[i].busy && dialler->jobs[i].calls[k].fd >= 0)
				close(dialler->jobs[i].calls[k].fd);
	if (dialler->dialled > 0 || dialler->refused > 0)
		log_detail("dialled back %llu times, refused %llu questions",
			(unsigned long long)dialler->dialled, (unsigned long long)dialler->refused);
	memset(dialler, 0, sizeof(*dialler));
}

static void log_result(
	const struct dialler_job *job, const struct dialback_result *result, uint64_t now)
{
	char target[ADDR_TEXT_SIZE];
	char from[ADDR_TEXT_SIZE];

	if (!log_admits())
		return;
	log_detail("tcp %s dialled back from %s: %s, %llu ms",
		addr_format(&job->answer.target, target), addr_format(&result->from, from),
		dialback_outcome_name(result->outcome), (unsigned long long)(now - job->began));
}

static void count_outcome(const struct dialler *dialler, enum dialback_outcome outcome)
{
	struct counters *counters = dialler->config.counters;

	switch (outcome) {
	case DIALBACK_CONNECTED:
		count_one(counters, COUNTER_DIAL_CONNECTED);
		break;
	case DIALBACK_CLOSED:
		count_one(counters, COUNTER_DIAL_CLOSED);
		break;
	case DIALBACK_REFUSED:
		count_one(counters, COUNTER_DIAL_REFUSED);
		break;
	case DIALBACK_TIMED_OUT:
		count_one(counters, COUNTER_DIAL_TIMED_OUT);
		break;
	case DIALBACK_UNREACHABLE:
		count_one(counters, COUNTER_DIAL_UNREACHABLE);
		break;
	default:
		count_one(counters, COUNTER_DIAL_FAILED);
	}
}

static void end_call(
	const struct dialler *dialler, struct dialler_job *job, size_t index, uint64_t now)
{
	struct dialback_result *result = &job->answer.results[index];
	uint64_t took = now - job->began;

	/* Unread bytes make this a RST instead of a FIN, which does no harm. */
	close(job->calls[index].fd);
	job->calls[index].fd = -1;
	result->milliseconds = (uint16_t)(took < UINT16_MAX ? took : UINT16_MAX);
	count_outcome(dialler, result->outcome);
	log_result(job, result, now);
}

static bool is_over(const struct dialler_job *job)
{
	for (size_t i = 0; i < DIALBACK_RESULT_MAX; i++)
		if (job->calls[i].fd >= 0)
			return false;
	return true;
}

static void end_job(struct dialler *dialler, struct dialler_job *job, uint64_t now)
{
	uint8_t bytes[DIALBACK_ANSWER_MAX];
	size_t size = dialback_write_answer(job->transaction, &job->answer, bytes, sizeof(bytes));

	job->busy = false;
	job->generation++;
	dialler->busy--;
	dialler->deliver(dialler->context, job->asker, bytes, size, now);
}

static enum dialback_outcome judge_errno(int value)
{
	switch (value) {
	case ECONNREFUSED:
	case ECONNRESET:
		return DIALBACK_REFUSED;
	case ETIMEDOUT:
		return DIALBACK_TIMED_OUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EACCES:
		return DIALBACK_UNREACHABLE;
	default:
		return DIALBACK_FAILED;
	}
}

const struct sandbox_call dialler_calls[] = {
	SOCKET_OPTION_ROW(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
	SANDBOX_END,
};

static int prepare_socket(int fd, const struct addr *from)
{
	/* The port is chosen by connect(): ours may be in use towards another peer. */
	if (socket_set_flag(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1) != 0)
		return -1;
	return socket_bind(fd, from);
}

/* Begins a call from `from`, an address without a port. Fills in the result as far as known. */
static void begin_call(
	struct dialler *dialler, struct dialler_job *job, size_t index, struct addr from)
{
	struct dialback_result *result = &job->answer.results[index];
	struct loop_tag tag = {.kind = dialler->tag_kind,
		.slot = (uint32_t)((size_t)(job - dialler->jobs) * DIALBACK_RESULT_MAX + index),
		.generation = job->generation};
	int fd = socket_open((enum addr_family)from.family, SOCK_STREAM, IPPROTO_TCP);

	result->outcome = DIALBACK_FAILED;
	if (fd < 0) {
		count_outcome(dialler, result->outcome);
		return;
	}
	if (prepare_socket(fd, &from) == 0) {
		result->outcome = DIALBACK_TIMED_OUT;
		if (socket_connect(fd, &job->answer.target) != 0)
			result->outcome = judge_errno(errno);
		else if (loop_add(dialler->loop, fd, EPOLLOUT, tag) != 0)
			result->outcome = DIALBACK_FAILED;
		else if (socket_local(fd, &result->from) == 0)
			job->calls[index] = (struct dialler_call){.fd = fd};
	}
	if (job->calls[index].fd >= 0) {
		dialler->dialled++;
		return;
	}
	close(fd);
	count_outcome(dialler, result->outcome);
}

/* Would that be a call to this reflector itself? */
static bool is_own(const struct dialler *dialler, const struct addr *target)
{
	for (size_t i = 0; i < dialler->config.listen_count; i++)
		if (dialler->config.listens[i].port == target->port)
			return socket_can_bind_ip(target);
	return false;
}

/* Is there no place for this source? It has one job under way, or its site enough. */
static bool is_busy(const struct dialler *dialler, const struct addr *source)
{
	const struct addr site = rate_limit_site(source);
	uint32_t of_site = 0;

	for (size_t i = 0; i < DIALLER_MAX; i++) {
		const struct addr *target = &dialler->jobs[i].answer.target;
		struct addr other = rate_limit_site(target);

		if (!dialler->jobs[i].busy)
			continue;
		if (rate_limit_same_source(target, source))
			return true;
		of_site += addr_equal_ip(&other, &site);
	}
	return of_site >= DIALLER_SITE_MAX ||
	       dialler->busy >= DIALLER_MAX - (of_site > 0 ? DIALLER_RESERVE : 0);
}

/* May it be dialled now, by the rules for the long run? Takes that if so. */
static bool take_turn(struct dialler *dialler, const struct addr *source, uint64_t now)
{
	const struct addr site = rate_limit_site(source);

	return rate_limit_has(&dialler->sites, &site, now) &&
	       rate_limit_take(&dialler->rate, source, now) &&
	       rate_limit_take(&dialler->sites, &site, now);
}

static struct dialler_job *find_free(struct dialler *dialler)
{
	for (size_t i = 0; i < DIALLER_MAX; i++)
		if (!dialler->jobs[i].busy)
			return &dialler->jobs[i];
	return NULL;
}

/* One result for each address that was asked for; `froms` is where a call comes from. */
static void list_addresses(const struct dialler *dialler, const struct dialback_request *request,
	const struct addr *local, struct dialback_answer *answer,
	struct addr froms[DIALBACK_RESULT_MAX])
{
	const struct alternate *alternate =
		&dialler->config.alternates[local->family == ADDR_IPV6 ? 1 : 0];

	for (uint8_t place = DIALBACK_SAME_ADDRESS; place <= DIALBACK_OTHER_ADDRESS;
		place = (uint8_t)(place << 1)) {
		struct addr *from = &froms[answer->count];
		struct dialback_result *result = &answer->results[answer->count];

		if ((request->places & place) == 0)
			continue;
		*from = *local;
		from->port = 0;
		result->place = place;
		if (place == DIALBACK_OTHER_ADDRESS && !alternate_other_ip(alternate, local, from))
			result->outcome = DIALBACK_NO_PLACE;
		answer->count++;
	}
}

/*
 * The outcome for all that was asked for when nothing is to be dialled, or 0; and what that counts
 * as.
 */
static int find_obstacle(struct dialler *dialler, const struct dialback_answer *answer,
	enum counter *reason, uint64_t now)
{
	bool any = false;

	for (size_t i = 0; i < answer->count; i++)
		any = any || answer->results[i].outcome == 0;
	*reason = COUNTER_NO_DIAL_OFF;
	if (dialler->config.off)
		return DIALBACK_OFF;
	*reason = COUNTER_NO_DIAL_NO_PLACE;
	if (!any)
		return DIALBACK_NO_PLACE;
	*reason = COUNTER_NO_DIAL_BUSY;
	if (is_busy(dialler, &answer->target))
		return DIALBACK_LIMITED;
	*reason = COUNTER_NO_DIAL_OFTEN;
	if (!take_turn(dialler, &answer->target, now))
		return DIALBACK_LIMITED;
	/* Last, as it opens a socket. */
	*reason = COUNTER_NO_DIAL_FORBIDDEN;
	return is_own(dialler, &answer->target) ? DIALBACK_FORBIDDEN : 0;
}

static size_t refuse(struct dialler *dialler, const struct dialback_request *request,
	struct dialback_answer *answer, enum dialback_outcome outcome, void *out)
{
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < answer->count; i++)
		if (answer->results[i].outcome == 0)
			answer->results[i].outcome = outcome;
	dialler->refused++;
	if (log_admits())
		log_detail("tcp %s not dialled back: %s", addr_format(&answer->target, text),
			dialback_outcome_name(outcome));
	return dialback_write_answer(request->transaction, answer, out, DIALBACK_ANSWER_MAX);
}

size_t dialler_answer(
	struct dialler *dialler, const struct dialler_question *question, void *out, uint64_t now)
{
	struct addr froms[DIALBACK_RESULT_MAX];
	struct dialback_answer answer = {.target = *question->peer};
	struct dialback_request request;
	struct stun_message message;
	struct dialler_job *job;
	enum counter reason;
	size_t size = 0;
	int obstacle;

	if (stun_parse(&message, question->message, question->size) != 0 ||
		dialback_read_request(&message, &request, out, DIALBACK_ANSWER_MAX, &size) != 0)
		return size;
	if (request.port != 0)
		answer.target.port = request.port;
	list_addresses(dialler, &request, question->local, &answer, froms);
	obstacle = find_obstacle(dialler, &answer, &reason, now);
	if (obstacle != 0) {
		count_one(dialler->config.counters, reason);
		return refuse(dialler, &request, &answer, (enum dialback_outcome)obstacle, out);
	}
	job = find_free(dialler);
	job->busy = true;
	job->asker = question->asker;
	job->began = now;
	job->answer = answer;
	memcpy(job->transaction, request.transaction, sizeof(job->transaction));
	dialler->busy++;
	for (size_t i = 0; i < answer.count; i++)
		if (answer.results[i].outcome == 0)
			begin_call(dialler, job, i, froms[i]);
	if (!is_over(job))
		return 0;
	job->busy = false;
	job->generation++;
	dialler->busy--;
	return dialback_write_answer(job->transaction, &job->answer, out, DIALBACK_ANSWER_MAX);
}

/* Connected, or not. Returns false when the call is over. */
static bool finish_connecting(
	struct dialler *dialler, struct dialler_job *job, size_t index, uint32_t slot)
{
	struct dialler_call *call = &job->calls[index];
	int problem = socket_take_error(call->fd);
	struct loop_tag tag = {
		.kind = dialler->tag_kind, .slot = slot, .generation = job->generation};

	if (problem != 0) {
		job->answer.results[index].outcome = judge_errno(problem);
		return false;
	}
	call->through = true;
	job->answer.results[index].outcome = DIALBACK_CONNECTED;
	return loop_change(dialler->loop, call->fd, EPOLLIN, tag) == 0;
}

/* Reads on in the banner. Returns false when it is whole, or the other end has closed. */
static bool read_banner(struct dialler_job *job, size_t index)
{
	struct dialback_result *result = &job->answer.results[index];
	size_t left = DIALBACK_BANNER_MAX - result->banner_size;
	ssize_t got = recv(job->calls[index].fd, result->banner + result->banner_size, left, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0) {
		result->outcome = DIALBACK_CLOSED;
		return false;
	}
	result->banner_size += (size_t)got;
	return result->banner_size < DIALBACK_BANNER_MAX &&
	       memchr(result->banner, '\n', result->banner_size) == NULL;
}

void dialler_event(struct dialler *dialler, struct loop_tag tag, uint64_t now)
{
	struct dialler_job *job;
	size_t index = tag.slot % DIALBACK_RESULT_MAX;
	bool goes_on;

	if (tag.slot >= DIALLER_MAX * DIALBACK_RESULT_MAX)
		return;
	job = job_at(dialler, tag.slot);
	if (!job->busy || job->generation != tag.generation || job->calls[index].fd < 0)
		return;
	goes_on = job->calls[index].through ? read_banner(job, index)
					    : finish_connecting(dialler, job, index, tag.slot);
	if (goes_on)
		return;
	end_call(dialler, job, index, now);
	if (is_over(job))
		end_job(dialler, job, now);
}

uint64_t dialler_next(const struct dialler *dialler)
{
	uint64_t first = TIMER_NONE;

	if (dialler->busy == 0)
		return TIMER_NONE;
	for (size_t i = 0; i < DIALLER_MAX; i++)
		if (dialler->jobs[i].busy && dialler->jobs[i].began + DIALBACK_TIMEOUT_MS < first)
			first = dialler->jobs[i].began + DIALBACK_TIMEOUT_MS;
	return first;
}

void dialler_expire(struct dialler *dialler, uint64_t now)
{
	if (dialler->busy == 0)
		return;
	for (size_t i = 0; i < DIALLER_MAX; i++) {
		struct dialler_job *job = &dialler->jobs[i];

		if (!job->busy || now < job->began + DIALBACK_TIMEOUT_MS)
			continue;
		for (size_t k = 0; k < DIALBACK_RESULT_MAX; k++)
			if (job->calls[k].fd >= 0)
				end_call(dialler, job, k, now);
		end_job(dialler, job, now);
	}
}
