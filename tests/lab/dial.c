/*
 * dial [option...] REFLECTOR: has a reflector dial back, and prints what it reports, a line each:
 *
 *   target ADDR:PORT
 *   same connected from ADDR:PORT SSH-2.0-...
 *   other timed out from ADDR:PORT
 *
 * or `error CODE`, or `failed: WHY`. The reflector is an IP address; port 3478.
 *
 *   -p PORT    the port to dial; 0, the default: the one that the question comes from
 *   -b PORT    the port to ask from
 *   -s ADDR    the address to ask from
 *   -o PLACES  1, 2 or 3; 3
 *   -n N       ask N times over one connection, a thousand times a second, and print how many of
 *              each outcome came back
 *   -x         put addresses of another host into the request, in the attributes that STUN has
 *              for addresses and that need not be understood
 *   -X         the same in one that must be understood
 *   -u         ask over UDP, once, and print whether anything came back within a second
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/proto/dialback.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/client/dialback_client.h"

#define STRANGER "198.51.100.130"

struct options {
	struct dialback_client_request request;
	uint64_t count;
	bool optional_addresses, required_address, udp;
};

static int usage(void)
{
	fputs("usage: dial [-p PORT] [-b PORT] [-s ADDR] [-o PLACES] [-n N] [-xXu] REFLECTOR\n",
		stderr);
	return 2;
}

static void print_answer(const struct dialback_answer *answer)
{
	char text[ADDR_TEXT_SIZE];
	char banner[4 * DIALBACK_BANNER_MAX + 1];

	printf("target %s\n", addr_format(&answer->target, text));
	for (size_t i = 0; i < answer->count; i++) {
		const struct dialback_result *result = &answer->results[i];

		printf("%s %s", result->place == DIALBACK_SAME_ADDRESS ? "same" : "other",
			dialback_outcome_name(result->outcome));
		if (result->from.family != ADDR_NONE)
			printf(" from %s", addr_format(&result->from, text));
		dialback_format_banner(result, banner, sizeof(banner));
		printf("%s%s\n", banner[0] != '\0' ? " " : "", banner);
	}
}

static int run_client(const struct options *options)
{
	static struct dialback_client client;
	uint64_t now = clock_now_ms();

	dialback_client_start(&client, &options->request, now);
	while (client.state != DIALBACK_CLIENT_DONE && client.state != DIALBACK_CLIENT_FAILED) {
		struct pollfd watch = {.fd = dialback_client_fd(&client),
			.events = dialback_client_events(&client)};

		poll(&watch, 1, client.due > now ? (int)(client.due - now) : 0);
		now = clock_now_ms();
		dialback_client_advance(&client, now);
	}
	if (client.state == DIALBACK_CLIENT_DONE)
		print_answer(&client.answer);
	else
		printf("failed: %s\n", client.error.text);
	return client.state == DIALBACK_CLIENT_DONE ? 0 : 1;
}

static size_t write_request(const struct options *options, struct dialback_request *request,
	uint8_t out[STUN_MESSAGE_MAX])
{
	const uint8_t value[4] = {options->request.places, 0, (uint8_t)(options->request.port >> 8),
		(uint8_t)options->request.port};
	struct wire_writer writer;
	struct addr stranger;
	uint8_t random[12];

	random_fill(random, sizeof(random));
	stun_make_transaction(request->transaction, random);
	request->places = options->request.places;
	if (addr_parse_ip(&stranger, STRANGER) != 0)
		return 0;
	stranger.port = 22;
	stun_begin(&writer, out, STUN_MESSAGE_MAX, STUN_REQUEST, STUN_METHOD_DIAL,
		request->transaction);
	if (options->optional_addresses) {
		stun_put_address(&writer, STUN_OTHER_ADDRESS, &stranger);
		stun_put_address(&writer, STUN_RESPONSE_ORIGIN, &stranger);
		stun_put_xor_address(&writer, STUN_NATPUNCH_DIALLED, &stranger);
	}
	if (options->required_address)
		stun_put_xor_address(&writer, STUN_XOR_MAPPED_ADDRESS, &stranger);
	stun_put(&writer, STUN_NATPUNCH_DIAL, value, sizeof(value));
	return stun_finish(&writer);
}

static int connect_to(const struct options *options, int type)
{
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&options->request.reflector, &sockaddr);
	int fd = socket(sockaddr.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
		(options->request.local.family != ADDR_NONE &&
			socket_bind(fd, &options->request.local) != 0) ||
		connect(fd, (struct sockaddr *)&sockaddr, size) != 0) {
		perror("dial");
		exit(1);
	}
	return fd;
}

/* Reads one message; false at the end or after `patience` milliseconds. */
static bool hear(int fd, uint8_t *bytes, size_t *have, size_t *need, int patience)
{
	struct pollfd watch = {.fd = fd, .events = POLLIN};

	while (stun_frame(bytes, *have, need) == STUN_FRAME_PARTIAL) {
		ssize_t got;

		if (poll(&watch, 1, patience) != 1)
			return false;
		got = recv(fd, bytes + *have, STUN_MESSAGE_MAX - *have, 0);
		if (got <= 0)
			return false;
		*have += (size_t)got;
	}
	return true;
}

static int ask_once(const struct options *options, int type)
{
	struct dialback_request request;
	struct dialback_answer answer;
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = write_request(options, &request, bytes), have = 0;
	int fd = connect_to(options, type);
	const char *why;

	if (send(fd, bytes, size, 0) != (ssize_t)size) {
		perror("dial");
		return 1;
	}
	if (!hear(fd, bytes, &have, &size, type == SOCK_DGRAM ? 1000 : 5000)) {
		puts("nothing");
		return 1;
	}
	switch (dialback_read_answer(&request, bytes, size, &answer, &why)) {
	case DIALBACK_ANSWERED:
		print_answer(&answer);
		return 0;
	case DIALBACK_REFUSAL:
		printf("error %u\n", answer.code);
		return 1;
	default:
		printf("bad answer: %s\n", why);
		return 1;
	}
}

/* The outcome in an answer to one of many questions: of its first result. */
static enum dialback_outcome read_outcome(
	const struct options *options, const uint8_t *bytes, size_t size)
{
	struct dialback_request request = {.places = options->request.places};
	struct dialback_answer answer;
	const char *why;

	memcpy(request.transaction, bytes + 4, STUN_TRANSACTION_SIZE);
	if (dialback_read_answer(&request, bytes, size, &answer, &why) != DIALBACK_ANSWERED)
		return 0;
	return answer.results[0].outcome;
}

static int ask_often(const struct options *options)
{
	static unsigned counts[DIALBACK_FAILED + 1];
	struct dialback_request request;
	uint8_t bytes[STUN_MESSAGE_MAX], question[STUN_MESSAGE_MAX];
	size_t have = 0, need;
	uint64_t asked = 0, answered = 0;
	int fd = connect_to(options, SOCK_STREAM);
	uint64_t began = clock_now_ms();

	while (answered < options->count) {
		uint64_t target = clock_now_ms() - began + 1;

		for (; asked < options->count && asked < target; asked++) {
			size_t size = write_request(options, &request, question);

			if (send(fd, question, size, MSG_NOSIGNAL) != (ssize_t)size)
				return 1;
		}
		while (answered < asked &&
			hear(fd, bytes, &have, &need, asked < options->count ? 1 : 5000)) {
			counts[read_outcome(options, bytes, need)]++;
			memmove(bytes, bytes + need, have - need);
			have -= need;
			answered++;
			if (asked < options->count)
				break;
		}
		if (asked == options->count && answered < asked)
			break;
	}
	for (size_t i = 0; i <= DIALBACK_FAILED; i++)
		if (counts[i] != 0)
			printf("%u %s\n", counts[i],
				dialback_outcome_name((enum dialback_outcome)i));
	return answered == options->count ? 0 : 1;
}

static bool read_options(int argc, char **argv, struct options *options)
{
	struct addr source = {.family = ADDR_NONE};
	uint64_t number;
	int letter;

	options->request.places = 3;
	while ((letter = getopt(argc, argv, "p:b:s:o:n:xXu")) != -1) {
		if (letter == 'x')
			options->optional_addresses = true;
		else if (letter == 'X')
			options->required_address = true;
		else if (letter == 'u')
			options->udp = true;
		else if (letter == 's' && addr_parse_ip(&source, optarg) == 0)
			continue;
		else if (letter == '?' || parse_number(optarg, 0, 65535, &number) != 0)
			return false;
		else if (letter == 'p')
			options->request.port = (uint16_t)number;
		else if (letter == 'b')
			options->request.local.port = (uint16_t)number;
		else if (letter == 'o')
			options->request.places = (uint8_t)number;
		else
			options->count = number;
	}
	if (optind + 1 != argc || addr_parse_ip(&options->request.reflector, argv[optind]) != 0)
		return false;
	options->request.reflector.port = STUN_DEFAULT_PORT;
	source.port = options->request.local.port;
	if (source.family == ADDR_NONE && source.port != 0)
		source.family = options->request.reflector.family;
	options->request.local = source;
	return true;
}

int main(int argc, char **argv)
{
	struct options options = {.count = 0};

	if (!read_options(argc, argv, &options))
		return usage();
	if (options.count != 0)
		return ask_often(&options);
	if (options.udp)
		return ask_once(&options, SOCK_DGRAM);
	if (options.optional_addresses || options.required_address)
		return ask_once(&options, SOCK_STREAM);
	return run_client(&options);
}
