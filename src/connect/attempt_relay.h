/*
 * attempt_relay.h - the phases that wait for the relay's turn, and ask the reflector for it. A
 * punch that was not ended goes on beside both.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_RELAY_H
#define NATPUNCH_CONNECT_ATTEMPT_RELAY_H

#include "connect/attempt_phase.h"

extern const struct attempt_phase attempt_relay_wait;
extern const struct attempt_phase attempt_relay_ask;

#endif
