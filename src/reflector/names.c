/*
 * names.c - the reflector's answers to questions about names.
 *
 * The order of the checks is the defence. Whether a nonce is fresh is checked before the proof: it
 * depends on nothing that is known of the name. Whether it was used is checked after the proof: it
 * does. So who has no key sees the same for every name, and who sends a captured request again
 * learns what its sender knew: that it was taken.
 */
#include "reflector/names.h"

#include <string.h>

#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/base/secret.h"
#include "natpunch/proto/stun_auth.h"

#define UNKNOWN_MAX   8
#define COMPREHENSION 0x8000 /* types below must be understood (RFC 8489 section 14) */

int names_open(struct names *names, const char *keys_path, const char *state_path, uint64_t now,
	struct error *error)
{
	struct key_file keys;

	memset(names, 0, sizeof(*names));
	if (keys_path == NULL)
		return 0;
	if (registry_open(&names->registry) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for names");
	if (key_file_load(keys_path, &keys, error) != 0)
		return -1;
	registry_set_keys(&names->registry, &keys);
	key_file_free(&keys);
	if (registry_file_open(&names->state, state_path, &names->registry, now, error) != 0) {
		names->state.path = NULL;
		return -1;
	}
	random_fill(names->nonce_secret, sizeof(names->nonce_secret));
	random_fill(names->stranger, sizeof(names->stranger));
	names->keys_path = keys_path;
	log_note("%u name%s", names->registry.count, names->registry.count == 1 ? "" : "s");
	return 0;
}

void names_close(struct names *names, uint64_t now)
{
	registry_file_close(&names->state, &names->registry, now);
	registry_close(&names->registry);
	secret_wipe(names, sizeof(*names));
}

void names_reload(struct names *names)
{
	struct error error;
	struct key_file keys;

	if (names->keys_path == NULL)
		return;
	if (key_file_load(names->keys_path, &keys, &error) != 0) {
		log_print_error(&error);
		log_warning("the keys stay as they were");
		return;
	}
	registry_set_keys(&names->registry, &keys);
	key_file_free(&keys);
	log_note("keys read again: %u name%s", names->registry.count,
		names->registry.count == 1 ? "" : "s");
}

uint64_t names_next(struct names *names, uint64_t now)
{
	return registry_file_next(&names->state, &names->registry, now);
}

void names_expire(struct names *names, uint64_t now)
{
	registry_file_save(&names->state, &names->registry, now);
}

void names_reap(struct names *names, uint64_t now)
{
	registry_file_reap(&names->state, &names->registry, now);
}

void names_release(
	struct names *names, uint32_t entry, uint32_t slot, uint32_t generation, uint64_t now)
{
	registry_release(&names->registry, entry, slot, generation, now);
}

/* What a request says. Attributes point into the message; `value` NULL where missing. */
struct question {
	struct stun_message message;
	struct stun_attribute username, nonce, registration, connection, prediction;
	uint16_t unknown[UNKNOWN_MAX];
	size_t unknown_count;
	char name[KEY_NAME_SIZE];
};

static void take_attribute(struct question *question, const struct stun_attribute *attribute)
{
	struct stun_attribute *slot = NULL;

	switch (attribute->type) {
	case STUN_USERNAME:
		slot = &question->username;
		break;
	case STUN_NONCE:
		slot = &question->nonce;
		break;
	case STUN_NATPUNCH_REGISTRATION:
		slot = &question->registration;
		break;
	case STUN_NATPUNCH_CONNECTION:
		slot = &question->connection;
		break;
	case STUN_NATPUNCH_PREDICTION:
		slot = &question->prediction;
		break;
	case STUN_MESSAGE_INTEGRITY_SHA256:
	case STUN_REALM:
		return;
	default:
		if (attribute->type < COMPREHENSION && question->unknown_count < UNKNOWN_MAX)
			question->unknown[question->unknown_count++] = attribute->type;
		return;
	}
	if (slot->value == NULL)
		*slot = *attribute;
}

/* Returns false for what is not a question about a name. Its name is "" when that is none. */
static bool read_question(const void *data, size_t size, struct question *question)
{
	uint16_t method = stun_peek_method(data, size);
	struct stun_attribute attribute;
	size_t offset = 0;

	/* Most of what comes is a Binding, which is not to be read twice. */
	if (method != STUN_METHOD_REGISTER && method != STUN_METHOD_LOOKUP &&
		method != STUN_METHOD_CONNECT && method != STUN_METHOD_RELAY)
		return false;
	memset(question, 0, sizeof(*question));
	if (stun_parse(&question->message, data, size) < 0)
		return false;
	while (stun_next(&question->message, &offset, &attribute))
		take_attribute(question, &attribute);
	if (question->username.value != NULL &&
		key_is_name((const char *)question->username.value, question->username.size))
		memcpy(question->name, question->username.value, question->username.size);
	return true;
}

/* An answer that is being written. */
struct answer {
	struct wire_writer writer;
	const struct stun_message *to;
	bool stream;
};

static void begin(struct answer *answer, const struct question *question,
	const struct names_caller *caller, enum stun_class class, void *out, size_t capacity)
{
	answer->to = &question->message;
	answer->stream = caller->server->stream;
	stun_begin(&answer->writer, out, capacity, class, question->message.method,
		question->message.transaction);
}

/* Returns its size, or 0 when nothing may be sent. */
static size_t finish(struct answer *answer)
{
	size_t size;

	stun_put_fingerprint(&answer->writer);
	size = stun_finish(&answer->writer);
	return answer->stream || size <= answer->to->size ? size : 0;
}

static void put_error(struct answer *answer, unsigned code, const char *reason)
{
	stun_put_error(&answer->writer, code, answer->stream ? reason : "");
}

static void put_nonce(struct answer *answer, const struct names *names,
	const struct nonce_subject *subject, uint64_t now)
{
	uint8_t salt[NONCE_SALT_SIZE];
	char nonce[NONCE_SIZE];

	random_fill(salt, sizeof(salt));
	nonce_make(names->nonce_secret, subject, salt, now, nonce);
	stun_put(&answer->writer, STUN_NONCE, nonce, sizeof(nonce));
}

/*
 * 0 when the request has shown that it knows the key just now; else the error to answer. *fresh:
 * whether it has shown a nonce that its source was sent.
 */
static unsigned judge(const struct names *names, const struct question *question,
	const struct nonce_subject *subject, const uint8_t secret[KEY_SECRET_SIZE], uint64_t now,
	bool *fresh)
{
	const struct stun_attribute *nonce = &question->nonce;
	enum stun_auth_result proof = stun_auth_check(&question->message, secret, KEY_SECRET_SIZE);

	*fresh = false;
	if (question->unknown_count > 0)
		return 420;
	if (question->name[0] == '\0')
		return 400;
	if (proof == STUN_AUTH_ABSENT)
		return 401;
	*fresh = nonce->value != NULL &&
		 nonce_is_fresh(names->nonce_secret, subject, nonce->value, nonce->size, now);
	if (!*fresh)
		return 438;
	if (proof != STUN_AUTH_VALID)
		return 401;
	if (!nonce_is_unused(names->nonce_secret, subject, nonce->value, nonce->size))
		return 438;
	return 0;
}

static bool may_ask(const struct rate_limit_quota *quota, uint64_t *spent, uint64_t now)
{
	if (rate_limit_wait(quota, *spent, now) > 0)
		return false;
	rate_limit_charge(quota, spent, 1, now);
	return true;
}

static enum registry_measure measure_of(
	const struct names_caller *caller, const struct question *question)
{
	if (question->message.method != STUN_METHOD_LOOKUP)
		return REGISTRY_MEASURE_CHANGES;
	return caller->server->stream ? REGISTRY_MEASURE_LOOKUPS
				      : REGISTRY_MEASURE_DATAGRAM_LOOKUPS;
}

/* What the source has proven to be and, with `code` 0, to know: has it asked too much by that? */
static bool asks_too_much(struct names *names, const struct names_caller *caller,
	const struct question *question, uint32_t entry, unsigned code, bool fresh, uint64_t now)
{
	uint64_t *spent = NULL;

	if (!names->limits_loopback && addr_classify(caller->source) == ADDR_CLASS_LOOPBACK)
		return false;
	if (!caller->server->stream && fresh && names->sources != NULL)
		spent = rate_limit_table_find(names->sources, caller->source, now);
	if (spent != NULL && !may_ask(&names->sources->each, spent, now)) {
		count_one(names->counters, COUNTER_LIMITED_SOURCE);
		return true;
	}
	if (code != 0 || names->each.per_second == 0)
		return false;
	spent = &names->registry.entries[entry].spent_us[measure_of(caller, question)];
	if (may_ask(&names->each, spent, now))
		return false;
	count_one(names->counters, COUNTER_LIMITED_NAME);
	return true;
}

/*
 * CONNECT sends home somewhere: a captured one must not, sent again from behind the same NAT. (A
 * REGISTER uses its nonce up by what it changes; a LOOKUP's answer is of no use without the key.)
 */
static bool use_nonce(struct names *names, uint32_t entry, const struct question *question)
{
	uint8_t salt[NONCE_SALT_SIZE];

	return question->message.method != STUN_METHOD_CONNECT ||
	       (nonce_read_salt(question->nonce.value, question->nonce.size, salt) &&
		       registry_use(&names->registry, entry, salt));
}

static void write_refusal(struct answer *answer, const struct names *names,
	const struct question *question, const struct nonce_subject *subject, unsigned code,
	uint64_t now)
{
	switch (code) {
	case 401:
		put_error(answer, code, "Unauthenticated");
		put_nonce(answer, names, subject, now);
		break;
	case 438:
		put_error(answer, code, "Stale Nonce");
		put_nonce(answer, names, subject, now);
		break;
	case 420:
		put_error(answer, code, "Unknown Attribute");
		stun_put_unknown(&answer->writer, question->unknown, question->unknown_count);
		break;
	default:
		put_error(answer, code, relay_message_reason(code));
	}
}

static void put_place(struct answer *answer, const struct registry_entry *entry,
	const struct registry_place *place, uint64_t now)
{
	struct name_message_record record = {
		.addr = place->addr,
		.protocol = (enum mapping_protocol)place->protocol,
		.local_port = place->local_port,
		.seconds = place->seconds,
		.age = registry_age(place, now),
		.held = registry_is_held(place, now),
	};
	uint8_t salt[NAME_MESSAGE_SALT_SIZE];

	random_fill(salt, sizeof(salt));
	name_message_put_record(&answer->writer, &record, entry->key.secret, salt);
}

/* How the connection goes on: as the request asks, or as before. */
static void settle_mode(const struct names_caller *caller, const struct question *question,
	struct names_effect *effect)
{
	uint16_t seconds;
	enum binding_mode wanted;

	if (question->connection.value == NULL || !caller->server->stream)
		return;
	wanted = binding_read_connection(&question->connection, &seconds);
	effect->has_mode = true;
	effect->mode = binding_grant(caller->server, wanted, &seconds);
	effect->seconds = seconds;
}

/* Where the sender says it can be reached; false when the request makes no sense. */
static bool read_place(const struct names_caller *caller, const struct question *question,
	uint64_t now, struct registry_place *place)
{
	enum mapping_protocol transport = caller->server->stream ? MAPPING_TCP : MAPPING_UDP;
	struct name_message_registration registration;

	if (question->registration.value == NULL ||
		name_message_read_registration(&question->registration, &registration) < 0)
		return false;
	if (registration.mapped_port == 0 && registration.protocol != transport)
		return false;
	*place = (struct registry_place){
		.addr = *caller->source,
		.heard = (int64_t)now,
		.slot = REGISTRY_NONE,
		.local_port = registration.local_port,
		.seconds = registration.seconds,
		.protocol = (uint8_t)registration.protocol,
	};
	if (registration.mapped_port != 0)
		place->addr.port = registration.mapped_port;
	memcpy(place->session, question->message.transaction + 4, sizeof(place->session));
	return true;
}

static bool register_name(struct names *names, uint32_t entry, const struct names_caller *caller,
	const struct question *question, uint64_t now, struct names_effect *effect)
{
	struct registry_place place;
	enum binding_mode mode;

	if (!read_place(caller, question, now, &place))
		return false;
	settle_mode(caller, question, effect);
	mode = effect->has_mode ? effect->mode : caller->mode;
	if (caller->server->stream && mode == BINDING_MODE_HOLD) {
		place.slot = caller->slot;
		place.generation = caller->generation;
	}
	registry_put(&names->registry, entry, &place);
	effect->entry = entry;
	return true;
}

/* Over which connection a nonce must come back, when it is for RELAY. */
static uint64_t connection_number(const struct names_caller *caller)
{
	return ((uint64_t)caller->slot + 1) << 32 | caller->generation;
}

/* CONNECT: with this nonce the initiator can ask for RELAY, here and nowhere else. */
static void put_offer(struct answer *answer, const struct names *names,
	const struct nonce_subject *asked, const struct names_caller *caller, uint64_t now)
{
	struct nonce_subject subject = *asked;
	uint8_t salt[NONCE_SALT_SIZE];
	char nonce[NONCE_SIZE];

	if (names->relay == NULL || !caller->server->stream)
		return;
	subject.connection = connection_number(caller);
	random_fill(salt, sizeof(salt));
	nonce_make(names->nonce_secret, &subject, salt, now, nonce);
	stun_put(&answer->writer, STUN_NATPUNCH_OFFER, nonce, sizeof(nonce));
}

/* CONNECT: where else we are, so that the initiator can find out what its NAT does. */
static void put_other_address(struct answer *answer, const struct names_caller *caller)
{
	const struct binding_places *alternates = caller->server->places;

	if (alternates != NULL && caller->server->stream)
		stun_put_address(&answer->writer, STUN_OTHER_ADDRESS,
			&alternates->at[BINDING_OTHER_IP | BINDING_OTHER_PORT]);
}

/* Is there a connection to say it over? A place that was never written is all zero. */
static bool can_be_told(const struct registry_place *place)
{
	return place->addr.family != ADDR_NONE && place->slot != REGISTRY_NONE;
}

/* What home is to be told, over the connection that holds this place. */
static void write_invitation(const struct registry_entry *known, struct registry_place *place,
	struct invitation *invitation, struct names_effect *effect)
{
	uint8_t salt[NAME_MESSAGE_SALT_SIZE];
	uint8_t random[12];

	random_fill(random, sizeof(random));
	random_fill(salt, sizeof(salt));
	memcpy(invitation->session, place->session, sizeof(invitation->session));
	invitation->number = ++place->invitations;
	effect->home_slot = place->slot;
	effect->home_generation = place->generation;
	effect->invitation_size = invitation_write(invitation, known->key.secret, random, salt,
		effect->invitation, sizeof(effect->invitation));
}

/* The initiator's prediction, and how home's comes back to it. */
static void add_prediction(struct invitation *invitation, const struct names_caller *caller,
	const struct question *question)
{
	if (question->prediction.value == NULL ||
		port_prediction_read(&question->prediction, &invitation->prediction) < 0 ||
		invitation->prediction.port == 0)
		return;
	invitation->kind = INVITATION_PREDICTION;
	invitation->asker.connection = connection_number(caller);
	memcpy(invitation->asker.transaction, question->message.transaction + 4,
		sizeof(invitation->asker.transaction));
}

/*
 * CONNECT: home is to be told where the initiator was seen, over the connection that holds it in
 * the initiator's family: an address of the other one would be of no use to it.
 */
static void invite(struct names *names, uint32_t entry, const struct names_caller *caller,
	const struct question *question, struct names_effect *effect)
{
	struct registry_entry *known = &names->registry.entries[entry];
	struct registry_place *place = &known->places[caller->source->family == ADDR_IPV6];
	struct invitation invitation = {.initiator = *caller->source};

	if (!caller->server->stream)
		return;
	effect->asked = entry;
	add_prediction(&invitation, caller, question);
	if (can_be_told(place))
		write_invitation(known, place, &invitation, effect);
}

/*
 * RELAY: home is to come to this initiator's connection, as it was told over either family. Returns
 * 0, or the error to answer.
 */
static unsigned invite_to_relay(struct names *names, uint32_t entry,
	const struct names_caller *caller, struct names_effect *effect)
{
	struct registry_entry *known = &names->registry.entries[entry];
	struct registry_place *place = &known->places[caller->source->family == ADDR_IPV6];
	struct invitation invitation = {.initiator = *caller->source, .kind = INVITATION_RELAY};
	unsigned code;

	if (!caller->server->stream)
		return 400;
	if (names->relay == NULL)
		return RELAY_MESSAGE_OFF;
	if (!can_be_told(place))
		place = &known->places[caller->source->family != ADDR_IPV6];
	if (!can_be_told(place))
		return RELAY_MESSAGE_NOT_HOME;
	code = relay_reserve(names->relay, known->key.name, &invitation.ticket);
	if (code != 0)
		return code;
	effect->relay = invitation.ticket.number;
	write_invitation(known, place, &invitation, effect);
	secret_wipe(&invitation.ticket, sizeof(invitation.ticket));
	return 0;
}

static void put_places(struct answer *answer, const struct registry_entry *known, uint64_t now)
{
	for (size_t i = 0; i < REGISTRY_PLACES; i++)
		if (registry_is_known(&known->places[i], now))
			put_place(answer, known, &known->places[i], now);
}

/* The request is proven. Returns 0, or the error to answer all the same. */
static unsigned write_answer(struct names *names, uint32_t entry, struct answer *answer,
	const struct names_caller *caller, const struct question *question,
	const struct nonce_subject *subject, uint64_t now, struct names_effect *effect)
{
	const struct registry_entry *known = &names->registry.entries[entry];
	unsigned code;

	switch (question->message.method) {
	case STUN_METHOD_REGISTER:
		if (!register_name(names, entry, caller, question, now, effect))
			return 400;
		put_place(answer, known, &known->places[caller->source->family == ADDR_IPV6], now);
		if (effect->has_mode)
			binding_put_connection(&answer->writer, effect->mode, effect->seconds);
		break;
	case STUN_METHOD_CONNECT:
		invite(names, entry, caller, question, effect);
		put_places(answer, known, now);
		put_other_address(answer, caller);
		put_offer(answer, names, subject, caller, now);
		break;
	case STUN_METHOD_RELAY:
		code = invite_to_relay(names, entry, caller, effect);
		if (code != 0)
			return code;
		break;
	default:
		put_places(answer, known, now);
	}
	stun_auth_put(&answer->writer, known->key.secret, KEY_SECRET_SIZE);
	return 0;
}

static void forget_effect(struct names_effect *effect)
{
	effect->entry = REGISTRY_NONE;
	effect->asked = REGISTRY_NONE;
	effect->has_mode = false;
	effect->invitation_size = 0;
	effect->relay = 0;
}

enum names_verdict names_answer(struct names *names, const struct names_caller *caller,
	const void *data, size_t data_size, uint64_t now, void *out, size_t capacity, size_t *size,
	struct names_effect *effect)
{
	struct nonce_subject subject = {.source = caller->source};
	const uint8_t *secret = names->stranger;
	uint32_t entry = REGISTRY_NONE;
	struct question question;
	struct answer answer;
	unsigned code;
	bool fresh;

	*size = 0;
	forget_effect(effect);
	if (names->keys_path == NULL || !read_question(data, data_size, &question))
		return NAMES_OTHER;
	if (question.message.class != STUN_REQUEST || question.message.classic)
		return NAMES_SILENT;
	subject.name = question.name;
	if (question.message.method == STUN_METHOD_RELAY && caller->server->stream)
		subject.connection = connection_number(caller);
	entry = registry_find(&names->registry, question.name);
	if (entry != REGISTRY_NONE) {
		secret = names->registry.entries[entry].key.secret;
		subject.changes = names->registry.entries[entry].changes;
	}
	code = judge(names, &question, &subject, secret, now, &fresh);
	if (code == 0 && entry == REGISTRY_NONE)
		code = 401;
	if (code == 0 && !use_nonce(names, entry, &question))
		code = 438;
	if (asks_too_much(names, caller, &question, entry, code, fresh, now)) {
		if (!caller->server->stream)
			return NAMES_SILENT;
		code = RELAY_MESSAGE_NAME_FULL;
	}
	begin(&answer, &question, caller, STUN_SUCCESS, out, capacity);
	if (code == 0)
		code = write_answer(
			names, entry, &answer, caller, &question, &subject, now, effect);
	if (code != 0) {
		begin(&answer, &question, caller, STUN_ERROR, out, capacity);
		write_refusal(&answer, names, &question, &subject, code, now);
	}
	*size = finish(&answer);
	return *size > 0 ? NAMES_ANSWERED : NAMES_SILENT;
}

uint32_t names_hear_prediction(
	struct names *names, const void *data, size_t size, uint64_t *connection)
{
	struct question question = {.name = ""};
	struct invitation_asker asker;
	struct stun_attribute attribute;
	uint32_t entry;

	*connection = 0;
	if (names->keys_path == NULL || stun_parse(&question.message, data, size) < 0 ||
		question.message.class != STUN_INDICATION ||
		!stun_find(&question.message, STUN_USERNAME, &question.username) ||
		!key_is_name((const char *)question.username.value, question.username.size))
		return REGISTRY_NONE;
	memcpy(question.name, question.username.value, question.username.size);
	entry = registry_find(&names->registry, question.name);
	if (entry == REGISTRY_NONE ||
		stun_auth_check(&question.message, names->registry.entries[entry].key.secret,
			KEY_SECRET_SIZE) != STUN_AUTH_VALID ||
		!stun_find(&question.message, STUN_NATPUNCH_INITIATOR, &attribute) ||
		invitation_read_asker(&attribute, &asker) < 0)
		return REGISTRY_NONE;
	*connection = asker.connection;
	return entry;
}
