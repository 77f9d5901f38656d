/*
 * A lane is a protocol; PCP and NAT-PMP share one connected UDP socket, as they share the port of
 * the router, and UPnP is a machine of its own (upnp.c). A lane is to map when those before it are
 * out, as may_map() and may_map_by_upnp() have it. With `look` none maps: a lane is done once it
 * has answered.
 *
 * Events: a datagram, an ICMP error (from send(2) as well as from recv(2)), what UPnP comes to, the
 * times of router.h. Threat: forged datagrams in the router's name. The socket takes those of its
 * address and port alone, pcp_read() those that answer this request; others are dropped, and
 * READ_MAX bounds how many are read in a turn.
 *
 * Invariant: `fd` is open only while the state is ROUTER_ASKING and one of its lanes is, or -1.
 */
#include "natpunch/client/router.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/error.h"
#include "natpunch/base/sha256.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define READ_MAX   32
#define REPEAT_MAX 2

static const struct {
	const char *name;
	const char *title;
} method_rows[ROUTER_METHOD_COUNT + 1] = {
	[ROUTER_PCP] = {"pcp", "PCP"},
	[ROUTER_NAT_PMP] = {"nat-pmp", "NAT-PMP"},
	[ROUTER_UPNP] = {"upnp", "UPnP"},
	[ROUTER_NO_METHOD] = {"", ""},
};

const char *router_method_name(enum router_method method)
{
	return method_rows[method].name;
}

const char *router_method_title(enum router_method method)
{
	return method_rows[method].title;
}

const char *router_methods_format(unsigned methods, char out[ROUTER_METHODS_TEXT_SIZE])
{
	size_t size = ROUTER_METHODS_TEXT_SIZE;
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ROUTER_METHOD_COUNT; i++)
		if (methods & (1U << i))
			used += (size_t)snprintf(out + used, size - used, "%s%s",
				used > 0 ? ", " : "", router_method_title((enum router_method)i));
	return out;
}

int router_parse_methods(const char *list, unsigned *out)
{
	unsigned methods = 0;

	for (;;) {
		size_t size = strcspn(list, ",");
		size_t i = 0;

		while (i < ROUTER_METHOD_COUNT &&
			(strlen(method_rows[i].name) != size ||
				memcmp(method_rows[i].name, list, size) != 0))
			i++;
		if (i == ROUTER_METHOD_COUNT)
			return -1;
		methods |= 1U << i;
		if (list[size] == '\0')
			break;
		list += size + 1;
	}
	*out = methods;
	return 0;
}

void router_read_secret(struct router_secret *out)
{
	static const char *const files[] = {"/etc/machine-id", "/proc/sys/kernel/random/boot_id"};
	struct error ignored;
	int missing;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		ssize_t got =
			file_read(files[i], out->bytes, sizeof(out->bytes), &missing, &ignored);

		out->size = got > 0 ? (size_t)got : 0;
		if (out->size > 0)
			return;
	}
}

/* The same in each run, as a mapping can be renewed and taken back by its nonce alone. */
static void make_nonce(struct router *router)
{
	static const char purpose[] = "natpunch pcp";
	const struct router_request *request = &router->request;
	const uint8_t what[] = {request->source.family, (uint8_t)request->protocol,
		(uint8_t)(request->port >> 8), (uint8_t)request->port};
	uint8_t digest[SHA256_SIZE];
	struct hmac_sha256 hmac;

	hmac_sha256_start(&hmac, request->secret->bytes, request->secret->size);
	hmac_sha256_update(&hmac, purpose, sizeof(purpose) - 1);
	hmac_sha256_update(&hmac, what, sizeof(what));
	hmac_sha256_finish(&hmac, digest);
	memcpy(router->nonce, digest, sizeof(router->nonce));
}

/* ---- the end ------------------------------------------------------------------------------ */

static const char *name_refusal(enum router_method method, uint16_t result)
{
	const char *name = "";

	if (method != ROUTER_UPNP)
		return pcp_result_name(method == ROUTER_PCP ? PCP_MAP : PCP_NAT_PMP_MAP, result);
	name = igd_error_name(result);
	return name[0] != '\0' ? name : "an unknown error";
}

/* What the lane that decided was told. */
static void take_result(struct router *router, enum router_method method)
{
	const struct pcp_answer *answer = &router->lanes[method].answer;
	struct router_result *result = &router->result;

	result->port = answer->external.port;
	result->lease = answer->lifetime;
	result->epoch = answer->epoch;
	result->result = answer->result;
	result->refusal = name_refusal(method, answer->result);
	result->forbidden = answer->result == (method == ROUTER_UPNP ? IGD_ERROR_NOT_AUTHORIZED
								     : PCP_RESULT_NOT_AUTHORIZED);
	if (addr_classify(&answer->external) != ADDR_CLASS_UNSPECIFIED)
		result->external = answer->external;
	result->external.port = 0;
}

static bool was_heard(const struct router *router)
{
	return router->heard || router->upnp.heard;
}

static void finish(struct router *router, enum router_state state, enum router_method method)
{
	router_end(router);
	router->state = state;
	router->result.method = method;
	router->result.heard = was_heard(router);
	router->result.external = router->external;
	if (method != ROUTER_NO_METHOD)
		take_result(router, method);
}

static bool is_open(const struct router_lane *lane)
{
	return lane->state == ROUTER_LANE_GREETED || lane->state == ROUTER_LANE_READY ||
	       lane->state == ROUTER_LANE_ASKED;
}

/* The first lane in this state, or ROUTER_NO_METHOD. */
static enum router_method find_lane(const struct router *router, enum router_lane_state state)
{
	size_t i = 0;

	while (i < ROUTER_METHOD_COUNT && router->lanes[i].state != state)
		i++;
	return (enum router_method)i;
}

/* If several grant, the last counts: it was asked after the others, and changed their mapping. */
static enum router_method find_grant(const struct router *router)
{
	size_t i = ROUTER_METHOD_COUNT;

	while (i > 0 && router->lanes[i - 1].state != ROUTER_LANE_DONE)
		i--;
	return i > 0 ? (enum router_method)(i - 1) : ROUTER_NO_METHOD;
}

/*
 * Is there anything to wait for? With a grant, for those that were asked to map after it. To take
 * back is to ask all: one refuses what another one has mapped.
 */
static bool waits(const struct router *router, enum router_method grant)
{
	bool granted =
		router->request.lease > 0 && !router->request.look && grant != ROUTER_NO_METHOD;

	for (size_t i = granted ? grant + 1U : 0; i < ROUTER_METHOD_COUNT; i++)
		if (granted ? router->lanes[i].state == ROUTER_LANE_ASKED
			    : is_open(&router->lanes[i]))
			return true;
	return false;
}

/* Which protocols it speaks; of NAT-PMP that it knows no address, and why. */
static void finish_look(struct router *router)
{
	const struct pcp_answer *address = &router->lanes[ROUTER_NAT_PMP].answer;
	unsigned methods = 0;

	for (size_t i = 0; i < ROUTER_METHOD_COUNT; i++)
		if (router->lanes[i].state == ROUTER_LANE_DONE)
			methods |= 1U << i;
	finish(router, methods != 0 ? ROUTER_DONE : ROUTER_SILENT, ROUTER_NO_METHOD);
	router->result.methods = methods;
	router->result.result = address->result;
	if (address->result != PCP_RESULT_DONE)
		router->result.refusal = name_refusal(ROUTER_NAT_PMP, address->result);
}

/* Ends it when there is nothing to wait for, or no time. */
static void settle(struct router *router, bool late)
{
	enum router_method grant = find_grant(router);
	enum router_method refused = find_lane(router, ROUTER_LANE_REFUSED);

	if (!late && waits(router, grant))
		return;
	if (router->request.look)
		finish_look(router);
	else if (grant != ROUTER_NO_METHOD)
		finish(router, ROUTER_DONE, grant);
	else if (refused != ROUTER_NO_METHOD)
		finish(router, ROUTER_REFUSED, refused);
	else
		finish(router, ROUTER_SILENT, ROUTER_NO_METHOD);
}

/* ---- asking ------------------------------------------------------------------------------- */

static struct pcp_request make_message(const struct router *router, enum router_method method)
{
	const struct router_request *request = &router->request;
	struct pcp_request message = {
		.kind = method == ROUTER_PCP ? PCP_MAP : PCP_NAT_PMP_MAP,
		.client = request->source,
		.protocol = request->protocol,
		.internal_port = request->port,
		.external_port = request->wish,
		.lifetime = request->lease,
	};

	memcpy(message.nonce, router->nonce, sizeof(message.nonce));
	if (router->lanes[method].state == ROUTER_LANE_GREETED)
		message.kind = method == ROUTER_PCP ? PCP_ANNOUNCE : PCP_NAT_PMP_ADDRESS;
	return message;
}

/* Nobody listens for PCP and NAT-PMP there; or this machine does not let it out. */
static void fail(struct router *router, int problem)
{
	router->result.problem = problem;
	if (router->fd >= 0)
		close(router->fd);
	router->fd = -1;
	for (size_t i = 0; i < ROUTER_UPNP; i++)
		if (is_open(&router->lanes[i]))
			router->lanes[i].state = ROUTER_LANE_OFF;
}

static void ask(struct router *router, enum router_method method)
{
	struct pcp_request message = make_message(router, method);
	uint8_t bytes[PCP_REQUEST_MAX];
	size_t size = pcp_write(&message, bytes);

	if (router->fd >= 0 && send(router->fd, bytes, size, 0) < 0 && errno != EAGAIN &&
		errno != ENOBUFS)
		fail(router, errno);
}

/* Is it the turn of NAT-PMP: has PCP refused, or is it silent for long enough? */
static bool may_map(const struct router *router, uint64_t now)
{
	const struct router_lane *pcp = &router->lanes[ROUTER_PCP];

	return router->lanes[ROUTER_NAT_PMP].state == ROUTER_LANE_READY &&
	       pcp->state != ROUTER_LANE_DONE &&
	       (!is_open(pcp) || now >= router->start + ROUTER_PATIENCE_MS);
}

/* With `look` UPnP gets only the time for silence, unless it was heard. */
static uint64_t deadline_of(const struct router *router)
{
	bool brief = router->request.brief || !was_heard(router) ||
		     (router->request.look && !router->upnp.heard);

	return router->start + (brief ? ROUTER_SILENCE_MS : ROUTER_DEADLINE_MS);
}

/*
 * Is it the turn of UPnP: have the others refused, or was it heard alone? What takes back asks all,
 * as one of them has the forward.
 */
static bool may_map_by_upnp(const struct router *router, uint64_t now)
{
	bool others = false;

	if (router->lanes[ROUTER_UPNP].state != ROUTER_LANE_READY)
		return false;
	if (router->request.lease == 0)
		return true;
	if (find_grant(router) != ROUTER_NO_METHOD)
		return false;
	for (size_t i = 0; i < ROUTER_UPNP; i++)
		others = others || is_open(&router->lanes[i]);
	return !others || (!router->heard && now >= router->start + ROUTER_SILENCE_MS);
}

static void map_by_upnp(struct router *router)
{
	const struct router_request *request = &router->request;
	struct igd_mapping mapping = {
		.protocol = request->protocol,
		.external_port = request->wish,
		.internal = request->source,
		.lease = request->lease,
	};

	mapping.internal.port = request->port;
	router->lanes[ROUTER_UPNP].state = ROUTER_LANE_ASKED;
	if (request->lease == 0)
		upnp_unmap(&router->upnp, &mapping, deadline_of(router));
	else
		upnp_map(&router->upnp, &mapping, deadline_of(router));
}

static void start_upnp(struct router *router)
{
	const struct router_request *request = &router->request;
	struct upnp_request search = {
		.source = request->source,
		.router = request->router,
		.interface = request->interface,
	};
	uint64_t whole = request->brief ? ROUTER_SILENCE_MS : ROUTER_DEADLINE_MS;

	upnp_start(&router->upnp, &search, router->start + whole, router->start);
	if (upnp_is_busy(&router->upnp))
		router->lanes[ROUTER_UPNP].state = ROUTER_LANE_GREETED;
}

static int open_socket(const struct router_request *request)
{
	struct addr local = request->source;
	struct addr remote = request->router;
	int fd = socket_open((enum addr_family)local.family, SOCK_DGRAM, 0);
	int saved;

	if (fd < 0)
		return -1;
	local.port = 0;
	if (remote.port == 0)
		remote.port = PCP_PORT;
	if ((request->interface == NULL || socket_bind_interface(fd, request->interface) == 0) &&
		socket_bind(fd, &local) == 0 && socket_connect(fd, &remote) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Of PCP and NAT-PMP. */
static void start_datagrams(struct router *router, unsigned methods)
{
	bool look = router->request.look;
	bool back = router->request.lease == 0 && !look;

	router->fd = open_socket(&router->request);
	if (router->fd < 0) {
		fail(router, errno);
		return;
	}
	if (methods & (1U << ROUTER_PCP))
		router->lanes[ROUTER_PCP].state = look ? ROUTER_LANE_GREETED : ROUTER_LANE_ASKED;
	if (methods & (1U << ROUTER_NAT_PMP))
		router->lanes[ROUTER_NAT_PMP].state =
			back ? ROUTER_LANE_ASKED : ROUTER_LANE_GREETED;
	for (size_t i = 0; i < ROUTER_UPNP; i++)
		if (is_open(&router->lanes[i]))
			ask(router, (enum router_method)i);
}

void router_start(struct router *router, const struct router_request *request, uint64_t now)
{
	unsigned methods = request->methods;

	memset(router, 0, sizeof(*router));
	router->request = *request;
	router->start = now;
	router->result.router = request->router;
	router->result.router.port = 0;
	make_nonce(router);
	router->request.secret = NULL;
	router->fd = router->upnp.search_fd = router->upnp.exchange.fd = -1;
	router->upnp.state = UPNP_FAILED;
	if (request->source.family != ADDR_IPV4)
		methods &= 1U << ROUTER_PCP;
	if (methods & (1U << ROUTER_UPNP))
		start_upnp(router);
	if (methods & ~(1U << ROUTER_UPNP))
		start_datagrams(router, methods);
	settle(router, false);
}

/* ---- hearing ------------------------------------------------------------------------------ */

static void take_answer(
	struct router *router, enum router_method method, const struct pcp_answer *answer)
{
	struct router_lane *lane = &router->lanes[method];

	router->heard = true;
	lane->answer = *answer;
	if (lane->state == ROUTER_LANE_GREETED) {
		if (answer->result == PCP_RESULT_DONE && method == ROUTER_NAT_PMP)
			router->external = answer->external;
		lane->state = router->request.look ? ROUTER_LANE_DONE : ROUTER_LANE_READY;
		return;
	}
	lane->state = answer->result == PCP_RESULT_DONE ? ROUTER_LANE_DONE : ROUTER_LANE_REFUSED;
}

/*
 * A router that speaks NAT-PMP alone refuses an ANNOUNCE by a message that looks like a refusal to
 * tell its address, as both have the opcode 0.
 */
static bool is_about_announce(
	const struct router *router, enum router_method method, const struct pcp_answer *answer)
{
	return router->request.look && method == ROUTER_NAT_PMP &&
	       answer->result == PCP_RESULT_VERSION;
}

static void take_datagram(struct router *router, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < ROUTER_UPNP; i++) {
		enum router_method method = (enum router_method)i;
		struct pcp_request message = make_message(router, method);
		struct pcp_answer answer;

		if (router->lanes[i].state != ROUTER_LANE_GREETED &&
			router->lanes[i].state != ROUTER_LANE_ASKED)
			continue;
		switch (pcp_read(&message, bytes, size, &answer)) {
		case PCP_READ_ANSWER:
			if (!is_about_announce(router, method, &answer))
				take_answer(router, method, &answer);
			break;
		case PCP_READ_OTHER_VERSION:
			router->heard = true;
			router->lanes[i].state = ROUTER_LANE_OFF;
			break;
		default:
			break;
		}
	}
}

static void receive_all(struct router *router)
{
	uint8_t bytes[PCP_ANSWER_MAX + 1];

	for (int i = 0; i < READ_MAX && router->fd >= 0; i++) {
		ssize_t got = recv(router->fd, bytes, sizeof(bytes), 0);

		if (got >= 0)
			take_datagram(router, bytes, (size_t)got);
		else if (errno == EAGAIN || errno == EINTR)
			return;
		else
			fail(router, errno);
	}
}

static void take_upnp(struct router *router)
{
	struct router_lane *lane = &router->lanes[ROUTER_UPNP];
	const struct upnp *upnp = &router->upnp;

	if (upnp->external.family != ADDR_NONE)
		router->external = upnp->external;
	lane->answer = (struct pcp_answer){
		.result = (uint16_t)upnp->error,
		.lifetime = upnp->mapping.lease,
		.external = {.port = upnp->mapping.external_port},
	};
	switch (upnp->state) {
	case UPNP_SEARCHING:
	case UPNP_WORKING:
		break;
	case UPNP_READY:
		lane->state = router->request.look ? ROUTER_LANE_DONE : ROUTER_LANE_READY;
		break;
	case UPNP_MAPPED:
	case UPNP_REMOVED:
		lane->state = ROUTER_LANE_DONE;
		break;
	case UPNP_REFUSED:
		lane->state = ROUTER_LANE_REFUSED;
		break;
	case UPNP_FAILED:
		log_detail("UPnP: %s", upnp->why);
		lane->state = ROUTER_LANE_OFF;
		break;
	}
}

static void advance_upnp(struct router *router, uint64_t now)
{
	if (is_open(&router->lanes[ROUTER_UPNP])) {
		upnp_advance(&router->upnp, now);
		take_upnp(router);
	}
	if (may_map_by_upnp(router, now)) {
		map_by_upnp(router);
		take_upnp(router);
	}
}

static uint64_t repeat_at(const struct router *router)
{
	return router->start + (router->repeats == 0 ? ROUTER_SILENCE_MS : ROUTER_REPEAT_MS);
}

static void repeat(struct router *router, uint64_t now)
{
	if (router->repeats == REPEAT_MAX || now < repeat_at(router))
		return;
	router->repeats++;
	for (size_t i = 0; i < ROUTER_UPNP; i++)
		if (router->lanes[i].state == ROUTER_LANE_GREETED ||
			router->lanes[i].state == ROUTER_LANE_ASKED)
			ask(router, (enum router_method)i);
}

uint64_t router_watch(const struct router *router, struct pollfd fds[ROUTER_WATCH_MAX])
{
	uint64_t due = deadline_of(router);

	uint64_t upnp = upnp_watch(&router->upnp, fds + 1);

	fds[0] = (struct pollfd){.fd = router->fd, .events = POLLIN};
	if (router->state != ROUTER_ASKING)
		return TIMER_NONE;
	due = timer_earlier(due, upnp);
	if (router->lanes[ROUTER_NAT_PMP].state == ROUTER_LANE_READY &&
		router->start + ROUTER_PATIENCE_MS < due)
		due = router->start + ROUTER_PATIENCE_MS;
	if (router->repeats < REPEAT_MAX && repeat_at(router) < due)
		due = repeat_at(router);
	return due;
}

enum router_state router_advance(struct router *router, uint64_t now)
{
	bool heard = was_heard(router);

	if (router->state != ROUTER_ASKING)
		return router->state;
	receive_all(router);
	if (may_map(router, now)) {
		router->lanes[ROUTER_NAT_PMP].state = ROUTER_LANE_ASKED;
		ask(router, ROUTER_NAT_PMP);
	}
	advance_upnp(router, now);
	if (!heard && was_heard(router))
		router->result.answered_ms = now - router->start;
	settle(router, now >= deadline_of(router));
	if (router->state == ROUTER_ASKING)
		repeat(router, now);
	return router->state;
}

void router_end(struct router *router)
{
	if (router->fd >= 0)
		close(router->fd);
	router->fd = -1;
	upnp_end(&router->upnp);
}

static bool advance_each(struct router *routers, size_t count, uint64_t now)
{
	bool asking = false;

	for (size_t i = 0; i < count; i++)
		asking = router_advance(&routers[i], now) == ROUTER_ASKING || asking;
	return asking;
}

void router_run(struct router *routers, size_t count)
{
	uint64_t now = clock_now_ms();

	while (advance_each(routers, count, now)) {
		struct pollfd fds[2 * ROUTER_WATCH_MAX];
		uint64_t due = TIMER_NONE;

		for (size_t i = 0; i < count; i++) {
			uint64_t own = router_watch(&routers[i], fds + i * ROUTER_WATCH_MAX);

			due = timer_earlier(due, own);
		}
		poll(fds, count * ROUTER_WATCH_MAX, clock_poll_ms(now, due));
		now = clock_now_ms();
	}
}
