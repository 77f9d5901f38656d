/*
 * nat_report.h - what was found out about the NATs in front of a port, and what follows from it.
 *
 * Terms are those of RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5780 (how to find out). Each finding
 * goes with its evidence, in words; UNTOLD, with why, where nothing can be said.
 */
#ifndef NATPUNCH_CHECK_NAT_REPORT_H
#define NATPUNCH_CHECK_NAT_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"

#define NAT_EVIDENCE_SIZE 384
#define NAT_HOP_MAX       6

/* RFC 4787 4.1, 5382 4.1: does another destination see the same mapping? */
enum nat_mapping {
	NAT_MAPPING_UNTOLD,
	NAT_MAPPING_NONE, /* there is no NAT */
	NAT_MAPPING_ENDPOINT_INDEPENDENT,
	NAT_MAPPING_ADDRESS_DEPENDENT,
	NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
	NAT_MAPPING_DEPENDENT, /* on the address, perhaps on the port as well */
};

/* RFC 4787 5, 5382 4.3: who is let in through it? */
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

/* What becomes of a SYN that nobody at home asked for (RFC 5382 REQ-4), or a datagram. */
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

/* What stands in the way of strangers; the first one that applies. */
enum nat_obstacle {
	NAT_OBSTACLE_NONE,
	NAT_OBSTACLE_UNTOLD,
	NAT_OBSTACLE_OTHER_MACHINE, /* is reached in place of this one */
	NAT_OBSTACLE_NOTHING_LISTENS,
	NAT_OBSTACLE_LISTENS_ELSEWHERE, /* on the port, but not on the local address */
	NAT_OBSTACLE_FIREWALL,          /* of this machine */
	NAT_OBSTACLE_ROUTER,            /* the NAT nearest to home, or the only one */
	NAT_OBSTACLE_CARRIER,
};

/* Whose it is that keeps strangers out, as far as the evidence tells. */
enum nat_owner {
	NAT_OWNER_UNTOLD, /* nothing does, or it is somebody's on the way */
	NAT_OWNER_MACHINE,
	NAT_OWNER_ROUTER, /* of the home: it has the public address, or its network ends there */
	NAT_OWNER_PROVIDER,
	NAT_OWNER_ROUTER_OR_PROVIDER, /* a NAT of each is on the way: one of them, or both */
};

/* How long a mapping over which nothing is sent lives, in seconds; see lifetime.h. 0: untold. */
struct nat_lifetime {
	bool wanted;
	uint16_t least;
	uint16_t most;
	char evidence[NAT_EVIDENCE_SIZE];
};

/* The home router, if there is one, and what it says; see router.h of client. */
struct nat_router {
	struct addr at;       /* ADDR_NONE: no gateway that could have anything to forward */
	unsigned methods;     /* bits, 1 << enum router_method, of what it speaks */
	struct addr external; /* its own address, as it tells; ADDR_NONE: it tells none */
	char evidence[NAT_EVIDENCE_SIZE];
	bool tried;
	struct nat_finding forwards; /* would strangers get in if it were asked for a forward? */
	char forwards_by[16];        /* "PCP": by this it granted one, or "" */
};

struct nat_report {
	bool spoke;  /* there was an address to ask; set without a mapping, too, */
	bool cannot; /* as is this: the machine refused */
	enum mapping_protocol protocol;
	struct addr local;
	struct addr mapped;
	char reflector[272];
	struct addr asked;   /* the address of that one */
	size_t asked_number; /* and which it is in the request */
	char method[16];

	struct nat_finding listens; /* somebody on the local address and port */
	char elsewhere[256];    /* or on other addresses: "sshd listens on 127.0.0.1 only", or "" */
	struct nat_finding nat; /* is there one? */
	unsigned layers;        /* of NAT, at least */
	char layers_evidence[NAT_EVIDENCE_SIZE];
	struct addr hops[NAT_HOP_MAX]; /* the first routers; ADDR_NONE: not known */
	size_t nat_hop; /* the number of the one that has the public address; 0: untold */

	enum nat_mapping mapping;
	char mapping_evidence[NAT_EVIDENCE_SIZE];
	enum nat_filtering filtering;
	char filtering_evidence[NAT_EVIDENCE_SIZE];
	enum nat_unsolicited unsolicited;
	char unsolicited_evidence[NAT_EVIDENCE_SIZE];
	struct nat_finding preserved; /* is the public port the local one? */
	struct nat_finding parity;    /* is it even as that is even, odd as odd? RFC 4787 4.2.2 */
	struct nat_finding hairpin;   /* RFC 4787 6 */
	struct nat_finding firewall;  /* does one of this machine keep strangers out? */
	struct nat_finding stranger;  /* did somebody get through who was never contacted? */
	struct nat_finding arrived;   /* over TCP: did a dial-back come to this machine? */
	bool unprivileged;            /* what comes to this machine may not be watched */
	char other[320];              /* who answered it in place of this machine, or "" */
	struct nat_router router;
	struct nat_lifetime lifetime; /* not by classify_run(), but by lifetime_search() */

	/* What follows, by nat_report_judge(). */
	enum nat_answer direct; /* method one: whoever connects to the mapping gets in */
	enum nat_answer punch;  /* `natpunch connect` */
	enum nat_obstacle obstacle;
	enum nat_owner owner;
};

/* An address that was asked, and the mapping that it saw. */
struct nat_sample {
	struct addr asked;
	struct addr mapped;
};

/* What samples from one local port tell; the first one is the one to compare with. */
enum nat_mapping nat_report_judge_mapping(const struct nat_sample *samples, size_t count);

/* Who got in: a stranger's address; another port of an address that was contacted. */
enum nat_filtering nat_report_judge_filtering(enum nat_answer stranger, enum nat_answer known);

/*
 * Over TCP: strangers get through and somebody answers them, but it is not proved that this machine
 * does.
 */
bool nat_report_is_unproved(const struct nat_report *report);

/* Fills in what follows from the findings. */
void nat_report_judge(struct nat_report *report);

/* "endpoint-independent", ..., "cannot be told". */
const char *nat_mapping_name(enum nat_mapping mapping);
const char *nat_filtering_name(enum nat_filtering filtering);
const char *nat_unsolicited_name(enum nat_unsolicited unsolicited);
const char *nat_answer_name(enum nat_answer answer); /* "yes", "no", "cannot be told" */
const char *nat_obstacle_name(enum nat_obstacle obstacle);
const char *nat_owner_name(enum nat_owner owner); /* "router or provider" */

#endif
