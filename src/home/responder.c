/*
 * How home answers invitations.
 *
 * States: those of each punch (punch.h), of each relayed connection (relay_client.h), and of the
 * sampler (port_sampler.h), which finds out, for all initiators in `waiting`, which port our NAT
 * allocates next.
 *
 * Events:
 *   INVITATION_PUNCH        home connects to the initiator's address, for PUNCH_TIMEOUT_MS.
 *   INVITATION_PREDICTION   home stops connecting to the address that the invitation names, and the
 *                           initiator waits for the sampler. Then home sends our prediction, and
 *                           connects to each port that the initiator predicted.
 *   INVITATION_RELAY        home joins the initiator at the reflector.
 *   responder_look()        the sampler runs for the registration alone.
 *   a punch is not open after COMPANY_MS: it gets company, one SYN from another port. The kernel
 *                           repeats a lost SYN only after a second; this one reaches an initiator
 *                           whose NAT lets in every port of our address.
 *   a punch or a relayed connection is open: it goes to the hand-over. One that failed is ended.
 *
 * Timers: each punch, each relayed connection and the sampler has its own. If our NAT allocates
 * ports in sequence, a punch to predicted ports begins late (below); it lasts SECOND_TIMEOUT_MS.
 *
 * Invariants: there is one punch at most for each address; the tables are of fixed size, and when
 * they are full a newcomer gets a warning in the log and nothing else; one sampler serves all that
 * wait, as there is only one kept port, and the registration, which gets each result.
 *
 * Threat: a reflector that has the key, or an attacker that has taken it over, invites home to
 * addresses of its choice: to have connections handed over that no initiator made, or to have home
 * send SYNs to a victim. So home passes over addresses that no initiator can have
 * (responder_is_possible()), and the two of each of its reflectors: a connection there would keep
 * home from connecting to that one itself, from the same port. Private addresses are allowed: in a
 * company, or at home, the reflector may see them. And each SYN that leaves the kept port counts
 * against the limits SYNS_EACH and SYNS_ALL, except the two that the kernel repeats, after 1 s and
 * 3 s, when nothing answers. A punch that is over the limits waits.
 *
 * Order. An initiator connects as soon as it gets our prediction, h + l after we sent it, where h
 * and l are the one-way times from us to the reflector and from the reflector to the initiator. If
 * our own NAT allocates ports in sequence, our SYN must arrive later than the initiator's leaves:
 * until that one has left, the initiator's NAT answers ours with a RST, and the port that we
 * predicted is used up. Our SYN takes d, so it may leave h + l - d after the prediction; as l is h
 * + d at most (the triangle inequality), a round trip to the reflector, 2 h, is late enough. If our
 * NAT does not allocate ports in sequence, sooner is better: then the first SYN of the initiator,
 * whose NAT may do so, is answered.
 */
#include "home/responder.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket_linux.h"

#define SECOND_TIMEOUT_MS   2500 /* the initiator tries as long */
#define COMPANY_MS          250
#define AFTER_PREDICTION_MS 50 /* for what delays besides the path: processes, queues */

/*
 * The limits for one address and for all. Fifty initiators behind one address may come at once, and
 * home connects 13 times a second to an address that refuses.
 */
#define SYNS_EACH ((struct rate_limit_rule){.interval_ms = 50, .burst = 128})
#define SYNS_ALL  ((struct rate_limit_rule){.interval_ms = 20, .burst = 256})

void responder_init(struct responder *responder, struct handover *handover)
{
	memset(responder, 0,
		sizeof(*responder)); /* PUNCH_NONE, RELAY_CLIENT_NONE, PORT_SAMPLER_NONE */
	responder->handover = handover;
	/* Without its table, rate_limit_take() would refuse every SYN. */
	if (rate_limit_open(&responder->syns, SYNS_EACH, SYNS_ALL) != 0)
		log_warning("initiators cannot be connected to: the limits do not fit");
}

bool responder_is_possible(const struct addr *addr, const struct addr *reflector)
{
	enum addr_class class = addr_classify(addr);
	struct addr plain = *addr;

	/* A reflector sees IPv4 as IPv4. A mapped address would evade the rules for IPv4. */
	addr_unmap(&plain);
	if (plain.family != addr->family)
		return false;
	switch (class) {
	case ADDR_CLASS_UNSPECIFIED:
	case ADDR_CLASS_MULTICAST:
		return false;
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
		return addr_classify(reflector) == class;
	default:
		return !socket_is_local_ip(addr) || socket_is_local_ip(reflector);
	}
}

/* Such a connection would be home's own with the reflector, and no initiator's. */
static bool is_reflector(const struct responder *responder, const struct addr *addr)
{
	const struct responder_path *path = &responder->path;

	return addr_equal(addr, &path->relay.reflector) || addr_equal(addr, &path->other) ||
	       (path->standby != NULL && standby_is_reflector(path->standby, addr));
}

/* Warns once: the host that invites decides how often this happens. */
static void pass_over(struct responder *responder, const struct addr *initiator)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(initiator, text);
	if (responder->warned)
		log_detail("%s is passed over: no initiator can be there", text);
	else
		log_warning("%s is passed over: no initiator can be there", text);
	responder->warned = true;
}

/*
 * Opens a socket that is connecting from the kept port. The connection is handed over, so only
 * methods do whose socket needs no help from us; the method that holds the mapping is known to
 * work.
 */
static int open_punch(void *context, const struct addr *remote)
{
	struct responder *responder = context;
	const struct responder_path *path = &responder->path;
	const struct borrow_method *methods[] = {&borrow_method_repair, &borrow_method_bind};
	size_t count = sizeof(methods) / sizeof(methods[0]);
	struct borrow_request request = {
		.protocol = MAPPING_TCP,
		.local = path->local,
		.remote = *remote,
		.interface = path->relay.interface,
	};
	struct borrowed borrowed;
	struct error error;

	if (!rate_limit_take(&responder->syns, remote, responder->now)) {
		errno = EAGAIN;
		return -1;
	}
	if (path->method == &borrow_method_bind)
		methods[0] = &borrow_method_bind;
	if (path->method == methods[0])
		count = 1;
	for (size_t i = 0; i < count; i++) {
		switch (methods[i]->open(&request, &borrowed, &error)) {
		case BORROW_OPEN:
			return borrowed.fd;
		case BORROW_BUSY:
			errno = EADDRNOTAVAIL;
			return -1;
		case BORROW_UNREACHABLE:
			errno = ENETUNREACH;
			return -1;
		case BORROW_CANNOT:
			break;
		}
	}
	log_detail("%s", error.text);
	errno = EACCES;
	return -1;
}

static void warn_full(const struct addr *initiator)
{
	char text[ADDR_TEXT_SIZE];

	log_warning("%s is passed over: too many initiators at once", addr_format(initiator, text));
}

/* A punch_opener, from any port. */
static int open_company(void *context, const struct addr *remote)
{
	struct responder *responder = context;

	if (rate_limit_take(&responder->syns, remote, responder->now))
		return relay_client_open(&responder->path.relay, remote);
	errno = EAGAIN;
	return -1;
}

/*
 * Begins a punch at `start`, for `timeout_ms`, in the lowest free slot, as the slots are served in
 * that order. Returns the slot, or RESPONDER_PUNCH_MAX.
 */
static size_t start_punch(struct responder *responder, const struct addr *initiator, uint64_t start,
	uint64_t timeout_ms, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];
	struct punch *free_one = NULL;

	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++) {
		struct punch *punch = &responder->punches[i];
		if (punch->state == PUNCH_NONE && responder->company[i].state == PUNCH_NONE &&
			free_one == NULL)
			free_one = punch;
		if (punch->state != PUNCH_NONE && addr_equal(&punch->remote, initiator))
			return RESPONDER_PUNCH_MAX;
	}
	if (free_one == NULL) {
		warn_full(initiator);
		return RESPONDER_PUNCH_MAX;
	}
	log_detail("%s wants to come in: connecting to it", addr_format(initiator, text));
	punch_start(free_one, initiator, open_punch, responder, start, timeout_ms, now);
	return (size_t)(free_one - responder->punches);
}

static void start_punch_in_company(
	struct responder *responder, const struct addr *initiator, uint64_t now)
{
	size_t slot = start_punch(responder, initiator, now, PUNCH_TIMEOUT_MS, now);
	struct punch *company = &responder->company[slot % RESPONDER_PUNCH_MAX];

	if (slot == RESPONDER_PUNCH_MAX)
		return;
	punch_start(company, initiator, open_company, responder, now + COMPANY_MS,
		PUNCH_TIMEOUT_MS - COMPANY_MS, now);
	company->once = true;
}

/* Returns whether the punch was open and is handed over. */
static bool advance_punch(
	struct responder *responder, struct punch *punch, bool happened, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	punch_advance(punch, happened, now);
	addr_format(&punch->remote, text);
	if (punch->state == PUNCH_OPEN) {
		log_detail("%s is through, at try %u", text, punch->tries);
		handover_give(responder->handover, punch_take(punch), &punch->remote, now);
		return true;
	}
	if (punch->state == PUNCH_FAILED) {
		/* The initiator may have connected to us, to the port's listener. */
		if (!punch->once)
			log_detail("%s: gave up connecting: %s", text, strerror(punch->problem));
		punch_end(punch);
	}
	return false;
}

/*
 * Ends the punch if it has sent no SYN yet. Else the initiator may use its connection: lets it go
 * on, but not begin again.
 */
static void let_go(struct punch *punch)
{
	if (punch->tries == 0)
		punch_end(punch);
	punch->once = true;
}

/*
 * Hands over each one that is open: the initiator uses the first that it sees, which may be the
 * other one, and closes the rest. When a punch fails, its company ends too.
 */
static void advance_pair(struct responder *responder, size_t slot, bool happened,
	bool company_happened, uint64_t now)
{
	struct punch *punch = &responder->punches[slot], *company = &responder->company[slot];

	if (punch->state != PUNCH_NONE) {
		if (advance_punch(responder, punch, happened, now))
			let_go(company);
		else if (punch->state == PUNCH_NONE)
			punch_end(company);
	}
	if (company->state != PUNCH_NONE &&
		advance_punch(responder, company, company_happened, now) &&
		punch->state != PUNCH_NONE)
		let_go(punch);
}

/* No direct connection succeeded: home connects to the reflector, as the initiator does. */
static void start_relay(
	struct responder *responder, const struct invitation *invitation, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < RESPONDER_RELAY_MAX; i++) {
		struct relay_client *relay = &responder->relays[i];
		if (relay->state != RELAY_CLIENT_NONE)
			continue;
		log_detail("%s wants to come in by a relay: joining it",
			addr_format(&invitation->initiator, text));
		relay_client_start(relay, &responder->path.relay, &invitation->ticket,
			&invitation->initiator, now);
		return;
	}
	warn_full(&invitation->initiator);
}

static void advance_relay(struct responder *responder, struct relay_client *relay,
	const struct pollfd fds[RELAY_CLIENT_WATCH_MAX], uint64_t now)
{
	struct addr initiator = relay->initiator;
	char text[ADDR_TEXT_SIZE];

	relay_client_advance(relay, fds, now);
	addr_format(&initiator, text);
	if (relay->state == RELAY_CLIENT_OPEN) {
		log_detail("%s is here, relayed", text);
		handover_give(responder->handover, relay_client_take(relay), &initiator, now);
	} else if (relay->state == RELAY_CLIENT_FAILED) {
		log_detail("%s: cannot join it at the relay: %s", text, relay->problem);
		relay_client_end(relay);
	}
}

/* ---- initiators that wait for our prediction ---------------------------------------------- */

/*
 * Sends our prediction to the initiator, and connects to the ports that it predicted. Returns how
 * many.
 */
static unsigned meet_at_prediction(struct responder *responder,
	const struct responder_waiting *waiting, const struct port_prediction *ours, uint64_t now)
{
	const struct port_sampler *sampler = &responder->sampler;
	const struct invitation *invitation = &waiting->invitation;
	struct addr initiator = invitation->initiator;
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	size_t count = port_prediction_candidates(&invitation->prediction, ports);
	uint64_t start = now;

	registration_predict(waiting->registration, &invitation->asker, ours);
	if (ours->port == 0)
		return 0;
	if (ours->step != 0)
		start = now + sampler->round_trip_ms + AFTER_PREDICTION_MS;
	for (size_t i = 0; i < count; i++) {
		initiator.port = ports[i];
		if (!is_reflector(responder, &initiator))
			start_punch(responder, &initiator, start, SECOND_TIMEOUT_MS, now);
	}
	return (unsigned)count;
}

/* Each connection to one initiator moves the port that the next one must be told. */
static void meet_waiting(struct responder *responder, uint64_t now)
{
	const struct port_prediction *found = &responder->sampler.prediction;
	struct port_prediction ours = *found;
	unsigned used = 0;

	if (found->port == 0)
		log_detail("our port cannot be predicted");
	else
		log_detail("our next port is %u, and then %+d each", found->port, found->step);
	for (size_t i = 0; i < responder->waiting_count; i++) {
		used += meet_at_prediction(responder, &responder->waiting[i], &ours, now);
		ours = port_prediction_after(found, used);
	}
	responder->waiting_count = 0;
	responder->looked = true;
	responder->random_ports = port_sampler_is_random(&responder->sampler);
	port_sampler_end(&responder->sampler);
}

/* Starts the sampler, unless it runs already. */
static void start_sampler(struct responder *responder, uint64_t now)
{
	const struct responder_path *path = &responder->path;

	if (responder->sampler.state == PORT_SAMPLER_NONE)
		port_sampler_start(&responder->sampler, &path->relay.reflector, &path->other,
			open_punch, responder, now);
	if (responder->sampler.state == PORT_SAMPLER_DONE)
		meet_waiting(responder, now);
}

/* Connecting to the port that the reflector saw was in vain; the initiator predicts others. */
static void end_punches_to(struct responder *responder, const struct addr *initiator)
{
	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++)
		if (responder->punches[i].state != PUNCH_NONE &&
			addr_equal(&responder->punches[i].remote, initiator)) {
			punch_end(&responder->punches[i]);
			punch_end(&responder->company[i]);
		}
}

static void predict(struct responder *responder, const struct invitation *invitation, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	end_punches_to(responder, &invitation->initiator);
	if (responder->waiting_count == RESPONDER_WAIT_MAX) {
		warn_full(&invitation->initiator);
		return;
	}
	log_detail("%s did not come in: looking what port of ours comes next",
		addr_format(&invitation->initiator, text));
	responder->waiting[responder->waiting_count++] = (struct responder_waiting){
		.invitation = *invitation, .registration = responder->path.registration};
	start_sampler(responder, now);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void set_path(struct responder *responder, const struct responder_path *path, uint64_t now)
{
	responder->path = *path;
	responder->now = now;
	if (!responder_is_possible(&path->other, &path->relay.reflector))
		responder->path.other.family = ADDR_NONE;
}

void responder_look(struct responder *responder, const struct responder_path *path, uint64_t now)
{
	if (responder->sampler.state != PORT_SAMPLER_NONE)
		return;
	set_path(responder, path, now);
	start_sampler(responder, now);
}

bool responder_take_look(struct responder *responder, bool *random_ports)
{
	bool looked = responder->looked;

	responder->looked = false;
	*random_ports = responder->random_ports;
	return looked;
}

void responder_meet(struct responder *responder, const struct responder_path *path,
	const struct invitation *invitation, uint64_t now)
{
	const struct addr *reflector = &path->relay.reflector;

	set_path(responder, path, now);
	if (invitation->kind != INVITATION_RELAY &&
		(!responder_is_possible(&invitation->initiator, reflector) ||
			is_reflector(responder, &invitation->initiator))) {
		pass_over(responder, &invitation->initiator);
		return;
	}
	handover_expect(responder->handover, &invitation->initiator, now);
	switch (invitation->kind) {
	case INVITATION_RELAY:
		start_relay(responder, invitation, now);
		return;
	case INVITATION_PREDICTION:
		predict(responder, invitation, now);
		return;
	case INVITATION_PUNCH:
		start_punch_in_company(responder, &invitation->initiator, now);
		return;
	}
}

static uint64_t watch_punches(
	const struct punch punches[RESPONDER_PUNCH_MAX], struct pollfd fds[RESPONDER_PUNCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++) {
		fds[i] = (struct pollfd){.fd = punch_fd(&punches[i]), .events = POLLOUT};
		if (punches[i].state != PUNCH_NONE)
			due = timer_earlier(due, punches[i].due);
	}
	return due;
}

uint64_t responder_watch(const struct responder *responder, struct pollfd fds[RESPONDER_WATCH_MAX])
{
	uint64_t due = watch_punches(responder->punches, fds);

	fds += RESPONDER_PUNCH_MAX;
	due = timer_earlier(due, watch_punches(responder->company, fds));
	fds += RESPONDER_PUNCH_MAX;
	for (size_t i = 0; i < RESPONDER_RELAY_MAX; i++, fds += RELAY_CLIENT_WATCH_MAX) {
		const struct relay_client *relay = &responder->relays[i];
		relay_client_watch(relay, fds);
		if (relay->state != RELAY_CLIENT_NONE && relay->due < due)
			due = relay->due;
	}
	port_sampler_watch(&responder->sampler, fds);
	if (responder->sampler.state == PORT_SAMPLER_LOOKING && responder->sampler.due < due)
		due = responder->sampler.due;
	return due;
}

void responder_advance(
	struct responder *responder, const struct pollfd fds[RESPONDER_WATCH_MAX], uint64_t now)
{
	responder->now = now;
	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++)
		advance_pair(responder, i, fds[i].revents != 0,
			fds[RESPONDER_PUNCH_MAX + i].revents != 0, now);
	fds += 2 * RESPONDER_PUNCH_MAX;
	for (size_t i = 0; i < RESPONDER_RELAY_MAX; i++, fds += RELAY_CLIENT_WATCH_MAX)
		if (responder->relays[i].state != RELAY_CLIENT_NONE)
			advance_relay(responder, &responder->relays[i], fds, now);
	port_sampler_advance(&responder->sampler, fds, now);
	if (responder->sampler.state == PORT_SAMPLER_DONE)
		meet_waiting(responder, now);
}

void responder_end(struct responder *responder)
{
	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++) {
		punch_end(&responder->punches[i]);
		punch_end(&responder->company[i]);
	}
	for (size_t i = 0; i < RESPONDER_RELAY_MAX; i++)
		relay_client_end(&responder->relays[i]);
	port_sampler_end(&responder->sampler);
}
