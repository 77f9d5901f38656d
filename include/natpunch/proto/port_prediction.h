/*
 * port_prediction.h - predicts the public port of the next connection, behind a NAT that allocates
 * a new port for each destination, from the ports of a few connections made one after the other.
 *
 *   40007 40007 40007    the port does not depend on the destination: 40007 again
 *   40007 40008 40009    a step of 1: 40010, then 40011
 *   40007 40008 40010    the same; another host's connection took 40009
 *   40007 51234 18881    no prediction
 *
 * Another host behind the NAT may take the predicted port. So the other side also tries a few of
 * the next ones: PORT_PREDICTION_CANDIDATES, and never more, which is no port scan.
 *
 * NATPUNCH-PREDICTION (0xC6EA), 4 bytes:
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |             port              |        step, signed           |
 */
#ifndef NATPUNCH_PROTO_PORT_PREDICTION_H
#define NATPUNCH_PROTO_PORT_PREDICTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/stun.h"

#define PORT_PREDICTION_SAMPLES    3 /* two steps that agree; by chance it is one of millions */
#define PORT_PREDICTION_STEP_MAX   16
#define PORT_PREDICTION_CANDIDATES 5

/* All 0: no prediction. */
struct port_prediction {
	uint16_t port; /* of the next connection; 0: no prediction */
	int16_t step;  /* from one connection to the next; 0: all have the same port */
};

/* `ports` in the order in which the connections were made; 0 for one that was not seen. */
struct port_prediction port_prediction_make(const uint16_t ports[PORT_PREDICTION_SAMPLES]);

/*
 * Do these exclude a prediction, whatever the ports are that were not seen yet (0)? Two that are
 * further apart than their steps can be do.
 */
bool port_prediction_is_excluded(const uint16_t ports[PORT_PREDICTION_SAMPLES]);

/* The prediction after so many more connections; may be none. */
struct port_prediction port_prediction_after(
	const struct port_prediction *prediction, unsigned connections);

/* The ports to try, the likeliest first. Returns how many: 0 without a prediction. */
size_t port_prediction_candidates(
	const struct port_prediction *prediction, uint16_t out[PORT_PREDICTION_CANDIDATES]);

void port_prediction_put(struct wire_writer *writer, const struct port_prediction *prediction);

/* Returns -1 for another size, a step beyond PORT_PREDICTION_STEP_MAX, or one without a port. */
int port_prediction_read(const struct stun_attribute *attribute, struct port_prediction *out)
	__attribute__((warn_unused_result));

#endif
