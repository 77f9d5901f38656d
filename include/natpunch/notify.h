/*
 * notify.h - the service manager is told how we are: sd_notify(3) without its library.
 *
 * One datagram to the socket that $NOTIFY_SOCKET names (a path, or an abstract one with '@'); no
 * socket, no message. Nothing here fails: a service manager that does not listen is its own affair.
 */
#ifndef NATPUNCH_NOTIFY_H
#define NATPUNCH_NOTIFY_H

#include <stdint.h>

struct notify {
	int fd;               /* -1: nobody wants to know */
	uint64_t watchdog_ms; /* half of $WATCHDOG_USEC when $WATCHDOG_PID is ours, else 0 */
};

/* Reads and then removes the variables from the environment: children must not speak for us. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

void notify_ready(struct notify *notify);
void notify_watchdog(struct notify *notify);
void notify_stopping(struct notify *notify);
void notify_status(struct notify *notify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
