/*
 * Who is held when all that can be are: a home that registers a name comes before a client that has
 * missed its keep-alives, and before nobody else. The connections and the time are made up.
 */
#include "reflector/tcp.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/key_file.h"
#include "natpunch/proto/name_messages.h"
#include "unit/server.h"

#define TAG      1
#define CAPACITY 8 /* of which 7 can be held */
#define HOLDERS  7
#define START_MS 86400000ULL

static struct loop loop;
static struct names names;
static struct tcp_server tcp;
static struct counters counters;
static struct key home = {.name = "home"};
static uint64_t now = START_MS;
static char path[] = "/tmp/natpunch-held-XXXXXX";

static void open_server(void)
{
	const struct reflector_times times = REFLECTOR_TIMES_DEFAULT;
	char line[KEY_LINE_SIZE];
	struct error error;
	int fd = mkstemp(path);

	random_fill(home.secret, sizeof(home.secret));
	if (fd < 0 || dprintf(fd, "%s\n", key_format(&home, line)) < 0 || loop_open(&loop) != 0 ||
		names_open(&names, path, NULL, now, &error) != 0 ||
		tcp_open(&tcp, &loop, TAG, CAPACITY, &times, &names) != 0)
		bail_out("no server");
	close(fd);
	unlink(path);
	tcp.counters = &counters;
}

static void turn(void)
{
	struct loop_event events[LOOP_BATCH];
	int count = loop_wait(&loop, events, 0);

	for (int i = 0; i < count; i++)
		tcp_event(&tcp, events[i].tag, now);
	tcp_expire(&tcp, now);
}

/* Of another source each: none has more than the others. */
static int come(void)
{
	static uint8_t number;
	const struct addr peer = {.family = ADDR_IPV4, .ip = {192, 0, 2, ++number}, .port = 22};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		bail_out("socketpair: %s", strerror(errno));
	tcp_adopt(&tcp, pair[0], &peer, now);
	return pair[1];
}

static bool ask_to_hold(int fd, uint16_t seconds)
{
	struct question question = question_make(BINDING_MODE_HOLD, seconds);
	uint8_t answer[STUN_MESSAGE_MAX];

	say(fd, question.bytes, question.size);
	turn();
	return hear_message(fd, SOCK_STREAM, answer) > 0;
}

static bool ask_to_register(int fd)
{
	enum name_message_outcome outcome = NAME_MESSAGE_AGAIN;
	struct name_question client;

	name_message_start(&client, STUN_METHOD_REGISTER, &home);
	client.mode = BINDING_MODE_HOLD;
	client.mode_seconds = 25;
	client.registration =
		(struct name_message_registration){.protocol = MAPPING_TCP, .local_port = 22};
	while (outcome == NAME_MESSAGE_AGAIN) {
		uint8_t bytes[STUN_MESSAGE_MAX], random[12];
		const char *why;

		random_fill(random, sizeof(random));
		say(fd, bytes, name_message_write(&client, random, bytes, sizeof(bytes)));
		turn();
		outcome = name_message_read(
			&client, bytes, hear_message(fd, SOCK_STREAM, bytes), &why);
	}
	return outcome == NAME_MESSAGE_DONE;
}

/* All but two, which may be the same. */
static void keep_alive(const int holders[HOLDERS], int one, int other)
{
	for (int i = 0; i < HOLDERS; i++)
		if (i != one && i != other)
			ask_to_hold(holders[i], 60);
}

/* The slots are taken in the order in which they come. */
static bool is_held(uint32_t slot)
{
	return tcp.table.connections[slot].held;
}

int main(void)
{
	int holders[HOLDERS], last, stranger;
	unsigned held = 0;

	open_server();
	for (uint32_t i = 0; i < HOLDERS; i++) {
		holders[i] = come();
		held += ask_to_hold(holders[i], 60) && is_held(i);
	}
	is_uint(held, HOLDERS, "all that can be held are");
	last = come();
	ok(ask_to_register(last) && !is_held(HOLDERS), "a home that registers comes too late");
	now += 59000;
	ok(ask_to_register(last) && !is_held(HOLDERS), "also before those that are idle");
	keep_alive(holders, 5, 5);
	now += 59000;
	ok(ask_to_register(last) && !is_held(HOLDERS), "one keep-alive may be late");
	keep_alive(holders, 3, 5);
	now += 2000;
	stranger = come();
	ok(ask_to_hold(stranger, 25) && tcp.table.connections[HOLDERS].peer.ip[3] == HOLDERS + 2,
		"two are missed: a client without a name has no use of that");
	ok(is_held(5), "nor is who missed them held no more for it");
	last = come();
	ok(ask_to_register(last) && is_held(HOLDERS), "but a home that registers is held");
	ok(!is_held(5), "for the one that missed them");
	ok(is_held(3), "and not for one that missed one");
	is_uint(counters.values[COUNTER_DEAD_HELD], 1, "which is counted");
	is_uint(tcp.table.held, HOLDERS, "so many are held as before");
	is_uint(tcp.table.used, CAPACITY, "and none is ended");
	for (int i = 0; i < HOLDERS; i++)
		close(holders[i]);
	close(last);
	close(stranger);
	tcp_close(&tcp);
	names_close(&names, now);
	loop_close(&loop);
	return done_testing();
}
