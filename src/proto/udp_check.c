#include "natpunch/proto/udp_check.h"

#include <string.h>

#include "natpunch/proto/stun_auth.h"

#define VALUE_SIZE   4
#define FLAG_THROUGH 1

size_t udp_check_write(const struct udp_check *check, const uint8_t secret[KEY_SECRET_SIZE],
	void *out, size_t capacity)
{
	const uint8_t value[VALUE_SIZE] = {(uint8_t)check->role, check->through ? FLAG_THROUGH : 0};
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, check->response ? STUN_SUCCESS : STUN_REQUEST,
		STUN_METHOD_CHECK, check->transaction);
	stun_put(&writer, STUN_NATPUNCH_CHECK, value, sizeof(value));
	stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static int read_value(const struct stun_attribute *attribute, struct udp_check *out)
{
	const uint8_t *value = attribute->value;

	if (attribute->size != VALUE_SIZE ||
		(value[0] != UDP_CHECK_INITIATOR && value[0] != UDP_CHECK_HOME) ||
		(value[1] & ~FLAG_THROUGH) != 0 || value[2] != 0 || value[3] != 0)
		return -1;
	out->role = (enum udp_check_role)value[0];
	out->through = (value[1] & FLAG_THROUGH) != 0;
	return 0;
}

int udp_check_read(
	struct udp_check *out, const uint8_t secret[KEY_SECRET_SIZE], const void *data, size_t size)
{
	struct stun_attribute attribute;
	struct stun_message message;

	memset(out, 0, sizeof(*out));
	if (stun_peek_method(data, size) != STUN_METHOD_CHECK ||
		stun_parse(&message, data, size) < 0 || message.classic ||
		message.method != STUN_METHOD_CHECK)
		return 1;
	if (message.class != STUN_REQUEST && message.class != STUN_SUCCESS)
		return 1;
	/* An answer has the size of its request: what is padded would make us send more. */
	if (size != UDP_CHECK_SIZE ||
		stun_auth_check(&message, secret, KEY_SECRET_SIZE) != STUN_AUTH_VALID ||
		!stun_find(&message, STUN_NATPUNCH_CHECK, &attribute))
		return -1;
	out->response = message.class == STUN_SUCCESS;
	memcpy(out->transaction, message.transaction, sizeof(out->transaction));
	return read_value(&attribute, out);
}
