/*
 * igd - asks a router by UPnP, as natpunch does.
 *
 *     igd SOURCE ROUTER MILLISECONDS find
 *         Prints "ready ADDR", the address that the router says it has, or "ready ?".
 *     igd SOURCE ROUTER MILLISECONDS map tcp|udp EXTERNAL-PORT INTERNAL-PORT SECONDS
 *         Prints "mapped EXTERNAL-PORT SECONDS" or "refused CODE NAME".
 *     igd SOURCE ROUTER MILLISECONDS unmap tcp|udp EXTERNAL-PORT INTERNAL-PORT
 *         Prints "removed" or "refused CODE NAME".
 *
 * Whatever fails otherwise is "failed WHY". The time holds for the search and for the request each.
 */
#include <stdio.h>
#include <string.h>

#include "natpunch/client/upnp.h"
#include "unit/upnp_run.h"
#include "natpunch/base/parse.h"
#include "natpunch/os/clock.h"

static struct upnp upnp;

static int usage(void)
{
	fputs("usage: igd SOURCE ROUTER MILLISECONDS find | map PROTOCOL PORT PORT SECONDS |"
	      " unmap PROTOCOL PORT PORT\n",
		stderr);
	return 2;
}

static void print_end(void)
{
	char ip[ADDR_IP_TEXT_SIZE];

	switch (upnp.state) {
	case UPNP_READY:
		printf("ready %s\n", addr_format_ip(&upnp.external, ip));
		return;
	case UPNP_MAPPED:
		printf("mapped %u %lu\n", upnp.mapping.external_port,
			(unsigned long)upnp.mapping.lease);
		return;
	case UPNP_REMOVED:
		puts("removed");
		return;
	case UPNP_REFUSED:
		printf("refused %u %s\n", upnp.error, igd_error_name(upnp.error));
		return;
	case UPNP_FAILED:
	case UPNP_SEARCHING:
	case UPNP_WORKING:
		printf("failed %s\n", upnp.why);
		return;
	}
}

static int read_mapping(struct igd_mapping *mapping, const struct addr *source, char *words[])
{
	bool maps = strcmp(words[0], "map") == 0;
	uint64_t lease = 0;

	mapping->protocol = strcmp(words[1], "udp") == 0 ? MAPPING_UDP : MAPPING_TCP;
	mapping->internal = *source;
	if (parse_port(words[2], &mapping->external_port) != 0 ||
		parse_port(words[3], &mapping->internal.port) != 0 ||
		(maps && parse_number(words[4], 0, UINT32_MAX, &lease) != 0))
		return -1;
	mapping->lease = (uint32_t)lease;
	return 0;
}

int main(int argc, char *argv[])
{
	struct upnp_request request = {.interface = NULL};
	struct igd_mapping mapping = {.protocol = MAPPING_TCP};
	bool maps = argc == 9 && strcmp(argv[4], "map") == 0;
	bool unmaps = argc == 8 && strcmp(argv[4], "unmap") == 0;
	uint64_t now = clock_now_ms(), patience;

	if (argc < 5 || addr_parse_ip(&request.source, argv[1]) != 0 ||
		addr_parse_ip(&request.router, argv[2]) != 0 ||
		parse_number(argv[3], 1, UINT32_MAX, &patience) != 0 ||
		((maps || unmaps) && read_mapping(&mapping, &request.source, argv + 4) != 0))
		return usage();
	upnp_start(&upnp, &request, now + patience, now);
	upnp_run(&upnp);
	if (upnp.has_service && maps)
		upnp_map(&upnp, &mapping, clock_now_ms() + patience);
	if (upnp.has_service && unmaps)
		upnp_unmap(&upnp, &mapping, clock_now_ms() + patience);
	upnp_run(&upnp);
	print_end();
	upnp_end(&upnp);
	return 0;
}
