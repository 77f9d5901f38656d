/*
 * Which addresses of this machine a REGISTER carries: those of the interface that the mapping's own
 * one is on, which here is the loopback with a private address of IPv6 beside.
 */
#include "client/own_hosts.h"

#include "unit/server.h"

static struct mapping mapping = {.protocol = MAPPING_TCP};
static struct name_question question;

static size_t add(const char *local, const char *public_ip, uint16_t public_port)
{
	mapping.local = address(local, 22);
	mapping.public_addr = address(public_ip, public_port);
	question.host_count = 3;
	own_hosts_add(&question, &mapping);
	return question.host_count;
}

int main(void)
{
	struct addr local = address("127.0.0.1", 22), beside = address("fd00::7", 22);

	network_enter();
	loopback_add("fd00::7");
	is_uint(add("127.0.0.1", "203.0.113.2", 22), 2, "all of one interface");
	ok(addr_equal(&question.hosts[0], &local), "first the one that the mapping leaves from");
	ok(addr_equal(&question.hosts[1], &beside), "then a private one beside it, with the port");
	is_uint(add("127.0.0.1", "127.0.0.1", 22), 1, "the mapping itself is not said again");
	ok(addr_equal(&question.hosts[0], &beside), "but the other one is");
	is_uint(add("127.0.0.1", "127.0.0.1", 23), 2, "another port is another mapping");
	is_uint(add("fd00::7", "203.0.113.2", 22), 1, "a public one or a loopback is not beside");
	is_uint(add("192.0.2.1", "203.0.113.2", 22), 0, "an address that is gone is none");
	return done_testing();
}
