/* The reflector dials back: whom, from where, how often, and what it tells of it. */
#include "reflector/dialler.h"

#include "unit/server.h"

static const char home[] = "127.0.0.9";

/* A listener of home's, and its port. After the server's start, which would inherit it. */
static int open_door(uint16_t *port)
{
	struct addr addr = address(home, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	be_patient(fd, PATIENCE);
	if (fd < 0 || socket_bind(fd, &addr) != 0 || listen(fd, 5) != 0 ||
		socket_local(fd, &addr) != 0)
		bail_out("no door: %s", strerror(errno));
	*port = addr.port;
	return fd;
}

static int call_in(void)
{
	struct addr from = address(home, 0);
	int fd = connect_from(&from, SOCK_STREAM, "127.0.0.1", SERVER_PORT);

	if (fd < 0)
		bail_out("the reflector does not listen");
	return fd;
}

static struct dialback_request ask_dial(int fd, uint8_t places, uint16_t port)
{
	struct dialback_request request = {.places = places, .port = port};
	uint8_t bytes[DIALBACK_REQUEST_MAX], random[12];

	random_fill(random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	say(fd, bytes, dialback_write_request(&request, bytes, sizeof(bytes)));
	return request;
}

static bool hear_dial(
	int fd, const struct dialback_request *request, struct dialback_answer *answer)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = hear_message(fd, SOCK_STREAM, bytes);
	const char *why = "none came";

	memset(answer, 0, sizeof(*answer));
	if (size > 0 &&
		dialback_read_answer(request, bytes, size, answer, &why) == DIALBACK_ANSWERED)
		return true;
	diag("%s", why != NULL ? why : "refused");
	return false;
}

/* The outcome of the first place. */
static enum dialback_outcome ask_outcome(int fd, uint8_t places, uint16_t port)
{
	struct dialback_request request = ask_dial(fd, places, port);
	struct dialback_answer answer;

	return hear_dial(fd, &request, &answer) ? answer.results[0].outcome : 0;
}

/* Takes a visitor in; true when it comes from that address. */
static int let_in(int door, struct addr *from)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = sizeof(sockaddr);
	int fd = accept(door, (struct sockaddr *)&sockaddr, &size);

	if (fd < 0)
		bail_out("nobody comes: %s", strerror(errno));
	be_patient(fd, PATIENCE);
	socket_to_addr(&sockaddr, from);
	return fd;
}

static void start(struct server *server)
{
	server_init(server);
	server->config.alternates[0] = address("127.0.0.2", 0);
	server_start(server);
}

static void test_two_places(void)
{
	struct addr froms[3] = {[1] = {.family = ADDR_NONE}};
	struct addr main_address = address("127.0.0.1", 0), other = address("127.0.0.2", 0);
	struct dialback_request request;
	struct dialback_answer answer;
	struct server server;
	int visitors[3];
	uint16_t port;
	int door, fd;

	start(&server);
	door = open_door(&port);
	fd = call_in();
	request = ask_dial(fd, 3, port);
	for (int i = 0; i < 2; i++) {
		struct addr from;
		int visitor = let_in(door, &from);
		int place = addr_equal_ip(&from, &other) ? 2 : 1;

		froms[place] = from;
		visitors[place] = visitor;
	}
	ok(addr_equal_ip(&froms[1], &main_address) && addr_equal_ip(&froms[2], &other),
		"one comes from the address that was asked, one from the other");
	ok(ask(fd, SOCK_STREAM), "another request is answered meanwhile");
	say(visitors[1], "SSH-2.0-", 8);
	say(visitors[1], "test\r\nmore", 10);
	ok(hear_end(visitors[1]), "a visitor goes after the first line");
	close(visitors[2]);
	if (ok(hear_dial(fd, &request, &answer), "the answer comes")) {
		char text[80];

		is_int(answer.results[0].outcome, DIALBACK_CONNECTED, "one is connected");
		is_str(dialback_format_banner(&answer.results[0], text, sizeof(text)),
			"SSH-2.0-test", "with the banner");
		is_int(answer.results[1].outcome, DIALBACK_CLOSED, "one was hung up on");
		ok(addr_equal(&answer.results[0].from, &froms[1]) &&
				addr_equal(&answer.results[1].from, &froms[2]),
			"from where they say");
		ok(answer.target.port == port, "about the port that was asked for");
	}
	close(visitors[1]);
	close(door);
	is_int(ask_outcome(fd, 1, port), DIALBACK_REFUSED, "nothing listens: refused");
	is_int(ask_outcome(fd, 2, port), DIALBACK_REFUSED, "from the other, too");
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

/* A banner without an end is cut; who says nothing is connected all the same, after a while. */
static void test_banners(void)
{
	char flood[200];
	struct dialback_request request;
	struct dialback_answer answer;
	struct server server;
	struct addr from;
	uint16_t port;
	int door, fd, visitor;
	uint64_t began;

	start(&server);
	door = open_door(&port);
	fd = call_in();
	memset(flood, 'x', sizeof(flood));
	request = ask_dial(fd, 1, port);
	visitor = let_in(door, &from);
	say(visitor, flood, sizeof(flood));
	ok(hear_dial(fd, &request, &answer), "a flood is answered at once");
	is_uint(answer.results[0].banner_size, DIALBACK_BANNER_MAX, "with its first 64 bytes");
	close(visitor);

	began = clock_now_ms();
	request = ask_dial(fd, 1, port);
	visitor = let_in(door, &from);
	is_int(ask_outcome(call_in(), 1, port), DIALBACK_LIMITED,
		"asked again while that goes on, over another connection: too often");
	ok(hear_dial(fd, &request, &answer), "one that says nothing is answered");
	is_int(answer.results[0].outcome, DIALBACK_CONNECTED, "as connected");
	is_uint(answer.results[0].banner_size, 0, "without a banner");
	ok(clock_now_ms() - began >= DIALBACK_TIMEOUT_MS, "when the time is up");
	ok(hear_end(visitor), "and is left");
	close(visitor);
	close(door);
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

static void test_asker_gone(void)
{
	struct server server;
	struct addr from;
	uint16_t port;
	int door, fd, visitor;

	start(&server);
	door = open_door(&port);
	fd = call_in();
	ask_dial(fd, 1, port);
	visitor = let_in(door, &from);
	close(fd);
	is_int(ask_outcome(call_in(), 1, port), DIALBACK_LIMITED,
		"an asker that goes away makes no room for the next");
	say(visitor, "x\n", 2);
	ok(hear_end(visitor), "its visitor goes in its time");
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "the reflector is well");
	close(visitor);
	close(door);
	is_int(server_stop(&server), 0, "it ends");
}

static void test_rules(void)
{
	struct server server;
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct dialback_request request;
	struct addr from = address("127.0.0.1", 0);
	unsigned refused = 0, limited = 0;
	int fd;

	start(&server);
	fd = connect_from(&from, SOCK_STREAM, "127.0.0.1", SERVER_PORT);
	is_int(ask_outcome(fd, 1, SERVER_PORT), DIALBACK_FORBIDDEN, "its own port is not dialled");
	is_int(ask_outcome(fd, 1, SERVER_PORT + 1), DIALBACK_FORBIDDEN, "nor its other one");
	close(fd);
	fd = call_in();
	for (int i = 0; i < 50; i++) {
		enum dialback_outcome outcome = ask_outcome(fd, 1, 9);

		refused += outcome == DIALBACK_REFUSED;
		limited += outcome == DIALBACK_LIMITED;
	}
	is_uint(refused, 8, "asked fifty times: eight are dialled");
	is_uint(limited, 42, "and the others not");
	ok(ask(fd, SOCK_STREAM), "which does not hinder what else is asked");
	close(fd);

	fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	request = ask_dial(fd, 1, 9);
	is_uint(hear_message(fd, SOCK_DGRAM, bytes), 28 + 8, "over UDP: an error");
	ok(bytes[0] == 0x03 && bytes[1] == 0xd4 &&
			memcmp(bytes + 4, request.transaction, STUN_TRANSACTION_SIZE) == 0,
		"of that method, to that question");
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

/* ---- sites: the rules alone, with nothing that could be reached ---------------------------- */

static struct dialler dialler;

static void deliver(
	void *context, struct loop_tag asker, const void *data, size_t size, uint64_t now)
{
	(void)context, (void)asker, (void)data, (void)size, (void)now;
}

static bool is_admitted(const struct addr *peer, uint64_t now)
{
	struct addr local =
		address(peer->family == ADDR_IPV6 ? "2001:db8::10" : "198.51.100.10", 0);
	struct dialback_request request = {.places = 1, .port = 22};
	struct dialback_answer answer;
	uint8_t bytes[DIALBACK_REQUEST_MAX], out[DIALBACK_ANSWER_MAX];
	uint8_t random[12] = {0};
	const char *why;
	size_t size;

	stun_make_transaction(request.transaction, random);
	size = dialback_write_request(&request, bytes, sizeof(bytes));
	size = dialler_answer(&dialler,
		&(struct dialler_question){
			.peer = peer, .local = &local, .message = bytes, .size = size},
		out, now);
	if (size == 0)
		return true;
	return dialback_read_answer(&request, out, size, &answer, &why) == DIALBACK_ANSWERED &&
	       answer.results[0].outcome != DIALBACK_LIMITED;
}

/* The first address of a network of a site. */
static struct addr network(uint8_t site, uint8_t number)
{
	struct addr addr = address("2001:db8::1", 22);

	addr.ip[5] = site;
	addr.ip[7] = number;
	return addr;
}

static unsigned admit_many(uint8_t site, uint64_t now)
{
	unsigned admitted = 0;

	for (unsigned i = 0; i < 256; i++) {
		struct addr peer = network(site, (uint8_t)i);
		admitted += is_admitted(&peer, now);
	}
	return admitted;
}

static void fill_places(uint8_t site, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct dialler_job *job = &dialler.jobs[dialler.busy++];

		job->busy = true;
		job->answer.target = network(site, (uint8_t)i);
	}
}

static void test_sites(void)
{
	const struct dialler_config config = {.off = false};
	struct alternate alternates[2] = {{.wildcard = false}};
	struct dialler_config with = config;
	struct addr peer;
	struct loop loop;

	with.alternates = alternates;
	if (loop_open(&loop) != 0)
		bail_out("no loop");
	dialler_open(&dialler, &with, &loop, 0, deliver, NULL);
	is_uint(admit_many(1, 1000), 16, "a site with 256 networks is dialled 16 times at once");
	peer = network(2, 0);
	ok(is_admitted(&peer, 1000), "and another one after it");
	is_uint(admit_many(1, 3000), 1, "then once in two seconds");
	/* Some sites take all that sites with much may have. */
	for (uint8_t site = 10; site < 40; site++)
		admit_many(site, 10000);
	peer = network(99, 0);
	ok(is_admitted(&peer, 10000) || is_admitted(&peer, 10100),
		"all ask, and one more is dialled");
	dialler_close(&dialler);

	dialler_open(&dialler, &with, &loop, 0, deliver, NULL);
	fill_places(1, DIALLER_SITE_MAX);
	peer = network(1, 200);
	ok(!is_admitted(&peer, 1000), "of one site so many are dialled at a time");
	for (uint8_t site = 2; dialler.busy < DIALLER_MAX - DIALLER_RESERVE; site++)
		fill_places(site, 2);
	peer = network(2, 200);
	ok(!is_admitted(&peer, 1000), "the last places are not for a site that has some");
	peer = network(200, 0);
	ok(is_admitted(&peer, 1000), "but for one that has none");
	memset(&dialler, 0, sizeof(dialler));
	loop_close(&loop);
}

static void test_off(void)
{
	struct server server;
	int fd;

	server_init(&server);
	server.config.no_dial = true;
	server_start(&server);
	fd = call_in();
	is_int(ask_outcome(fd, 3, 9), DIALBACK_OFF, "--no-dial: it says so");
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
	server_init(&server);
	server_start(&server);
	fd = call_in();
	is_int(ask_outcome(fd, 2, 9), DIALBACK_NO_PLACE, "without another address: it says so");
	is_int(ask_outcome(fd, 1, 9), DIALBACK_REFUSED, "and dials from the one it has");
	close(fd);
	is_int(server_stop(&server), 0, "it ends");
}

int main(void)
{
	network_enter();
	test_two_places();
	test_banners();
	test_asker_gone();
	test_rules();
	test_sites();
	test_off();
	return done_testing();
}
