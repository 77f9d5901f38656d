#include "natpunch/client/reflector_list.h"

#include <stdlib.h>
#include <string.h>

#include "natpunch/base/host_port.h"
#include "natpunch/os/random.h"
#include "natpunch/proto/stun.h"
#include "natpunch/base/text.h"

int reflector_list_add(struct reflector_list *list, const char *text, struct error *error)
{
	char safe[128];

	if (list->count == REFLECTOR_LIST_MAX)
		return error_set(
			error, EXIT_STATUS_USAGE, "more than %d reflectors", REFLECTOR_LIST_MAX);
	if (host_port_parse(text, STUN_DEFAULT_PORT, &list->all[list->count]) == 0) {
		list->count++;
		return 0;
	}
	text_escape(safe, sizeof(safe), text, strlen(text));
	return error_set(error, EXIT_STATUS_USAGE, "invalid reflector: '%s'", safe);
}

/* $NATPUNCH_REFLECTOR: the same as several -r, with spaces between. */
int reflector_list_add_from_environment(struct reflector_list *list, struct error *error)
{
	const char *rest = getenv("NATPUNCH_REFLECTOR");

	if (list->count > 0)
		return 0;
	while (rest != NULL && *rest != '\0') {
		char word[HOST_PORT_HOST_SIZE + 16];
		size_t size = strcspn(rest, " ");

		if (size >= sizeof(word))
			return error_set(error, EXIT_STATUS_USAGE,
				"invalid reflector in NATPUNCH_REFLECTOR");
		memcpy(word, rest, size);
		word[size] = '\0';
		if (size > 0 && reflector_list_add(list, word, error) != 0)
			return -1;
		rest += size;
		rest += strspn(rest, " ");
	}
	return 0;
}

/*
 * Public STUN servers that answer over TCP, for a user who names no reflector. None is trusted, so
 * two must agree; the order is shuffled so that no operator is everybody's first.
 */
static const char *const public_servers[] = {
	"stun.mixvoip.com",
	"stun.m-online.net",
	"stun.sip.us",
	"stun.voipgate.com",
	"stun.telnyx.com",
	"stun.threema.ch",
	"stun.nextcloud.com:443",
};
#define PUBLIC_SERVER_COUNT (sizeof(public_servers) / sizeof(public_servers[0]))

static int add_public_servers(struct reflector_list *list, struct error *error)
{
	const char *shuffled[PUBLIC_SERVER_COUNT] = {NULL};

	memcpy(shuffled, public_servers, sizeof(shuffled));
	for (size_t i = PUBLIC_SERVER_COUNT - 1; i > 0; i--) {
		size_t other = random_below((uint32_t)i + 1);
		const char *server = shuffled[i];
		shuffled[i] = shuffled[other];
		shuffled[other] = server;
	}
	for (size_t i = 0; i < PUBLIC_SERVER_COUNT; i++)
		if (reflector_list_add(list, shuffled[i], error) != 0)
			return -1;
	list->must_agree = true;
	return 0;
}

int reflector_list_settle(struct reflector_list *list, struct error *error)
{
	if (reflector_list_add_from_environment(list, error) != 0)
		return -1;
	return list->count > 0 ? 0 : add_public_servers(list, error);
}
