/*
 * http_exchange.h - one request and its answer over a TCP connection of its own, without blocking.
 *
 *     http_exchange_open(), then http_exchange_advance() whenever the descriptor is ready:
 *     WAITING* CONNECTED (http_exchange_send() is due) WAITING* {BODY WAITING*}* COMPLETE
 *
 * It connects to one address alone, whatever the answer says; http_answer.h bounds the answer. The
 * caller keeps deadlines.
 */
#ifndef NATPUNCH_CLIENT_HTTP_EXCHANGE_H
#define NATPUNCH_CLIENT_HTTP_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/http_answer.h"

#define HTTP_EXCHANGE_PIECE_SIZE 1024

struct http_exchange {
	int fd; /* -1: none */
	bool is_sent;
	struct http_answer answer; /* its status, from BODY on */
	const char *why;           /* when FAILED */
};

enum http_exchange_result {
	HTTP_EXCHANGE_WAITING,
	HTTP_EXCHANGE_CONNECTED,
	HTTP_EXCHANGE_BODY, /* some bytes of it */
	HTTP_EXCHANGE_COMPLETE,
	HTTP_EXCHANGE_FAILED,
};

/*
 * Begins to connect, from `source` (port 0: any) and, unless that is NULL, over `interface`.
 * Returns 0, or -1 and sets `why`. http_exchange_close() must follow in both cases.
 */
int http_exchange_open(struct http_exchange *exchange, const struct addr *source,
	const char *interface, const struct addr *server);

/* What to poll for: events for poll(2). */
short http_exchange_events(const struct http_exchange *exchange);

/* Goes on; after BODY `piece` holds *size bytes of the body, and there may be more at once. */
enum http_exchange_result http_exchange_advance(
	struct http_exchange *exchange, char piece[HTTP_EXCHANGE_PIECE_SIZE], size_t *size);

/* Sends the request, whole. Returns 0, or -1 and sets `why`. */
int http_exchange_send(struct http_exchange *exchange, const char *request, size_t size);

void http_exchange_close(struct http_exchange *exchange);

#endif
