/*
 * The log: one line an event, to stderr, as text for people or as JSON for machines, with a level that can change while running.
 *
 * An event has a name (snake_case, stable, for machines) and a sentence with facts. Log once, where the outcome is decided. Repeats of one event
 * are limited (a count is told when they resume), so that a hostile client cannot fill a disk. Thread-safe; never blocks
 * on anything but the write itself; line length is bounded.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_setup(enum log_level level, bool json);
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What somebody with the right to do so has changed: written at every level, and however often. */
void log_audit(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

#endif
