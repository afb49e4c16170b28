/*
 * Tells the service manager (systemd, or whatever set $NOTIFY_SOCKET) how the daemon is. Without $NOTIFY_SOCKET nothing happens.
 * Never blocks, never fails: a manager that does not listen is no reason to stop. Thread-safe after notify_setup.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

/* Reads and removes the variables, so that no child believes they are meant for it. */
void notify_setup(void);
void notify_close(void);
/* How often the manager wants a sign of life; 0: it does not. */
uint64_t notify_watchdog_ms(void);

void notify_ready(const char *status_line);
void notify_status(const char *status_line);
void notify_reloading(void);
void notify_stopping(void);
void notify_alive(void);

#endif
