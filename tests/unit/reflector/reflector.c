/* The reflector's beginning and end: what it listens on, what keeps it from it, what stops it. */
#include "unit/server.h"

/* Starts and waits; the server must not come to listen. Returns its exit status. */
static int failed_status(struct server *server, const char *text, const char *hint)
{
	bool said_text, said_hint;
	uint64_t end = clock_now_ms() + PATIENCE;

	server_spawn(server);
	while (!(said_text = server_said(server, text) == 1) && clock_now_ms() < end)
		pause_briefly();
	said_hint = server_said(server, hint) == 1;
	ok(said_text, "it says: %s", text);
	ok(said_hint, "and: %s", hint);
	is_uint(server_said(server, "ready\n"), 0, "and not that it is ready");
	return server_wait(server);
}

static void test_readiness(void)
{
	struct server server;

	server_init(&server);
	server_listen(&server, "127.0.0.9", TEXT_PORT, REFLECTOR_TEXT);
	server_start(&server);
	is_uint(server_said(&server, "natpunch reflect: listening on 0.0.0.0:3478 udp tcp\n"), 1,
		"it says that it listens on IPv4");
	is_uint(server_said(&server, "natpunch reflect: listening on [::]:3478 udp tcp\n"), 1,
		"and on IPv6");
	is_uint(server_said(&server, "natpunch reflect: listening on 127.0.0.9:1337 text\n"), 1,
		"and where there is text");
	is_uint(server_said(&server, "natpunch reflect: ready\n"), 1, "and that it is ready");
	is_int(server_stop(&server), 0, "it ends cleanly");
}

static void test_busy_port(int type, const char *protocol)
{
	struct addr addr = address("127.0.0.1", SERVER_PORT);
	struct server server;
	char text[128];
	char hint[64];
	int fd = socket_open(ADDR_IPV4, type, 0);

	if (socket_bind(fd, &addr) != 0 || (type == SOCK_STREAM && listen(fd, 1) != 0))
		bail_out("cannot take the port");
	server_init(&server);
	server.config.listen[0].addr = addr;
	snprintf(text, sizeof(text), "natpunch reflect: cannot listen on 127.0.0.1:3478 %s: %s\n",
		protocol, strerror(EADDRINUSE));
	snprintf(hint, sizeof(hint), "hint: reflector (pid %d) holds it", (int)getpid());
	is_int(failed_status(&server, text, hint), EXIT_STATUS_LOCAL, "port busy: exit 3");
	close(fd);
}

static void test_no_such_address(void)
{
	struct server server;
	char text[128];

	server_init(&server);
	server.config.listen[0].addr = address("192.0.2.1", SERVER_PORT);
	snprintf(text, sizeof(text), "cannot listen on 192.0.2.1:3478 tcp: %s\n",
		strerror(EADDRNOTAVAIL));
	is_int(failed_status(&server, text, "hint: this machine does not have that address\n"),
		EXIT_STATUS_LOCAL, "no such address: exit 3");
	/* The same, when the address is there only because a family might be missing. */
	server.config.listen[0].optional = true;
	server_start(&server);
	is_uint(server_said(&server, "not listening on 192.0.2.1:3478"), 1,
		"where it may be missing, it is passed over");
	ok(is_served(SOCK_STREAM, "::1"), "and the others are served");
	is_int(server_stop(&server), 0, "it ends cleanly");
}

static void test_privileged_port(void)
{
	struct server server;
	FILE *start = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "we");

	if (start == NULL || fputs("1024", start) < 0 || fclose(start) != 0)
		bail_out("ip_unprivileged_port_start");
	server_init(&server);
	server.user = 65534;
	server.config.listen[0].addr.port = 80;
	is_int(failed_status(&server, "cannot listen on 0.0.0.0:80 tcp: Permission denied\n",
		       "hint: run as root, or: setcap cap_net_bind_service+ep /"),
		EXIT_STATUS_LOCAL, "a port that needs a privilege: exit 3");
}

static void test_too_many_connections(void)
{
	struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};
	struct rlimit before;
	struct server server;

	getrlimit(RLIMIT_NOFILE, &before);
	setrlimit(RLIMIT_NOFILE, &limit);
	server_init(&server);
	server.user = 65534; /* who may not raise the hard limit */
	server.config.connections = 1000;
	server.config.connections_fixed = true;
	is_int(failed_status(&server, "1000 connections need 1086 descriptors, the limit is 100\n",
		       "hint: raise it with ulimit -n or LimitNOFILE=, or lower -C\n"),
		EXIT_STATUS_LOCAL, "more connections than descriptors: exit 3");
	server.config.connections_fixed = false;
	server_start(&server);
	is_uint(server_said(&server, "warning: only 14 connections at once"), 1,
		"where nobody named the number, there are fewer");
	is_int(server_stop(&server), 0, "it ends cleanly");
	server.config.metrics_port = SERVER_PORT + 1; /* takes the rest */
	is_int(failed_status(&server, "the limit of 100 descriptors leaves none for connections\n",
		       "hint: raise it to more than 120, with ulimit -n or LimitNOFILE=\n"),
		EXIT_STATUS_LOCAL, "and where none is left for connections, -C does not help");
	setrlimit(RLIMIT_NOFILE, &before);
}

static void test_end(int number, int want)
{
	struct server server;
	int fds[4];

	server_init(&server);
	server_start(&server);
	for (int i = 0; i < 4; i++)
		fds[i] = dial("127.0.0.1", SERVER_PORT);
	say(fds[1], "GET ", 4);
	ok(ask_mode(fds[2], SOCK_STREAM, BINDING_MODE_HOLD, 5, NULL), "one is held");
	ok(ask(fds[3], SOCK_STREAM), "one idles");
	kill(server.pid, SIGHUP);
	kill(server.pid, SIGUSR1);
	ok(is_served(SOCK_STREAM, "::1"), "other signals do not hurt");
	kill(server.pid, number);
	is_int(server_wait(&server), want, "signal %d ends it cleanly", number);
	for (int i = 0; i < 4; i++) {
		ok(hear_end(fds[i]), "and its connections");
		close(fds[i]);
	}
}

int main(void)
{
	network_enter();
	test_readiness();
	test_busy_port(SOCK_STREAM, "tcp");
	test_busy_port(SOCK_DGRAM, "udp");
	test_no_such_address();
	test_privileged_port();
	test_too_many_connections();
	test_end(SIGTERM, 0);
	test_end(SIGINT, 0);
	return done_testing();
}
