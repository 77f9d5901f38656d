#include "connect/reflector_queue.h"

#include <string.h>

#include "natpunch/os/log.h"

static bool is_known(const struct reflector_queue *queue, const struct addr *target)
{
	for (size_t i = 0; i < queue->count; i++)
		if (addr_equal(&queue->addresses[i].target, target) &&
			queue->addresses[i].target.scope == target->scope)
			return true;
	return false;
}

static void add(struct reflector_queue *queue, size_t name, size_t found)
{
	const struct resolve *resolve = &queue->names[name];
	const struct addr target = resolve_target(resolve, found);

	/* A host may be named twice: by its own name and by its domain. */
	if (is_known(queue, &target))
		return;
	queue->addresses[queue->count++] = (struct reflector_address){
		.target = target,
		.family = (enum addr_family)resolve->found[found].family,
		.nat64 = resolve->nat64,
		.reflector = (unsigned)(name * RESOLVE_MAX) + resolve->targets[found],
	};
}

/* Adds addresses of the families by turns; the resolver's first one begins. */
static void line_up(struct reflector_queue *queue, size_t name)
{
	const struct resolve *resolve = &queue->names[name];
	size_t left = REFLECTOR_QUEUE_MAX / queue->list->count;
	size_t next[2] = {0, 0};
	bool six = resolve->count > 0 && resolve->found[0].family == ADDR_IPV6;

	left = left < resolve->count ? left : resolve->count;
	for (; left > 0; six = !six) {
		enum addr_family family = six ? ADDR_IPV6 : ADDR_IPV4;
		size_t *at = &next[six];

		while (*at < resolve->count && resolve->found[*at].family != family)
			(*at)++;
		if (*at == resolve->count)
			continue;
		add(queue, name, (*at)++);
		left--;
	}
}

static void note_failure(struct reflector_queue *queue, size_t name)
{
	struct error error;

	/* With a deadline that is past, this does not wait. */
	if (resolve_wait(&queue->names[name], queue->list->all[name].host, 0, &error) == 0)
		return;
	if (queue->list->count > 1)
		log_detail("%s", error.text);
	if (queue->error.text[0] == '\0')
		queue->error = error;
}

static void take_ended(struct reflector_queue *queue)
{
	for (size_t i = 0; i < queue->list->count; i++) {
		if (!queue->names[i].done || queue->is_told[i])
			continue;
		queue->is_told[i] = true;
		line_up(queue, i);
		note_failure(queue, i);
	}
}

void reflector_queue_start(struct reflector_queue *queue, const struct reflector_list *list,
	enum addr_family family, const struct resolve_helper *helper)
{
	queue->list = list;
	queue->count = 0;
	queue->error.text[0] = '\0';
	memset(queue->is_told, 0, sizeof(queue->is_told));
	for (size_t i = 0; i < list->count; i++)
		resolve_start_reflector(&queue->names[i], helper, &list->all[i], family);
	take_ended(queue);
}

void reflector_queue_watch(
	const struct reflector_queue *queue, struct pollfd fds[REFLECTOR_QUEUE_WATCH_MAX])
{
	for (size_t i = 0; i < REFLECTOR_QUEUE_WATCH_MAX; i++) {
		bool used = i < queue->list->count && !queue->names[i].done;

		fds[i] = (struct pollfd){.fd = used ? queue->names[i].fd : -1, .events = POLLIN};
	}
}

void reflector_queue_advance(
	struct reflector_queue *queue, const struct pollfd fds[REFLECTOR_QUEUE_WATCH_MAX])
{
	for (size_t i = 0; i < queue->list->count; i++)
		if (fds[i].revents != 0)
			resolve_advance(&queue->names[i]);
	take_ended(queue);
}

bool reflector_queue_is_growing(const struct reflector_queue *queue)
{
	for (size_t i = 0; i < queue->list->count; i++)
		if (!queue->names[i].done)
			return true;
	return false;
}

bool reflector_queue_has_several(const struct reflector_queue *queue)
{
	for (size_t i = 1; i < queue->count; i++)
		if (queue->addresses[i].reflector != queue->addresses[0].reflector)
			return true;
	return queue->list->count > 1;
}

void reflector_queue_expire(struct reflector_queue *queue)
{
	for (size_t i = 0; i < queue->list->count; i++)
		if (!queue->names[i].done)
			note_failure(queue, i);
}

void reflector_queue_end(struct reflector_queue *queue)
{
	for (size_t i = 0; i < queue->list->count; i++)
		resolve_end(&queue->names[i]);
}
