/*
 * A mapping in each family: which answers count, how long one family waits for the other, and which
 * failure is told. The reflector is a real one; the silent one takes connections and says nothing.
 */
#include "natpunch/client/both_families.h"

#include "unit/server.h"

#define LOCAL_PORT  5000
#define SILENT_PORT 4000
#define CLOSED_PORT 4001
#define RUDE_PORT   4002
#define GIVE_UP_MS  1500

static struct server server;
static struct both_families both;
static struct error error;
static struct host_port reflectors[3];
static uint64_t took;

static int listen_at(const char *ip, uint16_t port)
{
	struct addr addr = address(ip, port);
	int fd = socket_open((enum addr_family)addr.family, SOCK_STREAM, 0);

	if (fd < 0 || socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
		socket_bind(fd, &addr) != 0 || listen(fd, 50) != 0)
		bail_out("cannot listen: %s", strerror(errno));
	return fd;
}

static void name_reflector(size_t index, const char *host, uint16_t port)
{
	snprintf(reflectors[index].host, sizeof(reflectors[index].host), "%s", host);
	reflectors[index].port = port;
	reflectors[index].port_named = true;
}

static int find(size_t count, bool all)
{
	static uint16_t port = LOCAL_PORT;
	const struct mapping_race_request request = {
		.reflectors = reflectors,
		.reflector_count = count,
		.protocol = MAPPING_TCP,
		.local = {.port = port++},
		.method = &borrow_method_bind,
		.timeout_ms = GIVE_UP_MS,
		.mode = BINDING_MODE_NONE,
	};
	uint64_t begun = clock_now_ms();
	int result;

	both_families_init(&both, &request, all);
	result = both_families_find(&both, &error);
	took = clock_now_ms() - begun;
	return result;
}

static void is_mapped(size_t side, const char *ip)
{
	char text[ADDR_IP_TEXT_SIZE] = "nothing";

	if (both.sides[side].mapped)
		addr_format_ip(&both.sides[side].result.mapping.public_addr, text);
	is_str(text, ip, "the mapping of side %zu", side);
}

static void test_both_answer(void)
{
	name_reflector(0, "::1", SERVER_PORT);
	name_reflector(1, "127.0.0.1", SERVER_PORT);
	is_int(find(2, false), 0, "both answer");
	is_uint(both.count, 2, "so there are two sides");
	is_mapped(0, "127.0.0.1");
	is_mapped(1, "::1");
	is_str(both.sides[0].result.mapping.reflector, "127.0.0.1:3478", "who was asked");
	both_families_end(&both);
	ok(!both.sides[0].mapped && !both.sides[1].mapped, "at the end nothing is open");
}

static void test_one_family(void)
{
	name_reflector(0, "127.0.0.1", SERVER_PORT);
	is_int(find(1, false), 0, "an address of IPv4 alone");
	is_uint(both.count, 1, "there is one side");
	both_families_end(&both);
	is_int(find(1, true), 0, "and both are wanted");
	is_uint(both.count, 2, "there are two");
	is_mapped(0, "127.0.0.1");
	is_mapped(1, "nothing");
	is_str(both.sides[1].error.text, "cannot look up 127.0.0.1: it has no IPv6 address",
		"why not the other one");
	ok(!both.sides[1].spoke, "there was nobody to ask");
	both_families_end(&both);
}

static void test_silence(void)
{
	int silent = listen_at("::1", SILENT_PORT);

	name_reflector(0, "127.0.0.1", SERVER_PORT);
	name_reflector(1, "::1", SILENT_PORT);
	is_int(find(2, false), 0, "IPv6 is silent");
	is_mapped(0, "127.0.0.1");
	is_mapped(1, "nothing");
	ok(took >= BOTH_FAMILIES_GRACE_MS && took < GIVE_UP_MS, "it got its grace: %u ms",
		(unsigned)took);
	ok(strstr(both.sides[1].error.text, "no answer within 250 ms") != NULL, "said: %s",
		both.sides[1].error.text);
	both_families_end(&both);
	is_int(find(2, true), 0, "both are wanted");
	is_mapped(0, "127.0.0.1");
	ok(took >= GIVE_UP_MS, "it got all of the time: %u ms", (unsigned)took);
	ok(strstr(both.sides[1].error.text, "no answer from [::1]:4000") != NULL, "said: %s",
		both.sides[1].error.text);
	both_families_end(&both);
	close(silent);

	silent = listen_at("127.0.0.1", SILENT_PORT);
	name_reflector(0, "127.0.0.1", SILENT_PORT);
	name_reflector(1, "::1", SERVER_PORT);
	is_int(find(2, false), 0, "IPv4 is silent");
	is_mapped(0, "nothing");
	is_mapped(1, "::1");
	both_families_end(&both);
	close(silent);
}

/* What fails at once is not waited for. */
static void test_refusal(void)
{
	name_reflector(0, "127.0.0.1", SERVER_PORT);
	name_reflector(1, "::1", CLOSED_PORT);
	is_int(find(2, false), 0, "IPv6 is refused");
	is_mapped(0, "127.0.0.1");
	ok(strstr(both.sides[1].error.text, "Connection refused") != NULL, "said: %s",
		both.sides[1].error.text);
	both_families_end(&both);
}

/* A server that says what is no answer. */
static pid_t start_rude(void)
{
	int fd = listen_at("::1", RUDE_PORT);
	pid_t pid = fork();

	if (pid == 0) {
		struct pollfd watch = {.fd = fd, .events = POLLIN};
		int client;

		poll(&watch, 1, PATIENCE);
		client = accept(fd, NULL, NULL);
		say(client, "no, thank you very much\r\n", 25);
		hear_end(client);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void test_failures(void)
{
	pid_t rude = start_rude();

	name_reflector(0, "127.0.0.1", CLOSED_PORT);
	name_reflector(1, "::1", RUDE_PORT);
	is_int(find(2, false), -1, "none has a mapping");
	is_int(error.status, EXIT_STATUS_PEER, "a bad answer tells most: %s", error.text);
	both_families_end(&both);
	kill(rude, SIGKILL);
	waitpid(rude, NULL, 0);

	name_reflector(0, "127.0.0.1", CLOSED_PORT);
	name_reflector(1, "::1", CLOSED_PORT);
	is_int(find(2, false), -1, "both are refused");
	ok(strstr(error.text, "127.0.0.1:4001") != NULL, "IPv4 is told: %s", error.text);
	both_families_end(&both);

	name_reflector(0, "192.0.2.1", CLOSED_PORT);
	name_reflector(1, "::1", CLOSED_PORT);
	is_int(find(2, false), -1, "no route and a refusal");
	is_int(error.status, EXIT_STATUS_NETWORK, "the network's is told: %s", error.text);
	both_families_end(&both);

	name_reflector(0, "::1", CLOSED_PORT);
	is_int(find(1, true), -1, "nobody to ask in IPv4, and a refusal");
	ok(strstr(error.text, "Connection refused") != NULL, "who was asked is told: %s",
		error.text);
	both_families_end(&both);
}

int main(void)
{
	network_enter();
	server_init(&server);
	server_start(&server);
	test_both_answer();
	test_one_family();
	test_silence();
	test_refusal();
	test_failures();
	is_int(server_stop(&server), 0, "the reflector ends cleanly");
	return done_testing();
}
