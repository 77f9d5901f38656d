#include "natpunch/client/dialback_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static void fail(
	struct dialback_client *verify, enum exit_status status, const char *what, const char *why)
{
	char remote[ADDR_TEXT_SIZE];

	error_set(&verify->error, status, "%s %s: %s", what,
		addr_format(&verify->reflector, remote), why);
	verify->state = DIALBACK_CLIENT_FAILED;
	dialback_client_end(verify);
}

static enum exit_status judge_errno(int value)
{
	return value == ENETUNREACH || value == EHOSTUNREACH || value == EPERM ||
			       value == EADDRINUSE || value == EADDRNOTAVAIL
		       ? EXIT_STATUS_LOCAL
		       : EXIT_STATUS_NETWORK;
}

static int open_socket(
	struct dialback_client *verify, const struct dialback_client_request *request)
{
	enum addr_family family = (enum addr_family)request->reflector.family;

	verify->fd = socket_open(family, SOCK_STREAM, 0);
	if (verify->fd < 0)
		return -1;
	if (request->interface != NULL &&
		socket_bind_interface(verify->fd, request->interface) != 0)
		return -1;
	/* Our TIME_WAIT must not keep a daemon from listening on that port again. */
	if (socket_set_flag(verify->fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0)
		return -1;
	if (request->local.family != ADDR_NONE && socket_bind(verify->fd, &request->local) != 0)
		return -1;
	return socket_connect(verify->fd, &request->reflector);
}

void dialback_client_start(
	struct dialback_client *verify, const struct dialback_client_request *request, uint64_t now)
{
	uint8_t random[12];

	memset(verify, 0, sizeof(*verify));
	verify->fd = -1;
	verify->reflector = request->reflector;
	verify->question.places = request->places;
	verify->question.port = request->port;
	random_fill(random, sizeof(random));
	stun_make_transaction(verify->question.transaction, random);
	verify->due = now + DIALBACK_CLIENT_TIMEOUT_MS;
	if (open_socket(verify, request) != 0)
		fail(verify, judge_errno(errno), "cannot connect to", strerror(errno));
}

int dialback_client_fd(const struct dialback_client *verify)
{
	return verify->fd;
}

short dialback_client_events(const struct dialback_client *verify)
{
	return verify->state == DIALBACK_CLIENT_CONNECTING ? POLLOUT : POLLIN;
}

static void send_question(struct dialback_client *verify)
{
	uint8_t bytes[DIALBACK_REQUEST_MAX];
	size_t size = dialback_write_request(&verify->question, bytes, sizeof(bytes));
	struct pollfd ready = {.fd = verify->fd, .events = POLLOUT};
	int problem;

	/* Called because of the time alone: not connected yet. */
	if (poll(&ready, 1, 0) == 0)
		return;
	problem = socket_take_error(verify->fd);
	if (problem != 0) {
		fail(verify, judge_errno(problem), "cannot connect to", strerror(problem));
		return;
	}
	/* An empty send buffer of a new connection takes a question whole. */
	if (send(verify->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
		fail(verify, EXIT_STATUS_NETWORK, "cannot ask", strerror(errno));
		return;
	}
	verify->state = DIALBACK_CLIENT_ASKING;
}

static void judge(struct dialback_client *verify, size_t size)
{
	const char *why = "";

	switch (dialback_read_answer(
		&verify->question, verify->bytes, size, &verify->answer, &why)) {
	case DIALBACK_ANSWERED:
		verify->state = DIALBACK_CLIENT_DONE;
		dialback_client_end(verify);
		return;
	case DIALBACK_REFUSAL:
		verify->unsupported = true;
		fail(verify, EXIT_STATUS_NETWORK, "no dial-back by", "it does not offer that");
		return;
	case DIALBACK_UNRELATED:
	case DIALBACK_MALFORMED:
		fail(verify, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

static void receive(struct dialback_client *verify)
{
	size_t need;
	ssize_t got = recv(verify->fd, verify->bytes + verify->received,
		sizeof(verify->bytes) - verify->received, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		/* Servers that know nothing of the method may close without a word. */
		verify->unsupported = verify->received == 0;
		fail(verify, EXIT_STATUS_NETWORK, "no answer from",
			got < 0 ? strerror(errno) : "it closed the connection");
		return;
	}
	verify->received += (size_t)got;
	switch (stun_frame(verify->bytes, verify->received, &need)) {
	case STUN_FRAME_COMPLETE:
		judge(verify, need);
		return;
	case STUN_FRAME_NOT_STUN:
		fail(verify, EXIT_STATUS_PEER, "bad answer from", "it is not STUN");
		return;
	case STUN_FRAME_PARTIAL:
		return;
	}
}

void dialback_client_advance(struct dialback_client *verify, uint64_t now)
{
	if (verify->state == DIALBACK_CLIENT_CONNECTING)
		send_question(verify);
	else if (verify->state == DIALBACK_CLIENT_ASKING)
		receive(verify);
	if (verify->state != DIALBACK_CLIENT_DONE && verify->state != DIALBACK_CLIENT_FAILED &&
		now >= verify->due)
		fail(verify, EXIT_STATUS_NETWORK, "no answer from", "it took too long");
}

void dialback_client_end(struct dialback_client *verify)
{
	if (verify->fd >= 0)
		close(verify->fd);
	verify->fd = -1;
	verify->due = TIMER_NONE;
}

bool dialback_client_is_about(const struct dialback_client *verify, const struct addr *mapped)
{
	return verify->state == DIALBACK_CLIENT_DONE && addr_equal(&verify->answer.target, mapped);
}
