/* The reflector over UDP, asked by clients of every kind. */
#include "unit/server.h"

#include <arpa/inet.h>
#include <netinet/udp.h>

/* in6_ifreq of linux/ipv6.h, which cannot be included beside netinet/in.h. */
struct interface_address {
	struct in6_addr address;
	uint32_t prefix;
	int index;
};

static void add_ipv6_address(const char *text)
{
	struct interface_address request = {.prefix = 128, .index = (int)if_nametoindex("lo")};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET6, text, &request.address) != 1 ||
		ioctl(fd, SIOCSIFADDR, &request) != 0)
		bail_out("%s on lo: %s", text, strerror(errno));
	close(fd);
}

static void test_plain(const char *ip)
{
	int fd = connect_from(NULL, SOCK_DGRAM, ip, SERVER_PORT);

	/* Connected: an answer from another address would not be delivered. */
	ok(ask(fd, SOCK_DGRAM), "%s: a request is answered, from the address asked", ip);
	ok(ask(fd, SOCK_DGRAM), "%s: and again", ip);
	close(fd);
}

/* Without the server's care, the answer would come from the address nearest to the client. */
static void test_other_address(const char *own, const char *ip)
{
	struct addr from = address(own, 0);
	int fd = connect_from(&from, SOCK_DGRAM, ip, SERVER_PORT);

	ok(ask(fd, SOCK_DGRAM), "%s asks %s: answered from there", own, ip);
	close(fd);
}

static void test_classic(void)
{
	/* RFC 3489: any 16 bytes as the transaction, no attributes. */
	static const uint8_t request[20] = {
		0, 1, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6};
	int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	uint8_t answer[STUN_MESSAGE_MAX];
	struct stun_message message;
	struct stun_attribute attribute;
	struct addr mapped;
	struct addr local;
	size_t size;

	say(fd, request, sizeof(request));
	size = hear_message(fd, SOCK_DGRAM, answer);
	socket_local(fd, &local);
	if (ok(size > 0 && stun_parse(&message, answer, size) == 0, "RFC 3489: answered")) {
		is_mem(message.transaction, request + 4, 16, "RFC 3489: its transaction");
		ok(stun_find(&message, STUN_MAPPED_ADDRESS, &attribute) &&
				stun_read_address(&message, &attribute, false, &mapped) == 0 &&
				addr_equal(&mapped, &local),
			"RFC 3489: MAPPED-ADDRESS");
	}
	close(fd);
}

static void test_unknown_attribute(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;
	struct stun_message message;
	struct stun_attribute attribute;
	size_t size;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_BINDING,
		question.request.transaction);
	stun_put(&writer, 0x7fff, "what", 4);
	say(fd, bytes, stun_finish(&writer));
	size = hear_message(fd, SOCK_DGRAM, bytes);
	if (ok(size > 0 && stun_parse(&message, bytes, size) == 0, "unknown attribute: answered")) {
		is_int(message.class, STUN_ERROR, "unknown attribute: an error");
		ok(stun_find(&message, STUN_UNKNOWN_ATTRIBUTES, &attribute) &&
				attribute.size == 2 && memcmp(attribute.value, "\x7f\xff", 2) == 0,
			"unknown attribute: named");
	}
	close(fd);
}

/* What gets no answer is sent before what does: the first answer must be the latter's. */
/* A request that would be right if it ended where the server stops reading. */
static void say_longer_than_read(int fd, const uint8_t header[STUN_HEADER_SIZE])
{
	/* Type 0x8fff may be passed over; its value fills what is left of what is read. */
	static const uint8_t attribute[4] = {0x8f, 0xff, 2024 >> 8, 2024 & 0xff};
	uint8_t bytes[STUN_DATAGRAM_MAX + 4] = {0};

	memcpy(bytes, header, STUN_HEADER_SIZE);
	bytes[2] = 2028 >> 8;
	bytes[3] = 2028 & 0xff;
	memcpy(bytes + STUN_HEADER_SIZE, attribute, sizeof(attribute));
	say(fd, bytes, sizeof(bytes));
}

static void test_ignored(void)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	uint8_t bytes[2500];

	memset(bytes, 'x', sizeof(bytes));
	say(fd, bytes, 0);
	say(fd, bytes, 1);
	say(fd, bytes, 20);
	say(fd, bytes, sizeof(bytes));
	say(fd, question.bytes, question.size - 1);
	memcpy(bytes, question.bytes, question.size);
	say(fd, bytes, question.size + 1);
	say(fd, bytes, sizeof(bytes)); /* a request and more than fits */
	say_longer_than_read(fd, question.bytes);
	bytes[0] = 0x01; /* a success response */
	say(fd, bytes, question.size);
	bytes[0] = 0x00;
	bytes[1] = 0x11; /* an indication */
	say(fd, bytes, question.size);
	ok(ask(fd, SOCK_DGRAM), "nothing but the request is answered");
	close(fd);
}

/* As much as is read of a datagram would be a request; the rest makes it something else. */
static void test_cut(struct server *server)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	unsigned before = server_said(server, "ignored\n");
	/* One attribute that need not be understood fills it. */
	uint8_t bytes[STUN_DATAGRAM_MAX + 4] = {
		0, 1, 2028 >> 8, 2028 & 255, [20] = 0xff, 0xff, 2024 >> 8, 2024 & 255};

	memcpy(bytes + 4, question.request.transaction, STUN_TRANSACTION_SIZE);
	say(fd, bytes, STUN_DATAGRAM_MAX + 4);
	ok(server_says(server, "ignored\n", before + 1),
		"a request as long as is read, and more: ignored");
	say(fd, bytes, STUN_DATAGRAM_MAX);
	ok(hear_answer(fd, SOCK_DGRAM, &question, NULL), "without that: answered");
	ok(is_silent(fd), "once");
	close(fd);
}

static void test_many(void)
{
	enum {
		MANY = 150
	};
	static struct question questions[MANY];
	int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	int answered = 0;

	for (int i = 0; i < MANY; i++) {
		questions[i] = question_make(BINDING_MODE_NONE, 0);
		say(fd, questions[i].bytes, questions[i].size);
	}
	while (answered < MANY && hear_answer(fd, SOCK_DGRAM, &questions[answered], NULL))
		answered++;
	is_int(answered, MANY, "more than a batch at once: all answered, in order");
	close(fd);
}

static void test_broadcast(struct server *server)
{
	struct addr to = address("127.255.255.255", SERVER_PORT);
	struct question question = question_make(BINDING_MODE_NONE, 0);
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&to, &sockaddr);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	socket_set_flag(fd, SOL_SOCKET, SO_BROADCAST, 1);
	ok(sendto(fd, question.bytes, question.size, 0, (struct sockaddr *)&sockaddr, size) > 0,
		"a request to a broadcast address");
	ok(server_says(server, "ignored\n", 1), "is ignored");
	ok(is_silent(fd), "and not answered");
	close(fd);
}

/* RFC 768: port 0 means that no answer is expected. */
static void test_source_port_zero(struct server *server)
{
	struct question question = question_make(BINDING_MODE_NONE, 0);
	struct addr to = address("127.0.0.1", 0);
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(&to, &sockaddr);
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
	uint8_t packet[sizeof(struct udphdr) + sizeof(question.bytes)];
	struct udphdr header = {
		.uh_sport = 0,
		.uh_dport = htons(SERVER_PORT),
		.uh_ulen = htons((uint16_t)(sizeof(header) + question.size)),
	};

	memcpy(packet, &header, sizeof(header));
	memcpy(packet + sizeof(header), question.bytes, question.size);
	ok(sendto(fd, packet, sizeof(header) + question.size, 0, (struct sockaddr *)&sockaddr,
		   size) > 0,
		"a request from port 0");
	ok(server_says(server, "udp 127.0.0.1:0 ignored\n", 1), "is ignored");
	close(fd);
}

/* Nobody listens any more where the answer goes: what comes back must not hurt. */
static void test_gone_client(struct server *server)
{
	unsigned before = server_said(server, "asked, answered");
	struct question question = question_make(BINDING_MODE_NONE, 0);

	for (int i = 0; i < 5; i++) {
		int fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
		say(fd, question.bytes, question.size);
		close(fd);
	}
	ok(server_says(server, "asked, answered", before + 5), "clients that are gone");
	ok(is_served(SOCK_DGRAM, "127.0.0.1"), "do not keep others from being served");
}

int main(void)
{
	struct server server;

	network_enter();
	add_ipv6_address("fd00::2");
	server_init(&server);
	server_start(&server);
	test_plain("127.0.0.1");
	test_plain("127.0.0.2");
	test_plain("::1");
	test_plain("fd00::2");
	test_other_address("127.0.0.1", "127.0.0.2");
	test_other_address("::1", "fd00::2");
	test_classic();
	test_unknown_attribute();
	test_broadcast(&server);
	test_source_port_zero(&server);
	test_ignored();
	test_cut(&server);
	test_many();
	test_gone_client(&server);
	is_int(server_stop(&server), 0, "it ends cleanly");
	return done_testing();
}
