#include "natpunch/dns.h"

#ifdef __linux__
#include <netinet/in.h>
#include <arpa/nameser.h>
#include <resolv.h>

size_t dns_ask_srv(const char *name, uint8_t *out, size_t capacity)
{
	int size = res_query(name, ns_c_in, ns_t_srv, out, (int)capacity);

	return size > 0 && (size_t)size <= capacity ? (size_t)size : 0;
}
#else
size_t dns_ask_srv(const char *name, uint8_t *out, size_t capacity)
{
	(void)name;
	(void)out;
	(void)capacity;
	return 0;
}
#endif
