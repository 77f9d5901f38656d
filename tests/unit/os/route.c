/*
 * Routing of a network of our own, with two routers and a rule by source address; nobody is there
 * to answer, and nothing is sent.
 */
#include "natpunch/os/route.h"

#include <stdlib.h>

#include "unit/server.h"

static void set_up(const char *command)
{
	char line[256];

	snprintf(line, sizeof(line), "ip %s", command);
	if (system(line) != 0)
		bail_out("%s", line);
}

static void make_network(void)
{
	network_enter();
	set_up("link add out0 type veth peer name out1");
	set_up("link set out1 up");
	set_up("link set out0 up");
	set_up("addr add 10.0.0.3/24 dev out0");
	set_up("addr add 10.0.0.33/24 dev out0");
	set_up("addr add 2001:db8::3/64 dev out0 nodad");
	set_up("route add default via 10.0.0.1");
	set_up("-6 route add default via fe80::1 dev out0");
	set_up("route add default via 10.0.0.4 table 7");
	set_up("rule add from 10.0.0.33 table 7");
	set_up("route add 192.0.2.0/24 dev out1");
	set_up("route add 203.0.113.0/24 via inet6 fe80::1 dev out0");
	set_up("route add unreachable 198.18.0.0/15");
}

static const char *gateway_to(const char *remote, const char *source, const char *interface)
{
	static char text[ADDR_IP_TEXT_SIZE];
	struct addr to = address(remote, 3478), from = {.family = ADDR_NONE};
	struct route route;

	if (source != NULL)
		from = address(source, 22);
	if (route_find(&to, source != NULL ? &from : NULL, interface, &route) != 0)
		return strerror(errno);
	return route.gateway.family == ADDR_NONE ? "none" : addr_format_ip(&route.gateway, text);
}

int main(void)
{
	struct addr to = address("2001:db8:1::1", 0);
	char link_local[ADDR_IP_TEXT_SIZE];
	struct route route;

	make_network();
	is_str(gateway_to("198.51.100.2", NULL, NULL), "10.0.0.1", "the default route");
	is_str(gateway_to("198.51.100.2", "10.0.0.3", NULL), "10.0.0.1", "from its address");
	is_str(gateway_to("198.51.100.2", "10.0.0.33", NULL), "10.0.0.4", "a rule by source");
	is_str(gateway_to("10.0.0.9", "10.0.0.3", NULL), "none", "a neighbour");
	is_str(gateway_to("127.0.0.1", NULL, NULL), "none", "ourselves");
	is_str(gateway_to("192.0.2.1", NULL, NULL), "none", "a tunnel");
	is_str(gateway_to("192.0.2.1", NULL, "out0"), "10.0.0.1", "but by another interface");
	is_str(gateway_to("203.0.113.1", NULL, NULL), "none", "IPv4 over an IPv6 gateway");
	is_str(gateway_to("198.18.0.1", NULL, NULL), strerror(EHOSTUNREACH), "no way");
	is_str(gateway_to("198.51.100.2", NULL, "nosuch0"), strerror(ENODEV), "no interface");
	is_int(route_find(&to, NULL, NULL, &route), 0, "IPv6");
	ok(route.interface != 0 && route.gateway.scope == route.interface,
		"has a link-local gateway, of an interface");
	snprintf(link_local, sizeof(link_local), "fe80::1%%%u", route.interface);
	is_str(gateway_to("2001:db8:1::1", "2001:db8::3", "out0"), link_local, "that one");
	return done_testing();
}
