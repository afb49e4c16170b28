/*
 * How often one event may be logged: a burst of lines, then a steady trickle; what was held back is counted and told with the next line.
 *
 * Deterministic, time is given. A small table keyed by the event's name; when it is full the entry that was silent longest
 * makes way. Not thread-safe: the log holds its lock.
 */
#ifndef DAEMON_LOG_LIMIT_H
#define DAEMON_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_BURST 20     /* lines of one event at once */
#define LOG_LIMIT_EVERY_MS 500 /* then one in this time */
#define LOG_LIMIT_EVENTS 64
#define LOG_LIMIT_NAME 40

struct log_limit {
    struct log_limit_entry {
        char event[LOG_LIMIT_NAME];
        uint64_t refill_ms; /* when the burst would be whole again: each line moves it on by LOG_LIMIT_EVERY_MS */
        uint64_t last_ms;
        uint64_t held_back;
    } entries[LOG_LIMIT_EVENTS];
};

/* Whether a line of `event` may be written at now_ms; *held_back: how many were not since the last that was. */
bool log_limit_pass(struct log_limit *limit, const char *event, uint64_t now_ms, uint64_t *held_back);

#endif
