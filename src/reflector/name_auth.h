/*
 * name_auth.h - authenticates requests about names, and writes the refusals. name_auth.c lists the
 * threats, and the checks in their order.
 */
#ifndef NATPUNCH_REFLECTOR_NAME_AUTH_H
#define NATPUNCH_REFLECTOR_NAME_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/base/wire.h"
#include "natpunch/proto/nonce.h"
#include "natpunch/proto/stun.h"
#include "reflector/counters.h"
#include "reflector/registry.h"

#define NAME_AUTH_UNKNOWN_MAX 8

struct name_auth {
	struct counters *counters;        /* the caller's, set after _open(); or NULL */
	struct rate_limit_table *sources; /* likewise; NULL: no limit for a source */
	struct rate_limit_quota each;     /* likewise, of a name; 0 in a second: no limit */
	bool limits_loopback; /* likewise: the limits are also for sources on this host */
	uint8_t nonce_secret[NONCE_SECRET_SIZE];
	uint8_t stranger[KEY_SECRET_SIZE]; /* checked against where there is no such name */
};

/* A request about a name. Attributes point into the message; `value` NULL where missing. */
struct name_request {
	struct stun_message message;
	struct stun_attribute username, nonce, registration, home, connection, prediction,
		proved_port;
	bool random_ports;
	uint16_t unknown[NAME_AUTH_UNKNOWN_MAX];
	size_t unknown_count;
	char name[KEY_NAME_SIZE]; /* "": none, or not one */
};

/* Where it came from. */
struct name_sender {
	const struct addr *source;
	bool stream;         /* over TCP, which has proven the source, and has limited it (tcp.h) */
	uint64_t connection; /* over TCP, and then not 0: a RELAY must come over the one of its
				nonce */
};

struct name_grant {
	unsigned code;                /* 0: it is proven; else the error to answer */
	uint32_t entry;               /* with code 0: of the name */
	bool old;                     /* with code 0: proven by the name's old key */
	struct nonce_subject subject; /* of a nonce in the answer; points into request and sender */
};

/* Makes the secrets anew. */
void name_auth_open(struct name_auth *auth);

/* Reads a message about a name, of any class. Returns false for any other. */
bool name_auth_read(struct name_request *request, const void *data, size_t size);

/*
 * Judges a request, of class request and not classic. Returns false when it gets no answer: over
 * UDP a request beyond a limit counts as lost, and its client sends it again later.
 */
bool name_auth_check(const struct name_auth *auth, struct registry *registry,
	const struct name_request *request, const struct name_sender *sender, uint64_t now,
	struct name_grant *grant);

/*
 * Puts the error `code`: that of the grant, or what becomes of a proven request. Over UDP without
 * words, so that the answer is no larger than the request.
 */
void name_auth_put_refusal(const struct name_auth *auth, struct wire_writer *writer,
	const struct name_request *request, const struct name_sender *sender,
	const struct name_grant *grant, unsigned code, uint64_t now);

/* Puts a new nonce, for this subject, as an attribute of that type. */
void name_auth_put_nonce(const struct name_auth *auth, struct wire_writer *writer, uint16_t type,
	const struct nonce_subject *subject, uint64_t now);

/*
 * Judges an indication, which is proven by the key alone: it gets no answer, and where it goes to
 * is the caller's to check. Returns the entry of its name, or REGISTRY_NONE.
 */
uint32_t name_auth_check_indication(const struct name_auth *auth, const struct registry *registry,
	const struct stun_message *message);

#endif
