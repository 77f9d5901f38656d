/*
 * LOOKING: three connections at once. When one is writable, its request is sent; when readable, one
 * message is read. DONE: all three have answered, `due` has come, or one has failed: without its
 * port no order can be seen. None is closed before, as the NAT could allocate its port to the next.
 *
 * Threat: a reflector that lies about the ports. A prediction only says where to connect to.
 */
#include "natpunch/client/port_sampler.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"

/* By RST: neither the NAT nor a host remembers it. */
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

/* All were at the same address, or nothing can be told: a NAT with several has no order in them. */
static void predict(struct port_sampler *sampler)
{
	uint16_t ports[PORT_PREDICTION_SAMPLES] = {0};

	sampler->complete = true;
	for (size_t i = 0; i < PORT_PREDICTION_SAMPLES; i++) {
		sampler->complete &= sampler->each[i].mapped.family != ADDR_NONE;
		if (addr_equal_ip(&sampler->each[i].mapped, &sampler->each[0].mapped))
			ports[i] = sampler->each[i].mapped.port;
	}
	close_all(sampler);
	sampler->prediction = port_prediction_make(ports);
	sampler->state = PORT_SAMPLER_DONE;
	sampler->due = TIMER_NONE;
}

bool port_sampler_is_random(const struct port_sampler *sampler)
{
	return sampler->state == PORT_SAMPLER_DONE && sampler->complete &&
	       sampler->prediction.port == 0;
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
	/* The same address, or the same port, would be asked twice. */
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

/* Returns false when nothing will come of it. */
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
	size_t seen = 0;

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
		/* Stays until all are seen: its port is not to be given to another. */
		seen += one->mapped.family != ADDR_NONE;
	}
	if (seen == PORT_PREDICTION_SAMPLES || now >= sampler->due)
		predict(sampler);
}

void port_sampler_end(struct port_sampler *sampler)
{
	if (sampler->state != PORT_SAMPLER_NONE)
		close_all(sampler);
	sampler->state = PORT_SAMPLER_NONE;
}
