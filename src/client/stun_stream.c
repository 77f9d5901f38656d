#include "natpunch/client/stun_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/os/socket.h"

const char *stun_stream_send(int fd, const void *request, size_t size)
{
	int problem = socket_take_error(fd);
	ssize_t sent;

	if (problem != 0) {
		errno = problem;
		return "cannot connect to";
	}
	/* An empty send buffer takes a request whole; a peer that does not read has none. */
	sent = send(fd, request, size, MSG_NOSIGNAL);
	if (sent == (ssize_t)size)
		return NULL;
	if (sent >= 0)
		errno = EAGAIN;
	return "cannot ask";
}

/* Adds at most `wanted` bytes. Returns MESSAGE when there was one or more. */
static enum stun_stream_result read_some(struct stun_stream *stream, int fd, size_t wanted)
{
	ssize_t got = recv(fd, stream->bytes + stream->received, wanted, 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? STUN_STREAM_WAITING : STUN_STREAM_BROKEN;
	if (got == 0)
		return stream->received == 0 ? STUN_STREAM_CLOSED : STUN_STREAM_CUT;
	stream->received += (size_t)got;
	return STUN_STREAM_MESSAGE;
}

enum stun_stream_result stun_stream_read(struct stun_stream *stream, int fd)
{
	enum stun_stream_result result;
	size_t need;

	if (stun_frame(stream->bytes, stream->received, &need) == STUN_FRAME_COMPLETE)
		stream->received = 0;
	for (;;) {
		switch (stun_frame(stream->bytes, stream->received, &need)) {
		case STUN_FRAME_COMPLETE:
			return STUN_STREAM_MESSAGE;
		case STUN_FRAME_NOT_STUN:
			/* Such a connection is handed on to nobody: the rest can be read. */
			(void)read_some(stream, fd, sizeof(stream->bytes) - stream->received);
			return STUN_STREAM_NOT_STUN;
		case STUN_FRAME_PARTIAL:
			result = read_some(stream, fd, need - stream->received);
			if (result != STUN_STREAM_MESSAGE)
				return result;
		}
	}
}

const char *stun_stream_explain(enum stun_stream_result result)
{
	switch (result) {
	case STUN_STREAM_CLOSED:
	case STUN_STREAM_CUT:
		return "it closed the connection";
	case STUN_STREAM_NOT_STUN:
		return "it is not STUN";
	case STUN_STREAM_BROKEN:
		return strerror(errno);
	case STUN_STREAM_MESSAGE:
	case STUN_STREAM_WAITING:
		break;
	}
	return "";
}
