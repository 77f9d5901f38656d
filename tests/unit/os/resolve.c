/*
 * Names on a network that has IPv6 alone, and a NAT64: a network namespace with a route to all of
 * IPv6, and a file of names.
 */
#include "natpunch/os/resolve.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

#define WAIT_MS 20000

static char hosts_path[] = "/tmp/natpunch-hosts-XXXXXX";
static const char hosts[] = "192.0.2.1 four.test both.test mixed.test\n"
			    "203.0.113.1 mixed.test\n"
			    "2001:db8::1 both.test six.test\n"
			    "64:ff9b::c000:201 dns64.test\n";

static void command(const char *line)
{
	if (system(line) != 0)
		bail_out("%s", line);
}

static void enter_network(void)
{
	int fd = mkstemp(hosts_path);

	if (geteuid() != 0) {
		skip(1, "needs root, for a network namespace");
		exit(done_testing());
	}
	if (fd < 0 || fchmod(fd, 0644) != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount(hosts_path, "/etc/hosts", NULL, MS_BIND, NULL) != 0)
		bail_out("no network: %s", strerror(errno));
	close(fd);
	command("ip link set lo up && ip link add net0 type veth peer name net1 && "
		"ip link set net0 up && ip link set net1 up");
}

/* Writes what the names are; with a NAT64 also its own. */
static void name_hosts(const char *more)
{
	FILE *file = fopen("/etc/hosts", "we");

	if (file == NULL || fputs(hosts, file) < 0 || fputs(more, file) < 0 || fclose(file) != 0)
		bail_out("hosts: %s", strerror(errno));
}

static struct addr address(const char *text)
{
	struct addr addr;

	if (addr_parse_ip(&addr, text) != 0)
		bail_out("not an address: %s", text);
	addr.port = 3478;
	return addr;
}

static struct host_port named(const char *host)
{
	struct host_port reflector = {.port = 3478, .port_named = true};

	memcpy(reflector.host, host, strlen(host) + 1);
	return reflector;
}

/* `host` is found as one address alone, and is reached at `target`. */
static void leads_to(
	const char *host, enum addr_family family, const char *found, const char *target)
{
	struct host_port reflector = named(host);
	struct addr expected = address(found), end = address(target), got = {.port = 0};
	struct resolve resolve;
	struct error error = {.text = ""};

	resolve_start_reflector(&resolve, NULL, &reflector, family);
	resolve_wait(&resolve, host, clock_now_ms() + WAIT_MS, &error);
	is_uint(resolve.count, 1, "%s: one address %s", host, error.text);
	if (resolve.count > 0)
		got = resolve_target(&resolve, 0);
	ok(resolve.count > 0 && addr_equal(&resolve.found[0], &expected), "%s is %s", host, found);
	ok(addr_equal(&got, &end), "%s is reached at %s", host, target);
	resolve_end(&resolve);
}

static void is_without_child(const char *host, enum addr_family family, const char *name)
{
	struct host_port reflector = named(host);

	ok(!resolve_takes_child(&reflector, family), "%s, %s: no child is needed", host, name);
}

static void test_without_ipv6(void)
{
	name_hosts("64:ff9b::c000:aa ipv4only.arpa\n");
	is_without_child("192.0.2.1", ADDR_NONE, "no route at all");
	leads_to("192.0.2.1", ADDR_NONE, "192.0.2.1", "192.0.2.1");
	leads_to("four.test", ADDR_NONE, "192.0.2.1", "192.0.2.1");
}

static void test_nat64(void)
{
	struct host_port reflector = named("192.0.2.1");
	struct resolve resolve;

	command("ip -6 addr add 2001:db8::2/64 dev net0 nodad && ip -6 route add default dev net0");
	leads_to("192.0.2.1", ADDR_NONE, "192.0.2.1", "64:ff9b::c000:201");
	leads_to("192.0.2.1", ADDR_IPV4, "192.0.2.1", "64:ff9b::c000:201");
	leads_to("four.test", ADDR_NONE, "192.0.2.1", "64:ff9b::c000:201");
	leads_to("four.test", ADDR_IPV4, "192.0.2.1", "64:ff9b::c000:201");
	leads_to("dns64.test", ADDR_NONE, "192.0.2.1", "64:ff9b::c000:201");
	leads_to("dns64.test", ADDR_IPV6, "64:ff9b::c000:201", "64:ff9b::c000:201");
	leads_to("six.test", ADDR_NONE, "2001:db8::1", "2001:db8::1");
	is_without_child("192.0.2.1", ADDR_IPV6, "of the other family");
	is_without_child("2001:db8::1", ADDR_NONE, "IPv6 itself");
	resolve_start_reflector(&resolve, NULL, &reflector, ADDR_IPV6);
	ok(resolve.done && resolve.count == 0, "an IPv4 address is none of IPv6");
	resolve_end(&resolve);
}

/* Both of its addresses, though this host would be asked for one alone. */
static void test_both(void)
{
	struct host_port reflector = named("both.test");
	struct resolve resolve;
	struct error error;
	unsigned families = 0;

	resolve_start_reflector(&resolve, NULL, &reflector, ADDR_NONE);
	resolve_wait(&resolve, reflector.host, clock_now_ms() + WAIT_MS, &error);
	for (size_t i = 0; i < resolve.count; i++)
		families |= resolve.found[i].family == ADDR_IPV4 ? 1 : 2;
	is_uint(families, 3, "a name with both has both");
	resolve_end(&resolve);
}

static void test_no_prefix(void)
{
	name_hosts("");
	leads_to("192.0.2.1", ADDR_NONE, "192.0.2.1", "192.0.2.1");
	name_hosts("2001:db8::c0ff ipv4only.arpa\n");
	leads_to("192.0.2.1", ADDR_NONE, "192.0.2.1", "192.0.2.1");
}

static void test_route(void)
{
	name_hosts("64:ff9b::c000:aa ipv4only.arpa\n");
	command("ip addr add 192.0.2.9/24 dev net0");
	is_without_child("192.0.2.1", ADDR_NONE, "a route");
	leads_to("four.test", ADDR_NONE, "192.0.2.1", "192.0.2.1");
}

/* One address that there is a route to, and one that there is none to. */
static void test_mixed(void)
{
	struct host_port reflector = named("mixed.test");
	struct addr near = address("192.0.2.1"), far = address("64:ff9b::203.0.113.1");
	struct resolve resolve;
	struct error error;
	unsigned reached = 0;

	resolve_start_reflector(&resolve, NULL, &reflector, ADDR_IPV4);
	resolve_wait(&resolve, reflector.host, clock_now_ms() + WAIT_MS, &error);
	for (size_t i = 0; i < resolve.count; i++) {
		struct addr target = resolve_target(&resolve, i);

		reached |= addr_equal(&target, &near) ? 1u : addr_equal(&target, &far) ? 2u : 4u;
	}
	is_uint(reached, 3, "each is reached as there is a way to it");
	resolve_end(&resolve);
}

int main(void)
{
	enter_network();
	test_without_ipv6();
	test_nat64();
	test_both();
	test_no_prefix();
	test_route();
	test_mixed();
	unlink(hosts_path);
	return done_testing();
}
