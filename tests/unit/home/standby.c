/*
 * Connections that stand by, to reflectors that are the test's own. What the names lead to is the
 * test's word as well, and so are the clock and the connection that keeps the mapping.
 */
#include "home/standby.h"

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/socket_linux.h"
#include "unit/server.h"

#define START       1000000
#define INTERVAL_MS 25000
#define KEPT_PORT   5000
#define FIRST       "127.0.0.1" /* the kept one's reflector */
#define SEEN_AS     "192.0.2.1"
#define SERVICE     true
#define HOST        false
#define HOLDS       true
#define STRANGE     false

static const struct key key = {.name = "home", .secret = {1, 2, 3}};
static const struct host_port reflectors[] = {
	{.host = FIRST, .port = SERVER_PORT}, {.host = "other.example", .port = SERVER_PORT}};
static struct mapping_race_request request;
static struct home_facts facts;
static struct held kept;
static struct standby standby;
static unsigned invited;

static void take_invitation(
	void *context, const struct held *over, const struct invitation *invitation, uint64_t now)
{
	(void)context, (void)over, (void)invitation, (void)now;
	invited++;
}

/* `names`: 1: the kept one's reflector is all that is named; 2: there is another name. */
static void init(size_t names)
{
	request = (struct mapping_race_request){.reflectors = reflectors,
		.reflector_count = names,
		.protocol = MAPPING_TCP,
		.local = {.port = KEPT_PORT},
		.family = ADDR_IPV4,
		.method = &borrow_method_bind,
		.timeout_ms = 5000,
		.hold_seconds = 25};
	home_facts_init(&facts);
	held_init(&kept, &key, &facts, INTERVAL_MS, NULL, NULL);
	kept.open = true;
	kept.binding.request.remote = address(FIRST, SERVER_PORT);
	standby_init(&standby, &key, &request, &request, &kept, true, take_invitation, NULL);
	standby.look_due = TIMER_NONE;
}

static struct held *advance(int patience, uint64_t now)
{
	struct pollfd fds[STANDBY_WATCH_MAX];

	standby_watch(&standby, fds);
	if (poll(fds, STANDBY_WATCH_MAX, patience) < 0)
		bail_out("poll: %s", strerror(errno));
	return standby_advance(&standby, fds, now);
}

static uint64_t due(void)
{
	struct pollfd fds[STANDBY_WATCH_MAX];

	return standby_watch(&standby, fds);
}

/* The last name leads to 127.0.0.N of each N now. */
static void look_up(bool by_service, const char *numbers, uint64_t now)
{
	struct resolve found = {.fd = -1, .done = true, .by_service = by_service};

	for (; *numbers != '\0'; numbers++) {
		struct addr addr = address(FIRST, SERVER_PORT);
		addr.ip[3] = (uint8_t)(*numbers - '0');
		found.found[found.count++] = addr;
	}
	standby.resolve = found;
	standby.name = request.reflector_count - 1;
	standby.looking = true;
	standby.looked_at = now;
	advance(0, now);
}

static struct standby_place *place_of(int number)
{
	for (size_t i = 0; i < STANDBY_MAX; i++)
		if (standby.places[i].addr.family == ADDR_IPV4 &&
			standby.places[i].addr.ip[3] == number)
			return &standby.places[i];
	return NULL;
}

static int listen_at(const char *ip)
{
	struct addr addr = address(ip, SERVER_PORT);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	be_patient(fd, PATIENCE);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (fd < 0 || socket_bind(fd, &addr) != 0 || listen(fd, 5) != 0)
		bail_out("no reflector: %s", strerror(errno));
	return fd;
}

static bool nobody_came(int listener)
{
	struct pollfd watch = {.fd = listener, .events = POLLIN};

	return poll(&watch, 1, 0) == 0;
}

static bool answer(int fd, bool holds)
{
	const struct binding_server server = {.stream = holds};
	const struct addr seen_as = address(SEEN_AS, 4000);
	uint8_t bytes[STUN_MESSAGE_MAX], out[STUN_MESSAGE_MAX];
	struct binding_request granted;
	size_t size = hear_message(fd, SOCK_STREAM, bytes), out_size;

	return size > 0 &&
	       binding_write_answer(&server, &seen_as, bytes, size, out, sizeof(out), &out_size,
		       &granted) == BINDING_ANSWERED &&
	       say(fd, out, out_size);
}

static bool hear_register(int fd)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = hear_message(fd, SOCK_STREAM, bytes);
	struct stun_message message;

	return size > 0 && stun_parse(&message, bytes, size) == 0 &&
	       message.method == STUN_METHOD_REGISTER;
}

/* Who came to the listener is answered. Returns the connection; *answered: what standby said. */
static int meet(int listener, bool holds, struct held **answered, uint64_t now)
{
	int fd;

	advance(0, now);
	fd = accept(listener, NULL, NULL);
	be_patient(fd, PATIENCE);
	advance(PATIENCE, now); /* connected: it asks */
	if (!answer(fd, holds))
		bail_out("nobody asks");
	*answered = advance(PATIENCE, now);
	return fd;
}

static int hold_at(int listener, uint64_t now)
{
	struct held *answered;
	int fd = meet(listener, HOLDS, &answered, now);

	if (answered == NULL || !answered->open)
		bail_out("it is not held");
	return fd;
}

static void end(void)
{
	standby_end(&standby);
}

static void test_service(void)
{
	int second = listen_at("127.0.0.2"), third = listen_at("127.0.0.3"), fd;
	struct held *answered;

	init(1);
	look_up(SERVICE, "123", START);
	is_uint(due(), START, "each address of a service is one to register at");
	fd = meet(second, HOLDS, &answered, START);
	ok(answered == &place_of(2)->held, "the answer is told");
	ok(addr_equal_ip(&answered->mapping.public_addr,
		   &(struct addr){.family = ADDR_IPV4, .ip = {192, 0, 2, 1}}),
		"with the mapping");
	is_str(answered->mapping.reflector, "127.0.0.2:3478", "and whose it is");
	ok(hear_register(fd), "the name is registered there");
	ok(answered->registration.facts == &facts && answered->registration.beside,
		"as that of the same home");
	ok(!nobody_came(third), "and at the other one");
	ok(!place_of(1)->asking && !place_of(1)->held.open, "not twice where the kept one is");
	end();
	ok(hear_fin(fd), "at the end it is closed in order");
	close(fd);
	close(second);
	close(third);
}

/* One host with several addresses. */
static void test_host(void)
{
	int third = listen_at("127.0.0.3");
	struct standby_place *second;

	init(1);
	look_up(HOST, "123", START);
	advance(0, START);
	ok(!place_of(2)->asking && !place_of(3)->asking && due() == standby.look_due,
		"one address of a host is enough");
	end();

	init(2);
	look_up(HOST, "23", START);
	advance(0, START);
	second = place_of(2);
	ok(second->asking, "of another name the first address is tried");
	ok(!place_of(3)->asking && nobody_came(third), "and that one alone");
	advance(PATIENCE, START);
	ok(!second->asking, "nobody is there");
	advance(0, START);
	ok(place_of(3)->asking, "so the next one is");
	ok(kept.open, "nothing of this touches what keeps the mapping");
	end();
	close(third);
}

static void test_pauses(void)
{
	uint64_t now = START, before = 0, most = standby.times.pause_max_ms;
	struct standby_place *place;

	init(2);
	look_up(HOST, "2", now);
	place = place_of(2);
	for (int try = 0; try < 9; try++) {
		uint64_t pause;

		advance(0, now);
		if (place->asking)
			advance(PATIENCE, now);
		pause = place->due - now;
		ok(!place->asking && pause <= most && (pause > before || pause >= most - most / 10),
			"try %d fails, and the next is %d ms later", try, (int)pause);
		before = pause;
		now = place->due;
		if (try == 0)
			ok(due() == now, "then it is due");
	}
	kept.open = false;
	advance(0, now);
	ok(!place->asking && due() == TIMER_NONE, "without a mapping there is no try at all");
	end();
}

static void test_silence(void)
{
	int second = listen_at("127.0.0.2"), fd;
	struct held *answered;

	init(2);
	look_up(HOST, "2", START);
	advance(0, START);
	advance(PATIENCE, START);
	advance(0, START + request.timeout_ms - 1);
	ok(place_of(2)->asking, "an answer is waited for");
	advance(0, START + request.timeout_ms);
	ok(!place_of(2)->asking, "but not for ever");
	close(accept(second, NULL, NULL));
	fd = meet(second, STRANGE, &answered, place_of(2)->due);
	ok(answered == NULL && !place_of(2)->asking && hear_end(fd),
		"a server that promises to hold nothing is left");
	close(fd);
	end();
	close(second);
}

static void test_lost(void)
{
	int second = listen_at("127.0.0.2"), fd;
	uint64_t now = START + 20000;

	init(2);
	look_up(HOST, "2", START);
	is_uint(standby.look_due > START + 540000 - 1 && standby.look_due <= START + 600000, 1,
		"names are looked up again after some ten minutes");
	fd = hold_at(second, START);
	close(fd);
	advance(PATIENCE, now);
	ok(!place_of(2)->held.open && place_of(2)->due > now, "what is lost is made anew");
	ok(standby.looking && standby.looked_at == now, "and the names are looked up");
	fd = hold_at(second, place_of(2)->due);
	ok(place_of(2)->held.open, "there it is again");
	standby.looked_at = now;
	standby.look_due = TIMER_NONE;
	standby_ask(&standby, now + 1);
	is_uint(standby.look_due, now + standby.times.look_early_ms, "but not all the time");
	standby_look_up(&standby, now + 2);
	is_uint(standby.look_due, now + 2, "unless somebody says so");
	standby.look_due = TIMER_NONE;
	close(fd);
	end();
	close(second);
}

/* What a name server says, be it wrong, ends nothing. */
static void test_elsewhere(void)
{
	int second = listen_at("127.0.0.2"), third, fd, other;

	init(2);
	look_up(HOST, "2", START);
	fd = hold_at(second, START);
	hear_register(fd);
	look_up(HOST, "3", START);
	advance(0, START);
	advance(PATIENCE, START);
	ok(place_of(2) != NULL && is_silent(fd), "a name that leads to nobody leaves what is held");
	third = listen_at("127.0.0.3");
	other = hold_at(third, place_of(3)->due);
	ok(place_of(2) != NULL, "nor does a reflector that has not taken the name");
	place_of(3)->held.registration.registered = true;
	advance(0, START);
	ok(place_of(2) == NULL && hear_fin(fd), "once it has, the old one is left in order");
	close(fd);
	close(other);
	end();
	close(second);
	close(third);
}

/* The kept one's own name leads elsewhere. */
static void test_successor(void)
{
	int second = listen_at("127.0.0.2"), fd;
	struct held *successor;

	init(1);
	look_up(HOST, "1", START);
	ok(standby_successor(&standby) == NULL, "while its name leads to it, it stays");
	look_up(HOST, "12", START);
	advance(0, START);
	ok(nobody_came(second) && standby_successor(&standby) == NULL, "with another one as well");
	look_up(HOST, "2", START);
	fd = hold_at(second, START);
	ok(standby_successor(&standby) == NULL, "one that has not taken the name is no successor");
	place_of(2)->held.registration.registered = true;
	successor = standby_successor(&standby);
	ok(successor == &place_of(2)->held, "one that has is");
	kept.open = false;
	held_take_over(&kept, successor, START);
	ok(kept.open && !successor->open, "it takes over");
	advance(0, START);
	ok(standby_successor(&standby) == NULL && due() == standby.look_due,
		"and all is as before");
	ok(is_silent(fd) || hear_register(fd), "without a new connection");
	held_end(&kept);
	close(fd);
	end();
	close(second);
}

/* The upkeep asks at another port of its single reflector, which is the same one. */
static void test_spare_port(void)
{
	init(1);
	kept.binding.request.remote.port = STUN_SPARE_PORT(SERVER_PORT);
	look_up(HOST, "1", START);
	advance(0, START);
	ok(!place_of(1)->asking && standby_successor(&standby) == NULL,
		"its spare port is no other reflector");
	end();
}

static void test_ask(void)
{
	int second = listen_at("127.0.0.2"), fd;

	init(2);
	look_up(HOST, "2", START);
	fd = hold_at(second, START);
	hear_register(fd);
	ok(advance(0, START) == NULL, "nothing is told while nothing is asked");
	kept.open = false;
	standby_ask(&standby, START);
	ok(answer(fd, HOLDS), "when the kept one is lost, the others are asked");
	ok(advance(PATIENCE, START) == &place_of(2)->held, "and the one that answers is told");
	standby_restart(&standby, START);
	ok(!place_of(2)->held.open, "from another port it is made anew");
	close(fd);
	end();
	close(second);
}

static void test_full(void)
{
	init(2);
	look_up(SERVICE, "23456789:;<=>?@A", START);
	ok(!standby.warned_full, "there is room for so many");
	look_up(SERVICE, "23456789:;<=>?@B", START);
	ok(place_of('B' - '0') == NULL && standby.warned_full, "and for no more");
	ok(standby_successor(&standby) == NULL, "then nobody has moved");
	end();
}

static void test_count(void)
{
	size_t registered, all;

	init(2);
	look_up(SERVICE, "23", START);
	standby_count(&standby, &registered, &all);
	ok(registered == 0 && all == 2, "two of a service, none registered");
	place_of(2)->held.registration.registered = true;
	standby_count(&standby, &registered, &all);
	ok(registered == 1 && all == 2, "one is");
	end();
	init(2);
	look_up(HOST, "23", START);
	place_of(3)->held.registration.registered = true;
	standby_count(&standby, &registered, &all);
	ok(registered == 1 && all == 1, "a host counts once");
	end();
}

static void test_methods(void)
{
	init(1);
	ok(standby_serves(&standby), "bind, over TCP");
	request.method = &borrow_method_raw;
	ok(!standby_serves(&standby), "raw holds no connections");
	request.protocol = MAPPING_UDP;
	ok(standby_serves(&standby), "over UDP it does");
	request.method = &borrow_method_bind;
	ok(standby_serves(&standby), "and bind, too");
	request.protocol = MAPPING_TCP;
	standby.key = NULL;
	ok(!standby_serves(&standby), "without a name there is nothing to do");
}

/* By bind, from the port that the kept one speaks from. */
static void test_datagrams(void)
{
	const struct addr there = address("127.0.0.2", SERVER_PORT);
	int reflector = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	struct borrow_request same;
	struct borrowed port;
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	struct addr source = {.port = 0};
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct error error;

	init(2);
	request.protocol = MAPPING_UDP;
	request.shared = true;
	same = (struct borrow_request){.protocol = MAPPING_UDP,
		.local = request.local,
		.remote = address(FIRST, SERVER_PORT),
		.shared = true};
	if (socket_bind(reflector, &there) != 0 ||
		borrow_open(request.method, &same, &port, &error) != BORROW_OPEN)
		bail_out("no reflector: %s", strerror(errno));
	be_patient(reflector, PATIENCE);
	look_up(HOST, "2", START);
	advance(0, START);
	ok(recvfrom(reflector, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length) > 0,
		"over UDP the other one is asked as well");
	socket_to_addr(&from, &source);
	is_uint(source.port, KEPT_PORT, "from the same port");
	standby_end(&standby);
	borrow_close(&port);
	close(reflector);
}

int main(void)
{
	network_enter();
	test_service();
	test_host();
	test_pauses();
	test_silence();
	test_lost();
	test_elsewhere();
	test_successor();
	test_spare_port();
	test_ask();
	test_full();
	test_count();
	test_methods();
	test_datagrams();
	return done_testing();
}
