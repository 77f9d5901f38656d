/* Fuzzes the reader of answers to a search: what counts leads to the router and fits a request. */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/ssdp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct addr router = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}};
	struct http_url url;

	if (size == 0 || ssdp_read_answer(data, size, &router, &url) != 0)
		return 0;
	fuzz_check(addr_equal_ip(&url.server, &router) && url.server.port != 0);
	fuzz_check(url.path[0] == '/' && strnlen(url.path, sizeof(url.path)) < sizeof(url.path));
	for (const char *at = url.path; *at != '\0'; at++)
		fuzz_check(*at > ' ' && *at <= '~');
	return 0;
}
