/*
 * Is a record the one that a reader of a namespace asked for? (Whether it agrees with its entry in the log: quire_log_record_verify.) Pure;
 * for the work pool.
 */
#ifndef DAEMON_DISK_VERIFY_H
#define DAEMON_DISK_VERIFY_H

#include "codec/log.h"
#include "codec/record.h"

struct verify_wanted {
    const quire_layout *layout;
    uint64_t layout_tag;
    const quire_key *key;
    uint8_t group;
    uint64_t check, check_mask; /* the entry's, where the mask has ones */
    const quire_rect *rect;     /* NULL: every lane */
};
/* OK, or CORRUPT: also when the bytes are another record's. The record may end within the last unit of `size`. */
enum quire_status verify_record(const uint8_t *bytes, uint32_t size, const struct verify_wanted *wanted);

#endif
