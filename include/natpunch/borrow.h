/*
 * borrow.h - ways to speak from a port that somebody else listens on.
 *
 * Each method is one file and one row in a const table. A method never touches the process that
 * holds the port, its socket or its configuration; what it sets up goes when the process ends,
 * also by SIGKILL.
 */
#ifndef NATPUNCH_BORROW_H
#define NATPUNCH_BORROW_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/addr.h"
#include "natpunch/error.h"
#include "natpunch/mapping.h"

struct borrow_request {
	enum mapping_protocol protocol;
	struct addr local; /* port: the one to borrow; ADDR_NONE as family: any address */
	struct addr remote;
	const char *interface; /* for SO_BINDTODEVICE, or NULL */
};

enum borrow_result {
	BORROW_OPEN,   /* it speaks from the port (a stream: connecting, writable when done) */
	BORROW_CANNOT, /* not by this method on this machine; another may do */
	BORROW_BUSY,   /* this very pair of addresses is in use right now; later it may not be */
	BORROW_UNREACHABLE, /* no way to the remote address; another address may do */
};

struct borrow_method;

/* A borrowed port. Owned by whoever opened it, until borrow_close() or borrow_forget(). */
struct borrowed {
	const struct borrow_method *method;
	int fd; /* a connecting or connected socket, non-blocking */
};

struct borrow_method {
	const char *name;
	enum borrow_result (*open)(
		const struct borrow_request *request, struct borrowed *out, struct error *error);
};

/* "bind", "repair"; NULL for a name that is not in the table. */
const struct borrow_method *borrow_find(const char *name);

/*
 * Opens by `method`, or with NULL by the first one that can, saying at log_detail() why each other
 * was passed over. When none can, *error is the first one's, with a hint that names who holds the
 * port and what to grant. For every result but BORROW_OPEN *error is filled and *out untouched.
 */
enum borrow_result borrow_open(const struct borrow_method *method,
	const struct borrow_request *request, struct borrowed *out, struct error *error);

/* Ends it in the ordinary way: FIN. Also after a failed one; twice is once. */
void borrow_close(struct borrowed *borrowed);

/* Ends a connected stream without a packet (socket_forget()), or in order where that fails. */
void borrow_forget(struct borrowed *borrowed);

/*
 * For the methods whose borrowed port is an ordinary socket: opens one, has `bind_port` bind it
 * (0, or -1 and errno) and connects it. `verb` is for the error: "cannot VERB port 22".
 */
enum borrow_result borrow_open_socket(const struct borrow_method *method,
	const struct borrow_request *request, int (*bind_port)(int fd, const struct addr *local),
	const char *verb, struct borrowed *out, struct error *error);

/* For the methods: what is to be bound: the wanted local address, or any of the remote's family. */
struct addr borrow_local(const struct borrow_request *request);

extern const struct borrow_method borrow_method_bind;
extern const struct borrow_method borrow_method_repair;

#endif
