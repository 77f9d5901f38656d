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
	struct alternate *places, const struct reflector_listen *base, struct error *error)
{
	places->main = base->addr;
	places->wildcard = addr_classify(&base->addr) == ADDR_CLASS_UNSPECIFIED;
	if (places->wildcard && socket_other_ip(&places->alternate, &places->main) != 0)
		return fail(error, &places->alternate, "this machine has no other of its kind");
	places->main.port = base->addr.port;
	if (addr_equal_ip(&places->main, &places->alternate))
		return fail(error, &places->alternate, "it is the main one");
	return 0;
}

static uint16_t other_port(uint16_t port)
{
	return (uint16_t)(port == UINT16_MAX ? port - 1 : port + 1);
}

int alternate_plan(struct alternate *places, const struct reflector_config *config,
	size_t index, struct reflector_listen extra[ALTERNATE_EXTRA], struct error *error)
{
	const struct addr *alternate = &config->alternates[index];
	const struct reflector_listen *base =
		find_base(config, (enum addr_family)alternate->family);
	struct addr wanted[ALTERNATE_EXTRA];
	int count = 0;

	memset(places, 0, sizeof(*places));
	memset(places->datagrams, -1, sizeof(places->datagrams));
	places->alternate = *alternate;
	if (base == NULL)
		return fail(error, alternate, "nothing listens on that family");
	if (!socket_is_local_ip(alternate))
		return fail(error, alternate, "this machine does not have it");
	if (choose_main(places, base, error) != 0)
		return -1;
	places->alternate.port = other_port(base->addr.port);
	wanted[0] = base->addr;
	wanted[0].port = places->alternate.port;
	wanted[1] = places->alternate;
	wanted[2] = places->alternate;
	wanted[2].port = places->main.port;
	for (size_t i = 0; i < (places->wildcard ? 1 : ALTERNATE_EXTRA); i++)
		if (!is_listened_on(config, &wanted[i]))
			extra[count++] = (struct reflector_listen){
				.addr = wanted[i], .service = REFLECTOR_FULL};
	return count;
}

static bool has_port(const struct alternate *places, const struct addr *addr)
{
	return places->main.family != ADDR_NONE && addr->family == places->main.family &&
	       (addr->port == places->main.port || addr->port == places->alternate.port);
}

void alternate_adopt(struct alternate *places, const struct addr *bound, int fd)
{
	size_t port = bound->port == places->alternate.port;

	if (!has_port(places, bound))
		return;
	if (places->wildcard && addr_classify(bound) == ADDR_CLASS_UNSPECIFIED) {
		places->datagrams[0][port] = fd;
		places->datagrams[1][port] = fd;
	} else if (!places->wildcard && addr_equal_ip(bound, &places->main)) {
		places->datagrams[0][port] = fd;
	} else if (!places->wildcard && addr_equal_ip(bound, &places->alternate)) {
		places->datagrams[1][port] = fd;
	}
}

bool alternate_around(
	const struct alternate *places, const struct addr *to, struct binding_places *out)
{
	bool at_alternate = addr_equal_ip(to, &places->alternate);
	uint16_t port = to->port == places->main.port ? places->alternate.port : places->main.port;
	struct addr other = at_alternate ? places->main : places->alternate;

	if (!has_port(places, to))
		return false;
	if (!places->wildcard && !at_alternate && !addr_equal_ip(to, &places->main))
		return false;
	for (size_t i = 0; i < BINDING_PLACE_COUNT; i++) {
		out->at[i] = (i & BINDING_OTHER_IP) != 0 ? other : *to;
		out->at[i].port = (i & BINDING_OTHER_PORT) != 0 ? port : to->port;
	}
	return true;
}

bool alternate_other_ip(
	const struct alternate *places, const struct addr *asked, struct addr *out)
{
	if (places->main.family == ADDR_NONE || places->main.family != asked->family)
		return false;
	*out = addr_equal_ip(asked, &places->alternate) ? places->main : places->alternate;
	out->port = 0;
	return true;
}

int alternate_socket(const struct alternate *places, const struct addr *from)
{
	if (!has_port(places, from))
		return -1;
	return places->datagrams[addr_equal_ip(from, &places->alternate)]
				[from->port == places->alternate.port];
}
