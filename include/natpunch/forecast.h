/*
 * forecast.h - which public port the next connection will have, behind a NAT that chooses another
 * one for each destination: judged from the ports of a few connections made one after the other.
 *
 *   40007 40007 40007    the port does not depend on the destination: 40007 again
 *   40007 40008 40009    a step of 1: 40010, then 40011
 *   40007 40008 40010    the same; somebody else's connection took 40009
 *   40007 51234 18881    cannot be told
 *
 * Others behind the same NAT may take the port that was foretold. So the other side tries a few of
 * those that follow as well: FORECAST_CANDIDATES, and never more. It is no scan.
 *
 * NATPUNCH-FORECAST (0xC6EA), 4 bytes:
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |             port              |        step, signed           |
 */
#ifndef NATPUNCH_FORECAST_H
#define NATPUNCH_FORECAST_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/stun.h"

#define FORECAST_SIGHTS     3 /* two steps that agree; by chance it is one of millions */
#define FORECAST_STEP_MAX   16
#define FORECAST_CANDIDATES 5

/* All 0: cannot be told. */
struct forecast {
	uint16_t port; /* of the next connection; 0: cannot be told */
	int16_t step;  /* from one connection to the next; 0: all have the same port */
};

/* `ports` in the order in which the connections were made; 0 for one that was not seen. */
struct forecast forecast_make(const uint16_t ports[FORECAST_SIGHTS]);

/* What it is after so many more connections; may be a forecast that cannot be told. */
struct forecast forecast_after(const struct forecast *forecast, unsigned connections);

/* The ports to try, the likeliest first. Returns how many: 0 when it cannot be told. */
size_t forecast_candidates(const struct forecast *forecast, uint16_t out[FORECAST_CANDIDATES]);

void forecast_put(struct wire_writer *writer, const struct forecast *forecast);

/* Returns -1 for another size, a step beyond FORECAST_STEP_MAX, or one without a port. */
int forecast_read(const struct stun_attribute *attribute, struct forecast *out)
	__attribute__((warn_unused_result));

#endif
