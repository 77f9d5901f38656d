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

static int set_error(struct error *error, const struct addr *second, const char *why)
{
	char text[ADDR_IP_TEXT_SIZE];

	return error_set(error, EXIT_STATUS_LOCAL, "cannot use %s as alternate address: %s",
		addr_format_ip(second, text), why);
}

/* An address of this machine to go with a listener on all of them. */
static int choose_main(
	struct alternate *alternate, const struct reflector_listen *base, struct error *error)
{
	alternate->main = base->addr;
	alternate->wildcard = addr_classify(&base->addr) == ADDR_CLASS_UNSPECIFIED;
	if (alternate->wildcard && socket_other_ip(&alternate->alternate, &alternate->main) != 0)
		return set_error(
			error, &alternate->alternate, "this machine has no other of its kind");
	alternate->main.port = base->addr.port;
	if (addr_equal_ip(&alternate->main, &alternate->alternate))
		return set_error(error, &alternate->alternate, "it is the main one");
	return 0;
}

static uint16_t other_port(uint16_t port)
{
	return (uint16_t)(port == UINT16_MAX ? port - 1 : port + 1);
}

int alternate_plan(struct alternate *alternate, const struct reflector_config *config, size_t index,
	struct reflector_listen extra[ALTERNATE_EXTRA], struct error *error)
{
	const struct addr *second = &config->alternates[index];
	const struct reflector_listen *base = find_base(config, (enum addr_family)second->family);
	struct addr wanted[ALTERNATE_EXTRA];
	int count = 0;

	memset(alternate, 0, sizeof(*alternate));
	memset(alternate->datagrams, -1, sizeof(alternate->datagrams));
	alternate->alternate = *second;
	if (base == NULL)
		return set_error(error, second, "nothing listens on that family");
	if (!socket_is_local_ip(second))
		return set_error(error, second, "this machine does not have it");
	if (choose_main(alternate, base, error) != 0)
		return -1;
	alternate->alternate.port = other_port(base->addr.port);
	wanted[0] = base->addr;
	wanted[0].port = alternate->alternate.port;
	wanted[1] = alternate->alternate;
	wanted[2] = alternate->alternate;
	wanted[2].port = alternate->main.port;
	for (size_t i = 0; i < (alternate->wildcard ? 1 : ALTERNATE_EXTRA); i++)
		if (!is_listened_on(config, &wanted[i]))
			extra[count++] = (struct reflector_listen){
				.addr = wanted[i], .service = REFLECTOR_FULL};
	return count;
}

static bool has_port(const struct alternate *alternate, const struct addr *addr)
{
	return alternate->main.family != ADDR_NONE && addr->family == alternate->main.family &&
	       (addr->port == alternate->main.port || addr->port == alternate->alternate.port);
}

void alternate_adopt(struct alternate *alternate, const struct addr *bound, int fd)
{
	size_t port = bound->port == alternate->alternate.port;

	if (!has_port(alternate, bound))
		return;
	if (alternate->wildcard && addr_classify(bound) == ADDR_CLASS_UNSPECIFIED) {
		alternate->datagrams[0][port] = fd;
		alternate->datagrams[1][port] = fd;
	} else if (!alternate->wildcard && addr_equal_ip(bound, &alternate->main)) {
		alternate->datagrams[0][port] = fd;
	} else if (!alternate->wildcard && addr_equal_ip(bound, &alternate->alternate)) {
		alternate->datagrams[1][port] = fd;
	}
}

bool alternate_around(
	const struct alternate *alternate, const struct addr *to, struct binding_places *out)
{
	bool at_alternate = addr_equal_ip(to, &alternate->alternate);
	uint16_t port =
		to->port == alternate->main.port ? alternate->alternate.port : alternate->main.port;
	struct addr other = at_alternate ? alternate->main : alternate->alternate;

	if (!has_port(alternate, to))
		return false;
	if (!alternate->wildcard && !at_alternate && !addr_equal_ip(to, &alternate->main))
		return false;
	for (size_t i = 0; i < BINDING_PLACE_COUNT; i++) {
		out->at[i] = (i & BINDING_OTHER_IP) != 0 ? other : *to;
		out->at[i].port = (i & BINDING_OTHER_PORT) != 0 ? port : to->port;
	}
	return true;
}

bool alternate_other_ip(
	const struct alternate *alternate, const struct addr *asked, struct addr *out)
{
	if (alternate->main.family == ADDR_NONE || alternate->main.family != asked->family)
		return false;
	*out = addr_equal_ip(asked, &alternate->alternate) ? alternate->main : alternate->alternate;
	out->port = 0;
	return true;
}

int alternate_socket(const struct alternate *alternate, const struct addr *from)
{
	if (!has_port(alternate, from))
		return -1;
	return alternate->datagrams[addr_equal_ip(from, &alternate->alternate)]
				   [from->port == alternate->alternate.port];
}
