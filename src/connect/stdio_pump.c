#include "natpunch/connect/stdio_pump.h"

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

/* fill() and drain() return -1 and errno when the descriptor is broken. */
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

static bool wants_more(const struct stream *stream)
{
	return is_empty(stream) && !stream->ended;
}

/* Reads from the peer, then writes. Returns 0, or -1 with *error filled. */
static int turn_in(struct stream *in, bool readable, struct error *error)
{
	if (wants_more(in) && readable && fill(in) != 0)
		return error_set(
			error, EXIT_STATUS_NETWORK, "the connection was cut: %s", strerror(errno));
	if (!is_empty(in) && drain(in) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot write to standard output: %s",
			strerror(errno));
	return 0;
}

/* Reads standard input, then writes to the peer. Returns 0, or -1 with *error filled. */
static int turn_out(struct stream *out, bool readable, struct error *error)
{
	if (wants_more(out) && readable && fill(out) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot read standard input: %s",
			strerror(errno));
	/* A peer that reads no more may still send. */
	if (!is_empty(out) && drain(out) != 0) {
		out->ended = true;
		out->begin = out->end = 0;
	}
	return 0;
}

/* The session ends when the peer's data does. */
static int run(struct stream *out, struct stream *in, struct error *error)
{
	bool told = false; /* the peer knows that standard input ended */

	while (!in->ended || !is_empty(in)) {
		struct pollfd fds[4] = {
			{.fd = wants_more(out) ? out->from : -1, .events = POLLIN},
			{.fd = is_empty(out) ? -1 : out->to, .events = POLLOUT},
			{.fd = wants_more(in) ? in->from : -1, .events = POLLIN},
			{.fd = is_empty(in) ? -1 : in->to, .events = POLLOUT},
		};
		if (poll(fds, 4, -1) < 0)
			continue;
		if (turn_in(in, fds[2].revents != 0, error) != 0 ||
			turn_out(out, fds[0].revents != 0, error) != 0)
			return -1;
		if (out->ended && is_empty(out) && !told)
			told = shutdown(out->to, SHUT_WR) == 0 || errno != EINTR;
	}
	return 0;
}

/* Returns the flags to set again later, or -1 where nothing was changed. */
static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* A terminal stays as it is, as the shell has it after us. */
	if (flags < 0 || isatty(fd) || (flags & O_NONBLOCK) != 0)
		return -1;
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? flags : -1;
}

int stdio_pump_run(int input, int output, int fd, struct error *error)
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
