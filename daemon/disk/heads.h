/*
 * Headers and directories of records that were read in part: whoever reads a part of such a record again, when it has left memory meanwhile,
 * needs them again, and a read of one kilobyte costs a drive a quarter of what one of 64 KiB does. Bytes at a place of a segment's epoch never
 * change, so what is here is never stale.
 * Loop thread only.
 */
#ifndef DAEMON_DISK_HEADS_H
#define DAEMON_DISK_HEADS_H

#include "proto/base/base.h"

#define HEADS_LINES 8192u
#define HEADS_LINE_BYTES (64u << 10)
#define HEADS_BYTES (16u << 20) /* altogether, at most */

struct heads_line {
    uint64_t epoch; /* 0: nothing is here */
    uint32_t segment, at_units;
    uint32_t size_bytes;
    uint8_t *bytes;
};
struct heads {
    struct heads_line *lines; /* NULL until there is something to keep */
    uint64_t size_bytes;
    uint32_t hand; /* the line that is dropped next when room is short */
    uint64_t hits, misses;
};

/* NULL: not here. */
const uint8_t *heads_find(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, uint32_t size_bytes);
/*
 * Of what was verified. What is too long is not kept. When there is no room, lines go in turn until there is: nobody tells which belong to segments
 * that were emptied long ago, and those that are still read come back.
 */
void heads_keep(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, const uint8_t *bytes, uint32_t size_bytes);
void heads_teardown(struct heads *heads);

#endif
