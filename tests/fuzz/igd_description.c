/*
 * Fuzzes the reader of a router's description: what is found leads to the router, is in order, and
 * the pieces make no difference.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/igd_description.h"

static const struct http_url place = {
	.server = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}, .port = 5000}, .path = "/a/b.xml"};

static void check_service(const struct igd_service *service)
{
	const char *path = service->control.path;

	fuzz_check(service->type < IGD_SERVICE_TYPES);
	fuzz_check(addr_equal_ip(&service->control.server, &place.server));
	fuzz_check(service->control.server.port != 0 && path[0] == '/');
	fuzz_check(strnlen(path, HTTP_URL_PATH_SIZE) < HTTP_URL_PATH_SIZE);
	for (; *path != '\0'; path++)
		fuzz_check(*path > ' ' && *path <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct igd_description whole, pieces;
	const char *text = (const char *)data;
	size_t cut = size / 3;

	igd_description_start(&whole, &place);
	igd_description_take(&whole, text, size);
	igd_description_start(&pieces, &place);
	igd_description_take(&pieces, text, cut);
	igd_description_take(&pieces, text + cut, size - cut);
	fuzz_check(igd_description_end(&whole) == igd_description_end(&pieces));
	fuzz_check(whole.count == pieces.count && whole.count <= IGD_SERVICES_MAX);
	fuzz_check(!whole.is_bad || whole.count == 0);
	fuzz_check(whole.xml.depth <= XML_SCAN_DEPTH_MAX);
	for (size_t i = 0; i < whole.count; i++) {
		check_service(&whole.services[i]);
		fuzz_check(i == 0 || whole.services[i - 1].type <= whole.services[i].type);
	}
	return 0;
}
