/*
 * liar MODE PORT: a server that answers one Binding request after another in a way no server
 * should, over TCP on every address, until it is killed. Prints "ready" once it listens.
 *
 *   silent      accepts and says nothing          close     closes at once
 *   garbage     text that is not STUN             half      half an answer, then closes
 *   id          another transaction's answer      family    an IPv6 mapping over IPv4
 *   zero        port 0 in the mapping             error     the error response 500
 *   none        a success without an address      indication  an indication
 *   drip        a right answer, a byte a second   huge      a length of 65532
 *   unknown     a family that does not exist   elsewhere  an address that is not the asker's
 *   other       OTHER-ADDRESS (RFC 5780) with its own address again, and another port
 *   same        OTHER-ADDRESS with its own address and port
 *   early       is to be silent for a while (NATPUNCH-CONNECTION), and closes at once
 *   chatty      the same, and goes on speaking
 *   late        the first time a line of text, as if the question had come too late
 *   before      an indication, and then the right answer
 *   proxy       an address that only the server's own network knows
 *   moved       the error response 300 with an ALTERNATE-SERVER: its own address, the next port
 *   moved-in    the same, to 127.0.0.1
 *   udp-id      over UDP: another transaction's answer, then garbage, then the right one
 *   udp-twice   over UDP: answers only the second sending of a request
 *   udp-other   over UDP: like other
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/parse.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/stun.h"

static unsigned connections;

struct lie {
	const char *mode;
	struct stun_message question;
	struct addr source;
	struct addr own;
	uint8_t answer[STUN_MESSAGE_MAX];
	size_t size;
};

/* What was asked for is granted. */
static void put_wait(struct lie *lie, struct wire_writer *writer)
{
	struct stun_attribute wanted;

	if (stun_find(&lie->question, STUN_NATPUNCH_CONNECTION, &wanted))
		stun_put(writer, STUN_NATPUNCH_CONNECTION, wanted.value, wanted.size);
}

static void write_success(struct lie *lie, const struct addr *mapped, uint8_t flip)
{
	struct wire_writer writer;
	uint8_t transaction[STUN_TRANSACTION_SIZE];

	memcpy(transaction, lie->question.transaction, sizeof(transaction));
	transaction[15] ^= flip;
	stun_begin(&writer, lie->answer, sizeof(lie->answer), STUN_SUCCESS, STUN_METHOD_BINDING,
		transaction);
	if (mapped != NULL)
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, mapped);
	if (strcmp(lie->mode, "other") == 0 || strcmp(lie->mode, "same") == 0 ||
		strcmp(lie->mode, "udp-other") == 0)
		stun_put_address(&writer, STUN_OTHER_ADDRESS, &lie->own);
	if (strcmp(lie->mode, "early") == 0 || strcmp(lie->mode, "chatty") == 0)
		put_wait(lie, &writer);
	lie->size = stun_finish(&writer);
}

static void write_error(struct lie *lie)
{
	struct wire_writer writer;

	stun_begin(&writer, lie->answer, sizeof(lie->answer), STUN_ERROR, STUN_METHOD_BINDING,
		lie->question.transaction);
	stun_put_error(&writer, 500, "Server \033[31mError");
	lie->size = stun_finish(&writer);
}

static void write_alternate(struct lie *lie)
{
	struct wire_writer writer;

	lie->own.port++;
	if (strcmp(lie->mode, "moved-in") == 0)
		memcpy(lie->own.ip, "\x7f\0\0\1", 4);
	stun_begin(&writer, lie->answer, sizeof(lie->answer), STUN_ERROR, STUN_METHOD_BINDING,
		lie->question.transaction);
	stun_put_error(&writer, 300, "Try Alternate");
	stun_put_address(&writer, STUN_ALTERNATE_SERVER, &lie->own);
	lie->size = stun_finish(&writer);
}

/* Puts an indication in front of the answer. */
static void put_indication(struct lie *lie)
{
	uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 'k'};
	uint8_t bytes[STUN_HEADER_SIZE];
	struct wire_writer writer;

	stun_begin(
		&writer, bytes, sizeof(bytes), STUN_INDICATION, STUN_METHOD_BINDING, transaction);
	stun_finish(&writer);
	memmove(lie->answer + sizeof(bytes), lie->answer, lie->size);
	memcpy(lie->answer, bytes, sizeof(bytes));
	lie->size += sizeof(bytes);
}

static void compose(struct lie *lie)
{
	const struct addr inside = {.ip = {172, 18, 0, 1}, .port = 45678, .family = ADDR_IPV4};
	struct addr other = {.ip = {0x20, 0x01, 0x0d, 0xb8}, .port = 99, .family = ADDR_IPV6};
	struct addr zero = lie->source;
	const char *mode = lie->mode;

	zero.port = 0;
	if (strcmp(mode, "elsewhere") == 0)
		lie->source.ip[3] ^= 0x55;
	write_success(lie, &lie->source, strcmp(mode, "id") == 0);
	if (strcmp(mode, "late") == 0 && connections == 1)
		lie->size = (size_t)snprintf(
			(char *)lie->answer, sizeof(lie->answer), "192.0.2.1 4711\n");
	else if (strcmp(mode, "garbage") == 0)
		lie->size = (size_t)snprintf((char *)lie->answer, sizeof(lie->answer),
			"220 mail.example ESMTP, not what you look for\r\n");
	else if (strcmp(mode, "half") == 0)
		lie->size /= 2;
	else if (strcmp(mode, "family") == 0)
		write_success(lie, &other, 0);
	else if (strcmp(mode, "zero") == 0)
		write_success(lie, &zero, 0);
	else if (strcmp(mode, "none") == 0)
		write_success(lie, NULL, 0);
	else if (strcmp(mode, "error") == 0)
		write_error(lie);
	else if (strncmp(mode, "moved", 5) == 0)
		write_alternate(lie);
	else if (strcmp(mode, "before") == 0)
		put_indication(lie);
	else if (strcmp(mode, "proxy") == 0)
		write_success(lie, &inside, 0);
	else if (strcmp(mode, "indication") == 0)
		lie->answer[0] = 0x00, lie->answer[1] = 0x11;
	else if (strcmp(mode, "huge") == 0)
		lie->answer[2] = 0xff, lie->answer[3] = 0xfc;
	else if (strcmp(mode, "unknown") == 0)
		lie->answer[STUN_HEADER_SIZE + 5] = 7;
}

static void drip(int fd, const uint8_t *data, size_t size)
{
	struct pollfd watch = {.fd = fd, .events = 0};

	for (size_t i = 0; i < size; i++) {
		if (send(fd, data + i, 1, MSG_NOSIGNAL) != 1)
			return;
		if (poll(&watch, 1, 1000) > 0)
			return;
	}
}

static void serve_stream(int fd, const char *mode)
{
	struct lie lie = {.mode = mode};
	struct pollfd watch = {.fd = fd, .events = 0};
	uint8_t bytes[STUN_MESSAGE_MAX];
	ssize_t got;

	if (strcmp(mode, "close") == 0)
		return;
	if (socket_peer(fd, &lie.source) != 0 || socket_local(fd, &lie.own) != 0)
		return;
	if (strcmp(mode, "other") == 0)
		lie.own.port++;
	got = recv(fd, bytes, sizeof(bytes), 0);
	if (got > 0 && stun_parse(&lie.question, bytes, (size_t)got) == 0 &&
		strcmp(mode, "silent") != 0) {
		compose(&lie);
		if (strcmp(mode, "drip") == 0)
			drip(fd, lie.answer, lie.size);
		else if (send(fd, lie.answer, lie.size, MSG_NOSIGNAL) < 0)
			return;
	}
	if (strcmp(mode, "chatty") == 0 && poll(&watch, 1, 200) == 0 &&
		send(fd, lie.answer, lie.size, MSG_NOSIGNAL) < 0)
		return;
	if (strcmp(mode, "half") != 0 && strcmp(mode, "late") != 0 && strcmp(mode, "early") != 0 &&
		strcmp(mode, "chatty") != 0)
		while (recv(fd, bytes, sizeof(bytes), 0) > 0)
			;
}

static void serve_datagrams(int fd, const char *mode)
{
	unsigned heard = 0;

	for (;;) {
		struct lie lie = {.mode = mode};
		struct sockaddr_storage source;
		socklen_t source_size = sizeof(source);
		uint8_t bytes[STUN_MESSAGE_MAX];
		ssize_t got = recvfrom(
			fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&source, &source_size);
		if (got <= 0 || stun_parse(&lie.question, bytes, (size_t)got) != 0)
			continue;
		heard++;
		socket_to_addr(&source, &lie.source);
		lie.own =
			(struct addr){.family = ADDR_IPV4, .ip = {198, 51, 100, 10}, .port = 3479};
		if (strcmp(mode, "udp-twice") == 0 && heard % 2 == 1)
			continue;
		if (strcmp(mode, "udp-id") == 0) {
			write_success(&lie, &lie.source, 1);
			sendto(fd, lie.answer, lie.size, 0, (struct sockaddr *)&source,
				source_size);
			sendto(fd, "garbage", 7, 0, (struct sockaddr *)&source, source_size);
		}
		write_success(&lie, &lie.source, 0);
		sendto(fd, lie.answer, lie.size, 0, (struct sockaddr *)&source, source_size);
	}
}

int main(int argc, char **argv)
{
	struct addr local = {.family = ADDR_IPV4};
	bool udp;
	int fd;

	if (argc != 3 || parse_port(argv[2], &local.port) != 0)
		return 2;
	udp = strncmp(argv[1], "udp-", 4) == 0;
	fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	if (fd < 0 || socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_bind(fd, &local) != 0 || (!udp && listen(fd, 16) != 0)) {
		perror("liar");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	if (udp)
		serve_datagrams(fd, argv[1]);
	for (;;) {
		int connection = accept(fd, NULL, NULL);
		if (connection < 0)
			continue;
		connections++;
		serve_stream(connection, argv[1]);
		close(connection);
	}
}
