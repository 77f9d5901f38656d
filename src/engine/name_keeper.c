#include "natpunch/name_keeper.h"

#include <string.h>
#include <sys/socket.h>

#include "natpunch/deadline.h"
#include "natpunch/log.h"
#include "natpunch/random.h"

void name_keeper_init(struct name_keeper *keeper, const struct key *key)
{
	memset(keeper, 0, sizeof(*keeper));
	keeper->key = key;
	keeper->due = DEADLINE_NONE;
}

/* Said once, until it went well again: a refusal will be the same a minute later. */
static void warn(struct name_keeper *keeper, const char *problem, const char *hint)
{
	if (keeper->warned)
		log_detail("%s", problem);
	else
		log_warning("%s is not registered: %s%s%s", keeper->key->name, problem,
			hint[0] != '\0' ? "; " : "", hint);
	keeper->warned = true;
}

static void put_off(struct name_keeper *keeper, uint64_t now)
{
	keeper->asking = false;
	keeper->due = now + NAME_KEEPER_RETRY_MS;
}

static void take_state(struct name_keeper *keeper, uint64_t now)
{
	const struct naming *naming = &keeper->naming;
	char text[ADDR_TEXT_SIZE];

	switch (naming->state) {
	case NAMING_ASKING:
		return;
	case NAMING_FAILED:
		warn(keeper, naming->error.text, naming->error.hint);
		put_off(keeper, now);
		return;
	case NAMING_DONE:
		addr_format(&naming->rendezvous.records[0].addr, text);
		if (keeper->warned)
			log_note("%s is registered as %s", keeper->key->name, text);
		else
			log_detail("%s is registered as %s", keeper->key->name, text);
		keeper->warned = false;
		keeper->asking = false;
		memcpy(keeper->expected.session, naming->rendezvous.transaction + 4,
			sizeof(keeper->expected.session));
		keeper->expected.number = 0;
		keeper->due = now + NAME_KEEPER_REFRESH_MS;
		return;
	}
}

static void ask(struct name_keeper *keeper, uint64_t now)
{
	struct transaction *over = keeper->over;
	bool stream = over->port.kind == BORROW_STREAM;
	struct rendezvous rendezvous;

	rendezvous_start(&rendezvous, STUN_METHOD_REGISTER, keeper->key);
	rendezvous.registration = (struct rendezvous_registration){
		.protocol = keeper->mapping.protocol,
		.local_port = keeper->mapping.local.port,
		.seconds = stream ? 0 : NAME_KEEPER_PROMISE_UDP_S,
	};
	keeper->asking = true;
	keeper->due = now + NAME_KEEPER_ANSWER_MS;
	naming_start(&keeper->naming, &over->port, keeper->mapping.reflector, &rendezvous, now);
	take_state(keeper, now);
}

void name_keeper_hold(struct name_keeper *keeper, struct transaction *over,
	const struct mapping *mapping, uint64_t now)
{
	if (keeper->key == NULL)
		return;
	name_keeper_lose(keeper);
	keeper->over = over;
	keeper->mapping = *mapping;
	if (over->port.kind == BORROW_HANDSHAKE) {
		warn(keeper, "method raw holds no connection to say it over", "");
		return;
	}
	if (over->port.kind == BORROW_STREAM && over->answer.mode != BINDING_MODE_HOLD) {
		warn(keeper, "the reflector keeps no names", "");
		return;
	}
	ask(keeper, now);
}

void name_keeper_lose(struct name_keeper *keeper)
{
	keeper->over = NULL;
	keeper->asking = false;
	keeper->due = DEADLINE_NONE;
}

void name_keeper_take(struct name_keeper *keeper, const void *data, size_t size, uint64_t now)
{
	if (!keeper->asking)
		return;
	naming_take(&keeper->naming, data, size, now);
	take_state(keeper, now);
}

bool name_keeper_take_invitation(
	struct name_keeper *keeper, const void *data, size_t size, struct invitation *out)
{
	if (keeper->key == NULL || keeper->over == NULL)
		return false;
	switch (invitation_read(&keeper->expected, keeper->key->secret, data, size)) {
	case 0:
		*out = keeper->expected;
		return true;
	case 1:
		return false;
	default:
		log_detail("a false invitation came and was passed over");
		return false;
	}
}

void name_keeper_foretell(const struct name_keeper *keeper, const struct invitation_asker *asker,
	const struct forecast *forecast)
{
	uint8_t bytes[INVITATION_SIZE_MAX];
	uint8_t random[12];
	size_t size;

	if (keeper->key == NULL || keeper->over == NULL || keeper->over->port.kind != BORROW_STREAM)
		return;
	random_fill(random, sizeof(random));
	size = invitation_write_forecast(
		asker, forecast, keeper->key, random, bytes, sizeof(bytes));
	if (send(keeper->over->port.fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		log_detail("the reflector does not take our forecast");
}

/* While asking over UDP, a request is due again before the answer is given up. */
uint64_t name_keeper_next(const struct name_keeper *keeper)
{
	if (keeper->asking && keeper->naming.due < keeper->due)
		return keeper->naming.due;
	return keeper->due;
}

void name_keeper_expire(struct name_keeper *keeper, uint64_t now)
{
	if (keeper->asking)
		naming_expire(&keeper->naming, now);
	if (keeper->over == NULL || now < keeper->due)
		return;
	if (!keeper->asking) {
		ask(keeper, now);
		return;
	}
	warn(keeper, "no answer", "");
	put_off(keeper, now);
}
