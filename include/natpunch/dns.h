/*
 * dns.h - asks a name server what getaddrinfo(3) does not: by res_query(3) of libc.
 *
 * It waits for the answer, as that does, so it is for the child that looks names up.
 */
#ifndef NATPUNCH_DNS_H
#define NATPUNCH_DNS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Asks for the SRV records of a name. Returns the size of the answer in out, or 0 when there is
 * none, or none that fits. Always 0 where libc needs another library for this.
 */
size_t dns_ask_srv(const char *name, uint8_t *out, size_t capacity);

#endif
