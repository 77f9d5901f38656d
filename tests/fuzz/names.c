/*
 * Fuzzes what a reflector with a key file and a relay does for names: registrations, look-ups,
 * invitations, predictions, relayed connections, new keys and time, by several clients at once and
 * over UDP. The input is not what they say but what they do, as nobody guesses a key: each step
 * makes a message out of what the client has heard so far, with a key that is right or not.
 *
 * A step's first byte: what is done (3 bits), in which of two ways (1 bit), by whom (4 bits).
 *
 * What must hold: a success is proven, and tells addresses of those who registered alone; over UDP
 * no answer is larger than its request, and nobody is invited; in the end nothing is left in any
 * table.
 */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "steps.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/proto/invitation.h"
#include "natpunch/proto/stun_auth.h"
#include "reflector/relay.h"
#include "reflector/tcp.h"

#define CLIENTS   6
#define NAMES     2
#define STEPS     200
#define START_MS  100000U
#define HEARD_MAX 8192

enum tag {
	TAG_TCP = 3,
	TAG_DIAL,
	TAG_RELAY,
};

/* A message's first byte, behind the method, and its second. */
enum {
	OF_SECOND_NAME = 0x08,
	WITH_PREDICTION = 0x10,
	WITH_ANYTHING = 0x20,
	WITH_PROOF = 0x40,
	OF_WRONG_KEY = 0x80,
};
enum {
	WITH_NONCE = 0x01,
	OF_UDP = 0x02,
	WITH_PORT = 0x04,
	WITH_MODE = 0x08,
	WITH_HOME = 0x10,
	IS_BENT = 0x20,
	WITH_HOSTS = 0x20, /* in a REGISTER */
	OF_ANY_CLASS = 0xc0,
};

struct client {
	int fd; /* or -1 */
	uint8_t heard[HEARD_MAX];
	size_t size;
	struct addr peer; /* where it is */
	bool relayed;     /* what comes is another client's */
	uint8_t nonce[NAME_MESSAGE_NONCE_MAX], offer[NAME_MESSAGE_NONCE_MAX];
	size_t nonce_size, offer_size;
};

static struct loop loop;
static struct tcp_server tcp;
static struct names names;
static struct dialler dialler;
static struct alternate alternates[2]; /* none */
static struct relay relay;
static struct counters counters;
static struct rate_limit_table sources;
static struct rate_limit_source memory[RATE_LIMIT_SET << 2];

static struct key keys[NAMES] = {{.name = "attic"}, {.name = "home"}};
static unsigned
	variant; /* of the key file: bit 0: the first key is another one; 1: no second one */
static char path[64];

static struct client clients[CLIENTS];
static struct relay_ticket ticket;    /* the last that somebody heard of, */
static struct invitation_asker asker; /* and this */
static uint64_t now;
static uint8_t messages; /* made so far */

static uint16_t take_two(void)
{
	uint8_t high = take();

	return (uint16_t)(high << 8 | take());
}

/* ---- the reflector ------------------------------------------------------------------------ */

static void deliver(void *context, struct loop_tag to, const void *data, size_t size, uint64_t when)
{
	tcp_deliver(context, to, data, size, when);
}

static void write_keys(unsigned wanted)
{
	char text[NAMES * (KEY_LINE_SIZE + 1)];
	char line[KEY_LINE_SIZE];
	struct error error;
	size_t used = 0;

	variant = wanted;
	for (size_t i = 0; i < NAMES; i++) {
		struct key key = keys[i];

		if (i == 1 && (variant & 2) != 0)
			continue;
		key.secret[0] ^= (uint8_t)(i == 0 && (variant & 1) != 0);
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s\n", key_format(&key, line));
	}
	fuzz_check(file_replace_alone(path, text, used, 0600, &error) == 0);
}

static void remove_keys(void)
{
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static void open_names(void)
{
	static const struct relay_limits limits = {.all = 3, .name = 2, .join_ms = 5000};
	char directory[] = "/dev/shm/natpunch-fuzz-XXXXXX";
	struct error error;

	for (size_t i = 0; i < NAMES; i++)
		memset(keys[i].secret, 'A' + (int)i, sizeof(keys[i].secret));
	fuzz_check(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/keys", directory);
	atexit(remove_keys);
	write_keys(0);
	fuzz_check(names_open(&names, path, NULL, START_MS, &error) == 0);
	fuzz_check(relay_open(&relay, &loop, TAG_RELAY, &limits) == 0);
	names.relay = &relay;
	names.auth.counters = relay.counters = &counters;
	names.auth.sources = &sources;
	names.auth.each = (struct rate_limit_quota){.per_second = 20, .burst = 30};
}

static void start(void)
{
	const struct dialler_config off = {.off = true, .alternates = alternates};
	const struct reflector_times times = REFLECTOR_TIMES_DEFAULT;

	log_set_level(LOG_LEVEL_QUIET);
	fuzz_check(loop_open(&loop) == 0);
	open_names();
	fuzz_check(tcp_open(&tcp, &loop, TAG_TCP, 4, &times, &names) == 0);
	dialler_open(&dialler, &off, &loop, TAG_DIAL, deliver, &tcp);
	tcp.dialler = &dialler;
	tcp.counters = &counters;
	tcp.sources = &sources;
}

/* What one input has done is not the next one's. */
static void forget(void)
{
	static const uint8_t seed[SIPHASH_KEY_SIZE] = {1};

	if (variant != 0) {
		write_keys(0);
		names_reload(&names);
	}
	for (uint32_t i = 0; i < names.registry.fresh; i++) {
		struct registry_entry *entry = &names.registry.entries[i];

		memset(entry->spent_us, 0, sizeof(entry->spent_us));
		memset(entry->places, 0, sizeof(entry->places));
		for (size_t place = 0; place < REGISTRY_PLACES; place++)
			entry->places[place].slot = REGISTRY_NONE;
	}
	memset(memory, 0, sizeof(memory));
	rate_limit_table_init(&sources, memory, 2,
		(struct rate_limit_quota){.per_second = 20, .burst = 40}, seed);
	memset(&ticket, 0, sizeof(ticket));
	memset(&asker, 0, sizeof(asker));
	messages = 0;
	now = START_MS;
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
}

static void turn(void)
{
	struct loop_event events[LOOP_BATCH];

	/* What a first turn sends to a relay is there in the second. */
	for (int round = 0; round < 2; round++) {
		int count = loop_wait(&loop, events, 0);

		for (int i = 0; i < count; i++)
			if (events[i].tag.kind == TAG_TCP)
				tcp_event(&tcp, events[i].tag, now);
			else if (events[i].tag.kind == TAG_RELAY)
				relay_event(&relay, events[i].tag, events[i].events, now);
	}
	tcp_expire(&tcp, now);
	relay_expire(&relay, now);
}

/* ---- what the clients hear ---------------------------------------------------------------- */

/* The key that the message is proven with, or NULL. */
static const struct key *find_key(const struct stun_message *message)
{
	static struct key key;

	for (size_t i = 0; i < 2 * NAMES; i++) {
		key = keys[i / 2];
		key.secret[0] ^= (uint8_t)(i % 2);
		if (stun_auth_check(message, key.secret, sizeof(key.secret)) == STUN_AUTH_VALID)
			return &key;
	}
	return NULL;
}

/* Is it an address that one of the clients has? */
static bool is_client(const struct addr *addr)
{
	static const uint8_t four[3] = {192, 0, 2}, six[4] = {0x20, 0x01, 0x0d, 0xb8};

	return addr->family == ADDR_IPV4 ? memcmp(addr->ip, four, sizeof(four)) == 0
					 : memcmp(addr->ip, six, sizeof(six)) == 0;
}

/* An own address, which says where its home is seen. */
static struct addr make_host(const struct addr *peer, uint8_t number)
{
	struct addr host = {.family = ADDR_IPV4, .port = 22, .ip = {10, peer->family, 0, number}};

	host.ip[2] = peer->family == ADDR_IPV4 ? peer->ip[3] : peer->ip[5];
	return host;
}

/* They are told over TCP, after CONNECT, to who is seen there. */
static void check_hosts(
	const struct client *client, const struct stun_message *message, const struct key *key)
{
	struct addr hosts[NAME_MESSAGE_HOST_MAX];
	size_t count = name_message_read_hosts(message, key->secret, hosts);

	fuzz_check(count == 0 || message->method == STUN_METHOD_CONNECT);
	for (size_t i = 0; i < count; i++) {
		struct addr expected = make_host(&client->peer, hosts[i].ip[3]);

		fuzz_check(addr_equal(&hosts[i], &expected));
	}
}

static void check_records(const struct stun_message *message, const struct key *key)
{
	struct stun_attribute attribute;
	size_t offset = 0;
	int before = -1;

	while (stun_next(message, &offset, &attribute)) {
		struct name_message_record record;
		int at;

		if (attribute.type != STUN_NATPUNCH_RECORD && attribute.type != STUN_NATPUNCH_RIVAL)
			continue;
		fuzz_check(
			name_message_read_record(message, &attribute, key->secret, &record) == 0);
		fuzz_check(is_client(&record.addr));
		at = (record.protocol == MAPPING_UDP) * 2 + (record.addr.family == ADDR_IPV6);
		fuzz_check(attribute.type == STUN_NATPUNCH_RIVAL || at > before);
		before = at;
	}
}

static void take_invitation(
	const struct stun_message *message, const uint8_t *data, const struct key *key)
{
	struct invitation invitation = {.number = 0};
	struct stun_attribute attribute;

	fuzz_check(stun_find(message, STUN_NATPUNCH_INVITATION, &attribute));
	memcpy(invitation.session, attribute.value, sizeof(invitation.session));
	fuzz_check(invitation_read(&invitation, key->secret, data, message->size) == 0);
	fuzz_check(is_client(&invitation.initiator));
	if (invitation.kind == INVITATION_RELAY)
		ticket = invitation.ticket;
	if (invitation.kind == INVITATION_PREDICTION)
		asker = invitation.asker;
}

static void take_text(const struct stun_message *message, uint16_t type, uint8_t *out, size_t *size)
{
	struct stun_attribute attribute;

	if (!stun_find(message, type, &attribute) || attribute.size > NAME_MESSAGE_NONCE_MAX)
		return;
	memcpy(out, attribute.value, attribute.size);
	*size = attribute.size;
}

static void take_message(struct client *client, const uint8_t *data, size_t size)
{
	struct stun_message message;
	const struct key *key;

	fuzz_check(stun_parse(&message, data, size) == 0);
	key = find_key(&message);
	take_text(&message, STUN_NONCE, client->nonce, &client->nonce_size);
	take_text(&message, STUN_NATPUNCH_OFFER, client->offer, &client->offer_size);
	if (message.method == STUN_METHOD_INVITE) {
		fuzz_check(message.class == STUN_INDICATION && key != NULL);
		take_invitation(&message, data, key);
	}
	if (message.class != STUN_SUCCESS)
		return;
	client->relayed = message.method == STUN_METHOD_RELAY || message.method == STUN_METHOD_JOIN;
	if (message.method == STUN_METHOD_BINDING || message.method == STUN_METHOD_DIAL ||
		message.method == STUN_METHOD_JOIN)
		return;
	fuzz_check(key != NULL);
	check_records(&message, key);
	check_hosts(client, &message, key);
}

static void listen_to(struct client *client)
{
	size_t need;
	ssize_t got;

	if (client->fd < 0)
		return;
	while ((got = recv(client->fd, client->heard + client->size, HEARD_MAX - client->size,
			MSG_DONTWAIT)) > 0)
		client->size += (size_t)got;
	while (!client->relayed &&
		stun_frame(client->heard, client->size, &need) == STUN_FRAME_COMPLETE) {
		take_message(client, client->heard, need);
		client->size -= need;
		memmove(client->heard, client->heard + need, client->size);
	}
	if (client->relayed || client->size == HEARD_MAX)
		client->size = 0;
}

/* ---- what they say ------------------------------------------------------------------------ */

static void put_number(uint8_t out[8], uint64_t number)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
}

/* An attribute of what was heard before, or with a byte of it changed. */
static void put_value(
	struct wire_writer *writer, uint16_t type, uint8_t *value, size_t size, bool bent)
{
	if (bent) {
		size_t at = take() % size;

		value[at] ^= take();
	}
	stun_put(writer, type, value, size);
}

static void put_join(struct wire_writer *writer, bool bent)
{
	uint8_t number[8];

	put_number(number, ticket.number);
	put_value(writer, STUN_NATPUNCH_JOIN, number, sizeof(number), bent);
	stun_auth_put(writer, ticket.token, sizeof(ticket.token));
}

static void put_asker(struct wire_writer *writer, bool bent)
{
	uint8_t value[8 + INVITATION_SESSION_SIZE];

	put_number(value, asker.connection);
	memcpy(value + 8, asker.transaction, sizeof(asker.transaction));
	put_value(writer, STUN_NATPUNCH_INITIATOR, value, sizeof(value), bent);
}

static void put_hosts(
	struct wire_writer *writer, const struct client *client, const struct key *key)
{
	size_t count = take() % (NAME_MESSAGE_HOST_MAX + 2);

	for (size_t i = 0; i < count; i++) {
		const uint8_t salt[NAME_MESSAGE_SALT_SIZE] = {(uint8_t)i};
		struct addr host = make_host(&client->peer, take());

		name_message_put_host(writer, &host, MAPPING_TCP, key->secret, salt);
	}
}

static void put_registration(struct wire_writer *writer, uint8_t how)
{
	struct name_message_registration registration = {
		.protocol = (how & OF_UDP) != 0 ? MAPPING_UDP : MAPPING_TCP,
		.local_port = 22,
		.seconds = take(),
	};
	uint8_t home[NAME_MESSAGE_HOME_SIZE] = {0};

	if ((how & WITH_PORT) != 0)
		registration.mapped_port = take();
	name_message_put_registration(writer, &registration);
	if ((how & WITH_HOME) == 0)
		return;
	home[0] = take() % 4;
	stun_put(writer, STUN_NATPUNCH_HOME, home, sizeof(home));
}

static void put_prediction(struct wire_writer *writer)
{
	struct port_prediction prediction = {.port = take_two()};

	prediction.step = (int16_t)(take() % 5);
	port_prediction_put(writer, &prediction);
}

static void put_anything(struct wire_writer *writer)
{
	uint16_t type = take_two();
	uint8_t value[63];
	size_t size = take() % sizeof(value);

	for (size_t i = 0; i < size; i++)
		value[i] = take();
	stun_put(writer, type, value, size);
}

static void put_mode(struct wire_writer *writer)
{
	enum binding_mode mode = (enum binding_mode)(take() % 6);

	binding_put_connection(writer, mode, take());
}

static void put_dial(struct wire_writer *writer)
{
	const uint8_t value[4] = {take() % 4, 0, 0, 22};

	stun_put(writer, STUN_NATPUNCH_DIAL, value, sizeof(value));
}

/* The attributes of a question about a name. */
static void put_question(struct wire_writer *writer, const struct client *client, uint16_t method,
	uint8_t what, uint8_t how)
{
	struct key key = keys[(what & OF_SECOND_NAME) != 0];
	bool relayed = method == STUN_METHOD_RELAY;

	key.secret[1] ^= (uint8_t)((what & OF_WRONG_KEY) != 0);
	key.secret[0] ^= (uint8_t)((variant & 1) != 0 && (what & OF_SECOND_NAME) == 0);
	stun_put(writer, STUN_USERNAME, key.name, strlen(key.name));
	if ((how & WITH_NONCE) != 0)
		stun_put(writer, STUN_NONCE, relayed ? client->offer : client->nonce,
			relayed ? client->offer_size : client->nonce_size);
	if (method == STUN_METHOD_REGISTER)
		put_registration(writer, how);
	if (method == STUN_METHOD_REGISTER && (how & WITH_HOSTS) != 0)
		put_hosts(writer, client, &key);
	if (method == STUN_METHOD_PREDICTION)
		put_asker(writer, (how & IS_BENT) != 0);
	if ((how & WITH_MODE) != 0)
		put_mode(writer);
	if ((what & WITH_PREDICTION) != 0)
		put_prediction(writer);
	if ((what & WITH_ANYTHING) != 0)
		put_anything(writer);
	if ((what & WITH_PROOF) != 0)
		stun_auth_put(writer, key.secret, sizeof(key.secret));
}

static size_t make_message(const struct client *client, uint8_t *out)
{
	static const uint16_t methods[] = {STUN_METHOD_REGISTER, STUN_METHOD_LOOKUP,
		STUN_METHOD_CONNECT, STUN_METHOD_RELAY, STUN_METHOD_JOIN, STUN_METHOD_PREDICTION,
		STUN_METHOD_DIAL, STUN_METHOD_BINDING};
	uint8_t what = take();
	uint8_t how = take();
	uint16_t method = methods[what % 8];
	enum stun_class class = method == STUN_METHOD_PREDICTION ? STUN_INDICATION : STUN_REQUEST;
	const uint8_t random[12] = {++messages};
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct wire_writer writer;

	if ((how & OF_ANY_CLASS) == OF_ANY_CLASS)
		class = (enum stun_class)(take() % 4);
	stun_make_transaction(transaction, random);
	stun_begin(&writer, out, STUN_MESSAGE_MAX, class, method, transaction);
	if (method == STUN_METHOD_JOIN)
		put_join(&writer, (how & IS_BENT) != 0);
	else if (method == STUN_METHOD_DIAL)
		put_dial(&writer);
	else if (method == STUN_METHOD_BINDING)
		put_mode(&writer);
	else
		put_question(&writer, client, method, what, how);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

/* ---- what they do ------------------------------------------------------------------------- */

/* One of a few addresses and networks. */
static struct addr choose_address(uint8_t from)
{
	struct addr addr = {.family = ADDR_IPV4, .ip = {192, 0, 2, (uint8_t)(1 + from % 4)}};

	if ((from & 0x40) != 0)
		addr = (struct addr){.family = ADDR_IPV6,
			.ip = {0x20, 0x01, 0x0d, 0xb8, 0, from & 3, 0, from >> 2 & 3}};
	addr.port = (uint16_t)(1000 + from);
	return addr;
}

static void say(const struct client *client, const void *data, size_t size)
{
	if (send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* the reflector has closed it, or does not read */
}

/* Also with a message that has come before the reflector knows of the connection. */
static void do_connect(struct client *client)
{
	uint8_t message[STUN_MESSAGE_MAX];
	uint8_t from = take();
	struct addr peer = choose_address(from);
	int pair[2];

	if (client->fd >= 0)
		return;
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	memset(client, 0, sizeof(*client));
	client->fd = pair[1];
	client->peer = peer;
	if ((from & 0x80) != 0)
		say(client, message, make_message(client, message));
	tcp_adopt(&tcp, pair[0], &peer, now);
}

static void do_say(const struct client *client, bool in_two)
{
	uint8_t message[STUN_MESSAGE_MAX];
	size_t size, first;

	if (client->fd < 0)
		return;
	size = make_message(client, message);
	first = in_two ? take() : size;
	first = first < size ? first : size;
	say(client, message, first);
	if (first == size)
		return;
	turn();
	say(client, message + first, size - first);
}

static void do_end(struct client *client, bool half)
{
	if (client->fd < 0)
		return;
	if (half) {
		shutdown(client->fd, SHUT_WR);
		return;
	}
	close(client->fd);
	client->fd = -1;
}

/* From where the client is now. */
static void send_datagram(struct client *client)
{
	struct binding_server server = tcp.server;
	const struct names_caller caller = {.source = &client->peer, .server = &server};
	uint8_t message[STUN_MESSAGE_MAX], answer[STUN_MESSAGE_MAX];
	size_t size = make_message(client, message), answered;
	struct names_effect effect;

	server.stream = false;
	if (names_answer(&names, &caller, message, size, now, answer, sizeof(answer), &answered,
		    &effect) == NAMES_OTHER)
		return;
	fuzz_check(answered <= size);
	fuzz_check(effect.invitation_size == 0 && effect.relay == 0 && !effect.has_mode);
	if (answered > 0 && !client->relayed)
		take_message(client, answer, answered);
}

static void do_datagram(struct client *client)
{
	struct addr before = client->peer;

	client->peer = choose_address(take());
	send_datagram(client);
	client->peer = before;
}

static void do_garbage(const struct client *client)
{
	uint8_t bytes[31];
	size_t size = take() % sizeof(bytes);

	for (size_t i = 0; i < size; i++)
		bytes[i] = take();
	if (client->fd >= 0)
		say(client, bytes, size);
}

static void do_reload(void)
{
	write_keys(take() % 4);
	names_reload(&names);
}

static void step(void)
{
	uint8_t what = take();
	bool other = (what & 8) != 0;
	struct client *client = &clients[(what >> 4) % CLIENTS];

	switch (what % 8) {
	case 0:
		do_connect(client);
		break;
	case 1:
		do_end(client, other);
		break;
	case 2:
		now += (uint64_t)take() * (other ? 1000 : 20);
		break;
	case 3:
		do_datagram(client);
		break;
	case 4:
		if (other)
			do_reload();
		else
			do_garbage(client);
		break;
	default:
		do_say(client, other);
	}
	turn();
	for (size_t i = 0; i < CLIENTS; i++)
		listen_to(&clients[i]);
}

/* Every connection and every relay has a deadline, and none leaves a name held. */
static void end_all(void)
{
	for (size_t i = 0; i < CLIENTS; i++)
		do_end(&clients[i], false);
	turn();
	for (int i = 0; i < 6; i++) {
		now += 40000000;
		turn();
	}
	for (uint32_t i = 0; i < tcp.table.fresh; i++)
		fuzz_check(tcp.table.connections[i].fd < 0);
	fuzz_check(tcp.table.held == 0 && tcp.table.used == 0 && relay.used == 0);
	fuzz_check(tcp_next(&tcp) == TIMER_NONE && relay_next(&relay) == TIMER_NONE);
	for (uint32_t i = 0; i < names.registry.fresh * REGISTRY_PLACES; i++)
		fuzz_check(names.registry.entries[i / REGISTRY_PLACES]
					   .places[i % REGISTRY_PLACES]
					   .slot == REGISTRY_NONE ||
			   names.registry.entries[i / REGISTRY_PLACES].key.name[0] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* As signals_open() does: the relay splices to whoever has gone. */
	signal(SIGPIPE, SIG_IGN);
	if (tcp.table.capacity == 0)
		start();
	forget();
	input = data;
	left = size;
	for (int i = 0; i < STEPS && left > 0; i++)
		step();
	end_all();
	return 0;
}
