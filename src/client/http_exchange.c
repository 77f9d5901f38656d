#include "natpunch/client/http_exchange.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static int fail_by_errno(struct http_exchange *exchange, int value)
{
	exchange->why = strerror(value);
	return -1;
}

int http_exchange_open(struct http_exchange *exchange, const struct addr *source,
	const char *interface, const struct addr *server)
{
	memset(exchange, 0, sizeof(*exchange));
	exchange->fd = socket_open((enum addr_family)server->family, SOCK_STREAM, 0);
	if (exchange->fd < 0 ||
		(interface != NULL && socket_bind_interface(exchange->fd, interface) != 0) ||
		socket_bind(exchange->fd, source) != 0 || socket_connect(exchange->fd, server) != 0)
		return fail_by_errno(exchange, errno);
	return 0;
}

short http_exchange_events(const struct http_exchange *exchange)
{
	return exchange->is_sent ? POLLIN : POLLOUT;
}

static enum http_exchange_result check_connection(struct http_exchange *exchange)
{
	struct pollfd ready = {.fd = exchange->fd, .events = POLLOUT};
	int problem;

	if (poll(&ready, 1, 0) == 0)
		return HTTP_EXCHANGE_WAITING;
	problem = socket_take_error(exchange->fd);
	if (problem == 0)
		return HTTP_EXCHANGE_CONNECTED;
	fail_by_errno(exchange, problem);
	return HTTP_EXCHANGE_FAILED;
}

/* Reads from the connection until there is a piece of the body, or nothing more for now. */
static enum http_exchange_result receive(
	struct http_exchange *exchange, char piece[HTTP_EXCHANGE_PIECE_SIZE], size_t *size)
{
	struct http_answer *answer = &exchange->answer;
	ssize_t got;

	while (answer->state != HTTP_ANSWER_COMPLETE && answer->state != HTTP_ANSWER_BAD) {
		got = recv(exchange->fd, piece, HTTP_EXCHANGE_PIECE_SIZE, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return HTTP_EXCHANGE_WAITING;
		if (got < 0) {
			fail_by_errno(exchange, errno);
			return HTTP_EXCHANGE_FAILED;
		}
		if (got == 0)
			http_answer_close(answer);
		*size = http_answer_filter(answer, piece, (size_t)got);
		if (*size > 0)
			return HTTP_EXCHANGE_BODY;
	}
	exchange->why = answer->why;
	return answer->state == HTTP_ANSWER_BAD ? HTTP_EXCHANGE_FAILED : HTTP_EXCHANGE_COMPLETE;
}

enum http_exchange_result http_exchange_advance(
	struct http_exchange *exchange, char piece[HTTP_EXCHANGE_PIECE_SIZE], size_t *size)
{
	if (!exchange->is_sent)
		return check_connection(exchange);
	return receive(exchange, piece, size);
}

int http_exchange_send(struct http_exchange *exchange, const char *request, size_t size)
{
	/* The buffer of a new connection takes a request whole; some routers want it in one
	 * segment.
	 */
	ssize_t sent = send(exchange->fd, request, size, MSG_NOSIGNAL);

	if (sent != (ssize_t)size)
		return fail_by_errno(exchange, sent < 0 ? errno : EAGAIN);
	exchange->is_sent = true;
	return 0;
}

void http_exchange_close(struct http_exchange *exchange)
{
	if (exchange->fd >= 0)
		close(exchange->fd);
	exchange->fd = -1;
}
