#include "natpunch/client/reachability.h"

#include <errno.h>
#include <string.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/client/hint_command.h"
#include "natpunch/os/log.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/privileges.h"

/* ---- judging ------------------------------------------------------------------------------ */

static bool is_udp(const struct reachability *reachability)
{
	return reachability->probe->protocol == MAPPING_UDP;
}

/* Was a SYN sent at all? */
static bool was_tried(enum dialback_outcome outcome)
{
	switch (outcome) {
	case DIALBACK_CONNECTED:
	case DIALBACK_CLOSED:
	case DIALBACK_REFUSED:
	case DIALBACK_TIMED_OUT:
	case DIALBACK_UNREACHABLE:
		return true;
	default:
		return false;
	}
}

static void say(const struct dialback_result *result, const struct addr *reflector)
{
	char banner[4 * DIALBACK_BANNER_MAX + 1];
	char from[ADDR_TEXT_SIZE];
	char asked[ADDR_TEXT_SIZE];

	dialback_format_banner(result, banner, sizeof(banner));
	addr_format(reflector, asked);
	if (!was_tried(result->outcome))
		log_detail("dial-back by %s: %s", asked, dialback_outcome_name(result->outcome));
	else
		log_detail("dial-back from %s: %s after %u ms%s%s",
			addr_format(&result->from, from), dialback_outcome_name(result->outcome),
			result->milliseconds, banner[0] != '\0' ? ": " : "", banner);
}

bool reachability_is_elsewhere(const struct dialback_result *result, enum arrival arrival)
{
	return dialback_is_through(result->outcome) && arrival == ARRIVAL_MISSING;
}

static bool gets_here(const struct dialback_result *result, enum arrival arrival)
{
	return dialback_is_through(result->outcome) && arrival != ARRIVAL_MISSING;
}

static void keep_better(struct dialback_result *kept, enum arrival *kept_arrival,
	const struct dialback_result *result, enum arrival arrival)
{
	if (kept->place != 0 && (gets_here(kept, *kept_arrival) || !gets_here(result, arrival)))
		return;
	*kept = *result;
	*kept_arrival = arrival;
}

/* A datagram is seen at the port or before the firewall; only without a tap the latter is open. */
static enum arrival find_datagram(const struct reachability *reachability,
	const struct reachability_lane *lane, const struct dialback_result *result)
{
	const struct udp_arrival *call =
		lane->datagrams.calls[result - lane->verify.answer.results];

	if (call != NULL && call->arrived)
		return ARRIVAL_SEEN;
	return reachability->udp_arrivals.tap >= 0 ? ARRIVAL_MISSING : ARRIVAL_UNTOLD;
}

static enum arrival find_arrival(
	struct reachability *reachability, const struct dialback_result *result)
{
	enum arrival arrival = arrivals_find(&reachability->arrivals, &result->from);
	char from[ADDR_TEXT_SIZE];
	char why[ARRIVALS_WHY_SIZE];

	addr_format(&result->from, from);
	if (arrival == ARRIVAL_SEEN || arrival == ARRIVAL_MISSING)
		log_detail("the SYN from %s %s to this machine", from,
			arrival == ARRIVAL_SEEN ? "came" : "did not come");
	else
		log_detail("whether the SYN from %s came to this machine cannot be told: %s", from,
			arrivals_explain(&reachability->arrivals, arrival, why));
	return arrival;
}

static void note_error(struct reachability *reachability, const struct error *error)
{
	if (reachability->error.text[0] == '\0')
		reachability->error = *error;
}

static enum arrival take_datagram(const struct reachability *reachability,
	const struct reachability_lane *lane, const struct dialback_result *result)
{
	enum arrival arrival = find_datagram(reachability, lane, result);
	char from[ADDR_TEXT_SIZE];

	addr_format(&result->from, from);
	if (dialback_is_through(result->outcome))
		log_detail("a datagram from %s came", from);
	else if (arrival == ARRIVAL_SEEN)
		log_detail("a datagram from %s came to this machine and was dropped here", from);
	else
		log_detail("no datagram came from %s", from);
	return arrival;
}

static void take_result(struct reachability *reachability, const struct reachability_lane *lane,
	const struct dialback_result *result)
{
	char text[ADDR_TEXT_SIZE];
	struct error error;
	bool stranger = lane->stranger;
	enum arrival arrival;

	if (!is_udp(reachability) || !was_tried(result->outcome))
		say(result, &lane->verify.reflector);
	if (!was_tried(result->outcome)) {
		if (result->outcome == DIALBACK_OFF || result->outcome == DIALBACK_NO_PLACE)
			return;
		reachability->unsupported = false;
		if (result->outcome == DIALBACK_LIMITED)
			reachability->limited = true;
		error_set(&error, EXIT_STATUS_NETWORK, "no dial-back by %s: %s",
			addr_format(&lane->verify.reflector, text),
			dialback_outcome_name(result->outcome));
		note_error(reachability, &error);
		return;
	}
	if (result->place == DIALBACK_OTHER_ADDRESS)
		stranger = !addr_equal_ip(&result->from, &lane->verify.reflector) &&
			   !addr_equal_ip(&result->from, &reachability->asked);
	arrival = is_udp(reachability) ? take_datagram(reachability, lane, result)
				       : find_arrival(reachability, result);
	if (stranger)
		keep_better(
			&reachability->evidence, &reachability->evidence_arrival, result, arrival);
	else
		keep_better(&reachability->known, &reachability->known_arrival, result, arrival);
}

static void take_answer(struct reachability *reachability, const struct reachability_lane *lane)
{
	const struct dialback_client *verify = &lane->verify;
	char target[ADDR_TEXT_SIZE];
	char mapped[ADDR_TEXT_SIZE];
	struct error error;

	if (!dialback_client_is_about(verify, &reachability->mapped)) {
		error_set(&error, EXIT_STATUS_NETWORK,
			"the reflector dialled %s, not the mapping %s: this machine has more than "
			"one way out",
			addr_format(&verify->answer.target, target),
			addr_format(&reachability->mapped, mapped));
		reachability->unsupported = false;
		note_error(reachability, &error);
		return;
	}
	for (size_t i = 0; i < verify->answer.count; i++)
		take_result(reachability, lane, &verify->answer.results[i]);
}

static void explain_untold_datagram(struct reachability *reachability)
{
	if (reachability->unsupported)
		error_set(&reachability->error, EXIT_STATUS_NETWORK,
			"cannot verify: no reflector answers from a second address");
	else if (reachability->error.text[0] == '\0')
		error_set(&reachability->error, EXIT_STATUS_NETWORK,
			"cannot verify: no answer from a reflector in time");
	error_hint(&reachability->error, "-u -V needs a `natpunch reflect` with -a");
}

static void explain_untold(struct reachability *reachability)
{
	if (is_udp(reachability)) {
		explain_untold_datagram(reachability);
		return;
	}
	if (reachability->unsupported && !reachability->silent)
		error_set(&reachability->error, EXIT_STATUS_NETWORK,
			"cannot verify: no reflector dials back");
	else if (reachability->error.text[0] == '\0')
		error_set(&reachability->error, EXIT_STATUS_NETWORK,
			"cannot verify: no answer from a reflector in time");
	if (reachability->limited)
		error_hint(&reachability->error, "a reflector dials one address a few times a "
						 "minute: wait, or name another");
	else
		error_hint(&reachability->error, "-V needs a `natpunch reflect` without --no-dial, "
						 "best with -a or a second one");
}

static void decide(struct reachability *reachability)
{
	reachability->stranger = reachability->evidence.place != 0;
	if (reachability->stranger) {
		reachability->verdict =
			gets_here(&reachability->evidence, reachability->evidence_arrival)
				? REACHABILITY_OPEN
				: REACHABILITY_SHUT;
		return;
	}
	if (reachability->known.place == 0) {
		reachability->verdict = REACHABILITY_UNTOLD;
		explain_untold(reachability);
		return;
	}
	reachability->evidence = reachability->known;
	reachability->evidence_arrival = reachability->known_arrival;
	if (!gets_here(&reachability->evidence, reachability->evidence_arrival)) {
		reachability->verdict = REACHABILITY_SHUT;
		return;
	}
	reachability->verdict = REACHABILITY_KNOWN;
	log_detail("only from an address that was contacted before: whether the NAT's filtering is "
		   "address-dependent cannot be told; a reflector with -a, or a second one, could");
}

/* ---- asking ------------------------------------------------------------------------------- */

static void start_verify(struct reachability *reachability, struct reachability_lane *lane,
	const struct addr *reflector, uint64_t now)
{
	struct dialback_client_request request = {
		.reflector = *reflector,
		.local = reachability->probe->local,
		.interface = reachability->probe->interface,
		.places = DIALBACK_SAME_ADDRESS | DIALBACK_OTHER_ADDRESS,
		.port = reachability->mapped.port,
	};

	request.local.port = 0;
	lane->verifying = true;
	if (is_udp(reachability)) {
		udp_dialback_start(&lane->datagrams, &lane->verify, &reachability->udp_arrivals,
			&request, now);
		return;
	}
	arrivals_expect(&reachability->arrivals, reflector);
	dialback_client_start(&lane->verify, &request, now);
}

/* A name may lead to the reflector that is asked already, under another name. */
static void take_lookup(
	struct reachability *reachability, struct reachability_lane *lane, uint64_t now)
{
	if (!lane->resolve.done)
		return;
	lane->resolving = false;
	for (size_t i = 0; i < lane->resolve.count; i++) {
		struct addr target = resolve_target(&lane->resolve, i);
		if (lane->resolve.found[i].family != reachability->mapped.family)
			continue;
		if (addr_equal_ip(&target, &reachability->asked))
			return;
		start_verify(reachability, lane, &target, now);
		return;
	}
}

static void start_lane(struct reachability *reachability, struct reachability_lane *lane,
	const struct host_port *reflector, bool contacted, uint64_t now)
{
	lane->used = true;
	lane->resolving = true;
	lane->stranger = !contacted;
	resolve_start_reflector(&lane->resolve, reachability->probe->resolver, reflector,
		(enum addr_family)reachability->mapped.family);
	take_lookup(reachability, lane, now);
}

/* Over UDP what cannot be seen is not asked for. */
static bool watch_port(struct reachability *reachability, const struct addr *local)
{
	struct error *error = &reachability->error;

	reachability->udp_arrivals.socket = reachability->udp_arrivals.tap = -1;
	if (!is_udp(reachability)) {
		arrivals_open(&reachability->arrivals, local, &reachability->mapped);
		return true;
	}
	reachability->arrivals.tap = -1;
	if (udp_arrivals_open(&reachability->udp_arrivals, local) == 0)
		return true;
	error_set(error, EXIT_STATUS_LOCAL, "cannot see what comes to port %u: %s", local->port,
		strerror(errno));
	privileges_hint(error, PRIVILEGES_NET_RAW, "");
	reachability->verdict = REACHABILITY_UNTOLD;
	return false;
}

void reachability_start(
	struct reachability *reachability, const struct reachability_request *request, uint64_t now)
{
	size_t count = 1;

	memset(reachability, 0, sizeof(*reachability));
	reachability->mapped = request->mapped;
	reachability->asked = request->asked;
	reachability->probe = request->probe;
	reachability->deadline = now + request->timeout_ms;
	reachability->unsupported = true;
	if (!watch_port(reachability, &request->local))
		return;
	reachability->udp_arrivals.stray = request->stray;
	reachability->udp_arrivals.context = request->context;
	reachability->lanes[0].used = true;
	start_verify(reachability, &reachability->lanes[0], &request->asked, now);
	for (int contacted = 0; contacted < 2; contacted++)
		for (size_t i = 0; i < request->probe->reflector_count; i++)
			if (i != request->reflector && request->contacted[i] == (contacted != 0) &&
				count < REACHABILITY_LANE_MAX)
				start_lane(reachability, &reachability->lanes[count++],
					&request->probe->reflectors[i], contacted != 0, now);
}

uint64_t reachability_watch(
	const struct reachability *reachability, struct pollfd fds[REACHABILITY_WATCH_MAX])
{
	const struct udp_arrivals *datagrams = &reachability->udp_arrivals;
	uint64_t due = reachability->verdict == REACHABILITY_PENDING ? reachability->deadline : 0;

	for (size_t i = 0; i < REACHABILITY_LANE_MAX; i++) {
		const struct reachability_lane *lane = &reachability->lanes[i];
		fds[2 * i] = (struct pollfd){
			.fd = lane->resolving ? lane->resolve.fd : -1, .events = POLLIN};
		fds[2 * i + 1] = (struct pollfd){.fd = -1};
		if (!lane->verifying)
			continue;
		fds[2 * i + 1] = (struct pollfd){.fd = dialback_client_fd(&lane->verify),
			.events = dialback_client_events(&lane->verify)};
		/* One that failed as it started has nothing to poll for. */
		if (lane->verify.state == DIALBACK_CLIENT_FAILED)
			due = 0;
		else if (lane->verify.due < due)
			due = lane->verify.due;
	}
	fds[2 * REACHABILITY_LANE_MAX] = (struct pollfd){
		.fd = is_udp(reachability) ? datagrams->tap : reachability->arrivals.tap,
		.events = POLLIN};
	fds[2 * REACHABILITY_LANE_MAX + 1] =
		(struct pollfd){.fd = datagrams->socket, .events = POLLIN};
	for (size_t i = 0; i < REACHABILITY_LANE_MAX; i++)
		if (reachability->lanes[i].waiting && reachability->lanes[i].again_at < due)
			due = reachability->lanes[i].again_at;
	return due;
}

static void take_failure(
	struct reachability *reachability, struct reachability_lane *lane, uint64_t now)
{
	log_detail("%s", lane->verify.error.text);
	if (lane->verify.silent && !lane->asked_again) {
		lane->waiting = lane->asked_again = true;
		lane->again_at = now + REACHABILITY_AGAIN_MS;
		return;
	}
	if (lane->verify.unsupported)
		return;
	if (lane->verify.silent)
		reachability->silent = true;
	else
		reachability->unsupported = false;
	note_error(reachability, &lane->verify.error);
}

static void ask_again(
	struct reachability *reachability, struct reachability_lane *lane, uint64_t now)
{
	struct addr reflector = lane->verify.reflector;

	lane->waiting = false;
	start_verify(reachability, lane, &reflector, now);
}

static void advance_lane(
	struct reachability *reachability, struct reachability_lane *lane, uint64_t now)
{
	if (is_udp(reachability))
		udp_dialback_advance(&lane->datagrams, now);
	else if (lane->verify.state != DIALBACK_CLIENT_FAILED)
		dialback_client_advance(&lane->verify, now);
	if (lane->verify.state == DIALBACK_CLIENT_DONE) {
		lane->verifying = false;
		take_answer(reachability, lane);
		return;
	}
	if (lane->verify.state != DIALBACK_CLIENT_FAILED)
		return;
	lane->verifying = false;
	take_failure(reachability, lane, now);
}

enum reachability_verdict reachability_advance(
	struct reachability *reachability, const struct pollfd *fds, uint64_t now)
{
	bool busy = false;

	if (reachability->verdict != REACHABILITY_PENDING)
		return reachability->verdict;
	arrivals_read(&reachability->arrivals);
	if (is_udp(reachability))
		udp_arrivals_read(&reachability->udp_arrivals);
	for (size_t i = 0; i < REACHABILITY_LANE_MAX; i++) {
		struct reachability_lane *lane = &reachability->lanes[i];
		if (lane->resolving && fds != NULL && fds[2 * i].revents != 0) {
			resolve_advance(&lane->resolve);
			take_lookup(reachability, lane, now);
		} else if (lane->verifying &&
			   ((fds != NULL && fds[2 * i + 1].revents != 0) ||
				   lane->verify.due <= now || is_udp(reachability) ||
				   lane->verify.state == DIALBACK_CLIENT_FAILED)) {
			advance_lane(reachability, lane, now);
		} else if (lane->waiting && lane->again_at <= now) {
			ask_again(reachability, lane, now);
		}
		busy = busy || lane->resolving || lane->verifying || lane->waiting;
	}
	if (now >= reachability->deadline && busy)
		reachability->unsupported = false;
	if (!busy || now >= reachability->deadline ||
		(reachability->evidence.place != 0 &&
			gets_here(&reachability->evidence, reachability->evidence_arrival)))
		decide(reachability);
	return reachability->verdict;
}

void reachability_end(struct reachability *reachability)
{
	arrivals_close(&reachability->arrivals);
	udp_arrivals_close(&reachability->udp_arrivals);
	for (size_t i = 0; i < REACHABILITY_LANE_MAX; i++) {
		struct reachability_lane *lane = &reachability->lanes[i];
		if (!lane->used)
			continue;
		if (i > 0)
			resolve_end(&lane->resolve);
		if (lane->verifying)
			dialback_client_end(&lane->verify);
		lane->used = lane->resolving = lane->verifying = lane->waiting = false;
	}
}

enum reachability_verdict reachability_run(
	struct reachability *reachability, const struct reachability_request *request)
{
	uint64_t now = clock_now_ms();

	reachability_start(reachability, request, now);
	while (reachability_advance(reachability, NULL, now) == REACHABILITY_PENDING) {
		struct pollfd fds[REACHABILITY_WATCH_MAX];
		uint64_t due = reachability_watch(reachability, fds);
		poll(fds, REACHABILITY_WATCH_MAX, clock_poll_ms(now, due));
		now = clock_now_ms();
		if (reachability_advance(reachability, fds, now) != REACHABILITY_PENDING)
			break;
	}
	reachability_end(reachability);
	return reachability->verdict;
}

bool reachability_find_doubt(const struct reachability *reachability, char out[ARRIVALS_WHY_SIZE])
{
	enum arrival arrival = reachability->evidence_arrival;

	out[0] = '\0';
	if ((reachability->verdict != REACHABILITY_OPEN &&
		    reachability->verdict != REACHABILITY_KNOWN) ||
		arrival == ARRIVAL_SEEN)
		return false;
	arrivals_explain(&reachability->arrivals, arrival, out);
	return true;
}

void reachability_log_doubt(const struct reachability *reachability)
{
	char why[ARRIVALS_WHY_SIZE];
	char mapped[ADDR_TEXT_SIZE];

	if (reachability_find_doubt(reachability, why))
		log_warning("%s is answered; not proved that it is by this machine: %s",
			addr_format(&reachability->mapped, mapped), why);
}

/* The hint about who listens on the local port. Returns false when that is not what is wrong. */
static bool hint_at_owner(
	const struct reachability *reachability, const struct mapping *mapping, struct error *error)
{
	bool bound = strcmp(mapping->method, borrow_method_bind.name) == 0;
	char where[256];
	char local[ADDR_IP_TEXT_SIZE];
	struct port_owner owner;

	if (port_owner_find_again(mapping->protocol, (enum addr_family)mapping->local.family,
		    mapping->local.port, reachability->probe->owner, &owner) != 0)
		return false;
	if (owner.listens && !port_owner_takes(&owner, &mapping->local, bound)) {
		error_hint(error, "%s: have it listen on %s as well",
			port_owner_describe(&owner, where, sizeof(where)),
			addr_format_ip(&mapping->local, local));
		return true;
	}
	if (owner.listens || reachability->evidence.outcome != DIALBACK_REFUSED)
		return false;
	error_hint(error, "nothing listens on the local port: start the service first");
	return true;
}

/* Connected, though not to this machine. */
static void explain_elsewhere(
	const struct reachability *reachability, const struct mapping *mapping, struct error *error)
{
	char banner[4 * DIALBACK_BANNER_MAX + 1];
	char mapped[ADDR_TEXT_SIZE];
	char local[ADDR_IP_TEXT_SIZE];

	addr_format(&reachability->mapped, mapped);
	dialback_format_banner(&reachability->evidence, banner, sizeof(banner));
	error_set(error, EXIT_STATUS_UNREACHABLE,
		"%s is answered, by another machine: nothing arrived here%s%s%s", mapped,
		banner[0] != '\0' ? " (its greeting: " : "", banner, banner[0] != '\0' ? ")" : "");
	error_hint(error,
		"the router forwards port %u to another machine, or answers itself: have it "
		"forward that to %s, or take another local port with -p",
		reachability->mapped.port, addr_format_ip(&mapping->local, local));
}

void reachability_explain(
	const struct reachability *reachability, const struct mapping *mapping, struct error *error)
{
	const struct dialback_result *evidence = &reachability->evidence;
	const struct dialback_result *known = &reachability->known;
	char mapped[ADDR_TEXT_SIZE];
	char from[ADDR_IP_TEXT_SIZE];
	char check[HINT_COMMAND_SIZE];
	const char *outcome = "nothing came";
	bool known_through = known->place != 0 && gets_here(known, reachability->known_arrival);
	enum arrival arrival = reachability->evidence_arrival;

	if (reachability_is_elsewhere(evidence, arrival)) {
		explain_elsewhere(reachability, mapping, error);
		return;
	}
	hint_command_format("check", reachability->probe, check);
	addr_format(&reachability->mapped, mapped);
	addr_format_ip(&evidence->from, from);
	if (!is_udp(reachability))
		outcome = dialback_outcome_name(evidence->outcome);
	else if (arrival == ARRIVAL_SEEN)
		outcome = "this machine drops what comes";
	error_set(error, EXIT_STATUS_UNREACHABLE, "%s is not reachable from elsewhere: %s from %s",
		mapped, outcome, from);
	if (known_through)
		error_hint(error,
			"the NAT lets in only addresses that were contacted (address-dependent "
			"filtering); natpunch connect may get through, %s says more",
			check);
	else if (evidence->outcome == DIALBACK_REFUSED && arrival == ARRIVAL_MISSING)
		error_hint(error,
			"it was not this machine that refused: the NAT does, or the "
			"router forwards "
			"that port to another machine; %s says more",
			check);
	else if (hint_at_owner(reachability, mapping, error))
		return;
	else if (arrival == ARRIVAL_SEEN)
		error_hint(error,
			"it came as far as this machine: a firewall of this machine keeps "
			"strangers out; %s says more",
			check);
	else
		error_hint(error,
			"the NAT or a firewall keeps strangers out; -F asks the router "
			"to let them in, %s says which it is",
			check);
}
