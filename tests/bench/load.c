/*
 * load CASE PORT SERVER-PID SECONDS [KEY=NUMBER...]: asks a reflector on 127.0.0.1 until the time
 * is over, checks every answer, and prints what came of it as one line of KEY=NUMBER: how many were
 * answered, wrong and lost, and the processor time that the server took meanwhile, to the ns.
 *
 *   udp     Binding requests in datagrams, `window` in flight
 *   paced   the same, `rate` a second, whatever comes back; with the latency of each, counted from
 *           when it was due
 *   once    a TCP connection for each Binding request, closed by the client once it is answered
 *   text    a TCP connection for each line
 *   kept    `connections` that stay, asked in turn, `window` at once; `held` more stand by
 *   hold    `held` connections, and then nothing but time
 *   homes   `connections` that are held, asked in turn, `rate` a second, as `probe -k` does
 *   raw     the raw handshake, `window` in flight
 *   names   LOOKUPs over UDP, `window` in flight, each for one of `names` names by chance; a nonce
 *           is fetched for each, so that one answer is two requests
 *
 * load keyfile NAMES prints the key file for them.
 *
 * sources=N: streams come from N addresses in turn that are not the loopback's, and so are
 * measured; where `run` has them be this machine's.
 *
 * echo=1: the server is a bare one, which sends back what it gets. mode=1, 2, 3: the request bears
 * a NATPUNCH-CONNECTION, close, forget or hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "natpunch/proto/binding.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/proto/raw_handshake.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/packet.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/os/socket.h"

#define WARM_UP_NS 150000000U /* not counted */
#define SECOND_NS  1000000000U

#define SOURCES_FIRST 0xc6120001U /* 198.18.0.1, of the network for benches: RFC 6890 2.2.2 */
#define SOURCES_MAX   100000

struct load {
	uint16_t port;
	pid_t server;
	uint64_t duration;    /* ns */
	uint64_t window;      /* requests in flight */
	uint64_t connections; /* that are kept, and asked in turn */
	uint64_t held;        /* that are kept besides, and silent */
	uint64_t names;       /* in the key file */
	uint64_t rate;        /* requests a second; 0: as many as are answered */
	uint64_t mode;        /* enum binding_mode: NATPUNCH-CONNECTION of a request over TCP */
	uint64_t sources;     /* addresses that streams come from; 0: of the loopback */
	uint64_t echo;        /* the server sends back what it gets, or a line that is no answer */

	uint64_t answered;
	uint64_t wrong;
	uint64_t lost;
	uint64_t reopened;

	uint64_t begin; /* when counting begins, and ends */
	uint64_t end;
	bool counting;
	clockid_t server_clock;
	uint64_t server_ns;
	uint64_t elapsed;

	uint32_t *latencies; /* ns */
	uint64_t latency_count;
	uint64_t latency_max;
};

static void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) != 0)
		fail("clock");
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void load_start(struct load *load)
{
	load->begin = now_ns() + WARM_UP_NS;
	load->end = load->begin + load->duration;
}

/* To be asked for each batch; false when the time is over. */
static bool load_goes_on(struct load *load)
{
	uint64_t now = now_ns();

	if (now < load->begin)
		return true;
	if (!load->counting) {
		load->counting = true;
		load->answered = 0;
		load->latency_count = 0;
		load->elapsed = now;
		load->server_ns = clock_ns(load->server_clock);
		return true;
	}
	if (now < load->end)
		return true;
	load->elapsed = now - load->elapsed;
	load->server_ns = clock_ns(load->server_clock) - load->server_ns;
	return false;
}

static void load_add_latency(struct load *load, uint64_t latency)
{
	if (load->latency_count < load->latency_max)
		load->latencies[load->latency_count++] =
			latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
}

static struct sockaddr_in load_server_addr(const struct load *load)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(load->port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

struct request {
	struct binding_request what;
	uint8_t bytes[64];
	size_t size;
};

/* A new transaction: a serial number, so that no two are alike, and random bytes. */
static void request_make(struct request *request, uint64_t mode)
{
	static const uint8_t header[8] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	static uint64_t serial;
	static uint32_t salt;

	if (serial == 0)
		random_fill(&salt, sizeof(salt));
	serial++;
	request->what = (struct binding_request){.mode = (enum binding_mode)mode, .seconds = 3600};
	memcpy(request->what.transaction, header + 4, 4);
	memcpy(request->what.transaction + 4, &serial, 8);
	memcpy(request->what.transaction + 12, &salt, 4);
	if (mode != BINDING_MODE_NONE) {
		request->size = binding_write_request(
			&request->what, request->bytes, sizeof(request->bytes));
		return;
	}
	memcpy(request->bytes, header, 4);
	memcpy(request->bytes + 4, request->what.transaction, STUN_TRANSACTION_SIZE);
	request->size = STUN_HEADER_SIZE;
}

/* The answer to this very request, with the address that it came from. */
static bool request_is_answered(const struct load *load, const struct request *request,
	const struct addr *local, const uint8_t *data, size_t size)
{
	struct binding_answer answer;
	const char *why;

	if (load->echo)
		return size == request->size && memcmp(data, request->bytes, size) == 0;
	return binding_read_answer(&request->what, ADDR_IPV4, data, size, &answer, &why) ==
		       BINDING_MAPPED &&
	       addr_equal(&answer.mapped, local) && answer.mode == request->what.mode;
}

/* --- datagrams --- */

#define BATCH      64
#define WINDOW_MAX 4096

static int open_datagram(const struct load *load, struct addr *local)
{
	struct sockaddr_in server = load_server_addr(load);
	struct timeval patience = {.tv_usec = 300000};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int size = 4 << 20;

	if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0 ||
		socket_local(fd, local) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		fail("socket");
	return fd;
}

/* Requests in flight; the transaction of each begins (behind the cookie) with its slot. */
struct flight {
	struct request requests[WINDOW_MAX];
	bool busy[WINDOW_MAX];
	uint64_t due[WINDOW_MAX];
};

static struct flight flight;

static void flight_make(uint32_t slot)
{
	struct request *request = &flight.requests[slot];

	request_make(request, BINDING_MODE_NONE);
	memcpy(request->what.transaction + 12, &slot, sizeof(slot));
	memcpy(request->bytes + 16, &slot, sizeof(slot));
	flight.busy[slot] = true;
}

/* Whose answer this is, or WINDOW_MAX. */
static uint32_t flight_match(
	const struct load *load, const struct addr *local, const uint8_t *data, size_t size)
{
	uint32_t slot;

	if (size < STUN_HEADER_SIZE)
		return WINDOW_MAX;
	memcpy(&slot, data + 16, sizeof(slot));
	if (slot >= WINDOW_MAX || !flight.busy[slot] ||
		!request_is_answered(load, &flight.requests[slot], local, data, size))
		return WINDOW_MAX;
	return slot;
}

struct batch {
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint8_t bytes[BATCH][256];
};

static struct batch inward, outward;

static void batch_open(struct batch *batch)
{
	for (size_t i = 0; i < BATCH; i++) {
		batch->parts[i] = (struct iovec){batch->bytes[i], sizeof(batch->bytes[i])};
		batch->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &batch->parts[i], .msg_iovlen = 1};
	}
}

static void batch_send(int fd, struct batch *batch, size_t count)
{
	size_t done = 0;

	while (done < count) {
		int sent = sendmmsg(fd, batch->messages + done, (unsigned)(count - done), 0);
		if (sent <= 0)
			fail("sendmmsg");
		done += (size_t)sent;
	}
}

static void send_slots(int fd, const uint32_t *slots, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct request *request = &flight.requests[slots[i]];

		flight_make(slots[i]);
		outward.parts[i] = (struct iovec){request->bytes, request->size};
	}
	batch_send(fd, &outward, count);
}

/* All that did not come back in time. Sent anew, so that the window stays full. */
static void resend_lost(struct load *load, int fd)
{
	for (uint32_t slot = 0; slot < load->window; slot++)
		if (flight.busy[slot]) {
			load->lost++;
			send_slots(fd, &slot, 1);
		}
}

static void load_datagrams(struct load *load)
{
	struct addr local;
	int fd = open_datagram(load, &local);
	uint32_t slots[BATCH];

	batch_open(&inward);
	batch_open(&outward);
	for (uint32_t slot = 0; slot < load->window; slot++)
		send_slots(fd, &slot, 1);
	while (load_goes_on(load)) {
		int count = recvmmsg(fd, inward.messages, BATCH, MSG_WAITFORONE, NULL);
		size_t done = 0;

		if (count <= 0)
			resend_lost(load, fd);
		for (int i = 0; i < count; i++) {
			uint32_t slot = flight_match(
				load, &local, inward.bytes[i], inward.messages[i].msg_len);
			if (slot == WINDOW_MAX)
				load->wrong++;
			else
				slots[done++] = slot;
		}
		load->answered += done;
		send_slots(fd, slots, done);
	}
	close(fd);
}

/*
 * Sends what is due, a batch at most: who has fallen behind must go on to read, or loses all that
 * comes meanwhile. Returns the number of the next.
 */
static uint64_t send_due(struct load *load, int fd, uint64_t start, uint64_t next)
{
	uint64_t now = now_ns();
	uint32_t slots[BATCH];
	size_t count = 0;

	for (; count < BATCH; next++) {
		uint64_t due = start + next * SECOND_NS / load->rate;
		uint32_t slot = (uint32_t)(next % WINDOW_MAX);

		if (due > now)
			break;
		if (flight.busy[slot])
			load->lost++;
		flight.due[slot] = due;
		slots[count++] = slot;
	}
	send_slots(fd, slots, count);
	return next;
}

/* An answer to a request that was counted as lost already. */
static bool is_late(const uint8_t *data)
{
	uint32_t slot;

	memcpy(&slot, data + 16, sizeof(slot));
	return slot < WINDOW_MAX &&
	       memcmp(data + 4, flight.requests[slot].what.transaction, STUN_TRANSACTION_SIZE) != 0;
}

static void load_datagrams_paced(struct load *load)
{
	struct addr local;
	int fd = open_datagram(load, &local);
	uint64_t start = now_ns();
	uint64_t next = 0;

	batch_open(&inward);
	batch_open(&outward);
	while (load_goes_on(load)) {
		int count = recvmmsg(fd, inward.messages, BATCH, MSG_DONTWAIT, NULL);
		uint64_t now = now_ns();

		for (int i = 0; i < count; i++) {
			uint32_t slot = flight_match(
				load, &local, inward.bytes[i], inward.messages[i].msg_len);
			if (slot == WINDOW_MAX) {
				load->wrong += !is_late(inward.bytes[i]);
				continue;
			}
			flight.busy[slot] = false;
			load->answered++;
			load_add_latency(load, now - flight.due[slot]);
		}
		next = send_due(load, fd, start, next);
	}
	close(fd);
}

/* --- the raw handshake --- */

#define RAW_PORT 40000 /* of the first in flight */

static struct raw_handshake handshakes[PACKET_PORT_MAX];

static void send_syns(int fd, const struct load *load, const uint32_t *slots, size_t count)
{
	static struct sockaddr_in server;

	server = load_server_addr(load);
	server.sin_port = 0;
	for (size_t i = 0; i < count; i++) {
		struct addr local = {.ip = {127, 0, 0, 1},
			.family = ADDR_IPV4,
			.port = (uint16_t)(RAW_PORT + slots[i])};
		struct addr remote = local;
		uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE];
		struct segment syn;

		remote.port = load->port;
		random_fill(random, sizeof(random));
		raw_handshake_start(&handshakes[slots[i]], &local, &remote, random);
		raw_handshake_make_syn(&handshakes[slots[i]], &syn);
		outward.parts[i].iov_len =
			segment_write_tcp(&syn, outward.bytes[i], sizeof(outward.bytes[i]));
		outward.messages[i].msg_hdr.msg_name = &server;
		outward.messages[i].msg_hdr.msg_namelen = sizeof(server);
	}
	batch_send(fd, &outward, count);
}

/* The slot that the segment answers, or PACKET_PORT_MAX. */
static uint32_t match_syn_ack(const struct load *load, const uint8_t *data, size_t size)
{
	struct segment_packet packet;
	struct segment segment;
	struct addr mapped;
	uint32_t slot;

	if (segment_read_ipv4(&packet, data, size) != 0 || segment_read_tcp(&segment, &packet) != 0)
		return PACKET_PORT_MAX;
	slot = segment.destination.port - (uint32_t)RAW_PORT;
	if (slot >= load->window ||
		raw_handshake_judge(&handshakes[slot], &segment, &mapped) != RAW_HANDSHAKE_MAPPED ||
		!addr_equal(&mapped, &handshakes[slot].local))
		return PACKET_PORT_MAX;
	return slot;
}

static int open_raw(const struct load *load)
{
	struct packet_filter filter = {.source = load->port, .destination_count = load->window};
	struct timeval patience = {.tv_usec = 100000};
	int size = 4 << 20;
	int fd;

	for (uint32_t slot = 0; slot < load->window; slot++)
		filter.destinations[slot] = (uint16_t)(RAW_PORT + slot);
	fd = packet_open(ADDR_IPV4, MAPPING_TCP, &filter);
	if (fd < 0 || fcntl(fd, F_SETFL, 0) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		fail("raw socket");
	return fd;
}

static void load_raw(struct load *load)
{
	int fd = open_raw(load);
	uint32_t slots[BATCH];
	uint64_t flying = load->window;

	batch_open(&inward);
	batch_open(&outward);
	for (uint32_t slot = 0; slot < load->window; slot++)
		send_syns(fd, load, &slot, 1);
	while (load_goes_on(load)) {
		int count = recvmmsg(fd, inward.messages, BATCH, MSG_WAITFORONE, NULL);
		size_t done = 0;

		if (count <= 0) {
			load->lost += flying;
			for (uint32_t slot = 0; slot < load->window; slot++)
				send_syns(fd, load, &slot, 1);
		}
		for (int i = 0; i < count; i++) {
			uint32_t slot =
				match_syn_ack(load, inward.bytes[i], inward.messages[i].msg_len);
			if (slot == PACKET_PORT_MAX)
				load->wrong++;
			else
				slots[done++] = slot;
		}
		load->answered += done;
		send_syns(fd, load, slots, done);
	}
	close(fd);
}

/* --- names --- */

static struct name_question lookups[BATCH];
static struct key lookup_keys[BATCH];

/* The name and key of a number, the same in the key file and in the questions. */
static void make_key(uint64_t number, struct key *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "home-%llu", (unsigned long long)number);
	for (size_t i = 0; i < sizeof(out->secret); i++)
		out->secret[i] = (uint8_t)(number * 2654435761U >> i % 24);
}

static int print_keys(uint64_t count)
{
	char line[KEY_LINE_SIZE];
	struct key key;

	for (uint64_t i = 0; i < count; i++) {
		make_key(i, &key);
		puts(key_format(&key, line));
	}
	return 0;
}

/* The next request of each lookup. They share the socket: the transaction tells them apart. */
static void send_lookups(int fd, const uint32_t *slots, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t random[12];

		random_fill(random, sizeof(random));
		memcpy(random + 8, &slots[i], sizeof(slots[i]));
		outward.parts[i].iov_len = name_message_write(
			&lookups[slots[i]], random, outward.bytes[i], sizeof(outward.bytes[i]));
	}
	batch_send(fd, &outward, count);
}

static void begin_lookup(const struct load *load, uint32_t slot)
{
	make_key(random_below((uint32_t)load->names), &lookup_keys[slot]);
	name_message_start(&lookups[slot], STUN_METHOD_LOOKUP, &lookup_keys[slot]);
}

/* Whose answer it is, with the lookup as far as it goes; or BATCH. */
static uint32_t take_lookup(struct load *load, const uint8_t *data, size_t size)
{
	const char *why;
	uint32_t slot;

	if (size < STUN_HEADER_SIZE)
		return BATCH;
	memcpy(&slot, data + 16, sizeof(slot));
	if (slot >= load->window)
		return BATCH;
	switch (name_message_read(&lookups[slot], data, size, &why)) {
	case NAME_MESSAGE_AGAIN:
		return slot;
	case NAME_MESSAGE_DONE:
		load->answered++;
		begin_lookup(load, slot);
		return slot;
	default:
		return BATCH;
	}
}

static void load_names(struct load *load)
{
	struct addr local;
	int fd = open_datagram(load, &local);
	uint32_t slots[BATCH];

	if (load->window > BATCH || load->names == 0 || load->names > UINT32_MAX)
		fail("names");
	batch_open(&inward);
	batch_open(&outward);
	for (uint32_t slot = 0; slot < load->window; slot++) {
		begin_lookup(load, slot);
		send_lookups(fd, &slot, 1);
	}
	while (load_goes_on(load)) {
		int count = recvmmsg(fd, inward.messages, BATCH, MSG_WAITFORONE, NULL);
		size_t done = 0;

		if (count <= 0)
			fail("a lookup was not answered");
		for (int i = 0; i < count; i++) {
			uint32_t slot =
				take_lookup(load, inward.bytes[i], inward.messages[i].msg_len);
			if (slot == BATCH)
				load->wrong++;
			else
				slots[done++] = slot;
		}
		send_lookups(fd, slots, done);
	}
	close(fd);
}

/* --- streams --- */

/*
 * A socket connected to the server. Each from another of many addresses: the ports of one would all
 * be in TIME_WAIT soon.
 */
static int open_stream(const struct load *load, struct addr *local)
{
	static uint32_t turn;
	struct sockaddr_in server = load_server_addr(load);
	struct sockaddr_in client = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	client.sin_addr.s_addr =
		htonl(load->sources > 0 ? SOURCES_FIRST + turn++ % (uint32_t)load->sources
					: INADDR_LOOPBACK + 256 + turn++ % 250);
	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) != 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *)&client, sizeof(client)) != 0 ||
		connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0 ||
		socket_local(fd, local) != 0)
		fail("connect");
	return fd;
}

/* One more answer, into `out`: its size, or 0 when the connection ends or nothing comes. */
static size_t hear(const struct load *load, int fd, uint8_t *out, size_t capacity)
{
	size_t used = 0;
	size_t need = load->echo ? 1 : STUN_HEADER_SIZE;

	while (used < need) {
		ssize_t got = recv(fd, out + used, capacity - used, 0);
		if (got <= 0)
			return 0;
		used += (size_t)got;
		if (!load->echo && stun_frame(out, used, &need) == STUN_FRAME_NOT_STUN)
			return used;
	}
	return used;
}

struct stream {
	int fd;
	struct addr local;
	struct request request;
};

static void stream_ask(struct stream *stream, uint64_t mode)
{
	request_make(&stream->request, mode);
	/* Where the other end is gone, the answer will be missing. */
	if (send(stream->fd, stream->request.bytes, stream->request.size, MSG_NOSIGNAL) < 0)
		return;
}

static void stream_judge(struct load *load, const struct stream *stream)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = hear(load, stream->fd, bytes, sizeof(bytes));

	if (size == 0)
		load->lost++;
	else if (request_is_answered(load, &stream->request, &stream->local, bytes, size))
		load->answered++;
	else
		load->wrong++;
}

static void load_once(struct load *load)
{
	static struct stream ring[WINDOW_MAX];

	for (uint64_t i = 0; load_goes_on(load); i++) {
		struct stream *stream = &ring[i % load->window];

		if (i >= load->window) {
			stream_judge(load, stream);
			close(stream->fd);
		}
		stream->fd = open_stream(load, &stream->local);
		stream_ask(stream, load->mode);
	}
}

static bool line_is_right(const struct load *load, const struct stream *stream)
{
	char line[FIRST_BYTES_LINE_SIZE + 1];
	char expected[FIRST_BYTES_LINE_SIZE];
	size_t size = first_bytes_write_line(&stream->local, expected);
	size_t used = 0;
	ssize_t got;

	while ((got = recv(stream->fd, line + used, sizeof(line) - used, 0)) > 0)
		used += (size_t)got;
	if (got < 0)
		return false;
	return load->echo ? used > 0 : used == size && memcmp(line, expected, size) == 0;
}

static void load_text(struct load *load)
{
	static struct stream ring[WINDOW_MAX];

	for (uint64_t i = 0; load_goes_on(load); i++) {
		struct stream *stream = &ring[i % load->window];

		if (i >= load->window) {
			if (line_is_right(load, stream))
				load->answered++;
			else
				load->wrong++;
			close(stream->fd);
		}
		stream->fd = open_stream(load, &stream->local);
	}
}

struct crowd {
	struct stream *streams; /* the kept ones, then the held ones */
	bool *asked;
	uint64_t turn;
	int epoll;
};

static void crowd_open(struct load *load, struct crowd *crowd)
{
	uint64_t all = load->connections + load->held;

	crowd->streams = calloc(all, sizeof(*crowd->streams));
	crowd->asked = calloc(all, sizeof(*crowd->asked));
	crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (crowd->streams == NULL || crowd->asked == NULL || crowd->epoll < 0)
		fail("memory");
	for (uint64_t i = 0; i < all; i++) {
		struct stream *stream = &crowd->streams[i];
		struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = i}};
		bool held;

		stream->fd = open_stream(load, &stream->local);
		held = i >= load->connections && !load->echo;
		stream_ask(stream, held ? BINDING_MODE_HOLD : load->mode);
		stream_judge(load, stream);
		if (i < load->connections &&
			epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, stream->fd, &event) != 0)
			fail("epoll_ctl");
	}
}

/* A held one from which something comes has been given up by the server. */
static uint64_t crowd_lost(const struct load *load, const struct crowd *crowd)
{
	uint64_t lost = 0;
	char byte;

	for (uint64_t i = load->connections; i < load->connections + load->held; i++)
		if (recv(crowd->streams[i].fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			lost++;
	return lost;
}

static void crowd_ask_next(const struct load *load, struct crowd *crowd)
{
	uint64_t i;

	do
		i = crowd->turn++ % load->connections;
	while (crowd->asked[i]);
	crowd->asked[i] = true;
	stream_ask(&crowd->streams[i], load->mode);
}

/* Some servers close after a while whatever is said. */
static void crowd_reopen(struct load *load, struct crowd *crowd, uint64_t i)
{
	struct stream *stream = &crowd->streams[i];
	struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = i}};

	close(stream->fd);
	stream->fd = open_stream(load, &stream->local);
	if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, stream->fd, &event) != 0)
		fail("epoll_ctl");
	load->reopened++;
	if (crowd->asked[i])
		stream_ask(stream, load->mode);
}

static void load_kept(struct load *load)
{
	struct epoll_event events[BATCH];
	struct crowd crowd = {.turn = 0};

	crowd_open(load, &crowd);
	load_start(load);
	for (uint64_t i = 0; i < load->window; i++)
		crowd_ask_next(load, &crowd);
	while (load_goes_on(load)) {
		int count = epoll_wait(crowd.epoll, events, BATCH, 1000);

		if (count <= 0)
			load->lost++;
		for (int i = 0; i < count; i++) {
			struct stream *stream = &crowd.streams[events[i].data.u64];
			char byte;

			if (recv(stream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) {
				crowd_reopen(load, &crowd, events[i].data.u64);
				continue;
			}
			stream_judge(load, stream);
			crowd.asked[events[i].data.u64] = false;
			crowd_ask_next(load, &crowd);
		}
	}
	load->lost += crowd_lost(load, &crowd);
}

/* The server's resident memory in kB, as the kernel counts it page by page. */
static uint64_t server_resident(const struct load *load)
{
	char path[64], line[256];
	uint64_t value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)load->server);
	file = fopen(path, "re");
	if (file == NULL)
		fail(path);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Rss:", 4) == 0)
			value = strtoull(line + 4, NULL, 10);
	fclose(file);
	return value;
}

/* What the kernel has taken for objects of its own, in kB: the sockets of both ends among them. */
static uint64_t kernel_objects(void)
{
	char line[256];
	uint64_t value = 0;
	FILE *file = fopen("/proc/meminfo", "re");

	if (file == NULL)
		fail("/proc/meminfo");
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Slab:", 5) == 0)
			value = strtoull(line + 5, NULL, 10);
	fclose(file);
	return value;
}

static void load_homes(struct load *load)
{
	struct crowd crowd = {.turn = 0};
	uint64_t pause;
	uint64_t next;

	if (load->rate == 0)
		fail("rate");
	load->mode = BINDING_MODE_HOLD;
	crowd_open(load, &crowd);
	load_start(load);
	pause = SECOND_NS / load->rate;
	next = now_ns();
	while (load_goes_on(load)) {
		uint64_t now = now_ns();
		struct stream *stream = &crowd.streams[crowd.turn % load->connections];

		if (now < next) {
			struct timespec rest = {.tv_nsec = (long)(next - now)};
			ppoll(NULL, 0, &rest, NULL);
			continue;
		}
		crowd.turn++;
		stream_ask(stream, load->mode);
		stream_judge(load, stream);
		load_add_latency(load, now_ns() - next);
		next += pause;
	}
}

static void load_hold(struct load *load)
{
	struct crowd crowd = {.turn = 0};
	uint64_t before = server_resident(load);
	uint64_t kernel_before = kernel_objects();

	load->connections = 0;
	crowd_open(load, &crowd);
	load_start(load);
	while (load_goes_on(load))
		poll(NULL, 0, 50);
	load->lost += crowd_lost(load, &crowd);
	printf("resident_before=%llu resident=%llu kernel=%llu ", (unsigned long long)before,
		(unsigned long long)server_resident(load),
		(unsigned long long)(kernel_objects() - kernel_before));
}

/* --- the command line --- */

static uint64_t *find_key(struct load *load, const char *key, size_t size)
{
	const struct {
		const char *name;
		uint64_t *value;
	} keys[] = {
		{"window", &load->window},
		{"connections", &load->connections},
		{"held", &load->held},
		{"rate", &load->rate},
		{"names", &load->names},
		{"mode", &load->mode},
		{"sources", &load->sources},
		{"echo", &load->echo},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strlen(keys[i].name) == size && memcmp(keys[i].name, key, size) == 0)
			return keys[i].value;
	return NULL;
}

static bool read_key(struct load *load, const char *argument)
{
	const char *equals = strchr(argument, '=');
	uint64_t *value;

	if (equals == NULL)
		return false;
	value = find_key(load, argument, (size_t)(equals - argument));
	return value != NULL && parse_number(equals + 1, 0, 1000000000, value) == 0;
}

static bool read_arguments(struct load *load, int argc, char **argv)
{
	uint64_t pid, milliseconds;

	if (argc < 5 || parse_port(argv[2], &load->port) != 0 ||
		parse_number(argv[3], 1, INT32_MAX, &pid) != 0 ||
		parse_seconds(argv[4], 600000, &milliseconds) != 0)
		return false;
	load->server = (pid_t)pid;
	load->duration = milliseconds * 1000000;
	for (int i = 5; i < argc; i++)
		if (!read_key(load, argv[i]))
			return false;
	return load->window >= 1 && load->window <= WINDOW_MAX && load->mode <= BINDING_MODE_HOLD &&
	       load->sources <= SOURCES_MAX;
}

static int compare_latencies(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static void tell_latencies(const struct load *load)
{
	uint64_t count = load->latency_count;

	if (count == 0)
		return;
	qsort(load->latencies, count, sizeof(*load->latencies), compare_latencies);
	printf("p50_ns=%u p99_ns=%u max_ns=%u ", load->latencies[count / 2],
		load->latencies[count * 99 / 100], load->latencies[count - 1]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct load *);
		uint64_t window;
	} cases[] = {
		{"udp", load_datagrams, 128},
		{"paced", load_datagrams_paced, 1},
		{"once", load_once, 32},
		{"text", load_text, 32},
		{"kept", load_kept, 32},
		{"hold", load_hold, 1},
		{"homes", load_homes, 1},
		{"raw", load_raw, PACKET_PORT_MAX},
		{"names", load_names, 64},
	};
	struct load load = {.connections = 32};
	size_t which = 0;
	uint64_t names;

	if (argc == 3 && strcmp(argv[1], "keyfile") == 0 &&
		parse_number(argv[2], 1, KEY_FILE_MAX, &names) == 0)
		return print_keys(names);
	while (which < sizeof(cases) / sizeof(cases[0]) &&
		(argc < 2 || strcmp(cases[which].name, argv[1]) != 0))
		which++;
	if (which < sizeof(cases) / sizeof(cases[0]))
		load.window = cases[which].window;
	if (which == sizeof(cases) / sizeof(cases[0]) || !read_arguments(&load, argc, argv)) {
		fputs("usage: load CASE PORT SERVER-PID SECONDS [KEY=NUMBER...]\n", stderr);
		return 2;
	}
	if (clock_getcpuclockid(load.server, &load.server_clock) != 0)
		fail("no such server");
	if (load.rate > 0) {
		load.latency_max = load.rate * (load.duration / 1000000 + 1000) / 1000;
		load.latencies = calloc(load.latency_max, sizeof(*load.latencies));
	}
	alarm((unsigned)(load.duration / SECOND_NS) + 30);
	load_start(&load);
	cases[which].run(&load);
	tell_latencies(&load);
	printf("answered=%llu wrong=%llu lost=%llu reopened=%llu elapsed_ns=%llu server_ns=%llu\n",
		(unsigned long long)load.answered, (unsigned long long)load.wrong,
		(unsigned long long)load.lost, (unsigned long long)load.reopened,
		(unsigned long long)load.elapsed, (unsigned long long)load.server_ns);
	return load.wrong == 0 ? 0 : 1;
}
