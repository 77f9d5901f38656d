/*
 * attempt_punch.h - the phases that connect to home directly: the first try, and the second one at
 * predicted ports. Of an attempt they use `punches`, `sampler`, `ours` and `theirs`.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_PUNCH_H
#define NATPUNCH_CONNECT_ATTEMPT_PUNCH_H

#include <poll.h>
#include <stdint.h>

#include "connect/attempt_phase.h"

extern const struct attempt_phase attempt_punch_first;
extern const struct attempt_phase attempt_punch_sample;
extern const struct attempt_phase attempt_punch_tell;
extern const struct attempt_phase attempt_punch_hear;
extern const struct attempt_phase attempt_punch_second;

/* How long a SYN to home is waited for before it gets company: a SYN from another port. */
uint64_t attempt_punch_company_ms(const struct attempt *in);

/* The punches that go on after their phase; without one, nothing is watched. */
void attempt_punch_watch(const struct attempt *in, struct pollfd *own);

/* One turn of all punches. OPEN, STAYS while one is still tried, or VAIN. */
enum phase_end attempt_punch_advance(struct attempt *in, const struct pollfd *own);

/* Closes all punches. */
void attempt_punch_end(struct attempt *in);

/*
 * What follows from an answer once home is known: DONE; FAILED where the reflector is lost; VAIN
 * after any other answer.
 */
enum phase_end attempt_punch_judge(struct attempt *in, enum reflector_answer answer);

#endif
