/*
 * Home's way to a relayed connection, by a reflector on loopback that the test plays itself, with
 * the test's own clock: what happens when a packet is lost, and what ends it.
 */
#include "home/relay_client.h"

#include "natpunch/os/flow.h"
#include "unit/server.h"

#define START 1000000

static struct relay_client client;
static struct relay_ticket ticket = {.number = 7, .token = "sixteen bytes, "};
static int listener;

static void open_listener(int backlog)
{
	const struct addr addr = address("127.0.0.1", SERVER_PORT);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (socket_set_flag(listener, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_bind(listener, &addr) != 0 || listen(listener, backlog) != 0)
		bail_out("cannot listen: %s", strerror(errno));
}

static void start(void)
{
	const struct relay_client_path path = {.reflector = address("127.0.0.1", SERVER_PORT)};
	const struct addr initiator = address("203.0.113.2", 5000);

	relay_client_start(&client, &path, &ticket, &initiator, START);
}

static void begin(void)
{
	open_listener(8);
	start();
}

static void finish(void)
{
	relay_client_end(&client);
	close(listener);
}

/* One turn at that time, with what comes within `patience` ms. */
static void turn(uint64_t now, int patience)
{
	struct pollfd fds[RELAY_CLIENT_WATCH_MAX];

	relay_client_watch(&client, fds);
	poll(fds, RELAY_CLIENT_WATCH_MAX, patience);
	relay_client_advance(&client, fds, now);
}

/* The next connection of home's, or -1: there is none now. */
static int next_connection(int patience)
{
	struct pollfd watch = {.fd = listener, .events = POLLIN};

	if (poll(&watch, 1, patience) != 1)
		return -1;
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

/* Home's JOIN over it, with its answer in `out`. Returns the answer's size; 0: that is no JOIN. */
static size_t hear_join(int fd, uint8_t out[STUN_MESSAGE_MAX])
{
	struct stun_message message;
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;
	uint64_t number;

	be_patient(fd, PATIENCE);
	size = hear_message(fd, SOCK_STREAM, bytes);
	if (size == 0 || stun_parse(&message, bytes, size) < 0 ||
		relay_message_read_join(&message, &number) != 0 || number != ticket.number)
		return 0;
	return relay_message_write_joined(&message, ticket.token, out, STUN_MESSAGE_MAX);
}

/* Connected, and it has asked. */
static int hear_ask(uint64_t now, uint8_t answer[STUN_MESSAGE_MAX], size_t *size)
{
	int fd;

	turn(now, PATIENCE);
	fd = next_connection(PATIENCE);
	*size = fd >= 0 ? hear_join(fd, answer) : 0;
	return fd;
}

static void joins_at(uint64_t now, const char *when)
{
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;
	int fd = hear_ask(now, answer, &size), home;

	ok(size > 0, "it asks %s", when);
	ok(say(fd, answer, size) && say(fd, "ssh", 3), "it is answered, with the session behind");
	turn(now, PATIENCE);
	is_int(client.state, RELAY_CLIENT_OPEN, "and has what it wants");
	home = relay_client_take(&client);
	is_int(client.state, RELAY_CLIENT_NONE, "the connection is handed out");
	be_patient(home, PATIENCE);
	ok(hear(home, answer, 3) && memcmp(answer, "ssh", 3) == 0, "with all of the session");
	close(home);
	close(fd);
}

static void test_join(void)
{
	begin();
	is_int(client.state, RELAY_CLIENT_CONNECTING, "it connects");
	joins_at(START, "at once");
	is_int(next_connection(0), -1, "that is the only connection");
	finish();
}

/* The one place in the queue is taken: the kernel drops what comes, until there is room. */
static void test_lost_syn(void)
{
	int fill;

	open_listener(0);
	fill = dial("127.0.0.1", SERVER_PORT);
	start();
	is_uint(client.due, START + REFLECTOR_CALL_STAGGER_MS, "without an answer to its SYN");
	turn(START + REFLECTOR_CALL_STAGGER_MS - 1, 0);
	is_uint(client.call.count, 1, "it waits so long");
	close(next_connection(PATIENCE));
	turn(START + REFLECTOR_CALL_STAGGER_MS, 0);
	is_uint(client.call.count, 2, "and sends another one");
	joins_at(START + REFLECTOR_CALL_STAGGER_MS + 1, "over the one that is through");
	close(fill);
	finish();
}

/* Its JOIN was late, or the connection is gone: once more, AGAIN_MS after the last time. */
static void test_again(void)
{
	static const char line[] = "203.0.113.2 5000\n";
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;
	int fd;

	begin();
	fd = hear_ask(START, answer, &size);
	ok(size > 0 && say(fd, line, sizeof(line) - 1), "the reflector takes it for a person");
	close(fd);
	turn(START + 250, PATIENCE);
	is_int(client.state, RELAY_CLIENT_CONNECTING, "it begins again at once");
	fd = hear_ask(START + 260, answer, &size);
	ok(size > 0, "it asks again");
	close(fd);
	turn(START + 260, PATIENCE);
	is_int(client.state, RELAY_CLIENT_PAUSING, "closed without an answer: it begins again");
	is_uint(client.due, START + 350, "not more often than each tenth of a second");
	turn(START + 349, 0);
	is_int(next_connection(0), -1, "not before");
	turn(START + 350, 0);
	fd = hear_ask(START + 351, answer, &size);
	ok(size > 0, "it asks once more");
	flow_abort(fd);
	turn(START + 600, PATIENCE);
	joins_at(START + 600, "after a RST as well");
	finish();
}

static void test_refusal(void)
{
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;
	int fd;

	begin();
	fd = hear_ask(START, answer, &size);
	size = relay_message_write_error(STUN_METHOD_JOIN, client.transaction,
		RELAY_MESSAGE_UNPROVEN, answer, sizeof(answer));
	ok(say(fd, answer, size), "it is refused");
	turn(START, PATIENCE);
	is_int(client.state, RELAY_CLIENT_FAILED, "and does not ask again");
	is_str(client.problem, "the initiator is gone", "it says why");
	close(fd);
	finish();
}

static void test_time(void)
{
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;
	int fd;

	begin();
	fd = hear_ask(START, answer, &size);
	is_uint(client.due, START + RELAY_CLIENT_TIMEOUT_MS, "an answer is waited for");
	turn(START + RELAY_CLIENT_TIMEOUT_MS - 1, 0);
	is_int(client.state, RELAY_CLIENT_ASKING, "as long as the reflector waits");
	turn(START + RELAY_CLIENT_TIMEOUT_MS, 0);
	is_int(client.state, RELAY_CLIENT_FAILED, "and no longer");
	is_str(client.problem, "the time is up", "it says so");
	close(fd);
	finish();
}

/* It has been closed with over and over. */
static void test_reason(void)
{
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;

	begin();
	close(hear_ask(START, answer, &size));
	turn(START + RELAY_CLIENT_TIMEOUT_MS, PATIENCE);
	is_int(client.state, RELAY_CLIENT_FAILED, "the time is up while it begins again");
	is_str(client.problem, "the reflector closed the connection", "it says what went wrong");
	finish();
}

int main(void)
{
	network_enter();
	test_join();
	test_lost_syn();
	test_again();
	test_refusal();
	test_time();
	test_reason();
	return done_testing();
}
