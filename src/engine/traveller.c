#include "natpunch/traveller.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/clock.h"
#include "natpunch/deadline.h"
#include "natpunch/log.h"
#include "natpunch/punch.h"
#include "natpunch/random.h"
#include "natpunch/rendezvous.h"
#include "natpunch/resolve.h"
#include "natpunch/socket.h"
#include "natpunch/stun.h"

#define NONCE_WAIT_MS     30   /* how much later than the handshake the nonce may come by UDP */
#define NEXT_ADDRESS_MS   2000 /* of the reflector's: the next is tried then */
#define ANSWER_TIMEOUT_MS 5000

enum step {
	STEP_CONNECTING, /* the handshake with the reflector */
	STEP_NONCE,      /* it is done; the nonce is waited for a little longer */
	STEP_ASKING,
	STEP_PUNCHING,
	STEP_OPEN,
	STEP_NEXT,   /* this address of the reflector will not do */
	STEP_FAILED, /* no other will do either */
};

struct traveller {
	const struct traveller_request *request;
	enum step step;
	struct addr reflector;
	struct addr local; /* the port that everything leaves from */
	int stream;        /* to the reflector, from that port; or -1 */
	int datagram;      /* to the reflector, for the nonce; or -1 */
	uint64_t due;
	struct rendezvous rendezvous;
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t received;
	struct punch punch;
	struct error *error;
};

static void stop(struct traveller *traveller, enum step step, enum exit_status status,
	const char *what, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&traveller->reflector, text);
	error_set(traveller->error, status, "%s %s: %s", what, text, why);
	traveller->step = step;
}

/* A socket that connects from our port, which the first one makes up. Returns -1 and errno. */
static int open_from_port(struct traveller *traveller, const struct addr *remote)
{
	struct addr local = traveller->local;
	int saved;
	int fd = socket_open((enum addr_family)remote->family, SOCK_STREAM, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	local.family = remote->family;
	if (socket_bind(fd, &local) == 0 && socket_connect(fd, remote) == 0 &&
		(local.port != 0 || socket_local(fd, &traveller->local) == 0))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int open_punch(void *context, const struct addr *remote)
{
	return open_from_port(context, remote);
}

/* ---- the nonce ---------------------------------------------------------------------------- */

static size_t write_request(struct traveller *traveller, uint8_t *out, size_t capacity)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	return rendezvous_write(&traveller->rendezvous, random, out, capacity);
}

/* Whatever goes wrong here costs a round trip and nothing else. */
static void fetch_nonce(struct traveller *traveller)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;

	traveller->datagram =
		socket_open((enum addr_family)traveller->reflector.family, SOCK_DGRAM, IPPROTO_UDP);
	if (traveller->datagram < 0 ||
		socket_connect(traveller->datagram, &traveller->reflector) != 0)
		return;
	size = write_request(traveller, bytes, sizeof(bytes));
	if (send(traveller->datagram, bytes, size, 0) < 0)
		return;
}

static bool has_nonce(const struct traveller *traveller)
{
	return traveller->rendezvous.nonce_size > 0;
}

static void take_nonce(struct traveller *traveller)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	const char *why;
	ssize_t got = recv(traveller->datagram, bytes, sizeof(bytes), 0);

	if (got > 0)
		rendezvous_read(&traveller->rendezvous, bytes, (size_t)got, &why);
	else if (errno != EAGAIN && errno != EINTR) {
		close(traveller->datagram);
		traveller->datagram = -1;
	}
}

/* ---- the question ------------------------------------------------------------------------- */

static void ask(struct traveller *traveller, uint64_t now)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = write_request(traveller, bytes, sizeof(bytes));

	traveller->step = STEP_ASKING;
	traveller->due = now + ANSWER_TIMEOUT_MS;
	if (send(traveller->stream, bytes, size, 0) != (ssize_t)size)
		stop(traveller, STEP_NEXT, EXIT_STATUS_NETWORK, "cannot ask", strerror(errno));
}

static void finish_handshake(struct traveller *traveller, uint64_t now)
{
	int problem = socket_take_error(traveller->stream);

	if (problem != 0) {
		stop(traveller, STEP_NEXT, EXIT_STATUS_NETWORK, "cannot connect to",
			strerror(problem));
		return;
	}
	if (has_nonce(traveller) || traveller->datagram < 0) {
		ask(traveller, now);
		return;
	}
	traveller->step = STEP_NONCE;
	traveller->due = now + NONCE_WAIT_MS;
}

/* The record of our own family; home can be told of our mapping in no other. */
static const struct rendezvous_record *choose(const struct traveller *traveller)
{
	const struct rendezvous *rendezvous = &traveller->rendezvous;

	for (size_t i = 0; i < rendezvous->record_count; i++)
		if (rendezvous->records[i].addr.family == traveller->reflector.family &&
			rendezvous->records[i].protocol == MAPPING_TCP)
			return &rendezvous->records[i];
	return NULL;
}

static void begin_punch(struct traveller *traveller, uint64_t now)
{
	const struct rendezvous_record *record = choose(traveller);
	const char *name = traveller->request->key->name;
	char text[ADDR_TEXT_SIZE];

	if (record == NULL) {
		stop(traveller, STEP_NEXT, EXIT_STATUS_NETWORK, "no address of that name at",
			traveller->rendezvous.record_count > 0 ? "it is known in the other family"
							       : "home was never heard of there");
		return;
	}
	addr_format(&record->addr, text);
	if (record->held)
		log_detail("%s is at %s and is told to connect to us", name, text);
	else
		log_warning("%s was last heard of %u s ago, at %s; trying that", name, record->age,
			text);
	traveller->step = STEP_PUNCHING;
	punch_start(&traveller->punch, &record->addr, open_punch, traveller, now, now);
}

static void take_answer(struct traveller *traveller, const void *data, size_t size, uint64_t now)
{
	const char *why = "";

	switch (rendezvous_read(&traveller->rendezvous, data, size, &why)) {
	case RENDEZVOUS_AGAIN:
		ask(traveller, now);
		return;
	case RENDEZVOUS_DONE:
		begin_punch(traveller, now);
		return;
	case RENDEZVOUS_UNRELATED:
		return;
	case RENDEZVOUS_REFUSED:
		stop(traveller, STEP_FAILED, EXIT_STATUS_NETWORK, "the key is refused by",
			"the same line must stand in its key file");
		return;
	case RENDEZVOUS_UNSUPPORTED:
		stop(traveller, STEP_FAILED, EXIT_STATUS_NETWORK, "no names are kept by",
			"that takes natpunch reflect with -K");
		return;
	case RENDEZVOUS_FAILED:
		stop(traveller, STEP_FAILED, EXIT_STATUS_NETWORK, "no answer for that name from",
			"it reports an error");
		return;
	case RENDEZVOUS_MALFORMED:
		stop(traveller, STEP_FAILED, EXIT_STATUS_PEER, "bad answer from", why);
		return;
	}
}

static void read_stream(struct traveller *traveller, uint64_t now)
{
	size_t left = sizeof(traveller->bytes) - traveller->received;
	ssize_t got = recv(traveller->stream, traveller->bytes + traveller->received, left, 0);
	size_t need;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		stop(traveller, STEP_NEXT, EXIT_STATUS_NETWORK, "no answer from",
			got == 0 ? "it closed the connection" : strerror(errno));
		return;
	}
	traveller->received += (size_t)got;
	while (traveller->step == STEP_ASKING) {
		enum stun_frame frame = stun_frame(traveller->bytes, traveller->received, &need);
		if (frame == STUN_FRAME_NOT_STUN)
			stop(traveller, STEP_FAILED, EXIT_STATUS_PEER, "bad answer from",
				"it is not STUN");
		if (frame != STUN_FRAME_COMPLETE)
			return;
		take_answer(traveller, traveller->bytes, need, now);
		traveller->received -= need;
		memmove(traveller->bytes, traveller->bytes + need, traveller->received);
	}
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void advance_punch(struct traveller *traveller, bool happened, uint64_t now)
{
	const char *name = traveller->request->key->name;
	char text[ADDR_TEXT_SIZE];

	punch_advance(&traveller->punch, happened, now);
	addr_format(&traveller->punch.remote, text);
	if (traveller->punch.state == PUNCH_OPEN) {
		log_detail("connected to %s at try %u", text, traveller->punch.tries);
		traveller->step = STEP_OPEN;
	} else if (traveller->punch.state == PUNCH_FAILED) {
		error_set(traveller->error, EXIT_STATUS_UNREACHABLE,
			"no direct way to %s at %s: %s", name, text,
			strerror(traveller->punch.problem));
		error_hint(traveller->error,
			"by way of a third host: ssh -R 1337:localhost:22 HOST at home, then ssh "
			"-p 1337 HOST");
		traveller->step = STEP_FAILED;
	}
}

static void advance(struct traveller *traveller, const struct pollfd fds[3], uint64_t now)
{
	if (fds[1].revents != 0 && traveller->step <= STEP_NONCE)
		take_nonce(traveller);
	if (traveller->step == STEP_CONNECTING && fds[0].revents != 0)
		finish_handshake(traveller, now);
	else if (traveller->step == STEP_NONCE && (has_nonce(traveller) || now >= traveller->due))
		ask(traveller, now);
	else if (traveller->step == STEP_ASKING && fds[0].revents != 0)
		read_stream(traveller, now);
	else if (traveller->step == STEP_PUNCHING)
		advance_punch(traveller, fds[2].revents != 0, now);
	else if (now >= traveller->due && traveller->step < STEP_PUNCHING)
		stop(traveller, STEP_NEXT, EXIT_STATUS_NETWORK, "no answer from", "the time is up");
}

static int poll_ms(uint64_t now, uint64_t due)
{
	if (due <= now)
		return 0;
	return due - now > 1000 ? 1000 : (int)(due - now);
}

/* Runs until there is a connection, or this address of the reflector will not do. */
static void run(struct traveller *traveller, uint64_t deadline)
{
	uint64_t now = clock_now_ms();

	while (traveller->step < STEP_OPEN && now < deadline) {
		bool punching = traveller->step == STEP_PUNCHING;
		bool connecting = traveller->step == STEP_CONNECTING;
		uint64_t due = punching ? traveller->punch.due : traveller->due;
		struct pollfd fds[3] = {
			{.fd = punching ? -1 : traveller->stream,
				.events = connecting ? POLLOUT : POLLIN},
			{.fd = traveller->step <= STEP_NONCE ? traveller->datagram : -1,
				.events = POLLIN},
			{.fd = punching ? punch_fd(&traveller->punch) : -1, .events = POLLOUT},
		};
		if (traveller->step == STEP_NONCE)
			fds[0].fd = -1;
		if (poll(fds, 3, poll_ms(now, due < deadline ? due : deadline)) < 0)
			memset(fds, 0, sizeof(fds));
		now = clock_now_ms();
		advance(traveller, fds, now);
	}
	if (traveller->step < STEP_OPEN)
		stop(traveller, STEP_FAILED, EXIT_STATUS_NETWORK, "no answer from",
			"the time is up");
}

static void start(struct traveller *traveller, const struct traveller_request *request,
	const struct addr *reflector, struct error *error)
{
	memset(traveller, 0, sizeof(*traveller));
	traveller->request = request;
	traveller->reflector = *reflector;
	traveller->datagram = -1;
	traveller->error = error;
	traveller->step = STEP_CONNECTING;
	traveller->due = clock_now_ms() + NEXT_ADDRESS_MS;
	rendezvous_start(&traveller->rendezvous, STUN_METHOD_CONNECT, request->key);
	fetch_nonce(traveller);
	traveller->stream = open_from_port(traveller, reflector);
	if (traveller->stream < 0)
		stop(traveller, STEP_NEXT, EXIT_STATUS_LOCAL, "cannot connect to", strerror(errno));
}

/* Returns the connection, or -1. */
static int end(struct traveller *traveller)
{
	int fd = traveller->step == STEP_OPEN ? punch_take(&traveller->punch) : -1;

	punch_end(&traveller->punch);
	if (traveller->stream >= 0)
		close(traveller->stream);
	if (traveller->datagram >= 0)
		close(traveller->datagram);
	return fd;
}

static void wait_for_names(struct resolve *resolve, uint64_t deadline)
{
	uint64_t now = clock_now_ms();

	while (!resolve->done && now < deadline) {
		struct pollfd ready = {.fd = resolve->fd, .events = POLLIN};
		poll(&ready, 1, poll_ms(now, deadline));
		resolve_advance(resolve);
		now = clock_now_ms();
	}
}

int traveller_connect(const struct traveller_request *request, struct error *error)
{
	const struct parse_host_port *reflector = request->reflector;
	uint64_t deadline = clock_now_ms() + request->timeout_ms;
	struct traveller traveller;
	struct resolve resolve;
	int fd = -1;

	resolve_start(&resolve, reflector->host, reflector->port, request->family);
	wait_for_names(&resolve, deadline);
	if (!resolve.done || resolve.count == 0)
		error_set(error, EXIT_STATUS_NETWORK, "cannot look up %s: %s", reflector->host,
			resolve.done ? resolve.error.text : "no answer from a name server");
	for (size_t i = 0; i < resolve.count && fd < 0; i++) {
		start(&traveller, request, &resolve.found[i], error);
		run(&traveller, deadline);
		fd = end(&traveller);
		if (fd >= 0 || traveller.step == STEP_FAILED)
			break;
		log_detail("%s", error->text);
	}
	resolve_end(&resolve);
	return fd;
}
