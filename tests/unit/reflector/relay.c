/*
 * Relays on the reflector, both ends in this process: who is let to ask for one, who to join it,
 * what passes, and what is left behind.
 */
#include "reflector/relay.h"

#include <signal.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/keepalive.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/random.h"
#include "reflector/names.h"
#include "tap.h"
#include "unit/deaf.h"

#define START_MS    86400000ULL
#define DEAD_MS     300
#define DEADLINE_MS 10000

static struct loop loop;
static struct relay relay;
static struct names names;
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

static bool over_tcp;

static struct end make_end(void)
{
	int pair[2];

	if (over_tcp) {
		struct loopback ends = loopback_connect();

		fcntl(ends.ours, F_SETFL, O_NONBLOCK);
		fcntl(ends.theirs, F_SETFL, O_NONBLOCK);
		return (struct end){.mine = ends.theirs, .given = ends.ours};
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		bail_out("socketpair: %s", strerror(errno));
	return (struct end){.mine = pair[0], .given = pair[1]};
}

static struct end wait_for(const struct relay_ticket *ticket, bool told)
{
	struct end end = make_end();
	struct relay_initiator initiator = {
		.fd = end.given, .peer = here, .answer = (const uint8_t *)"yes", .answer_size = 3};

	relay_wait(&relay, ticket->number, &initiator, told, now);
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
			relay_event(&relay, events[i].tag, events[i].events, now);
		relay_expire(&relay, now);
	} while (count > 0 || relay_next(&relay) == 0);
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

static enum relay_verdict join(const struct relay_ticket *ticket, uint64_t *number)
{
	uint8_t random[12], transaction[STUN_TRANSACTION_SIZE];
	uint8_t request[STUN_MESSAGE_MAX], answer[RELAY_ANSWER];
	size_t size;

	random_fill(random, sizeof(random));
	size = relay_message_write_join(ticket, random, transaction, request, sizeof(request));
	return relay_answer_join(&relay, request, size, answer, sizeof(answer), &size, number);
}

static struct end begin(const struct relay_ticket *ticket)
{
	struct end end = make_end();

	relay_begin(&relay, ticket->number, end.given, &here, "joined", 6, now);
	return end;
}

static void test_limits(void)
{
	struct relay_ticket tickets[4], one_more;
	char byte;
	struct end ends[4];

	is_uint(relay_reserve(&relay, "home", &tickets[0], now), 0, "a first relay");
	is_uint(relay_reserve(&relay, "home", &tickets[1], now), 0, "a second");
	is_uint(relay_reserve(&relay, "home", &one_more, now), RELAY_MESSAGE_NAME_FULL,
		"home may have no third");
	is_uint(relay_reserve(&relay, "work", &tickets[2], now), 0, "another name may");
	is_uint(relay_reserve(&relay, "third", &one_more, now), RELAY_MESSAGE_FULL,
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
	is_uint(relay_reserve(&relay, "home", &tickets[3], now), 0,
		"one initiator goes, and makes room");
	ok(tickets[3].number != tickets[0].number, "for a relay of another number");
	ends[3] = wait_for(&tickets[3], false);
	is_uint(refusal(ends[3].mine), RELAY_MESSAGE_NOT_HOME, "home could not be told");
	is_uint(relay_next(&relay), now + 5000, "the others wait for so long");
	now += 5000;
	relay_expire(&relay, now);
	is_uint(refusal(ends[1].mine), RELAY_MESSAGE_NOT_HOME,
		"and then are told that nobody came");
	is_uint(refusal(ends[2].mine), RELAY_MESSAGE_NOT_HOME, "both of them");
	is_uint(relay_next(&relay), TIMER_NONE, "nothing is waited for");
	for (int i = 1; i < 4; i++)
		close(ends[i].mine);
}

static void test_joins(void)
{
	struct relay_ticket ticket, wrong;
	struct end initiator, home;
	uint64_t number;

	relay_reserve(&relay, "home", &ticket, now);
	is_int(join(&ticket, &number), RELAY_VERDICT_REFUSED, "nobody joins before it waits");
	initiator = wait_for(&ticket, true);
	wrong = ticket;
	wrong.token[15] ^= 1;
	is_int(join(&wrong, &number), RELAY_VERDICT_REFUSED, "another token");
	wrong = ticket;
	wrong.number++;
	is_int(join(&wrong, &number), RELAY_VERDICT_REFUSED, "another generation");
	wrong.number = ticket.number + (1ULL << 32);
	is_int(join(&wrong, &number), RELAY_VERDICT_REFUSED, "a free slot");
	wrong.number = UINT64_MAX;
	is_int(join(&wrong, &number), RELAY_VERDICT_REFUSED, "no slot at all");
	wrong.number = (uint64_t)1 << 32;
	memset(wrong.token, 0, sizeof(wrong.token));
	is_int(join(&wrong, &number), RELAY_VERDICT_REFUSED, "what a free slot has: zeros");
	is_int(join(&ticket, &number), RELAY_VERDICT_JOINED, "the right one");
	ok(number == ticket.number, "by its number");
	home = begin(&ticket);
	ok(says(initiator.mine, "yes"), "the initiator has its answer");
	ok(says(home.mine, "joined"), "home its own");
	is_int(join(&ticket, &number), RELAY_VERDICT_REFUSED, "a ticket is good once");
	close(home.mine);
	close(initiator.mine);
	turn();
	is_int(join(&ticket, &number), RELAY_VERDICT_REFUSED, "and not after the end");
	is_uint(relay.used, 0, "nothing is left");
}

static struct end home_end;
static struct end initiator_end;

static void join_two(const char *name)
{
	struct relay_ticket ticket;

	if (relay_reserve(&relay, name, &ticket, now) != 0)
		bail_out("no relay");
	initiator_end = wait_for(&ticket, true);
	home_end = begin(&ticket);
	if (!says(initiator_end.mine, "yes") || !says(home_end.mine, "joined"))
		bail_out("no answers");
}

static void test_flow(void)
{
	uint64_t before = relay.passed;
	char byte;

	join_two("home");
	send(initiator_end.mine, "there", 5, 0);
	send(home_end.mine, "back again", 10, 0);
	turn();
	ok(says(home_end.mine, "there"), "what the initiator says comes to home");
	ok(says(initiator_end.mine, "back again"), "and the other way");
	send(initiator_end.mine, "last", 4, 0);
	shutdown(initiator_end.mine, SHUT_WR);
	turn();
	ok(says(home_end.mine, "last"), "what was said before a FIN");
	is_int(recv(home_end.mine, &byte, 1, 0), 0, "and then the FIN");
	send(home_end.mine, "still here", 10, 0);
	turn();
	ok(says(initiator_end.mine, "still here"), "the other direction goes on");
	is_uint(relay_next(&relay), TIMER_NONE, "without anything to wait for");
	shutdown(home_end.mine, SHUT_WR);
	turn();
	is_int(recv(initiator_end.mine, &byte, 1, 0), 0, "until its FIN");
	is_uint(relay.used, 0, "then it is over");
	is_uint(relay.passed - before, 29, "and counted");
	close(home_end.mine);
	close(initiator_end.mine);
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
		some = send(initiator_end.mine, bytes + sent % 65536, 65536 - sent % 65536, 0);
		sent += some > 0 ? (size_t)some : 0;
		idle = some > 0 ? 0 : idle + 1;
	}
	ok(sent > 65536 && sent < 8 << 20, "who is not read cannot write for ever: %zu", sent);
	send(home_end.mine, "no", 2, 0);
	turn();
	ok(says(initiator_end.mine, "no"), "the other direction is free");
	shutdown(initiator_end.mine, SHUT_WR);
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
	close(initiator_end.mine);
	turn();
	is_uint(relay.used, 0, "nothing is left");
}

static void test_gone(void)
{
	struct end other_home, other_initiator;
	char byte;

	join_two("home");
	other_home = home_end;
	other_initiator = initiator_end;
	join_two("home");
	close(other_home.mine);
	/* One that is gone and not half closed: what is sent to it fails. */
	send(other_initiator.mine, "into the void", 13, 0);
	turn();
	ok(recv(other_initiator.mine, &byte, 1, 0) <= 0, "home is gone, so is the initiator's end");
	is_uint(relay.used, 1, "and the relay");
	send(home_end.mine, "here", 4, 0);
	turn();
	ok(says(initiator_end.mine, "here"), "another relay does not mind");
	close(other_initiator.mine);
	close(home_end.mine);
	close(initiator_end.mine);
	turn();
	is_uint(relay.used, 0, "nothing is left");
}

/* ---- the dead yield ----------------------------------------------------------------------- */

struct ends {
	struct end initiator;
	struct end home;
};

static struct ends join_over_tcp(const char *name)
{
	struct relay_ticket ticket;
	struct ends ends;

	over_tcp = true;
	if (relay_reserve(&relay, name, &ticket, now) != 0)
		bail_out("no relay");
	ends.initiator = wait_for(&ticket, true);
	ends.home = begin(&ticket);
	over_tcp = false;
	if (!says(ends.initiator.mine, "yes") || !says(ends.home.mine, "joined"))
		bail_out("no answers");
	return ends;
}

/* It hears nothing any more, and what is said to `other` is for it. */
static void die(const struct end *end, const struct end *other)
{
	uint64_t until = clock_now_ms() + DEADLINE_MS;

	become_deaf(end->mine);
	send(other->mine, "x", 1, 0);
	for (;;) {
		turn();
		if (keepalive_dead_ms(end->given, DEAD_MS) != 0 || clock_now_ms() >= until)
			return;
		poll(NULL, 0, 10);
	}
}

static bool is_cut(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

static bool passes(const struct ends *ends)
{
	send(ends->initiator.mine, "alive", 5, 0);
	turn();
	return says(ends->home.mine, "alive");
}

static void go(struct ends *ends)
{
	close(ends->initiator.mine);
	close(ends->home.mine);
	turn();
}

static void give_back(const struct relay_ticket *ticket)
{
	close(wait_for(ticket, true).mine);
	turn();
}

static void test_dead_yield(void)
{
	struct ends idle = join_over_tcp("home"), dead = join_over_tcp("home"), other;
	struct relay_ticket ticket, next;
	static struct counters counters;

	relay.counters = &counters;
	is_uint(relay_reserve(&relay, "home", &ticket, now), RELAY_MESSAGE_NAME_FULL,
		"all of a name's relays are there: none is ended");
	die(&dead.initiator, &dead.home);
	other = join_over_tcp("work");
	is_uint(relay.used, 3, "nobody wants its place: one whose initiator is dead stays");
	is_uint(relay_reserve(&relay, "home", &ticket, now), 0, "for the same name it goes");
	ok(is_cut(dead.home.mine), "and its home is cut off");
	ok(passes(&idle), "but not an older one that is idle");
	is_uint(counters.values[COUNTER_DEAD_RELAY_NAME], 1, "and it is counted");
	is_uint(relay_reserve(&relay, "third", &next, now), RELAY_MESSAGE_FULL,
		"there is no room for another name: all are there");
	go(&dead);
	die(&other.home, &other.initiator);
	is_uint(relay_reserve(&relay, "home", &next, now), RELAY_MESSAGE_NAME_FULL,
		"another name's dead relay is no use to a name with all");
	is_uint(relay_reserve(&relay, "third", &next, now), 0, "where home is dead it goes too");
	ok(is_cut(other.initiator.mine), "and its initiator is cut off");
	is_uint(counters.values[COUNTER_DEAD_RELAY], 1, "which is counted by itself");
	give_back(&ticket);
	give_back(&next);
	go(&other);
	dead = join_over_tcp("work");
	go(&idle);
	poll(NULL, 0, DEAD_MS);
	other = join_over_tcp("work");
	die(&other.initiator, &other.home);
	die(&dead.initiator, &dead.home);
	is_uint(relay_reserve(&relay, "work", &ticket, now), 0, "of two that are dead");
	ok(is_cut(dead.home.mine), "the one goes that was last heard of before the other");
	ok(!is_cut(other.home.mine), "which does not");
	go(&other);
	go(&dead);
	give_back(&ticket);
	relay.counters = NULL;
}

/* ---- who may ask -------------------------------------------------------------------------- */

static struct binding_server server = {.can_forget = true, .stream = true};
static struct names_caller caller = {.source = &here, .server = &server};
static struct names_effect effect;
static struct key home_key = {.name = "home"};

static enum name_message_outcome ask_once(struct name_question *client)
{
	uint8_t random[12], request[STUN_MESSAGE_MAX], answer[STUN_MESSAGE_MAX];
	const char *why;
	size_t size;

	random_fill(random, sizeof(random));
	size = name_message_write(client, random, request, sizeof(request));
	names_answer(&names, &caller, request, size, now, answer, sizeof(answer), &size, &effect);
	return name_message_read(client, answer, size, &why);
}

static enum name_message_outcome ask(struct name_question *client)
{
	enum name_message_outcome outcome;

	do
		outcome = ask_once(client);
	while (outcome == NAME_MESSAGE_AGAIN);
	return outcome;
}

static struct name_question connect_as(const struct key *key)
{
	struct name_question client;

	name_message_start(&client, STUN_METHOD_CONNECT, key);
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
	if (names_open(&names, path, NULL, now, &error) != 0)
		bail_out("%s", error.text);
}

static void register_over(uint32_t slot, enum mapping_protocol protocol)
{
	struct name_question client;

	caller.slot = slot;
	caller.generation = 1;
	name_message_start(&client, STUN_METHOD_REGISTER, &home_key);
	client.mode = BINDING_MODE_HOLD;
	client.mode_seconds = 25;
	client.registration =
		(struct name_message_registration){.protocol = protocol, .local_port = 22};
	if (protocol == MAPPING_UDP)
		client.registration.mapped_port = 51820;
	is_int(ask(&client), NAME_MESSAGE_DONE, "home registers");
}

static void register_home(uint32_t slot)
{
	register_over(slot, MAPPING_TCP);
}

static void test_offer(void)
{
	struct name_question client;
	struct relay_ticket ticket;
	struct invitation told = {.number = 0};

	register_home(7);
	caller.slot = 8;
	client = connect_as(&home_key);
	ok(!name_message_take_offer(&client), "who does not relay offers nothing");
	client.method = STUN_METHOD_RELAY;
	is_int(ask(&client), NAME_MESSAGE_FAILED, "and refuses who asks nevertheless");
	is_uint(client.code, RELAY_MESSAGE_OFF, "for that reason");
	names.relay = &relay;
	client = connect_as(&home_key);
	ok(name_message_take_offer(&client), "who relays offers it");
	is_int(ask_once(&client), NAME_MESSAGE_DONE, "and that is taken up by one request");
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
	is_uint(relay.used, 0, "the initiator goes");
}

static void test_askers(void)
{
	struct key wrong = home_key;
	struct name_question client, kept;

	wrong.secret[0] ^= 1;
	client = connect_as(&home_key);
	name_message_take_offer(&client);
	kept = client;
	caller.slot = 9;
	is_int(ask_once(&client), NAME_MESSAGE_AGAIN, "an offer is none over another connection");
	ok(effect.relay == 0, "nothing comes of it");
	client = kept;
	caller.slot = 8;
	caller.generation = 2;
	is_int(ask_once(&client), NAME_MESSAGE_AGAIN, "nor over the next in that slot");
	caller.generation = 1;
	client = kept;
	client.key = &wrong;
	is_int(ask(&client), NAME_MESSAGE_REFUSED, "nor with another key");
	client = connect_as(&home_key);
	client.method = STUN_METHOD_RELAY;
	is_int(ask_once(&client), NAME_MESSAGE_AGAIN, "an ordinary nonce is none for it");
	is_int(ask_once(&client), NAME_MESSAGE_DONE, "but fetches one");
	close(wait_for(&(struct relay_ticket){.number = effect.relay}, true).mine);
	turn();
	server.stream = false;
	name_message_start(&client, STUN_METHOD_RELAY, &home_key);
	ask(&client);
	ok(effect.relay == 0, "there is no relay over UDP");
	server.stream = true;
	register_over(6, MAPPING_UDP);
	caller.slot = 8;
	client = connect_as(&home_key);
	ok(name_message_take_offer(&client), "home has a UDP port as well");
	is_int(ask_once(&client), NAME_MESSAGE_DONE, "and is asked for a relay");
	is_uint(effect.home_slot, 7, "over the connection of its TCP port");
	close(wait_for(&(struct relay_ticket){.number = effect.relay}, true).mine);
	turn();
	names_release(&names, 0, 7, 1, now);
	client = connect_as(&home_key);
	ok(name_message_take_offer(&client), "that one goes");
	is_int(ask(&client), NAME_MESSAGE_FAILED, "and nobody waits for it");
	is_uint(client.code, RELAY_MESSAGE_NOT_HOME, "for that reason");
	is_uint(relay.used, 0, "nor has taken a slot");
}

static void test_full_name(void)
{
	struct name_question client;
	struct relay_ticket ticket;

	register_home(7);
	caller.slot = 8;
	relay_reserve(&relay, "home", &ticket, now);
	relay_reserve(&relay, "home", &ticket, now);
	client = connect_as(&home_key);
	name_message_take_offer(&client);
	is_int(ask(&client), NAME_MESSAGE_FAILED, "a name that has all it may");
	is_uint(client.code, RELAY_MESSAGE_NAME_FULL, "is told so");
	is_uint(effect.invitation_size, 0, "and home is not");
}

int main(void)
{
	/* As signals_open() does for the program: splice(2) has no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	static const struct relay_limits limits = {
		.all = 3, .name = 2, .join_ms = 5000, .dead_ms = DEAD_MS};
	unsigned before;

	signal(SIGPIPE, SIG_IGN);
	if (addr_parse_ip(&here, "192.0.2.2") != 0 || loop_open(&loop) != 0)
		bail_out("no loop");
	here.port = 40000;
	before = open_descriptors();
	if (relay_open(&relay, &loop, 1, &limits) != 0)
		bail_out("no memory");
	test_limits();
	test_joins();
	test_flow();
	test_back_pressure();
	test_gone();
	test_dead_yield();
	is_uint(open_descriptors(), before, "no descriptor is left open");
	open_names();
	test_offer();
	test_askers();
	test_full_name();
	relay_close(&relay);
	names.relay = NULL;
	names_close(&names, now);
	is_uint(open_descriptors(), before, "nor at the end");
	unlink(path);
	loop_close(&loop);
	return done_testing();
}
