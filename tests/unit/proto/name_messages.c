/*
 * Both ends of the questions about names, joined without a network: what works, and what those try
 * who have no key, another key, or what they saw on the path.
 */
#include "natpunch/proto/name_messages.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "reflector/names.h"
#include "natpunch/proto/stun_auth.h"
#include "tap.h"

#define START_MS 86400000ULL

static char path[] = "/tmp/natpunch-names-XXXXXX";
static struct names names;
static struct key home, work, nobody, wrong;
static struct addr here, elsewhere, here6;
static uint64_t now = START_MS;

/* Over which transport, and from where, what follows is asked. */
static struct binding_server server = {.can_forget = true, .stream = true};
static struct names_caller caller = {.source = &here, .server = &server};
static struct names_effect effect;

struct message {
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;
};

static struct key make_key(const char *name)
{
	struct key key = {.name = ""};

	memcpy(key.name, name, strlen(name) + 1);
	random_fill(key.secret, sizeof(key.secret));
	return key;
}

static struct addr make_addr(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("%s", ip);
	addr.port = port;
	return addr;
}

static void write_keys(const struct key *first, const struct key *second)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
	char line[KEY_LINE_SIZE];

	if (fd < 0)
		bail_out("cannot write %s", path);
	dprintf(fd, "%s\n", key_format(first, line));
	if (second != NULL)
		dprintf(fd, "%s\n", key_format(second, line));
	close(fd);
}

/* What the reflector answers; nothing: size 0. */
static struct message answer(const struct message *request)
{
	struct message out = {.size = 0};

	if (names_answer(&names, &caller, request->bytes, request->size, now, out.bytes,
		    sizeof(out.bytes), &out.size, &effect) == NAMES_OTHER)
		fail("the reflector passes over a question about a name");
	return out;
}

static struct message write_next(struct name_question *client)
{
	struct message out;
	uint8_t random[12];

	random_fill(random, sizeof(random));
	out.size = name_message_write(client, random, out.bytes, sizeof(out.bytes));
	return out;
}

/* The last request and answer of converse(), as somebody on the path has them. */
static struct message sent, received;

static enum name_message_outcome converse(struct name_question *client)
{
	enum name_message_outcome outcome;
	const char *why;

	do {
		sent = write_next(client);
		received = answer(&sent);
		outcome = name_message_read(client, received.bytes, received.size, &why);
	} while (outcome == NAME_MESSAGE_AGAIN);
	return outcome;
}

static enum name_message_outcome client_takes(struct name_question *client)
{
	const char *why;

	return name_message_read(client, received.bytes, received.size, &why);
}

static struct name_question make_registration(const struct key *key)
{
	struct name_question client;

	name_message_start(&client, STUN_METHOD_REGISTER, key);
	client.registration = (struct name_message_registration){
		.protocol = server.stream ? MAPPING_TCP : MAPPING_UDP, .local_port = 22};
	return client;
}

static enum name_message_outcome register_as(const struct key *key)
{
	struct name_question client = make_registration(key);

	return converse(&client);
}

static enum name_message_outcome look_up(const struct key *key, struct name_question *client)
{
	name_message_start(client, STUN_METHOD_LOOKUP, key);
	return converse(client);
}

/* The port that home is known by in IPv4, 0 for none: the reflector's own memory is asked. */
static uint16_t known_port(void)
{
	const struct registry *registry = &names.registry;

	return registry->entries[registry_find(registry, "home")].places[0].addr.port;
}

static unsigned error_code(const struct message *message)
{
	struct stun_attribute error;
	struct stun_message parsed;
	const uint8_t *reason;
	size_t size;
	unsigned code;

	if (message->size == 0 || stun_parse(&parsed, message->bytes, message->size) != 0 ||
		parsed.class != STUN_ERROR || !stun_find(&parsed, STUN_ERROR_CODE, &error) ||
		stun_read_error(&error, &code, &reason, &size) != 0)
		return 0;
	return code;
}

static void test_happy(void)
{
	struct name_question client;

	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "a name that never registered");
	is_uint(client.record_count, 0, "is nowhere");
	is_uint(client.tries, 2, "in two round trips");
	client = make_registration(&home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "it registers");
	is_uint(client.tries, 2, "in two round trips");
	ok(addr_equal(&client.records[0].addr, &here), "as what the reflector sees");
	ok(!effect.has_mode, "the connection goes on as it is");
	now += 7000;
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "then it is found");
	is_uint(client.record_count, 1, "once");
	ok(addr_equal(&client.records[0].addr, &here), "where it is");
	is_uint(client.records[0].age, 7, "with its age");
	is_uint(client.records[0].local_port, 22, "and local port");
	is_int(client.records[0].protocol, MAPPING_TCP, "and protocol");
	ok(!client.records[0].held, "not held");
	caller.source = &here6;
	is_int(register_as(&home), NAME_MESSAGE_DONE, "it registers over IPv6 too");
	caller.source = &elsewhere;
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "and is found from elsewhere");
	is_uint(client.record_count, 2, "twice");
	ok(addr_equal(&client.records[1].addr, &here6), "also there");
	caller.source = &here;
}

static void test_held(void)
{
	struct name_question client = make_registration(&home);

	client.mode = BINDING_MODE_HOLD;
	client.mode_seconds = 25;
	caller.slot = 5;
	caller.generation = 9;
	is_int(converse(&client), NAME_MESSAGE_DONE, "registered over a connection to be held");
	ok(effect.has_mode && effect.mode == BINDING_MODE_HOLD && effect.seconds == 25,
		"which the reflector does");
	is_int(client.granted, BINDING_MODE_HOLD, "and says");
	now += 60000;
	look_up(&home, &client);
	ok(client.records[0].held && client.records[0].age == 0, "held now");
	names_release(&names, effect.entry == REGISTRY_NONE ? 0 : effect.entry, 5, 9, now);
	now += 3000;
	look_up(&home, &client);
	ok(!client.records[0].held && client.records[0].age == 3, "not after its end");
	client = make_registration(&home);
	client.mode = BINDING_MODE_FORGET;
	is_int(converse(&client), NAME_MESSAGE_DONE, "registered over one to be forgotten");
	is_int(effect.mode, BINDING_MODE_FORGET, "which the reflector will do");
	look_up(&home, &client);
	ok(!client.records[0].held, "that does not hold it");
	server.can_forget = false;
	client = make_registration(&home);
	client.mode = BINDING_MODE_FORGET;
	converse(&client);
	is_int(client.granted, BINDING_MODE_CLOSE, "without the right to forget it is closed");
	server.can_forget = true;
	caller.slot = caller.generation = 0;
}

static bool is_told_of_random_ports(void)
{
	struct name_question client;

	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	return ok(converse(&client) == NAME_MESSAGE_DONE, "home is asked for") &&
	       client.home_random_ports;
}

static void register_ports(bool random)
{
	struct name_question client = make_registration(&home);

	client.mode = BINDING_MODE_HOLD;
	client.mode_seconds = 25;
	client.random_ports = random;
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers");
}

/* A look-up tells by which port strangers get in, and CONNECT the one that is punched to. */
static void test_proved_port(void)
{
	struct name_question client = make_registration(&home);

	client.proved_port = 50099;
	is_int(converse(&client), NAME_MESSAGE_DONE,
		"home registers, with another port that is open");
	is_uint(client.records[0].addr.port, here.port, "it is registered at its mapping");
	look_up(&home, &client);
	is_uint(client.records[0].addr.port, 50099, "a look-up tells the open port");
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "who connects");
	is_uint(client.records[0].addr.port, here.port, "is told the mapping");
	client = make_registration(&home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers anew, without it");
	look_up(&home, &client);
	is_uint(client.records[0].addr.port, here.port, "a look-up tells the mapping again");
}

/* Whoever connects is told what home said of its ports, as long as that is there. */
static void test_random_ports(void)
{
	struct name_question client;

	caller.slot = 5;
	caller.generation = 9;
	register_ports(false);
	ok(!is_told_of_random_ports(), "nothing was said of its ports");
	register_ports(true);
	ok(is_told_of_random_ports(), "they cannot be predicted");
	look_up(&home, &client);
	ok(!client.home_random_ports, "a look-up is not told");
	names_release(&names, registry_find(&names.registry, "home"), 5, 9, now);
	ok(!is_told_of_random_ports(), "nor is anybody when home has gone");
	caller.slot = caller.generation = 0;
}

static enum name_message_outcome register_home(uint8_t home_number, struct name_question *client)
{
	*client = make_registration(&home);
	memset(client->home, home_number, sizeof(client->home));
	client->mode = BINDING_MODE_HOLD;
	caller.slot = home_number;
	return converse(client);
}

/* Two machines with one name: both are told where the other one is. */
static void test_rivals(void)
{
	struct name_question client;

	register_home(1, &client);
	is_int(client.rival.addr.family, ADDR_NONE, "a home has no rival");
	caller.source = &elsewhere;
	register_home(2, &client);
	ok(addr_equal(&client.rival.addr, &here), "another one is told of it");
	ok(client.rival.held, "and that it is there");
	ok(addr_equal(&client.records[0].addr, &elsewhere), "but takes the name");
	caller.source = &here;
	register_home(1, &client);
	ok(addr_equal(&client.rival.addr, &elsewhere), "the first one is told as well");
	look_up(&home, &client);
	is_int(client.rival.addr.family, ADDR_NONE, "who looks it up is not");
	names_release(&names, 0, 1, 0, now);
	caller.source = &elsewhere;
	register_home(2, &client);
	ok(client.rival.addr.family == ADDR_IPV4, "the second one, as the first has come again");
	register_home(2, &client);
	is_int(client.rival.addr.family, ADDR_NONE, "but no more when that one has gone");
	server.stream = false;
	caller.source = &here;
	client = make_registration(&work);
	client.registration.seconds = 150;
	client.home[0] = 1;
	converse(&client);
	caller.source = &elsewhere;
	client = make_registration(&work);
	client.home[0] = 2;
	converse(&client);
	ok(addr_equal(&client.rival.addr, &here), "over UDP too");
	ok(received.size <= sent.size, "by %zu bytes for %zu", received.size, sent.size);
	server.stream = true;
	names_release(&names, 0, 2, 0, now);
	caller.source = &here;
	caller.slot = 0;
}

/* What a registration may say, and what it cannot. */
static void test_registration(void)
{
	struct name_question client = make_registration(&home);

	client.registration.mapped_port = 40022;
	is_int(converse(&client), NAME_MESSAGE_DONE, "a port found out by other means");
	is_uint(known_port(), 40022, "is taken");
	ok(addr_equal_ip(&client.records[0].addr, &here), "at the source's address");
	client = make_registration(&home);
	client.registration.protocol = MAPPING_UDP;
	client.registration.mapped_port = 5000;
	is_int(converse(&client), NAME_MESSAGE_DONE, "of another protocol as well");
	client = make_registration(&home);
	client.registration.protocol = MAPPING_UDP;
	is_int(converse(&client), NAME_MESSAGE_FAILED, "but TCP's source is no UDP mapping");
	is_uint(client.code, 400, "a bad request");
	client = make_registration(&home);
	client.registration.local_port = 0;
	is_int(converse(&client), NAME_MESSAGE_FAILED, "nor is there a local port 0");
	is_int(register_as(&home), NAME_MESSAGE_DONE, "back to the plain one");
}

/* A UDP port beside the TCP one: neither takes the other's place, and the TCP one is invited. */
static void test_protocols(void)
{
	struct name_question client = make_registration(&home);

	client.mode = BINDING_MODE_HOLD;
	caller.slot = 5;
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers its TCP port");
	client = make_registration(&home);
	client.mode = BINDING_MODE_HOLD;
	client.registration.protocol = MAPPING_UDP;
	client.registration.mapped_port = 51820;
	caller.slot = 6;
	is_int(converse(&client), NAME_MESSAGE_DONE, "and a UDP port");
	is_uint(client.records[0].addr.port, 51820, "is told that");
	is_int(client.records[0].protocol, MAPPING_UDP, "and its protocol");
	is_uint(known_port(), 40022, "the TCP port is what it was");
	look_up(&home, &client);
	is_int(client.records[0].protocol, MAPPING_TCP, "TCP comes first");
	ok(client.records[2].protocol == MAPPING_UDP && client.records[2].addr.port == 51820,
		"then UDP");
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "somebody wants to connect");
	ok(effect.invitation_size > 0, "home is told");
	is_uint(effect.home_slot, 5, "over the connection of its TCP port");
	names_release(&names, 0, 5, 0, now);
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "another, when that one has gone");
	is_uint(effect.invitation_size, 0, "is not announced over the UDP port's");
	names_release(&names, 0, 6, 0, now);
	caller.slot = 0;
}

static struct name_question register_hosts(const char *const *hosts, size_t count)
{
	struct name_question client = make_registration(&home);

	for (size_t i = 0; i < count; i++)
		client.hosts[client.host_count++] = make_addr(hosts[i], 22);
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers with %zu of its own addresses",
		count);
	return client;
}

static size_t hosts_for(const struct addr *source, const struct key *key, struct addr *out)
{
	const struct addr *before = caller.source;
	struct name_question client;

	caller.source = source;
	name_message_start(&client, STUN_METHOD_CONNECT, key);
	is_int(converse(&client), NAME_MESSAGE_DONE, "somebody wants to connect");
	caller.source = before;
	memcpy(out, client.hosts, sizeof(client.hosts));
	return client.host_count;
}

/* Home's own addresses are for whoever is seen where home is, and for nobody else. */
static void test_hosts(void)
{
	static const char *const some[] = {"192.168.1.2", "10.0.0.9", "100.64.7.7", "fd00::2"};
	static const char *const none[] = {"127.0.0.1", "169.254.1.1", "fe80::1", "224.0.0.1"};
	struct addr beside = make_addr("203.0.113.2", 1024), beside6 = make_addr("2001:db8::9", 9);
	struct addr other6 = make_addr("2001:db8:0:1::2", 9);
	struct addr own = make_addr("192.168.1.2", 22);
	struct addr hosts[NAME_MESSAGE_HOST_MAX];
	struct name_question client;
	struct stun_attribute host;
	struct stun_message parsed;

	register_hosts(some, 4);
	ok(stun_parse(&parsed, sent.bytes, sent.size) == 0 &&
			stun_find(&parsed, STUN_NATPUNCH_HOST, &host) &&
			memmem(sent.bytes, sent.size, own.ip, 4) == NULL,
		"which nobody on the path can read");
	is_uint(hosts_for(&beside, &home, hosts), 4, "behind the same NAT they are told");
	ok(addr_equal(&hosts[0], &own) && hosts[3].family == ADDR_IPV6, "as they are, in order");
	ok(memmem(received.bytes, received.size, own.ip, 4) == NULL, "under the key again");
	is_uint(hosts_for(&elsewhere, &home, hosts), 0, "elsewhere they are not");
	is_uint(hosts_for(&beside6, &home, hosts), 0, "nor in a family without any");
	look_up(&home, &client);
	is_uint(client.host_count, 0, "nor to a LOOKUP");
	ok(stun_parse(&parsed, received.bytes, received.size) == 0 &&
			!stun_find(&parsed, STUN_NATPUNCH_HOST, &host),
		"not even unread");
	server.stream = false;
	is_uint(hosts_for(&beside, &home, hosts), 0, "nor over UDP");
	server.stream = true;
	caller.source = &here6;
	register_hosts(some, 4);
	caller.source = &here;
	is_uint(hosts_for(&beside6, &home, hosts), 4, "out of the same IPv6 network they are told");
	is_uint(hosts_for(&other6, &home, hosts), 0, "out of another one they are not");
	register_hosts(none, 4);
	is_uint(hosts_for(&beside, &home, hosts), 0,
		"what no other machine can connect to is none");
	register_hosts(some, 1);
	is_uint(hosts_for(&beside, &home, hosts), 1, "the last registration counts");
	register_hosts(some, 0);
	is_uint(hosts_for(&beside, &home, hosts), 0, "also one of an older home, without any");
}

/* Over UDP: home is told from where its own datagram went to, and nobody by whose REGISTER that is
 * not known. */
static void test_datagram_invitation(void)
{
	struct addr via = make_addr("198.51.100.10", 3478), other_via = via;
	struct invitation expected = {.protocol = MAPPING_UDP};
	struct name_question client = make_registration(&home);

	other_via.port = 13478;
	server.stream = false;
	caller.via = &via;
	client.registration.protocol = MAPPING_UDP;
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers its UDP port, over UDP");
	memcpy(expected.session, client.transaction + 4, sizeof(expected.session));
	caller.via = &other_via;
	caller.source = &elsewhere;
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "somebody wants to come over UDP");
	ok(effect.invitation_size > 0 && effect.invitation_size <= sent.size,
		"home is told, by no more bytes than that took");
	ok(addr_equal(&effect.home, &here), "at its mapping");
	ok(addr_equal(&effect.home_via, &via), "from where its NAT lets in what comes");
	is_int(invitation_read(&expected, home.secret, effect.invitation, effect.invitation_size),
		0, "it is for that registration");
	ok(addr_equal(&expected.initiator, &elsewhere), "and names who it is");
	caller.source = &here;
	client = make_registration(&home);
	client.registration.protocol = MAPPING_UDP;
	client.registration.mapped_port = 51820;
	is_int(converse(&client), NAME_MESSAGE_DONE, "home registers another port by its number");
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "somebody wants to come");
	is_uint(effect.invitation_size, 0, "nobody knows from where that port may be told");
	server.stream = true;
	caller.via = NULL;
}

/* The bytes of two answers, with what is random in both made zero. */
static void blank(struct message *message)
{
	struct stun_attribute attribute;
	struct stun_message parsed;
	size_t offset = 0;

	if (stun_parse(&parsed, message->bytes, message->size) != 0)
		return;
	while (stun_next(&parsed, &offset, &attribute))
		if (attribute.type == STUN_NONCE || attribute.type == STUN_FINGERPRINT)
			memset(message->bytes + (attribute.value - message->bytes), 0,
				attribute.size);
	memset(message->bytes + 4, 0, STUN_TRANSACTION_SIZE);
}

static void is_same_answer(const struct message *a, const struct message *b, const char *name)
{
	struct message left = *a, right = *b;

	blank(&left);
	blank(&right);
	ok(left.size > 0 && left.size == right.size, "%s: the same size", name);
	is_mem(left.bytes, right.bytes, left.size, "%s: the same bytes", name);
}

static void test_strangers(void)
{
	/* A name that exists and a key that is not its own; a name that does not exist. */
	const struct key *keys[2] = {&wrong, &nobody};
	struct message first[2], second[2];
	struct name_question client;
	const char *why;

	for (int i = 0; i < 2; i++) {
		name_message_start(&client, STUN_METHOD_LOOKUP, keys[i]);
		sent = write_next(&client);
		first[i] = answer(&sent);
		is_uint(error_code(&first[i]), 401, "%s: asked without proof", keys[i]->name);
		name_message_read(&client, first[i].bytes, first[i].size, &why);
		sent = write_next(&client);
		second[i] = answer(&sent);
		is_uint(error_code(&second[i]), 401, "%s: with a false one", keys[i]->name);
	}
	is_same_answer(&first[0], &first[1], "a name or none, no proof");
	is_same_answer(&second[0], &second[1], "a name or none, false proof");
	is_int(look_up(&nobody, &client), NAME_MESSAGE_REFUSED, "an unknown name is refused");
	is_int(look_up(&wrong, &client), NAME_MESSAGE_REFUSED, "so is a wrong key");
	uint16_t before = known_port();
	caller.source = &elsewhere;
	is_int(register_as(&wrong), NAME_MESSAGE_REFUSED, "which moves nothing");
	is_uint(known_port(), before, "it does not");
	caller.source = &here;
}

/* The key of one name under another's. */
static void test_other_name(void)
{
	struct key mixed = work;
	struct name_question client;

	memcpy(mixed.name, "home", 5);
	is_int(look_up(&mixed, &client), NAME_MESSAGE_REFUSED, "work's key does not look up home");
	caller.source = &elsewhere;
	is_int(register_as(&mixed), NAME_MESSAGE_REFUSED, "nor move it");
	caller.source = &here;
	/* A nonce that was issued for work, in a proper request for home. */
	const char *why;
	name_message_start(&client, STUN_METHOD_LOOKUP, &work);
	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	client.key = &home;
	sent = write_next(&client);
	received = answer(&sent);
	is_uint(error_code(&received), 438, "work's nonce is none for home");
}

static void test_replay(void)
{
	struct message captured, reply;
	struct name_question client;
	struct addr moved = here;
	uint16_t before;

	is_int(register_as(&home), NAME_MESSAGE_DONE, "home registers, and is listened to");
	captured = sent;
	before = known_port();
	moved.port = 666;
	caller.source = &moved;
	reply = answer(&captured);
	is_uint(error_code(&reply), 438, "its request again, from the next port of the NAT");
	is_uint(known_port(), before, "moves nothing");
	caller.source = &elsewhere;
	reply = answer(&captured);
	is_uint(error_code(&reply), 438, "again, from elsewhere");
	is_uint(known_port(), before, "moves nothing");
	caller.source = &here;
	reply = answer(&captured);
	is_uint(error_code(&reply), 438, "again, from where it came");
	ok(effect.entry == REGISTRY_NONE, "does nothing");

	/* One that was held back until home has registered once more. */
	client = make_registration(&home);
	const char *why;
	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	captured = write_next(&client);
	is_int(register_as(&home), NAME_MESSAGE_DONE, "a request is held back; home tries again");
	caller.source = &moved;
	reply = answer(&captured);
	is_uint(error_code(&reply), 438, "what was held back comes too late");
	is_uint(known_port(), before, "and moves nothing");
	caller.source = &here;
}

/*
 * CONNECT changes nothing of the name, and must not be sent again all the same: home would connect
 * to whoever did. Many, so that what is remembered of them is full more than once.
 */
static void test_replayed_connect(void)
{
	static struct message captured[3 * REGISTRY_USED_MAX];
	const size_t count = sizeof(captured) / sizeof(captured[0]);
	struct addr beside = elsewhere;
	struct name_question client;
	size_t invited = 0;
	size_t again = 0;
	size_t refused = 0;

	caller.mode = BINDING_MODE_HOLD;
	is_int(register_as(&home), NAME_MESSAGE_DONE, "home registers, and is held");
	caller.mode = BINDING_MODE_NONE;
	caller.source = &elsewhere;
	for (size_t i = 0; i < count; i++) {
		name_message_start(&client, STUN_METHOD_CONNECT, &home);
		if (converse(&client) == NAME_MESSAGE_DONE && effect.invitation_size > 0)
			invited++;
		captured[i] = sent;
	}
	is_uint(invited, count, "home is told of each of many initiators");
	beside.port = 666;
	caller.source = &beside;
	for (size_t i = 0; i < count; i++) {
		struct message reply = answer(&captured[i]);
		refused += error_code(&reply) == 438;
		again += effect.invitation_size > 0;
	}
	is_uint(refused, count, "their requests again, from behind the same NAT: stale");
	is_uint(again, 0, "and home is told of nobody");
	caller.source = &here;
}

static bool contains(const struct message *message, const void *bytes, size_t size)
{
	return memmem(message->bytes, message->size, bytes, size) != NULL;
}

/* Who sees a look-up does not see what was found, nor learns it by asking again. */
static void test_eavesdropper(void)
{
	struct message first, request, again;
	struct name_question client;
	uint8_t xored[4];

	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "a look-up is listened to");
	first = received;
	request = sent;
	again = answer(&request);
	for (size_t i = 0; i < sizeof(xored); i++)
		xored[i] = here.ip[i] ^ first.bytes[4 + i];
	ok(!contains(&first, here.ip, 4) && !contains(&first, xored, 4),
		"the address is not in the answer");
	is_uint(again.size, first.size, "the same request gets another answer");
	ok(memcmp(again.bytes, first.bytes, first.size) != 0, "that differs");
	/* A pad that came twice would show what changed in between. */
	struct stun_attribute one, two;
	struct stun_message parsed;
	ok(stun_parse(&parsed, first.bytes, first.size) == 0 &&
			stun_find(&parsed, STUN_NATPUNCH_RECORD, &one) &&
			stun_parse(&parsed, again.bytes, again.size) == 0 &&
			stun_find(&parsed, STUN_NATPUNCH_RECORD, &two) &&
			memcmp(one.value + 8, two.value + 8, 32) != 0,
		"in the masked bytes too");
	struct name_message_record record;
	is_int(name_message_read_record(&parsed, &two, work.secret, &record), -1,
		"which another key does not open");
	caller.source = &elsewhere;
	again = answer(&request);
	is_uint(error_code(&again), 438, "from elsewhere it gets none");
	caller.source = &here;
}

static void test_stale(void)
{
	struct message reply;
	struct name_question client;
	const char *why;

	now = START_MS * 2 + NONCE_PERIOD_MS - 1;
	client = make_registration(&home);
	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	sent = write_next(&client);
	now += NONCE_PERIOD_MS + 1;
	reply = answer(&sent);
	is_uint(error_code(&reply), 438, "a nonce of the period before the last is stale");
	is_int(name_message_read(&client, reply.bytes, reply.size, &why), NAME_MESSAGE_AGAIN,
		"the client takes the new one");
	is_int(converse(&client), NAME_MESSAGE_DONE, "and succeeds");
	is_uint(client.tries, 3, "at the third try");

	client = make_registration(&home);
	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	sent = write_next(&client);
	now += NONCE_PERIOD_MS;
	reply = answer(&sent);
	is_uint(error_code(&reply), 0, "one of the last period is not");

	/* The nonce alone, taken by somebody elsewhere who knows the key of the name. */
	client = make_registration(&home);
	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	sent = write_next(&client);
	caller.source = &elsewhere;
	reply = answer(&sent);
	is_uint(error_code(&reply), 438, "a nonce of another address is stale");
	caller.source = &here;
	client.nonce[3] ^= 1;
	sent = write_next(&client);
	reply = answer(&sent);
	is_uint(error_code(&reply), 438, "so is one that is made up");
}

/* No bit of a request, nor of an answer, can be another. */
static void test_every_bit(void)
{
	struct name_question client = make_registration(&home), copy;
	struct message reply, flipped;
	const char *why;
	int accepted = 0, believed = 0;
	size_t fingerprint = 8;

	sent = write_next(&client);
	received = answer(&sent);
	name_message_read(&client, received.bytes, received.size, &why);
	sent = write_next(&client);
	for (size_t i = 0; i < 8 * (sent.size - fingerprint); i++) {
		struct stun_message parsed;
		struct wire_writer writer;

		/* As somebody would who also mends the FINGERPRINT, which needs no key. */
		flipped = sent;
		flipped.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		wire_writer_start(&writer, flipped.bytes, sizeof(flipped.bytes));
		writer.offset = sent.size - fingerprint;
		uint8_t length[2] = {flipped.bytes[2], flipped.bytes[3]};
		stun_put_fingerprint(&writer);
		memcpy(flipped.bytes + 2, length, 2);
		if (stun_parse(&parsed, flipped.bytes, flipped.size) != 0)
			continue;
		names_answer(&names, &caller, flipped.bytes, flipped.size, now, reply.bytes,
			sizeof(reply.bytes), &reply.size, &effect);
		accepted += effect.entry != REGISTRY_NONE;
	}
	is_int(accepted, 0, "no request with a flipped bit registers");
	reply = answer(&sent);
	ok(effect.entry != REGISTRY_NONE, "the true one does, after all those");
	for (size_t i = 0; i < 8 * reply.size; i++) {
		flipped = reply;
		flipped.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		copy = client;
		believed += name_message_read(&copy, flipped.bytes, flipped.size, &why) ==
			    NAME_MESSAGE_DONE;
	}
	is_int(believed, 0, "no answer with a flipped bit is believed");
	for (size_t size = 0; size < reply.size; size++) {
		copy = client;
		believed += name_message_read(&copy, reply.bytes, size, &why) == NAME_MESSAGE_DONE;
	}
	is_int(believed, 0, "nor one that is cut");
	is_int(name_message_read(&client, reply.bytes, reply.size, &why), NAME_MESSAGE_DONE,
		"the true one is");
}

/* Messages turned round: requests to the client, answers to the server, answers to others. */
static void test_reflected(void)
{
	struct name_question client, other;
	struct message old, reply;
	const char *why;

	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "a look-up");
	old = received;
	is_int(name_message_read(&client, sent.bytes, sent.size, &why), NAME_MESSAGE_UNRELATED,
		"the own request is no answer");
	reply = answer(&old);
	is_uint(reply.size, 0, "an answer is no request");
	name_message_start(&other, STUN_METHOD_LOOKUP, &home);
	sent = write_next(&other);
	is_int(name_message_read(&other, old.bytes, old.size, &why), NAME_MESSAGE_UNRELATED,
		"an answer of the past is none to another question");
	memcpy(old.bytes + 4, other.transaction, STUN_TRANSACTION_SIZE);
	is_int(name_message_read(&other, old.bytes, old.size, &why), NAME_MESSAGE_MALFORMED,
		"not under its transaction id either");
}

/* What somebody can say to a client who is between it and the reflector, without the key. */
static void test_false_server(void)
{
	uint8_t random[12] = {1}, bytes[STUN_MESSAGE_MAX];
	struct name_question client;
	struct wire_writer writer;
	enum name_message_outcome outcome;
	const char *why;
	size_t size;
	unsigned tries = 0;

	name_message_start(&client, STUN_METHOD_LOOKUP, &home);
	name_message_write(&client, random, bytes, sizeof(bytes));
	stun_begin(&writer, bytes, sizeof(bytes), STUN_SUCCESS, STUN_METHOD_LOOKUP,
		client.transaction);
	size = stun_finish(&writer);
	is_int(name_message_read(&client, bytes, size, &why), NAME_MESSAGE_MALFORMED,
		"success without proof is not believed");
	do {
		name_message_write(&client, random, bytes, sizeof(bytes));
		stun_begin(&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_LOOKUP,
			client.transaction);
		stun_put_error(&writer, tries++ == 0 ? 401 : 438, "");
		stun_put(&writer, STUN_NONCE, "x", 1);
		size = stun_finish(&writer);
		outcome = name_message_read(&client, bytes, size, &why);
	} while (outcome == NAME_MESSAGE_AGAIN && tries < 100);
	is_int(outcome, NAME_MESSAGE_FAILED, "nonces without end come to an end");
	ok(tries < 10, "after %u", tries);
	name_message_start(&client, STUN_METHOD_LOOKUP, &home);
	name_message_write(&client, random, bytes, sizeof(bytes));
	stun_begin(
		&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_LOOKUP, client.transaction);
	stun_put_error(&writer, 400, "Bad Request");
	size = stun_finish(&writer);
	is_int(name_message_read(&client, bytes, size, &why), NAME_MESSAGE_UNSUPPORTED,
		"a server that keeps no names is known by its error");
}

/* As the first release asks over UDP: there is room for two records, and they are those of TCP. */
static void look_up_as_before(const struct key *key)
{
	enum {
		SIZE = 160
	};
	struct name_question client;
	struct wire_writer writer;
	struct message small;
	const char *why;

	name_message_start(&client, STUN_METHOD_LOOKUP, key);
	sent = write_next(&client);
	received = answer(&sent);
	is_int(client_takes(&client), NAME_MESSAGE_AGAIN, "an old client has its nonce");
	write_next(&client);
	stun_begin(&writer, small.bytes, sizeof(small.bytes), STUN_REQUEST, STUN_METHOD_LOOKUP,
		client.transaction);
	stun_put(&writer, STUN_USERNAME, key->name, strlen(key->name));
	stun_put(&writer, STUN_NONCE, client.nonce, client.nonce_size);
	stun_put(&writer, STUN_NATPUNCH_PADDING, (const uint8_t[SIZE]){0},
		SIZE - NAME_MESSAGE_PROOF_SIZE - 4 - writer.offset);
	stun_auth_put(&writer, key->secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	small.size = stun_finish(&writer);
	is_uint(small.size, SIZE, "it asks by less bytes");
	received = answer(&small);
	is_int(name_message_read(&client, received.bytes, received.size, &why), NAME_MESSAGE_DONE,
		"and is answered");
	ok(received.size <= small.size, "%zu bytes for %zu", received.size, small.size);
	is_uint(client.record_count, 2, "with two records");
	ok(client.records[0].protocol == MAPPING_TCP && client.records[1].protocol == MAPPING_TCP,
		"those of TCP");
}

/* Over UDP the source may be forged: nobody gets more than was sent in his name. */
static void test_datagrams(void)
{
	struct name_question client;
	struct message small;
	struct wire_writer writer;
	struct key longest = home;

	server.stream = false;
	is_int(register_as(&home), NAME_MESSAGE_DONE, "registered over UDP");
	caller.source = &here6;
	is_int(register_as(&home), NAME_MESSAGE_DONE, "and by IPv6");
	caller.source = &here;
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "looked up over UDP");
	is_uint(client.record_count, 4, "with both families and protocols in the answer");
	ok(received.size <= sent.size, "%zu bytes for %zu", received.size, sent.size);
	look_up_as_before(&home);
	name_message_start(&client, STUN_METHOD_LOOKUP, &longest);
	sent = write_next(&client);
	received = answer(&sent);
	is_uint(sent.size, NAME_MESSAGE_REQUEST_MIN, "a first request has its least size");
	ok(received.size > 0 && received.size <= sent.size, "more than its answer");
	stun_begin(&writer, small.bytes, sizeof(small.bytes), STUN_REQUEST, STUN_METHOD_LOOKUP,
		client.transaction);
	stun_put(&writer, STUN_USERNAME, "home", 4);
	small.size = stun_finish(&writer);
	received = answer(&small);
	is_uint(received.size, 0, "to a small one there is no answer");
	server.stream = true;
	received = answer(&small);
	is_uint(error_code(&received), 401, "but over TCP there is");
}

static void test_malformed(void)
{
	static const struct {
		uint16_t type;
		const char *value;
		unsigned code;
		const char *name;
	} rows[] = {
		{STUN_SOFTWARE, "x", 400, "no name at all"},
		{STUN_USERNAME, "Home", 400, "what is no name"},
		{STUN_USERNAME, "", 400, "an empty name"},
		{STUN_USERNAME, "0123456789012345678901234567890123456789012345678901234567890abc",
			400, "a name too long"},
		{0x7abc, "x", 420, "an attribute that must be understood"},
		{STUN_MESSAGE_INTEGRITY, "x", 420, "the proof of RFC 5389"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
		struct message request;
		struct wire_writer writer;

		stun_begin(&writer, request.bytes, sizeof(request.bytes), STUN_REQUEST,
			STUN_METHOD_LOOKUP, transaction);
		stun_put(&writer, rows[i].type, rows[i].value, strlen(rows[i].value));
		request.size = stun_finish(&writer);
		received = answer(&request);
		is_uint(error_code(&received), rows[i].code, "%s", rows[i].name);
		request.bytes[4] = 0;
		received = answer(&request);
		is_uint(received.size, 0, "%s, by RFC 3489: silence", rows[i].name);
	}
	uint8_t binding[STUN_HEADER_SIZE] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	is_int(names_answer(&names, &caller, binding, sizeof(binding), now, received.bytes,
		       sizeof(received.bytes), &received.size, &effect),
		NAMES_OTHER, "Binding is not about names");
	is_int(names_answer(&names, &caller, "GET ", 4, now, received.bytes, sizeof(received.bytes),
		       &received.size, &effect),
		NAMES_OTHER, "nor is what is not STUN");
}

static void test_reload(void)
{
	struct name_question client;
	struct key renewed = make_key("home");

	write_keys(&renewed, NULL);
	names_reload(&names);
	is_int(look_up(&home, &client), NAME_MESSAGE_REFUSED, "an old key is no key any more");
	is_int(look_up(&renewed, &client), NAME_MESSAGE_DONE, "the new one is");
	is_uint(client.record_count, 0, "but not for what was said with the old one");
	is_int(look_up(&work, &client), NAME_MESSAGE_REFUSED, "a name that is gone is unknown");
	if (truncate(path, 20) != 0)
		bail_out("cannot cut %s", path);
	names_reload(&names);
	is_int(look_up(&renewed, &client), NAME_MESSAGE_DONE, "a damaged file changes nothing");
	chmod(path, 0644);
	write_keys(&home, &work);
	names_reload(&names);
	is_int(look_up(&renewed, &client), NAME_MESSAGE_DONE, "nor does one that all can read");
	chmod(path, 0600);
	names_reload(&names);
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "a good one does");
}

/* A key is changed: home and the laptop may each have either, and understand what is said. */
static void test_two_keys(void)
{
	struct key renewed = make_key("home");
	const struct key *keys[] = {&home, &renewed};
	struct invitation expected;
	struct name_question client;

	write_keys(&renewed, &home);
	names_reload(&names);
	for (size_t at_home = 0; at_home < 2; at_home++)
		for (size_t away = 0; away < 2; away++) {
			client = make_registration(keys[at_home]);
			client.mode = BINDING_MODE_HOLD;
			client.mode_seconds = 25;
			is_int(converse(&client), NAME_MESSAGE_DONE, "home has key %zu", at_home);
			memset(&expected, 0, sizeof(expected));
			memcpy(expected.session, client.transaction + 4, sizeof(expected.session));
			is_int(look_up(keys[away], &client), NAME_MESSAGE_DONE, "key %zu finds it",
				away);
			is_uint(client.record_count, 1, "key %zu can read where", away);
			name_message_start(&client, STUN_METHOD_CONNECT, keys[away]);
			is_int(converse(&client), NAME_MESSAGE_DONE, "key %zu connects", away);
			is_int(invitation_read(&expected, keys[at_home]->secret, effect.invitation,
				       effect.invitation_size),
				0, "home reads the invitation with key %zu", at_home);
		}
	write_keys(&home, &work);
	names_reload(&names);
}

/* Who knows a key can ask about its name so often and no oftener, over any connection. */
static void test_name_limit(void)
{
	struct name_question client, other = make_registration(&work);
	unsigned answered = 0;

	names.auth.each = (struct rate_limit_quota){.per_second = 10, .burst = 5};
	while (answered < 100 &&
		(client = make_registration(&home), converse(&client)) == NAME_MESSAGE_DONE)
		answered++;
	is_uint(answered, 5, "a name has so many answers at once");
	is_uint(client.code, 486, "and then an error that says why");
	is_int(converse(&other), NAME_MESSAGE_DONE, "another name has its own");
	client = make_registration(&wrong);
	is_int(converse(&client), NAME_MESSAGE_REFUSED, "a wrong key is refused as ever");
	now += 99;
	client = make_registration(&home);
	is_int(converse(&client), NAME_MESSAGE_FAILED, "it has to wait");
	now += 1;
	client = make_registration(&home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "for a tenth of a second");
	server.stream = false;
	client = make_registration(&home);
	sent = write_next(&client);
	received = answer(&sent);
	ok(received.size > 0, "over UDP it gets a nonce");
	is_int(client_takes(&client), NAME_MESSAGE_AGAIN, "which it takes");
	sent = write_next(&client);
	ok(answer(&sent).size == 0, "and then no answer");
	now += 200;
	received = answer(&sent);
	is_int(client_takes(&client), NAME_MESSAGE_DONE, "until it asks again, later");
	server.stream = true;
	names.auth.each.per_second = 0;
}

/* What somebody has caught and sends again uses up nothing that its sender needs. */
static void test_replayed_limit(void)
{
	struct name_question client;
	struct message caught;
	unsigned answered = 0;

	names.auth.each = (struct rate_limit_quota){.per_second = 10, .burst = 5};
	now += 1000;
	server.stream = false;
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "a look-up over UDP");
	caught = sent;
	for (int i = 0; i < 20; i++)
		answered += answer(&caught).size > 0;
	is_uint(answered, 4, "sent again it is answered a few times");
	server.stream = true;
	is_int(look_up(&home, &client), NAME_MESSAGE_DONE, "over TCP the name can be looked up");
	caught = sent;
	for (int i = 0; i < 20; i++)
		answer(&caught);
	name_message_start(&client, STUN_METHOD_CONNECT, &home);
	is_int(converse(&client), NAME_MESSAGE_DONE,
		"and asked to connect, whatever is sent again");
	caught = sent;
	for (int i = 0; i < 20; i++)
		answer(&caught);
	is_int(register_as(&home), NAME_MESSAGE_DONE, "and registered");
	now += 1000;
	names.auth.each.per_second = 0;
}

/* Over UDP a source is limited once a nonce has proven it, and not before. */
static void test_source_limit(void)
{
	static struct rate_limit_source memory[RATE_LIMIT_SET];
	const uint8_t seed[SIPHASH_KEY_SIZE] = {1};
	struct rate_limit_table sources;
	struct counters counters = {.values = {0}};
	struct message question;
	unsigned answered = 0, nonces = 0;
	struct name_question client;

	rate_limit_table_init(
		&sources, memory, 0, (struct rate_limit_quota){.per_second = 10, .burst = 5}, seed);
	names.auth.sources = &sources;
	names.auth.counters = &counters;
	server.stream = false;
	client = make_registration(&home);
	question = write_next(&client);
	for (int i = 0; i < 100; i++)
		nonces += answer(&question).size > 0;
	is_uint(nonces, 100, "questions without a nonce, which may be forged, use up nothing");
	for (int i = 0; i < 100; i++) {
		client = make_registration(i % 2 ? &home : &wrong);
		question = write_next(&client);
		received = answer(&question);
		client_takes(&client);
		question = write_next(&client);
		answered += answer(&question).size > 0;
	}
	is_uint(answered, 5, "those with one do, with a right key and a wrong one");
	is_uint(counters.values[COUNTER_LIMITED_SOURCE], 95, "and are counted");
	caller.source = &elsewhere;
	client = make_registration(&home);
	is_int(converse(&client), NAME_MESSAGE_DONE, "another source has its own");
	caller.source = &here;
	server.stream = true;
	names.auth.sources = NULL;
	names.auth.counters = NULL;
}

int main(void)
{
	struct error error;
	int fd = mkstemp(path);

	if (fd < 0)
		bail_out("no file in /tmp");
	close(fd);
	log_set_level(LOG_LEVEL_QUIET);
	home = make_key("home");
	work = make_key("work");
	nobody = make_key("away");
	wrong = make_key("home");
	here = make_addr("203.0.113.2", 40022);
	elsewhere = make_addr("192.0.2.2", 50000);
	here6 = make_addr("2001:db8::2", 22);
	write_keys(&home, &work);
	if (names_open(&names, path, NULL, now, &error) != 0)
		bail_out("%s", error.text);
	test_happy();
	test_held();
	test_random_ports();
	test_proved_port();
	test_rivals();
	test_registration();
	test_protocols();
	test_hosts();
	test_strangers();
	test_other_name();
	test_replay();
	test_replayed_connect();
	test_eavesdropper();
	test_stale();
	test_every_bit();
	test_reflected();
	test_false_server();
	test_datagrams();
	test_datagram_invitation();
	test_malformed();
	test_reload();
	test_two_keys();
	test_name_limit();
	test_replayed_limit();
	test_source_limit();
	names_close(&names, now);
	unlink(path);
	return done_testing();
}
