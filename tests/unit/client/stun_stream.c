/* STUN over a stream: what a peer sends, in pieces of any size, and what is made of it. */
#include "natpunch/client/stun_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

#define BODY_SIZE    8
#define MESSAGE_SIZE (STUN_HEADER_SIZE + BODY_SIZE)

static const uint8_t message[MESSAGE_SIZE] = {0x01, 0x01, 0, BODY_SIZE, 0x21, 0x12, 0xa4, 0x42, 1,
	2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x80, 0x22, 0, 4, 'w', 'o', 'r', 'd'};
static const uint8_t empty[STUN_HEADER_SIZE] = {0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42};

static struct stun_stream stream;
static int here, there;

static void open_pair(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
		bail_out("socketpair: %s", strerror(errno));
	here = fds[0];
	there = fds[1];
	memset(&stream, 0, sizeof(stream));
}

static void close_pair(void)
{
	close(here);
	close(there);
}

static void write_there(const void *data, size_t size)
{
	if (write(there, data, size) != (ssize_t)size)
		bail_out("write: %s", strerror(errno));
}

static void is_read(enum stun_stream_result want, const char *name)
{
	is_int(stun_stream_read(&stream, here), want, "%s", name);
}

static void is_message(const void *data, size_t size, const char *name)
{
	is_read(STUN_STREAM_MESSAGE, name);
	if (is_uint(stream.received, size, "%s: its size", name))
		is_mem(stream.bytes, data, size, "%s: its bytes", name);
}

/* How many bytes the kernel still has. */
static size_t count_unread(void)
{
	uint8_t bytes[2 * STUN_MESSAGE_MAX];
	ssize_t got = recv(here, bytes, sizeof(bytes), MSG_PEEK);

	return got < 0 ? 0 : (size_t)got;
}

static void test_messages(void)
{
	uint8_t both[MESSAGE_SIZE + STUN_HEADER_SIZE + 3];

	open_pair();
	is_read(STUN_STREAM_WAITING, "nothing yet");
	write_there(message, MESSAGE_SIZE);
	is_message(message, MESSAGE_SIZE, "a whole message");
	is_read(STUN_STREAM_WAITING, "it comes once");
	close_pair();

	open_pair();
	for (size_t i = 0; i + 1 < MESSAGE_SIZE; i++) {
		write_there(message + i, 1);
		if (stun_stream_read(&stream, here) != STUN_STREAM_WAITING)
			fail("byte %zu made a message", i);
	}
	write_there(message + MESSAGE_SIZE - 1, 1);
	is_message(message, MESSAGE_SIZE, "byte by byte");
	close_pair();

	memcpy(both, message, MESSAGE_SIZE);
	memcpy(both + MESSAGE_SIZE, empty, STUN_HEADER_SIZE);
	memcpy(both + MESSAGE_SIZE + STUN_HEADER_SIZE, "SSH", 3);
	open_pair();
	write_there(both, sizeof(both));
	is_message(message, MESSAGE_SIZE, "the first of two");
	is_uint(count_unread(), STUN_HEADER_SIZE + 3, "the second is left where it is");
	is_message(empty, STUN_HEADER_SIZE, "the second, with no body");
	is_uint(count_unread(), 3, "and not a byte behind it was read");
	close_pair();
}

static void test_ends(void)
{
	open_pair();
	close(there);
	is_read(STUN_STREAM_CLOSED, "closed before anything came");
	close(here);

	open_pair();
	write_there(message, MESSAGE_SIZE);
	close(there);
	is_message(message, MESSAGE_SIZE, "a message with the end behind it");
	is_read(STUN_STREAM_CLOSED, "closed between two messages");
	is_str(stun_stream_explain(STUN_STREAM_CLOSED), "it closed the connection", "said so");
	close(here);

	for (size_t size = 1; size < MESSAGE_SIZE; size += MESSAGE_SIZE - 2) {
		open_pair();
		write_there(message, size);
		close(there);
		is_read(STUN_STREAM_CUT, "cut in the middle");
		is_uint(stream.received, size, "what came is there");
		close(here);
	}

	/* A peer that closes without reading resets the connection. */
	open_pair();
	if (write(here, "?", 1) != 1)
		bail_out("write: %s", strerror(errno));
	close(there);
	is_read(STUN_STREAM_BROKEN, "reset");
	is_errno(errno, ECONNRESET, "errno says why");
	is_str(stun_stream_explain(STUN_STREAM_BROKEN), strerror(ECONNRESET), "and so the text");
	close(here);
}

static void test_not_stun(void)
{
	static const char line[] = "203.0.113.222 41843\n"
				   "and more\n";
	uint8_t longest[STUN_MESSAGE_MAX] = {0, 1, 0x03, 0xec, 0x21, 0x12, 0xa4, 0x42};
	const uint8_t lying[] = {0, 1, 0x03, 0xf0, 0x21, 0x12, 0xa4, 0x42};

	open_pair();
	write_there(line, strlen(line));
	is_read(STUN_STREAM_NOT_STUN, "a line of text");
	if (is_uint(stream.received, strlen(line), "is read whole"))
		is_mem(stream.bytes, line, strlen(line), "and is there to be looked at");
	is_str(stun_stream_explain(STUN_STREAM_NOT_STUN), "it is not STUN", "said so");
	close_pair();

	open_pair();
	write_there(message, MESSAGE_SIZE);
	write_there(line, strlen(line));
	is_message(message, MESSAGE_SIZE, "a message with text behind it");
	is_read(STUN_STREAM_NOT_STUN, "the text");
	close_pair();

	open_pair();
	write_there(longest, sizeof(longest));
	is_message(longest, sizeof(longest), "the longest message");
	write_there(lying, sizeof(lying));
	is_read(STUN_STREAM_NOT_STUN, "one that says it is longer");
	for (int i = 0; i < 3; i++) {
		write_there(longest, sizeof(longest));
		is_read(STUN_STREAM_NOT_STUN, "whatever follows");
		ok(stream.received <= sizeof(stream.bytes), "it stays in its buffer");
	}
	close_pair();
}

static void test_send(void)
{
	static uint8_t large[1 << 22];
	uint8_t bytes[MESSAGE_SIZE];

	open_pair();
	ok(stun_stream_send(here, message, MESSAGE_SIZE) == NULL, "a request is sent");
	is_int(read(there, bytes, sizeof(bytes)), MESSAGE_SIZE, "whole");
	is_mem(bytes, message, MESSAGE_SIZE, "and as it is");
	errno = 0;
	is_str(stun_stream_send(here, large, sizeof(large)), "cannot ask", "no room for all of it");
	is_errno(errno, EAGAIN, "why: a part was sent");
	is_str(stun_stream_send(here, large, 1 << 20), "cannot ask", "no room for any of it");
	is_errno(errno, EAGAIN, "why: none was sent");
	close_pair();

	open_pair();
	close(there);
	is_str(stun_stream_send(here, message, MESSAGE_SIZE), "cannot ask", "the peer has closed");
	is_errno(errno, EPIPE, "errno, and no signal, says why");
	close(here);

	open_pair();
	if (write(here, "?", 1) != 1)
		bail_out("write: %s", strerror(errno));
	close(there);
	is_str(stun_stream_send(here, message, MESSAGE_SIZE), "cannot connect to",
		"there was an error before");
	is_errno(errno, ECONNRESET, "which one");
	close(here);
}

int main(void)
{
	test_messages();
	test_ends();
	test_not_stun();
	test_send();
	return done_testing();
}
