#include "home/invitations.h"

#include <stdbool.h>
#include <string.h>

#include "natpunch/borrow/borrow.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"

void invitations_init(struct invitations *invitations, const struct mapping_race_request *probe,
	const struct mapping_race_request *request, const struct key *key,
	struct handover *handover)
{
	memset(invitations, 0, sizeof(*invitations));
	invitations->probe = probe;
	invitations->request = request;
	invitations->key = key;
	home_facts_init(&invitations->facts);
	responder_init(&invitations->responder, handover);
	udp_responder_init(&invitations->udp_responder);
}

/* ---- the responder of each protocol -------------------------------------------------------- */

static void meet_over_udp(struct invitations *invitations, const struct held *over,
	const struct invitation *invitation, uint64_t now)
{
	const struct binding_client *binding = &over->binding;
	const struct udp_responder_path path = {
		.local = binding->local,
		.reflector = binding->request.remote,
		.standby = invitations->standby,
		.method = invitations->probe->method,
		.interface = invitations->request->interface,
		.one_port = invitations->probe->shared,
		.key = invitations->key,
	};

	udp_responder_meet(&invitations->udp_responder, &path, &invitation->initiator, now);
}

static struct responder_path make_path(
	const struct invitations *invitations, const struct held *over)
{
	const struct binding_client *binding = &over->binding;

	return (struct responder_path){
		.local = binding->local,
		.method = invitations->request->method,
		.relay = {.reflector = binding->request.remote,
			.local = invitations->probe->local,
			.interface = invitations->request->interface},
		.other = binding->answer.other,
		.standby = invitations->standby,
		.registration = &over->registration,
	};
}

void invitations_take(struct invitations *invitations, const struct held *over,
	const struct invitation *invitation, uint64_t now)
{
	const struct responder_path path = make_path(invitations, over);

	if (invitation->protocol == MAPPING_UDP)
		meet_over_udp(invitations, over, invitation, now);
	else
		responder_meet(&invitations->responder, &path, invitation, now);
}

void invitations_check_method(struct invitations *invitations, const struct held *held)
{
	if (invitations->key != NULL &&
		borrow_is_in_the_way(&held->binding.port, &held->binding.request))
		udp_responder_warn_deaf(&invitations->udp_responder);
}

/* ---- the facts ----------------------------------------------------------------------------- */

void invitations_look(struct invitations *invitations, const struct held *held, uint64_t now)
{
	const struct responder_path path = make_path(invitations, held);
	bool random_ports;

	if (responder_take_look(&invitations->responder, &random_ports)) {
		invitations->facts.random_ports = random_ports;
		invitations->looked = held->mapping;
		if (random_ports)
			log_detail("our ports cannot be predicted: telling the reflector");
	}
	if (held->open && registration_wants_look(&held->registration) &&
		!mapping_equal(&invitations->looked, &held->mapping))
		responder_look(&invitations->responder, &path, now);
}

void invitations_note_proved(
	struct invitations *invitations, const struct held *held, const struct mapping *proved)
{
	const struct addr *at = &proved->public_addr;
	const struct addr *seen = &held->mapping.public_addr;
	bool other = addr_equal_ip(at, seen) && at->port != seen->port;

	if (held->open)
		invitations->facts.proved = other ? *at : (struct addr){.family = ADDR_NONE};
}

/* ---- the responders ------------------------------------------------------------------------ */

uint64_t invitations_watch(
	const struct invitations *invitations, struct pollfd fds[INVITATIONS_WATCH_MAX])
{
	return timer_earlier(responder_watch(&invitations->responder, fds),
		udp_responder_watch(&invitations->udp_responder, fds + RESPONDER_WATCH_MAX));
}

void invitations_advance(struct invitations *invitations,
	const struct pollfd fds[INVITATIONS_WATCH_MAX], uint64_t now)
{
	responder_advance(&invitations->responder, fds, now);
	udp_responder_advance(&invitations->udp_responder, now);
}

void invitations_end(struct invitations *invitations)
{
	responder_end(&invitations->responder);
	udp_responder_end(&invitations->udp_responder);
}
