/*
 * With several workers, each has a socket of its own for each port, and the kernel distributes
 * clients among them. Such sockets can be bound beside those of another process that shares the
 * port as well, so is_free() tries first whether the port is free.
 */
#include "reflector/listeners.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/port_owner.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "reflector/accept.h"
#include "reflector/udp.h"
#include "reflector/alternate.h"

int listeners_set_error(
	const struct addr *addr, enum mapping_protocol protocol, int cause, struct error *error)
{
	char text[ADDR_TEXT_SIZE];
	char holder[PORT_OWNER_HOLDER_SIZE];
	struct port_owner owner;

	error_set(error, EXIT_STATUS_LOCAL, "cannot listen on %s %s: %s", addr_format(addr, text),
		mapping_protocol_name(protocol), strerror(cause));
	if (cause == EACCES)
		privileges_hint(error, PRIVILEGES_NET_BIND_SERVICE, "");
	if (cause == EADDRNOTAVAIL)
		return error_hint(error, "this machine does not have that address");
	if (cause != EADDRINUSE)
		return -1;
	if (port_owner_find(protocol, (enum addr_family)addr->family, addr->port, &owner) != 0 ||
		!owner.listens)
		owner = (struct port_owner){.listens = true};
	if (owner.pid == getpid())
		return error_hint(error, "port %u was asked for twice", addr->port);
	return error_hint(error, "%sstop it, or choose another port with -l",
		port_owner_describe_holder(&owner, holder));
}

static bool family_is_missing(const struct reflector_listen *listen)
{
	return listen->optional && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
}

/* A socket that does not share the port finds out whether another process holds it. */
static bool is_free(const struct reflector_listen *listen)
{
	int listener = accept_listen(&listen->addr, false);
	int datagram = 0;

	if (listener >= 0 && listen->service == REFLECTOR_FULL) {
		datagram = udp_listen(&listen->addr, false);
		if (datagram >= 0)
			close(datagram);
	}
	if (listener >= 0)
		close(listener);
	return (listener >= 0 && datagram >= 0) || errno != EADDRINUSE;
}

/* Leaves what it opened in *port, also on failure. A missing family leaves nothing. */
static int open_port(struct worker_listener *port, const struct reflector_listen *listen,
	bool shared, struct error *error)
{
	char text[ADDR_TEXT_SIZE];

	port->listen = *listen;
	port->datagram = -1;
	port->listener = -1;
	port->batch = ACCEPT_BATCH_START;
	if (shared && !is_free(listen))
		shared = false; /* so that the error says who holds it */
	port->listener = accept_listen(&listen->addr, shared);
	if (port->listener < 0 && family_is_missing(listen)) {
		log_detail("not listening on %s: %s", addr_format(&listen->addr, text),
			strerror(errno));
		return 0;
	}
	if (port->listener < 0)
		return listen->spare
			       ? 0
			       : listeners_set_error(&listen->addr, MAPPING_TCP, errno, error);
	if (listen->service == REFLECTOR_TEXT)
		return 0;
	port->datagram = udp_listen(&listen->addr, shared);
	if (port->datagram >= 0)
		return 0;
	if (!listen->spare)
		return listeners_set_error(&listen->addr, MAPPING_UDP, errno, error);
	close(port->listener);
	port->listener = -1;
	return 0;
}

static int watch_port(struct worker *worker, uint32_t slot, struct error *error)
{
	const struct worker_listener *port = &worker->ports[slot];

	if (port->listener >= 0 && loop_add(&worker->loop, port->listener, EPOLLIN,
					   worker_tag(WORKER_TAG_LISTENER, slot)) != 0)
		return worker_set_error(error, "watch a socket");
	if (port->datagram >= 0 && loop_add(&worker->loop, port->datagram, EPOLLIN,
					   worker_tag(WORKER_TAG_DATAGRAM, slot)) != 0)
		return worker_set_error(error, "watch a socket");
	return 0;
}

static int open_list(struct worker *worker, const struct reflector_listen *list, size_t count,
	struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t slot = worker->port_count++;

		worker->listens[slot] = list[i].addr;
		if (open_port(&worker->ports[slot], &list[i], worker->shared, error) != 0 ||
			watch_port(worker, slot, error) != 0)
			return -1;
	}
	return 0;
}

/* Opens what else the second address of a family takes, and ties the sockets to it. */
static int open_alternate(struct worker *worker, const struct reflector_config *config,
	size_t family, struct error *error)
{
	struct alternate *alternate = &worker->alternates[family];
	struct reflector_listen extra[ALTERNATE_EXTRA];
	int count;

	if (config->alternates[family].family == ADDR_NONE)
		return 0;
	count = alternate_plan(alternate, config, family, extra, error);
	if (count < 0 || open_list(worker, extra, (size_t)count, error) != 0)
		return -1;
	for (uint32_t i = 0; i < worker->port_count; i++)
		if (worker->ports[i].datagram >= 0)
			alternate_adopt(alternate, &worker->ports[i].listen.addr,
				worker->ports[i].datagram);
	worker->tcp.alternates = worker->alternates;
	return 0;
}

static void describe_datagrams(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->port_count; i++) {
		struct worker_listener *port = &worker->ports[i];
		const struct alternate *alternate =
			&worker->alternates[port->listen.addr.family == ADDR_IPV6];

		port->served.fd = port->datagram;
		port->served.bound = port->listen.addr;
		port->served.alternates = alternate->main.family != ADDR_NONE ? alternate : NULL;
		port->served.next = &worker->ports[(i + 1) % worker->port_count].served;
	}
}

int listeners_open(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	bool any = false;

	if (open_list(worker, config->listen, config->listen_count, error) != 0)
		return -1;
	for (uint32_t i = 0; i < worker->port_count; i++)
		any = any || worker->ports[i].listener >= 0;
	if (!any)
		return error_set(error, EXIT_STATUS_LOCAL, "this kernel has neither IPv4 nor IPv6");
	for (size_t family = 0; family < WORKER_FAMILIES; family++)
		if (open_alternate(worker, config, family, error) != 0)
			return -1;
	describe_datagrams(worker);
	return 0;
}

/* The ports of the first worker once more, as far as it has them. */
int listeners_share(struct worker *other, const struct worker *first, struct error *error)
{
	for (uint32_t i = 0; i < first->port_count; i++) {
		const struct worker_listener *its = &first->ports[i];
		struct worker_listener *port = &other->ports[i];

		other->port_count++;
		*port = (struct worker_listener){.listen = its->listen,
			.datagram = -1,
			.listener = -1,
			.batch = ACCEPT_BATCH_START};
		if (its->listener >= 0)
			port->listener = accept_listen(&its->listen.addr, true);
		if (its->listener >= 0 && port->listener < 0)
			return listeners_set_error(&its->listen.addr, MAPPING_TCP, errno, error);
		if (its->datagram >= 0)
			port->datagram = udp_listen(&its->listen.addr, true);
		if (its->datagram >= 0 && port->datagram < 0)
			return listeners_set_error(&its->listen.addr, MAPPING_UDP, errno, error);
		port->served = its->served;
		port->served.fd = port->datagram;
		port->served.queue = &other->datagram_queue;
		port->served.number = i;
		if (watch_port(other, i, error) != 0)
			return -1;
	}
	return 0;
}

void listeners_log(const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->port_count; i++) {
		const struct worker_listener *port = &worker->ports[i];
		char text[ADDR_TEXT_SIZE];
		if (port->listener >= 0 && port->listen.spare)
			log_detail("listening on %s, too, udp tcp",
				addr_format(&port->listen.addr, text));
		else if (port->listener >= 0)
			log_note("listening on %s %s", addr_format(&port->listen.addr, text),
				port->datagram >= 0 ? "udp tcp" : "text");
	}
	for (size_t i = 0; i < WORKER_FAMILIES; i++) {
		const struct alternate *alternate = &worker->alternates[i];
		char main_text[ADDR_TEXT_SIZE];
		char other_text[ADDR_TEXT_SIZE];
		if (alternate->main.family != ADDR_NONE)
			log_note("addresses for RFC 5780: %s and %s",
				addr_format(&alternate->main, main_text),
				addr_format(&alternate->alternate, other_text));
	}
}
