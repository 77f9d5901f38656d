/*
 * udp.h - STUN over UDP, in batches.
 *
 * No state is kept of a client. Anything but a STUN request is silently ignored, so that two
 * servers never answer each other's answers.
 *
 * A source has no limit here: an attacker could forge it to have its requests refused, and an
 * answer costs little more than to find out that there should be none. A request about a name costs
 * more; names.h has its limits, for proven sources only. The kernel drops requests that come faster
 * than they can be answered; ROUNDS in the source says when the clients over TCP have their turn.
 *
 * The answer leaves from the address that the request came to, also on a host with several (RFC
 * 8489 6.3.1.2): a client, and the NAT in front of it, take it from no other.
 */
#ifndef NATPUNCH_REFLECTOR_UDP_H
#define NATPUNCH_REFLECTOR_UDP_H

#include <stdbool.h>
#include <sys/socket.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"
#include "reflector/counters.h"
#include "reflector/worker_queue.h"
#include "reflector/names.h"
#include "reflector/alternate.h"

struct udp_batch;

/* The memory of one batch, shared by all sockets; NULL when there is none. */
struct udp_batch *udp_open(void);
void udp_close(struct udp_batch *batch);

/*
 * A socket bound to addr and made for udp_serve(), or -1 and errno. `shared` is as
 * for accept_listen().
 */
int udp_listen(const struct addr *addr, bool shared);

/* What one socket is served with. */
struct udp_port {
	int fd;
	struct addr bound;
	const struct alternate *alternates; /* of its family; NULL: RFC 5780 is not served */
	const struct worker_queue *queue;   /* where names are served; NULL: here */
	uint32_t number;                    /* of this port, there */
	/* The next of all sockets where names are served, in a circle; NULL: there is no other. */
	const struct udp_port *next;
};

/*
 * Answers the datagrams that wait at the socket, up to a bound, so that TCP clients get their turn.
 * An answer that RFC 5780 wants from another address or port leaves through the socket there.
 * `counters` may be NULL.
 */
void udp_serve(struct udp_batch *batch, const struct udp_port *port,
	const struct binding_server *server, struct names *names, struct counters *counters,
	uint64_t now);

/* Answers one that another worker has put into its queue, at the port that it came to. */
void udp_serve_queued(struct udp_batch *batch, const struct udp_port *port,
	const struct binding_server *server, struct names *names, struct counters *counters,
	const struct worker_queue_item *item, uint64_t now);

/*
 * Makes of the control message with the address that a packet came to, IP_PKTINFO or IPV6_PKTINFO,
 * the one to send the answer from. Returns false for what was not addressed to this host alone;
 * true, with nothing done, when there is no control message.
 */
bool udp_turn_control(struct msghdr *header);

#endif
