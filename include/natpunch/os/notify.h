/*
 * notify.h - reports to the service manager: sd_notify(3) without its library.
 *
 * One datagram to the socket that $NOTIFY_SOCKET names (a path, or an abstract one with '@');
 * without it nothing is sent. Nothing here fails, also if the service manager does not listen.
 */
#ifndef NATPUNCH_OS_NOTIFY_H
#define NATPUNCH_OS_NOTIFY_H

#include <stdint.h>

struct notify {
	int fd; /* -1: nobody wants to know */
	/*
	 * How often notify_watchdog() is to be called: half of $WATCHDOG_USEC, when $WATCHDOG_PID
	 * is ours or not set; 0: never.
	 */
	uint64_t watchdog_ms;
};

/* Reads and then removes the variables from the environment: children must not speak for us. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

void notify_ready(const struct notify *notify);
void notify_watchdog(const struct notify *notify);
void notify_stopping(const struct notify *notify);

/* One line for `systemctl status`, at most 255 bytes; a control byte in it becomes a blank. */
void notify_status(const struct notify *notify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
