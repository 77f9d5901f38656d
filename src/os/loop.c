#include "natpunch/os/loop.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"

/* kind (8 bits), slot (24), generation (32), from the top of epoll's 64 bits down. */
#define SLOT_MASK 0xffffffU

const struct sandbox_call loop_calls[] = {
	SANDBOX_CALL(epoll_ctl),
#ifdef __NR_epoll_wait
	SANDBOX_CALL(epoll_wait),
#endif
	SANDBOX_CALL(epoll_pwait),
	SANDBOX_END,
};

static uint64_t pack(struct loop_tag tag)
{
	return (uint64_t)tag.kind << 56 | (uint64_t)(tag.slot & SLOT_MASK) << 32 | tag.generation;
}

static struct loop_tag unpack(uint64_t bits)
{
	return (struct loop_tag){
		.kind = (uint8_t)(bits >> 56),
		.slot = (uint32_t)(bits >> 32) & SLOT_MASK,
		.generation = (uint32_t)bits,
	};
}

int loop_open(struct loop *loop)
{
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->fd < 0 ? -1 : 0;
}

void loop_close(struct loop *loop)
{
	if (loop->fd >= 0)
		close(loop->fd);
	loop->fd = -1;
}

static int control(struct loop *loop, int operation, int fd, uint32_t events, struct loop_tag tag)
{
	struct epoll_event event = {.events = events, .data = {.u64 = pack(tag)}};

	return epoll_ctl(loop->fd, operation, fd, &event);
}

int loop_add(struct loop *loop, int fd, uint32_t events, struct loop_tag tag)
{
	return control(loop, EPOLL_CTL_ADD, fd, events, tag);
}

int loop_change(struct loop *loop, int fd, uint32_t events, struct loop_tag tag)
{
	return control(loop, EPOLL_CTL_MOD, fd, events, tag);
}

int loop_remove(struct loop *loop, int fd)
{
	return control(loop, EPOLL_CTL_DEL, fd, 0, (struct loop_tag){0});
}

int loop_wait(struct loop *loop, struct loop_event out[LOOP_BATCH], int timeout_ms)
{
	struct epoll_event events[LOOP_BATCH];
	int count = epoll_wait(loop->fd, events, LOOP_BATCH, timeout_ms);

	if (count < 0)
		return errno == EINTR ? 0 : -1;
	for (int i = 0; i < count; i++)
		out[i] = (struct loop_event){
			.tag = unpack(events[i].data.u64),
			.events = events[i].events,
		};
	return count;
}
