/*
 * How home answers invitations over UDP.
 *
 * States: those of each punch (udp_punch.h).
 *
 * Events:
 *   an invitation    a punch to the initiator begins. If there is one already, its deadline is put
 *                    off: the initiator asks again until a datagram of ours arrives.
 *   a punch is DONE  the initiator has said that the way is open: the punch is ended.
 *   it has FAILED    it is ended. Nothing is wrong if the way is open and the initiator's word of
 *                    it was lost.
 *
 * Timers: those of each punch; its deadline is UDP_PUNCH_TIMEOUT_MS after the last invitation.
 *
 * Invariants: there is one punch at most for each address; the table is of fixed size, and when it
 * is full a newcomer gets a warning in the log and nothing else.
 *
 * Threat: as in responder.c. A reflector that has the key, or an attacker that has taken it over,
 * invites home to addresses of its choice. So home passes over an address that no initiator can
 * have, and those of its reflectors. Every check that leaves the kept port, of 72 bytes, counts
 * against CHECKS_EACH and CHECKS_ALL; one that is over them is not sent. Answers need no limit:
 * home answers only checks that prove the key, and only to the address that the invitation named.
 */
#include "home/udp_responder.h"

#include <string.h>

#include "home/responder.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

/* The limits for one address and for all; a punch sends some 20 checks in its time. */
#define CHECKS_EACH ((struct rate_limit_rule){.interval_ms = 100, .burst = 128})
#define CHECKS_ALL  ((struct rate_limit_rule){.interval_ms = 20, .burst = 256})

void udp_responder_init(struct udp_responder *responder)
{
	memset(responder, 0, sizeof(*responder)); /* UDP_PUNCH_NONE */
	/* Without its table, rate_limit_take() would refuse every check. */
	if (rate_limit_open(&responder->checks, CHECKS_EACH, CHECKS_ALL) != 0)
		log_warning("initiators cannot be met over UDP: the limits do not fit");
}

static bool may_send(void *context, const struct addr *remote, uint64_t now)
{
	struct udp_responder *responder = context;

	return rate_limit_take(&responder->checks, remote, now);
}

/* Warns once: the host that invites decides how often this happens. */
static void tell(bool *warned, const struct addr *initiator, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(initiator, text);
	if (*warned)
		log_detail("%s is passed over: %s", text, why);
	else
		log_warning("%s is passed over: %s", text, why);
	*warned = true;
}

static void start(struct udp_responder *responder, struct udp_punch *punch,
	const struct udp_responder_path *path, const struct addr *initiator, uint64_t now)
{
	const struct udp_punch_config config = {
		.role = UDP_CHECK_HOME,
		.secret = path->key->secret,
		.method = path->method,
		.local = path->local,
		.remote = *initiator,
		.interface = path->interface,
		.one_port = path->one_port,
		.may_send = may_send,
		.context = responder,
	};
	char text[ADDR_TEXT_SIZE];
	struct error error;

	if (udp_punch_start(punch, &config, now + UDP_PUNCH_TIMEOUT_MS, now, &error) != 0) {
		tell(&responder->warned_local, initiator, error.text);
		return;
	}
	log_detail("%s wants to come in over UDP: sending to it by %s",
		addr_format(initiator, text), punch->port.method->name);
}

static bool is_reflector(const struct udp_responder_path *path, const struct addr *addr)
{
	return addr_equal(addr, &path->reflector) ||
	       (path->standby != NULL && standby_is_reflector(path->standby, addr));
}

void udp_responder_meet(struct udp_responder *responder, const struct udp_responder_path *path,
	const struct addr *initiator, uint64_t now)
{
	struct udp_punch *free_one = NULL;

	if (!responder_is_possible(initiator, &path->reflector) || is_reflector(path, initiator)) {
		tell(&responder->warned, initiator, "no initiator can be there");
		return;
	}
	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++) {
		struct udp_punch *punch = &responder->punches[i];

		if (punch->state == UDP_PUNCH_NONE && free_one == NULL)
			free_one = punch;
		if (punch->state != UDP_PUNCH_NONE &&
			addr_equal(&punch->config.remote, initiator)) {
			punch->deadline = now + UDP_PUNCH_TIMEOUT_MS;
			return;
		}
	}
	if (free_one == NULL)
		tell(&responder->warned_local, initiator, "too many initiators at once");
	else
		start(responder, free_one, path, initiator, now);
}

void udp_responder_warn_deaf(struct udp_responder *responder)
{
	if (!responder->warned_deaf)
		log_warning(
			"natpunch connect -u cannot come in: method bind leaves the port to its "
			"daemon, and hears nothing meanwhile; run as root, for raw or rewrite");
	responder->warned_deaf = true;
}

uint64_t udp_responder_watch(
	const struct udp_responder *responder, struct pollfd fds[UDP_RESPONDER_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++) {
		const struct udp_punch *punch = &responder->punches[i];

		fds[i] = (struct pollfd){.fd = udp_punch_fd(punch), .events = POLLIN};
		if (punch->state == UDP_PUNCH_NONE)
			continue;
		due = timer_earlier(due, timer_earlier(punch->due, punch->deadline));
	}
	return due;
}

static void advance(struct udp_punch *punch, uint64_t now)
{
	enum udp_punch_state before = punch->state;
	char text[ADDR_TEXT_SIZE];

	if (before == UDP_PUNCH_NONE)
		return;
	udp_punch_advance(punch, now);
	addr_format(&punch->config.remote, text);
	if (punch->state == before)
		return;
	if (punch->state == UDP_PUNCH_THROUGH || before == UDP_PUNCH_TRYING)
		log_detail("%s %s over UDP, after %u datagrams", text,
			punch->state == UDP_PUNCH_FAILED ? "did not come in" : "is through",
			punch->sent);
	if (punch->state != UDP_PUNCH_THROUGH)
		udp_punch_end(punch);
}

void udp_responder_advance(struct udp_responder *responder, uint64_t now)
{
	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++)
		advance(&responder->punches[i], now);
}

void udp_responder_end(struct udp_responder *responder)
{
	for (size_t i = 0; i < UDP_RESPONDER_MAX; i++)
		udp_punch_end(&responder->punches[i]);
}
