/* The options of `natpunch reflect`, as a user gives them. */
#include <stdarg.h>
#include <sys/un.h>

#include "natpunch/cmd/command.h"
#include "unit/server.h"

#define ARGUMENTS_MAX 80

/* Runs the subcommand in a child with these arguments. */
static void command_spawn(struct server *child, char *const arguments[])
{
	char *argv[ARGUMENTS_MAX + 2] = {(char *)"reflect"};
	int argc = 1;

	while (arguments[argc - 1] != NULL && argc <= ARGUMENTS_MAX) {
		argv[argc] = arguments[argc - 1];
		argc++;
	}
	child->log = memfd_create("log", MFD_CLOEXEC);
	fflush(stdout);
	child->pid = fork();
	if (child->pid < 0 || child->log < 0)
		bail_out("fork: %s", strerror(errno));
	if (child->pid != 0)
		return;
	if (dup2(child->log, STDERR_FILENO) < 0 || dup2(child->log, STDOUT_FILENO) < 0)
		exit(98);
	if (SANITIZED)
		setenv("NATPUNCH_SANDBOX", "off", 1);
	log_set_command("reflect");
	exit(command_reflect.run(&command_reflect, argc, argv));
}

#define ARGUMENTS(...) ((char *[]){__VA_ARGS__, NULL})

/* A usage error: exit 2, and these words. */
static void test_refused(char *const arguments[], const char *words)
{
	struct server child;
	char line[256];
	int log;

	command_spawn(&child, arguments);
	log = dup(child.log);
	is_int(server_wait(&child), EXIT_STATUS_USAGE, "%s: exit 2", words);
	child.log = log;
	snprintf(line, sizeof(line), "natpunch reflect: %s\n", words);
	is_uint(server_said(&child, line), 1, "%s: said", words);
	close(log);
}

static void test_all_refused(void)
{
	char *many[2 * 33 + 1];
	char ports[33][12];

	test_refused(ARGUMENTS("-l", "0"), "invalid [ADDR:]PORT: '0'");
	test_refused(ARGUMENTS("-l", "65536"), "invalid [ADDR:]PORT: '65536'");
	test_refused(ARGUMENTS("-l", "22x"), "invalid [ADDR:]PORT: '22x'");
	test_refused(ARGUMENTS("-l", ""), "invalid [ADDR:]PORT: ''");
	test_refused(ARGUMENTS("-T", "-18446744073709551594"),
		"invalid [ADDR:]PORT: '-18446744073709551594'");
	test_refused(ARGUMENTS("-l", "localhost:3478"),
		"invalid address to listen on: 'localhost:3478'");
	test_refused(ARGUMENTS("-l", "224.0.0.1:3478"),
		"invalid address to listen on: '224.0.0.1:3478'");
	test_refused(ARGUMENTS("-T", "[ff02::1]:3478"),
		"invalid address to listen on: '[ff02::1]:3478'");
	test_refused(ARGUMENTS("-l", "\x1b[31m"), "invalid [ADDR:]PORT: '\\x1b[31m'");
	test_refused(ARGUMENTS("-C", "0"), "invalid number of connections: '0'");
	test_refused(ARGUMENTS("-C", "1000001"), "invalid number of connections: '1000001'");
	test_refused(ARGUMENTS("-C", "1", "-C", "2"), "option given twice: -C");
	test_refused(ARGUMENTS("-l", "3478", "-T", "3478"), "address given twice: 0.0.0.0:3478");
	test_refused(ARGUMENTS("-l", "[::1]:5", "-l", "[::1]:5"), "address given twice: [::1]:5");
	test_refused(ARGUMENTS("-a", "localhost"), "invalid alternate address: 'localhost'");
	test_refused(
		ARGUMENTS("-a", "127.0.0.2:3479"), "invalid alternate address: '127.0.0.2:3479'");
	test_refused(ARGUMENTS("-a", "0.0.0.0"), "invalid alternate address: '0.0.0.0'");
	test_refused(ARGUMENTS("-a", "ff02::1"), "invalid alternate address: 'ff02::1'");
	test_refused(ARGUMENTS("-a", "127.0.0.2", "-a", "::1", "-a", "127.0.0.3"),
		"more than one alternate address for IPv4");
	test_refused(ARGUMENTS("--no-dial", "--no-dial"), "option given twice: --no-dial");
	test_refused(ARGUMENTS("-q", "-v"), "-q and -v exclude each other");
	test_refused(ARGUMENTS("3478"), "unexpected argument: 3478");
	test_refused(ARGUMENTS("-z"), "unknown option: -z");
	test_refused(ARGUMENTS("--frob"), "unknown option: --frob");
	test_refused(ARGUMENTS("-l"), "option needs an argument: -l");
	for (int i = 0; i < 33; i++) {
		snprintf(ports[i], sizeof(ports[i]), "%d", 1001 + i);
		many[2 * i] = (char *)"-l";
		many[2 * i + 1] = ports[i];
	}
	many[66] = NULL;
	test_refused(many, "more than 32 addresses to listen on");
}

/* Starts, and says that it listens on just these, if it says anything. */
static void test_listens(const char *name, char *const arguments[], unsigned count,
	const char *first, const char *last)
{
	struct server child;
	int log;

	command_spawn(&child, arguments);
	log = dup(child.log);
	ok(server_says(&child, "natpunch reflect: ready\n", 1), "%s: it starts", name);
	is_int(server_stop(&child), 0, "%s: it ends", name);
	child.log = log;
	is_uint(server_said(&child, "listening on "), count, "%s: %u addresses", name, count);
	is_uint(server_said(&child, first), 1, "%s: %s", name, first);
	is_uint(server_said(&child, last), 1, "%s: %s", name, last);
	close(log);
}

static void test_quiet(void)
{
	uint64_t end = clock_now_ms() + PATIENCE;
	struct server child;
	int log;

	command_spawn(&child, ARGUMENTS("-q"));
	log = dup(child.log);
	while (!is_served(SOCK_STREAM, "::1") && clock_now_ms() < end)
		pause_briefly();
	ok(is_served(SOCK_STREAM, "::1"), "-q: it serves");
	is_int(server_stop(&child), 0, "-q: it ends");
	child.log = log;
	is_uint(server_said(&child, "natpunch"), 0, "-q: and says nothing");
	close(log);
}

/* The next message of the service manager's socket, or "" when none comes. */
static const char *notified(int manager)
{
	static char text[256];
	struct pollfd ready = {.fd = manager, .events = POLLIN};
	ssize_t size = -1;

	if (poll(&ready, 1, PATIENCE) == 1)
		size = recv(manager, text, sizeof(text) - 1, 0);
	text[size > 0 ? size : 0] = '\0';
	return text;
}

static void test_service(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0natpunch-reflect-test"};
	int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct server child;

	if (bind(manager, (struct sockaddr *)&name,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				strlen(&name.sun_path[1]))) != 0)
		bail_out("cannot listen for notifications");
	setenv("NOTIFY_SOCKET", "@natpunch-reflect-test", 1);
	setenv("WATCHDOG_USEC", "100000", 1);
	uint64_t began = clock_now_ms();
	command_spawn(&child, ARGUMENTS("-q"));
	is_str(notified(manager), "READY=1", "a service: ready");
	ok(is_served(SOCK_STREAM, "127.0.0.1"), "a service: and then it serves");
	for (int i = 0; i < 4; i++)
		is_str(notified(manager), "WATCHDOG=1", "a service: alive, time %d", i + 1);
	ok(clock_now_ms() - began >= 150, "a service: not more often than half the time allowed");
	is_int(server_stop(&child), 0, "a service: it ends");
	const char *last;
	do
		last = notified(manager);
	while (strcmp(last, "WATCHDOG=1") == 0);
	is_str(last, "STOPPING=1", "a service: and says so");
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	close(manager);
}

static void test_help(void)
{
	struct server child;
	int log;

	command_spawn(&child, ARGUMENTS("-h"));
	log = dup(child.log);
	is_int(server_wait(&child), 0, "-h: exit 0");
	child.log = log;
	is_uint(server_said(&child, "usage: natpunch reflect "), 1, "-h: the help");
	close(log);
}

/* Somebody else has the spare port, over one of the two protocols. */
static void test_spare_port_is_taken(int type, const char *name)
{
	struct addr addr = address("0.0.0.0", STUN_SPARE_PORT(STUN_DEFAULT_PORT));
	int fd = socket_open(ADDR_IPV4, type, 0);

	if (socket_bind(fd, &addr) != 0 || (type == SOCK_STREAM && listen(fd, 1) != 0))
		bail_out("cannot take the port");
	test_listens(name, ARGUMENTS("-v"), 3, "listening on 0.0.0.0:3478 udp tcp\n",
		"listening on [::]:13478, too, udp tcp\n");
	close(fd);
}

int main(void)
{
	network_enter();
	test_all_refused();
	test_listens("no options", ARGUMENTS(NULL), 2, "listening on 0.0.0.0:3478 udp tcp\n",
		"listening on [::]:3478 udp tcp\n");
	test_listens("-v: the other port as well", ARGUMENTS("-v"), 4,
		"listening on 0.0.0.0:13478, too, udp tcp\n",
		"listening on [::]:13478, too, udp tcp\n");
	test_listens("-v -T 13478", ARGUMENTS("-v", "-T", "13478"), 4,
		"listening on [::]:13478 text\n", "listening on [::]:3478 udp tcp\n");
	test_listens("-T", ARGUMENTS("-T", "1337"), 4, "listening on [::]:1337 text\n",
		"listening on [::]:3478 udp tcp\n");
	test_listens("-l twice", ARGUMENTS("--listen", "127.0.0.1:5", "-l", "[::1]:6"), 2,
		"listening on 127.0.0.1:5 udp tcp\n", "listening on [::1]:6 udp tcp\n");
	test_listens("-a", ARGUMENTS("-l", "127.0.0.1:7", "-a", "127.0.0.2"), 4,
		"listening on 127.0.0.2:8 udp tcp\n",
		"addresses for RFC 5780: 127.0.0.1:7 and 127.0.0.2:8\n");
	test_listens("-C", ARGUMENTS("-C", "5", "-l", "127.0.0.1:7"), 1,
		"listening on 127.0.0.1:7 udp tcp\n", "ready\n");
	test_spare_port_is_taken(SOCK_STREAM, "the spare port is taken over TCP");
	test_spare_port_is_taken(SOCK_DGRAM, "the spare port is taken over UDP");
	test_quiet();
	test_service();
	test_help();
	return done_testing();
}
