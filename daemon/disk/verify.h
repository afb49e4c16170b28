/*
 * Is a record what it should be? Two questions: does it agree with its entry in the log (no layout needed: the entry's sum vouches for header and
 * directory, and these for the lanes), and is it the record that a reader of a namespace asked for. Pure; for the work pool.
 */
#ifndef DAEMON_DISK_VERIFY_H
#define DAEMON_DISK_VERIFY_H

#include "codec/log.h"
#include "codec/record.h"

/* `bytes` holds the record that the entry tells of, entry->size_bytes long. OK or CORRUPT. */
enum quire_status verify_entry(const uint8_t *bytes, const struct quire_log_entry *entry);

struct verify_wanted {
    const quire_layout *layout;
    uint64_t layout_tag;
    const quire_key *key;
    uint8_t group;
    uint64_t check;         /* the entry's; 0: unknown */
    const quire_rect *rect; /* NULL: every lane */
};
/* OK, or CORRUPT: also when the bytes are another record's. The record may end within the last unit of `size`. */
enum quire_status verify_record(const uint8_t *bytes, uint32_t size, const struct verify_wanted *wanted);

#endif
