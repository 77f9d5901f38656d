/*
 * names.h - answers requests about names (name_messages.h): where a name is, and what home is told.
 * name_auth.h authenticates them.
 */
#ifndef NATPUNCH_REFLECTOR_NAMES_H
#define NATPUNCH_REFLECTOR_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/binding.h"
#include "natpunch/base/error.h"
#include "natpunch/proto/invitation.h"
#include "reflector/name_auth.h"
#include "reflector/relay.h"
#include "reflector/registry.h"
#include "reflector/registry_file.h"

struct names {
	struct registry registry;
	struct registry_file state;
	struct name_auth auth;
	const char *keys_path;
	struct relay *relay; /* the caller's, set after _open(); or NULL: no relaying */
};

/*
 * With keys_path NULL no names are served, and each request counts as one of an unknown method.
 * state_path may be NULL. Both must outlive the names. Returns 0, or -1 with *error filled;
 * names_close() must follow in either case.
 */
int names_open(struct names *names, const char *keys_path, const char *state_path, uint64_t now,
	struct error *error);
void names_close(struct names *names, uint64_t now);

/* Reads the key file again. When that fails, says why and leaves all as it was. */
void names_reload(struct names *names);

/* Housekeeping, as registry_file.h has it. */
uint64_t names_next(struct names *names, uint64_t now);
void names_expire(struct names *names, uint64_t now);
void names_reap(struct names *names, uint64_t now);

/* Where a request came from. */
struct names_caller {
	const struct addr *source;
	const struct binding_server *server;
	uint32_t slot; /* the connection, over a stream */
	uint32_t generation;
	enum binding_mode mode; /* how that connection stands now */
	const struct addr *via; /* over UDP: the address of this machine that it came to, or NULL */
};

enum names_verdict {
	NAMES_OTHER,    /* not a request about a name */
	NAMES_SILENT,   /* one that gets no answer */
	NAMES_ANSWERED, /* *size bytes were written to out */
};

/* What an answer means for the connection. */
struct names_effect {
	uint32_t entry; /* registered over this connection, or REGISTRY_NONE */
	bool has_mode;  /* the connection goes on in another way: */
	enum binding_mode mode;
	uint16_t seconds;
	uint32_t asked; /* CONNECT over this connection, or REGISTRY_NONE */
	/* CONNECT: this is to be said to home over the connection that holds the name; or, where
	 * CONNECT came over UDP, as a datagram from `home_via` to `home`. */
	size_t invitation_size; /* 0: there is nothing to be said */
	uint32_t home_slot;
	uint32_t home_generation;
	struct addr home;
	struct addr home_via;
	uint8_t invitation[INVITATION_SIZE_MAX];
	/*
	 * RELAY: not 0, and then the answer is not to be sent, but handed to the relay of this
	 * number with the connection: relay_wait().
	 */
	uint64_t relay;
};

/*
 * Answers one whole message. Over UDP never with more bytes than it has. A name that is registered
 * over a connection in mode HOLD counts as held until names_release().
 */
enum names_verdict names_answer(struct names *names, const struct names_caller *caller,
	const void *data, size_t data_size, uint64_t now, void *out, size_t capacity, size_t *size,
	struct names_effect *effect);

/*
 * A PREDICTION (invitation.h). Returns whose it is, and in *connection which connection it is for:
 * the slot + 1 in the upper half, the generation in the lower. REGISTRY_NONE: not one, or not
 * proven.
 */
uint32_t names_read_prediction(
	struct names *names, const void *data, size_t size, uint64_t *connection);

/* Call it when the connection that registered the entry has ended or is no longer held. */
void names_release(
	struct names *names, uint32_t entry, uint32_t slot, uint32_t generation, uint64_t now);

#endif
