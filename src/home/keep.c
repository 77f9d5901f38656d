/*
 * The loop that serves all of src/home: the upkeep of one mapping in each family (upkeep.c), hooks,
 * connections that come in, the service manager, the network's changes and the user's signals.
 *
 * Events:
 *   network changed, woken (netwatch.h), SIGHUP: each upkeep checks its mapping.
 *   SIGHUP                 the key is read again; if it has changed, names are registered with the
 *                          new one at once. The reflectors' names are looked up again.
 *   connection accepted    it goes to the hand-over.
 *   datagram to forward    it goes to udp_forward.c.
 *   SIGTERM, SIGINT        the end.
 *   SIGCHLD                hooks and connections that ended are reaped; if the launcher ended,
 *                          keep_run() ends with an error.
 *   a family is hopeless   once every family is, and this machine refuses in one, keep_run() ends
 *                          with an error.
 *   the router refuses to  another local port is taken, once, and left if the router refuses that
 *   forward to the port    one too (high_port.h).
 *
 * How to add a part: an init in start(), entries in enum watch_slot, which wait_for_something()
 * fills and take_events() reads, a time when it is due, and an end in end(); upkeep.h is the model.
 *
 * Timers:
 *   check_due       SETTLE_MS after the network changed, as changes come in bursts.
 *   watchdog_due    systemd expects a sign of life.
 *   hook_due()      a hook takes too long, or is called again.
 *   handover_due()  connections of strangers may have been silent for too long.
 *
 * Invariant: READY is sent once, before the first race.
 */
#include "natpunch/home/keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "home/high_port.h"
#include "home/timers.h"
#include "home/upkeep.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/client/both_families.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/netwatch.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/watch.h"

#define SETTLE_MS   100
#define UPKEEP_MAX  2
#define STATUS_SIZE (UPKEEP_MAX * (MAPPING_REPORT_STATUS_SIZE + 2))

/* All times are clock_now_ms(); TIMER_NONE: not wanted. */
struct keep {
	const struct keep_config *config;
	struct both_families families; /* the request in each */
	struct upkeep upkeeps[UPKEEP_MAX];
	size_t count;
	struct netwatch watch;
	int signals;
	int listener;             /* the config's, or that of the high port; or -1 */
	bool tried_high;          /* a high port has been tried */
	char status[STATUS_SIZE]; /* the last one sent */

	uint64_t check_due;
	uint64_t watchdog_due;

	bool stop;
	bool failed; /* *error says why */
	struct error error;
};

static void tell_status(struct keep *keep)
{
	char status[STATUS_SIZE] = "";
	size_t used = 0;

	for (size_t i = 0; i < keep->count; i++) {
		const char *one = keep->upkeeps[i].report.status;

		if (one[0] != '\0')
			used += (size_t)snprintf(status + used, sizeof(status) - used, "%s%s",
				used > 0 ? "; " : "", one);
	}
	if (used == 0 || strcmp(status, keep->status) == 0)
		return;
	memcpy(keep->status, status, sizeof(status));
	notify_status(keep->config->notify, "%s", status);
}

static void reap(struct keep *keep, uint64_t now)
{
	struct launcher *launcher = keep->config->launcher;

	hook_reap(keep->config->hook, now);
	handover_reap(keep->config->handover);
	if (launcher == NULL || !launcher_has_ended(launcher))
		return;
	error_set(&keep->error, EXIT_STATUS_LOCAL,
		"the helper process is gone, which runs hooks and hands connections over");
	keep->failed = true;
}

static void reload_key(struct keep *keep, uint64_t now)
{
	const struct keep_config *config = keep->config;

	if (config->reload_key == NULL || !config->reload_key(config->context))
		return;
	for (size_t i = 0; i < keep->count; i++)
		upkeep_renew_name(&keep->upkeeps[i], now);
}

static void take_hangup(struct keep *keep, uint64_t now)
{
	keep->check_due = now;
	for (size_t i = 0; i < keep->count; i++)
		upkeep_look_up(&keep->upkeeps[i], now);
	reload_key(keep, now);
}

static void take_signals(struct keep *keep, uint64_t now)
{
	int number;

	while ((number = signals_take(keep->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			keep->stop = true;
		if (number == SIGHUP)
			take_hangup(keep, now);
		if (number == SIGCHLD)
			reap(keep, now);
	}
}

static void take_timers(struct keep *keep, uint64_t now)
{
	if (timers_take_due(&keep->check_due, now))
		for (size_t i = 0; i < keep->count; i++)
			upkeep_check_network(&keep->upkeeps[i], now);
	hook_expire(keep->config->hook, now);
	handover_expire(keep->config->handover, now);
	if (timers_take_due(&keep->watchdog_due, now)) {
		notify_watchdog(keep->config->notify);
		keep->watchdog_due = now + keep->config->notify->watchdog_ms;
	}
}

/*
 * Where one family is hopeless because this machine lacks it, the refusal in the other one still
 * ends keep_run().
 */
static void give_up_if_refused(struct keep *keep)
{
	const struct upkeep *refused = NULL;

	for (size_t i = keep->count; i-- > 0;) {
		if (!upkeep_is_hopeless(&keep->upkeeps[i]))
			return;
		if (keep->upkeeps[i].report.refused)
			refused = &keep->upkeeps[i];
	}
	if (refused == NULL)
		return;
	keep->error = refused->report.error;
	keep->failed = true;
}

enum watch_slot {
	WATCH_SIGNALS,
	WATCH_ROUTE,
	WATCH_CLOCK,
	WATCH_LISTENER,
	WATCH_UDP_FORWARD,
	WATCH_UPKEEPS = WATCH_UDP_FORWARD + UDP_FORWARD_WATCH_MAX,
	WATCH_MAX = WATCH_UPKEEPS + UPKEEP_MAX * UPKEEP_WATCH_MAX,
};

_Static_assert(WATCH_MAX <= WATCH_POLL_MAX, "one watch_poll() takes all");

static nfds_t watch_upkeep(size_t index)
{
	return WATCH_UPKEEPS + index * UPKEEP_WATCH_MAX;
}

static void wait_for_something(struct keep *keep, struct pollfd fds[WATCH_MAX], uint64_t now)
{
	uint64_t due = timer_earlier(keep->check_due, keep->watchdog_due);

	due = timer_earlier(due, hook_due(keep->config->hook));
	due = timer_earlier(due, handover_due(keep->config->handover));
	fds[WATCH_SIGNALS] = (struct pollfd){.fd = keep->signals, .events = POLLIN};
	fds[WATCH_ROUTE] = (struct pollfd){.fd = keep->watch.route_fd, .events = POLLIN};
	fds[WATCH_CLOCK] = (struct pollfd){.fd = keep->watch.clock_fd, .events = POLLIN};
	fds[WATCH_LISTENER] = (struct pollfd){.fd = keep->listener, .events = POLLIN};
	for (size_t i = WATCH_UDP_FORWARD; i < WATCH_UPKEEPS; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (keep->config->udp_forward != NULL)
		due = timer_earlier(
			due, udp_forward_watch(keep->config->udp_forward, fds + WATCH_UDP_FORWARD));
	for (size_t i = 0; i < keep->count; i++)
		due = timer_earlier(due, upkeep_watch(&keep->upkeeps[i], fds + watch_upkeep(i)));
	watch_poll(fds, watch_upkeep(keep->count), clock_poll_ms(now, due));
}

/* ---- the local port ------------------------------------------------------------------------ */

static bool take_high_port(struct keep *keep, struct mapping_race_request *request)
{
	const struct forward_options *options = keep->config->forward;
	uint16_t port = options->high_port;
	struct error error;

	keep->tried_high = true;
	keep->listener = high_port_listen(request, &port, &error);
	if (keep->listener < 0) {
		log_warning("%s", error.text);
		return false;
	}
	log_note("the router does not forward to port %u: what comes to port %u goes to the server "
		 "of port %u",
		request->local.port, port, request->local.port);
	request->local.port = port;
	return true;
}

static bool leave_high_port(struct keep *keep, struct mapping_race_request *request)
{
	close(keep->listener);
	keep->listener = -1;
	log_note("nor does it forward to port %u, which is left", request->local.port);
	request->local.port = keep->config->probe.local.port;
	return true;
}

/*
 * Takes or leaves the high port by the router's answer. Returns whether the local port is another
 * one now.
 */
static bool settle_port(struct keep *keep, size_t index, const struct forward *forward)
{
	struct mapping_race_request *request = &keep->families.sides[index].request;

	if (!forward_is_forbidden(forward))
		return false;
	if (request->local.port != keep->config->probe.local.port)
		return leave_high_port(keep, request);
	return keep->config->forward->high_port != 0 && !keep->tried_high &&
	       take_high_port(keep, request);
}

static void settle_ports(struct keep *keep, uint64_t now)
{
	for (size_t i = 0; i < keep->count; i++)
		if (settle_port(keep, i, &keep->upkeeps[i].lease.forward))
			upkeep_change_port(&keep->upkeeps[i], now);
}

static void take_events(struct keep *keep, const struct pollfd fds[WATCH_MAX], uint64_t now)
{
	if (fds[WATCH_SIGNALS].revents != 0)
		take_signals(keep, now);
	if ((fds[WATCH_ROUTE].revents != 0 || fds[WATCH_CLOCK].revents != 0) &&
		netwatch_take(&keep->watch) && keep->check_due == TIMER_NONE)
		keep->check_due = now + SETTLE_MS;
	if (fds[WATCH_LISTENER].revents != 0)
		handover_accept(keep->config->handover, keep->listener, now);
	if (keep->config->udp_forward != NULL)
		udp_forward_advance(keep->config->udp_forward, fds + WATCH_UDP_FORWARD, now);
	for (size_t i = 0; i < keep->count; i++)
		upkeep_advance(&keep->upkeeps[i], fds + watch_upkeep(i), now);
	settle_ports(keep, now);
	take_timers(keep, now);
	give_up_if_refused(keep);
}

/*
 * Asks for the high port too. If the router refuses both ports, the answer for the first one is
 * kept.
 */
static void ask_for_high_port(struct keep *keep, size_t index, uint64_t deadline)
{
	struct family_side *side = &keep->families.sides[index];
	struct forward *const forwards[] = {&side->forward};
	const struct mapping_race_request *requests[] = {&side->request};
	struct forward refused = side->forward;

	if (!settle_port(keep, index, &side->forward))
		return;
	forward_ask(forwards, requests, 1, keep->config->forward, deadline);
	if (settle_port(keep, index, &side->forward))
		side->forward = refused;
}

/* Asks the routers before the first packet: a router that forwards may send from another port. */
static void ask_routers(struct keep *keep)
{
	uint64_t deadline = clock_now_ms() + keep->config->probe.timeout_ms;

	if (keep->config->forward == NULL)
		return;
	both_families_ask_routers(&keep->families, keep->config->forward, deadline);
	for (size_t i = 0; i < keep->count; i++)
		ask_for_high_port(keep, i, deadline);
}

static void start(struct keep *keep, const struct keep_config *config, uint64_t now)
{
	memset(keep, 0, sizeof(*keep));
	keep->config = config;
	keep->listener = config->listener;
	keep->check_due = TIMER_NONE;
	keep->watchdog_due = config->notify->watchdog_ms != 0 ? now : TIMER_NONE;
	both_families_init(&keep->families, &config->probe, false);
	keep->count = keep->families.count;
	netwatch_open(&keep->watch);
	notify_ready(config->notify);
	ask_routers(keep);
	for (size_t i = 0; i < keep->count; i++) {
		upkeep_init(&keep->upkeeps[i], config, &keep->families.sides[i].request,
			keep->count > 1 ? &keep->upkeeps[1 - i] : NULL);
		lease_begin(
			&keep->upkeeps[i].lease, &keep->families.sides[i].forward, clock_now_ms());
	}
	notify_status(config->notify, "looking for a mapping");
	for (size_t i = 0; i < keep->count; i++)
		upkeep_start(&keep->upkeeps[i], now);
	give_up_if_refused(keep);
}

static void end(struct keep *keep)
{
	notify_stopping(keep->config->notify);
	for (size_t i = 0; i < keep->count; i++)
		upkeep_end(&keep->upkeeps[i]);
	hook_finish(keep->config->hook);
	if (keep->listener != keep->config->listener)
		close(keep->listener);
	netwatch_close(&keep->watch);
	close(keep->signals);
}

int keep_run(const struct keep_config *config, struct error *error)
{
	uint64_t now = clock_now_ms();
	struct pollfd fds[WATCH_MAX];
	struct keep keep;
	int signals = signals_open();

	if (signals < 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot take signals: %s", strerror(errno));
	start(&keep, config, now);
	keep.signals = signals;
	while (!keep.stop && !keep.failed) {
		tell_status(&keep);
		wait_for_something(&keep, fds, now);
		now = clock_now_ms();
		take_events(&keep, fds, now);
	}
	if (keep.failed)
		*error = keep.error;
	end(&keep);
	return keep.failed ? -1 : 0;
}
