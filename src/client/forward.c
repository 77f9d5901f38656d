#include "natpunch/client/forward.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/hint_command.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/route.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define LEASE_SHORT   600  /* seconds: a cron job that comes every ten minutes is late */
#define LOOK_UP_MS    1000 /* for one of several reflectors */
#define DURATION_SIZE 40

/* ---- whom to ask -------------------------------------------------------------------------- */

/*
 * An address of the reflectors, of the request's family. Returns false for none. A name that is not
 * found in time does not take all of it, as the probe looks all of them up at once.
 */
static bool find_remote(
	const struct mapping_race_request *request, uint64_t deadline, struct addr *out)
{
	bool found = false;

	for (size_t i = 0; i < request->reflector_count && !found; i++) {
		uint64_t until = clock_now_ms() + LOOK_UP_MS;
		struct error ignored;
		struct resolve names;

		if (until > deadline || i + 1 == request->reflector_count)
			until = deadline;
		resolve_start_reflector(
			&names, request->resolver, &request->reflectors[i], request->family);
		found = resolve_wait(&names, request->reflectors[i].host, until, &ignored) == 0;
		if (found)
			*out = resolve_target(&names, 0);
		resolve_end(&names);
	}
	return found;
}

/* The address that the probe will send from. Returns 0, or -1 and errno. */
static int find_source(
	const struct mapping_race_request *request, const struct addr *remote, struct addr *out)
{
	int result = -1;
	int saved;
	int fd;

	if (request->local.family == remote->family) {
		*out = request->local;
		return 0;
	}
	fd = socket_open((enum addr_family)remote->family, SOCK_DGRAM, 0);
	if (fd < 0)
		return -1;
	if (remote->family == ADDR_IPV6)
		socket_prefer_public_source(fd);
	if ((request->interface == NULL || socket_bind_interface(fd, request->interface) == 0) &&
		socket_connect(fd, remote) == 0)
		result = socket_local(fd, out);
	saved = errno;
	close(fd);
	errno = saved;
	return result;
}

/* Can a router in front of this address have anything to forward or to open? */
static bool is_behind_router(const struct addr *source)
{
	enum addr_class class = addr_classify(source);

	if (source->family == ADDR_IPV6)
		return class == ADDR_CLASS_PUBLIC || class == ADDR_CLASS_PRIVATE;
	return class == ADDR_CLASS_PRIVATE || class == ADDR_CLASS_SHARED;
}

/* The gateway that leads there, or the router that was named. Returns false for none. */
static bool find_router(const struct mapping_race_request *request,
	const struct forward_options *options, const struct addr *remote, const struct addr *source,
	struct addr *out)
{
	struct route route;

	if (route_find(remote, source, request->interface, &route) != 0)
		route = (struct route){.interface = 0};
	*out = route.gateway;
	if (options->router.family == ADDR_NONE)
		return out->family != ADDR_NONE;
	*out = options->router;
	if (addr_classify(out) == ADDR_CLASS_LINK_LOCAL && out->scope == 0)
		out->scope = route.interface;
	return true;
}

bool forward_plan(const struct mapping_race_request *request, const struct forward_options *options,
	const struct addr *remote, bool tell, struct router_request *out)
{
	char ip[ADDR_IP_TEXT_SIZE], from[ADDR_IP_TEXT_SIZE];
	uint16_t wish = request->local.port == options->wish_port
				? options->wish[remote->family == ADDR_IPV6]
				: 0;

	*out = (struct router_request){
		.interface = request->interface,
		.secret = &options->secret,
		.protocol = request->protocol,
		.port = request->local.port,
		.wish = wish != 0 ? wish : request->local.port,
		.lease = options->lease,
		.methods = options->methods,
	};
	if (find_source(request, remote, &out->source) != 0)
		return false;
	if (options->router.family != ADDR_NONE && options->router.family != remote->family) {
		if (tell)
			log_note("no router is asked in IPv%u: --router is an address of IPv%u",
				remote->family, options->router.family);
		return false;
	}
	addr_format_ip(&out->source, from);
	if (!is_behind_router(&out->source)) {
		if (tell)
			log_note("no router is asked: %s is a %s address", from,
				addr_class_name(addr_classify(&out->source)));
		return false;
	}
	if (find_router(request, options, remote, &out->source, &out->router))
		return true;
	if (tell)
		log_note("no router is asked: no gateway leads from %s to %s; --router names one",
			from, addr_format_ip(remote, ip));
	return false;
}

/* ---- what it says ------------------------------------------------------------------------- */

static const char *format_duration(uint32_t seconds, char out[DURATION_SIZE])
{
	static const struct {
		uint32_t seconds;
		const char *name;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
	size_t i = 0;

	if (seconds == 0) {
		snprintf(out, DURATION_SIZE, "ever");
		return out;
	}
	while (seconds % units[i].seconds != 0)
		i++;
	snprintf(out, DURATION_SIZE, "%u %s%s", seconds / units[i].seconds, units[i].name,
		seconds == units[i].seconds ? "" : "s");
	return out;
}

static void log_forward(const struct forward *forward, const struct mapping_race_request *request,
	const struct forward_options *options)
{
	const struct router_result *result = &forward->result;
	const char *title = router_method_title(result->method);
	char ip[ADDR_IP_TEXT_SIZE], duration[DURATION_SIZE], command[HINT_COMMAND_SIZE];

	addr_format_ip(&result->router, ip);
	format_duration(result->lease, duration);
	if (result->router.family == ADDR_IPV6)
		log_note("the router %s lets port %u in, by %s, for %s", ip, request->local.port,
			title, duration);
	else
		log_note("the router %s forwards its port %u to port %u here, by %s, for %s", ip,
			result->port, request->local.port, title, duration);
	if (result->lease == 0)
		log_warning("the router %s forwards until it is told not to: %s", ip,
			hint_command_format("probe -F --lease 0", request, command));
	else if (result->lease < LEASE_SHORT && result->lease < options->lease)
		log_warning("the router %s forwards for %s only", ip, duration);
}

static bool is_private_outside(const struct router_result *result)
{
	return result->external.family == ADDR_IPV4 &&
	       addr_classify(&result->external) != ADDR_CLASS_PUBLIC;
}

/* What is handed over is a connection, so a server of UDP has to do that by itself. */
static void hint_at_high_ports(const struct mapping_race_request *request, struct error *error)
{
	char command[HINT_COMMAND_SIZE];

	if (request->protocol == MAPPING_TCP)
		error_hint(error,
			"many routers forward to ports from %u only; one of these leads to port %u "
			"with: %s",
			FORWARD_LOW_PORTS, request->local.port,
			hint_command_format("probe -k -F", request, command));
	else
		error_hint(error,
			"many routers forward to ports from %u only: have the server "
			"listen on one of these as well, and name it with -p",
			FORWARD_LOW_PORTS);
}

static void explain_refusal(const struct router_result *result,
	const struct mapping_race_request *request, struct error *error)
{
	uint16_t port = request->local.port;
	char ip[ADDR_IP_TEXT_SIZE], external[ADDR_IP_TEXT_SIZE];

	addr_format_ip(&result->router, ip);
	if (is_private_outside(result) && !result->forbidden) {
		error_set(error, EXIT_STATUS_UNREACHABLE,
			"the router %s refuses to forward port %u: its own address is %s (%s: %s)",
			ip, port, addr_format_ip(&result->external, external),
			router_method_title(result->method), result->refusal);
		error_hint(error, "there is another NAT beyond the router; miniupnpd forwards "
				  "nevertheless with ext_ip=, set to any public address");
		return;
	}
	error_set(error, EXIT_STATUS_UNREACHABLE,
		"the router %s refuses to forward port %u (%s: %s)", ip, port,
		router_method_title(result->method), result->refusal);
	if (port < FORWARD_LOW_PORTS && result->forbidden)
		hint_at_high_ports(request, error);
}

static void explain_silence(const struct router_result *result, struct error *error)
{
	char ip[ADDR_IP_TEXT_SIZE];
	const char *why = result->heard ? "no answer to the question" : "no answer";

	if (result->problem != 0)
		why = strerror(result->problem);
	error_set(error, EXIT_STATUS_NETWORK, "the router %s cannot be asked to forward: %s",
		addr_format_ip(&result->router, ip), why);
}

void forward_explain_failure(const struct forward *forward,
	const struct mapping_race_request *request, struct error *error)
{
	if (forward->state == ROUTER_REFUSED)
		explain_refusal(&forward->result, request, error);
	else
		explain_silence(&forward->result, error);
}

static void log_outcome(const struct forward *forward, const struct mapping_race_request *request,
	const struct forward_options *options)
{
	struct error error;

	if (forward->state == ROUTER_DONE) {
		log_forward(forward, request, options);
		return;
	}
	forward_explain_failure(forward, request, &error);
	log_warning("%s", error.text);
}

/* ---- asking ------------------------------------------------------------------------------- */

static bool says_the_same(
	const struct forward *before, enum router_state state, const struct router_result *result)
{
	const struct router_result *old = &before->result;

	return before->asked && before->state == state && old->port == result->port &&
	       old->method == result->method && old->result == result->result &&
	       old->problem == result->problem && addr_equal_ip(&old->router, &result->router);
}

void forward_take(struct forward *forward, const struct router *router,
	const struct mapping_race_request *request, const struct forward_options *options)
{
	bool same = says_the_same(forward, router->state, &router->result);

	forward->asked = true;
	forward->state = router->state;
	forward->result = router->result;
	if (same)
		log_detail("the router says the same as before");
	else if (options->lease > 0)
		log_outcome(forward, request, options);
}

void forward_ask(struct forward *const forwards[], const struct mapping_race_request *requests[],
	size_t count, const struct forward_options *options, uint64_t deadline)
{
	struct router routers[2];
	size_t of[2]; /* whose each is */
	size_t asked = 0;

	for (size_t i = 0; i < count; i++) {
		struct router_request question;
		struct addr remote;

		*forwards[i] = (struct forward){.asked = false};
		/* To take back from a router that is named, it is enough to know the way to it. */
		remote = options->router;
		if ((options->lease > 0 || remote.family == ADDR_NONE) &&
			!find_remote(requests[i], deadline, &remote))
			continue; /* the probe says so itself */
		forwards[i]->remote = remote;
		if (!forward_plan(requests[i], options, &remote, true, &question))
			continue;
		of[asked] = i;
		router_start(&routers[asked++], &question, clock_now_ms());
	}
	router_run(routers, asked);
	for (size_t i = 0; i < asked; i++) {
		forward_take(forwards[of[i]], &routers[i], requests[of[i]], options);
		router_end(&routers[i]);
	}
}

bool forward_is_granted(const struct forward *forward)
{
	return forward->asked && forward->state == ROUTER_DONE;
}

bool forward_is_forbidden(const struct forward *forward)
{
	return forward->asked && forward->state == ROUTER_REFUSED && forward->result.forbidden &&
	       forward->result.router.family == ADDR_IPV4;
}

void forward_note(const struct forward *forward, struct mapping *mapping)
{
	const struct router_result *result = &forward->result;

	mapping->router = (struct addr){.family = ADDR_NONE};
	mapping->router_port = 0;
	mapping->lease = 0;
	mapping->router_method[0] = '\0';
	if (!forward_is_granted(forward))
		return;
	mapping->router = result->router;
	mapping->router_port = result->port;
	mapping->lease = result->lease;
	snprintf(mapping->router_method, sizeof(mapping->router_method), "%s",
		router_method_name(result->method));
}

/* ---- why strangers do not get in ----------------------------------------------------------- */

void forward_hint(const struct forward *forward, const struct mapping_race_request *request,
	struct error *error)
{
	char ip[ADDR_IP_TEXT_SIZE];
	struct error why;

	if (!forward->asked || error->status != EXIT_STATUS_UNREACHABLE)
		return;
	if (forward_is_granted(forward)) {
		error_hint(error,
			"the router %s forwards, but a NAT or a firewall beyond it, or on "
			"this machine, keeps strangers out",
			addr_format_ip(&forward->result.router, ip));
		return;
	}
	if (forward->state != ROUTER_REFUSED)
		return;
	explain_refusal(&forward->result, request, &why);
	if (why.hint[0] != '\0')
		error_hint(error, "%s", why.hint);
	else
		error_hint(error, "%s", why.text);
}

/* Did it fail on the way, where the router may be what stops it? */
static bool is_stopped_outside(const struct reachability *reachability)
{
	return reachability->verdict == REACHABILITY_SHUT &&
	       reachability->evidence.outcome == DIALBACK_TIMED_OUT &&
	       reachability->evidence_arrival != ARRIVAL_SEEN;
}

void forward_explain_shut(const struct forward *forward, const struct mapping_race_request *request,
	const struct reachability *reachability, const struct mapping *mapping, struct error *error)
{
	reachability_explain(reachability, mapping, error);
	if (is_stopped_outside(reachability))
		forward_hint(forward, request, error);
}

int forward_taken_back(const struct forward *forward, struct error *error)
{
	char ip[ADDR_IP_TEXT_SIZE];

	if (forward->state == ROUTER_DONE)
		return EXIT_STATUS_DONE;
	if (forward->state == ROUTER_REFUSED) {
		error_set(error, EXIT_STATUS_UNREACHABLE,
			"the router %s refuses to take the forward back (%s: %s)",
			addr_format_ip(&forward->result.router, ip),
			router_method_title(forward->result.method), forward->result.refusal);
		return (int)error->status;
	}
	explain_silence(&forward->result, error);
	return (int)error->status;
}
