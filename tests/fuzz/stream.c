/*
 * Fuzzes a TCP connection of the reflector, from the first byte to the end: reading, framing,
 * names, answers and deadlines together, over a pair of sockets. Whatever is said and however it is
 * cut, the reflector says the same, and says nothing but STUN, an HTTP answer or the line; a
 * connection that is over leaves nothing in the table.
 *
 * The first byte of the input chooses the size of the pieces and whether time passes, the rest is
 * what the client says.
 */
#include "reflector/tcp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/proto/stun.h"

#define ANSWER_MAX 65536
#define TAG        3

struct talk {
	uint8_t said[ANSWER_MAX]; /* by the reflector */
	size_t size;
	bool ended;
};

static struct loop loop;
static struct tcp_server stream;
static struct names names;
static struct dialler dial;
static struct alternate places[2]; /* none */

static void deliver(
	void *context, struct loop_tag asker, const void *data, size_t size, uint64_t now)
{
	tcp_deliver(context, asker, data, size, now);
}

static void start(void)
{
	const struct dialler_config off = {.off = true, .alternates = places};
	const struct reflector_times times = REFLECTOR_TIMES_DEFAULT;
	struct error error;

	fuzz_check(loop_open(&loop) == 0);
	fuzz_check(names_open(&names, NULL, NULL, 0, &error) == 0);
	fuzz_check(tcp_open(&stream, &loop, TAG, 4, &times, &names) == 0);
	dialler_open(&dial, &off, &loop, TAG + 1, deliver, &stream);
	stream.dialler = &dial;
}

/* What the client can read now. */
static void hear(struct talk *talk, int fd)
{
	for (;;) {
		ssize_t got;

		fuzz_check(talk->size < sizeof(talk->said));
		got = recv(
			fd, talk->said + talk->size, sizeof(talk->said) - talk->size, MSG_DONTWAIT);
		if (got < 0)
			return;
		if (got == 0) {
			talk->ended = true;
			return;
		}
		talk->size += (size_t)got;
	}
}

static void turn(uint64_t now)
{
	struct loop_event events[LOOP_BATCH];
	int count = loop_wait(&loop, events, 0);

	for (int i = 0; i < count; i++)
		if (events[i].tag.kind == TAG)
			tcp_event(&stream, events[i].tag, now);
	tcp_expire(&stream, now);
}

static bool is_empty(void)
{
	for (uint32_t i = 0; i < stream.table.fresh; i++)
		if (stream.table.connections[i].fd >= 0)
			return false;
	return stream.table.held == 0;
}

/* One connection, said in pieces of that size. */
static void run(struct talk *talk, const uint8_t *data, size_t size, size_t step, uint64_t pause)
{
	const struct addr peer = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 41843};
	uint64_t now = 1000;
	int pair[2];

	talk->size = 0;
	talk->ended = false;
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	tcp_adopt(&stream, pair[0], &peer, now);
	for (size_t at = 0; at < size && !talk->ended; at += step) {
		size_t piece = size - at < step ? size - at : step;

		if (send(pair[1], data + at, piece, MSG_NOSIGNAL) != (ssize_t)piece)
			break;
		turn(now);
		hear(talk, pair[1]);
		now += pause;
	}
	turn(now);
	hear(talk, pair[1]);
	close(pair[1]);
	turn(now);
	/* Every connection has a deadline. */
	for (int i = 0; i < 4 && !is_empty(); i++)
		turn(now += 4000000000U);
	fuzz_check(is_empty() && tcp_next(&stream) == TIMER_NONE);
}

static void check_answer(const struct talk *talk)
{
	size_t at = 0, need;

	while (at < talk->size &&
		stun_frame(talk->said + at, talk->size - at, &need) == STUN_FRAME_COMPLETE)
		at += need;
	if (at == talk->size)
		return;
	if (talk->size - at > 5 && memcmp(talk->said + at, "HTTP/", 5) == 0)
		return;
	fuzz_check(at == 0 && first_bytes_is_line(talk->said, talk->size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct talk whole, pieces;
	uint64_t pause;
	size_t step;

	if (stream.table.capacity == 0)
		start();
	if (size < 2 || size > 4096)
		return 0;
	step = 1 + data[0] % 32U;
	pause = data[0] & 0x80 ? 150 : 0;
	data++;
	size--;
	run(&pieces, data, size, step, pause);
	check_answer(&pieces);
	if (pause != 0)
		return 0;
	run(&whole, data, size, size, 0);
	check_answer(&whole);
	fuzz_check(whole.size == pieces.size);
	fuzz_check(memcmp(whole.said, pieces.said, whole.size) == 0);
	return 0;
}
