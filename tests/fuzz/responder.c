/*
 * Fuzzes how home answers invitations: those of a reflector that has the key and means harm, one
 * after another, while time goes on and connections succeed, are refused, or hear what they should
 * not. The input says which. The kernel is ours: a socket is one end of a pair, and where it would
 * connect to is only written down.
 *
 * What must hold, as responder.c says: no SYN to where no initiator can be; no more of them than
 * the limits let out; an address is punched to once at a time; handed over is a connection that
 * stands, or one that the relay joined; who waits for a prediction has a sampler that looks; and in
 * the end, of all that was begun nothing is left.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "steps.h"
#include "home/responder.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"

#define START_MS   100000U
#define LONGEST_MS 10000U /* longer than anything that is begun */
#define STEPS      200
#define FDS_MAX    1024
#define HEARD_MAX  256

/* As in responder.c: SYNS_ALL. */
#define SYNS_BURST       256
#define SYNS_INTERVAL_MS 20

static const struct addr reflector = {.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3478};
static const struct addr own = {.family = ADDR_IPV4, .ip = {192, 168, 1, 2}, .port = 22};

/* By its number: a socket that the responder has opened, and has perhaps closed since. */
static struct {
	int other; /* end of the pair, or 0 */
	struct addr remote;
	int outcome; /* what SO_ERROR says */
	bool through;
} sockets[FDS_MAX];

static struct responder responder;
static struct registration registration;
static struct handover handover;
static uint64_t now;
static uint64_t syns;

/* ---- the kernel --------------------------------------------------------------------------- */

int socket(int family, int type, int protocol)
{
	int pair[2];

	(void)family;
	(void)protocol;
	fuzz_check(socketpair(AF_UNIX, (type & ~SOCK_DGRAM) | SOCK_STREAM, 0, pair) == 0);
	fuzz_check(pair[0] < FDS_MAX && pair[1] < FDS_MAX);
	if (sockets[pair[0]].other > 0)
		close(sockets[pair[0]].other);
	memset(&sockets[pair[0]], 0, sizeof(sockets[0]));
	sockets[pair[0]].other = pair[1];
	return pair[0];
}

static bool may_get_a_syn(const struct addr *to)
{
	switch (addr_classify(to)) {
	case ADDR_CLASS_UNSPECIFIED:
	case ADDR_CLASS_MULTICAST:
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
		return false;
	default:
		return !addr_equal_ip(to, &own);
	}
}

int connect(int fd, const struct sockaddr *to, socklen_t size)
{
	struct sockaddr_storage copy = {0};
	uint8_t how = take();

	memcpy(&copy, to, size);
	socket_to_addr(&copy, &sockets[fd].remote);
	fuzz_check(may_get_a_syn(&sockets[fd].remote));
	/* Those to the relay are as many as it has places for. */
	if (!addr_equal(&sockets[fd].remote, &reflector))
		syns++;
	fuzz_check(syns <= SYNS_BURST + (now - START_MS) / SYNS_INTERVAL_MS + 1);
	errno = how < 250 ? EINPROGRESS : how < 253 ? EADDRNOTAVAIL : ENETUNREACH;
	return -1;
}

int bind(int fd, const struct sockaddr *at, socklen_t size)
{
	(void)fd;
	(void)at;
	(void)size;
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	(void)fd;
	(void)level;
	(void)name;
	(void)value;
	(void)size;
	return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	memset(value, 0, *size);
	if (level == SOL_SOCKET && name == SO_ERROR)
		memcpy(value, &sockets[fd].outcome, sizeof(int));
	return 0;
}

int getifaddrs(struct ifaddrs **list)
{
	static struct sockaddr_storage sockaddr;
	static char name[] = "eth0";
	static struct ifaddrs one = {.ifa_name = name, .ifa_addr = (struct sockaddr *)&sockaddr};

	socket_from_addr(&own, &sockaddr);
	*list = &one;
	return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
	(void)list;
}

/* ---- who gets the connections -------------------------------------------------------------- */

void handover_give(struct handover *to, int fd, const struct addr *initiator, uint64_t when)
{
	fuzz_check(to == &handover && when == now);
	fuzz_check(sockets[fd].through);
	fuzz_check(addr_equal(&sockets[fd].remote, initiator) ||
		   addr_equal(&sockets[fd].remote, &reflector));
	close(fd);
}

void handover_expect(struct handover *of, const struct addr *initiator, uint64_t when)
{
	fuzz_check(of == &handover && initiator->family != ADDR_NONE && when == now);
}

/* ---- what happens -------------------------------------------------------------------------- */

/* Few of them, so that they come again. */
static struct addr make_initiator(void)
{
	static const struct addr all[] = {
		{.family = ADDR_IPV4, .ip = {192, 0, 2, 9}},
		{.family = ADDR_IPV4, .ip = {203, 0, 113, 7}},
		{.family = ADDR_IPV4, .ip = {10, 1, 2, 3}},
		{.family = ADDR_IPV4, .ip = {198, 51, 100, 1}},
		{.family = ADDR_IPV4, .ip = {192, 168, 1, 2}},
		{.family = ADDR_IPV4, .ip = {127, 0, 0, 1}},
		{.family = ADDR_IPV4, .ip = {169, 254, 1, 1}},
		{.family = ADDR_IPV4, .ip = {224, 0, 0, 1}},
		{.family = ADDR_IPV4},
		{.family = ADDR_IPV6, .ip = {0x20, 1, 0xd, 0xb8, 1}},
		{.family = ADDR_IPV6, .ip = {0xfe, 0x80, 1}},
		{.family = ADDR_IPV6, .ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1}},
	};
	struct addr initiator = all[take() % (sizeof(all) / sizeof(all[0]))];

	initiator.port = (uint16_t)(20000 + take());
	return initiator;
}

static struct responder_path make_path(void)
{
	static const struct borrow_method *const methods[] = {
		NULL, &borrow_method_bind, &borrow_method_repair, &borrow_method_raw};
	uint8_t how = take();
	struct responder_path path = {
		.local = own,
		.method = methods[how % 4],
		.relay = {.local = own, .reflector = reflector},
		.registration = &registration,
	};

	if ((how & 4) != 0)
		path.other = make_initiator();
	else if ((how & 8) != 0)
		path.other =
			(struct addr){.family = ADDR_IPV4, .ip = {198, 51, 100, 2}, .port = 3479};
	return path;
}

static void invite(void)
{
	struct responder_path path = make_path();
	struct invitation invitation = {
		.initiator = make_initiator(),
		.kind = (enum invitation_kind)(take() % 3),
		.ticket = {.number = 1},
	};

	invitation.prediction.port = (uint16_t)(take() * 257);
	invitation.prediction.step = (int8_t)take();
	responder_meet(&responder, &path, &invitation, now);
}

/* What is due, and what poll(2) would find at one of the sockets, or -1. */
static void advance(int at, short revents)
{
	struct pollfd fds[RESPONDER_WATCH_MAX];

	responder_watch(&responder, fds);
	if (at >= 0 && fds[at].fd >= 0)
		fds[at].revents = revents;
	responder_advance(&responder, fds, now);
}

/* The next socket that is waited for, from a place of the input's choice on; -1: there is none. */
static int choose(const struct pollfd fds[RESPONDER_WATCH_MAX])
{
	unsigned first = take() * 2U;

	for (unsigned i = 0; i < RESPONDER_WATCH_MAX; i++) {
		unsigned at = (first + i) % RESPONDER_WATCH_MAX;
		if (fds[at].fd >= 0)
			return (int)at;
	}
	return -1;
}

static size_t answer_join(
	const struct stun_message *asked, uint8_t out[STUN_MESSAGE_MAX], bool *joined)
{
	const uint8_t token[RELAY_TOKEN_SIZE] = {0};
	uint8_t how = take();

	*joined = (how & 1) != 0;
	if (*joined)
		return relay_message_write_joined(asked, token, out, STUN_MESSAGE_MAX);
	return relay_message_write_error(
		asked->method, asked->transaction, 400U + how / 2, out, STUN_MESSAGE_MAX);
}

static size_t answer_binding(const uint8_t *asked, size_t size, uint8_t out[STUN_MESSAGE_MAX])
{
	const struct binding_server as = {.stream = true};
	struct addr seen = make_initiator();
	struct binding_request granted;
	size_t written = 0;

	if (binding_write_answer(&as, &seen, asked, size, out, STUN_MESSAGE_MAX, &written,
		    &granted) != BINDING_ANSWERED)
		return 0;
	return written;
}

/* To what was asked over it, true or bent, or bytes that are no answer. */
static void answer(int fd)
{
	uint8_t asked[HEARD_MAX], out[STUN_MESSAGE_MAX] = {0};
	ssize_t got = recv(sockets[fd].other, asked, sizeof(asked), MSG_DONTWAIT);
	struct stun_message message;
	uint64_t number;
	size_t size = 0;
	bool joined = false;
	uint8_t change = take();

	if (got <= 0 || stun_parse(&message, asked, (size_t)got) < 0) {
		size = change % 40U;
	} else if (relay_message_read_join(&message, &number) == 0) {
		size = answer_join(&message, out, &joined);
	} else {
		size = answer_binding(asked, (size_t)got, out);
	}
	if (size > 0 && change >= 192) {
		out[take() % size] ^= change;
		joined = false;
	}
	sockets[fd].through = joined;
	(void)send(sockets[fd].other, out, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void happen(void)
{
	struct pollfd fds[RESPONDER_WATCH_MAX];
	int at;

	responder_watch(&responder, fds);
	at = choose(fds);
	if (at < 0)
		return;
	if (fds[at].events == POLLOUT) {
		static const int outcomes[] = {0, ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH};

		sockets[fds[at].fd].outcome = outcomes[take() % 4];
		sockets[fds[at].fd].through = sockets[fds[at].fd].outcome == 0;
	} else if ((take() & 7) == 0) {
		shutdown(sockets[fds[at].fd].other, SHUT_RDWR);
	} else {
		answer(fds[at].fd);
	}
	advance(at, fds[at].events);
}

/* Whoever is connected to refuses, for so many rounds. */
static void refuse_all(unsigned rounds)
{
	struct pollfd fds[RESPONDER_WATCH_MAX];

	while (rounds-- > 0) {
		responder_watch(&responder, fds);
		for (size_t i = 0; i < RESPONDER_WATCH_MAX; i++) {
			if (fds[i].fd < 0 || fds[i].events != POLLOUT)
				continue;
			sockets[fds[i].fd].outcome = ECONNREFUSED;
			fds[i].revents = POLLOUT;
		}
		responder_advance(&responder, fds, now);
		now += 40;
	}
}

/* ---- what must hold ------------------------------------------------------------------------ */

static void check(void)
{
	for (size_t i = 0; i < RESPONDER_PUNCH_MAX; i++) {
		const struct punch *punch = &responder.punches[i];

		fuzz_check(punch->state != PUNCH_OPEN && punch->state != PUNCH_FAILED);
		if (punch->state == PUNCH_NONE)
			continue;
		for (size_t j = 0; j < i; j++)
			fuzz_check(responder.punches[j].state == PUNCH_NONE ||
				   !addr_equal(&responder.punches[j].remote, &punch->remote));
	}
	fuzz_check(responder.waiting_count <= RESPONDER_WAIT_MAX);
	fuzz_check(responder.waiting_count == 0 || responder.sampler.state == PORT_SAMPLER_LOOKING);
}

/* Each timer runs out, and nobody answers any more. */
static void check_nothing_left(void)
{
	struct pollfd fds[RESPONDER_WATCH_MAX];
	uint64_t end = now + LONGEST_MS, due;

	while ((due = responder_watch(&responder, fds)) != TIMER_NONE) {
		now = due > now ? due : now;
		fuzz_check(now < end);
		responder_advance(&responder, fds, now);
	}
	for (size_t i = 0; i < RESPONDER_WATCH_MAX; i++)
		fuzz_check(fds[i].fd < 0);
}

static void step(void)
{
	struct responder_path path;
	bool random_ports;

	switch (take() % 8) {
	case 0:
	case 1:
	case 2:
		invite();
		break;
	case 3:
		path = make_path();
		responder_look(&responder, &path, now);
		(void)responder_take_look(&responder, &random_ports);
		break;
	case 4:
		now += take() * 8U;
		advance(-1, 0);
		break;
	case 5:
		refuse_all(take() % 128);
		break;
	default:
		happen();
	}
	check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_LEVEL_QUIET);
	input = data;
	left = size;
	now = START_MS;
	syns = 0;
	registration_init(&registration, NULL, NULL);
	responder_init(&responder, &handover);
	for (int i = 0; i < STEPS && left > 0; i++)
		step();
	check_nothing_left();
	responder_end(&responder);
	for (int i = 0; i < FDS_MAX; i++)
		if (sockets[i].other > 0) {
			close(sockets[i].other);
			sockets[i].other = 0;
		}
	return 0;
}
