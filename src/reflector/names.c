/*
 * Carries out and answers the requests that name_auth.c has found proven. An answer is begun as a
 * success; if the request fails, it is begun again as an error in the same bytes.
 */
#include "reflector/names.h"

#include <string.h>

#include "natpunch/base/rate_limit.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/base/secret.h"
#include "natpunch/proto/stun_auth.h"

/* Old keys are counted, to remind the operator of a change of keys that is not finished. */
static void log_names(const struct registry *registry, const char *before)
{
	uint32_t old = registry_count_old(registry);
	const char *plural = registry->count == 1 ? "" : "s";

	if (old == 0)
		log_note("%s%u name%s", before, registry->count, plural);
	else
		log_note("%s%u name%s, %u of them with an old key", before, registry->count, plural,
			old);
}

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
	name_auth_open(&names->auth);
	names->keys_path = keys_path;
	log_names(&names->registry, "");
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
	log_names(&names->registry, "keys read again: ");
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

/* An answer that is being written. */
struct answer {
	struct wire_writer writer;
	const struct stun_message *to;
	const uint8_t *secret; /* a success: of the key that the request is proven by */
	bool stream;
};

static void begin(struct answer *answer, const struct name_request *request,
	const struct names_caller *caller, enum stun_class class, void *out, size_t capacity)
{
	answer->to = &request->message;
	answer->stream = caller->server->stream;
	stun_begin(&answer->writer, out, capacity, class, request->message.method,
		request->message.transaction);
}

/* Returns its size, or 0 when nothing may be sent. */
static size_t finish(struct answer *answer)
{
	size_t size;

	stun_put_fingerprint(&answer->writer);
	size = stun_finish(&answer->writer);
	return answer->stream || size <= answer->to->size ? size : 0;
}

/* Is there room for another record? Over UDP an answer must not be larger than its request. */
static bool has_room(const struct answer *answer)
{
	return answer->stream ||
	       answer->writer.offset + NAME_MESSAGE_RECORD_SIZE + NAME_MESSAGE_PROOF_SIZE <=
		       answer->to->size;
}

static struct name_message_record make_record(const struct registry_place *place, uint64_t now)
{
	return (struct name_message_record){
		.addr = place->addr,
		.protocol = (enum mapping_protocol)place->protocol,
		.local_port = place->local_port,
		.seconds = place->seconds,
		.age = registry_age(place, now),
		.held = registry_is_held(place, now),
	};
}

/* As name_message_put_record() and name_message_put_rival() write one. */
typedef void put_record(struct wire_writer *writer, const struct name_message_record *record,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[NAME_MESSAGE_SALT_SIZE]);

static void put_sealed(
	struct answer *answer, const struct registry_place *place, uint64_t now, put_record *put)
{
	const struct name_message_record record = make_record(place, now);
	uint8_t salt[NAME_MESSAGE_SALT_SIZE];

	random_fill(salt, sizeof(salt));
	put(&answer->writer, &record, answer->secret, salt);
}

static void put_place(struct answer *answer, const struct registry_place *place, uint64_t now)
{
	put_sealed(answer, place, now, name_message_put_record);
}

/* How the connection goes on: as the request asks, or as before. */
static void settle_mode(const struct names_caller *caller, const struct name_request *request,
	struct names_effect *effect)
{
	uint16_t seconds;
	enum binding_mode wanted;

	if (request->connection.value == NULL || !caller->server->stream)
		return;
	wanted = binding_read_connection(&request->connection, &seconds);
	effect->has_mode = true;
	effect->mode = binding_grant(caller->server, wanted, &seconds);
	effect->seconds = seconds;
}

/* 0: there is none, or another size. */
static uint16_t read_proved_port(const struct stun_attribute *attribute)
{
	struct wire_reader reader;
	uint16_t port = 0;

	if (attribute->value == NULL || attribute->size != 4)
		return 0;
	wire_reader_start(&reader, attribute->value, attribute->size);
	return wire_read_u16(&reader, &port) ? port : 0;
}

/* Where the sender says it can be reached; false when the request makes no sense. */
static bool read_place(const struct names_caller *caller, const struct name_request *request,
	uint64_t now, struct registry_place *place)
{
	enum mapping_protocol transport = caller->server->stream ? MAPPING_TCP : MAPPING_UDP;
	struct name_message_registration registration;

	if (request->registration.value == NULL ||
		name_message_read_registration(&request->registration, &registration) < 0)
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
	else if (caller->via != NULL)
		place->via = *caller->via;
	memcpy(place->session, request->message.transaction + 4, sizeof(place->session));
	place->random_ports = request->random_ports;
	place->proved_port = read_proved_port(&request->proved_port);
	if (request->home.value != NULL && request->home.size == sizeof(place->home))
		memcpy(place->home, request->home.value, sizeof(place->home));
	return true;
}

/* Returns false when the request makes no sense. */
static bool register_name(struct names *names, const struct name_grant *grant,
	const struct names_caller *caller, const struct name_request *request, uint64_t now,
	struct answer *answer, struct names_effect *effect)
{
	uint32_t entry = grant->entry;
	struct registry_place place, before;
	enum binding_mode mode;

	if (!read_place(caller, request, now, &place))
		return false;
	place.by_old = grant->old;
	place.host_count =
		(uint8_t)name_message_read_hosts(&request->message, answer->secret, place.hosts);
	settle_mode(caller, request, effect);
	mode = effect->has_mode ? effect->mode : caller->mode;
	if (caller->server->stream && mode == BINDING_MODE_HOLD) {
		place.slot = caller->slot;
		place.generation = caller->generation;
	}
	before = *registry_place_of(&names->registry, entry, (enum addr_family)place.addr.family,
		(enum mapping_protocol)place.protocol);
	registry_put(&names->registry, entry, &place);
	effect->entry = entry;
	put_place(answer, &place, now);
	if (effect->has_mode)
		binding_put_connection(&answer->writer, effect->mode, effect->seconds);
	if (registry_is_rival(&before, &place, now) && has_room(answer))
		put_sealed(answer, &before, now, name_message_put_rival);
	return true;
}

/* CONNECT: home's own addresses, for an initiator who is seen where home is (name_messages.h). */
static void put_hosts(struct answer *answer, const struct registry_place *place,
	const struct names_caller *caller, uint64_t now)
{
	uint8_t salt[NAME_MESSAGE_SALT_SIZE];

	if (!answer->stream || !registry_is_known(place, now) ||
		!rate_limit_same_source(&place->addr, caller->source))
		return;
	for (size_t i = 0; i < place->host_count; i++) {
		random_fill(salt, sizeof(salt));
		name_message_put_host(&answer->writer, &place->hosts[i],
			(enum mapping_protocol)place->protocol, answer->secret, salt);
	}
}

/* A number for the connection, so that a RELAY must come over the same one; never 0. */
static uint64_t connection_number(const struct names_caller *caller)
{
	return ((uint64_t)caller->slot + 1) << 32 | caller->generation;
}

/* CONNECT: with this nonce the initiator can ask for RELAY, here and nowhere else. */
static void put_offer(struct answer *answer, const struct names *names,
	const struct nonce_subject *asked, const struct names_caller *caller, uint64_t now)
{
	struct nonce_subject subject = *asked;

	if (names->relay == NULL || !caller->server->stream)
		return;
	subject.connection = connection_number(caller);
	name_auth_put_nonce(&names->auth, &answer->writer, STUN_NATPUNCH_OFFER, &subject, now);
}

/* CONNECT: our other address, so that the initiator can find out what its NAT does. */
static void put_other_address(struct answer *answer, const struct names_caller *caller)
{
	const struct binding_places *alternates = caller->server->places;

	if (alternates != NULL && caller->server->stream)
		stun_put_address(&answer->writer, STUN_OTHER_ADDRESS,
			&alternates->at[BINDING_OTHER_IP | BINDING_OTHER_PORT]);
}

/*
 * Can home be told: by a connection that holds the place, or by a datagram from the address that
 * home sent its own to, which its NAT lets in? A place that was never written is all zero.
 */
static bool can_be_told(const struct registry_place *place)
{
	return place->addr.family != ADDR_NONE &&
	       (place->slot != REGISTRY_NONE || place->via.family != ADDR_NONE);
}

/* CONNECT: what a home that can be told has said of its NAT in the initiator's family. */
static void put_random_ports(
	struct answer *answer, struct registry *registry, uint32_t entry, const struct addr *source)
{
	const struct registry_place *place =
		registry_place_of(registry, entry, (enum addr_family)source->family, MAPPING_TCP);

	if (answer->stream && can_be_told(place) && place->random_ports)
		stun_put_zeros(&answer->writer, STUN_NATPUNCH_RANDOM_PORTS, 0);
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
	effect->home = place->addr;
	effect->home_via = place->via;
	effect->invitation_size =
		invitation_write(invitation, registry_secret(known, place->by_old), random, salt,
			effect->invitation, sizeof(effect->invitation));
}

/* The initiator's prediction, and how home's comes back to it. */
static void add_prediction(struct invitation *invitation, const struct names_caller *caller,
	const struct name_request *request)
{
	if (request->prediction.value == NULL ||
		port_prediction_read(&request->prediction, &invitation->prediction) < 0 ||
		invitation->prediction.port == 0)
		return;
	invitation->kind = INVITATION_PREDICTION;
	invitation->asker.connection = connection_number(caller);
	memcpy(invitation->asker.transaction, request->message.transaction + 4,
		sizeof(invitation->asker.transaction));
}

/*
 * CONNECT: tells home where the initiator was seen, over the place of the same protocol and the
 * initiator's family; home cannot use an address of the other family.
 */
static void invite(struct names *names, uint32_t entry, const struct names_caller *caller,
	const struct name_request *request, struct names_effect *effect)
{
	enum mapping_protocol protocol = caller->server->stream ? MAPPING_TCP : MAPPING_UDP;
	struct registry_place *place = registry_place_of(
		&names->registry, entry, (enum addr_family)caller->source->family, protocol);
	struct invitation invitation = {.initiator = *caller->source, .protocol = protocol};

	if (caller->server->stream) {
		effect->asked = entry;
		add_prediction(&invitation, caller, request);
	}
	if (can_be_told(place))
		write_invitation(&names->registry.entries[entry], place, &invitation, effect);
}

/*
 * RELAY: tells home, over the TCP place of either family, to come to this initiator's connection.
 * Returns 0, or the error to answer.
 */
static unsigned invite_to_relay(struct names *names, uint32_t entry,
	const struct names_caller *caller, uint64_t now, struct names_effect *effect)
{
	struct registry_entry *known = &names->registry.entries[entry];
	enum addr_family family = (enum addr_family)caller->source->family;
	struct registry_place *place =
		registry_place_of(&names->registry, entry, family, MAPPING_TCP);
	struct invitation invitation = {.initiator = *caller->source, .kind = INVITATION_RELAY};
	unsigned code;

	if (!caller->server->stream)
		return 400;
	if (names->relay == NULL)
		return RELAY_MESSAGE_OFF;
	if (!can_be_told(place))
		place = registry_place_of(&names->registry, entry,
			family == ADDR_IPV6 ? ADDR_IPV4 : ADDR_IPV6, MAPPING_TCP);
	if (!can_be_told(place))
		return RELAY_MESSAGE_NOT_HOME;
	code = relay_reserve(names->relay, known->key.name, &invitation.ticket, now);
	if (code != 0)
		return code;
	effect->relay = invitation.ticket.number;
	write_invitation(known, place, &invitation, effect);
	secret_wipe(&invitation.ticket, sizeof(invitation.ticket));
	return 0;
}

/* CONNECT: the addresses to punch to. */
static void put_places(struct answer *answer, const struct registry_entry *known, uint64_t now)
{
	for (size_t i = 0; i < REGISTRY_PLACES; i++)
		if (registry_is_known(&known->places[i], now) && has_room(answer))
			put_place(answer, &known->places[i], now);
}

/* LOOKUP: the addresses that anybody can connect to. */
static void put_open_places(struct answer *answer, const struct registry_entry *known, uint64_t now)
{
	for (size_t i = 0; i < REGISTRY_PLACES; i++) {
		struct registry_place place = known->places[i];

		if (place.proved_port != 0)
			place.addr.port = place.proved_port;
		if (registry_is_known(&known->places[i], now) && has_room(answer))
			put_place(answer, &place, now);
	}
}

/* The request is proven. Returns 0, or the error to answer all the same. */
static unsigned write_answer(struct names *names, const struct name_grant *grant,
	struct answer *answer, const struct names_caller *caller,
	const struct name_request *request, uint64_t now, struct names_effect *effect)
{
	const struct registry_entry *known = &names->registry.entries[grant->entry];
	uint32_t entry = grant->entry;
	unsigned code;

	answer->secret = registry_secret(known, grant->old);
	switch (request->message.method) {
	case STUN_METHOD_REGISTER:
		if (!register_name(names, grant, caller, request, now, answer, effect))
			return 400;
		break;
	case STUN_METHOD_CONNECT:
		invite(names, entry, caller, request, effect);
		put_places(answer, known, now);
		put_hosts(answer,
			registry_place_of(&names->registry, entry,
				(enum addr_family)caller->source->family, MAPPING_TCP),
			caller, now);
		put_other_address(answer, caller);
		put_random_ports(answer, &names->registry, entry, caller->source);
		put_offer(answer, names, &grant->subject, caller, now);
		break;
	case STUN_METHOD_RELAY:
		code = invite_to_relay(names, entry, caller, now, effect);
		if (code != 0)
			return code;
		break;
	default:
		put_open_places(answer, known, now);
	}
	stun_auth_put(&answer->writer, answer->secret, KEY_SECRET_SIZE);
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
	const struct name_sender sender = {
		.source = caller->source,
		.stream = caller->server->stream,
		.connection = connection_number(caller),
	};
	struct name_request request;
	struct name_grant grant;
	struct answer answer;
	unsigned code;

	*size = 0;
	forget_effect(effect);
	if (names->keys_path == NULL || !name_auth_read(&request, data, data_size))
		return NAMES_OTHER;
	if (request.message.class != STUN_REQUEST || request.message.classic)
		return NAMES_SILENT;
	if (!name_auth_check(&names->auth, &names->registry, &request, &sender, now, &grant))
		return NAMES_SILENT;
	code = grant.code;
	begin(&answer, &request, caller, STUN_SUCCESS, out, capacity);
	if (code == 0)
		code = write_answer(names, &grant, &answer, caller, &request, now, effect);
	if (code != 0) {
		begin(&answer, &request, caller, STUN_ERROR, out, capacity);
		name_auth_put_refusal(
			&names->auth, &answer.writer, &request, &sender, &grant, code, now);
	}
	*size = finish(&answer);
	return *size > 0 ? NAMES_ANSWERED : NAMES_SILENT;
}

uint32_t names_read_prediction(
	struct names *names, const void *data, size_t size, uint64_t *connection)
{
	struct invitation_asker asker;
	struct stun_attribute attribute;
	struct stun_message message;
	uint32_t entry;

	*connection = 0;
	if (names->keys_path == NULL || stun_parse(&message, data, size) < 0)
		return REGISTRY_NONE;
	entry = name_auth_check_indication(&names->auth, &names->registry, &message);
	if (entry == REGISTRY_NONE || !stun_find(&message, STUN_NATPUNCH_INITIATOR, &attribute) ||
		invitation_read_asker(&attribute, &asker) < 0)
		return REGISTRY_NONE;
	*connection = asker.connection;
	return entry;
}
