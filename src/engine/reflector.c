/*
 * The loop of `natpunch reflect`. Seven kinds of descriptors are watched, told apart by their tag:
 * the signals, the UDP sockets, the TCP listeners, the connections, which belong to
 * reflector_stream.c, the raw sockets, the calls to clients, which belong to reflector_dial.c, and
 * the connections that are passed on, which belong to reflector_relay.c. Nothing that comes from
 * the network can end the process.
 *
 * When a listener cannot accept for want of descriptors or memory, all of them are left alone for
 * a moment: epoll would report them again and again, and the connections that are there, whose
 * ends free what is wanting, would be served late.
 */
#include "natpunch/reflector.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/binding.h"
#include "natpunch/clock.h"
#include "natpunch/descriptors.h"
#include "natpunch/holder.h"
#include "natpunch/log.h"
#include "natpunch/loop.h"
#include "natpunch/notify.h"
#include "natpunch/reflector_accept.h"
#include "natpunch/reflector_datagram.h"
#include "natpunch/reflector_dial.h"
#include "natpunch/reflector_names.h"
#include "natpunch/reflector_places.h"
#include "natpunch/reflector_raw.h"
#include "natpunch/reflector_stream.h"
#include "natpunch/signals.h"

#define ACCEPT_BATCH      64  /* newcomers of one listener before the others have their turn */
#define STARVED_PAUSE_MS  100 /* how long the listeners are left alone */
#define DESCRIPTORS_OTHER 18  /* the loop, the signals, the spare, the standard three, raw, some */
#define FAMILIES          2   /* IPv4, IPv6: index of what each has its own of */
#define PORT_MAX          (REFLECTOR_LISTEN_MAX + FAMILIES * REFLECTOR_PLACES_EXTRA)
#define DESCRIPTORS_DIAL  (REFLECTOR_DIAL_MAX * DIALBACK_RESULT_MAX)

enum tag_kind {
	TAG_SIGNAL,
	TAG_DATAGRAM,
	TAG_LISTENER,
	TAG_CONNECTION,
	TAG_RAW,
	TAG_RELAY,
	TAG_DIAL,
};

/* What one address is served by. */
struct port {
	struct reflector_listen listen;
	struct reflector_datagram_port served;
	int datagram; /* -1 for REFLECTOR_TEXT, and where the family is missing */
	int listener;
};

struct reflector {
	struct loop loop;
	int signals;
	struct port ports[PORT_MAX];
	struct addr listens[PORT_MAX]; /* their addresses */
	struct reflector_places places[FAMILIES];
	uint32_t port_count;
	struct reflector_accept acceptor;
	uint64_t resume; /* when the listeners are looked at again, or DEADLINE_NONE */
	struct reflector_datagram *datagrams;
	struct binding_server datagram_server;
	struct reflector_listen raw_listen[PORT_MAX];
	struct reflector_raw *raw; /* NULL: this machine cannot */
	struct reflector_stream stream;
	struct reflector_names names;
	struct reflector_relay relay;
	struct reflector_dial dial;
	struct notify notify; /* the service manager, while the loop runs */
	uint64_t watchdog;    /* when it wants to hear of us again, or DEADLINE_NONE */
};

static int fail_to_listen(
	const struct addr *addr, enum mapping_protocol protocol, int cause, struct error *error)
{
	char text[ADDR_TEXT_SIZE];
	struct holder holder;

	error_set(error, EXIT_STATUS_LOCAL, "cannot listen on %s %s: %s", addr_format(addr, text),
		mapping_protocol_name(protocol), strerror(cause));
	if (cause == EACCES)
		return error_hint(error, "ports below 1024 need root, or: setcap "
					 "cap_net_bind_service+ep natpunch");
	if (cause == EADDRNOTAVAIL)
		return error_hint(error, "this machine does not have that address");
	if (cause != EADDRINUSE)
		return -1;
	if (holder_find(protocol, (enum addr_family)addr->family, addr->port, &holder) != 0 ||
		!holder.listens || holder.pid == 0)
		return error_hint(error,
			"another program holds port %u; stop it, or choose "
			"another port with -l",
			addr->port);
	if (holder.pid == getpid())
		return error_hint(error, "port %u was asked for twice", addr->port);
	return error_hint(error, "%s (pid %d) holds it; stop it, or choose another port with -l",
		holder.name, (int)holder.pid);
}

static int fail_at_start(struct error *error, const char *what)
{
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
}

static struct loop_tag make_tag(enum tag_kind kind, uint32_t slot)
{
	return (struct loop_tag){.kind = (uint8_t)kind, .slot = slot};
}

static bool family_is_missing(const struct reflector_listen *listen)
{
	return listen->optional && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
}

/* Leaves what it opened in *port, also on failure. A missing family leaves nothing. */
static int open_port(struct port *port, const struct reflector_listen *listen, struct error *error)
{
	char text[ADDR_TEXT_SIZE];

	port->listen = *listen;
	port->datagram = -1;
	port->listener = reflector_accept_listen(&listen->addr);
	if (port->listener < 0 && family_is_missing(listen)) {
		log_detail("not listening on %s: %s", addr_format(&listen->addr, text),
			strerror(errno));
		return 0;
	}
	if (port->listener < 0)
		return fail_to_listen(&listen->addr, MAPPING_TCP, errno, error);
	if (listen->service == REFLECTOR_TEXT)
		return 0;
	port->datagram = reflector_datagram_listen(&listen->addr);
	if (port->datagram < 0)
		return fail_to_listen(&listen->addr, MAPPING_UDP, errno, error);
	return 0;
}

static int watch_port(struct reflector *reflector, uint32_t slot, struct error *error)
{
	const struct port *port = &reflector->ports[slot];

	if (port->listener >= 0 && loop_add(&reflector->loop, port->listener, EPOLLIN,
					   make_tag(TAG_LISTENER, slot)) != 0)
		return fail_at_start(error, "watch a socket");
	if (port->datagram >= 0 && loop_add(&reflector->loop, port->datagram, EPOLLIN,
					   make_tag(TAG_DATAGRAM, slot)) != 0)
		return fail_at_start(error, "watch a socket");
	return 0;
}

static int open_list(struct reflector *reflector, const struct reflector_listen *list, size_t count,
	struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t slot = reflector->port_count++;

		reflector->listens[slot] = list[i].addr;
		if (open_port(&reflector->ports[slot], &list[i], error) != 0 ||
			watch_port(reflector, slot, error) != 0)
			return -1;
	}
	return 0;
}

/* Opens what else the alternate address of a family takes, and ties the sockets to their places. */
static int open_places(struct reflector *reflector, const struct reflector_config *config,
	size_t family, struct error *error)
{
	struct reflector_places *places = &reflector->places[family];
	struct reflector_listen extra[REFLECTOR_PLACES_EXTRA];
	int count;

	if (config->alternates[family].family == ADDR_NONE)
		return 0;
	count = reflector_places_plan(places, config, family, extra, error);
	if (count < 0 || open_list(reflector, extra, (size_t)count, error) != 0)
		return -1;
	for (uint32_t i = 0; i < reflector->port_count; i++)
		if (reflector->ports[i].datagram >= 0)
			reflector_places_adopt(places, &reflector->ports[i].listen.addr,
				reflector->ports[i].datagram);
	reflector->stream.places = reflector->places;
	return 0;
}

static void describe_datagrams(struct reflector *reflector)
{
	for (uint32_t i = 0; i < reflector->port_count; i++) {
		struct port *port = &reflector->ports[i];
		const struct reflector_places *places =
			&reflector->places[port->listen.addr.family == ADDR_IPV6];

		port->served.fd = port->datagram;
		port->served.bound = port->listen.addr;
		port->served.places = places->main.family != ADDR_NONE ? places : NULL;
	}
}

static int open_ports(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	bool any = false;

	if (open_list(reflector, config->listen, config->listen_count, error) != 0)
		return -1;
	for (uint32_t i = 0; i < reflector->port_count; i++)
		any = any || reflector->ports[i].listener >= 0;
	if (!any)
		return error_set(error, EXIT_STATUS_LOCAL, "this kernel has neither IPv4 nor IPv6");
	for (size_t family = 0; family < FAMILIES; family++)
		if (open_places(reflector, config, family, error) != 0)
			return -1;
	describe_datagrams(reflector);
	return 0;
}

static void deliver(
	void *context, struct loop_tag asker, const void *data, size_t size, uint64_t now)
{
	reflector_stream_deliver(context, asker, data, size, now);
}

/* After the ports: a dialler knows what it must not dial. */
static void open_dial(struct reflector *reflector, const struct reflector_config *config)
{
	const struct reflector_dial_config dial = {
		.off = config->no_dial,
		.places = reflector->places,
		.listens = reflector->listens,
		.listen_count = reflector->port_count,
	};

	reflector_dial_open(
		&reflector->dial, &dial, &reflector->loop, TAG_DIAL, deliver, &reflector->stream);
	reflector->stream.dial = &reflector->dial;
}

/* All but the connections. */
static uint64_t count_other_descriptors(const struct reflector_config *config)
{
	uint64_t listens = config->listen_count;

	for (size_t i = 0; i < FAMILIES; i++)
		if (config->alternates[i].family != ADDR_NONE)
			listens += REFLECTOR_PLACES_EXTRA;
	return DESCRIPTORS_OTHER + 2 * listens + (config->no_dial ? 0 : DESCRIPTORS_DIAL) +
	       (config->relay ? config->relay_limits.all * REFLECTOR_RELAY_DESCRIPTORS : 0);
}

/* Does without when it cannot: no error. */
static int open_raw(struct reflector *reflector, struct error *error)
{
	const char *why;

	for (uint32_t i = 0; i < reflector->port_count; i++)
		reflector->raw_listen[i] = reflector->ports[i].listen;
	reflector->raw = reflector_raw_open(reflector->raw_listen, reflector->port_count, &why);
	if (reflector->raw == NULL) {
		log_detail("not listening for raw tcp: %s", why);
		return 0;
	}
	for (uint32_t i = 0; i < REFLECTOR_RAW_SOCKETS; i++)
		if (reflector_raw_fd(reflector->raw, i) >= 0 &&
			loop_add(&reflector->loop, reflector_raw_fd(reflector->raw, i), EPOLLIN,
				make_tag(TAG_RAW, i)) != 0)
			return fail_at_start(error, "watch a socket");
	return 0;
}

static int reserve_descriptors(
	const struct reflector_config *config, uint32_t *connections, struct error *error)
{
	uint64_t other = count_other_descriptors(config);
	uint64_t wanted = config->connections + other;
	uint64_t limit = descriptors_reserve(wanted);

	*connections = config->connections;
	if (limit >= wanted)
		return 0;
	if (config->connections_fixed || limit <= other) {
		error_set(error, EXIT_STATUS_LOCAL,
			"%u connections need %llu descriptors, the limit is %llu",
			config->connections, (unsigned long long)wanted, (unsigned long long)limit);
		return error_hint(error, "raise it with ulimit -n or LimitNOFILE=, or lower -C");
	}
	*connections = (uint32_t)(limit - other);
	log_warning("only %u connections at once: the limit of descriptors is %llu", *connections,
		(unsigned long long)limit);
	return 0;
}

static int open_tables(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	uint32_t connections;

	if (reserve_descriptors(config, &connections, error) != 0)
		return -1;
	reflector->datagrams = reflector_datagram_open();
	if (reflector->datagrams == NULL ||
		reflector_stream_open(&reflector->stream, &reflector->loop, TAG_CONNECTION,
			connections, &config->times, &reflector->names) != 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "no memory for %u connections", connections);
	reflector->datagram_server = reflector->stream.server;
	reflector->datagram_server.stream = false;
	return 0;
}

static int open_names(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	if (reflector_names_open(&reflector->names, config->keys_path, config->state_path,
		    clock_now_ms(), error) != 0)
		return -1;
	if (!config->relay)
		return 0;
	if (reflector_relay_open(
		    &reflector->relay, &reflector->loop, TAG_RELAY, &config->relay_limits) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for relaying");
	reflector->names.relay = &reflector->relay;
	return 0;
}

static int open_loop(struct reflector *reflector, struct error *error)
{
	if (loop_open(&reflector->loop) != 0)
		return fail_at_start(error, "make an event loop");
	reflector->signals = signals_open();
	if (reflector->signals < 0 || loop_add(&reflector->loop, reflector->signals, EPOLLIN,
					      make_tag(TAG_SIGNAL, 0)) != 0)
		return fail_at_start(error, "watch for signals");
	if (reflector_accept_open(&reflector->acceptor) != 0)
		return fail_at_start(error, "open a spare descriptor");
	return 0;
}

static void tell_ports(const struct reflector *reflector)
{
	for (uint32_t i = 0; i < reflector->port_count; i++) {
		const struct port *port = &reflector->ports[i];
		char text[ADDR_TEXT_SIZE];
		if (port->listener >= 0)
			log_note("listening on %s %s", addr_format(&port->listen.addr, text),
				port->datagram >= 0 ? "udp tcp" : "text");
	}
	for (size_t i = 0; i < FAMILIES; i++) {
		const struct reflector_places *places = &reflector->places[i];
		char main_text[ADDR_TEXT_SIZE];
		char other_text[ADDR_TEXT_SIZE];
		if (places->main.family != ADDR_NONE)
			log_note("addresses for RFC 5780: %s and %s",
				addr_format(&places->main, main_text),
				addr_format(&places->alternate, other_text));
	}
	if (reflector->raw != NULL)
		log_note("listening for raw tcp");
	if (reflector->names.relay != NULL)
		log_note("relaying for names that cannot be had directly");
	log_note("ready");
}

struct reflector *reflector_open(const struct reflector_config *config, struct error *error)
{
	struct reflector *reflector = calloc(1, sizeof(*reflector));

	if (reflector == NULL) {
		error_set(error, EXIT_STATUS_LOCAL, "no memory");
		return NULL;
	}
	reflector->loop.fd = -1;
	reflector->signals = -1;
	reflector->acceptor.spare = -1;
	reflector->resume = DEADLINE_NONE;
	if (open_loop(reflector, error) == 0 && open_tables(reflector, config, error) == 0 &&
		open_ports(reflector, config, error) == 0 && open_raw(reflector, error) == 0 &&
		open_names(reflector, config, error) == 0) {
		open_dial(reflector, config);
		tell_ports(reflector);
		return reflector;
	}
	reflector_close(reflector);
	return NULL;
}

void reflector_close(struct reflector *reflector)
{
	if (reflector == NULL)
		return;
	for (uint32_t i = 0; i < reflector->port_count; i++) {
		if (reflector->ports[i].datagram >= 0)
			close(reflector->ports[i].datagram);
		if (reflector->ports[i].listener >= 0)
			close(reflector->ports[i].listener);
	}
	reflector_relay_close(&reflector->relay);
	reflector_dial_close(&reflector->dial);
	reflector_names_close(&reflector->names, clock_now_ms());
	reflector_stream_close(&reflector->stream);
	reflector_datagram_close(reflector->datagrams);
	reflector_raw_close(reflector->raw);
	reflector_accept_close(&reflector->acceptor);
	if (reflector->signals >= 0)
		close(reflector->signals);
	loop_close(&reflector->loop);
	free(reflector);
}

static void watch_listeners(struct reflector *reflector, uint32_t events)
{
	for (uint32_t i = 0; i < reflector->port_count; i++)
		if (reflector->ports[i].listener >= 0)
			loop_change(&reflector->loop, reflector->ports[i].listener, events,
				make_tag(TAG_LISTENER, i));
}

static void pause_listeners(struct reflector *reflector, uint64_t now)
{
	log_detail("no descriptor or memory for new connections");
	watch_listeners(reflector, 0);
	reflector->resume = now + STARVED_PAUSE_MS;
}

static void resume_listeners(struct reflector *reflector)
{
	watch_listeners(reflector, EPOLLIN);
	reflector->resume = DEADLINE_NONE;
}

static void accept_newcomers(struct reflector *reflector, const struct port *port, uint64_t now)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct addr peer;
		int fd = reflector_accept_next(&reflector->acceptor, port->listener, &peer);

		if (fd == ACCEPT_NONE)
			return;
		if (fd == ACCEPT_STARVED) {
			pause_listeners(reflector, now);
			return;
		}
		if (fd == ACCEPT_DROPPED)
			continue;
		if (port->listen.service == REFLECTOR_TEXT)
			reflector_accept_answer_text(fd, &peer);
		else
			reflector_stream_adopt(&reflector->stream, fd, &peer, now);
	}
}

/* Returns true when it is time to go. SIGUSR1 means nothing here. */
static bool take_signals(struct reflector *reflector, uint64_t now)
{
	int number;

	while ((number = signals_take(reflector->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			return true;
		if (number == SIGHUP)
			reflector_names_reload(&reflector->names);
		if (number == SIGCHLD)
			reflector_names_reap(&reflector->names, now);
	}
	return false;
}

/* Returns true when it is time to go. */
static bool dispatch(struct reflector *reflector, const struct loop_event *event, uint64_t now)
{
	switch ((enum tag_kind)event->tag.kind) {
	case TAG_SIGNAL:
		return take_signals(reflector, now);
	case TAG_DATAGRAM:
		reflector_datagram_serve(reflector->datagrams,
			&reflector->ports[event->tag.slot].served, &reflector->datagram_server,
			&reflector->names, now);
		break;
	case TAG_LISTENER:
		accept_newcomers(reflector, &reflector->ports[event->tag.slot], now);
		break;
	case TAG_CONNECTION:
		reflector_stream_event(&reflector->stream, event->tag, now);
		break;
	case TAG_RAW:
		reflector_raw_serve(reflector->raw, event->tag.slot);
		break;
	case TAG_RELAY:
		reflector_relay_event(&reflector->relay, event->tag, event->events, now);
		break;
	case TAG_DIAL:
		reflector_dial_event(&reflector->dial, event->tag, now);
		break;
	}
	return false;
}

static void feed_watchdog(struct reflector *reflector, uint64_t now)
{
	if (now < reflector->watchdog)
		return;
	notify_watchdog(&reflector->notify);
	reflector->watchdog = now + reflector->notify.watchdog_ms;
}

static uint64_t next_deadline(struct reflector *reflector, uint64_t now)
{
	uint64_t due = reflector_stream_next(&reflector->stream);
	uint64_t dial = reflector_dial_next(&reflector->dial);
	uint64_t names_due = reflector_names_next(&reflector->names, now);
	uint64_t relay_due = reflector_relay_next(&reflector->relay);

	if (dial < due)
		due = dial;
	if (reflector->resume < due)
		due = reflector->resume;
	if (names_due < due)
		due = names_due;
	if (relay_due < due)
		due = relay_due;
	return reflector->watchdog < due ? reflector->watchdog : due;
}

static int run_loop(struct reflector *reflector, struct error *error)
{
	struct loop_event events[LOOP_BATCH];
	uint64_t now = clock_now_ms();

	for (;;) {
		uint64_t due = next_deadline(reflector, now);
		int count;

		count = loop_wait(&reflector->loop, events, loop_timeout(now, due));
		if (count < 0)
			return error_set(
				error, EXIT_STATUS_BUG, "cannot wait: %s", strerror(errno));
		now = clock_now_ms();
		for (int i = 0; i < count; i++)
			if (dispatch(reflector, &events[i], now))
				return 0;
		reflector_stream_expire(&reflector->stream, now);
		reflector_dial_expire(&reflector->dial, now);
		reflector_names_expire(&reflector->names, now);
		reflector_relay_expire(&reflector->relay, now);
		if (now >= reflector->resume)
			resume_listeners(reflector);
		feed_watchdog(reflector, now);
	}
}

int reflector_run(struct reflector *reflector, struct error *error)
{
	int result;

	notify_open(&reflector->notify);
	reflector->watchdog = reflector->notify.watchdog_ms > 0 ? 0 : DEADLINE_NONE;
	notify_ready(&reflector->notify);
	result = run_loop(reflector, error);
	notify_stopping(&reflector->notify);
	notify_close(&reflector->notify);
	return result;
}
