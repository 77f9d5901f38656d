/*
 * Two listeners, 127.0.0.1 and ::1, and METRICS_CLIENTS connections at once. GET or HEAD of
 * /metrics gets the counters, another path 404, another method 405, and then the connection ends.
 * The rule for a full table: the oldest connection ends, unless it is younger than
 * METRICS_LEAST_MS; until then a new one waits in the kernel's queue. A request must be whole
 * within METRICS_MS and METRICS_HEADERS bytes; its client then has the same time to close. When no
 * descriptor is left, the listeners are not watched for a while.
 *
 * Every user of this host can ask. So a client costs no more than a slot in a small table, for a
 * bounded time, and one answer for each connection that it makes; the loop accepts one connection
 * and writes one answer in each turn.
 */
#include "reflector/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/proto/first_bytes.h"
#include "reflector/accept.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define READ_SIZE        2048
#define STARVED_PAUSE_MS 100

static struct loop_tag tag_of(const struct metrics *metrics, uint32_t slot, uint32_t generation)
{
	return (struct loop_tag){.kind = metrics->tag_kind, .slot = slot, .generation = generation};
}

static int open_listener(struct metrics *metrics, uint32_t index, const char *ip, uint16_t port)
{
	struct addr addr;
	int fd;

	if (addr_parse_ip(&addr, ip) != 0)
		return -1;
	addr.port = port;
	fd = accept_listen(&addr, false);
	if (fd < 0)
		return errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL ? 0 : -1;
	metrics->listeners[index] = fd;
	/* Inherited by what is accepted: an answer is sent in one piece, or not at all. */
	if (socket_set_flag(fd, SOL_SOCKET, SO_SNDBUF, 4 * COUNTERS_TEXT_SIZE) != 0)
		return -1;
	return loop_add(metrics->loop, fd, EPOLLIN, tag_of(metrics, index, 0));
}

int metrics_open(struct metrics *metrics, uint16_t port, struct loop *loop, uint8_t tag_kind,
	metrics_collect *collect, void *context)
{
	static const char *const loopbacks[METRICS_LISTENERS] = {"127.0.0.1", "::1"};

	memset(metrics, 0, sizeof(*metrics));
	metrics->loop = loop;
	metrics->tag_kind = tag_kind;
	metrics->collect = collect;
	metrics->context = context;
	metrics->resume = TIMER_NONE;
	for (uint32_t i = 0; i < METRICS_LISTENERS; i++)
		metrics->listeners[i] = -1;
	for (uint32_t i = 0; i < METRICS_CLIENTS; i++)
		metrics->clients[i].fd = -1;
	for (uint32_t i = 0; port != 0 && i < METRICS_LISTENERS; i++)
		if (open_listener(metrics, i, loopbacks[i], port) != 0)
			return -1;
	return 0;
}

static void end_client(struct metrics *metrics, struct metrics_client *client)
{
	metrics->used--;
	close(client->fd);
	client->fd = -1;
	client->generation++;
}

void metrics_close(struct metrics *metrics)
{
	/* Never opened. */
	if (metrics->loop == NULL)
		return;
	for (uint32_t i = 0; i < METRICS_LISTENERS; i++)
		if (metrics->listeners[i] >= 0)
			close(metrics->listeners[i]);
	for (uint32_t i = 0; i < METRICS_CLIENTS; i++)
		if (metrics->clients[i].fd >= 0)
			end_client(metrics, &metrics->clients[i]);
	metrics->loop = NULL;
}

/* A free slot, or that of the oldest. */
static uint32_t find_slot(const struct metrics *metrics)
{
	uint32_t oldest = 0;

	for (uint32_t i = 0; i < METRICS_CLIENTS; i++) {
		if (metrics->clients[i].fd < 0)
			return i;
		if (metrics->clients[i].came < metrics->clients[oldest].came)
			oldest = i;
	}
	return oldest;
}

static bool begins(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* The path ends here: "?" and what follows it is not looked at. */
static bool is_end(char letter)
{
	return letter == ' ' || letter == '?' || letter == '\r' || letter == '\n';
}

static size_t write_answer(
	struct metrics *metrics, const struct metrics_client *client, uint64_t now)
{
	static const char path[] = "/metrics";
	bool head = begins(client->line, "HEAD ");
	const char *target = client->line + (head ? 5 : 4);
	const char *status = "200 OK";
	size_t size;

	if (!head && !begins(client->line, "GET "))
		status = "405 Method Not Allowed\r\nAllow: GET, HEAD";
	else if (!begins(target, path) || !is_end(target[sizeof(path) - 1]))
		status = "404 Not Found";
	if (status[0] == '2') {
		memset(&metrics->counters, 0, sizeof(metrics->counters));
		metrics->collect(metrics->context, &metrics->counters, now);
		size = counters_write(&metrics->counters, metrics->text);
	} else {
		size = (size_t)snprintf(
			metrics->text, sizeof(metrics->text), "the counters are at %s\n", path);
	}
	return (size_t)snprintf(metrics->answer, sizeof(metrics->answer),
		"HTTP/1.0 %s\r\n"
		"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		"Content-Length: %zu\r\n"
		"Connection: close\r\n"
		"\r\n"
		"%s",
		status, size, head ? "" : metrics->text);
}

/* Answers, and waits for the client to go: what it still sends must not destroy the answer. */
static bool answer_client(struct metrics *metrics, struct metrics_client *client, uint64_t now)
{
	size_t size = write_answer(metrics, client, now);

	client->answered = true;
	client->due = now + METRICS_MS;
	return socket_send_last(client->fd, metrics->answer, size);
}

/* Returns false when the connection is over. */
static bool serve_client(struct metrics *metrics, struct metrics_client *client, uint64_t now)
{
	char bytes[READ_SIZE];
	ssize_t got = recv(client->fd, bytes, sizeof(bytes), 0);
	size_t kept;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0 || client->answered)
		return got > 0;
	for (kept = 0; kept < (size_t)got && client->size + kept < sizeof(client->line) - 1; kept++)
		client->line[client->size + kept] = bytes[kept];
	client->size += (size_t)got;
	if (first_bytes_skip_headers(&client->header_state, bytes, (size_t)got))
		return answer_client(metrics, client, now);
	return client->size < METRICS_HEADERS;
}

static void watch_listeners(struct metrics *metrics, uint32_t events)
{
	for (uint32_t i = 0; i < METRICS_LISTENERS; i++)
		if (metrics->listeners[i] >= 0)
			loop_change(metrics->loop, metrics->listeners[i], events,
				tag_of(metrics, i, 0));
}

static void leave_listeners(struct metrics *metrics, uint64_t until)
{
	watch_listeners(metrics, 0);
	metrics->resume = until;
}

static void accept_client(struct metrics *metrics, int listener, uint64_t now)
{
	uint32_t slot = find_slot(metrics);
	struct metrics_client *client = &metrics->clients[slot];
	int fd;

	if (client->fd >= 0 && now < client->came + METRICS_LEAST_MS) {
		leave_listeners(metrics, client->came + METRICS_LEAST_MS);
		return;
	}
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			leave_listeners(metrics, now + STARVED_PAUSE_MS);
		return;
	}
	if (client->fd >= 0)
		end_client(metrics, client);
	*client = (struct metrics_client){
		.fd = fd,
		.generation = client->generation,
		.came = now,
		.due = now + METRICS_MS,
	};
	metrics->used++;
	if (loop_add(metrics->loop, fd, EPOLLIN,
		    tag_of(metrics, METRICS_LISTENERS + slot, client->generation)) != 0 ||
		!serve_client(metrics, client, now))
		end_client(metrics, client);
}

void metrics_event(struct metrics *metrics, struct loop_tag tag, uint64_t now)
{
	struct metrics_client *client;

	if (tag.slot < METRICS_LISTENERS) {
		accept_client(metrics, metrics->listeners[tag.slot], now);
		return;
	}
	if (tag.slot >= METRICS_DESCRIPTORS)
		return;
	client = &metrics->clients[tag.slot - METRICS_LISTENERS];
	if (client->fd >= 0 && client->generation == tag.generation &&
		!serve_client(metrics, client, now))
		end_client(metrics, client);
}

uint64_t metrics_next(const struct metrics *metrics)
{
	uint64_t due = metrics->resume;

	for (uint32_t i = 0; metrics->used > 0 && i < METRICS_CLIENTS; i++)
		if (metrics->clients[i].fd >= 0 && metrics->clients[i].due < due)
			due = metrics->clients[i].due;
	return due;
}

void metrics_expire(struct metrics *metrics, uint64_t now)
{
	for (uint32_t i = 0; metrics->used > 0 && i < METRICS_CLIENTS; i++)
		if (metrics->clients[i].fd >= 0 && metrics->clients[i].due <= now)
			end_client(metrics, &metrics->clients[i]);
	if (now < metrics->resume)
		return;
	watch_listeners(metrics, EPOLLIN);
	metrics->resume = TIMER_NONE;
}
