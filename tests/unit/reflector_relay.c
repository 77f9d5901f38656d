/*
 * Relays on the reflector, both ends in this process: who is let to ask for one, who to join it,
 * what passes, and what is left behind.
 */
#include "natpunch/reflector_relay.h"

#include <signal.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/deadline.h"
#include "natpunch/keys.h"
#include "natpunch/random.h"
#include "natpunch/reflector_names.h"
#include "tap.h"

#define START_MS 86400000ULL

static struct loop loop;
static struct reflector_relay relay;
static struct reflector_names names;
static struct addr here;
static uint64_t now = START_MS;
static char path[] = "/tmp/natpunch-relay-XXXXXX";

static unsigned open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/* ---- the table, alone --------------------------------------------------------------------- */

/* One end of a connection is ours, the other the relay's. */
struct end {
	int mine;
	int given;
};

static struct end make_end(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		bail_out("socketpair: %s", strerror(errno));
	return (struct end){.mine = pair[0], .given = pair[1]};
}

static struct end wait_for(const struct relay_ticket *ticket, bool told)
{
	struct end end = make_end();
	struct reflector_relay_traveller traveller = {
		.fd = end.given, .peer = here, .answer = (const uint8_t *)"yes", .answer_size = 3};

	reflector_relay_wait(&relay, ticket->number, &traveller, told, now);
	return end;
}

/* Lets the relay do what there is to do. */
static void turn(void)
{
	struct loop_event events[LOOP_BATCH];
	int count;

	do {
		count = loop_wait(&loop, events, 0);
		for (int i = 0; i < count; i++)
			reflector_relay_event(&relay, events[i].tag, events[i].events, now);
		reflector_relay_expire(&relay, now);
	} while (count > 0 || reflector_relay_next(&relay) == 0);
}

static bool says(int fd, const char *text)
{
	char bytes[64];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

	return got == (ssize_t)strlen(text) && memcmp(bytes, text, (size_t)got) == 0;
}

/* The code of the error that was said, and then the end. */
static unsigned refusal(int fd)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	struct stun_attribute error;
	struct stun_message parsed;
	const uint8_t *reason;
	unsigned code = 0;
	size_t size;

	if (got <= 0 || stun_parse(&parsed, bytes, (size_t)got) != 0 ||
		parsed.class != STUN_ERROR || !stun_find(&parsed, STUN_ERROR_CODE, &error) ||
		stun_read_error(&error, &code, &reason, &size) != 0 ||
		recv(fd, bytes, sizeof(bytes), 0) != 0)
		return 0;
	return code;
}

static enum reflector_relay_verdict join(const struct relay_ticket *ticket, uint64_t *number)
{
	uint8_t random[12], transaction[STUN_TRANSACTION_SIZE];
	uint8_t request[STUN_MESSAGE_MAX], answer[REFLECTOR_RELAY_ANSWER];
	size_t size;

	random_fill(random, sizeof(random));
	size = relay_write_join(ticket, random, transaction, request, sizeof(request));
	return reflector_relay_hear(&relay, request, size, answer, sizeof(answer), &size, number);
}

static struct end begin(const struct relay_ticket *ticket)
{
	struct end end = make_end();

	reflector_relay_begin(&relay, ticket->number, end.given, &here, "joined", 6, now);
	return end;
}

static void test_limits(void)
{
	struct relay_ticket tickets[4], one_more;
	char byte;
	struct end ends[4];

	is_uint(reflector_relay_reserve(&relay, "home", &tickets[0]), 0, "a first relay");
	is_uint(reflector_relay_reserve(&relay, "home", &tickets[1]), 0, "a second");
	is_uint(reflector_relay_reserve(&relay, "home", &one_more), RELAY_NAME_FULL,
		"home may have no third");
	is_uint(reflector_relay_reserve(&relay, "work", &tickets[2]), 0, "another name may");
	is_uint(reflector_relay_reserve(&relay, "third", &one_more), RELAY_FULL,
		"but there is room for no fourth of all");
	ok(tickets[0].number != 0 && tickets[0].number != tickets[1].number,
		"numbers are their own");
	ok(memcmp(tickets[0].token, tickets[1].token, RELAY_TOKEN_SIZE) != 0, "tokens too");
	for (int i = 0; i < 3; i++)
		ends[i] = wait_for(&tickets[i], true);
	turn();
	ok(recv(ends[0].mine, &byte, 1, 0) < 0 && errno == EAGAIN, "they wait without a word");
	close(ends[0].mine);
	turn();
	is_uint(reflector_relay_reserve(&relay, "home", &tickets[3]), 0,
		"one traveller goes, and makes room");
	ok(tickets[3].number != tickets[0].number, "for a relay of another number");
	ends[3] = wait_for(&tickets[3], false);
	is_uint(refusal(ends[3].mine), RELAY_NOT_HOME, "home could not be told");
	is_uint(reflector_relay_next(&relay), now + 5000, "the others wait for so long");
	now += 5000;
	reflector_relay_expire(&relay, now);
	is_uint(refusal(ends[1].mine), RELAY_NOT_HOME, "and then are told that nobody came");
	is_uint(refusal(ends[2].mine), RELAY_NOT_HOME, "both of them");
	is_uint(reflector_relay_next(&relay), DEADLINE_NONE, "nothing is waited for");
	for (int i = 1; i < 4; i++)
		close(ends[i].mine);
}

static void test_joins(void)
{
	struct relay_ticket ticket, wrong;
	struct end traveller, home;
	uint64_t number;

	reflector_relay_reserve(&relay, "home", &ticket);
	is_int(join(&ticket, &number), REFLECTOR_RELAY_REFUSED, "nobody joins before it waits");
	traveller = wait_for(&ticket, true);
	wrong = ticket;
	wrong.token[15] ^= 1;
	is_int(join(&wrong, &number), REFLECTOR_RELAY_REFUSED, "another token");
	wrong = ticket;
	wrong.number++;
	is_int(join(&wrong, &number), REFLECTOR_RELAY_REFUSED, "another generation");
	wrong.number = ticket.number + (1ULL << 32);
	is_int(join(&wrong, &number), REFLECTOR_RELAY_REFUSED, "a free slot");
	wrong.number = UINT64_MAX;
	is_int(join(&wrong, &number), REFLECTOR_RELAY_REFUSED, "no slot at all");
	wrong.number = (uint64_t)1 << 32;
	memset(wrong.token, 0, sizeof(wrong.token));
	is_int(join(&wrong, &number), REFLECTOR_RELAY_REFUSED, "what a free slot has: zeros");
	is_int(join(&ticket, &number), REFLECTOR_RELAY_JOINED, "the right one");
	ok(number == ticket.number, "by its number");
	home = begin(&ticket);
	ok(says(traveller.mine, "yes"), "the traveller has its answer");
	ok(says(home.mine, "joined"), "home its own");
	is_int(join(&ticket, &number), REFLECTOR_RELAY_REFUSED, "a ticket is good once");
	close(home.mine);
	close(traveller.mine);
	turn();
	is_int(join(&ticket, &number), REFLECTOR_RELAY_REFUSED, "and not after the end");
	is_uint(relay.used, 0, "nothing is left");
}

static struct end home_end;
static struct end traveller_end;

static void join_two(const char *name)
{
	struct relay_ticket ticket;

	if (reflector_relay_reserve(&relay, name, &ticket) != 0)
		bail_out("no relay");
	traveller_end = wait_for(&ticket, true);
	home_end = begin(&ticket);
	if (!says(traveller_end.mine, "yes") || !says(home_end.mine, "joined"))
		bail_out("no answers");
}

static void test_flow(void)
{
	uint64_t before = relay.passed;
	char byte;

	join_two("home");
	send(traveller_end.mine, "there", 5, 0);
	send(home_end.mine, "back again", 10, 0);
	turn();
	ok(says(home_end.mine, "there"), "what the traveller says comes to home");
	ok(says(traveller_end.mine, "back again"), "and the other way");
	send(traveller_end.mine, "last", 4, 0);
	shutdown(traveller_end.mine, SHUT_WR);
	turn();
	ok(says(home_end.mine, "last"), "what was said before a FIN");
	is_int(recv(home_end.mine, &byte, 1, 0), 0, "and then the FIN");
	send(home_end.mine, "still here", 10, 0);
	turn();
	ok(says(traveller_end.mine, "still here"), "the other direction goes on");
	is_uint(reflector_relay_next(&relay), DEADLINE_NONE, "without anything to wait for");
	shutdown(home_end.mine, SHUT_WR);
	turn();
	is_int(recv(traveller_end.mine, &byte, 1, 0), 0, "until its FIN");
	is_uint(relay.used, 0, "then it is over");
	is_uint(relay.passed - before, 29, "and counted");
	close(home_end.mine);
	close(traveller_end.mine);
}

/* Who does not read holds up who writes to him, and neither us nor the other direction. */
static void test_back_pressure(void)
{
	static char bytes[65536];
	size_t sent = 0, got = 0;
	ssize_t some;
	bool same = true;

	join_two("home");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 % 251);
	for (int idle = 0; idle < 3; turn()) {
		some = send(traveller_end.mine, bytes + sent % 65536, 65536 - sent % 65536, 0);
		sent += some > 0 ? (size_t)some : 0;
		idle = some > 0 ? 0 : idle + 1;
	}
	ok(sent > 65536 && sent < 8 << 20, "who is not read cannot write for ever: %zu", sent);
	send(home_end.mine, "no", 2, 0);
	turn();
	ok(says(traveller_end.mine, "no"), "the other direction is free");
	shutdown(traveller_end.mine, SHUT_WR);
	do {
		char read_bytes[4096];
		turn();
		some = recv(home_end.mine, read_bytes, sizeof(read_bytes), 0);
		for (ssize_t i = 0; i < some; i++)
			same = same && read_bytes[i] == bytes[(got + (size_t)i) % 65536];
		got += some > 0 ? (size_t)some : 0;
	} while (some > 0);
	is_uint(got, sent, "all of it comes when it is read");
	ok(same, "unchanged");
	is_int((int)some, 0, "with its FIN");
	close(home_end.mine);
	close(traveller_end.mine);
	turn();
	is_uint(relay.used, 0, "nothing is left");
}

static void test_gone(void)
{
	struct end other_home, other_traveller;
	char byte;

	join_two("home");
	other_home = home_end;
	other_traveller = traveller_end;
	join_two("home");
	close(other_home.mine);
	/* One that is gone and not half closed: what is sent to it fails. */
	send(other_traveller.mine, "into the void", 13, 0);
	turn();
	ok(recv(other_traveller.mine, &byte, 1, 0) <= 0, "home is gone, so is the traveller's end");
	is_uint(relay.used, 1, "and the relay");
	send(home_end.mine, "here", 4, 0);
	turn();
	ok(says(traveller_end.mine, "here"), "another relay does not mind");
	close(other_traveller.mine);
	close(home_end.mine);
	close(traveller_end.mine);
	turn();
	is_uint(relay.used, 0, "nothing is left");
}

/* ---- who may ask -------------------------------------------------------------------------- */

static struct binding_server server = {.can_forget = true, .stream = true};
static struct reflector_names_caller caller = {.source = &here, .server = &server};
static struct reflector_names_effect effect;
static struct key home_key = {.name = "home"};

static enum rendezvous_outcome ask_once(struct rendezvous *client)
{
	uint8_t random[12], request[STUN_MESSAGE_MAX], answer[STUN_MESSAGE_MAX];
	const char *why;
	size_t size;

	random_fill(random, sizeof(random));
	size = rendezvous_write(client, random, request, sizeof(request));
	reflector_names_answer(
		&names, &caller, request, size, now, answer, sizeof(answer), &size, &effect);
	return rendezvous_read(client, answer, size, &why);
}

static enum rendezvous_outcome ask(struct rendezvous *client)
{
	enum rendezvous_outcome outcome;

	do
		outcome = ask_once(client);
	while (outcome == RENDEZVOUS_AGAIN);
	return outcome;
}

static struct rendezvous connect_as(const struct key *key)
{
	struct rendezvous client;

	rendezvous_start(&client, STUN_METHOD_CONNECT, key);
	ask(&client);
	return client;
}

static void open_names(void)
{
	struct error error;
	char line[KEY_LINE_SIZE];
	int fd = mkstemp(path);

	random_fill(home_key.secret, sizeof(home_key.secret));
	dprintf(fd, "%s\n", key_format(&home_key, line));
	close(fd);
	if (reflector_names_open(&names, path, NULL, now, &error) != 0)
		bail_out("%s", error.text);
}

static void register_home(uint32_t slot)
{
	struct rendezvous client;

	caller.slot = slot;
	caller.generation = 1;
	rendezvous_start(&client, STUN_METHOD_REGISTER, &home_key);
	client.mode = BINDING_MODE_HOLD;
	client.mode_seconds = 25;
	client.registration =
		(struct rendezvous_registration){.protocol = MAPPING_TCP, .local_port = 22};
	is_int(ask(&client), RENDEZVOUS_DONE, "home registers");
}

static void test_offer(void)
{
	struct rendezvous client;
	struct relay_ticket ticket;
	struct invitation told = {.number = 0};

	register_home(7);
	caller.slot = 8;
	client = connect_as(&home_key);
	ok(!rendezvous_take_offer(&client), "who does not relay offers nothing");
	client.method = STUN_METHOD_RELAY;
	is_int(ask(&client), RENDEZVOUS_FAILED, "and refuses who asks nevertheless");
	is_uint(client.code, RELAY_OFF, "for that reason");
	names.relay = &relay;
	client = connect_as(&home_key);
	ok(rendezvous_take_offer(&client), "who relays offers it");
	is_int(ask_once(&client), RENDEZVOUS_DONE, "and that is taken up by one request");
	ok(effect.relay != 0, "which makes a relay");
	is_uint(effect.home_slot, 7, "and has home told");
	memcpy(told.session, names.registry.entries[0].places[0].session, sizeof(told.session));
	is_int(invitation_read(&told, home_key.secret, effect.invitation, effect.invitation_size),
		0, "home believes it");
	ok(told.kind == INVITATION_RELAY && told.ticket.number == effect.relay,
		"and has a ticket for that relay");
	ticket = told.ticket;
	close(wait_for(&ticket, true).mine);
	turn();
	is_uint(relay.used, 0, "the traveller goes");
}

static void test_askers(void)
{
	struct key wrong = home_key;
	struct rendezvous client, kept;

	wrong.secret[0] ^= 1;
	client = connect_as(&home_key);
	rendezvous_take_offer(&client);
	kept = client;
	caller.slot = 9;
	is_int(ask_once(&client), RENDEZVOUS_AGAIN, "an offer is none over another connection");
	ok(effect.relay == 0, "nothing comes of it");
	client = kept;
	caller.slot = 8;
	caller.generation = 2;
	is_int(ask_once(&client), RENDEZVOUS_AGAIN, "nor over the next in that slot");
	caller.generation = 1;
	client = kept;
	client.key = &wrong;
	is_int(ask(&client), RENDEZVOUS_REFUSED, "nor with another key");
	client = connect_as(&home_key);
	client.method = STUN_METHOD_RELAY;
	is_int(ask_once(&client), RENDEZVOUS_AGAIN, "an ordinary nonce is none for it");
	is_int(ask_once(&client), RENDEZVOUS_DONE, "but fetches one");
	close(wait_for(&(struct relay_ticket){.number = effect.relay}, true).mine);
	turn();
	server.stream = false;
	rendezvous_start(&client, STUN_METHOD_RELAY, &home_key);
	ask(&client);
	ok(effect.relay == 0, "there is no relay over UDP");
	server.stream = true;
	reflector_names_release(&names, 0, 7, 1, now);
	client = connect_as(&home_key);
	ok(rendezvous_take_offer(&client), "home goes");
	is_int(ask(&client), RENDEZVOUS_FAILED, "and nobody waits for it");
	is_uint(client.code, RELAY_NOT_HOME, "for that reason");
	is_uint(relay.used, 0, "nor has taken a slot");
}

static void test_full_name(void)
{
	struct rendezvous client;
	struct relay_ticket ticket;

	register_home(7);
	caller.slot = 8;
	reflector_relay_reserve(&relay, "home", &ticket);
	reflector_relay_reserve(&relay, "home", &ticket);
	client = connect_as(&home_key);
	rendezvous_take_offer(&client);
	is_int(ask(&client), RENDEZVOUS_FAILED, "a name that has all it may");
	is_uint(client.code, RELAY_NAME_FULL, "is told so");
	is_uint(effect.invitation_size, 0, "and home is not");
}

int main(void)
{
	/* As signals_open() does for the program: splice(2) has no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	static const struct reflector_relay_limits limits = {.all = 3, .name = 2, .join_ms = 5000};
	unsigned before;

	signal(SIGPIPE, SIG_IGN);
	if (addr_parse_ip(&here, "192.0.2.2") != 0 || loop_open(&loop) != 0)
		bail_out("no loop");
	here.port = 40000;
	before = open_descriptors();
	if (reflector_relay_open(&relay, &loop, 1, &limits) != 0)
		bail_out("no memory");
	test_limits();
	test_joins();
	test_flow();
	test_back_pressure();
	test_gone();
	is_uint(open_descriptors(), before, "no descriptor is left open");
	open_names();
	test_offer();
	test_askers();
	test_full_name();
	reflector_relay_close(&relay);
	names.relay = NULL;
	reflector_names_close(&names, now);
	is_uint(open_descriptors(), before, "nor at the end");
	unlink(path);
	loop_close(&loop);
	return done_testing();
}
