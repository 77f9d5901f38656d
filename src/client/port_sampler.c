/*
 * LOOKING: three connections at once. When one is writable, its request is sent; when it is
 * readable, one message is read. DONE, with the first of:
 *
 *   all three have answered        a prediction, or the ports are random
 *   the answers so far exclude a   the ports are random. So a SYN or an answer that is lost, which
 *   prediction                     the kernel sends again after a second, is not waited for: two
 *                                  answers suffice for nearly all NATs whose ports are random
 *   a connection has failed, or    no prediction: without its port no order can be seen
 *   `due` has come
 *
 * Invariant: while LOOKING no connection is closed, as the NAT could allocate its port to the next.
 *
 * Threat: a reflector that lies about the ports. A prediction only says where to connect to.
 */
#include "natpunch/client/port_sampler.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"

/* Ends the connection by RST. */
static void close_one(struct port_sampler_one *one)
{
	const struct linger at_once = {.l_onoff = 1};

	if (one->fd < 0)
		return;
	setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(one->fd);
	one->fd = -1;
}

static void close_all(struct port_sampler *sampler)
{
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++)
		close_one(&sampler->each[i]);
}

/* The ports that were seen, 0 for each other one. Returns how many. */
static size_t collect(const struct port_sampler *sampler, uint16_t ports[PORT_PREDICTION_SAMPLES])
{
	size_t seen = 0;

	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		const struct addr *mapped = &sampler->each[i].mapped;

		ports[i] = mapped->family != ADDR_NONE ? mapped->port : 0;
		seen += mapped->family != ADDR_NONE;
	}
	return seen;
}

/* Were two seen at different addresses? A NAT with several has no order in their ports. */
static bool has_several_addresses(const struct port_sampler *sampler)
{
	const struct addr *first = NULL;

	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		const struct addr *mapped = &sampler->each[i].mapped;

		if (mapped->family == ADDR_NONE)
			continue;
		if (first != NULL && !addr_equal_ip(mapped, first))
			return true;
		first = mapped;
	}
	return false;
}

static bool is_excluded(const struct port_sampler *sampler)
{
	uint16_t ports[PORT_PREDICTION_SAMPLES];

	collect(sampler, ports);
	return has_several_addresses(sampler) || port_prediction_is_excluded(ports);
}

static void predict(struct port_sampler *sampler)
{
	uint16_t ports[PORT_PREDICTION_SAMPLES];
	bool all = collect(sampler, ports) == PORT_PREDICTION_SAMPLES;

	close_all(sampler);
	sampler->prediction = (struct port_prediction){.port = 0};
	if (!is_excluded(sampler))
		sampler->prediction = port_prediction_make(ports);
	sampler->random = sampler->prediction.port == 0 && (all || is_excluded(sampler));
	sampler->state = PORT_SAMPLER_DONE;
	sampler->due = TIMER_NONE;
}

bool port_sampler_is_random(const struct port_sampler *sampler)
{
	return sampler->state == PORT_SAMPLER_DONE && sampler->random;
}

void port_sampler_start(struct port_sampler *sampler, const struct addr *reflector,
	const struct addr *other, punch_opener *open, void *context, uint64_t now)
{
	struct addr places[PORT_PREDICTION_SAMPLES] = {*reflector, *other, *other};

	places[0].port = other->port;
	places[1].port = reflector->port;
	memset(sampler, 0, sizeof(*sampler));
	sampler->state = PORT_SAMPLER_LOOKING;
	sampler->family = (enum addr_family)reflector->family;
	sampler->started = now;
	sampler->due = now + PORT_SAMPLER_TIMEOUT_MS;
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++)
		sampler->each[i].fd = -1;
	/* With one address, or one port, a pair would be asked twice. */
	if (other->family != reflector->family || other->port == 0 ||
		other->port == reflector->port || addr_equal_ip(other, reflector)) {
		predict(sampler);
		return;
	}
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		sampler->each[i].fd = open(context, &places[i]);
		if (sampler->each[i].fd < 0) {
			predict(sampler);
			return;
		}
	}
}

void port_sampler_watch(
	const struct port_sampler *sampler, struct pollfd fds[PORT_SAMPLER_WATCH_MAX])
{
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		const struct port_sampler_one *one = &sampler->each[i];
		bool waits =
			sampler->state == PORT_SAMPLER_LOOKING && one->mapped.family == ADDR_NONE;
		fds[i] = (struct pollfd){
			.fd = waits ? one->fd : -1,
			.events = one->asked ? POLLIN : POLLOUT,
		};
	}
}

/* Returns false when no answer can come. */
static bool send_question(struct port_sampler *sampler, struct port_sampler_one *one, uint64_t now)
{
	uint8_t bytes[128];
	uint8_t random[12];
	size_t size;

	random_fill(random, sizeof(random));
	stun_make_transaction(one->question.transaction, random);
	size = binding_write_request(&one->question, bytes, sizeof(bytes));
	one->asked = true;
	if (stun_stream_send(one->fd, bytes, size) != NULL)
		return false;
	if (sampler->round_trip_ms == 0 || now - sampler->started < sampler->round_trip_ms)
		sampler->round_trip_ms = now - sampler->started;
	return true;
}

/* Returns false when nothing more will come. */
static bool receive_answer(struct port_sampler *sampler, struct port_sampler_one *one)
{
	enum stun_stream_result result = stun_stream_read(&one->stream, one->fd);
	struct binding_answer answer;
	const char *why;

	if (result == STUN_STREAM_MESSAGE &&
		binding_read_answer(&one->question, sampler->family, one->stream.bytes,
			one->stream.received, &answer, &why) == BINDING_MAPPED)
		one->mapped = answer.mapped;
	return result == STUN_STREAM_WAITING;
}

void port_sampler_advance(
	struct port_sampler *sampler, const struct pollfd fds[PORT_SAMPLER_WATCH_MAX], uint64_t now)
{
	uint16_t ports[PORT_PREDICTION_SAMPLES];

	if (sampler->state != PORT_SAMPLER_LOOKING)
		return;
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		struct port_sampler_one *one = &sampler->each[i];
		bool goes_on = true;

		if (one->fd >= 0 && fds[i].revents != 0)
			goes_on = one->asked ? receive_answer(sampler, one)
					     : send_question(sampler, one, now);
		if (!goes_on && one->mapped.family == ADDR_NONE) {
			predict(sampler);
			return;
		}
	}
	if (collect(sampler, ports) == PORT_PREDICTION_SAMPLES || is_excluded(sampler) ||
		now >= sampler->due)
		predict(sampler);
}

void port_sampler_end(struct port_sampler *sampler)
{
	if (sampler->state != PORT_SAMPLER_NONE)
		close_all(sampler);
	sampler->state = PORT_SAMPLER_NONE;
}
