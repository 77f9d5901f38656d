#include "natpunch/client/reflector_call.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/socket.h"

static int call_once(struct reflector_call *call, uint64_t now)
{
	int fd = call->open(call->context, &call->remote);

	if (fd < 0)
		return -1;
	call->fds[call->count++] = fd;
	call->due = call->count < REFLECTOR_CALL_MAX ? now + REFLECTOR_CALL_STAGGER_MS : TIMER_NONE;
	return 0;
}

int reflector_call_start(struct reflector_call *call, const struct addr *remote, punch_opener *open,
	void *context, uint64_t now)
{
	memset(call, 0, sizeof(*call));
	call->remote = *remote;
	call->open = open;
	call->context = context;
	call->due = TIMER_NONE;
	if (call_once(call, now) == 0)
		return 0;
	call->problem = errno;
	return -1;
}

void reflector_call_watch(const struct reflector_call *call, struct pollfd fds[REFLECTOR_CALL_MAX])
{
	for (size_t i = 0; i < REFLECTOR_CALL_MAX; i++)
		fds[i] = (struct pollfd){
			.fd = i < call->count ? call->fds[i] : -1, .events = POLLOUT};
}

int reflector_call_advance(
	struct reflector_call *call, const struct pollfd fds[REFLECTOR_CALL_MAX], uint64_t now)
{
	for (size_t i = 0; i < call->count; i++) {
		int fd = call->fds[i];

		if (fds[i].revents == 0)
			continue;
		call->problem = socket_take_error(fd);
		if (call->problem != 0)
			return -1;
		call->fds[i] = -1;
		reflector_call_end(call);
		return fd;
	}
	/* One that cannot be made is one less. */
	if (now >= call->due && call_once(call, now) != 0)
		call->due = TIMER_NONE;
	return -1;
}

void reflector_call_end(struct reflector_call *call)
{
	for (size_t i = 0; i < call->count; i++)
		if (call->fds[i] >= 0)
			close(call->fds[i]);
	call->count = 0;
	call->due = TIMER_NONE;
}
