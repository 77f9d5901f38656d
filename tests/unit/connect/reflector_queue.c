/*
 * The addresses of many reflectors with many addresses, from a hosts file of the test's own.
 */
#include "connect/reflector_queue.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "unit/server.h"

#define HOSTS 16
#define EACH  4 /* of IPv4, and as many of IPv6 */

static char hosts_path[] = "/tmp/natpunch-hosts-XXXXXX";

static void name_hosts(void)
{
	int fd = mkstemp(hosts_path);

	for (int host = 0; host < HOSTS; host++)
		for (int i = 0; i < EACH; i++)
			dprintf(fd, "127.0.%d.%d host%d.test\n::%d:%d host%d.test\n", host, i + 1,
				host, host + 1, i + 1, host);
	if (fd < 0 || fchmod(fd, 0644) != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount(hosts_path, "/etc/hosts", NULL, MS_BIND, NULL) != 0)
		bail_out("no names: %s", strerror(errno));
	close(fd);
	unlink(hosts_path);
}

static void look_up(struct reflector_queue *queue, const struct reflector_list *list)
{
	uint64_t end = clock_now_ms() + PATIENCE;

	reflector_queue_start(queue, list, ADDR_NONE, NULL);
	while (reflector_queue_is_growing(queue) && clock_now_ms() < end) {
		struct pollfd fds[REFLECTOR_QUEUE_WATCH_MAX];

		reflector_queue_watch(queue, fds);
		poll(fds, REFLECTOR_QUEUE_WATCH_MAX, PATIENCE);
		reflector_queue_advance(queue, fds);
	}
}

static void add_host(struct reflector_list *list, const char *text)
{
	struct error error;

	if (reflector_list_add(list, text, &error) != 0)
		bail_out("%s: %s", text, error.text);
}

static size_t count_of(
	const struct reflector_queue *queue, unsigned reflector, enum addr_family family)
{
	size_t count = 0;

	for (size_t i = 0; i < queue->count; i++)
		if (queue->addresses[i].reflector == reflector &&
			queue->addresses[i].family == family)
			count++;
	return count;
}

/* As many as may be named, and each with more addresses than its part of the table. */
static void test_full(void)
{
	struct reflector_list list = {.count = 0};
	struct reflector_queue queue;
	size_t parts = 0;

	for (int host = 0; host < HOSTS; host++) {
		char text[32];

		snprintf(text, sizeof(text), "host%d.test:3478", host);
		add_host(&list, text);
	}
	look_up(&queue, &list);
	is_uint(queue.count, REFLECTOR_QUEUE_MAX, "the table is full");
	for (unsigned name = 0; name < HOSTS; name++)
		if (count_of(&queue, name * RESOLVE_MAX, ADDR_IPV4) == 1 &&
			count_of(&queue, name * RESOLVE_MAX, ADDR_IPV6) == 1)
			parts++;
	is_uint(parts, HOSTS, "and each name has its part, of both families");
	ok(reflector_queue_has_several(&queue), "they are several");
	reflector_queue_end(&queue);
}

static void test_two(void)
{
	struct reflector_list list = {.count = 0};
	struct reflector_queue queue;

	add_host(&list, "host0.test:3478");
	look_up(&queue, &list);
	is_uint(queue.count, 2 * EACH, "one host has all its addresses");
	ok(queue.addresses[0].family != queue.addresses[1].family, "the families by turns");
	ok(!reflector_queue_has_several(&queue), "and is not several");
	reflector_queue_end(&queue);
	add_host(&list, "127.0.0.1:3478");
	add_host(&list, "127.0.0.1:3479");
	look_up(&queue, &list);
	is_uint(queue.count, 2 * EACH + 1, "an address that is named twice is there once");
	is_uint(count_of(&queue, 2 * RESOLVE_MAX, ADDR_IPV4), 1, "another port is another one");
	is_str(queue.error.text, "", "no look-up failed");
	reflector_queue_end(&queue);
}

static void test_failure(void)
{
	struct reflector_list list = {.count = 0};
	struct reflector_queue queue;

	add_host(&list, "no..where:3478");
	add_host(&list, "127.0.0.1");
	look_up(&queue, &list);
	is_uint(queue.count, 1, "a name that there is not costs no other");
	ok(strncmp(queue.error.text, "cannot look up no..where: ", 26) == 0, "it is told: %s",
		queue.error.text);
	reflector_queue_end(&queue);
}

int main(void)
{
	network_enter();
	name_hosts();
	test_full();
	test_two();
	test_failure();
	return done_testing();
}
