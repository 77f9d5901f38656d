/*
 * http_answer.h - reads the answer of an HTTP/1.x server in pieces of any size (RFC 9112).
 *
 * The body ends by its length, by chunks, or with the connection (6.3). Redirects are not followed.
 * Only the line being read is kept; the caller gets the body as it comes.
 *
 * Threat: a server that lies. All that it sends counts against HTTP_ANSWER_MAX, so that headers,
 * chunks and bodies come to an end; a length that is no number or above it is refused.
 */
#ifndef NATPUNCH_PROTO_HTTP_ANSWER_H
#define NATPUNCH_PROTO_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_MAX      131072 /* bytes of an answer, with its headers */
#define HTTP_ANSWER_LINE_MAX 1024   /* of a line, with its CRLF */

enum http_answer_state {
	HTTP_ANSWER_STATUS_LINE,
	HTTP_ANSWER_HEADERS,
	HTTP_ANSWER_BODY,          /* `left` bytes of it are to come */
	HTTP_ANSWER_BODY_TO_CLOSE, /* all that comes */
	HTTP_ANSWER_CHUNK_SIZE,
	HTTP_ANSWER_CHUNK,     /* `left` bytes of it are to come */
	HTTP_ANSWER_CHUNK_END, /* the CRLF behind it */
	HTTP_ANSWER_TRAILERS,
	HTTP_ANSWER_COMPLETE,
	HTTP_ANSWER_BAD, /* see `why` */
};

/* All zero is an answer of which nothing was read. */
struct http_answer {
	enum http_answer_state state;
	unsigned status; /* 200, ...; from HTTP_ANSWER_BODY on */
	const char *why; /* when BAD: what is wrong with it */
	uint32_t received;
	uint32_t left;
	bool has_length;
	bool chunked;
	size_t line_size;
	char line[HTTP_ANSWER_LINE_MAX];
};

/*
 * Takes the next bytes, and leaves those of them that belong to the body at the beginning of data.
 * Returns how many that are. What comes behind the end of the answer is passed over.
 */
size_t http_answer_filter(struct http_answer *answer, char *data, size_t size);

/* The connection has ended: COMPLETE if that is how the body ends, or BAD if it was cut. */
void http_answer_close(struct http_answer *answer);

/*
 * The value of a header line, without the blanks around it, if its name is `name` ("location:" with
 * the colon, in any case); else NULL. Writes to the line.
 */
char *http_answer_header(char *line, const char *name);

#endif
