/*
 * Two steps: the socket tables under /proc/net give the inode of a socket that holds the port, and
 * the descriptors under /proc/PID/fd give the process that holds the inode. The second needs the
 * rights of a debugger; without them the owner has no name. The process itself is not
 * touched.
 */
#include "natpunch/os/port_owner.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define TCP_STATE_LISTEN      0x0A /* TCP_LISTEN of the kernel's net/tcp_states.h */
#define TCP_STATE_ESTABLISHED 0x01
#define TCP_STATE_NEW         0x03 /* TCP_SYN_RECV */
#define UDP_STATE_BOUND       0x07 /* TCP_CLOSE: a socket that is bound and not connected */
#define TCP_TIME_WAIT_TEXT    "06"

const struct sandbox_call holder_calls[] = {
	SANDBOX_CALL(getdents64),
	SANDBOX_CALL(readlinkat),
	SANDBOX_CALL(capget), /* what a hint tells beside the owner: borrow.c */
#ifdef __NR_fcntl
	SANDBOX_CALL(fcntl),
#endif
#ifdef __NR_fcntl64
	SANDBOX_CALL(fcntl64),
#endif
	SANDBOX_CALL(lseek),
#ifdef __NR__llseek
	SANDBOX_CALL(_llseek),
#endif
	SANDBOX_END,
};

/* One line of /proc/net/tcp: "  0: 00000000:0016 00000000:0000 0A ... uid timeout inode ..." */
struct table_row {
	struct addr local;
	struct addr remote;
	unsigned state;
	char inode[24];
};

static int hex_value(const char *text, size_t size, unsigned *out)
{
	unsigned value = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned)(c - '0');
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (unsigned)(c - 'A') + 10;
		else
			return -1;
	}
	*out = value;
	return size > 0 ? 0 : -1;
}

/* "0100007F:0016": words of 32 bits as this machine reads them, then the port. */
static int read_address(const char *text, struct addr *out)
{
	const char *colon = strchr(text, ':');
	size_t words = colon != NULL ? (size_t)(colon - text) / 8 : 0;
	unsigned port;

	*out = (struct addr){.family = words == 1 ? ADDR_IPV4 : ADDR_IPV6};
	if ((words != 1 && words != 4) || text[8 * words] != ':' ||
		hex_value(colon + 1, strlen(colon + 1), &port) != 0)
		return -1;
	out->port = (uint16_t)port;
	for (size_t i = 0; i < words; i++) {
		uint32_t word;
		if (hex_value(text + 8 * i, 8, &word) != 0)
			return -1;
		memcpy(out->ip + 4 * i, &word, sizeof(word));
	}
	return 0;
}

static int read_row(char *line, struct table_row *row)
{
	enum {
		LOCAL = 1,
		REMOTE = 2,
		STATE = 3,
		INODE = 9
	};
	char *rest = line;
	char *word;
	unsigned found = 0;

	for (int column = 0; column <= INODE; column++) {
		word = strtok_r(column == 0 ? line : NULL, " \n", &rest);
		if (word == NULL)
			return -1;
		if (column == LOCAL || column == REMOTE) {
			if (read_address(word, column == LOCAL ? &row->local : &row->remote) != 0)
				return -1;
			found++;
		} else if (column == STATE) {
			if (hex_value(word, strlen(word), &row->state) != 0)
				return -1;
			found++;
		} else if (column == INODE) {
			if (strlen(word) >= sizeof(row->inode))
				return -1;
			memcpy(row->inode, word, strlen(word) + 1);
			found++;
		}
	}
	return found == 4 ? 0 : -1;
}

/* Adds the rows of the table that hold the port; the inode is the first one's. Returns 0, or -1. */
static int search_table(
	const char *path, unsigned port, unsigned state, struct port_owner *out, char inode[24])
{
	FILE *table = fopen(path, "re");
	char line[512];
	struct table_row row;

	if (table == NULL)
		return -1;
	while (fgets(line, sizeof(line), table) != NULL) {
		if (read_row(line, &row) != 0 || row.local.port != port || row.state != state)
			continue;
		if (out->count == 0)
			memcpy(inode, row.inode, sizeof(row.inode));
		addr_unmap(&row.local);
		if (out->count < PORT_OWNER_ADDRESS_MAX)
			out->at[out->count] = row.local;
		out->count++;
	}
	fclose(table);
	return 0;
}

static bool process_holds(const char *pid, const char *wanted)
{
	char path[320];
	char target[64];
	struct dirent *entry;
	bool holds = false;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	directory = opendir(path);
	if (directory == NULL)
		return false;
	while (!holds && (entry = readdir(directory)) != NULL) {
		ssize_t size =
			readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
		if (size <= 0)
			continue;
		target[size] = '\0';
		holds = strcmp(target, wanted) == 0;
	}
	closedir(directory);
	return holds;
}

/* What /proc tells of a process, without the newline at its end. Returns its size. */
static size_t read_about(const char *pid, const char *what, char *out, size_t capacity)
{
	char path[320];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	size = read(fd, out, capacity);
	close(fd);
	if (size > 0 && out[size - 1] == '\n')
		size--;
	return size > 0 ? (size_t)size : 0;
}

static void read_name(const char *pid, char *out, size_t capacity)
{
	char raw[32];

	text_escape(out, capacity, raw, read_about(pid, "comm", raw, sizeof(raw)));
}

/* Of several processes that share the socket (a daemon and its children), the lowest pid. */
static void find_process(const char *inode, struct port_owner *out)
{
	char wanted[64];
	struct dirent *entry;
	DIR *processes = opendir("/proc");

	if (processes == NULL)
		return;
	snprintf(wanted, sizeof(wanted), "socket:[%s]", inode);
	while ((entry = readdir(processes)) != NULL) {
		uint64_t pid;
		if (parse_number(entry->d_name, 1, INT32_MAX, &pid) != 0)
			continue;
		if (out->pid != 0 && (pid_t)pid > out->pid)
			continue;
		if (!process_holds(entry->d_name, wanted))
			continue;
		out->pid = (pid_t)pid;
		read_name(entry->d_name, out->name, sizeof(out->name));
	}
	closedir(processes);
}

int port_owner_find(enum mapping_protocol protocol, enum addr_family family, uint16_t port,
	struct port_owner *out)
{
	bool tcp = protocol == MAPPING_TCP;
	unsigned state = tcp ? TCP_STATE_LISTEN : UDP_STATE_BOUND;
	const char *tables[2] = {
		tcp ? "/proc/net/tcp" : "/proc/net/udp", tcp ? "/proc/net/tcp6" : "/proc/net/udp6"};
	char inode[24];
	bool readable = false;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < 2; i++)
		if ((i > 0 || family != ADDR_IPV6) &&
			search_table(tables[i], port, state, out, inode) == 0)
			readable = true;
	out->listens = out->count > 0;
	if (out->listens)
		find_process(inode, out);
	return readable ? 0 : -1;
}

/* ---- the server ----------------------------------------------------------------------------- */

struct servers {
	struct addr *all; /* PORT_OWNER_SERVER_MAX */
	size_t count;
	uint16_t port;
};

static void add_server(struct servers *servers, const struct addr *ip)
{
	for (size_t i = 0; i < servers->count; i++)
		if (addr_equal_ip(&servers->all[i], ip))
			return;
	servers->all[servers->count] = *ip;
	servers->all[servers->count++].port = servers->port;
}

static const struct addr loopback4 = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}};
static const struct addr loopback6 = {.family = ADDR_IPV6, .ip = {[15] = 1}};

enum server_rank {
	SERVER_AT,
	SERVER_IPV4, /* all addresses */
	SERVER_IPV6,
	SERVER_ELSEWHERE,
	SERVER_RANKS,
};

static enum server_rank rank_server(const struct addr *listener, const struct addr *at)
{
	if (addr_equal_ip(listener, at))
		return SERVER_AT;
	if (addr_classify(listener) != ADDR_CLASS_UNSPECIFIED)
		return SERVER_ELSEWHERE;
	return listener->family == ADDR_IPV4 ? SERVER_IPV4 : SERVER_IPV6;
}

/* One of all IPv6 addresses may take IPv4 too, and be all that a machine without ::1 has. */
static void add_servers(struct servers *servers, const struct addr *listener, enum server_rank rank)
{
	if (rank == SERVER_AT || rank == SERVER_ELSEWHERE)
		add_server(servers, listener);
	if (rank == SERVER_IPV6)
		add_server(servers, &loopback6);
	if (rank == SERVER_IPV4 || rank == SERVER_IPV6)
		add_server(servers, &loopback4);
}

size_t port_owner_find_server(
	uint16_t port, const struct addr *at, struct addr out[PORT_OWNER_SERVER_MAX])
{
	struct servers servers = {.all = out, .port = port};
	struct port_owner owner = {.count = 0};
	char inode[24];
	int read4 = search_table("/proc/net/tcp", port, TCP_STATE_LISTEN, &owner, inode);
	int read6 = search_table("/proc/net/tcp6", port, TCP_STATE_LISTEN, &owner, inode);

	if (read4 != 0 && read6 != 0) {
		add_server(&servers, &loopback4);
		add_server(&servers, &loopback6);
	}
	for (int rank = 0; rank < SERVER_RANKS; rank++)
		for (size_t i = 0; i < owner.count && i < PORT_OWNER_ADDRESS_MAX; i++)
			if ((int)rank_server(&owner.at[i], at) == rank)
				add_servers(&servers, &owner.at[i], (enum server_rank)rank);
	return servers.count;
}

/* ---- the keeper --------------------------------------------------------------------------- */

#define KEEPER_SOCKETS_MAX 8

struct sockets {
	char inodes[KEEPER_SOCKETS_MAX][24];
	size_t count;
};

static bool is_among(uint16_t port, const uint16_t *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ports[i] == port)
			return true;
	return false;
}

static void find_connections(
	const char *path, uint16_t port, const uint16_t *remote, size_t count, struct sockets *out)
{
	FILE *table = fopen(path, "re");
	char line[512];
	struct table_row row;

	if (table == NULL)
		return;
	while (out->count < KEEPER_SOCKETS_MAX && fgets(line, sizeof(line), table) != NULL)
		if (read_row(line, &row) == 0 && row.state == TCP_STATE_ESTABLISHED &&
			row.local.port == port && is_among(row.remote.port, remote, count))
			memcpy(out->inodes[out->count++], row.inode, sizeof(row.inode));
	fclose(table);
}

static bool holds_one(const char *pid, const struct sockets *sockets)
{
	char wanted[64];

	for (size_t i = 0; i < sockets->count; i++) {
		snprintf(wanted, sizeof(wanted), "socket:[%s]", sockets->inodes[i]);
		if (process_holds(pid, wanted))
			return true;
	}
	return false;
}

/* Is this -k or --keep, by itself or behind others that have no argument? */
static bool is_option_to_keep(const char *word)
{
	if (word[0] != '-')
		return false;
	if (word[1] == '-')
		return strncmp(word, "--kee", 5) == 0;
	return word[1 + strspn(word + 1, "46uVqv")] == 'k';
}

static bool keeps(const char *pid)
{
	char line[4096];
	size_t size = read_about(pid, "cmdline", line, sizeof(line) - 1);
	bool found = false;

	line[size] = '\0';
	for (size_t at = 0; at < size && !found; at += strlen(line + at) + 1)
		found = is_option_to_keep(line + at);
	return found;
}

/* The last part of its control group, where systemd has put a service. */
static void read_unit(const char *pid, char *out, size_t capacity)
{
	static const char suffix[] = ".service";
	char group[512];
	size_t size = read_about(pid, "cgroup", group, sizeof(group));
	size_t begin = size;

	while (begin > 0 && group[begin - 1] != '/' && group[begin - 1] != '\n')
		begin--;
	size -= begin;
	if (size < sizeof(suffix) ||
		memcmp(group + begin + size - strlen(suffix), suffix, strlen(suffix)) != 0)
		size = 0;
	text_escape(out, capacity, group + begin, size);
}

void port_owner_find_keeper(
	uint16_t port, const uint16_t *remote, size_t count, struct port_owner *out)
{
	struct sockets sockets = {.count = 0};
	char name[sizeof(out->name)];
	char own[sizeof(out->name)];
	struct dirent *entry;
	DIR *processes;

	find_connections("/proc/net/tcp", port, remote, count, &sockets);
	find_connections("/proc/net/tcp6", port, remote, count, &sockets);
	if (sockets.count == 0)
		return;
	processes = opendir("/proc");
	if (processes == NULL)
		return;
	read_name("self", own, sizeof(own));
	while (out->keeper == 0 && (entry = readdir(processes)) != NULL) {
		uint64_t pid;
		if (parse_number(entry->d_name, 1, INT32_MAX, &pid) != 0 || (pid_t)pid == getpid())
			continue;
		read_name(entry->d_name, name, sizeof(name));
		if (strcmp(name, own) != 0 || !keeps(entry->d_name) ||
			!holds_one(entry->d_name, &sockets))
			continue;
		out->keeper = (pid_t)pid;
		read_unit(entry->d_name, out->unit, sizeof(out->unit));
	}
	closedir(processes);
}

int port_owner_find_again(enum mapping_protocol protocol, enum addr_family family, uint16_t port,
	const struct port_owner *before, struct port_owner *out)
{
	int status = port_owner_find(protocol, family, port, out);

	if (status != 0 || !out->listens || out->pid != 0 || before == NULL || !before->listens)
		return status;
	out->pid = before->pid;
	memcpy(out->name, before->name, sizeof(out->name));
	return status;
}

bool port_owner_takes(const struct port_owner *owner, const struct addr *local, bool bound)
{
	for (size_t i = 0; i < owner->count; i++) {
		const struct addr *at = i < PORT_OWNER_ADDRESS_MAX ? &owner->at[i] : NULL;

		if (at == NULL || addr_equal_ip(at, local))
			return true;
		if (addr_classify(at) == ADDR_CLASS_UNSPECIFIED &&
			(at->family == local->family || (at->family == ADDR_IPV6 && !bound)))
			return true;
	}
	return false;
}

const char *port_owner_describe_holder(
	const struct port_owner *owner, char out[PORT_OWNER_HOLDER_SIZE])
{
	out[0] = '\0';
	if (owner->listens && owner->pid == 0)
		snprintf(out, PORT_OWNER_HOLDER_SIZE, "another process holds it; ");
	else if (owner->listens)
		snprintf(out, PORT_OWNER_HOLDER_SIZE, "%s (pid %ld) holds it; ", owner->name,
			(long)owner->pid);
	return out;
}

const char *port_owner_describe(const struct port_owner *owner, char *out, size_t size)
{
	size_t count =
		owner->count < PORT_OWNER_ADDRESS_MAX ? owner->count : PORT_OWNER_ADDRESS_MAX;
	int used = snprintf(out, size, "%s listens on",
		owner->name[0] != '\0' ? owner->name : "another process");

	for (size_t i = 0; i < count && used >= 0 && (size_t)used < size; i++) {
		char ip[ADDR_IP_TEXT_SIZE];
		used += snprintf(out + used, size - (size_t)used, "%s %s%s",
			i == 0           ? ""
			: i + 1 == count ? " and"
					 : ",",
			addr_format_ip(&owner->at[i], ip), i + 1 == count ? " only" : "");
	}
	return out;
}

#define TABLE_ADDRESS_SIZE (32 + 1 + 4 + 1)

/* As /proc/net/tcp and tcp6 print it: words of 32 bits as this machine reads them, then the port.
 */
static void format_table_address(const struct addr *addr, bool mapped, char out[TABLE_ADDRESS_SIZE])
{
	uint32_t words[4] = {0};
	size_t size = addr_ip_size(addr);

	memcpy(words, addr->ip, size);
	if (mapped)
		snprintf(out, TABLE_ADDRESS_SIZE, "0000000000000000%08X%08X:%04X", htonl(0xffff),
			words[0], addr->port);
	else if (size == 4)
		snprintf(out, TABLE_ADDRESS_SIZE, "%08X:%04X", words[0], addr->port);
	else
		snprintf(out, TABLE_ADDRESS_SIZE, "%08X%08X%08X%08X:%04X", words[0], words[1],
			words[2], words[3], addr->port);
}

static bool table_has_connection(
	const char *path, const struct addr *local, const struct addr *remote, bool mapped)
{
	char wanted[2 * TABLE_ADDRESS_SIZE + 2];
	char local_text[TABLE_ADDRESS_SIZE];
	char remote_text[TABLE_ADDRESS_SIZE];
	char line[512];
	bool found = false;
	FILE *table = fopen(path, "re");

	if (table == NULL)
		return false;
	format_table_address(local, mapped, local_text);
	format_table_address(remote, mapped, remote_text);
	snprintf(wanted, sizeof(wanted), " %s %s ", local_text, remote_text);
	while (!found && fgets(line, sizeof(line), table) != NULL) {
		const char *at = strstr(line, wanted);
		found = at != NULL && strncmp(at + strlen(wanted), TCP_TIME_WAIT_TEXT, 2) != 0;
	}
	fclose(table);
	return found;
}

bool port_owner_has_connection(const struct addr *local, const struct addr *remote)
{
	if (local->family == ADDR_IPV6)
		return table_has_connection("/proc/net/tcp6", local, remote, false);
	return table_has_connection("/proc/net/tcp", local, remote, false) ||
	       table_has_connection("/proc/net/tcp6", local, remote, true);
}

static bool find_in_table(const char *path, const struct addr *end, struct addr *out)
{
	FILE *table = fopen(path, "re");
	struct table_row row;
	char line[512];
	bool found = false;

	if (table == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), table) != NULL) {
		/* Other rows may be of an ended connection from the same port. */
		if (read_row(line, &row) != 0 ||
			(row.state != TCP_STATE_ESTABLISHED && row.state != TCP_STATE_NEW))
			continue;
		addr_unmap(&row.local);
		addr_unmap(&row.remote);
		found = addr_equal(&row.remote, end);
	}
	fclose(table);
	if (found)
		*out = row.local;
	return found;
}

bool port_owner_find_other_end(const struct addr *end, struct addr *out)
{
	return (end->family == ADDR_IPV4 && find_in_table("/proc/net/tcp", end, out)) ||
	       find_in_table("/proc/net/tcp6", end, out);
}
