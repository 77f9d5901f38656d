/*
 * borrow.h - ways to speak from a port that somebody else listens on.
 *
 * A method never touches the process that holds the port, its socket or its configuration; what it
 * sets up goes when the process ends, also by SIGKILL.
 *
 * To add a method:
 *
 *   1. Write src/borrow/NAME.c with one struct borrow_method. If it ends up with an ordinary
 *      socket, borrow_method_open_socket() does all except the bind. Begin it with how it works,
 *      what it needs, and what is left when it is killed.
 *   2. Declare it in method.h and add it to the tables in borrow.c, whose order is that of `auto`.
 *      A capability that no other method has takes a row in find_needed() there, and one in
 *      client/client_sandbox.c, which keeps what the methods need.
 *   3. Name it in the help of -m in cmd/probe_options.c and in natpunch-probe(1).
 *   4. Show in tests/platform what it relies on, and in tests/lab that a login through it works and
 *      that nothing is left behind.
 */
#ifndef NATPUNCH_BORROW_BORROW_H
#define NATPUNCH_BORROW_BORROW_H

#include <stdbool.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/borrow/method.h"
#include "natpunch/proto/raw_handshake.h"

/* The method of that name; NULL when none has it. */
const struct borrow_method *borrow_find(const char *name);

/*
 * Opens by `method`, or with NULL by the first one that can, saying at log_detail() why each other
 * was passed over. With `leave_free` those come first over UDP that do not take the port: whoever
 * does keeps a daemon out that is started later. When none can, *error is that of bind, with a hint
 * that names who holds the port and what to grant. For every result but BORROW_OPEN *error is
 * filled and *out untouched.
 */
enum borrow_result borrow_open(const struct borrow_method *method,
	const struct borrow_request *request, struct borrowed *out, struct error *error);

/*
 * With BORROW_DATAGRAM: sends one datagram to the remote address; takes one that came from it.
 * Each returns the bytes, or -1 and errno (EAGAIN: nothing there).
 */
ssize_t borrow_send(struct borrowed *borrowed, const void *data, size_t size);
ssize_t borrow_receive(struct borrowed *borrowed, void *out, size_t capacity);

/*
 * With BORROW_DATAGRAM that was opened with `any_port`: from here on it is sent to where the last
 * one came from, another port of the remote address. Returns false where the method has no such
 * thing, or it is that port already.
 */
bool borrow_turn(struct borrowed *borrowed);

/*
 * With BORROW_HANDSHAKE: sends the question, the same one every time; takes what came and judges
 * it (raw_handshake.h). A mapping is also acknowledged, which completes the handshake. Each returns
 * 0, or -1 and errno (EAGAIN: nothing there).
 */
int borrow_knock(struct borrowed *borrowed);
int borrow_hear(
	struct borrowed *borrowed, enum raw_handshake_outcome *outcome, struct addr *mapped);

/*
 * With BORROW_DATAGRAM: does it keep a daemon from the port, which is to be left free? Then
 * borrow_let_go() leaves the port, for borrow_open() by the same method to take it again: nothing
 * is sent or received until then, and all else stays as it is.
 */
bool borrow_is_in_the_way(const struct borrowed *borrowed, const struct borrow_request *request);
void borrow_let_go(struct borrowed *borrowed);

/* Ends it in the ordinary way: FIN, or RST for an unfinished handshake. Also after a failed one;
 * twice is once. */
void borrow_close(struct borrowed *borrowed);

/* Ends a connected stream without a packet (socket_forget()), or in order where that fails. */
void borrow_forget(struct borrowed *borrowed);

#endif
