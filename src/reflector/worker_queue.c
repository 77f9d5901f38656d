#include "reflector/worker_queue.h"

#include <string.h>
#include <unistd.h>

#include "natpunch/proto/stun.h"

int worker_queue_open(struct worker_queue *queue)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, queue->ends);
}

void worker_queue_close(struct worker_queue *queue)
{
	for (int i = 0; i < 2; i++) {
		if (queue->ends[i] >= 0)
			close(queue->ends[i]);
		queue->ends[i] = -1;
	}
}

bool worker_queue_wants(const void *message, size_t size)
{
	switch (stun_peek_method(message, size)) {
	case STUN_METHOD_REGISTER:
	case STUN_METHOD_LOOKUP:
	case STUN_METHOD_CONNECT:
	case STUN_METHOD_RELAY:
	case STUN_METHOD_JOIN:
	case STUN_METHOD_PREDICTION:
	case STUN_METHOD_DIAL:
		return true;
	default:
		return false;
	}
}

bool worker_queue_send(const struct worker_queue *queue, const struct worker_queue_item *item)
{
	size_t size = offsetof(struct worker_queue_item, bytes) + item->size;

	return item->size <= sizeof(item->bytes) &&
	       send(queue->ends[0], item, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool worker_queue_receive(const struct worker_queue *queue, struct worker_queue_item *item)
{
	const size_t least = offsetof(struct worker_queue_item, bytes);
	ssize_t got = recv(queue->ends[1], item, sizeof(*item), 0);

	return got >= (ssize_t)least && item->size == (size_t)got - least;
}
