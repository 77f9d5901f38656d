/*
 * borrow.h - methods to send from a port that another program listens on.
 *
 * A method never touches the process that holds the port, its socket or its configuration. What a
 * method sets up ends with our process, also by SIGKILL.
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
 * Opens by `method`, or with NULL by the first method that can; log_detail() says why others were
 * passed over. With `leave_free`, over UDP, methods that do not take the port come first: one that
 * does would keep out a daemon that starts later. When no method can, *error is that of bind, with
 * a hint that names the holder of the port and what to grant. Unless the result is BORROW_OPEN,
 * *error is filled and *out untouched.
 */
enum borrow_result borrow_open(const struct borrow_method *method,
	const struct borrow_request *request, struct borrowed *out, struct error *error);

/*
 * With BORROW_DATAGRAM: sends a datagram to the remote address; receives one from it. Each returns
 * the bytes, or -1 and errno (EAGAIN: none there).
 */
ssize_t borrow_send(struct borrowed *borrowed, const void *data, size_t size);
ssize_t borrow_receive(struct borrowed *borrowed, void *out, size_t capacity);

/*
 * With BORROW_DATAGRAM opened with `any_port`: from now on borrow_send() sends to the port of the
 * remote address that the last datagram came from. Returns false if the method cannot, or if it
 * sends there already.
 */
bool borrow_turn(struct borrowed *borrowed);

/*
 * With BORROW_HANDSHAKE: borrow_knock() sends the SYN, the same one every time. borrow_hear()
 * receives a segment and judges it (raw_handshake.h); a mapping it acknowledges, which completes
 * the handshake. Each returns 0, or -1 and errno (EAGAIN: none there).
 */
int borrow_knock(struct borrowed *borrowed);
int borrow_hear(
	struct borrowed *borrowed, enum raw_handshake_outcome *outcome, struct addr *mapped);

/*
 * With BORROW_DATAGRAM: does it keep a daemon from a port that is to be left free? Then
 * borrow_let_go() leaves the port until borrow_open() by the same method takes it again. In between
 * nothing is sent or received; all else stays as it is.
 */
bool borrow_is_in_the_way(const struct borrowed *borrowed, const struct borrow_request *request);
void borrow_let_go(struct borrowed *borrowed);

/* Ends it in the ordinary way: FIN, or RST for an unfinished handshake. May be called after a
 * failure, and twice. */
void borrow_close(struct borrowed *borrowed);

/* Ends a connected stream without a packet (socket_forget()), or in order where that fails. */
void borrow_forget(struct borrowed *borrowed);

#endif
