#include "home/registration.h"

#include <string.h>
#include <sys/socket.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"

void registration_init(struct registration *keeper, const struct key *key)
{
	memset(keeper, 0, sizeof(*keeper));
	keeper->key = key;
	keeper->due = TIMER_NONE;
}

/* Said once, until it went well again: a refusal will be the same a minute later. */
static void warn(struct registration *keeper, const char *problem, const char *hint)
{
	if (keeper->warned)
		log_detail("%s", problem);
	else
		log_warning("%s is not registered: %s%s%s", keeper->key->name, problem,
			hint[0] != '\0' ? "; " : "", hint);
	keeper->warned = true;
}

static void put_off(struct registration *keeper, uint64_t now)
{
	keeper->asking = false;
	keeper->due = now + REGISTRATION_RETRY_MS;
}

static void take_state(struct registration *keeper, uint64_t now)
{
	const struct name_client *naming = &keeper->naming;
	char text[ADDR_TEXT_SIZE];

	switch (naming->state) {
	case NAME_CLIENT_ASKING:
		return;
	case NAME_CLIENT_FAILED:
		warn(keeper, naming->error.text, naming->error.hint);
		put_off(keeper, now);
		return;
	case NAME_CLIENT_DONE:
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
		keeper->due = now + REGISTRATION_REFRESH_MS;
		return;
	}
}

static void ask(struct registration *keeper, uint64_t now)
{
	struct binding_client *over = keeper->over;
	bool stream = over->port.kind == BORROW_STREAM;
	struct name_question rendezvous;

	name_message_start(&rendezvous, STUN_METHOD_REGISTER, keeper->key);
	rendezvous.registration = (struct name_message_registration){
		.protocol = keeper->mapping.protocol,
		.local_port = keeper->mapping.local.port,
		.seconds = stream ? 0 : REGISTRATION_PROMISE_UDP_S,
	};
	keeper->asking = true;
	keeper->due = now + REGISTRATION_ANSWER_MS;
	name_client_start(&keeper->naming, &over->port, keeper->mapping.reflector, &rendezvous, now);
	take_state(keeper, now);
}

void registration_hold(struct registration *keeper, struct binding_client *over,
	const struct mapping *mapping, uint64_t now)
{
	if (keeper->key == NULL)
		return;
	registration_lose(keeper);
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

void registration_lose(struct registration *keeper)
{
	keeper->over = NULL;
	keeper->asking = false;
	keeper->due = TIMER_NONE;
}

void registration_take(struct registration *keeper, const void *data, size_t size, uint64_t now)
{
	if (!keeper->asking)
		return;
	name_client_take(&keeper->naming, data, size, now);
	take_state(keeper, now);
}

bool registration_take_invitation(
	struct registration *keeper, const void *data, size_t size, struct invitation *out)
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

void registration_predict(const struct registration *keeper, const struct invitation_asker *asker,
	const struct port_prediction *forecast)
{
	uint8_t bytes[INVITATION_SIZE_MAX];
	uint8_t random[12];
	size_t size;

	if (keeper->key == NULL || keeper->over == NULL || keeper->over->port.kind != BORROW_STREAM)
		return;
	random_fill(random, sizeof(random));
	size = invitation_write_prediction(
		asker, forecast, keeper->key, random, bytes, sizeof(bytes));
	if (send(keeper->over->port.fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		log_detail("the reflector does not take our forecast");
}

/* While asking over UDP, a request is due again before the answer is given up. */
uint64_t registration_next(const struct registration *keeper)
{
	if (keeper->asking && keeper->naming.due < keeper->due)
		return keeper->naming.due;
	return keeper->due;
}

void registration_expire(struct registration *keeper, uint64_t now)
{
	if (keeper->asking)
		name_client_expire(&keeper->naming, now);
	if (keeper->over == NULL || now < keeper->due)
		return;
	if (!keeper->asking) {
		ask(keeper, now);
		return;
	}
	warn(keeper, "no answer", "");
	put_off(keeper, now);
}
