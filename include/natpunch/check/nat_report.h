/*
 * nat_report.h - the findings about the NATs in front of a port, and what follows from them.
 *
 * The terms are those of RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5780 (how to find out). Each
 * finding has its evidence, in words. Where nothing can be said it is UNTOLD, and the evidence says
 * why.
 */
#ifndef NATPUNCH_CHECK_NAT_REPORT_H
#define NATPUNCH_CHECK_NAT_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"

#define NAT_EVIDENCE_SIZE 384
#define NAT_HOP_MAX       6

/* Does the NAT use the same mapping for another destination? RFC 4787 4.1, 5382 4.1 */
enum nat_mapping {
	NAT_MAPPING_UNTOLD,
	NAT_MAPPING_NONE, /* there is no NAT */
	NAT_MAPPING_ENDPOINT_INDEPENDENT,
	NAT_MAPPING_ADDRESS_DEPENDENT,
	NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
	NAT_MAPPING_DEPENDENT, /* on the address, perhaps on the port as well */
};

/* Whose packets does the NAT let in through the mapping? RFC 4787 5, 5382 4.3 */
enum nat_filtering {
	NAT_FILTERING_UNTOLD,
	NAT_FILTERING_ENDPOINT_INDEPENDENT,
	NAT_FILTERING_ADDRESS_DEPENDENT,
	NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
	NAT_FILTERING_NOT_BY_PORT, /* one of the first two */
	NAT_FILTERING_DEPENDENT,   /* one of the others */
};

enum nat_answer {
	NAT_UNTOLD,
	NAT_YES,
	NAT_NO,
};

/* What the NAT does with a SYN (RFC 5382 REQ-4) or a datagram that nobody at home asked for. */
enum nat_unsolicited {
	NAT_UNSOLICITED_UNTOLD,
	NAT_UNSOLICITED_LET_IN,
	NAT_UNSOLICITED_DROPPED,
	NAT_UNSOLICITED_RESET,
	NAT_UNSOLICITED_ICMP,
};

struct nat_finding {
	enum nat_answer answer;
	char evidence[NAT_EVIDENCE_SIZE];
};

/* What keeps strangers out: the first that applies. */
enum nat_obstacle {
	NAT_OBSTACLE_NONE,
	NAT_OBSTACLE_UNTOLD,
	NAT_OBSTACLE_OTHER_MACHINE, /* strangers reach it in place of this one */
	NAT_OBSTACLE_NOTHING_LISTENS,
	NAT_OBSTACLE_LISTENS_ELSEWHERE, /* a server has the port, but not on the local address */
	NAT_OBSTACLE_FIREWALL,          /* of this machine */
	NAT_OBSTACLE_ROUTER,            /* the NAT nearest to home, or the only one */
	NAT_OBSTACLE_CARRIER,
};

/* Whose the obstacle is, as far as the evidence tells. */
enum nat_owner {
	NAT_OWNER_UNTOLD, /* there is none, or nobody knows whose it is */
	NAT_OWNER_MACHINE,
	NAT_OWNER_ROUTER, /* the home router: it has the public address, or forwarded in a trial */
	NAT_OWNER_PROVIDER,
	NAT_OWNER_ROUTER_OR_PROVIDER, /* both have a NAT on the way: it is one of them, or both */
};

/* How long a silent mapping lives, in seconds; see lifetime.h. 0: not known. */
struct nat_lifetime {
	bool wanted;
	uint16_t least;
	uint16_t most;
	char evidence[NAT_EVIDENCE_SIZE];
};

/* The home router, if there is one, and what it answered; see client/router.h. */
struct nat_router {
	struct addr at;       /* ADDR_NONE: there is no gateway that could forward */
	unsigned methods;     /* what it speaks: bits, 1 << enum router_method */
	struct addr external; /* the address that it says it has; ADDR_NONE: it says none */
	char evidence[NAT_EVIDENCE_SIZE];
	bool tried;
	struct nat_finding forwards; /* do strangers get in once it forwards the port? */
	char forwards_by[16];        /* the method by which it granted a forward: "PCP", or "" */
};

struct nat_report {
	/* These two are set without a mapping too. */
	bool spoke;  /* there was an address to ask */
	bool cannot; /* this machine refused */
	enum mapping_protocol protocol;
	struct addr local;
	struct addr mapped;
	char reflector[272];
	struct addr asked;   /* the address of that reflector */
	size_t asked_number; /* and its number in the request */
	char method[16];

	struct nat_finding listens; /* does a server, on the local address and port? */
	char elsewhere[256]; /* it does on others alone: "sshd listens on 127.0.0.1 only", or "" */
	struct nat_finding nat; /* is there one? */
	unsigned layers;        /* the least number of NATs, one behind the other */
	char layers_evidence[NAT_EVIDENCE_SIZE];
	struct addr hops[NAT_HOP_MAX]; /* the first routers; ADDR_NONE: not known */
	size_t nat_hop; /* the number, from 1, of the one with the public address; 0: not known */

	enum nat_mapping mapping;
	char mapping_evidence[NAT_EVIDENCE_SIZE];
	enum nat_filtering filtering;
	char filtering_evidence[NAT_EVIDENCE_SIZE];
	enum nat_unsolicited unsolicited;
	char unsolicited_evidence[NAT_EVIDENCE_SIZE];
	struct nat_finding preserved; /* is the public port the local one? */
	struct nat_finding parity;    /* are both even, or both odd? RFC 4787 4.2.2 */
	struct nat_finding hairpin;   /* can home send to its own mapping? RFC 4787 6 */
	struct nat_finding firewall;  /* does that of this machine keep strangers out? */
	struct nat_finding stranger;  /* did one get in? */
	struct nat_finding arrived;   /* TCP: did a dial-back come to this machine? */
	bool unprivileged;            /* we may not watch what comes to this machine */
	char other[320]; /* the machine that answered the dial-back in place of this one, or "" */
	struct nat_router router;
	struct nat_lifetime lifetime; /* filled in by lifetime_search() */

	/* nat_report_judge() fills these in. */
	enum nat_answer direct; /* does anybody get in who connects to the mapping? */
	enum nat_answer punch;  /* does `natpunch connect`, from most networks? */
	enum nat_obstacle obstacle;
	enum nat_owner owner;
};

/* An address that was asked, and the mapping that it saw. */
struct nat_sample {
	struct addr asked;
	struct addr mapped;
};

/* Judges samples that were taken from one local port, by comparing the others with the first. */
enum nat_mapping nat_report_judge_mapping(const struct nat_sample *samples, size_t count);

/* Did a stranger get in, and did another port of an address that was contacted? */
enum nat_filtering nat_report_judge_filtering(enum nat_answer stranger, enum nat_answer known);

/*
 * TCP: do strangers get through to a machine that answers, without proof that it is this machine?
 */
bool nat_report_is_unproved(const struct nat_report *report);

/* Fills in `direct`, `punch`, `obstacle` and `owner` from the findings. */
void nat_report_judge(struct nat_report *report);

/* "endpoint-independent", ..., "cannot be told". */
const char *nat_mapping_name(enum nat_mapping mapping);
const char *nat_filtering_name(enum nat_filtering filtering);
const char *nat_unsolicited_name(enum nat_unsolicited unsolicited);
const char *nat_answer_name(enum nat_answer answer); /* "yes", "no", "cannot be told" */
const char *nat_obstacle_name(enum nat_obstacle obstacle);
const char *nat_owner_name(enum nat_owner owner); /* "router or provider" */

#endif
