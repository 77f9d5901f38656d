/*
 * UPnP IGD. The search: M-SEARCH for versions 1 and 2, to the router and to the group, at once and
 * after 250 and 750 ms unless a description was found. Each description that the router's answers
 * name is fetched, one at a time and in the order of the answers; of each service in it the
 * router's own address is asked. The first service that tells one is used, else the first that
 * answers at all: a router whose own address is private may tell none, and says why when it is
 * asked to forward.
 *
 * There is at most one exchange at a time; `describing` and `answer.action` tell what it is about.
 * Invariant: an exchange is open only while SEARCHING or WORKING, the search only while SEARCHING.
 */
#include "natpunch/client/upnp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/proto/ssdp.h"

#define MULTICAST_TTL   2  /* UPnP Device Architecture 1.1, 1.3.2 */
#define DATAGRAMS_MAX   16 /* that are taken at once */
#define OTHER_PORTS_MAX 3
#define LOW_PORTS_END   1024

static const unsigned pauses_ms[] = {250, 500}; /* between searches */
#define PAUSES (sizeof(pauses_ms) / sizeof(pauses_ms[0]))

static void close_search(struct upnp *upnp)
{
	if (upnp->search_fd >= 0)
		close(upnp->search_fd);
	upnp->search_fd = -1;
	upnp->search_due = TIMER_NONE;
}

void upnp_end(struct upnp *upnp)
{
	close_search(upnp);
	http_exchange_close(&upnp->exchange);
}

static void settle(struct upnp *upnp, enum upnp_state state)
{
	upnp_end(upnp);
	upnp->state = state;
}

static void fail(struct upnp *upnp, const char *why)
{
	upnp->why = why;
	settle(upnp, UPNP_FAILED);
}

/* --- the search --- */

static int open_search(struct upnp *upnp)
{
	struct in_addr source;
	int fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);

	upnp->search_fd = fd;
	memcpy(&source, upnp->request.source.ip, sizeof(source));
	if (fd < 0 ||
		(upnp->request.interface != NULL &&
			socket_bind_interface(fd, upnp->request.interface) != 0) ||
		setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &source, sizeof(source)) != 0 ||
		socket_set_flag(fd, IPPROTO_IP, IP_MULTICAST_TTL, MULTICAST_TTL) != 0)
		return -1;
	return socket_bind(fd, &upnp->request.source);
}

/* One that cannot be sent is as good as lost. */
static void send_search(struct upnp *upnp, const struct addr *to, unsigned version)
{
	struct sockaddr_storage sockaddr;
	socklen_t sockaddr_size = socket_from_addr(to, &sockaddr);
	char text[SSDP_SEARCH_SIZE];
	size_t size = ssdp_write_search(version, text);

	(void)sendto(upnp->search_fd, text, size, 0, (struct sockaddr *)&sockaddr, sockaddr_size);
}

static void search(struct upnp *upnp)
{
	struct addr group, router = upnp->request.router;

	router.port = SSDP_PORT;
	if (addr_parse_ip(&group, SSDP_GROUP) != 0)
		return;
	group.port = SSDP_PORT;
	for (unsigned version = 1; version <= 2; version++) {
		send_search(upnp, &router, version);
		send_search(upnp, &group, version);
	}
}

/* Sends again if it is time, and nothing was found. */
static void continue_search(struct upnp *upnp, uint64_t now)
{
	if (upnp->search_fd < 0 || now < upnp->search_due)
		return;
	search(upnp);
	if (upnp->pauses < PAUSES)
		upnp->search_due += pauses_ms[upnp->pauses++];
	else
		upnp->search_due = TIMER_NONE;
}

static void keep_location(struct upnp *upnp, const struct http_url *location)
{
	for (size_t i = 0; i < upnp->location_count; i++)
		if (upnp->locations[i].server.port == location->server.port &&
			strcmp(upnp->locations[i].path, location->path) == 0)
			return;
	if (upnp->location_count < UPNP_LOCATIONS_MAX)
		upnp->locations[upnp->location_count++] = *location;
}

static void take_answer(struct upnp *upnp, const char *data, size_t size)
{
	struct http_url location;

	upnp->heard = true;
	upnp->answers++;
	if (ssdp_read_answer(data, size, &upnp->request.router, &location) == 0) {
		keep_location(upnp, &location);
		upnp->search_due = TIMER_NONE;
	}
}

/* An answer counts from any port of the router, and from no other host. */
static void receive_answers(struct upnp *upnp)
{
	char data[SSDP_ANSWER_MAX];

	for (size_t i = 0; i < DATAGRAMS_MAX && upnp->answers < UPNP_ANSWERS_MAX; i++) {
		struct sockaddr_storage sockaddr = {.ss_family = AF_UNSPEC};
		socklen_t sockaddr_size = sizeof(sockaddr);
		struct addr from;
		ssize_t got = recvfrom(upnp->search_fd, data, sizeof(data), 0,
			(struct sockaddr *)&sockaddr, &sockaddr_size);

		if (got < 0)
			return;
		socket_to_addr(&sockaddr, &from);
		if (addr_equal_ip(&from, &upnp->request.router))
			take_answer(upnp, data, (size_t)got);
	}
	if (upnp->answers == UPNP_ANSWERS_MAX)
		close_search(upnp);
}

void upnp_start(
	struct upnp *upnp, const struct upnp_request *request, uint64_t deadline, uint64_t now)
{
	memset(upnp, 0, sizeof(*upnp));
	upnp->state = UPNP_SEARCHING;
	upnp->request = *request;
	upnp->request.source.port = 0;
	upnp->deadline = deadline;
	upnp->search_due = now;
	upnp->exchange.fd = -1;
	if (open_search(upnp) != 0)
		fail(upnp, strerror(errno));
	else
		continue_search(upnp, now);
}

/* --- exchanges --- */

static int connect_to(struct upnp *upnp, const struct http_url *url)
{
	if (http_exchange_open(&upnp->exchange, &upnp->request.source, upnp->request.interface,
		    &url->server) == 0)
		return 0;
	upnp->why = upnp->exchange.why;
	http_exchange_close(&upnp->exchange);
	return -1;
}

static int ask_service(struct upnp *upnp, enum igd_action action)
{
	upnp->describing = false;
	igd_answer_start(&upnp->answer, action);
	return connect_to(upnp, &upnp->service.control);
}

/* Failing leaves no service. */
static int describe(struct upnp *upnp, const struct http_url *location)
{
	upnp->describing = true;
	igd_description_start(&upnp->description, location);
	return connect_to(upnp, location);
}

static int send_request(struct upnp *upnp)
{
	char request[IGD_REQUEST_SIZE];
	size_t size = upnp->describing ? igd_write_get(&upnp->description.base, request)
				       : igd_write_request(upnp->answer.action, &upnp->service,
						 &upnp->mapping, request);

	return http_exchange_send(&upnp->exchange, request, size);
}

/* Reads as much of the answer as has come. */
static enum http_exchange_result advance_exchange(struct upnp *upnp)
{
	char piece[HTTP_EXCHANGE_PIECE_SIZE];
	enum http_exchange_result result;
	size_t size;

	for (;;) {
		result = http_exchange_advance(&upnp->exchange, piece, &size);
		if (result == HTTP_EXCHANGE_CONNECTED && send_request(upnp) != 0)
			return HTTP_EXCHANGE_FAILED;
		if (result == HTTP_EXCHANGE_BODY && upnp->describing)
			igd_description_take(&upnp->description, piece, size);
		else if (result == HTTP_EXCHANGE_BODY)
			igd_answer_take(&upnp->answer, piece, size);
		else if (result != HTTP_EXCHANGE_CONNECTED)
			return result;
	}
}

/* Did the service answer the action, be it with a fault? */
static bool is_answered(struct upnp *upnp, enum http_exchange_result result)
{
	const struct igd_answer *answer = &upnp->answer;

	if (result == HTTP_EXCHANGE_FAILED) {
		upnp->why = upnp->exchange.why;
		return false;
	}
	if (igd_answer_end(answer) && (answer->error != 0 || upnp->exchange.answer.status == 200))
		return true;
	upnp->why = "a bad answer";
	return false;
}

/* --- which service --- */

static void take_description(struct upnp *upnp, enum http_exchange_result result)
{
	struct igd_description *description = &upnp->description;

	upnp->next_service = 0;
	if (result == HTTP_EXCHANGE_COMPLETE && upnp->exchange.answer.status == 200 &&
		igd_description_end(description) && description->count > 0)
		return;
	description->count = 0;
	upnp->why = result == HTTP_EXCHANGE_FAILED ? upnp->exchange.why : "a bad description";
}

static void take_external(struct upnp *upnp, enum http_exchange_result result)
{
	if (!is_answered(upnp, result))
		return;
	if (upnp->answer.external.family != ADDR_NONE) {
		upnp->external = upnp->answer.external;
		upnp->has_service = true;
		settle(upnp, UPNP_READY);
	} else if (!upnp->has_service) {
		upnp->has_service = true;
		upnp->spare = upnp->service;
	}
}

/* Nothing more can be found, or not in time. */
static void end_search(struct upnp *upnp, const char *why)
{
	if (!upnp->has_service) {
		fail(upnp, why);
		return;
	}
	upnp->service = upnp->spare;
	settle(upnp, UPNP_READY);
}

/* Asks the next service, or for the next description. */
static void ask_next(struct upnp *upnp)
{
	struct igd_description *description = &upnp->description;

	while (upnp->state == UPNP_SEARCHING && upnp->exchange.fd < 0) {
		if (upnp->next_service < description->count) {
			upnp->service = description->services[upnp->next_service++];
			ask_service(upnp, IGD_EXTERNAL_ADDRESS);
		} else if (upnp->next_location < upnp->location_count) {
			describe(upnp, &upnp->locations[upnp->next_location++]);
		} else {
			if (upnp->has_service)
				end_search(upnp, upnp->why);
			return;
		}
	}
}

/* --- forwarding --- */

static void work(struct upnp *upnp, enum igd_action action)
{
	upnp->state = UPNP_WORKING;
	if (ask_service(upnp, action) != 0)
		settle(upnp, UPNP_FAILED);
}

static void begin_work(struct upnp *upnp, enum igd_action action, const struct igd_mapping *mapping,
	uint64_t deadline)
{
	upnp->mapping = *mapping;
	upnp->deadline = deadline;
	upnp->error = 0;
	upnp->tries = 0;
	work(upnp, action);
}

void upnp_map(struct upnp *upnp, const struct igd_mapping *mapping, uint64_t deadline)
{
	begin_work(upnp, IGD_ADD, mapping, deadline);
}

void upnp_unmap(struct upnp *upnp, const struct igd_mapping *mapping, uint64_t deadline)
{
	begin_work(upnp, IGD_LOOK_UP, mapping, deadline);
}

/* Would another external port be given? Some routers forward ports from 1024 alone. */
static bool can_try_another(const struct upnp *upnp)
{
	unsigned error = upnp->answer.error;

	if (upnp->answer.action != IGD_ADD || upnp->tries == OTHER_PORTS_MAX)
		return false;
	return error == IGD_ERROR_CONFLICT || error == IGD_ERROR_CONFLICT_MECHANISM ||
	       (error == IGD_ERROR_NOT_AUTHORIZED && upnp->mapping.external_port < LOW_PORTS_END);
}

/* WANIPConnection:2 lets the router choose; the others have to be asked for one after another. */
static void try_another(struct upnp *upnp)
{
	upnp->tries++;
	if (upnp->service.type == IGD_WAN_IP_2) {
		work(upnp, IGD_ADD_ANY);
		return;
	}
	upnp->mapping.external_port =
		(uint16_t)(LOW_PORTS_END + random_below(UINT16_MAX + 1 - LOW_PORTS_END));
	work(upnp, IGD_ADD);
}

static void take_work(struct upnp *upnp, enum http_exchange_result result)
{
	const struct igd_answer *answer = &upnp->answer;

	if (!is_answered(upnp, result)) {
		settle(upnp, UPNP_FAILED);
		return;
	}
	if (answer->action == IGD_LOOK_UP && answer->error == 0) {
		if (addr_equal(&answer->internal, &upnp->mapping.internal))
			work(upnp, IGD_DELETE);
		else
			settle(upnp, UPNP_REMOVED);
		return;
	}
	if ((answer->action == IGD_DELETE || answer->action == IGD_LOOK_UP) &&
		(answer->error == 0 || answer->error == IGD_ERROR_NO_SUCH_ENTRY)) {
		settle(upnp, UPNP_REMOVED);
		return;
	}
	if (answer->error == 0) {
		if (answer->action == IGD_ADD_ANY)
			upnp->mapping.external_port = answer->port;
		settle(upnp, UPNP_MAPPED);
		return;
	}
	/* Some routers send the second code and mean the first. */
	if (upnp->mapping.lease > 0 && (answer->error == IGD_ERROR_PERMANENT_ONLY ||
					       answer->error == IGD_ERROR_INVALID_ARGS)) {
		upnp->mapping.lease = 0;
		work(upnp, answer->action);
		return;
	}
	/* The first refusal counts: it is about the port that was wanted. */
	if (upnp->error == 0)
		upnp->error = answer->error;
	if (can_try_another(upnp))
		try_another(upnp);
	else
		settle(upnp, UPNP_REFUSED);
}

/* --- the loop's side --- */

static void continue_exchange(struct upnp *upnp)
{
	enum http_exchange_result result = advance_exchange(upnp);

	if (result == HTTP_EXCHANGE_WAITING)
		return;
	http_exchange_close(&upnp->exchange);
	if (upnp->describing)
		take_description(upnp, result);
	else if (upnp->state == UPNP_SEARCHING)
		take_external(upnp, result);
	else
		take_work(upnp, result);
}

bool upnp_is_busy(const struct upnp *upnp)
{
	return upnp->state == UPNP_SEARCHING || upnp->state == UPNP_WORKING;
}

uint64_t upnp_watch(const struct upnp *upnp, struct pollfd fds[UPNP_WATCH_MAX])
{
	fds[0] = (struct pollfd){.fd = upnp->search_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = upnp->exchange.fd, .events = POLLIN};
	if (upnp->exchange.fd >= 0)
		fds[1].events = http_exchange_events(&upnp->exchange);
	if (!upnp_is_busy(upnp))
		return TIMER_NONE;
	return upnp->search_due < upnp->deadline ? upnp->search_due : upnp->deadline;
}

void upnp_advance(struct upnp *upnp, uint64_t now)
{
	if (!upnp_is_busy(upnp))
		return;
	if (upnp->search_fd >= 0)
		receive_answers(upnp);
	continue_search(upnp, now);
	if (upnp->exchange.fd >= 0)
		continue_exchange(upnp);
	ask_next(upnp);
	if (!upnp_is_busy(upnp) || now < upnp->deadline)
		return;
	if (upnp->state == UPNP_WORKING)
		fail(upnp, "the time is up");
	else
		end_search(upnp, upnp->heard ? "the time is up" : "no answer");
}
