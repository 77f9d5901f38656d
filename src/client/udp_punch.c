/*
 * How both sides open both ways.
 *
 *   TRYING --our check is answered--> THROUGH --a check says that the other side is--> DONE
 *      \______________________________  \__ deadline ______________________________--> FAILED
 *
 * At home such a check ends TRYING as well: the initiator may have ended before it answered ours.
 *
 * Events:
 *   a check of the other side   we answer at once, in TRYING and in THROUGH. After the first one
 * our own check follows, unless it is answered already: the way is open now (RFC 8445
 * section 7.3.1.4). a message from another port of the other side's address in TRYING, we send
 * there from now on: its NAT is symmetric, and ours lets it in all the same (RFC 8445
 * section 7.3.1.3). By rewrite nothing comes from another port. the answer to our check THROUGH:
 * our datagram came in there, and theirs here. `due`                       we send our check again,
 * for as long as it is not answered. the end, when THROUGH       we send a check that says so. It
 * needs no answer.
 *
 * Timers: `due`, SEND_FIRST_MS after the first one, and a quarter more each time up to SEND_MAX_MS;
 * `deadline`, which ends it.
 *
 * The first datagram of each side is mostly lost, and does no harm: it opens the sender's NAT. The
 * other side's NAT drops it, unless that was opened before. Where no filter drops it, Linux's NAT
 * remembers it although it is for no local port, and then allocates another port for what is sent
 * out later; the filter of a home router drops it.
 *
 * Threat: all hosts can send to the port, and an attacker on the path can hold back, repeat and
 * send back what passes. A message counts if it is of the name's key, of the other side's role,
 * and, for an answer, of our random transaction. Each check gets one answer, with as many bytes, to
 * the one address of this punch. A repeated check may lead our checks to another port of that
 * address, until the next true one comes. A repeated check that says THROUGH makes home end this
 * punch; the initiator's next CONNECT, a second later, begins another. An initiator does not take a
 * repeated check as a sign that the way is open. What is no check is passed over: it is for the
 * daemon that has the port. By raw the daemon gets it too. By rewrite the daemon gets nothing from
 * that one address until the punch ends, so raw is tried first.
 */
#include "natpunch/client/udp_punch.h"

#include <errno.h>
#include <string.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"

#define SEND_FIRST_MS 50
#define SEND_MAX_MS   400
#define RECEIVE_MAX   64 /* datagrams in one turn; the others wait for the next poll(2) */
#define METHOD_MAX    3

static const struct borrow_method *const initiators[METHOD_MAX] = {
	&borrow_method_bind, &borrow_method_raw, &borrow_method_rewrite};
static const struct borrow_method *const homes[METHOD_MAX] = {
	&borrow_method_raw, &borrow_method_rewrite, NULL};

static int open_port(struct udp_punch *punch, struct error *error)
{
	const struct udp_punch_config *config = &punch->config;
	const struct borrow_method *const named[METHOD_MAX] = {config->method, NULL, NULL};
	const struct borrow_method *const *methods = named;
	const struct borrow_request request = {
		.protocol = MAPPING_UDP,
		.local = config->local,
		.remote = config->remote,
		.interface = config->interface,
		.shared = true,
		.any_port = !config->one_port,
	};

	if (config->method == NULL)
		methods = config->role == UDP_CHECK_HOME ? homes : initiators;
	for (size_t i = 0; i < METHOD_MAX && methods[i] != NULL; i++) {
		if (borrow_open(methods[i], &request, &punch->port, error) == BORROW_OPEN)
			return 0;
		log_detail("method %s passed over: %s", methods[i]->name, error->text);
	}
	return -1;
}

/* Passes over errors, which may be ICMP for an earlier datagram: the check is sent again. */
static void send_message(struct udp_punch *punch, const struct udp_check *check)
{
	uint8_t bytes[UDP_CHECK_SIZE];
	size_t size = udp_check_write(check, punch->config.secret, bytes, sizeof(bytes));

	(void)borrow_send(&punch->port, bytes, size);
}

static void send_check(struct udp_punch *punch)
{
	struct udp_check check = {
		.role = punch->config.role,
		.through = punch->state == UDP_PUNCH_THROUGH,
	};

	memcpy(check.transaction, punch->transaction, sizeof(check.transaction));
	send_message(punch, &check);
}

static void send_next(struct udp_punch *punch, uint64_t now)
{
	const struct udp_punch_config *config = &punch->config;
	uint64_t pause = SEND_FIRST_MS;

	for (unsigned i = 0; i < punch->sent && pause < SEND_MAX_MS; i++)
		pause += pause / 4;
	punch->due = now + pause;
	if (config->may_send != NULL && !config->may_send(config->context, &config->remote, now))
		return;
	punch->sent++;
	send_check(punch);
}

int udp_punch_start(struct udp_punch *punch, const struct udp_punch_config *config,
	uint64_t deadline, uint64_t now, struct error *error)
{
	uint8_t random[12];

	memset(punch, 0, sizeof(*punch)); /* UDP_PUNCH_NONE */
	punch->config = *config;
	punch->port = BORROWED_NOTHING;
	punch->remote = config->remote;
	punch->due = TIMER_NONE;
	punch->deadline = deadline;
	if (open_port(punch, error) != 0)
		return -1;
	random_fill(random, sizeof(random));
	stun_make_transaction(punch->transaction, random);
	punch->state = UDP_PUNCH_TRYING;
	send_next(punch, now);
	return 0;
}

int udp_punch_fd(const struct udp_punch *punch)
{
	return punch->state == UDP_PUNCH_NONE ? -1 : punch->port.fd;
}

static void take_request(struct udp_punch *punch, const struct udp_check *check, uint64_t now)
{
	struct udp_check answer = *check;

	answer.response = true;
	answer.role = punch->config.role;
	answer.through = punch->state == UDP_PUNCH_THROUGH;
	send_message(punch, &answer);
	if (punch->state == UDP_PUNCH_TRYING && punch->heard == 1)
		send_next(punch, now);
	/*
	 * The other side has an answer of ours: both ways are open, unless this check is an old
	 * one, repeated. So the initiator, which reports that the way is open, believes only its
	 * own transaction.
	 */
	if (check->through &&
		(punch->state == UDP_PUNCH_THROUGH || punch->config.role == UDP_CHECK_HOME))
		punch->state = UDP_PUNCH_DONE;
}

static void take_answer(struct udp_punch *punch, const struct udp_check *answer)
{
	if (punch->state != UDP_PUNCH_TRYING ||
		memcmp(answer->transaction, punch->transaction, sizeof(punch->transaction)) != 0)
		return;
	punch->state = UDP_PUNCH_THROUGH;
	punch->due = TIMER_NONE;
}

static void take_datagram(struct udp_punch *punch, const uint8_t *data, size_t size, uint64_t now)
{
	struct udp_check check;

	if (udp_check_read(&check, punch->config.secret, data, size) != 0 ||
		check.role == punch->config.role)
		return;
	punch->heard++;
	if (punch->state == UDP_PUNCH_TRYING && borrow_turn(&punch->port))
		punch->remote = punch->port.remote;
	if (check.response)
		take_answer(punch, &check);
	else
		take_request(punch, &check, now);
}

static bool is_open(const struct udp_punch *punch)
{
	return punch->state == UDP_PUNCH_TRYING || punch->state == UDP_PUNCH_THROUGH;
}

static void receive(struct udp_punch *punch, uint64_t now)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];

	for (unsigned i = 0; i < RECEIVE_MAX && is_open(punch); i++) {
		ssize_t got = borrow_receive(&punch->port, bytes, sizeof(bytes));

		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (got >= 0)
			take_datagram(punch, bytes, (size_t)got, now);
	}
}

void udp_punch_advance(struct udp_punch *punch, uint64_t now)
{
	if (!is_open(punch))
		return;
	receive(punch, now);
	if (is_open(punch) && now >= punch->deadline) {
		punch->state = UDP_PUNCH_FAILED;
		borrow_close(&punch->port);
		return;
	}
	if (punch->state == UDP_PUNCH_TRYING && now >= punch->due)
		send_next(punch, now);
}

void udp_punch_end(struct udp_punch *punch)
{
	if (punch->state == UDP_PUNCH_NONE)
		return;
	if (punch->state == UDP_PUNCH_THROUGH) {
		send_check(punch);
		send_check(punch);
	}
	borrow_close(&punch->port);
	punch->state = UDP_PUNCH_NONE;
	punch->due = TIMER_NONE;
}
