#include "connect/nearby.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"

void nearby_init(struct nearby *nearby)
{
	memset(nearby, 0, sizeof(*nearby));
	for (size_t i = 0; i < NEARBY_MAX; i++)
		nearby->fds[i] = -1;
	nearby->connection = -1;
	nearby->due = TIMER_NONE;
}

static void leave(struct nearby *nearby, size_t i, int problem)
{
	char text[ADDR_TEXT_SIZE];

	if (nearby->fds[i] >= 0)
		close(nearby->fds[i]);
	nearby->fds[i] = -1;
	nearby->problem = problem;
	log_detail("no way to %s: %s", addr_format(&nearby->hosts[i], text), strerror(problem));
}

static void start_one(struct nearby *nearby, size_t i)
{
	const struct addr *host = &nearby->hosts[i];
	char text[ADDR_TEXT_SIZE];

	log_detail("we are seen where home is: trying its own address %s as well",
		addr_format(host, text));
	nearby->fds[i] = socket_open((enum addr_family)host->family, SOCK_STREAM, IPPROTO_TCP);
	if (nearby->fds[i] < 0 || socket_connect(nearby->fds[i], host) != 0)
		leave(nearby, i, errno);
}

static void keep_first(struct nearby *nearby, size_t i, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	nearby->connection = nearby->fds[i];
	nearby->fds[i] = -1;
	nearby->due = now + NEARBY_GRACE_MS;
	log_detail("connected to %s, home's own address", addr_format(&nearby->hosts[i], text));
}

void nearby_start(struct nearby *nearby, const struct addr *hosts, size_t count)
{
	nearby->count = count < NEARBY_MAX ? count : NEARBY_MAX;
	memcpy(nearby->hosts, hosts, nearby->count * sizeof(*hosts));
	for (size_t i = 0; i < nearby->count; i++)
		start_one(nearby, i);
}

uint64_t nearby_watch(const struct nearby *nearby, struct pollfd fds[NEARBY_MAX])
{
	for (size_t i = 0; i < NEARBY_MAX; i++)
		fds[i] = (struct pollfd){.fd = nearby->fds[i], .events = POLLOUT};
	return nearby->due;
}

static void close_connecting(struct nearby *nearby)
{
	for (size_t i = 0; i < NEARBY_MAX; i++) {
		if (nearby->fds[i] >= 0)
			close(nearby->fds[i]);
		nearby->fds[i] = -1;
	}
}

bool nearby_advance(
	struct nearby *nearby, const struct pollfd fds[NEARBY_MAX], bool alone, uint64_t now)
{
	for (size_t i = 0; i < nearby->count && nearby->connection < 0; i++) {
		int problem;

		if (nearby->fds[i] < 0 || fds[i].revents == 0)
			continue;
		problem = socket_take_error(nearby->fds[i]);
		if (problem != 0)
			leave(nearby, i, problem);
		else
			keep_first(nearby, i, now);
	}
	if (nearby->connection >= 0)
		close_connecting(nearby);
	return nearby->connection >= 0 && (alone || now >= nearby->due);
}

int nearby_take(struct nearby *nearby)
{
	int fd = nearby->connection;

	nearby->connection = -1;
	nearby->due = TIMER_NONE;
	return fd;
}

void nearby_end(struct nearby *nearby)
{
	close_connecting(nearby);
	if (nearby->connection >= 0)
		close(nearby->connection);
	nearby_init(nearby);
}
