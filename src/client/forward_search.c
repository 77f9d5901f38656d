#include "natpunch/client/forward_search.h"

#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"

/*
 * What is likely comes first, as a candidate that fails takes seconds. A router that has the
 * address that was seen is the only NAT, so it is its port that counts. With a NAT beyond it, that
 * port is another one there.
 */
static const enum forward_candidate *order_of(
	const struct forward_search *search, const struct forward *forward)
{
	static const enum forward_candidate alone[FORWARD_CANDIDATE_COUNT] = {
		FORWARD_PORT, FORWARD_PUNCH, FORWARD_SEEN};
	static const enum forward_candidate beyond[FORWARD_CANDIDATE_COUNT] = {
		FORWARD_SEEN, FORWARD_PUNCH, FORWARD_PORT};
	bool is_alone = addr_equal_ip(&forward->result.external, &search->seen) &&
			forward->result.port != search->seen.port;

	return is_alone ? alone : beyond;
}

static bool applies(const struct forward_search *search, const struct forward *forward,
	enum forward_candidate candidate, const struct mapping_race_request *request)
{
	uint16_t port = forward->result.port;

	if (candidate == FORWARD_SEEN)
		return true;
	if (!forward_is_granted(forward) || search->seen.family != ADDR_IPV4)
		return false;
	return port != (candidate == FORWARD_PORT ? search->seen.port : request->local.port);
}

void forward_search_begin(struct forward_search *search, const struct addr *seen)
{
	*search = (struct forward_search){.seen = *seen};
}

enum forward_candidate forward_search_next(struct forward_search *search,
	const struct forward *forward, const struct mapping_race_request *request)
{
	const enum forward_candidate *order = order_of(search, forward);

	for (size_t i = 0; i < FORWARD_CANDIDATE_COUNT; i++) {
		enum forward_candidate candidate = order[i];

		if ((search->tried & 1U << candidate) != 0 ||
			!applies(search, forward, candidate, request))
			continue;
		search->tried |= 1U << candidate;
		return candidate;
	}
	return FORWARD_CANDIDATE_COUNT;
}

uint16_t forward_search_port(const struct forward *forward, enum forward_candidate candidate,
	const struct mapping_race_request *request)
{
	return candidate == FORWARD_PUNCH ? forward->result.port : request->local.port;
}

void forward_search_tell(const struct forward *forward, enum forward_candidate candidate,
	const struct mapping_race_request *request, struct mapping *mapping)
{
	if (candidate == FORWARD_PORT)
		mapping->public_addr.port = forward->result.port;
	if (candidate == FORWARD_PUNCH)
		mapping->local.port = request->local.port;
	forward_note(forward, mapping);
}

bool forward_search_dials(struct forward_search *search, const struct addr *mapped)
{
	for (size_t i = 0; i < search->count; i++)
		if (addr_equal(&search->dialled[i], mapped))
			return false;
	if (search->count < FORWARD_CANDIDATE_COUNT)
		search->dialled[search->count++] = *mapped;
	return true;
}

bool forward_search_goes_on(const struct reachability *reachability)
{
	return reachability->verdict == REACHABILITY_SHUT &&
	       reachability->evidence_arrival != ARRIVAL_SEEN;
}

/* A punch from local port E. */
static int punch_from(uint16_t port, const struct mapping_race_request *request,
	struct mapping_race_result *result, uint64_t deadline)
{
	struct mapping_race_request other = *request;
	uint64_t now = clock_now_ms();
	struct error error;

	other.local.port = port;
	other.timeout_ms = deadline > now ? deadline - now : 0;
	if (mapping_race_run(&other, result, &error) == 0)
		return 0;
	log_detail("from local port %u: %s", port, error.text);
	return -1;
}

/* Turns *result into that candidate, from what was seen of the local port that it takes. */
static int take_candidate(const struct forward *forward, enum forward_candidate candidate,
	const struct mapping_race_request *request, struct mapping_race_result *result,
	uint64_t deadline)
{
	uint16_t port = forward_search_port(forward, candidate, request);

	if (port == request->local.port) {
		result->mapping.public_addr = forward->search.seen;
	} else {
		binding_client_end(&result->winner);
		if (punch_from(port, request, result, deadline) != 0)
			return -1;
	}
	forward_search_tell(forward, candidate, request, &result->mapping);
	return 0;
}

enum forward_step forward_next(struct forward *forward, const struct mapping_race_request *request,
	struct mapping_race_result *result, uint64_t deadline)
{
	struct forward_search *search = &forward->search;
	enum forward_candidate candidate;
	char text[ADDR_TEXT_SIZE];

	if (search->tried == 0)
		forward_search_begin(search, &result->mapping.public_addr);
	while ((candidate = forward_search_next(search, forward, request)) !=
		FORWARD_CANDIDATE_COUNT) {
		if (take_candidate(forward, candidate, request, result, deadline) != 0)
			return FORWARD_LOST;
		if (!forward_search_dials(search, &result->mapping.public_addr))
			continue;
		if (forward_is_granted(forward))
			log_detail("trying %s", addr_format(&result->mapping.public_addr, text));
		return FORWARD_TRY;
	}
	return FORWARD_END;
}
