#include "natpunch/reflector_handoff.h"

#include <string.h>
#include <unistd.h>

#include "natpunch/stun.h"

int reflector_handoff_open(struct reflector_handoff *handoff)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, handoff->ends);
}

void reflector_handoff_close(struct reflector_handoff *handoff)
{
	for (int i = 0; i < 2; i++) {
		if (handoff->ends[i] >= 0)
			close(handoff->ends[i]);
		handoff->ends[i] = -1;
	}
}

bool reflector_handoff_wants(const void *message, size_t size)
{
	switch (stun_peek_method(message, size)) {
	case STUN_METHOD_REGISTER:
	case STUN_METHOD_LOOKUP:
	case STUN_METHOD_CONNECT:
	case STUN_METHOD_RELAY:
	case STUN_METHOD_JOIN:
	case STUN_METHOD_FORECAST:
	case STUN_METHOD_DIAL:
		return true;
	default:
		return false;
	}
}

bool reflector_handoff_send(
	const struct reflector_handoff *handoff, const struct reflector_handed *handed)
{
	size_t size = offsetof(struct reflector_handed, bytes) + handed->size;

	return handed->size <= sizeof(handed->bytes) &&
	       send(handoff->ends[0], handed, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool reflector_handoff_receive(
	const struct reflector_handoff *handoff, struct reflector_handed *handed)
{
	const size_t least = offsetof(struct reflector_handed, bytes);
	ssize_t got = recv(handoff->ends[1], handed, sizeof(*handed), 0);

	return got >= (ssize_t)least && handed->size == (size_t)got - least;
}
