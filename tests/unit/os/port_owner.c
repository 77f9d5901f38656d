/*
 * Who holds a port, as the kernel tells it: listeners of our own, in a network namespace of our own
 * where we may make one, for both protocols and families, in this process, in a child that got the
 * socket handed over, and in one that we may not look into.
 */
#include "natpunch/os/port_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netinet/in.h>

#include "natpunch/os/socket.h"
#include "tap.h"

#define NAME   "owner-of-ports"
#define OTHER  "second owner"
#define NOBODY 65534

#define IDLE     "idle"
#define READY_FD 19

static struct port_owner find(
	enum mapping_protocol protocol, enum addr_family family, uint16_t port)
{
	struct port_owner owner = {.listens = true, .pid = -1, .name = "?"};

	is_int(port_owner_find(protocol, family, port, &owner), 0, "the tables can be read");
	return owner;
}

/* Binds any port of an address; a TCP socket listens. Stores the port. */
static int hold(enum mapping_protocol protocol, const char *ip, bool v6only, uint16_t *port)
{
	struct addr local;
	int fd;

	if (addr_parse_ip(&local, ip) != 0)
		bail_out("not an address: %s", ip);
	fd = socket_open((enum addr_family)local.family,
		protocol == MAPPING_TCP ? SOCK_STREAM : SOCK_DGRAM, (int)protocol);
	if (fd >= 0 && local.family == ADDR_IPV6)
		socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only ? 1 : 0);
	if (fd < 0 || socket_bind(fd, &local) != 0 || socket_local(fd, &local) != 0 ||
		(protocol == MAPPING_TCP && listen(fd, 1) != 0))
		bail_out("%s: %s", ip, strerror(errno));
	*port = local.port;
	return fd;
}

static void check_self(enum mapping_protocol protocol, enum addr_family family, const char *ip)
{
	const char *what = protocol == MAPPING_TCP ? "TCP" : "UDP";
	uint16_t port;
	int fd = hold(protocol, ip, true, &port);
	struct port_owner owner = find(protocol, family, port);

	ok(owner.listens, "%s %s: held", what, ip);
	is_int(owner.pid, getpid(), "%s %s: by this process", what, ip);
	is_str(owner.name, NAME, "%s %s: of this name", what, ip);
	ok(find(protocol, ADDR_NONE, port).listens, "%s %s: of any family", what, ip);
	ok(!find(protocol == MAPPING_TCP ? MAPPING_UDP : MAPPING_TCP, family, port).listens,
		"%s %s: not the other protocol's", what, ip);
	close(fd);
	owner = find(protocol, family, port);
	ok(!owner.listens && owner.pid == 0 && owner.name[0] == '\0', "%s %s: closed, nobody's",
		what, ip);
}

/* Who holds the port at `ip`, and what is sent to `local`. */
static void takes(const char *ip, bool v6only, const char *local, bool bound, bool wanted)
{
	uint16_t port;
	int fd = hold(MAPPING_TCP, ip, v6only, &port);
	struct port_owner owner = find(MAPPING_TCP, ADDR_NONE, port);
	struct addr addr;

	if (addr_parse_ip(&addr, local) != 0)
		bail_out("not an address: %s", local);
	ok(port_owner_takes(&owner, &addr, bound) == wanted, "%s, %s: %s%s", ip, local,
		wanted ? "taken" : "not taken", bound ? ", when bound" : "");
	close(fd);
}

static void test_addresses(void)
{
	struct port_owner owner = {.listens = true, .name = "sshd", .count = 1};
	char text[128];

	takes("0.0.0.0", true, "192.0.2.1", false, true);
	takes("127.0.0.1", true, "127.0.0.1", false, true);
	takes("127.0.0.1", true, "192.0.2.1", false, false);
	takes("::1", true, "192.0.2.1", false, false);
	takes("::1", true, "::1", false, true);
	takes("::", false, "192.0.2.1", false, true);
	takes("::", true, "192.0.2.1", true, false);
	takes("::", true, "2001:db8::1", true, true);
	takes("::ffff:127.0.0.1", false, "127.0.0.1", false, true);
	takes("0.0.0.0", true, "2001:db8::1", false, false);

	if (addr_parse_ip(&owner.at[0], "127.0.0.1") != 0 ||
		addr_parse_ip(&owner.at[1], "::1") != 0 ||
		addr_parse_ip(&owner.at[2], "192.0.2.1") != 0)
		bail_out("not an address");
	is_str(port_owner_describe(&owner, text, sizeof(text)), "sshd listens on 127.0.0.1 only",
		"one address");
	owner.count = 3;
	is_str(port_owner_describe(&owner, text, sizeof(text)),
		"sshd listens on 127.0.0.1, ::1 and 192.0.2.1 only", "three");
	is_uint(strlen(port_owner_describe(&owner, text, 30)), 29, "not more than there is room");
	owner.name[0] = '\0';
	owner.count = 1;
	is_str(port_owner_describe(&owner, text, sizeof(text)),
		"another process listens on 127.0.0.1 only", "of nobody knows whom");
	owner.count = PORT_OWNER_ADDRESS_MAX + 1;
	ok(port_owner_takes(&owner, &owner.at[2], false) &&
			port_owner_takes(&owner, &(struct addr){.family = ADDR_IPV4}, false),
		"more than are kept may be anywhere");
}

static char *list_servers(uint16_t port, const char *at, char text[256])
{
	struct addr found[PORT_OWNER_SERVER_MAX];
	struct addr local = {.family = ADDR_NONE};
	char ip[ADDR_IP_TEXT_SIZE];
	size_t count;

	if (at != NULL && addr_parse_ip(&local, at) != 0)
		bail_out("not an address: %s", at);
	count = port_owner_find_server(port, &local, found);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(text);
		snprintf(text + used, 256 - used, "%s%s%s", i > 0 ? " " : "",
			addr_format_ip(&found[i], ip), found[i].port == port ? "" : " WRONG PORT");
	}
	return text;
}

static void serves(const char *ip, bool v6only, const char *at, const char *wanted)
{
	char text[256];
	uint16_t port;
	int fd = hold(MAPPING_TCP, ip, v6only, &port);

	is_str(list_servers(port, at, text), wanted, "a server on %s is reached at %s", ip, wanted);
	close(fd);
	is_str(list_servers(port, at, text), "", "a server on %s: gone", ip);
}

static void test_servers(void)
{
	struct addr second;
	char text[256];
	uint16_t port;
	int fd, other;

	serves("0.0.0.0", true, "192.0.2.1", "127.0.0.1");
	serves("::", true, NULL, "::1 127.0.0.1");
	serves("127.0.0.2", true, "192.0.2.1", "127.0.0.2");
	serves("::1", true, NULL, "::1");
	serves("::ffff:127.0.0.2", false, NULL, "127.0.0.2");

	fd = hold(MAPPING_TCP, "127.0.0.2", true, &port);
	other = socket_open(ADDR_IPV4, SOCK_STREAM, IPPROTO_TCP);
	if (addr_parse_ip(&second, "127.0.0.3") != 0)
		bail_out("not an address");
	second.port = port;
	if (socket_bind(other, &second) != 0 || listen(other, 1) != 0)
		bail_out("127.0.0.3: %s", strerror(errno));
	is_str(list_servers(port, "127.0.0.3", text), "127.0.0.3 127.0.0.2",
		"of two, the one that a connection came to is first");
	is_str(list_servers(port, "127.0.0.2", text), "127.0.0.2 127.0.0.3", "and the other way");
	close(fd);
	close(other);
}

static void test_families(void)
{
	uint16_t port;
	int fd;

	check_self(MAPPING_TCP, ADDR_IPV4, "0.0.0.0");
	check_self(MAPPING_TCP, ADDR_IPV4, "127.0.0.1");
	check_self(MAPPING_TCP, ADDR_IPV6, "::");
	check_self(MAPPING_TCP, ADDR_IPV6, "::1");
	check_self(MAPPING_UDP, ADDR_IPV4, "0.0.0.0");
	check_self(MAPPING_UDP, ADDR_IPV6, "::");
	fd = hold(MAPPING_TCP, "::", false, &port);
	ok(find(MAPPING_TCP, ADDR_IPV4, port).listens,
		"a wildcard of IPv6 holds the port of IPv4 as well");
	close(fd);
	fd = hold(MAPPING_TCP, "0.0.0.0", false, &port);
	ok(!find(MAPPING_TCP, ADDR_IPV6, port).listens, "but not the other way round");
	close(fd);
}

/* A connection from or to the port is no listener. */
static void test_connection(void)
{
	uint16_t port;
	int listener = hold(MAPPING_TCP, "127.0.0.1", true, &port);
	struct addr to;
	struct addr from;
	int near;

	socket_local(listener, &to);
	near = socket_open(ADDR_IPV4, SOCK_STREAM, 0);
	if (socket_connect(near, &to) != 0 || socket_local(near, &from) != 0)
		bail_out("connect: %s", strerror(errno));
	ok(!find(MAPPING_TCP, ADDR_IPV4, from.port).listens, "a connection does not hold its port");
	close(near);
	close(listener);
}

/* Who has come from an address and port, by whatever name it called the place that it came to. */
static void test_other_end(void)
{
	static const char *const places[] = {"127.0.0.1", "::ffff:127.0.0.1", "::1"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bool six = i == 2;
		uint16_t port;
		int listener = hold(MAPPING_TCP, six || i == 1 ? "::" : "127.0.0.1", six, &port);
		struct addr to, from, found = {.port = 0};
		int near, far;

		if (addr_parse_ip(&to, six ? "::1" : "127.0.0.1") != 0)
			bail_out("no address");
		to.port = port;
		near = socket_open((enum addr_family)to.family, SOCK_STREAM, 0);
		if (socket_connect(near, &to) != 0 || socket_local(near, &from) != 0)
			bail_out("connect: %s", strerror(errno));
		ok(port_owner_find_other_end(&from, &found) && addr_equal(&found, &to),
			"%s: who was called is found, accepted or not", places[i]);
		far = accept(listener, NULL, NULL);
		shutdown(far, SHUT_WR);
		ok(!port_owner_find_other_end(&from, &found),
			"%s: but none that has closed already", places[i]);
		from.port ^= 1;
		ok(!port_owner_find_other_end(&from, &found), "%s: another port is another",
			places[i]);
		close(near);
		close(far);
		close(listener);
	}
}

/* What start_child() passes on. */
static void inherit(int fd)
{
	if (fcntl(fd, F_SETFD, 0) != 0)
		bail_out("fcntl: %s", strerror(errno));
}

/* The other side of start_child(). */
static int act_as_child(const char *name)
{
	prctl(PR_SET_NAME, name);
	if (write(READY_FD, "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

/* A process with a name of its own, and an option, that inherits all sockets and does nothing. */
static pid_t start_child(const char *name, const char *option)
{
	int ready[2];
	char byte;
	pid_t child;

	if (pipe2(ready, O_CLOEXEC) != 0)
		bail_out("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		bail_out("fork: %s", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ready[1], READY_FD);
		execl("/proc/self/exe", "port_owner", IDLE, name, option, NULL);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		bail_out("the child died");
	close(ready[0]);
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/*
 * A daemon and its children share the socket, and so do systemd and what it hands a socket to. The
 * eldest answers for it: there it is that the port can be had back.
 */
static void test_shared(void)
{
	uint16_t port;
	int fd = hold(MAPPING_TCP, "0.0.0.0", true, &port);
	struct port_owner owner;
	pid_t child;

	inherit(fd);
	child = start_child(OTHER, NULL);
	owner = find(MAPPING_TCP, ADDR_IPV4, port);

	is_int(owner.pid, getpid() < child ? getpid() : child, "shared: the lowest pid");
	close(fd);
	owner = find(MAPPING_TCP, ADDR_IPV4, port);
	is_int(owner.pid, child, "handed over: the one that has it now");
	is_str(owner.name, OTHER, "by its name");
	end_child(child);
	ok(!find(MAPPING_TCP, ADDR_IPV4, port).listens, "dead: nobody's");
}

static pid_t find_keeper(uint16_t port, uint16_t remote)
{
	struct port_owner owner = {.keeper = 0};

	port_owner_find_keeper(port, &remote, 1, &owner);
	return owner.keeper;
}

static void test_keeper(void)
{
	uint16_t remote;
	int listener = hold(MAPPING_TCP, "127.0.0.1", true, &remote);
	int near = socket_open(ADDR_IPV4, SOCK_STREAM, 0);
	struct addr to, from;
	pid_t child;

	socket_local(listener, &to);
	if (near < 0 || socket_connect(near, &to) != 0 || socket_local(near, &from) != 0)
		bail_out("connect: %s", strerror(errno));
	is_int(find_keeper(from.port, remote), 0, "a connection of our own is no keeper's");
	inherit(near);
	child = start_child(NAME, "-qk");
	is_int(find_keeper(from.port, remote), child, "one of another process of this name is");
	is_int(find_keeper(from.port, (uint16_t)(remote ^ 1)), 0, "but not to another port");
	is_int(find_keeper(remote, from.port), 0, "nor is one that came in");
	end_child(child);
	child = start_child(NAME, "--keep");
	is_int(find_keeper(from.port, remote), child, "the option's long name");
	end_child(child);
	child = start_child(NAME, "-rk");
	is_int(find_keeper(from.port, remote), 0, "not one that does not stay: the k is a host");
	end_child(child);
	child = start_child(OTHER, "-k");
	is_int(find_keeper(from.port, remote), 0, "nor a process of another name");
	end_child(child);
	close(near);
	close(listener);
}

/* In a child, as another user: what it sees of a socket of ours. Exit status: 1 when wrong. */
static int look_as_nobody(uint16_t port, int fd)
{
	struct port_owner owner;
	int status;
	pid_t child = fork();

	if (child == 0) {
		close(fd);
		if (setuid(NOBODY) != 0 ||
			port_owner_find(MAPPING_TCP, ADDR_IPV4, port, &owner) != 0)
			_exit(2);
		_exit(owner.listens && owner.pid == 0 && owner.name[0] == '\0' ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void test_unprivileged(void)
{
	uint16_t port;
	int fd;

	if (geteuid() != 0) {
		skip(1, "needs root, to become somebody else");
		return;
	}
	fd = hold(MAPPING_TCP, "0.0.0.0", true, &port);
	is_int(look_as_nobody(port, fd), 0, "somebody else sees that it is held, and not by whom");
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], IDLE) == 0)
		return act_as_child(argv[2]);
	/* Others' ports out of sight, and ours out of theirs. */
	if (geteuid() == 0 && unshare(CLONE_NEWNET) != 0)
		bail_out("unshare: %s", strerror(errno));
	if (geteuid() == 0 && system("ip link set lo up") != 0)
		bail_out("ip link set lo up");
	prctl(PR_SET_NAME, NAME);
	test_families();
	test_servers();
	test_addresses();
	test_connection();
	test_other_end();
	test_shared();
	test_keeper();
	test_unprivileged();
	return done_testing();
}
