/*
 * Which requests about a name are believed.
 *
 * Threat: an attacker without the key of a name, who can send anything from anywhere, forge the
 * source of a datagram, read and replay the requests of others, and may be behind the same NAT as
 * they are. He wants to know whether a name exists, or is in use; to register it for himself; to
 * have home send somewhere; or to use up the requests of others.
 *
 * The checks, and what a refusal tells, in their order:
 *
 *   form    420, 400  an unknown attribute that must be understood; no name
 *   proof   401       there is none; with a nonce, so that the client can make one
 *   age     438       no nonce of ours for this source and name, or older than a minute; with a new
 *                     one
 *   proof   401       it is of another key, or there is no such name
 *   use     438       the nonce was used: the name was changed since, or this CONNECT came before
 *   limits  486       the source, or the name, has asked too much; over UDP no answer
 *
 * Why in this order:
 *
 *   - The checks before the second proof depend on the request, its source and the clock alone. So
 *     a client without a key gets the same answer for every name, except for random bytes.
 *   - Age comes before the second proof, so that an old request that is replayed always gets 438:
 *     the attacker does not learn whether its key is still that of the name.
 *   - Use comes after the proof, as it depends on how often the name was changed. So without a key
 *     nobody can count the changes of a name, or learn that there are any. An attacker who replays
 *     a captured request learns what its sender knew: that it was taken.
 *   - The limit of a name comes last, and counts proven requests alone: without the key nobody can
 *     use it up. A source is charged once a fresh nonce has shown that it is not forged.
 *
 * The work is the same as well. The HMAC of the proof is computed first, whatever the answer will
 * be; for an unknown name, with a key that nobody knows. As a name may have two keys while its key
 * is changed, a proof that does not hold by the first key is computed by a second, for every name.
 * The comparison takes the same time for all bytes (secret.h).
 *
 * Invariants: before the second proof only the key of the name's entry is read; only a proven
 * request writes to the entry.
 *
 * What each request uses up: a REGISTER its nonce, by what it changes (nonce.h); a CONNECT and
 * nothing else a place among the nonces that the registry remembers; a RELAY the nonce of its
 * CONNECT by the connection, which is the relay's from then on. A LOOKUP uses up none: its answer
 * is of no use without the key.
 */
#include "reflector/name_auth.h"

#include <string.h>

#include "natpunch/os/random.h"
#include "natpunch/proto/relay_messages.h"
#include "natpunch/proto/stun_auth.h"

#define COMPREHENSION 0x8000 /* types below must be understood (RFC 8489 section 14) */

void name_auth_open(struct name_auth *auth)
{
	random_fill(auth->nonce_secret, sizeof(auth->nonce_secret));
	random_fill(auth->stranger, sizeof(auth->stranger));
}

/* ---- reading ------------------------------------------------------------------------------ */

static void take_attribute(struct name_request *request, const struct stun_attribute *attribute)
{
	struct stun_attribute *slot = NULL;

	switch (attribute->type) {
	case STUN_USERNAME:
		slot = &request->username;
		break;
	case STUN_NONCE:
		slot = &request->nonce;
		break;
	case STUN_NATPUNCH_REGISTRATION:
		slot = &request->registration;
		break;
	case STUN_NATPUNCH_HOME:
		slot = &request->home;
		break;
	case STUN_NATPUNCH_CONNECTION:
		slot = &request->connection;
		break;
	case STUN_NATPUNCH_PREDICTION:
		slot = &request->prediction;
		break;
	case STUN_NATPUNCH_PROVED_PORT:
		slot = &request->proved_port;
		break;
	case STUN_NATPUNCH_RANDOM_PORTS:
		request->random_ports = true;
		return;
	case STUN_MESSAGE_INTEGRITY_SHA256:
	case STUN_REALM:
		return;
	default:
		if (attribute->type < COMPREHENSION &&
			request->unknown_count < NAME_AUTH_UNKNOWN_MAX)
			request->unknown[request->unknown_count++] = attribute->type;
		return;
	}
	if (slot->value == NULL)
		*slot = *attribute;
}

/* Leaves "" where that is no name. */
static void take_name(char out[KEY_NAME_SIZE], const struct stun_attribute *username)
{
	memset(out, 0, KEY_NAME_SIZE);
	if (username->value != NULL && key_is_name((const char *)username->value, username->size))
		memcpy(out, username->value, username->size);
}

bool name_auth_read(struct name_request *request, const void *data, size_t size)
{
	uint16_t method = stun_peek_method(data, size);
	struct stun_attribute attribute;
	size_t offset = 0;

	/* Most of what comes is a Binding, which is not to be read twice. */
	if (method != STUN_METHOD_REGISTER && method != STUN_METHOD_LOOKUP &&
		method != STUN_METHOD_CONNECT && method != STUN_METHOD_RELAY)
		return false;
	memset(request, 0, sizeof(*request));
	if (stun_parse(&request->message, data, size) < 0)
		return false;
	while (stun_next(&request->message, &offset, &attribute))
		take_attribute(request, &attribute);
	take_name(request->name, &request->username);
	return true;
}

/* ---- judging ------------------------------------------------------------------------------ */

/* CONNECT makes home send somewhere: a replay from behind the same NAT must not. */
static bool use_nonce(struct registry *registry, uint32_t entry, const struct name_request *request)
{
	uint8_t salt[NONCE_SALT_SIZE];

	return request->message.method != STUN_METHOD_CONNECT ||
	       (nonce_read_salt(request->nonce.value, request->nonce.size, salt) &&
		       registry_use(registry, entry, salt));
}

/*
 * By the new key of the name or by its old one. A proof that does not hold by the first key is
 * tried by a second, whether or not there is such a name and it has two keys.
 */
static enum stun_auth_result prove(const struct name_auth *auth, const struct registry *registry,
	uint32_t number, const struct stun_message *message, bool *old)
{
	const struct registry_entry *entry =
		number != REGISTRY_NONE ? &registry->entries[number] : NULL;
	const uint8_t *first = entry != NULL ? entry->key.secret : auth->stranger;
	const uint8_t *second = entry != NULL && entry->has_old ? entry->old : auth->stranger;
	enum stun_auth_result proof = stun_auth_check(message, first, KEY_SECRET_SIZE);

	*old = false;
	if (proof == STUN_AUTH_VALID || proof == STUN_AUTH_ABSENT)
		return proof;
	*old = stun_auth_check(message, second, KEY_SECRET_SIZE) == STUN_AUTH_VALID;
	return *old ? STUN_AUTH_VALID : proof;
}

/*
 * All checks but the limits, in their order. 0 when the request has shown that it knows the key
 * just now; else the error to answer. *fresh: whether it has shown a nonce that its source was
 * sent.
 */
static unsigned judge(const struct name_auth *auth, struct registry *registry,
	const struct name_request *request, struct name_grant *grant, uint64_t now, bool *fresh)
{
	enum stun_auth_result proof =
		prove(auth, registry, grant->entry, &request->message, &grant->old);
	const struct stun_attribute *nonce = &request->nonce;

	*fresh = false;
	if (request->unknown_count > 0)
		return 420;
	if (request->name[0] == '\0')
		return 400;
	if (proof == STUN_AUTH_ABSENT)
		return 401;
	*fresh = nonce->value != NULL && nonce_is_fresh(auth->nonce_secret, &grant->subject,
						 nonce->value, nonce->size, now);
	if (!*fresh)
		return 438;
	if (proof != STUN_AUTH_VALID || grant->entry == REGISTRY_NONE)
		return 401;
	if (!nonce_is_unused(auth->nonce_secret, &grant->subject, nonce->value, nonce->size))
		return 438;
	return use_nonce(registry, grant->entry, request) ? 0 : 438;
}

/* Charges one request, unless the quota is used up. */
static bool charge(const struct rate_limit_quota *quota, uint64_t *spent, uint64_t now)
{
	if (rate_limit_wait(quota, *spent, now) > 0)
		return false;
	rate_limit_charge(quota, spent, 1, now);
	return true;
}

static enum registry_measure measure_of(
	const struct name_sender *sender, const struct name_request *request)
{
	if (request->message.method != STUN_METHOD_LOOKUP)
		return REGISTRY_MEASURE_CHANGES;
	return sender->stream ? REGISTRY_MEASURE_LOOKUPS : REGISTRY_MEASURE_DATAGRAM_LOOKUPS;
}

/* Is it beyond the limit of its source, once proven, or of those who know the name's key? */
static bool is_beyond_limits(const struct name_auth *auth, struct registry *registry,
	const struct name_request *request, const struct name_sender *sender,
	const struct name_grant *grant, bool fresh, uint64_t now)
{
	uint64_t *spent = NULL;

	if (!auth->limits_loopback && addr_classify(sender->source) == ADDR_CLASS_LOOPBACK)
		return false;
	if (!sender->stream && fresh && auth->sources != NULL)
		spent = rate_limit_table_find(auth->sources, sender->source, now);
	if (spent != NULL && !charge(&auth->sources->each, spent, now)) {
		count_one(auth->counters, COUNTER_LIMITED_SOURCE);
		return true;
	}
	if (grant->code != 0 || auth->each.per_second == 0)
		return false;
	spent = &registry->entries[grant->entry].spent_us[measure_of(sender, request)];
	if (charge(&auth->each, spent, now))
		return false;
	count_one(auth->counters, COUNTER_LIMITED_NAME);
	return true;
}

bool name_auth_check(const struct name_auth *auth, struct registry *registry,
	const struct name_request *request, const struct name_sender *sender, uint64_t now,
	struct name_grant *grant)
{
	bool fresh;

	*grant = (struct name_grant){
		.entry = registry_find(registry, request->name),
		.subject = {.source = sender->source, .name = request->name},
	};
	if (request->message.method == STUN_METHOD_RELAY && sender->stream)
		grant->subject.connection = sender->connection;
	if (grant->entry != REGISTRY_NONE)
		grant->subject.changes = registry->entries[grant->entry].changes;
	grant->code = judge(auth, registry, request, grant, now, &fresh);
	if (!is_beyond_limits(auth, registry, request, sender, grant, fresh, now))
		return true;
	grant->code = RELAY_MESSAGE_NAME_FULL;
	return sender->stream;
}

uint32_t name_auth_check_indication(const struct name_auth *auth, const struct registry *registry,
	const struct stun_message *message)
{
	struct stun_attribute username;
	char name[KEY_NAME_SIZE];
	uint32_t entry;
	bool old;

	if (message->class != STUN_INDICATION || !stun_find(message, STUN_USERNAME, &username))
		return REGISTRY_NONE;
	take_name(name, &username);
	entry = registry_find(registry, name);
	if (entry == REGISTRY_NONE ||
		prove(auth, registry, entry, message, &old) != STUN_AUTH_VALID)
		return REGISTRY_NONE;
	return entry;
}

/* ---- refusing ----------------------------------------------------------------------------- */

void name_auth_put_nonce(const struct name_auth *auth, struct wire_writer *writer, uint16_t type,
	const struct nonce_subject *subject, uint64_t now)
{
	uint8_t salt[NONCE_SALT_SIZE];
	char nonce[NONCE_SIZE];

	random_fill(salt, sizeof(salt));
	nonce_make(auth->nonce_secret, subject, salt, now, nonce);
	stun_put(writer, type, nonce, sizeof(nonce));
}

static const char *reason_of(unsigned code)
{
	switch (code) {
	case 438:
		return "Stale Nonce";
	case 420:
		return "Unknown Attribute";
	default:
		return relay_message_reason(code);
	}
}

void name_auth_put_refusal(const struct name_auth *auth, struct wire_writer *writer,
	const struct name_request *request, const struct name_sender *sender,
	const struct name_grant *grant, unsigned code, uint64_t now)
{
	stun_put_error(writer, code, sender->stream ? reason_of(code) : "");
	if (code == 401 || code == 438)
		name_auth_put_nonce(auth, writer, STUN_NONCE, &grant->subject, now);
	if (code == 420)
		stun_put_unknown(writer, request->unknown, request->unknown_count);
}
