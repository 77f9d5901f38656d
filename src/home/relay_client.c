#include "home/relay_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static void fail(struct relay_client *join, const char *problem)
{
	join->state = RELAY_CLIENT_FAILED;
	join->problem = problem;
	join->due = TIMER_NONE;
}

static int open_socket(const struct relay_client_path *path)
{
	struct addr local = path->local;
	int saved;
	int fd = socket_open((enum addr_family)path->reflector.family, SOCK_STREAM, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	local.port = 0;
	if ((path->interface == NULL || socket_bind_interface(fd, path->interface) == 0) &&
		(local.family != path->reflector.family || socket_bind(fd, &local) == 0) &&
		socket_connect(fd, &path->reflector) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

void relay_client_start(struct relay_client *join, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now)
{
	memset(join, 0, sizeof(*join));
	join->state = RELAY_CLIENT_CONNECTING;
	join->ticket = *ticket;
	join->initiator = *initiator;
	join->due = now + RELAY_CLIENT_TIMEOUT_MS;
	join->fd = open_socket(path);
	if (join->fd < 0)
		fail(join, strerror(errno));
}

int relay_client_fd(const struct relay_client *join)
{
	bool waits = join->state == RELAY_CLIENT_CONNECTING || join->state == RELAY_CLIENT_ASKING;

	return waits ? join->fd : -1;
}

short relay_client_events(const struct relay_client *join)
{
	return join->state == RELAY_CLIENT_CONNECTING ? POLLOUT : POLLIN;
}

static void ask(struct relay_client *join)
{
	int problem = socket_take_error(join->fd);
	uint8_t random[12];
	size_t size;

	if (problem != 0) {
		fail(join, strerror(problem));
		return;
	}
	random_fill(random, sizeof(random));
	size = relay_message_write_join(
		&join->ticket, random, join->transaction, join->bytes, sizeof(join->bytes));
	if (send(join->fd, join->bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		fail(join, "cannot ask");
	else
		join->state = RELAY_CLIENT_ASKING;
}

static void take_answer(struct relay_client *join)
{
	unsigned code = 0;

	switch (relay_message_read_answer(
		&join->ticket, join->transaction, join->bytes, join->received, &code)) {
	case RELAY_MESSAGE_JOINED:
		join->state = RELAY_CLIENT_OPEN;
		join->due = TIMER_NONE;
		return;
	case RELAY_MESSAGE_REFUSED:
		fail(join, code == RELAY_MESSAGE_UNPROVEN ? "the initiator is gone"
							  : relay_message_reason(code));
		return;
	case RELAY_MESSAGE_MALFORMED:
		fail(join, "not an answer");
	}
}

/* Returns false when there is nothing more to read for now. */
static bool read_some(struct relay_client *join)
{
	size_t need = STUN_HEADER_SIZE;
	enum stun_frame frame = stun_frame(join->bytes, join->received, &need);
	ssize_t got;

	if (frame == STUN_FRAME_COMPLETE) {
		take_answer(join);
		return false;
	}
	if (frame == STUN_FRAME_NOT_STUN || need > sizeof(join->bytes)) {
		fail(join, "not an answer");
		return false;
	}
	got = recv(join->fd, join->bytes + join->received, need - join->received, 0);
	if (got > 0) {
		join->received += (size_t)got;
		return true;
	}
	if (got == 0 || (errno != EAGAIN && errno != EINTR))
		fail(join, got == 0 ? "the reflector closed the connection" : strerror(errno));
	return false;
}

void relay_client_advance(struct relay_client *join, bool happened, uint64_t now)
{
	if (relay_client_fd(join) < 0)
		return;
	if (happened && join->state == RELAY_CLIENT_CONNECTING)
		ask(join);
	else if (happened)
		while (read_some(join))
			;
	if (relay_client_fd(join) >= 0 && now >= join->due)
		fail(join, "the time is up");
}

int relay_client_take(struct relay_client *join)
{
	int fd = join->fd;

	secret_wipe(join, sizeof(*join));
	return fd;
}

void relay_client_end(struct relay_client *join)
{
	if (join->state != RELAY_CLIENT_NONE && join->fd >= 0)
		close(join->fd);
	secret_wipe(join, sizeof(*join));
}
