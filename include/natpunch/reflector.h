/*
 * reflector.h - the server that tells whoever asks from which address it was seen.
 *
 * An epoll loop, and tables that are allocated at the start. reflector.c opens all of it,
 * reflector_ports.c what is listened on, and reflector_thread.c is the loop that hands out what
 * comes in: reflector_datagram.c answers UDP, reflector_accept.c takes new TCP connections,
 * reflector_table.c keeps them and reflector_stream.c talks with them; reflector_dial.c dials
 * clients back; reflector_metrics.c tells what was done (counters.h), which SIGUSR1 has written to
 * the log.
 *
 * With `jobs` there are more threads, each with a loop, sockets and tables of its own, among which
 * the kernel shares out who comes. They share nothing, so nothing is locked. Names, relays, calls
 * to clients and raw handshakes are the first one's alone; what is about them is handed to it
 * (reflector_handoff.h). With an alternate address, reflector_places.c says from where else it
 * answers.
 */
#ifndef NATPUNCH_REFLECTOR_H
#define NATPUNCH_REFLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/error.h"
#include "natpunch/privileges.h"
#include "natpunch/rate.h"
#include "natpunch/reflector_relay.h"

#define REFLECTOR_LISTEN_MAX          32
#define REFLECTOR_CONNECTIONS_DEFAULT 1024
#define REFLECTOR_CONNECTIONS_MAX     1000000
#define REFLECTOR_JOBS_MAX            64

enum reflector_service {
	REFLECTOR_FULL, /* UDP and TCP: STUN, and over TCP also the line and HTTP */
	REFLECTOR_TEXT, /* TCP: the line at once, then close */
};

struct reflector_listen {
	struct addr addr; /* with its port; the unspecified address of a family listens on all */
	enum reflector_service service;
	bool optional; /* a family that this kernel lacks is passed over, not an error */
};

/*
 * How long a TCP connection may take over what, in milliseconds. Each bounds what a client that
 * says nothing, or says it slowly, can cost.
 */
struct reflector_times {
	uint32_t silence;      /* nothing said so far: then it wants the line */
	uint32_t request;      /* from the first byte of a request to its last, however they drip */
	uint32_t idle;         /* after an answer to an ordinary STUN client */
	uint32_t linger;       /* between our FIN and the client's */
	uint32_t forget_first; /* until the first look whether an answer was acknowledged */
	uint32_t forget;       /* and until the last */
	uint32_t hold; /* a held connection lasts three of its intervals, but at least this */
};

#define REFLECTOR_TIMES_DEFAULT                                                                    \
	((struct reflector_times){.silence = 200,                                                  \
		.request = 10000,                                                                  \
		.idle = 30000,                                                                     \
		.linger = 2000,                                                                    \
		.forget_first = 10,                                                                \
		.forget = 5000,                                                                    \
		.hold = 30000})

/*
 * How often one source, an IPv4 address or an IPv6 /64, may ask over TCP, or over UDP with a nonce
 * that proves it; and how often may be asked about one name by those who know its key. Both are for
 * who hammers and not for who shares an address: homes that ask every 25 seconds, as probe -k does,
 * come to 2000 in a second when there are 50000 of them behind one address of a carrier. It cannot
 * take more than some hundredths of a processor's time.
 */
struct reflector_limits {
	struct rate_quota source;
	struct rate_quota name;
	bool loopback; /* also for sources on this host, which have none else */
};

#define REFLECTOR_LIMITS_DEFAULT                                                                   \
	((struct reflector_limits){.source = {.per_second = 2000, .burst = 4000},                  \
		.name = {.per_second = 20, .burst = 200}})

#define REFLECTOR_SOURCES_BITS 9 /* 512 sets of RATE_SET sources, 96 kB */

struct reflector_config {
	struct reflector_listen listen[REFLECTOR_LISTEN_MAX];
	size_t listen_count;
	struct addr
		alternates[2];  /* a second address of this machine, IPv4 and IPv6; or ADDR_NONE */
	bool no_dial;           /* dial nobody back */
	uint32_t connections;   /* most TCP connections at once, 1 to REFLECTOR_CONNECTIONS_MAX */
	bool connections_fixed; /* the user named that number: fewer will not do */
	struct reflector_times times;
	const char *keys_path;  /* NULL: no names. Read again on SIGHUP */
	const char *state_path; /* NULL: where names were seen is forgotten at the end */
	bool relay;             /* pass connections on for names that cannot be had directly */
	struct reflector_relay_limits relay_limits; /* with `relay` */
	struct reflector_limits limits;
	uint32_t jobs;         /* threads, to REFLECTOR_JOBS_MAX; 0 is as 1 */
	uint16_t metrics_port; /* tell the counters there, on loopback; or 0 */
	/* Once all is open (reflector_confinement.h): for good, and for the whole process. */
	bool confine;
	bool has_user;
	struct privileges_user user; /* with has_user: becomes that user before it reads the keys */
};

struct reflector;

/*
 * Opens and binds everything, takes over SIGTERM and SIGINT (signals.h), and says on what it
 * listens with log_note(), one line an address and `ready` as the last. Returns NULL with *error
 * filled when it cannot listen on all of it: EXIT_STATUS_LOCAL, and a hint that names who holds
 * the port. With fewer descriptors than config->connections needs, and not connections_fixed, a
 * warning tells how many connections there will be.
 */
struct reflector *reflector_open(const struct reflector_config *config, struct error *error);

/*
 * Serves until SIGTERM or SIGINT; starts the other threads before, which so have whatever rights
 * and filters the caller has by then. Returns 0, or -1 with *error filled (a bug, or no thread).
 */
int reflector_run(struct reflector *reflector, struct error *error);

/* Closes every connection and frees everything; NULL is fine. */
void reflector_close(struct reflector *reflector);

#endif
