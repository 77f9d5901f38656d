/*
 * method.h - the parts of a method to borrow a port, and what several methods share.
 */
#ifndef NATPUNCH_BORROW_METHOD_H
#define NATPUNCH_BORROW_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/proto/raw_handshake.h"
#include "natpunch/base/mapping.h"

struct port_owner;

struct borrow_request {
	enum mapping_protocol protocol;
	struct addr local; /* port: the one to borrow; ADDR_NONE as family: any address */
	struct addr remote;
	const char *interface;          /* for SO_BINDTODEVICE, or NULL */
	const struct port_owner *owner; /* of the port, as it was found before; or NULL */
	bool leave_free;                /* UDP: a daemon may want the port, which is free now */
	bool shared;   /* UDP: the caller has it, or will, to speak to other addresses too */
	bool any_port; /* UDP: take what comes from other ports of the remote address, if it can */
	const struct borrow_method *after; /* borrow_open() with NULL: not these any more, up to it
					    */
	bool again; /* it was BORROW_BUSY before: why methods are passed over has been told */
};

enum borrow_result {
	BORROW_OPEN,        /* it speaks from the port (a stream: connecting, writable when done) */
	BORROW_CANNOT,      /* not by this method on this machine; another may do */
	BORROW_BUSY,        /* this pair of addresses is in use now; later it may be free */
	BORROW_UNREACHABLE, /* no way to the remote address; another address may do */
};

/* How to use what was opened. */
enum borrow_kind {
	BORROW_STREAM,    /* fd is a TCP socket: connecting, and writable once it is connected */
	BORROW_DATAGRAM,  /* borrow_send() and borrow_receive() carry whole datagrams */
	BORROW_HANDSHAKE, /* borrow_knock() asks, and borrow_hear() finds the answer */
};

struct borrow_method;

/* A borrowed port. Its opener owns it until borrow_close() or borrow_forget(). */
struct borrowed {
	const struct borrow_method *method;
	enum borrow_kind kind;
	int fd;            /* to poll, non-blocking; -1: nothing is open */
	int guard;         /* a second descriptor without which the borrow would end, or -1 */
	struct addr local; /* address and port that the packets leave this machine with */
	struct addr remote;
	struct raw_handshake handshake; /* raw sockets: both addresses; with BORROW_HANDSHAKE all */
	bool acknowledged;              /* with BORROW_HANDSHAKE: one was completed */
	bool any_port;                  /* datagrams come from other ports as well: */
	struct addr from;               /* that of the last one */
};

struct borrow_method {
	const char *name;
	uint64_t capability; /* that it needs for any port (privileges.h) */
	bool binds;          /* it binds the port: below 1024 CAP_NET_BIND_SERVICE as well */
	enum borrow_result (*open)(
		const struct borrow_request *request, struct borrowed *out, struct error *error);
	/* What borrow_send() and the others do; NULL: send(2) and recv(2). */
	ssize_t (*send)(struct borrowed *borrowed, const void *data, size_t size);
	ssize_t (*receive)(struct borrowed *borrowed, void *out, size_t capacity);
	int (*knock)(struct borrowed *borrowed);
	int (*hear)(struct borrowed *borrowed, enum raw_handshake_outcome *outcome,
		struct addr *mapped);
	/* Ends it, `silently` as borrow_forget() says; NULL: nothing to do but what is done then.
	 */
	void (*end)(struct borrowed *borrowed, bool silently);
};

/* Nothing borrowed: borrow_close() leaves this, and takes it. */
#define BORROWED_NOTHING ((struct borrowed){.fd = -1, .guard = -1})

/*
 * For a method whose borrowed port is an ordinary socket: opens one, has `bind_port` bind it
 * (0, or -1 and errno) and connects it. `verb` is for the error: "cannot VERB port 22".
 */
enum borrow_result borrow_method_open_socket(const struct borrow_method *method,
	const struct borrow_request *request, int (*bind_port)(int fd, const struct addr *local),
	const char *verb, struct borrowed *out, struct error *error);

/* Fills *error for an interface that cannot be used; errno says why. */
void borrow_method_fail_interface(const struct borrow_request *request, struct error *error);

/*
 * The first opens a socket of the remote's family and the request's protocol, on its interface; *fd
 * is the method's then. The second connects it to the remote address (it may be under way).
 */
enum borrow_result borrow_method_make_socket(
	const struct borrow_request *request, int *fd, struct error *error);
enum borrow_result borrow_method_connect(
	int fd, const struct borrow_request *request, struct error *error);

/* With `any_port`: did this datagram come from the remote address? Then notes its port. */
bool borrow_method_is_from(
	struct borrowed *borrowed, const struct addr *remote, const struct addr *from);

/* The address to bind: the wanted one, or any of the remote's family. */
struct addr borrow_method_local(const struct borrow_request *request);

/* The rows of borrow.c, each of the file of its name. */
extern const struct borrow_method borrow_method_bind;
extern const struct borrow_method borrow_method_repair;
extern const struct borrow_method borrow_method_rewrite;
extern const struct borrow_method borrow_method_raw;

#endif
