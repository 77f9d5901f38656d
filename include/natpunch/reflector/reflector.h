/*
 * reflector.h - the server that tells each client the address it is seen from.
 *
 * An epoll loop, and tables that are allocated at the start. reflector.c opens everything,
 * listeners.c the ports, and worker.c is the loop that hands events to their modules: udp.c answers
 * UDP, raw_answer.c raw handshakes, accept.c accepts TCP connections, tcp_table.c keeps them and
 * tcp.c reads and answers on them; name_auth.c authenticates requests about names, names.c answers
 * them; relay.c relays connections; dialler.c dials clients back; metrics.c serves the counters
 * (counters.h), which SIGUSR1 writes to the log. With a second address, alternate.c chooses where
 * an answer leaves from.
 *
 * With `jobs` there are more workers, each a thread with a loop, sockets and tables of its own; the
 * kernel distributes clients among them. They share no memory, so nothing is locked. The first
 * worker alone has names, relays, dial-backs and raw handshakes; the others pass requests about
 * these to it by a queue (worker_queue.h).
 */
#ifndef NATPUNCH_REFLECTOR_REFLECTOR_H
#define NATPUNCH_REFLECTOR_REFLECTOR_H

#include "natpunch/base/error.h"
#include "natpunch/reflector/config.h"

struct reflector;

/*
 * Opens and binds everything, takes over SIGTERM and SIGINT (signals.h), and says on what it
 * listens with log_note(), one line an address and `ready` as the last. Returns NULL with *error
 * filled when it cannot listen on all of it: EXIT_STATUS_LOCAL, and a hint that names who holds
 * the port. With fewer descriptors than config->connections needs, and not connections_fixed, a
 * warning tells how many connections there will be.
 */
struct reflector *reflector_open(const struct reflector_config *config, struct error *error);

/*
 * Serves until SIGTERM or SIGINT. Starts the other threads first, so that they inherit the caller's
 * rights and filters. Returns 0, or -1 with *error filled (a bug, or no thread).
 */
int reflector_run(struct reflector *reflector, struct error *error);

/* Closes every connection and frees everything; NULL is fine. */
void reflector_close(struct reflector *reflector);

#endif
