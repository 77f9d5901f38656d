/*
 * How a connection goes on after its answer: closed by us first, forgotten by both, or held. What
 * the kernel did is read from its table of connections and from the segments on the wire.
 */
#include "unit/server.h"

#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>

#include "reflector/tcp.h"
#include "natpunch/os/socket_linux.h"

#define CLIENT_PORT  40022
#define WAITING_PORT 40023
#define IDLE_MS      500

/* States in /proc/net/tcp; 0 for no such connection. */
enum {
	ESTABLISHED = 0x01,
	TIME_WAIT = 0x06,
};

/* The state of the socket with these ports, IPv4, in this network namespace. */
static unsigned kernel_state(uint16_t local, uint16_t remote)
{
	FILE *table = fopen("/proc/net/tcp", "re");
	char line[512];
	char wanted[2][16];
	unsigned state = 0;

	if (table == NULL)
		bail_out("/proc/net/tcp: %s", strerror(errno));
	snprintf(wanted[0], sizeof(wanted[0]), ":%04X ", local);
	snprintf(wanted[1], sizeof(wanted[1]), ":%04X ", remote);
	while (state == 0 && fgets(line, sizeof(line), table) != NULL) {
		const char *first = strstr(line, wanted[0]);
		const char *second = strstr(line, wanted[1]);
		static const char digits[] = "0123456789ABCDEF";
		if (first == NULL || second == NULL || second < first)
			continue;
		state = (unsigned)(strchr(digits, second[6]) - digits) * 16 +
			(unsigned)(strchr(digits, second[7]) - digits);
	}
	fclose(table);
	return state;
}

/* Waits until it is that. */
static bool kernel_state_becomes(uint16_t local, uint16_t remote, unsigned state)
{
	uint64_t end = clock_now_ms() + PATIENCE;

	while (kernel_state(local, remote) != state) {
		if (clock_now_ms() > end)
			return false;
		pause_briefly();
	}
	return true;
}

static int sniffer_open(void)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP));

	if (fd < 0)
		bail_out("packet socket: %s", strerror(errno));
	return fd;
}

/* How many segments of the client's connection with FIN or RST have passed, and how many without.
 */
static unsigned sniffer_count(int fd, unsigned *others)
{
	uint8_t packet[2048];
	unsigned count = 0;
	ssize_t size;

	*others = 0;
	while ((size = recv(fd, packet, sizeof(packet), 0)) > 0) {
		size_t header = (size_t)(packet[0] & 15) * 4;
		struct tcphdr tcp;
		if (packet[9] != IPPROTO_TCP || (size_t)size < header + sizeof(tcp))
			continue;
		memcpy(&tcp, packet + header, sizeof(tcp));
		if (ntohs(tcp.th_sport) != CLIENT_PORT && ntohs(tcp.th_dport) != CLIENT_PORT)
			continue;
		if ((tcp.th_flags & (TH_FIN | TH_RST)) != 0)
			count++;
		else
			(*others)++;
	}
	return count;
}

static int dial_from(uint16_t port)
{
	struct addr from = address("0.0.0.0", port);
	int fd = connect_from(&from, SOCK_STREAM, "127.0.0.1", SERVER_PORT);

	ok(fd >= 0, "connected from port %u", port);
	return fd;
}

static int dial_from_client_port(void)
{
	return dial_from(CLIENT_PORT);
}

static void test_close(void)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	int fd = dial_from_client_port();

	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_CLOSE, 0, &answer), "CLOSE: answered");
	is_int(answer.mode, BINDING_MODE_CLOSE, "CLOSE: granted");
	ok(hear_fin(fd), "CLOSE: the server ends first");
	close(fd);
	ok(kernel_state_becomes(SERVER_PORT, CLIENT_PORT, TIME_WAIT),
		"CLOSE: the TIME_WAIT is the server's");
	is_uint(kernel_state(CLIENT_PORT, SERVER_PORT), 0, "CLOSE: the client's port is free");
}

/* What follows the question is not answered, and does the answer no harm. */
static void test_close_and_more(void)
{
	struct question question = question_make(BINDING_MODE_CLOSE, 0);
	static const size_t more[] = {1, 20, 2 * TCP_SERVER_INPUT};
	static uint8_t bytes[sizeof(question.bytes) + 2 * TCP_SERVER_INPUT];

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		int fd = dial("127.0.0.1", SERVER_PORT);

		memcpy(bytes, question.bytes, question.size);
		say(fd, bytes, question.size + more[i]);
		ok(hear_answer(fd, SOCK_STREAM, &question, NULL),
			"CLOSE and %zu bytes more: answered", more[i]);
		ok(hear_end(fd), "CLOSE and %zu bytes more: closed", more[i]);
		close(fd);
	}
}

/* A second question in a segment of its own, which comes between the answer and its end, or not. */
static void test_close_twice(void)
{
	enum {
		TRIES = 200
	};
	const int one = 1;
	int answered = 0;

	for (int i = 0; i < TRIES; i++) {
		struct question first = question_make(BINDING_MODE_CLOSE, 0);
		struct question second = question_make(BINDING_MODE_CLOSE, 0);
		int fd = dial("127.0.0.1", SERVER_PORT);

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		say(fd, first.bytes, first.size);
		send(fd, second.bytes, second.size, MSG_NOSIGNAL);
		answered += hear_answer(fd, SOCK_STREAM, &first, NULL) ? 1 : 0;
		close(fd);
	}
	is_int(answered, TRIES, "CLOSE and a second question: the first is answered");
}

static void test_forget(struct server *server)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	int sniffer = sniffer_open();
	unsigned forgotten = server_said(server, "forgotten\n");
	unsigned others;
	int fd = dial_from_client_port();

	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, &answer), "FORGET: answered");
	is_int(answer.mode, BINDING_MODE_FORGET, "FORGET: granted");
	ok(socket_forget(fd), "FORGET: the client forgets");
	ok(server_says(server, "forgotten\n", forgotten + 1), "FORGET: the server forgets");
	ok(kernel_state_becomes(SERVER_PORT, CLIENT_PORT, 0), "FORGET: nothing is left");
	is_uint(kernel_state(CLIENT_PORT, SERVER_PORT), 0, "FORGET: at either end");
	is_uint(sniffer_count(sniffer, &others), 0, "FORGET: no FIN and no RST was sent");
	ok(others >= 5, "FORGET: the %u other segments were seen", others);
	close(sniffer);
}

/*
 * The client has the answer but is slow to acknowledge it (delayed ACK). A server that forgot
 * before the ACK came would answer it with a RST.
 */
static void test_forget_waits(struct server *server)
{
	unsigned forgotten = server_said(server, "forgotten\n");
	struct pollfd watched = {.events = POLLIN};
	int fd = dial_from_client_port();

	socket_set_flag(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, NULL), "FORGET, slowly: answered");
	watched.fd = fd;
	is_int(poll(&watched, 1, 500), 0, "FORGET, slowly: no RST comes");
	is_uint(server_said(server, "forgotten\n"), forgotten + 1, "FORGET, slowly: forgotten");
	is_uint(kernel_state(CLIENT_PORT, SERVER_PORT), ESTABLISHED,
		"FORGET, slowly: the client does not know");
	socket_forget(fd);
}

/*
 * The client asks to forget and then closes after all: before its kernel has acknowledged the
 * answer, for then it is forgotten. On a busy machine it can be too late for that.
 */
static void test_forget_closed(void)
{
	bool answered = true, closed = false;

	for (int i = 0; i < 5 && answered && !closed; i++) {
		int fd = dial_from_client_port();

		socket_set_flag(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
		answered = ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, NULL);
		shutdown(fd, SHUT_WR);
		closed = hear_fin(fd);
		if (closed)
			close(fd);
		else
			socket_forget(fd);
	}
	ok(answered, "FORGET, then FIN: answered");
	ok(closed, "FORGET, then FIN: closed in order");
	ok(kernel_state_becomes(SERVER_PORT, CLIENT_PORT, 0), "FORGET, then FIN: nothing is left");
}

static void test_forget_refused(void)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	struct server server;
	int fd;

	server_init(&server);
	server.user = 65534;
	server_start(&server);
	is_uint(server_said(&server, "warning: without CAP_NET_ADMIN connections are closed"), 1,
		"without privileges: its owner is told,");
	is_uint(server_said(&server, "setcap cap_net_admin+ep /"), 1, "and what to do");
	fd = dial("127.0.0.1", SERVER_PORT);
	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_FORGET, 0, &answer),
		"without privileges: answered");
	is_int(answer.mode, BINDING_MODE_CLOSE, "without privileges: FORGET becomes CLOSE");
	ok(hear_fin(fd), "without privileges: closed in order");
	close(fd);
	is_int(server_stop(&server), 0, "it ends cleanly");
}

/* Silent for as long as it is asked to, whatever the idle time, and then FIN. */
static void test_wait(struct server *server)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	int fd = dial_from(WAITING_PORT);
	uint64_t start = clock_now_ms();

	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_WAIT, 1, &answer), "WAIT: answered");
	is_int(answer.mode, BINDING_MODE_WAIT, "WAIT: granted");
	is_uint(answer.seconds, 1, "WAIT: for so long");
	ok(server_says(server, "closed: waited long enough\n", 1), "WAIT: waited");
	ok(hear_fin(fd), "WAIT: then it closes in order");
	start = clock_now_ms() - start;
	ok(start >= 990 && start < 3000, "WAIT: after %llu ms", (unsigned long long)start);
	close(fd);
}

/*
 * The idle time passes over a held connection, three of its intervals do not. Meanwhile another
 * waits for as long as it asked to.
 */
static void test_hold(struct server *server)
{
	struct binding_answer answer = {.mode = BINDING_MODE_NONE};
	struct pollfd watched = {.events = POLLIN};
	uint64_t start;
	unsigned others;
	int sniffer;
	int fd = dial_from_client_port();

	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_HOLD, 1, &answer), "HOLD: answered");
	is_int(answer.mode, BINDING_MODE_HOLD, "HOLD: granted");
	watched.fd = fd;
	is_int(poll(&watched, 1, 2 * IDLE_MS), 0, "HOLD: it outlives the idle time");
	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_HOLD, 1, NULL), "HOLD: and can ask again");
	start = clock_now_ms();
	sniffer = sniffer_open();
	test_wait(server);
	ok(server_says(server, "silent for too long, dropped\n", 1), "HOLD: silent for too long");
	start = clock_now_ms() - start;
	ok(start > 2900 && start < 5000, "HOLD: after %llu ms, when 3000 are allowed",
		(unsigned long long)start);
	is_uint(kernel_state(SERVER_PORT, CLIENT_PORT), 0, "HOLD: dropped");
	is_uint(sniffer_count(sniffer, &others), 0, "HOLD: without FIN or RST");
	is_uint(kernel_state(CLIENT_PORT, SERVER_PORT), ESTABLISHED, "HOLD: the client has it yet");
	close(sniffer);
	socket_forget(fd);
}

static void test_hold_closed(void)
{
	int fd = dial_from_client_port();

	ok(ask_mode(fd, SOCK_STREAM, BINDING_MODE_HOLD, 1, NULL), "HOLD, then FIN: answered");
	shutdown(fd, SHUT_WR);
	ok(hear_fin(fd), "HOLD, then FIN: closed in order");
	close(fd);
}

int main(void)
{
	struct server server;

	network_enter();
	server_init(&server);
	server.config.times.idle = IDLE_MS;
	server.config.times.hold = IDLE_MS;
	server_start(&server);
	test_forget(&server);
	test_forget(&server); /* at once, on the same ports */
	test_forget_waits(&server);
	test_forget_closed();
	is_int(server_stop(&server), 0, "it ends cleanly");
	test_forget_refused();

	server_init(&server);
	server.config.times.idle = IDLE_MS;
	server.config.times.hold = IDLE_MS;
	server_start(&server);
	test_hold(&server);
	test_hold_closed();
	test_close();
	test_close_and_more();
	test_close_twice();
	is_int(server_stop(&server), 0, "it ends cleanly");
	return done_testing();
}
