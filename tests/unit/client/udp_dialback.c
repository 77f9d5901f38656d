/*
 * What a reflector sends to a UDP port, and what is made of it. The reflector is the test's own,
 * with two addresses on the loopback; the clock is as well.
 */
#include "natpunch/client/udp_dialback.h"

#include "unit/server.h"

#define STRAY_PORT   5300
#define FOREIGN_PORT 5301
#define START        1000000
#define LASTS        2100
#define PORT         5000
#define OTHER_PORT   3479
#define SAME         1 /* what the NAT lets in */
#define OTHER        2

static const char *const ips[2] = {"127.0.0.1", "127.0.0.2"};
static const uint16_t ports[2] = {SERVER_PORT, OTHER_PORT};

static struct udp_arrivals arrivals;
static struct udp_dialback dialback;
static struct dialback_client client;
static int sockets[BINDING_PLACE_COUNT]; /* of the reflector, by BINDING_OTHER_... */
static bool alone;                       /* it has no second address */
static bool refuses;                     /* it does not know RESPONSE-PORT */
static unsigned lets_in, calls;

static void open_reflector(void)
{
	for (unsigned i = 0; i < BINDING_PLACE_COUNT; i++) {
		const struct addr place = address(ips[i / BINDING_OTHER_IP], ports[i % 2]);

		sockets[i] = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
		if (sockets[i] < 0 || socket_bind(sockets[i], &place) != 0)
			bail_out("socket: %s", strerror(errno));
	}
}

static void send_from(int fd, const struct addr *to, const void *data, size_t size)
{
	struct sockaddr_storage sockaddr;
	socklen_t length = socket_from_addr(to, &sockaddr);

	if (sendto(fd, data, size, 0, (struct sockaddr *)&sockaddr, length) != (ssize_t)size)
		bail_out("sendto: %s", strerror(errno));
}

static void answer(const uint8_t *data, size_t size, const struct addr *source)
{
	struct binding_places places;
	struct binding_server server = {.places = alone ? NULL : &places};
	struct binding_request granted;
	struct addr to = *source;
	uint8_t out[STUN_DATAGRAM_MAX];
	size_t out_size;
	unsigned place;

	for (unsigned i = 0; i < BINDING_PLACE_COUNT; i++)
		places.at[i] = address(ips[i / BINDING_OTHER_IP], ports[i % 2]);
	if (refuses && size > 40)
		server.places = NULL;
	if (binding_write_answer(&server, source, data, size, out, sizeof(out), &out_size,
		    &granted) != BINDING_ANSWERED)
		bail_out("no answer");
	place = (granted.change_ip ? BINDING_OTHER_IP : 0) |
		(granted.change_port ? BINDING_OTHER_PORT : 0);
	if (granted.response_port != 0) {
		to.port = granted.response_port;
		calls++;
		if ((lets_in & (granted.change_ip ? OTHER : SAME)) == 0)
			return;
	}
	send_from(sockets[place], &to, out, out_size);
}

static void serve(void)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	uint8_t data[STUN_DATAGRAM_MAX];
	struct addr source;
	ssize_t got;

	while ((got = recvfrom(sockets[0], data, sizeof(data), 0, (struct sockaddr *)&from,
			&length)) >= 0) {
		socket_to_addr(&from, &source);
		answer(data, (size_t)got, &source);
		length = sizeof(from);
	}
}

static void start(void)
{
	const struct addr local = address("127.0.0.1", PORT);
	const struct dialback_client_request request = {
		.reflector = address("127.0.0.1", SERVER_PORT), .port = PORT};

	calls = 0;
	if (udp_arrivals_open(&arrivals, &local) != 0)
		bail_out("cannot look at the port: %s", strerror(errno));
	udp_dialback_start(&dialback, &client, &arrivals, &request, START);
}

/* As long as the test's clock has it. */
static void run(uint64_t until)
{
	for (uint64_t now = START; now <= until; now += 10) {
		serve();
		udp_arrivals_read(&arrivals);
		udp_dialback_advance(&dialback, now);
	}
}

static void finish(void)
{
	dialback_client_end(&client);
	udp_arrivals_close(&arrivals);
	alone = refuses = false;
}

static const struct dialback_result *result_of(uint8_t place)
{
	for (size_t i = 0; i < client.answer.count; i++)
		if (client.answer.results[i].place == place)
			return &client.answer.results[i];
	bail_out("no result");
	return NULL;
}

static void test_open(void)
{
	const struct addr stranger = address("127.0.0.2", OTHER_PORT);
	const struct addr mapped = address("127.0.0.1", PORT);

	lets_in = SAME | OTHER;
	start();
	run(START + 100);
	is_int(client.state, DIALBACK_CLIENT_DONE, "both come: it is over before its time");
	ok(dialback_client_is_about(&client, &mapped), "it is about the mapping");
	is_int(result_of(DIALBACK_OTHER_ADDRESS)->outcome, DIALBACK_CONNECTED, "a stranger came");
	ok(addr_equal(&result_of(DIALBACK_OTHER_ADDRESS)->from, &stranger), "from there");
	is_int(result_of(DIALBACK_SAME_ADDRESS)->outcome, DIALBACK_CONNECTED,
		"and the one that was asked, from another port");
	is_uint(calls, 2, "each was asked for once");
	finish();
}

static void test_filtered(void)
{
	lets_in = SAME;
	start();
	run(START + LASTS - 100);
	is_int(client.state, DIALBACK_CLIENT_ASKING, "one comes: the other one is waited for");
	is_uint(calls, 4, "and asked for three times");
	run(START + LASTS + 100);
	is_int(client.state, DIALBACK_CLIENT_DONE, "until the time is up");
	is_int(result_of(DIALBACK_OTHER_ADDRESS)->outcome, DIALBACK_TIMED_OUT, "no stranger came");
	is_int(result_of(DIALBACK_SAME_ADDRESS)->outcome, DIALBACK_CONNECTED, "the other did");
	finish();
}

/* From the right place, to the right port, and of no question of ours. */
static void test_forged(void)
{
	const struct addr port = address("127.0.0.1", PORT);
	struct binding_request question = {.transaction = {1, 2, 3}};
	struct binding_request granted;
	struct binding_server server = {.software = NULL};
	uint8_t data[STUN_DATAGRAM_MAX], out[STUN_DATAGRAM_MAX];
	size_t size, out_size;

	lets_in = 0;
	start();
	run(START + 100);
	size = binding_write_request(&question, data, sizeof(data));
	if (binding_write_answer(&server, &port, data, size, out, sizeof(out), &out_size,
		    &granted) != BINDING_ANSWERED)
		bail_out("no answer");
	send_from(sockets[BINDING_OTHER_IP | BINDING_OTHER_PORT], &port, out, out_size);
	run(START + LASTS + 100);
	is_int(result_of(DIALBACK_OTHER_ADDRESS)->outcome, DIALBACK_TIMED_OUT,
		"an answer to another question is none");
	finish();
}

static void test_useless(void)
{
	alone = true;
	start();
	run(START + 100);
	is_int(client.state, DIALBACK_CLIENT_FAILED, "a reflector with one address");
	ok(client.unsupported, "cannot do it");
	finish();
	refuses = true;
	start();
	run(START + 100);
	is_int(client.state, DIALBACK_CLIENT_FAILED, "one that answers to no other port");
	ok(client.unsupported, "cannot do it either");
	finish();
}

static void test_silent(void)
{
	start();
	for (uint64_t now = START; now <= START + LASTS; now += 10)
		udp_dialback_advance(&dialback, now);
	is_int(client.state, DIALBACK_CLIENT_FAILED, "one that is silent");
	ok(!client.unsupported, "may be able to");
	finish();
}

static void count_stray(void *context, const struct addr *source, const void *data, size_t size)
{
	unsigned *strays = context;

	*strays += source->port == FOREIGN_PORT && size == 5 && memcmp(data, "hello", 5) == 0;
}

/* A port that had to be bound: what comes to it is somebody else's. */
static void test_strays(void)
{
	const struct addr here = address("127.0.0.1", STRAY_PORT);
	const struct addr there = address("127.0.0.1", FOREIGN_PORT);
	struct udp_arrivals bound = {.local = here, .tap = -1, .stray = count_stray};
	int sender = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	unsigned strays = 0;

	bound.context = &strays;
	bound.socket = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	if (socket_bind(bound.socket, &here) != 0 || socket_bind(sender, &there) != 0 ||
		socket_connect(sender, &here) != 0 || send(sender, "hello", 5, 0) != 5)
		bail_out("%s", strerror(errno));
	udp_arrivals_read(&bound);
	is_uint(strays, 1, "what answers no question of ours is handed on");
	udp_arrivals_close(&bound);
	close(sender);
}

int main(void)
{
	network_enter();
	open_reflector();
	test_open();
	test_filtered();
	test_forged();
	test_useless();
	test_silent();
	test_strays();
	return done_testing();
}
