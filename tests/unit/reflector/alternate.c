/* An alternate address: what is listened on for it, and from where a request is answered. */
#include "reflector/alternate.h"

#include "unit/server.h"

static struct reflector_config make_config(const char *listen, const char *alternate)
{
	struct reflector_config config = {.listen_count = 1};

	config.listen[0] =
		(struct reflector_listen){.addr = address(listen, 3478), .service = REFLECTOR_FULL};
	config.alternates[0] = address(alternate, 0);
	return config;
}

static bool listens(const struct reflector_listen *extra, int count, const char *ip, uint16_t port)
{
	struct addr want = address(ip, port);

	for (int i = 0; i < count; i++)
		if (addr_equal(&extra[i].addr, &want))
			return true;
	return false;
}

static void test_wildcard(void)
{
	struct reflector_config config = make_config("0.0.0.0", "127.0.0.2");
	struct reflector_listen extra[ALTERNATE_EXTRA];
	struct alternate places;
	struct binding_places around;
	struct addr to = address("127.0.0.1", 3478), other;
	struct error error;
	int count = alternate_plan(&places, &config, 0, extra, &error);

	is_int(count, 1, "listening everywhere: one more");
	ok(listens(extra, count, "0.0.0.0", 3479), "at the next port");
	to = address("127.0.0.9", 3478);
	ok(alternate_around(&places, &to, &around), "asked at any address");
	other = address("127.0.0.9", 3479);
	ok(addr_equal(&around.at[0], &to) && addr_equal(&around.at[1], &other),
		"the other port is of that address");
	other = address("127.0.0.2", 3479);
	ok(addr_equal(&around.at[3], &other), "the other address is the alternate one");
	to = other;
	ok(alternate_around(&places, &to, &around), "asked at the alternate place");
	other = address("127.0.0.1", 3478);
	ok(addr_equal(&around.at[3], &other), "the other is the main one");
	to.port = 3480;
	ok(!alternate_around(&places, &to, &around), "another port has none");
	to = address("::1", 3478);
	ok(!alternate_around(&places, &to, &around), "nor has another family");

	alternate_adopt(&places, &config.listen[0].addr, 7);
	alternate_adopt(&places, &extra[0].addr, 8);
	to = address("127.0.0.2", 3478);
	is_int(alternate_socket(&places, &to), 7, "the main port's socket");
	to = address("127.0.0.9", 3479);
	is_int(alternate_socket(&places, &to), 8, "the other port's socket");
}

static void test_single(void)
{
	struct reflector_config config = make_config("127.0.0.1", "127.0.0.2");
	struct reflector_listen extra[ALTERNATE_EXTRA];
	struct alternate places;
	struct binding_places around;
	struct error error;
	struct addr to, ip;
	int count = alternate_plan(&places, &config, 0, extra, &error);

	is_int(count, 3, "listening on one address: three more");
	ok(listens(extra, count, "127.0.0.1", 3479) && listens(extra, count, "127.0.0.2", 3478) &&
			listens(extra, count, "127.0.0.2", 3479),
		"at the places that are missing");
	to = address("127.0.0.9", 3478);
	ok(!alternate_around(&places, &to, &around), "a third address has none");
	alternate_adopt(&places, &config.listen[0].addr, 7);
	for (int i = 0; i < count; i++)
		alternate_adopt(&places, &extra[i].addr, 10 + i);
	for (int i = 0; i < count; i++)
		is_int(alternate_socket(&places, &extra[i].addr), 10 + i, "each has its socket: %d",
			i);
	is_int(alternate_socket(&places, &config.listen[0].addr), 7, "and so has the first");
	to = address("127.0.0.2", 1);
	ok(alternate_other_ip(&places, &to, &ip) && addr_equal_ip(&ip, &config.listen[0].addr) &&
			ip.port == 0,
		"beside the alternate address there is the main one");

	config.listen[config.listen_count++] = (struct reflector_listen){
		.addr = address("127.0.0.2", 3478), .service = REFLECTOR_FULL};
	is_int(alternate_plan(&places, &config, 0, extra, &error), 2,
		"what is listened on already is not missing");
	config = make_config("127.0.0.1", "127.0.0.2");
	config.listen[0].addr.port = 65535;
	count = alternate_plan(&places, &config, 0, extra, &error);
	ok(listens(extra, count, "127.0.0.2", 65534), "the port beside the last is the one below");
}

static void test_refused(void)
{
	static const struct {
		const char *listen, *alternate, *text;
	} cases[] = {
		{"0.0.0.0", "192.0.2.9",
			"cannot use 192.0.2.9 as alternate address: this machine does not have it"},
		{"127.0.0.2", "127.0.0.2",
			"cannot use 127.0.0.2 as alternate address: it is the main one"},
		{"::", "127.0.0.2",
			"cannot use 127.0.0.2 as alternate address: nothing listens on that "
			"family"},
		{"::", "::1",
			"cannot use ::1 as alternate address: this machine has no other of its "
			"kind"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct reflector_config config = make_config(cases[i].listen, cases[i].alternate);
		struct reflector_listen extra[ALTERNATE_EXTRA];
		struct alternate places;
		struct error error;

		is_int(alternate_plan(&places, &config, 0, extra, &error), -1, "refused: %s",
			cases[i].text);
		is_str(error.text, cases[i].text, "and said");
		is_int(error.status, EXIT_STATUS_LOCAL, "exit 3");
	}
}

/* From where the answer to a request with these flags comes. */
static struct addr answered_from(int fd, const struct addr *to, bool change_ip, bool change_port)
{
	struct binding_request request = {.change_ip = change_ip, .change_port = change_port};
	struct sockaddr_storage sockaddr;
	socklen_t size = socket_from_addr(to, &sockaddr);
	uint8_t bytes[STUN_MESSAGE_MAX], random[12];
	struct binding_answer answer;
	struct addr from = {.family = ADDR_NONE};
	const char *why;
	ssize_t got;

	random_fill(random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	sendto(fd, bytes, binding_write_request(&request, bytes, sizeof(bytes)), 0,
		(struct sockaddr *)&sockaddr, size);
	size = sizeof(sockaddr);
	got = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sockaddr, &size);
	if (got <= 0 || binding_read_answer(&request, ADDR_NONE, bytes, (size_t)got, &answer,
				&why) != BINDING_MAPPED)
		return from;
	socket_to_addr(&sockaddr, &from);
	return addr_equal(&from, &answer.origin) ? from : *to;
}

static void test_served(const char *listen)
{
	struct addr to = address("127.0.0.1", SERVER_PORT), from;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct server server;

	server_init(&server);
	server.config.listen_count = 0;
	server_listen(&server, listen, SERVER_PORT, REFLECTOR_FULL);
	server.config.alternates[0] = address("127.0.0.2", 0);
	server_start(&server);
	be_patient(fd, PATIENCE);
	for (int asked = 0; asked < 4; asked++) {
		to = address(asked & 2 ? "127.0.0.2" : "127.0.0.1",
			(uint16_t)(SERVER_PORT + (asked & 1)));
		for (int flags = 0; flags < 4; flags++) {
			int place = asked ^ flags;
			struct addr want = address(place & 2 ? "127.0.0.2" : "127.0.0.1",
				(uint16_t)(SERVER_PORT + (place & 1)));

			from = answered_from(fd, &to, flags & 2, flags & 1);
			ok(addr_equal(&from, &want), "%s: asked at place %d with flags %d", listen,
				asked, flags);
		}
	}
	close(fd);
	fd = connect_from(NULL, SOCK_STREAM, "127.0.0.2", SERVER_PORT + 1);
	ok(fd >= 0 && ask(fd, SOCK_STREAM), "%s: over TCP at the alternate place", listen);
	close(fd);
	is_int(server_stop(&server), 0, "%s: it ends", listen);
}

/* RESPONSE-PORT: to another port of the same address. */
static void test_response_port(void)
{
	struct addr here = address("127.0.0.1", 0);
	struct binding_request request = {.padding = 0};
	int other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t bytes[STUN_MESSAGE_MAX], random[12];
	struct binding_answer answer;
	struct server server;
	const char *why;
	struct addr asker;
	ssize_t got;
	int fd;

	server_init(&server);
	server.config.alternates[0] = address("127.0.0.2", 0);
	server_start(&server);
	fd = connect_from(NULL, SOCK_DGRAM, "127.0.0.1", SERVER_PORT);
	be_patient(other, PATIENCE);
	if (socket_bind(other, &here) != 0 || socket_local(other, &here) != 0 ||
		socket_local(fd, &asker) != 0)
		bail_out("no second port");
	random_fill(random, sizeof(random));
	stun_make_transaction(request.transaction, random);
	request.response_port = here.port;
	say(fd, bytes, binding_write_request(&request, bytes, sizeof(bytes)));
	got = recv(other, bytes, sizeof(bytes), 0);
	ok(got > 0 && binding_read_answer(&request, ADDR_IPV4, bytes, (size_t)got, &answer, &why) ==
				BINDING_MAPPED,
		"RESPONSE-PORT: the answer comes to that port");
	ok(addr_equal(&answer.mapped, &asker), "and is about the source");
	ok(is_silent(fd), "where none comes");
	close(fd);
	close(other);
	is_int(server_stop(&server), 0, "it ends");
}

int main(void)
{
	network_enter();
	test_wildcard();
	test_single();
	test_refused();
	test_served("0.0.0.0");
	test_served("127.0.0.1");
	test_response_port();
	return done_testing();
}
