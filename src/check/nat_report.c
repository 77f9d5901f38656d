#include "natpunch/check/nat_report.h"

const char *nat_mapping_name(enum nat_mapping mapping)
{
	static const char *const names[] = {
		[NAT_MAPPING_UNTOLD] = "cannot be told",
		[NAT_MAPPING_NONE] = "none",
		[NAT_MAPPING_ENDPOINT_INDEPENDENT] = "endpoint-independent",
		[NAT_MAPPING_ADDRESS_DEPENDENT] = "address-dependent",
		[NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
		[NAT_MAPPING_DEPENDENT] = "address-dependent or address-and-port-dependent",
	};

	return names[mapping];
}

const char *nat_filtering_name(enum nat_filtering filtering)
{
	static const char *const names[] = {
		[NAT_FILTERING_UNTOLD] = "cannot be told",
		[NAT_FILTERING_ENDPOINT_INDEPENDENT] = "endpoint-independent",
		[NAT_FILTERING_ADDRESS_DEPENDENT] = "address-dependent",
		[NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
		[NAT_FILTERING_NOT_BY_PORT] = "endpoint-independent or address-dependent",
		[NAT_FILTERING_DEPENDENT] = "address-dependent or address-and-port-dependent",
	};

	return names[filtering];
}

const char *nat_unsolicited_name(enum nat_unsolicited unsolicited)
{
	static const char *const names[] = {
		[NAT_UNSOLICITED_UNTOLD] = "cannot be told",
		[NAT_UNSOLICITED_LET_IN] = "let in",
		[NAT_UNSOLICITED_DROPPED] = "dropped",
		[NAT_UNSOLICITED_RESET] = "answered with a reset",
		[NAT_UNSOLICITED_ICMP] = "answered with an ICMP error",
	};

	return names[unsolicited];
}

const char *nat_answer_name(enum nat_answer answer)
{
	static const char *const names[] = {
		[NAT_UNTOLD] = "cannot be told",
		[NAT_YES] = "yes",
		[NAT_NO] = "no",
	};

	return names[answer];
}

const char *nat_obstacle_name(enum nat_obstacle obstacle)
{
	static const char *const names[] = {
		[NAT_OBSTACLE_NONE] = "none",
		[NAT_OBSTACLE_UNTOLD] = "cannot be told",
		[NAT_OBSTACLE_OTHER_MACHINE] = "another machine",
		[NAT_OBSTACLE_NOTHING_LISTENS] = "nothing listens",
		[NAT_OBSTACLE_LISTENS_ELSEWHERE] = "listens elsewhere",
		[NAT_OBSTACLE_FIREWALL] = "local firewall",
		[NAT_OBSTACLE_ROUTER] = "router",
		[NAT_OBSTACLE_CARRIER] = "carrier",
	};

	return names[obstacle];
}

const char *nat_owner_name(enum nat_owner owner)
{
	static const char *const names[] = {
		[NAT_OWNER_UNTOLD] = "cannot be told",
		[NAT_OWNER_MACHINE] = "this machine",
		[NAT_OWNER_ROUTER] = "router",
		[NAT_OWNER_PROVIDER] = "provider",
		[NAT_OWNER_ROUTER_OR_PROVIDER] = "router or provider",
	};

	return names[owner];
}

/* Did the ports of each address see the same mapping? UNTOLD: no address was asked at two. */
static enum nat_answer compare_ports(const struct nat_sample *samples, size_t count)
{
	enum nat_answer same = NAT_UNTOLD;

	for (size_t i = 0; i < count; i++) {
		for (size_t j = i + 1; j < count; j++) {
			if (!addr_equal_ip(&samples[i].asked, &samples[j].asked) ||
				addr_equal(&samples[i].asked, &samples[j].asked))
				continue;
			if (!addr_equal(&samples[i].mapped, &samples[j].mapped))
				return NAT_NO;
			same = NAT_YES;
		}
	}
	return same;
}

enum nat_mapping nat_report_judge_mapping(const struct nat_sample *samples, size_t count)
{
	enum nat_answer ports = compare_ports(samples, count);
	bool elsewhere = false;

	for (size_t i = 1; i < count; i++) {
		if (addr_equal_ip(&samples[i].asked, &samples[0].asked))
			continue;
		elsewhere = true;
		if (addr_equal(&samples[i].mapped, &samples[0].mapped))
			return NAT_MAPPING_ENDPOINT_INDEPENDENT;
	}
	if (ports == NAT_NO)
		return NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
	if (!elsewhere)
		return NAT_MAPPING_UNTOLD;
	return ports == NAT_YES ? NAT_MAPPING_ADDRESS_DEPENDENT : NAT_MAPPING_DEPENDENT;
}

enum nat_filtering nat_report_judge_filtering(enum nat_answer stranger, enum nat_answer known)
{
	if (stranger == NAT_YES)
		return NAT_FILTERING_ENDPOINT_INDEPENDENT;
	if (known == NAT_NO)
		return NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
	if (stranger == NAT_UNTOLD)
		return known == NAT_YES ? NAT_FILTERING_NOT_BY_PORT : NAT_FILTERING_UNTOLD;
	return known == NAT_YES ? NAT_FILTERING_ADDRESS_DEPENDENT : NAT_FILTERING_DEPENDENT;
}

/* Not over UDP: there the questions themselves hold a port that was free. */
static bool nobody_answers(const struct nat_report *report)
{
	return report->protocol == MAPPING_TCP && report->listens.answer == NAT_NO;
}

static bool lets_strangers_in(const struct nat_report *report)
{
	return report->filtering == NAT_FILTERING_ENDPOINT_INDEPENDENT;
}

static bool keeps_strangers_out(const struct nat_report *report)
{
	return report->filtering == NAT_FILTERING_ADDRESS_DEPENDENT ||
	       report->filtering == NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT ||
	       report->filtering == NAT_FILTERING_DEPENDENT;
}

bool nat_report_is_unproved(const struct nat_report *report)
{
	return report->protocol == MAPPING_TCP && report->stranger.answer == NAT_UNTOLD &&
	       lets_strangers_in(report);
}

/* First what is wrong at this machine, which its owner can mend; then what is on the way. */
static enum nat_obstacle find_obstacle(const struct nat_report *report)
{
	if (report->stranger.answer == NAT_YES)
		return NAT_OBSTACLE_NONE;
	if (nat_report_is_unproved(report))
		return NAT_OBSTACLE_UNTOLD;
	/* Connections go there, whatever else is wrong at this machine. */
	if (report->other[0] != '\0')
		return NAT_OBSTACLE_OTHER_MACHINE;
	if (nobody_answers(report))
		return report->elsewhere[0] != '\0' ? NAT_OBSTACLE_LISTENS_ELSEWHERE
						    : NAT_OBSTACLE_NOTHING_LISTENS;
	if (report->firewall.answer == NAT_YES)
		return NAT_OBSTACLE_FIREWALL;
	if (keeps_strangers_out(report))
		return report->layers > 1 || addr_classify(&report->local) == ADDR_CLASS_SHARED
			       ? NAT_OBSTACLE_CARRIER
			       : NAT_OBSTACLE_ROUTER;
	return NAT_OBSTACLE_UNTOLD;
}

/* Is the router's NAT on the way, and no other one seen? */
static bool is_router_nat(const struct nat_report *report)
{
	if (report->router.external.family != ADDR_NONE)
		return addr_equal_ip(&report->router.external, &report->mapped);
	return report->nat_hop == 1 ||
	       (report->hops[0].family != ADDR_NONE && report->hops[1].family != ADDR_NONE &&
		       addr_classify(&report->hops[0]) == ADDR_CLASS_PRIVATE &&
		       addr_classify(&report->hops[1]) == ADDR_CLASS_PUBLIC);
}

/* Does the router say that its own address is not public? */
static bool has_nat_beyond(const struct nat_report *report)
{
	return report->router.external.family != ADDR_NONE &&
	       addr_classify(&report->router.external) != ADDR_CLASS_PUBLIC;
}

/* Something on the way keeps strangers out: whose is it? The trial of the router says most. */
static enum nat_owner find_owner_on_the_way(const struct nat_report *report)
{
	bool granted = report->router.forwards_by[0] != '\0';
	bool two = report->layers > 1 || (report->nat.answer == NAT_YES && has_nat_beyond(report));

	if (report->router.forwards.answer == NAT_YES)
		return NAT_OWNER_ROUTER;
	if (addr_classify(&report->local) == ADDR_CLASS_SHARED)
		return NAT_OWNER_PROVIDER;
	if (two)
		return granted && report->router.forwards.answer == NAT_NO
			       ? NAT_OWNER_PROVIDER
			       : NAT_OWNER_ROUTER_OR_PROVIDER;
	return report->nat.answer == NAT_YES && is_router_nat(report) ? NAT_OWNER_ROUTER
								      : NAT_OWNER_UNTOLD;
}

static enum nat_owner find_owner(const struct nat_report *report)
{
	switch (report->obstacle) {
	case NAT_OBSTACLE_NOTHING_LISTENS:
	case NAT_OBSTACLE_LISTENS_ELSEWHERE:
	case NAT_OBSTACLE_FIREWALL:
		return NAT_OWNER_MACHINE;
	case NAT_OBSTACLE_ROUTER:
	case NAT_OBSTACLE_CARRIER:
		return find_owner_on_the_way(report);
	default:
		return NAT_OWNER_UNTOLD;
	}
}

static enum nat_answer judge_direct(const struct nat_report *report)
{
	if (report->stranger.answer != NAT_UNTOLD)
		return report->stranger.answer;
	/* A machine answers, whether or not anything listens here. */
	if (nat_report_is_unproved(report))
		return NAT_UNTOLD;
	if (nobody_answers(report) || report->other[0] != '\0')
		return NAT_NO;
	if (keeps_strangers_out(report) || report->firewall.answer == NAT_YES)
		return NAT_NO;
	/* Over UDP a server need not answer: it gets what the NAT lets in. */
	if (lets_strangers_in(report) && report->protocol == MAPPING_UDP)
		return NAT_YES;
	return NAT_UNTOLD;
}

/*
 * Both sides send at once, each to the other's mapping as the reflector saw it. So home's mapping
 * must be the same towards the initiator as towards the reflector. If it is not, home reaches only
 * an initiator whose NAT lets strangers in.
 */
static enum nat_answer judge_punch(const struct nat_report *report)
{
	switch (report->mapping) {
	case NAT_MAPPING_NONE:
	case NAT_MAPPING_ENDPOINT_INDEPENDENT:
		return NAT_YES;
	case NAT_MAPPING_UNTOLD:
		return NAT_UNTOLD;
	default:
		return NAT_NO;
	}
}

void nat_report_judge(struct nat_report *report)
{
	report->obstacle = find_obstacle(report);
	report->owner = find_owner(report);
	report->direct = judge_direct(report);
	report->punch = judge_punch(report);
}
