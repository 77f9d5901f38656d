/*
 * config.h - the reflector's configuration: addresses, limits, times, files.
 */
#ifndef NATPUNCH_REFLECTOR_CONFIG_H
#define NATPUNCH_REFLECTOR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/os/keepalive.h"
#include "natpunch/os/privileges.h"

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
	bool optional; /* no error if this kernel lacks the family */
	bool spare;    /* no error, and not logged, if it cannot be listened on for any reason */
};

/*
 * How long each part of a TCP connection may take, in milliseconds. Each bounds the cost of a
 * client that is silent or slow.
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
 * that proves it; and how often those who know a name's key may ask about it. Both bound a client
 * that floods, and leave room for many that share an address: 50000 homes behind one address of a
 * carrier that ask every 25 seconds, as probe -k does, send 2000 requests in a second. One source
 * cannot take more than some hundredths of a processor's time.
 */
struct reflector_limits {
	struct rate_limit_quota source;
	struct rate_limit_quota name;
	struct rate_limit_quota forget;      /* FORGET, by source; or 0: no limit */
	struct rate_limit_quota forget_site; /* and by site, an IPv4 address or an IPv6 /48 */
	bool loopback; /* also for sources on this host, which have none else */
};

#define REFLECTOR_LIMITS_DEFAULT                                                                   \
	((struct reflector_limits){.source = {.per_second = 2000, .burst = 4000},                  \
		.name = {.per_second = 20, .burst = 200},                                          \
		.forget = {.per_second = 1, .burst = 256},                                         \
		.forget_site = {.per_second = 4, .burst = 1024}})

#define REFLECTOR_SOURCES_BITS 9 /* 512 sets of RATE_LIMIT_SET sources, 96 kB */

struct relay_limits {
	uint32_t all; /* 1 to 4096 */
	uint32_t name;
	uint32_t join_ms; /* how long an initiator's connection waits for home's */
	uint32_t dead_ms; /* how long an end was not there before it yields (keepalive.h) */
};

#define RELAY_LIMITS_DEFAULT                                                                       \
	((struct relay_limits){                                                                    \
		.all = 128, .name = 8, .join_ms = 5000, .dead_ms = KEEPALIVE_DEAD_MS})

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
	struct relay_limits relay_limits; /* with `relay` */
	struct reflector_limits limits;
	uint32_t jobs;         /* threads, to REFLECTOR_JOBS_MAX; 0 is as 1 */
	uint16_t metrics_port; /* tell the counters there, on loopback; or 0 */
	/* Once all is open (reflector_sandbox.h): for good, and for the whole process. */
	bool confine;
	bool has_user;
	struct privileges_user user; /* with has_user: becomes that user before it reads the keys */
};

#endif
