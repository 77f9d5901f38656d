/* Asking for a dial-back: what servers of all sorts answer, and what is made of it. */
#include "natpunch/client/dialback_client.h"

#include "unit/server.h"

static struct dialback_client client;

static int open_server(struct addr *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = address("127.0.0.1", 0);
	be_patient(fd, PATIENCE);
	if (fd < 0 || socket_bind(fd, addr) != 0 || listen(fd, 5) != 0 ||
		socket_local(fd, addr) != 0)
		bail_out("no server: %s", strerror(errno));
	return fd;
}

static void start(const struct addr *reflector)
{
	struct dialback_client_request request = {
		.reflector = *reflector, .places = DIALBACK_SAME_ADDRESS, .port = 22};

	dialback_client_start(&client, &request, 1000);
}

/* Goes on until the state is another one, or PATIENCE is over. */
static void advance(enum dialback_client_state from)
{
	while (client.state == from) {
		struct pollfd watch = {.fd = dialback_client_fd(&client),
			.events = dialback_client_events(&client)};

		if (poll(&watch, 1, PATIENCE) != 1)
			return;
		dialback_client_advance(&client, 1000);
	}
}

static void is_failed(enum exit_status status, const char *text, bool unsupported)
{
	is_int(client.state, DIALBACK_CLIENT_FAILED, "failed: %s", text);
	is_int(client.error.status, status, "its status");
	ok(strstr(client.error.text, text) != NULL, "said: %s", client.error.text);
	is_int(client.unsupported, unsupported, "is the server one that does not do this?");
	is_int(dialback_client_fd(&client), -1, "nothing is left open");
	dialback_client_end(&client);
}

/* Connects, takes the question, says this and closes. */
static void answer_with(const void *data, size_t size)
{
	struct addr addr;
	int listener = open_server(&addr), fd;
	uint8_t question[36];

	start(&addr);
	fd = accept(listener, NULL, NULL);
	be_patient(fd, PATIENCE);
	advance(DIALBACK_CLIENT_CONNECTING);
	ok(hear(fd, question, sizeof(question)) && dialback_is_request(question, sizeof(question)),
		"the question comes");
	if (size > 0)
		say(fd, data, size);
	shutdown(fd, SHUT_WR);
	advance(DIALBACK_CLIENT_ASKING);
	close(fd);
	close(listener);
}

/* The same with an answer to the question, in two pieces. */
static void test_answered(void)
{
	struct dialback_answer answer = {.target = address("192.0.2.1", 22),
		.count = 1,
		.results = {{.place = 1, .outcome = DIALBACK_REFUSED}}};
	struct addr addr, other = address("192.0.2.1", 23);
	int listener = open_server(&addr), fd;
	uint8_t question[36], bytes[DIALBACK_ANSWER_MAX];
	size_t size;

	start(&addr);
	fd = accept(listener, NULL, NULL);
	be_patient(fd, PATIENCE);
	advance(DIALBACK_CLIENT_CONNECTING);
	hear(fd, question, sizeof(question));
	size = dialback_write_answer(question + 4, &answer, bytes, sizeof(bytes));
	say(fd, bytes, 30);
	dialback_client_advance(&client, 1000);
	is_int(client.state, DIALBACK_CLIENT_ASKING, "half an answer is none yet");
	say(fd, bytes + 30, size - 30);
	advance(DIALBACK_CLIENT_ASKING);
	is_int(client.state, DIALBACK_CLIENT_DONE, "the whole is");
	is_int(client.answer.results[0].outcome, DIALBACK_REFUSED, "its result");
	ok(dialback_client_is_about(&client, &answer.target), "it is about that mapping");
	ok(!dialback_client_is_about(&client, &other), "and about no other");
	ok(hear_fin(fd), "the connection is closed");
	dialback_client_end(&client);
	close(fd);
	close(listener);
}

static void test_bad_answers(void)
{
	static const uint8_t error[] = {
		0x03, 0xd4, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

	answer_with("SSH-2.0-OpenSSH\r\n", 17);
	is_failed(EXIT_STATUS_PEER, "it is not STUN", false);
	answer_with(error, sizeof(error));
	is_failed(EXIT_STATUS_PEER, "another transaction", false);
	answer_with(error, 10);
	is_failed(EXIT_STATUS_NETWORK, "it closed the connection", false);
	ok(!client.silent, "that was half a word");
	answer_with("", 0);
	ok(client.silent, "that was none: it may be one that does not do this");
	is_failed(EXIT_STATUS_NETWORK, "it closed the connection", false);
}

/* What a STUN server says that does not know the method. */
static void test_unsupported(void)
{
	struct addr addr;
	int listener = open_server(&addr), fd;
	uint8_t question[36], bytes[64];
	struct wire_writer writer;

	start(&addr);
	fd = accept(listener, NULL, NULL);
	advance(DIALBACK_CLIENT_CONNECTING);
	hear(fd, question, sizeof(question));
	stun_begin(&writer, bytes, sizeof(bytes), STUN_ERROR, STUN_METHOD_DIAL, question + 4);
	stun_put_error(&writer, 400, "Bad Request");
	say(fd, bytes, stun_finish(&writer));
	advance(DIALBACK_CLIENT_ASKING);
	is_failed(EXIT_STATUS_NETWORK, "it does not offer that", true);
	close(fd);
	close(listener);
}

static void test_time(void)
{
	struct addr addr;
	int listener = open_server(&addr);

	start(&addr);
	is_uint(client.due, 1000 + DIALBACK_CLIENT_TIMEOUT_MS, "it is due in its time");
	dialback_client_advance(&client, 1000 + DIALBACK_CLIENT_TIMEOUT_MS - 1);
	ok(client.state != DIALBACK_CLIENT_FAILED, "not before");
	dialback_client_advance(&client, 1000 + DIALBACK_CLIENT_TIMEOUT_MS);
	is_failed(EXIT_STATUS_NETWORK, "the time is up", false);
	close(listener);

	start(&addr);
	if (client.state == DIALBACK_CLIENT_CONNECTING)
		advance(DIALBACK_CLIENT_CONNECTING);
	is_failed(EXIT_STATUS_NETWORK, "Connection refused", false);
	addr = address("192.0.2.1", 3478);
	start(&addr);
	is_failed(EXIT_STATUS_LOCAL, "unreachable", false);
}

int main(void)
{
	network_enter();
	test_answered();
	test_bad_answers();
	test_unsupported();
	test_time();
	return done_testing();
}
