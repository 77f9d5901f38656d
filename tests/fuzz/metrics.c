/*
 * Fuzzes the counters' HTTP: more clients than there is room for connect, say what the input has in
 * it, in pieces, go, or stay until their time is over. The listener is one of this process' own, as
 * on loopback but without ports.
 *
 * A step's first byte: what is done (2 bits), and by whom (6 bits).
 *
 * What must hold: a client hears nothing or one whole answer, with the length that it names, and
 * then the end; whoever does nothing is ended; nothing is left.
 */
#include "reflector/metrics.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "steps.h"
#include "natpunch/base/timer_heap.h"

#define TAG     7
#define CLIENTS (METRICS_CLIENTS + 4)
#define STEPS   300

struct client {
	int fd; /* or -1 */
	char heard[COUNTERS_TEXT_SIZE + 1024];
	size_t size;
};

static struct loop loop;
static struct metrics metrics;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size;
static struct client clients[CLIENTS];
static uint64_t now;

static void collect(void *context, struct counters *out, uint64_t when)
{
	(void)context;
	out->values[0] = when;
}

static void start(void)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const struct loop_tag tag = {.kind = TAG};

	/* An abstract name, which needs no file. */
	address_size =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			    (size_t)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
				    "natpunch-fuzz-%ld", (long)getpid()));
	fuzz_check(listener >= 0 && loop_open(&loop) == 0);
	fuzz_check(bind(listener, (struct sockaddr *)&address, address_size) == 0);
	fuzz_check(listen(listener, CLIENTS) == 0);
	fuzz_check(metrics_open(&metrics, 0, &loop, TAG, collect, NULL) == 0);
	metrics.listeners[0] = listener;
	fuzz_check(loop_add(&loop, listener, EPOLLIN, tag) == 0);
}

/* A whole answer, and as long as it says; to HEAD there is less. */
static void check_answer(const struct client *client)
{
	static const char head[] = "HTTP/1.0 ", length[] = "\r\nContent-Length: ";
	const char *end = strstr(client->heard, "\r\n\r\n");
	const char *named = strstr(client->heard, length);

	if (client->size == 0)
		return;
	fuzz_check(strncmp(client->heard, head, sizeof(head) - 1) == 0);
	fuzz_check(end != NULL && named != NULL && named < end);
	fuzz_check(
		end[4] == '\0' || strlen(end + 4) == strtoul(named + sizeof(length) - 1, NULL, 10));
}

static void end_client(struct client *client)
{
	check_answer(client);
	close(client->fd);
	client->fd = -1;
}

static void listen_to(struct client *client)
{
	ssize_t got;

	while ((got = recv(client->fd, client->heard + client->size,
			sizeof(client->heard) - 1 - client->size, MSG_DONTWAIT)) > 0) {
		client->size += (size_t)got;
		client->heard[client->size] = '\0';
		fuzz_check(client->size < sizeof(client->heard) - 1);
	}
}

static void turn(void)
{
	struct loop_event events[LOOP_BATCH];
	int count = loop_wait(&loop, events, 0);

	for (int i = 0; i < count; i++)
		metrics_event(&metrics, events[i].tag, now);
	metrics_expire(&metrics, now);
	for (size_t i = 0; i < CLIENTS; i++)
		if (clients[i].fd >= 0)
			listen_to(&clients[i]);
}

static void do_connect(struct client *client)
{
	if (client->fd >= 0)
		return;
	client->size = 0;
	client->heard[0] = '\0';
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	fuzz_check(client->fd >= 0);
	if (connect(client->fd, (struct sockaddr *)&address, address_size) != 0)
		end_client(client); /* the queue is full */
}

static void do_say(const struct client *client)
{
	static const char *const texts[] = {
		"", "GET /metrics HTTP/1.0\r\n\r\n", "HEAD /metrics?x ", "\r\n\n"};
	uint8_t bytes[255];
	size_t size = take();

	if (client->fd < 0)
		return;
	if (size < sizeof(texts) / sizeof(texts[0])) {
		(void)send(client->fd, texts[size], strlen(texts[size]), MSG_NOSIGNAL);
		return;
	}
	for (size_t i = 0; i < size; i++)
		bytes[i] = take();
	(void)send(client->fd, bytes, size, MSG_NOSIGNAL);
}

static void step(void)
{
	uint8_t what = take();
	struct client *client = &clients[(what >> 2) % CLIENTS];

	switch (what % 4) {
	case 0:
		do_connect(client);
		break;
	case 1:
		do_say(client);
		break;
	case 2:
		now += (uint64_t)take() * 10;
		break;
	default:
		if (client->fd >= 0)
			end_client(client);
	}
	turn();
}

/* Whoever still waits to be taken is, and then its time is over. */
static void end_all(void)
{
	for (int idle = 0; idle < 2; idle = metrics_next(&metrics) == TIMER_NONE ? idle + 1 : 0) {
		now += METRICS_MS;
		turn();
	}
	for (size_t i = 0; i < CLIENTS; i++) {
		char byte;

		if (clients[i].fd < 0)
			continue;
		fuzz_check(recv(clients[i].fd, &byte, 1, MSG_DONTWAIT) <= 0);
		end_client(&clients[i]);
	}
	turn();
	fuzz_check(metrics.used == 0 && metrics_next(&metrics) == TIMER_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (metrics.loop == NULL)
		start();
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	input = data;
	left = size;
	now = 1000;
	for (int i = 0; i < STEPS && left > 0; i++)
		step();
	end_all();
	return 0;
}
