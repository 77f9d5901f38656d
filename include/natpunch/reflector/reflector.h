/*
 * reflector.h - the server that tells whoever asks from which address it was seen.
 *
 * An epoll loop, and tables that are allocated at the start. reflector.c opens all of it,
 * listeners.c what is listened on, and worker.c is the loop that hands out what comes in: udp.c
 * answers UDP, raw_answer.c raw handshakes, accept.c takes new TCP connections, tcp_table.c keeps
 * them and tcp.c talks with them; name_auth.c judges who asks about a name, names.c answers;
 * relay.c passes connections on; dialler.c dials clients back; metrics.c tells what was done
 * (counters.h), which SIGUSR1 has written to the log. With a second address, alternate.c says from
 * where else it answers.
 *
 * With `jobs` there are more workers, each a thread with a loop, sockets and tables of its own,
 * among which the kernel shares out who comes. They share nothing, so nothing is locked. Names,
 * relays, calls to clients and raw handshakes are the first one's alone; what is about them goes to
 * it by a queue (worker_queue.h).
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
 * Serves until SIGTERM or SIGINT; starts the other threads before, which so have whatever rights
 * and filters the caller has by then. Returns 0, or -1 with *error filled (a bug, or no thread).
 */
int reflector_run(struct reflector *reflector, struct error *error);

/* Closes every connection and frees everything; NULL is fine. */
void reflector_close(struct reflector *reflector);

#endif
