/*
 * name_register.h - registers the mapping that a one-shot probe found (name_messages.h).
 */
#ifndef NATPUNCH_CLIENT_NAME_REGISTER_H
#define NATPUNCH_CLIENT_NAME_REGISTER_H

#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/home_facts.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/proto/binding.h"
#include "natpunch/proto/name_messages.h"

/*
 * Registers the mapping that a probe found, over the connection or port that it was found with; for
 * method raw, which has none, over a connection of its own to the same reflector, and by number.
 * The connection then goes on as `mode` says (result->winner.answer.mode is what was granted), also
 * when the registration failed. Warns of another home of that name, unless facts->rivals says that
 * this was done, and counts it there. Returns 0, or -1 with *error filled. `registered` is where
 * the reflector saw home.
 */
int name_register_mapping(const struct mapping_race_request *request,
	struct mapping_race_result *result, const struct key *key, struct home_facts *facts,
	enum binding_mode mode, uint64_t deadline, struct name_message_record *registered,
	struct error *error);

#endif
