/*
 * port_owner.h - finds the program that listens on a local port: from the kernel, never from a
 * configuration file.
 */
#ifndef NATPUNCH_OS_PORT_OWNER_H
#define NATPUNCH_OS_PORT_OWNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/mapping.h"
#include "natpunch/os/sandbox.h"

extern const struct sandbox_call holder_calls[]; /* beside file_read_calls */

#define PORT_OWNER_ADDRESS_MAX 8

struct port_owner {
	bool listens;  /* somebody holds the port: a TCP listener, or a bound UDP socket */
	pid_t pid;     /* 0 where /proc does not show it to us */
	char name[32]; /* its command, escaped, or "" */
	size_t count;  /* of sockets that hold the port, in any process */
	struct addr at[PORT_OWNER_ADDRESS_MAX]; /* the addresses of the first ones */
	pid_t keeper;  /* of a natpunch probe -k with a TCP connection from the port, or 0 */
	char unit[64]; /* the service that it is of, escaped, or "" */
};

/*
 * Looks the port up in /proc/net/{tcp,tcp6,udp,udp6} of this network namespace and the socket's
 * owner in /proc/PID/fd. `family` ADDR_NONE looks at both; an IPv4 port counts as held by an IPv6
 * wildcard socket as well. Returns 0, or -1 when /proc cannot be read.
 */
int port_owner_find(enum mapping_protocol protocol, enum addr_family family, uint16_t port,
	struct port_owner *out);

/*
 * Finds the keeper, with its unit: another process of the same name as this one, with -k among its
 * options and a connection to one of these remote ports. Where it may not be looked into, there is
 * none.
 */
void port_owner_find_keeper(
	uint16_t port, const uint16_t *remote, size_t count, struct port_owner *out);

/*
 * port_owner_find() for a confined process, which can no longer look into others: the process is
 * taken from what an earlier call found, or NULL.
 */
int port_owner_find_again(enum mapping_protocol protocol, enum addr_family family, uint16_t port,
	const struct port_owner *before, struct port_owner *out);

/*
 * Does one of these sockets get what is sent to `local`? A socket bound to all addresses of IPv6
 * may take IPv4 as well (IPV6_V6ONLY), which the tables do not show; if the port could be bound to
 * `local` beside it (`bound`), it does not.
 */
bool port_owner_takes(const struct port_owner *owner, const struct addr *local, bool bound);

/*
 * Where a client on this machine reaches the server of a TCP port, in the order to try: the address
 * `at` itself, when a server listens on it; the loopback of a family, when one listens on all its
 * addresses, IPv4 first; other addresses. `at` may be ADDR_NONE. Without /proc both loopbacks are
 * to be tried. Returns how many; 0: nothing listens.
 */
#define PORT_OWNER_SERVER_MAX (PORT_OWNER_ADDRESS_MAX + 2)
size_t port_owner_find_server(
	uint16_t port, const struct addr *at, struct addr out[PORT_OWNER_SERVER_MAX]);

/* Who holds the port, as the beginning of a hint: "sshd (pid 12) holds it; ", or "". Returns out.
 */
#define PORT_OWNER_HOLDER_SIZE 96
const char *port_owner_describe_holder(
	const struct port_owner *owner, char out[PORT_OWNER_HOLDER_SIZE]);

/* "sshd listens on 127.0.0.1 only", or on both of two, or on each of more. Returns out. */
const char *port_owner_describe(const struct port_owner *owner, char *out, size_t size);

/*
 * Is there a TCP connection between these two addresses, with their ports, in this network
 * namespace? Listeners and what is left in TIME_WAIT do not count.
 */
bool port_owner_has_connection(const struct addr *local, const struct addr *remote);

/*
 * The socket of this network namespace that a connection from `end`, an address and port of this
 * machine, has come to: its own address. Returns false when there is none: that end is elsewhere,
 * or has closed already.
 */
bool port_owner_find_other_end(const struct addr *end, struct addr *out);

#endif
