/*
 * http_url.h - the URLs of one server that is known already (RFC 3986, RFC 9110 4.2.1).
 *
 * Threat: any host may have sent the URL, and it must not lead the caller to another host. So the
 * host has to be the literal IPv4 address of the server: no name, no user, no other scheme. The
 * rest can be put into a request: printable ASCII without blanks.
 */
#ifndef NATPUNCH_PROTO_HTTP_URL_H
#define NATPUNCH_PROTO_HTTP_URL_H

#include "natpunch/base/addr.h"

#define HTTP_URL_PATH_SIZE 256
#define HTTP_URL_SIZE      (HTTP_URL_PATH_SIZE + 32) /* "http://ADDR:PORT" and a path */

struct http_url {
	struct addr server;            /* IPv4, and the port */
	char path[HTTP_URL_PATH_SIZE]; /* with the query; begins with '/' */
};

/* Both return 0, or -1 and leave *out alone. */

/* "http://ADDR[:PORT][/PATH]" with the address of `server`, whose port does not matter. */
int http_url_read(const char *text, const struct addr *server, struct http_url *out)
	__attribute__((warn_unused_result));

/*
 * What a document at `base` refers to: such a URL on the same server, "/PATH", or "PATH" in the
 * folder of the document. Dot segments (RFC 3986 5.2.4) are left to the server.
 */
int http_url_resolve(const char *text, const struct http_url *base, struct http_url *out)
	__attribute__((warn_unused_result));

#endif
