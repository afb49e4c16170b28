#include "daemon/log_limit.h"

#include <stdio.h>
#include <string.h>

static struct log_limit_entry *entry_of(struct log_limit *limit, const char *event) {
    struct log_limit_entry *oldest = &limit->entries[0];
    for (unsigned i = 0; i < LOG_LIMIT_EVENTS; i++) {
        struct log_limit_entry *entry = &limit->entries[i];
        if (strncmp(entry->event, event, LOG_LIMIT_NAME - 1) == 0) {
            return entry;
        }
        if (entry->last_ms < oldest->last_ms) {
            oldest = entry;
        }
    }
    *oldest = (struct log_limit_entry){0};
    snprintf(oldest->event, sizeof oldest->event, "%s", event);
    return oldest;
}

bool log_limit_pass(struct log_limit *limit, const char *event, uint64_t now_ms, uint64_t *held_back) {
    struct log_limit_entry *entry = entry_of(limit, event);
    entry->last_ms = now_ms;
    if (entry->refill_ms < now_ms) {
        entry->refill_ms = now_ms;
    }
    *held_back = 0;
    if (entry->refill_ms - now_ms >= (uint64_t)LOG_LIMIT_BURST * LOG_LIMIT_EVERY_MS) {
        entry->held_back++;
        return false;
    }
    entry->refill_ms += LOG_LIMIT_EVERY_MS;
    *held_back = entry->held_back;
    entry->held_back = 0;
    return true;
}
