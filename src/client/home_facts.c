#include "natpunch/client/home_facts.h"

#include <string.h>

#include "client/own_hosts.h"
#include "natpunch/os/random.h"

void home_facts_init(struct home_facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	random_fill(facts->home, sizeof(facts->home));
}

/* A NAT that keeps the port allocates none. */
static bool random_ports(const struct home_facts *facts, const struct mapping *seen)
{
	return facts->random_ports && seen->public_addr.port != seen->local.port;
}

/* Of the address that the reflector sees; 0: that of the mapping, as far as is known. */
static uint16_t proved_port(const struct home_facts *facts, const struct mapping *seen)
{
	const struct addr *proved = &facts->proved;

	if (!addr_equal_ip(proved, &seen->public_addr) || proved->port == seen->public_addr.port)
		return 0;
	return proved->port;
}

void home_facts_register(const struct home_facts *facts, const struct key *key,
	const struct mapping *seen, struct name_question *question)
{
	name_message_start(question, STUN_METHOD_REGISTER, key);
	question->registration = (struct name_message_registration){
		.protocol = seen->protocol,
		.local_port = seen->local.port,
	};
	memcpy(question->home, facts->home, sizeof(question->home));
	own_hosts_add(question, seen);
	question->random_ports = random_ports(facts, seen);
	question->proved_port = proved_port(facts, seen);
}

bool home_facts_are_news(const struct home_facts *facts, const struct mapping *seen,
	const struct name_question *told)
{
	return told->random_ports != random_ports(facts, seen) ||
	       told->proved_port != proved_port(facts, seen);
}
