/*
 * port_sampler.h - predicts the ports that the NAT allocates for the next connections from a port.
 * The reflector has two addresses and two ports. The sampler connects to the three pairs of these
 * that were not asked yet, one right after the other, and sends a Binding request over each
 * connection. The ports in the answers give a prediction.
 *
 *   the first address, the other port     the second address, the first port
 *   the second address, the other port
 *
 * The connections end by RST, so that neither the NAT nor a host remembers them: the next time they
 * are new. A state machine that takes events and the time. Never blocks. Calls only what POSIX has.
 */
#ifndef NATPUNCH_CLIENT_PORT_SAMPLER_H
#define NATPUNCH_CLIENT_PORT_SAMPLER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"
#include "natpunch/proto/port_prediction.h"
#include "natpunch/client/punch.h"
#include "natpunch/client/stun_stream.h"

#define PORT_SAMPLER_TIMEOUT_MS 1500 /* a SYN that is lost is sent again after a second */
#define PORT_SAMPLER_WATCH_MAX  PORT_PREDICTION_SAMPLES

enum port_sampler_state {
	PORT_SAMPLER_NONE, /* not in use */
	PORT_SAMPLER_LOOKING,
	PORT_SAMPLER_DONE, /* `prediction` */
};

struct port_sampler_one {
	int fd; /* or -1 */
	bool asked;
	struct binding_request question;
	struct stun_stream stream;
	struct addr mapped; /* ADDR_NONE: not seen */
};

struct port_sampler {
	enum port_sampler_state state;
	struct port_sampler_one each[PORT_PREDICTION_SAMPLES];
	enum addr_family family;
	uint64_t started;
	uint64_t due;           /* when it is over (clock_now_ms()) */
	uint64_t round_trip_ms; /* to the reflector; 0: not seen */
	struct port_prediction prediction;
	bool random; /* it is certain that there can be no prediction */
};

/* DONE: is it certain that the ports of this NAT cannot be predicted? */
bool port_sampler_is_random(const struct port_sampler *sampler);

/*
 * `reflector` was asked from the port already, `other` is its OTHER-ADDRESS. `open` is as for
 * punch_start(), and is called here only. The state may be DONE at once, without a prediction.
 */
void port_sampler_start(struct port_sampler *sampler, const struct addr *reflector,
	const struct addr *other, punch_opener *open, void *context, uint64_t now);

/* Fills all entries for poll(2); those of a state other than LOOKING are empty. */
void port_sampler_watch(
	const struct port_sampler *sampler, struct pollfd fds[PORT_SAMPLER_WATCH_MAX]);

/* Call after poll(2), and when `due` has come. */
void port_sampler_advance(struct port_sampler *sampler,
	const struct pollfd fds[PORT_SAMPLER_WATCH_MAX], uint64_t now);

/* Closes what is open; sets PORT_SAMPLER_NONE. */
void port_sampler_end(struct port_sampler *sampler);

#endif
