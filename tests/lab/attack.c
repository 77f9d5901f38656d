/*
 * attack MODE ADDR PORT [COUNT]: does to a reflector what it must stand, until it is killed, and
 * prints "ready" once that is under way. At most some thousand packets a second, so that the
 * machine under test is not what breaks.
 *
 *   idle      COUNT connections that say nothing      hold     COUNT held ones (probe -k)
 *   drip      COUNT that send a request, a byte at a time, and never the last
 *   loris     COUNT that send HTTP headers without an end
 *   begin     COUNT that send half a request and wait
 *   deaf      COUNT that ask and ask, and read no answer
 *   text      connects and reads, again and again     garbage  datagrams of any size and content
 *   syn       SYNs of forged sources                  raw      SYNs of the raw handshake, of forged
 *                                                              sources
 *   blind     the same, each completed by an ACK with the nonce's number, as if the answer was seen
 *   names     a tenant registers COUNT names over UDP, and once all are ("ready") goes on with
 * them, and tries other keys for them and for "home"; it ends when one of these is taken
 *
 * A connection that the reflector ends is opened again.
 *
 * attack keys COUNT: the tenant's keys, for the reflector's key file.
 *
 * attack honest ADDR PORT TEXT-PORT COUNT: the client next door. Asks so often over UDP, over TCP
 * and on the text port, checks every answer, and prints for each a line "WHAT ANSWERED MEDIAN
 * WORST", in milliseconds. A question over UDP is sent again after half a second; none waits more
 * than 5 s.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "natpunch/proto/binding.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/proto/raw_handshake.h"
#include "natpunch/base/key.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/stun.h"

#define CROWD_MAX  4096
#define TURN_MS    5  /* between two rounds of an attack */
#define BURST      16 /* packets in one */
#define OPEN_BURST 64 /* connections opened in one */
#define WAIT_MS    5000
#define AGAIN_MS   500
#define COUNT_MAX  1000

static struct addr server;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "attack: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void say_ready(void)
{
	static bool said;

	if (!said) {
		puts("ready");
		fflush(stdout);
	}
	said = true;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static size_t make_request(
	struct binding_request *request, enum binding_mode mode, uint8_t out[STUN_MESSAGE_MAX])
{
	uint8_t random[12];

	memset(request, 0, sizeof(*request));
	random_fill(random, sizeof(random));
	stun_make_transaction(request->transaction, random);
	request->mode = mode;
	request->seconds = 60;
	return binding_write_request(request, out, STUN_MESSAGE_MAX);
}

/* ---- the attacks ---- */

struct attacker {
	int fd; /* -1: none */
	bool begun;
	size_t sent;
};

static void open_one(struct attacker *one)
{
	one->begun = false;
	one->sent = 0;
	one->fd = socket_open((enum addr_family)server.family, SOCK_STREAM, 0);
	if (one->fd >= 0 && socket_connect(one->fd, &server) != 0) {
		close(one->fd);
		one->fd = -1;
	}
}

static bool is_connected(int fd)
{
	struct addr peer;

	return socket_peer(fd, &peer) == 0;
}

/* What a connection of this kind says next; false when the connection is over. */
static bool say_next(struct attacker *one, const char *mode)
{
	static const char headers[] = "GET / HTTP/1.0\r\n";
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct binding_request request;
	size_t size = make_request(&request, BINDING_MODE_NONE, bytes);
	ssize_t put = 1;

	if (strcmp(mode, "drip") == 0 && one->sent < size - 1)
		put = send(one->fd, bytes + one->sent, 1, MSG_NOSIGNAL);
	else if (strcmp(mode, "loris") == 0)
		put = send(one->fd, one->sent < sizeof(headers) - 1 ? headers + one->sent : "x", 1,
			MSG_NOSIGNAL);
	else if (strcmp(mode, "deaf") == 0)
		put = send(one->fd, bytes, size, MSG_NOSIGNAL);
	else if (strcmp(mode, "begin") == 0 && !one->begun)
		put = send(one->fd, bytes, size / 2, MSG_NOSIGNAL);
	else if (strcmp(mode, "hold") == 0 && !one->begun)
		put = send(one->fd, bytes, make_request(&request, BINDING_MODE_HOLD, bytes),
			MSG_NOSIGNAL);
	one->begun = true;
	one->sent++;
	return put > 0 || errno == EAGAIN;
}

/* Whether the reflector has ended it. What it says is left unread by the deaf. */
static bool is_over(const struct attacker *one, const char *mode)
{
	uint8_t bytes[512];
	ssize_t got;

	if (strcmp(mode, "deaf") == 0)
		return false;
	got = recv(one->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	return got == 0 || (got < 0 && errno != EAGAIN);
}

static void run_crowd(const char *mode, size_t count)
{
	static struct attacker crowd[CROWD_MAX];
	struct rlimit limit = {.rlim_cur = CROWD_MAX + 64, .rlim_max = CROWD_MAX + 64};
	double began = now_ms();

	setrlimit(RLIMIT_NOFILE, &limit);
	for (size_t i = 0; i < count; i++)
		crowd[i].fd = -1;
	for (;; poll(NULL, 0, TURN_MS)) {
		size_t opened = 0, connected = 0;

		for (size_t i = 0; i < count; i++) {
			struct attacker *one = &crowd[i];
			if (one->fd < 0 && opened < OPEN_BURST) {
				open_one(one);
				opened++;
			}
			if (one->fd < 0 || !is_connected(one->fd))
				continue;
			connected++;
			if (!say_next(one, mode) || is_over(one, mode)) {
				close(one->fd);
				one->fd = -1;
			}
		}
		/* A reflector that limits a source never has them all. */
		if (connected == count || now_ms() - began > 500)
			say_ready();
	}
}

static void run_text(void)
{
	for (;; poll(NULL, 0, TURN_MS)) {
		for (int i = 0; i < BURST; i++) {
			struct attacker one;
			open_one(&one);
			if (one.fd >= 0)
				close(one.fd);
		}
		say_ready();
	}
}

static void run_garbage(void)
{
	static uint8_t bytes[65507]; /* the most that a datagram has */
	int fd = socket_open((enum addr_family)server.family, SOCK_DGRAM, 0);

	if (fd < 0 || socket_connect(fd, &server) != 0)
		die("socket");
	random_fill(bytes, sizeof(bytes));
	for (uint64_t turn = 0;; turn++) {
		for (uint32_t i = 0; i < BURST; i++) {
			struct binding_request request;
			uint8_t real[STUN_MESSAGE_MAX];
			size_t size = make_request(&request, BINDING_MODE_NONE, real);
			/* Whole ones with a byte changed, short ones, random ones, the largest. */
			real[random_below((uint32_t)size)] ^= (uint8_t)(1 + random_below(255));
			if (i % 4 == 0)
				send(fd, real, size, MSG_DONTWAIT);
			else if (i % 4 == 1)
				send(fd, real, random_below((uint32_t)size), MSG_DONTWAIT);
			else
				send(fd, bytes, random_below(1400), MSG_DONTWAIT);
		}
		if (turn % 16 == 0)
			send(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		say_ready();
		poll(NULL, 0, TURN_MS);
	}
}

static int open_raw(void)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);

	if (fd < 0)
		die("raw socket");
	return fd;
}

static void send_segment(int fd, const struct segment *segment)
{
	uint8_t packet[20 + SEGMENT_TCP_MAX] = {0x45, [8] = 64, [9] = IPPROTO_TCP};
	struct sockaddr_storage to;
	socklen_t to_size = socket_from_addr(&server, &to);
	size_t size = segment_write_tcp(segment, packet + 20, sizeof(packet) - 20);

	memcpy(packet + 12, segment->source.ip, 4);
	memcpy(packet + 16, segment->destination.ip, 4);
	sendto(fd, packet, 20 + size, 0, (struct sockaddr *)&to, to_size);
}

static void send_blind_ack(int fd, const struct raw_handshake *handshake)
{
	const uint8_t *number = handshake->nonce + 8;
	struct segment syn_ack = {.sequence = (uint32_t)number[0] << 24 |
					      (uint32_t)number[1] << 16 | (uint32_t)number[2] << 8 |
					      number[3]};
	struct segment ack;

	raw_handshake_make_ack(handshake, &syn_ack, &ack);
	send_segment(fd, &ack);
}

/* One SYN, from 192.0.2.0/24 and any port: documentation's, and in the laboratory the laptop's. */
static struct raw_handshake send_forged(int fd, bool raw)
{
	struct addr source = {.family = ADDR_IPV4, .ip = {192, 0, 2}};
	struct segment syn = {.flags = SEGMENT_SYN, .window = 64240, .has_mss = true, .mss = 1460};
	uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE];
	struct raw_handshake handshake;

	source.ip[3] = (uint8_t)(64 + random_below(190));
	source.port = (uint16_t)(1024 + random_below(64000));
	random_fill(random, sizeof(random));
	raw_handshake_start(&handshake, &source, &server, random);
	if (raw) {
		raw_handshake_make_syn(&handshake, &syn);
	} else {
		syn.source = source;
		syn.destination = server;
		syn.sequence = handshake.sequence;
	}
	send_segment(fd, &syn);
	return handshake;
}

static void run_forged(const char *mode)
{
	struct raw_handshake sent[BURST];
	bool blind = strcmp(mode, "blind") == 0;
	int fd = open_raw();

	for (;; poll(NULL, 0, TURN_MS)) {
		for (int i = 0; i < BURST; i++)
			sent[i] = send_forged(fd, blind || strcmp(mode, "raw") == 0);
		if (blind)
			poll(NULL, 0, TURN_MS);
		for (int i = 0; i < BURST && blind; i++)
			send_blind_ack(fd, &sent[i]);
		say_ready();
	}
}

/* ---- names ---- */

struct tenancy {
	struct key key;
	struct name_question question;
	bool busy;
	bool rightful;
	bool first;  /* of its name */
	double next; /* when to ask (again), as now_ms() */
};

static void make_key(uint32_t number, struct key *key)
{
	memset(key, 0, sizeof(*key));
	snprintf(key->name, sizeof(key->name), "tenant%u", number);
	memcpy(key->secret, &number, sizeof(number));
}

static void print_keys(uint32_t count)
{
	struct key key;
	char line[KEY_LINE_SIZE];

	for (uint32_t i = 0; i < count; i++) {
		make_key(i, &key);
		puts(key_format(&key, line));
	}
}

/* Each name once, and then any of them, or with a wrong key also home's. */
static void begin_tenancy(struct tenancy *tenancy, uint32_t *begun, uint32_t count)
{
	bool first = *begun < count;

	make_key(first ? (*begun)++ : random_below(count), &tenancy->key);
	tenancy->first = first;
	tenancy->rightful = first || random_below(2) == 0;
	if (!tenancy->rightful) {
		memset(tenancy->key.secret, 0x55, sizeof(tenancy->key.secret));
		if (random_below(2) == 0)
			strcpy(tenancy->key.name, "home");
	}
	name_message_start(&tenancy->question, STUN_METHOD_REGISTER, &tenancy->key);
	tenancy->question.registration = (struct name_message_registration){
		.protocol = MAPPING_UDP, .local_port = 1000, .seconds = 60};
	tenancy->busy = true;
	tenancy->next = 0;
}

/* Returns whether a name was registered by it for the first time. */
static bool take_answer(struct tenancy tenancies[BURST], const uint8_t *bytes, size_t size)
{
	for (int i = 0; i < BURST; i++) {
		struct tenancy *tenancy = &tenancies[i];
		const char *why;
		enum name_message_outcome outcome;
		struct stun_message message;

		if (!tenancy->busy)
			continue;
		outcome = name_message_read(&tenancy->question, bytes, size, &why);
		if (outcome == NAME_MESSAGE_UNRELATED)
			continue;
		tenancy->next = 0;
		/* A name that is not registered at the first go is asked for again. */
		if (outcome == NAME_MESSAGE_AGAIN ||
			(tenancy->first && outcome != NAME_MESSAGE_DONE))
			return false;
		tenancy->busy = false;
		/* Its proof is under the right key, so for us it is no answer. */
		if (!tenancy->rightful && stun_parse(&message, bytes, size) >= 0 &&
			message.class == STUN_SUCCESS) {
			fprintf(stderr, "attack: %s with a wrong key\n", tenancy->key.name);
			exit(1);
		}
		return tenancy->first;
	}
	return false;
}

/*
 * A request of each that has its answer, in a turn. One that waits for it asks again after a while
 * only: each request has a transaction of its own, so that an answer to the one before is lost.
 */
static void run_names(uint32_t count)
{
	static struct tenancy tenancies[BURST];
	int fd = socket_open((enum addr_family)server.family, SOCK_DGRAM, 0);
	uint32_t begun = 0, registered = 0;

	if (fd < 0 || socket_connect(fd, &server) != 0)
		die("socket");
	for (;; poll(NULL, 0, TURN_MS)) {
		uint8_t bytes[STUN_MESSAGE_MAX], random[12];
		ssize_t got;

		while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
			registered += take_answer(tenancies, bytes, (size_t)got);
		for (int i = 0; i < BURST; i++) {
			size_t size;

			if (!tenancies[i].busy)
				begin_tenancy(&tenancies[i], &begun, count);
			if (now_ms() < tenancies[i].next)
				continue;
			tenancies[i].next = now_ms() + AGAIN_MS;
			random_fill(random, sizeof(random));
			size = name_message_write(
				&tenancies[i].question, random, bytes, sizeof(bytes));
			send(fd, bytes, size, MSG_DONTWAIT);
		}
		if (registered >= count)
			say_ready();
	}
}

/* ---- the honest client ---- */

/* Reads until the other end closes or, with STUN, a message is whole. Returns its size. */
static size_t hear(int fd, uint8_t *out, size_t capacity, bool stun, double deadline)
{
	size_t used = 0, need = 0;

	while (used < capacity) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		double left = deadline - now_ms();
		ssize_t got;

		if (left <= 0 || poll(&wait, 1, (int)left + 1) <= 0)
			return 0;
		got = recv(fd, out + used, capacity - used, 0);
		if (got <= 0)
			return got == 0 && !stun ? used : 0;
		used += (size_t)got;
		if (stun && stun_frame(out, used, &need) == STUN_FRAME_COMPLETE)
			return need;
	}
	return 0;
}

static bool is_answer(
	int fd, const struct binding_request *request, const uint8_t *bytes, size_t size)
{
	struct binding_answer answer;
	struct addr local;
	const char *why;

	return size > 0 && socket_local(fd, &local) == 0 &&
	       binding_read_answer(request, (enum addr_family)server.family, bytes, size, &answer,
		       &why) == BINDING_MAPPED &&
	       addr_equal(&answer.mapped, &local);
}

static bool connect_until(int fd, double deadline)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	double left = deadline - now_ms();

	return socket_connect(fd, &server) == 0 && poll(&wait, 1, (int)left) == 1 &&
	       socket_take_error(fd) == 0;
}

static bool ask_udp(int fd, double deadline)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct binding_request request;
	size_t size = make_request(&request, BINDING_MODE_NONE, bytes);

	if (socket_connect(fd, &server) != 0)
		return false;
	while (now_ms() < deadline) {
		uint8_t answer[STUN_MESSAGE_MAX];
		double again = now_ms() + AGAIN_MS;
		send(fd, bytes, size, 0);
		if (is_answer(fd, &request, answer,
			    hear(fd, answer, sizeof(answer), true,
				    again < deadline ? again : deadline)))
			return true;
	}
	return false;
}

static bool ask_tcp(int fd, double deadline)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct binding_request request;
	size_t size = make_request(&request, BINDING_MODE_NONE, bytes);

	return connect_until(fd, deadline) &&
	       send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size &&
	       is_answer(fd, &request, bytes, hear(fd, bytes, sizeof(bytes), true, deadline));
}

static bool ask_text(int fd, double deadline)
{
	char line[FIRST_BYTES_LINE_SIZE], expected[FIRST_BYTES_LINE_SIZE];
	struct addr local;
	size_t size;

	if (!connect_until(fd, deadline) || socket_local(fd, &local) != 0)
		return false;
	size = hear(fd, (uint8_t *)line, sizeof(line), false, deadline);
	return size == first_bytes_write_line(&local, expected) &&
	       memcmp(line, expected, size) == 0;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void ask_often(
	const char *what, bool (*ask)(int fd, double deadline), int type, size_t count)
{
	static double took[COUNT_MAX];
	size_t answered = 0;

	for (size_t i = 0; i < count; i++) {
		int fd = socket_open((enum addr_family)server.family, type, 0);
		double began = now_ms();
		if (fd < 0)
			die("socket");
		if (ask(fd, began + WAIT_MS))
			took[answered++] = now_ms() - began;
		close(fd);
	}
	qsort(took, answered, sizeof(took[0]), compare);
	printf("%s %zu %.1f %.1f\n", what, answered, answered > 0 ? took[answered / 2] : 0,
		answered > 0 ? took[answered - 1] : 0);
}

static void run_honest(uint16_t text_port, size_t count)
{
	ask_often("udp", ask_udp, SOCK_DGRAM, count);
	ask_often("tcp", ask_tcp, SOCK_STREAM, count);
	server.port = text_port;
	ask_often("text", ask_text, SOCK_STREAM, count);
}

int main(int argc, char **argv)
{
	uint64_t count = 1;
	uint16_t text_port = 0;
	const char *mode = argc > 1 ? argv[1] : "";
	bool honest = strcmp(mode, "honest") == 0;
	int last = honest ? 5 : 4;

	if (argc == 3 && strcmp(mode, "keys") == 0 &&
		parse_number(argv[2], 1, CROWD_MAX, &count) == 0) {
		print_keys((uint32_t)count);
		return 0;
	}
	if (argc < 4 || argc > last + 1 || addr_parse_ip(&server, argv[2]) != 0 ||
		parse_port(argv[3], &server.port) != 0 ||
		(honest && (argc != 6 || parse_port(argv[4], &text_port) != 0)) ||
		(argc == last + 1 &&
			parse_number(argv[last], 1, honest ? COUNT_MAX : CROWD_MAX, &count) != 0)) {
		fputs("usage: attack MODE ADDR PORT [COUNT]\n", stderr);
		return 2;
	}
	if (honest)
		run_honest(text_port, count);
	else if (strcmp(mode, "text") == 0)
		run_text();
	else if (strcmp(mode, "names") == 0)
		run_names((uint32_t)count);
	else if (strcmp(mode, "garbage") == 0)
		run_garbage();
	else if (strcmp(mode, "syn") == 0 || strcmp(mode, "raw") == 0 || strcmp(mode, "blind") == 0)
		run_forged(mode);
	else
		run_crowd(mode, count);
	return 0;
}
