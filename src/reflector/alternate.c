#include "reflector/alternate.h"

#include <string.h>

#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

static const struct reflector_listen *find_base(
	const struct reflector_config *config, enum addr_family family)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (config->listen[i].service == REFLECTOR_FULL &&
			config->listen[i].addr.family == family)
			return &config->listen[i];
	return NULL;
}

static bool is_listened_on(const struct reflector_config *config, const struct addr *addr)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (config->listen[i].service == REFLECTOR_FULL &&
			addr_equal(&config->listen[i].addr, addr))
			return true;
	return false;
}

static int fail(struct error *error, const struct addr *alternate, const char *why)
{
	char text[ADDR_IP_TEXT_SIZE];

	return error_set(error, EXIT_STATUS_LOCAL, "cannot use %s as alternate address: %s",
		addr_format_ip(alternate, text), why);
}

/* An address of this machine to go with a listener on all of them. */
static int choose_main(
	struct alternate *alternates, const struct reflector_listen *base, struct error *error)
{
	alternates->main = base->addr;
	alternates->wildcard = addr_classify(&base->addr) == ADDR_CLASS_UNSPECIFIED;
	if (alternates->wildcard && socket_other_ip(&alternates->alternate, &alternates->main) != 0)
		return fail(error, &alternates->alternate, "this machine has no other of its kind");
	alternates->main.port = base->addr.port;
	if (addr_equal_ip(&alternates->main, &alternates->alternate))
		return fail(error, &alternates->alternate, "it is the main one");
	return 0;
}

static uint16_t other_port(uint16_t port)
{
	return (uint16_t)(port == UINT16_MAX ? port - 1 : port + 1);
}

int alternate_plan(struct alternate *alternates, const struct reflector_config *config,
	size_t index, struct reflector_listen extra[ALTERNATE_EXTRA], struct error *error)
{
	const struct addr *alternate = &config->alternates[index];
	const struct reflector_listen *base =
		find_base(config, (enum addr_family)alternate->family);
	struct addr wanted[ALTERNATE_EXTRA];
	int count = 0;

	memset(alternates, 0, sizeof(*alternates));
	memset(alternates->datagrams, -1, sizeof(alternates->datagrams));
	alternates->alternate = *alternate;
	if (base == NULL)
		return fail(error, alternate, "nothing listens on that family");
	if (!socket_is_local_ip(alternate))
		return fail(error, alternate, "this machine does not have it");
	if (choose_main(alternates, base, error) != 0)
		return -1;
	alternates->alternate.port = other_port(base->addr.port);
	wanted[0] = base->addr;
	wanted[0].port = alternates->alternate.port;
	wanted[1] = alternates->alternate;
	wanted[2] = alternates->alternate;
	wanted[2].port = alternates->main.port;
	for (size_t i = 0; i < (alternates->wildcard ? 1 : ALTERNATE_EXTRA); i++)
		if (!is_listened_on(config, &wanted[i]))
			extra[count++] = (struct reflector_listen){
				.addr = wanted[i], .service = REFLECTOR_FULL};
	return count;
}

static bool has_port(const struct alternate *alternates, const struct addr *addr)
{
	return alternates->main.family != ADDR_NONE && addr->family == alternates->main.family &&
	       (addr->port == alternates->main.port || addr->port == alternates->alternate.port);
}

void alternate_adopt(struct alternate *alternates, const struct addr *bound, int fd)
{
	size_t port = bound->port == alternates->alternate.port;

	if (!has_port(alternates, bound))
		return;
	if (alternates->wildcard && addr_classify(bound) == ADDR_CLASS_UNSPECIFIED) {
		alternates->datagrams[0][port] = fd;
		alternates->datagrams[1][port] = fd;
	} else if (!alternates->wildcard && addr_equal_ip(bound, &alternates->main)) {
		alternates->datagrams[0][port] = fd;
	} else if (!alternates->wildcard && addr_equal_ip(bound, &alternates->alternate)) {
		alternates->datagrams[1][port] = fd;
	}
}

bool alternate_around(
	const struct alternate *alternates, const struct addr *to, struct binding_places *out)
{
	bool at_alternate = addr_equal_ip(to, &alternates->alternate);
	uint16_t port = to->port == alternates->main.port ? alternates->alternate.port
							  : alternates->main.port;
	struct addr other = at_alternate ? alternates->main : alternates->alternate;

	if (!has_port(alternates, to))
		return false;
	if (!alternates->wildcard && !at_alternate && !addr_equal_ip(to, &alternates->main))
		return false;
	for (size_t i = 0; i < BINDING_PLACE_COUNT; i++) {
		out->at[i] = (i & BINDING_OTHER_IP) != 0 ? other : *to;
		out->at[i].port = (i & BINDING_OTHER_PORT) != 0 ? port : to->port;
	}
	return true;
}

bool alternate_other_ip(
	const struct alternate *alternates, const struct addr *asked, struct addr *out)
{
	if (alternates->main.family == ADDR_NONE || alternates->main.family != asked->family)
		return false;
	*out = addr_equal_ip(asked, &alternates->alternate) ? alternates->main
							    : alternates->alternate;
	out->port = 0;
	return true;
}

int alternate_socket(const struct alternate *alternates, const struct addr *from)
{
	if (!has_port(alternates, from))
		return -1;
	return alternates->datagrams[addr_equal_ip(from, &alternates->alternate)]
				    [from->port == alternates->alternate.port];
}
