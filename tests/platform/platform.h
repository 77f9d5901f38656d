/*
 * A small network of the test's own, and ways to look at what the kernel did in it.
 *
 *	HOME ---------------------- ROUTER ---------------------- OUTSIDE
 *	10.77.0.2          10.77.0.1      198.51.100.1       198.51.100.9
 *	fd77::2            fd77::1        2001:db8::1         2001:db8::9
 *
 * Each place is a network namespace without a name, held by a descriptor of this process: when the
 * process ends, however it ends, nothing is left. There is one thread; place_enter() moves it, and
 *a socket stays for life in the place where it was made. /proc/net and /proc/sys/net show the place
 * that the process is in.
 *
 * Nothing here waits for a fixed time. The process keeps to one processor, and on one processor a
 * segment sent over veth has been taken in, forwarded and answered in the order of sending: what
 *did not arrive before the answer to a later question will not arrive. Where an answer is expected,
 * PATIENCE bounds the wait for it.
 *
 * What goes wrong in setting up is not the fact under test, and ends the program with bail_out().
 */
#ifndef NATPUNCH_TESTS_PLATFORM_H
#define NATPUNCH_TESTS_PLATFORM_H

#include "../tap.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifndef TCP_REPAIR_ON
#define TCP_REPAIR_ON  1
#define TCP_REPAIR_OFF 0
#endif
#ifndef TCP_REPAIR_OFF_NO_WP
#define TCP_REPAIR_OFF_NO_WP -1
#endif

/* The longest wait for something that must happen, in milliseconds. */
#define PATIENCE 3000

/* The port that somebody else listens on at home, and the port of the far end. */
#define HOME_PORT    22
#define OUTSIDE_PORT 3478

enum place {
	HOME,
	ROUTER,
	OUTSIDE,
	PLACES
};

/* Addresses that others use to reach a place; the router's is the public one. */
static const char *const place_address[PLACES][2] = {
	[HOME] = {"10.77.0.2", "fd77::2"},
	[ROUTER] = {"198.51.100.1", "2001:db8::1"},
	[OUTSIDE] = {"198.51.100.9", "2001:db8::9"},
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static inline const char *family_name(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

/* An address from text, or the wildcard for NULL. */
static inline union address address_of(int family, const char *text, uint16_t port)
{
	union address address;
	void *bytes = &address.v4.sin_addr;

	memset(&address, 0, sizeof(address));
	address.any.sa_family = (sa_family_t)family;
	if (family == AF_INET6)
		bytes = &address.v6.sin6_addr;
	/* sin_port and sin6_port are the same two bytes. */
	address.v4.sin_port = htons(port);
	if (text != NULL && inet_pton(family, text, bytes) != 1)
		bail_out("not an address: %s", text);
	return address;
}

static inline union address address_of_place(int family, enum place place, uint16_t port)
{
	return address_of(family, place_address[place][family == AF_INET6], port);
}

static inline socklen_t address_size(const union address *address)
{
	return address->any.sa_family == AF_INET6 ? sizeof(address->v6) : sizeof(address->v4);
}

static inline uint16_t address_port(const union address *address)
{
	return ntohs(address->v4.sin_port);
}

/* The decimal number that text starts with; 0 if there is none. */
static inline unsigned long long number_of(const char *text)
{
	unsigned long long number = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (unsigned long long)(*text - '0');
	return number;
}

/* Runs a command line in the place where the process is; it must succeed. */
TAP_PRINTF(1, 2)
static inline void run(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	fflush(stdout);
	if (system(command) != 0)
		bail_out("command failed: %s", command);
}

static inline void place_enter(const int places[PLACES], enum place place)
{
	if (setns(places[place], CLONE_NEWNET) != 0)
		bail_out("setns: %s", strerror(errno));
}

/* Sets a value under /proc/sys/net in the place where the process is. */
static inline void sysctl_set(const char *name, const char *value)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		bail_out("%s: %s", path, strerror(errno));
	close(fd);
}

/* Keeps the process to the processor that it runs on; see the top of this file. */
static inline void stay_on_one_processor(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		bail_out("sched_setaffinity: %s", strerror(errno));
}

/*
 * Builds the three places with routes and no NAT; ends in HOME. places[] receives the descriptors,
 * which live as long as the process.
 */
static inline void places_build(int places[PLACES])
{
	if (geteuid() != 0) {
		skip(1, "needs root, for network namespaces");
		exit(done_testing());
	}
	stay_on_one_processor();
	for (int i = 0; i < PLACES; i++) {
		if (unshare(CLONE_NEWNET) != 0)
			bail_out("unshare: %s", strerror(errno));
		/* Not close-on-exec: ip(8) must see it. */
		places[i] = open("/proc/self/ns/net", O_RDONLY);
		if (places[i] < 0)
			bail_out("/proc/self/ns/net: %s", strerror(errno));
		/*
		 * An IPv6 address that the kernel makes itself is tentative for a while, and what
		 * comes to it is lost. All addresses are given by hand instead, with nodad.
		 */
		sysctl_set("ipv6/conf/default/addr_gen_mode", "1");
		run("ip link set lo up");
	}
	place_enter(places, ROUTER);
	run("ip link add in type veth peer name wan netns /proc/self/fd/%d", places[HOME]);
	run("ip link add out type veth peer name wan netns /proc/self/fd/%d", places[OUTSIDE]);
	run("printf '%%s\\n' 'addr add 10.77.0.1/24 dev in' 'addr add fd77::1/64 dev in nodad' "
	    "'addr add fe80::1/64 dev in nodad' 'addr add fe80::1/64 dev out nodad' "
	    "'addr add 198.51.100.1/24 dev out' 'addr add 2001:db8::1/64 dev out nodad' "
	    "'link set in up' 'link set out up' | ip -batch -");
	sysctl_set("ipv4/ip_forward", "1");
	sysctl_set("ipv6/conf/all/forwarding", "1");
	place_enter(places, OUTSIDE);
	run("printf '%%s\\n' 'addr add 198.51.100.9/24 dev wan' 'link set wan up' "
	    "'addr add 2001:db8::9/64 dev wan nodad' 'route add 10.77.0.0/24 via 198.51.100.1' "
	    "'route add fd77::/64 via 2001:db8::1' | ip -batch -");
	place_enter(places, HOME);
	run("printf '%%s\\n' 'addr add 10.77.0.2/24 dev wan' 'link set wan up' "
	    "'addr add fd77::2/64 dev wan nodad' 'route add default via 10.77.0.1' "
	    "'route add default via fd77::1' | ip -batch -");
}

/*
 * Makes the router a NAT with a firewall, as at many a home: what comes from home is masqueraded,
 * what comes from outside is let in only if it belongs to something, and what connection tracking
 * calls invalid is dropped from either side. Ends in HOME.
 */
static inline void places_add_nat(const int places[PLACES])
{
	place_enter(places, ROUTER);
	run("nft 'table inet nat {"
	    " chain post { type nat hook postrouting priority srcnat; oifname \"out\" masquerade; "
	    "};"
	    " chain forward { type filter hook forward priority filter; policy drop;"
	    " ct state invalid drop; iifname \"in\" accept; ct state established,related accept; };"
	    "}'");
	sysctl_set("netfilter/nf_conntrack_tcp_be_liberal", "0");
	place_enter(places, HOME);
}

/* A blocking TCP socket that gives up after PATIENCE. */
static inline int tcp_socket(int family)
{
	struct timeval patience = {.tv_sec = PATIENCE / 1000};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bail_out("socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0)
		bail_out("SO_RCVTIMEO: %s", strerror(errno));
	return fd;
}

static inline void option_set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) != 0)
		bail_out("setsockopt(%d, %d, %d): %s", level, option, value, strerror(errno));
}

static inline int option_get(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	if (getsockopt(fd, level, option, &value, &size) != 0)
		bail_out("getsockopt(%d, %d): %s", level, option, strerror(errno));
	return value;
}

/* bind(2); returns 0 or the errno. */
static inline int try_bind(int fd, const union address *address)
{
	return bind(fd, &address->any, address_size(address)) == 0 ? 0 : errno;
}

/* connect(2); returns 0 or the errno. */
static inline int try_connect(int fd, const union address *address)
{
	return connect(fd, &address->any, address_size(address)) == 0 ? 0 : errno;
}

/*
 * Listens on the wildcard address as sshd does: one socket for each family, SO_REUSEADDR, no
 * SO_REUSEPORT. Stores the socket in *fd. Returns 0 or the errno of bind(2).
 */
static inline int try_listen(int family, uint16_t port, int *fd)
{
	union address address = address_of(family, NULL, port);
	int error;

	*fd = tcp_socket(family);
	option_set(*fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		option_set(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	error = try_bind(*fd, &address);
	if (error == 0 && listen(*fd, 16) != 0)
		bail_out("listen: %s", strerror(errno));
	if (error == 0)
		return 0;
	close(*fd);
	*fd = -1;
	return error;
}

static inline int must_listen(int family, uint16_t port)
{
	int fd;
	int error = try_listen(family, port, &fd);

	if (error != 0)
		bail_out("listen on port %u: %s", port, strerror(error));
	return fd;
}

/* Accepts one connection and stores its far end in *peer, if wanted. Returns it, or -1. */
static inline int accept_from(int listener, union address *peer)
{
	union address from;
	socklen_t size = sizeof(from);
	int fd = accept4(listener, &from.any, &size, SOCK_CLOEXEC);

	if (fd >= 0 && peer != NULL)
		*peer = from;
	return fd;
}

/*
 * Binds a new socket to a port that somebody else listens on: in repair mode the kernel forces the
 * reuse of the address. Leaves repair mode again, without a window probe, so that connect(2) sends
 * an ordinary SYN. The socket has no SO_REUSEADDR then. Returns the socket.
 */
static inline int repair_bind(int family, uint16_t port)
{
	union address address = address_of(family, NULL, port);
	int fd = tcp_socket(family);
	int error;

	option_set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	error = try_bind(fd, &address);
	if (error != 0)
		bail_out("bind in repair mode: %s", strerror(error));
	option_set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	return fd;
}

/* Closes a connection without a FIN and without a RST. */
static inline void close_silently(int fd)
{
	option_set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	close(fd);
}

/* Closes a connection with a RST. */
static inline void close_by_reset(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) != 0)
		bail_out("SO_LINGER: %s", strerror(errno));
	close(fd);
}

/* Whether one byte gets from one socket to the other. */
static inline bool byte_passes(int from, int to)
{
	char byte = 'x';

	return send(from, &byte, 1, MSG_NOSIGNAL) == 1 && recv(to, &byte, 1, 0) == 1 && byte == 'x';
}

/*
 * Reads a counter of the place where the process is: group "Tcp" from /proc/net/snmp, group
 * "TcpExt" from /proc/net/netstat. Returns -1 if this kernel has no such counter.
 */
static inline long long counter(const char *group, const char *name)
{
	const char *path = strcmp(group, "TcpExt") == 0 ? "/proc/net/netstat" : "/proc/net/snmp";
	FILE *file = fopen(path, "re");
	static char names[8192];
	static char values[8192];
	long long found = -1;
	size_t length = strlen(group);

	if (file == NULL)
		bail_out("%s: %s", path, strerror(errno));
	while (found < 0 && fgets(names, sizeof(names), file) &&
		fgets(values, sizeof(values), file)) {
		char *save_name;
		char *save_value;
		char *word = strtok_r(names, " \n", &save_name);
		char *value = strtok_r(values, " \n", &save_value);

		if (word == NULL || strncmp(word, group, length) != 0 || word[length] != ':')
			continue;
		while (word != NULL && value != NULL && strcmp(word, name) != 0) {
			word = strtok_r(NULL, " \n", &save_name);
			value = strtok_r(NULL, " \n", &save_value);
		}
		if (word != NULL && value != NULL)
			found = (long long)number_of(value);
	}
	fclose(file);
	return found;
}

/* What the router's NAT remembers of the connection from HOME_PORT at home. */
struct entry {
	char state[24];       /* as conntrack(8) names it; "none" if there is no entry */
	unsigned int seconds; /* that the entry has to live */
	unsigned int port;    /* the public port */
};

/* Looks the entry up by the port that home used; leaves the process where it was: in HOME. */
static inline struct entry entry_find(const int places[PLACES], int family, unsigned int port)
{
	struct entry entry = {.state = "none"};
	char command[128];
	char line[512] = "";
	char *word;
	char *save;
	FILE *pipe;

	snprintf(command, sizeof(command),
		"conntrack -L -f %s -p tcp --orig-port-src %u 2>/dev/null",
		family == AF_INET6 ? "ipv6" : "ipv4", port);
	place_enter(places, ROUTER);
	pipe = popen(command, "re");
	if (pipe == NULL)
		bail_out("conntrack: %s", strerror(errno));
	if (fgets(line, sizeof(line), pipe) == NULL)
		line[0] = '\0';
	/* 127 is the shell's word for a command that does not exist. */
	if (pclose(pipe) >> 8 == 127)
		bail_out("conntrack(8) is missing");
	place_enter(places, HOME);

	/* tcp 6 SECONDS STATE src= dst= sport= dport= src= dst= sport= dport=PUBLIC ... */
	word = strtok_r(line, " ", &save);
	for (int i = 0; word != NULL; i++) {
		if (i == 2)
			entry.seconds = (unsigned int)number_of(word);
		if (i == 3)
			snprintf(entry.state, sizeof(entry.state), "%s", word);
		if (strncmp(word, "dport=", 6) == 0)
			entry.port = (unsigned int)number_of(word + 6);
		word = strtok_r(NULL, " ", &save);
	}
	return entry;
}

#endif
