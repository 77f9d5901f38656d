/*
 * register_each.h - registers a name at the other reflectors as well, once the first has given a
 * mapping: at each that is named, and at each that SRV records name.
 */
#ifndef NATPUNCH_CLIENT_REGISTER_EACH_H
#define NATPUNCH_CLIENT_REGISTER_EACH_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/home_facts.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/proto/binding.h"
#include "natpunch/proto/name_messages.h"

/* Reflectors beside the first one. Further ones are reported as an error. */
#define REGISTER_EACH_MAX 16

struct register_each_request {
	const struct mapping_race_request *probe;
	const struct mapping_race_result *first; /* of the one that is registered at; it is open */
	const struct key *key;
	struct home_facts *facts;
	enum binding_mode mode; /* how the connections go on, as in name_register_mapping() */
	bool tells_lookups;     /* tells of a name that has no address; of two families one does */
	/* For each reflector once: what was seen there, and where home is registered; or the error.
	 */
	void (*tell)(void *context, const char *reflector, const struct mapping_race_result *seen,
		const struct name_message_record *registered, const struct error *error);
	void *context;
};

/*
 * Asks them from the port of the mapping, all at once, for `probe->timeout_ms` at most, and
 * registers at those that answer, one after another. Returns at how many it is registered; of how
 * many is in *others.
 */
size_t register_each(const struct register_each_request *request, size_t *others);

#endif
