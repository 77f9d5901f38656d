/*
 * dns_srv.h - DNS SRV records (RFC 2782): the hosts of a domain's service, in the order to try.
 *
 * Threat: the answer of a name server may be forged. Reads are bounded, and a target must be a host
 * name.
 */
#ifndef NATPUNCH_PROTO_DNS_SRV_H
#define NATPUNCH_PROTO_DNS_SRV_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/host_port.h"

#define DNS_SRV_MAX        16   /* records kept of an answer; the rest are dropped */
#define DNS_SRV_ANSWER_MAX 4096 /* bytes of an answer: 16 records with names of 200 bytes fit */

struct dns_srv_record {
	uint16_t priority;                /* lower ones are tried first */
	uint16_t weight;                  /* among equals the share of those who try it first */
	uint16_t port;                    /* not 0 */
	char target[HOST_PORT_HOST_SIZE]; /* a host name without the last dot; not empty */
};

struct dns_srv_answer {
	struct dns_srv_record records[DNS_SRV_MAX];
	size_t count;
};

/*
 * Writes the name that is asked for `host`, "_natpunch._tcp.HOST", into out. Returns 0, or -1 when
 * that is too long for a name.
 */
int dns_srv_write_name(const char *host, char out[HOST_PORT_HOST_SIZE])
	__attribute__((warn_unused_result));

/*
 * Reads the records of a DNS answer. Returns 0, also when none is of use: a target of "." says that
 * there is no such service. Returns -1 when it is no answer, tells of an error or is damaged; the
 * count is 0 then.
 */
int dns_srv_read(const void *data, size_t size, struct dns_srv_answer *out)
	__attribute__((warn_unused_result));

/*
 * Puts the records into the order in which they are to be tried: by priority, and by chance among
 * those of one priority, in proportion to their weights. `random` holds unpredictable numbers.
 */
void dns_srv_order(struct dns_srv_answer *answer, const uint32_t random[DNS_SRV_MAX]);

#endif
