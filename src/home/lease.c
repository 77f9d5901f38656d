/*
 * States: nothing to ask for (options NULL), waiting (due), asking.
 *
 * Events:
 *   granted           the next request after a half to five eighths of the lease (RFC 6887 section
 *                     11.2.1, so that many homes do not ask in step).
 *   refused, silent   while a forward stands: the next request after half of the time that is left.
 *                     Else after LEASE_AGAIN_MS.
 *   expired           there is no forward any more.
 *   network changed, strangers do not get in, a reflector at another address: a request at once.
 *   another local port: a request at once; there is no forward for that port yet.
 *   announcement      the router has started, or has another address: a request at once. There are
 *                     none if their socket cannot be opened: another program may have the port.
 *   the epoch fell    the router lost its forwards; the answer that says so has made ours anew.
 *
 * Threat: a host that answers in the router's name chooses how often home asks: LEASE_CALM_MS
 * bounds it. Invariant: the router is open only while asking.
 */
#include "home/lease.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "home/timers.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define READ_MAX 16

void lease_init(struct lease *lease, const struct forward_options *options,
	const struct mapping_race_request *probe)
{
	memset(lease, 0, sizeof(*lease));
	lease->options = options;
	lease->probe = probe;
	lease->announcements = -1;
	lease->due = lease->expires = TIMER_NONE;
}

/*
 * A router sends announcements to all hosts of a network (224.0.0.1, ff02::1): no group is to be
 * joined.
 */
static void open_announcements(struct lease *lease)
{
	struct addr local = {.family = lease->remote.family, .port = PCP_CLIENT_PORT};
	const char *interface = lease->probe->interface;
	int fd;

	if (lease->announcements >= 0 || local.family == ADDR_NONE)
		return;
	fd = socket_open((enum addr_family)local.family, SOCK_DGRAM, 0);
	if (fd < 0)
		return;
	if (local.family == ADDR_IPV6)
		socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if ((interface == NULL || socket_bind_interface(fd, interface) == 0) &&
		socket_bind(fd, &local) == 0) {
		lease->announcements = fd;
		return;
	}
	log_detail("announcements of the router are not heard: %s", strerror(errno));
	close(fd);
}

static void schedule(struct lease *lease, bool granted, uint64_t now)
{
	/* A forward without an end is asked for again too: a router that restarts forgets it. */
	bool ends = lease->forward.result.lease > 0;
	uint64_t whole =
		(uint64_t)(ends ? lease->forward.result.lease : lease->options->lease) * 1000;
	uint64_t wait = timers_with_jitter(LEASE_AGAIN_MS);

	if (granted) {
		wait = whole / 2 + random_below((uint32_t)(whole / 8) + 1);
		lease->expires = ends ? now + whole : TIMER_NONE;
	} else if (lease->expires != TIMER_NONE) {
		wait = (lease->expires - now) / 2;
		if (wait < LEASE_HURRY_MS)
			wait = LEASE_HURRY_MS;
	}
	if (wait < LEASE_CALM_MS)
		wait = LEASE_CALM_MS;
	lease->due = now + wait;
}

static void take_epoch(struct lease *lease, uint64_t now)
{
	if (lease->forward.result.method == ROUTER_UPNP)
		return;
	if (!pcp_epoch_take(&lease->epoch, lease->forward.result.epoch, now / 1000))
		log_note("the router has lost what it forwarded, and forwards anew");
}

void lease_begin(struct lease *lease, const struct forward *forward, uint64_t now)
{
	if (lease->options == NULL)
		return;
	lease->forward = *forward;
	lease->remote = forward->remote;
	lease->asked_at = now;
	if (forward_is_granted(forward))
		take_epoch(lease, now);
	lease->told = true;
	open_announcements(lease);
	schedule(lease, forward_is_granted(forward), now);
}

void lease_hurry(struct lease *lease, uint64_t now)
{
	uint64_t calm = lease->asked_at + LEASE_CALM_MS;

	if (lease->options != NULL && lease->remote.family != ADDR_NONE && !lease->asking)
		lease->due = calm > now ? calm : now;
}

void lease_set_remote(struct lease *lease, const struct addr *remote, uint64_t now)
{
	bool known = addr_equal_ip(&lease->remote, remote);

	if (lease->options == NULL)
		return;
	lease->remote = *remote;
	open_announcements(lease);
	if (!known)
		lease_hurry(lease, now);
}

void lease_change_port(struct lease *lease, uint64_t now)
{
	lease->forward.asked = false;
	lease->forward.result.port = 0;
	lease_hurry(lease, now);
}

static void ask(struct lease *lease, uint64_t now)
{
	struct router_request question;

	lease->asked_at = now;
	if (!forward_plan(lease->probe, lease->options, &lease->remote, !lease->told, &question)) {
		lease->told = true;
		schedule(lease, false, now);
		return;
	}
	/*
	 * Asks for the port of the forward that stands, so that the router does not make a second
	 * one.
	 */
	if (lease->forward.result.port != 0)
		question.wish = lease->forward.result.port;
	router_start(&lease->router, &question, now);
	lease->asking = true;
	lease->due = TIMER_NONE;
}

/* Returns whether the forward has changed. A router that gives no answer does not end a forward. */
static bool take_answer(struct lease *lease, uint64_t now)
{
	bool granted = lease->router.state == ROUTER_DONE;
	bool stood = forward_is_granted(&lease->forward);
	uint16_t before = lease->forward.result.port;

	router_end(&lease->router);
	lease->asking = false;
	if (granted || !stood)
		forward_take(&lease->forward, &lease->router, lease->probe, lease->options);
	else
		log_detail("the router has not renewed its forward");
	if (granted)
		take_epoch(lease, now);
	schedule(lease, granted, now);
	return granted && (!stood || lease->forward.result.port != before);
}

static bool expire(struct lease *lease)
{
	log_warning("the router does not forward any more: it has not renewed the lease");
	lease->expires = TIMER_NONE;
	lease->forward.asked = false;
	return true;
}

/* Any host can forge an announcement: home asks the router, and does nothing else. */
static void hear_announcements(struct lease *lease, uint64_t now)
{
	for (int i = 0; i < READ_MAX && lease->announcements >= 0; i++) {
		struct sockaddr_storage from;
		socklen_t length = sizeof(from);
		uint8_t bytes[PCP_REQUEST_MAX];
		struct addr sender;
		ssize_t got = recvfrom(lease->announcements, bytes, sizeof(bytes), 0,
			(struct sockaddr *)&from, &length);

		if (got < 0)
			return;
		socket_to_addr(&from, &sender);
		if (!addr_equal_ip(&sender, &lease->forward.result.router) ||
			!pcp_is_announcement(bytes, (size_t)got))
			continue;
		log_detail("the router has started, or has another address: asking it at once");
		lease_hurry(lease, now);
	}
}

uint64_t lease_watch(const struct lease *lease, struct pollfd fds[LEASE_WATCH_MAX])
{
	uint64_t due = timer_earlier(lease->due, lease->expires);

	for (size_t i = 0; i < LEASE_WATCH_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1};
	fds[ROUTER_WATCH_MAX] = (struct pollfd){.fd = lease->announcements, .events = POLLIN};
	if (lease->asking)
		due = timer_earlier(due, router_watch(&lease->router, fds));
	return due;
}

bool lease_advance(struct lease *lease, uint64_t now)
{
	bool changed = false;

	if (lease->options == NULL)
		return false;
	if (lease->asking && router_advance(&lease->router, now) != ROUTER_ASKING)
		changed = take_answer(lease, now);
	hear_announcements(lease, now);
	if (!lease->asking && timers_take_due(&lease->due, now))
		ask(lease, now);
	if (lease->expires <= now)
		changed = expire(lease);
	return changed;
}

void lease_end(struct lease *lease, bool gives_back)
{
	char ip[ADDR_IP_TEXT_SIZE];
	struct router_request question;

	if (lease->asking)
		router_end(&lease->router);
	lease->asking = false;
	lease->due = TIMER_NONE;
	if (lease->announcements >= 0)
		close(lease->announcements);
	lease->announcements = -1;
	if (!gives_back || lease->options == NULL || !forward_is_granted(&lease->forward) ||
		!forward_plan(lease->probe, lease->options, &lease->remote, false, &question))
		return;
	question.lease = 0;
	question.brief = true;
	question.wish = lease->forward.result.port;
	question.methods = 1U << lease->forward.result.method;
	router_start(&lease->router, &question, clock_now_ms());
	router_run(&lease->router, 1);
	if (lease->router.state == ROUTER_DONE)
		log_detail("the router has forgotten its forward");
	else
		log_warning("the router %s keeps its forward%s",
			addr_format_ip(&question.router, ip),
			lease->forward.result.lease > 0 ? " until it lapses" : "");
	lease->forward.asked = false;
}
