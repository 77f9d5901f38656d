/*
 * attempt_find.h - the phases that connect to the reflector and ask it for home: of an attempt
 * they set `session`, `port`, `home`, `target`, `held`, `age` and `can_predict`, and start
 * `nearby`.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_FIND_H
#define NATPUNCH_CONNECT_ATTEMPT_FIND_H

#include "connect/attempt_phase.h"

extern const struct attempt_phase attempt_find_pause;
extern const struct attempt_phase attempt_find_connect;
extern const struct attempt_phase attempt_find_nonce;
extern const struct attempt_phase attempt_find_ask;
extern const struct attempt_phase attempt_find_unheld;

#endif
