#include "natpunch/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 65536

/* Bytes on their way from one descriptor to another. Invariant: begin <= end <= BUFFER_SIZE. */
struct stream {
	int from;
	int to;
	size_t begin;
	size_t end;
	bool ended; /* nothing more will be read */
	char bytes[BUFFER_SIZE];
};

static bool is_later(int problem)
{
	return problem == EAGAIN || problem == EWOULDBLOCK || problem == EINTR;
}

/* Returns -1 and errno when the descriptor is broken. */
static int fill(struct stream *stream)
{
	ssize_t got = read(stream->from, stream->bytes, sizeof(stream->bytes));

	if (got < 0)
		return is_later(errno) ? 0 : -1;
	stream->begin = 0;
	stream->end = (size_t)got;
	stream->ended = got == 0;
	return 0;
}

static int drain(struct stream *stream)
{
	ssize_t put = write(stream->to, stream->bytes + stream->begin, stream->end - stream->begin);

	if (put < 0)
		return is_later(errno) ? 0 : -1;
	stream->begin += (size_t)put;
	return 0;
}

static bool is_empty(const struct stream *stream)
{
	return stream->begin == stream->end;
}

/* One turn of a stream: writes what it has, else reads. Returns -1 and errno when it broke. */
static int turn(struct stream *stream, bool readable)
{
	if (is_empty(stream) && !stream->ended && readable && fill(stream) != 0)
		return -1;
	return is_empty(stream) ? 0 : drain(stream);
}

/* The peer's data is the session; its end is the end. */
static int run(struct stream *out, struct stream *in, struct error *error)
{
	bool told = false; /* the peer knows that standard input ended */

	while (!in->ended || !is_empty(in)) {
		struct pollfd fds[4] = {
			{.fd = is_empty(out) && !out->ended ? out->from : -1, .events = POLLIN},
			{.fd = is_empty(out) ? -1 : out->to, .events = POLLOUT},
			{.fd = is_empty(in) && !in->ended ? in->from : -1, .events = POLLIN},
			{.fd = is_empty(in) ? -1 : in->to, .events = POLLOUT},
		};
		if (poll(fds, 4, -1) < 0)
			continue;
		if (turn(in, fds[2].revents != 0) != 0)
			return error_set(error, EXIT_STATUS_NETWORK, "the connection was cut: %s",
				strerror(errno));
		/* Who stopped to listen to us may still have something to say. */
		if (turn(out, fds[0].revents != 0) != 0) {
			out->ended = true;
			out->begin = out->end = 0;
		}
		if (out->ended && is_empty(out) && !told)
			told = shutdown(out->to, SHUT_WR) == 0 || errno != EINTR;
	}
	return 0;
}

/* Returns the flags to go back to, or -1 when they stay. */
static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* A terminal is shared with the shell that we would leave it to. */
	if (flags < 0 || isatty(fd) || (flags & O_NONBLOCK) != 0)
		return -1;
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? flags : -1;
}

int pump_run(int input, int output, int fd, struct error *error)
{
	struct stream out;
	struct stream in;
	int input_flags = set_nonblocking(input);
	int output_flags = set_nonblocking(output);
	int result;

	memset(&out, 0, offsetof(struct stream, bytes));
	memset(&in, 0, offsetof(struct stream, bytes));
	out.from = input;
	out.to = fd;
	in.from = fd;
	in.to = output;
	result = run(&out, &in, error);
	if (input_flags >= 0)
		fcntl(input, F_SETFL, input_flags);
	if (output_flags >= 0)
		fcntl(output, F_SETFL, output_flags);
	close(fd);
	return result;
}
