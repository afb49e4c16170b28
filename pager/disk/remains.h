/*
 * Remains: which keys the log may still hold a record of although the index does not find it. A deletion needs a tombstone only for what the
 * index finds on disk, and for these: anything else could not come back after a crash.
 *
 * A record becomes one when the index forgets its place without a tombstone (its segment was emptied, it is damaged, an orphan, replaced), when
 * its write failed or its block went meanwhile, and at a start when the log tells of it and the index does not take it. It stays one
 * until its segment is known on disk to be empty: until a header that says so was synced on its own device, because a device that is lost takes its
 * headers with it. A tombstone, which buries every record of its key so far, ends it, too. The set is exact and bounded; what finds no room in it
 * is doubt: until the segments that stood then are gone, any key may have remains on that device.
 */
#ifndef PAGER_DISK_REMAINS_H
#define PAGER_DISK_REMAINS_H

#include "proto/base/base.h"

/* Of each 8 blocks that the index may have, but no more than so many: when the table grows all of it moves in one call. */
#define PAGER_REMAINS_SHARE 8u
#define PAGER_REMAINS_MAX (1u << 15)

struct pager;

struct pager_remain {
    quire_key key;
    uint64_t epoch; /* of the segment then: whatever else lies on its device of this key is older. 0: buried */
    uint32_t serial;
    uint32_t segment; /* PAGER_NO_SEGMENT: a free place */
};

struct pager_remains {
    struct pager_remain *places; /* a key's on each device, wherever there is room from its hash on */
    uint32_t capacity, used;     /* used: places that are not free, also of those that are remains no more */
    uint32_t most;
    bool full; /* until more of them are gone: there is no use in looking again */
    uint64_t seed;
};

/* A record of the key lies, or may lie, in this segment, as it is used now. */
void pager_remains_note(struct pager *pager, uint32_t serial, const quire_key *key, uint32_t segment);
/* A tombstone buries all that was noted. */
void pager_remains_bury(struct pager *pager, uint32_t serial, const quire_key *key);
/* Does the log hold a record of this key, as far as anybody knows, that the index does not find? */
bool pager_remains_lie(const struct pager *pager, uint32_t serial, const quire_key *key);
/* May it hold one of any key? */
bool pager_remains_doubted(const struct pager *pager);
/* Nobody knows what the device's segments up to this epoch hold. */
void pager_remains_doubt(struct pager *pager, uint32_t device, uint64_t epoch);
/* It is durable on the device that its segments of lower epochs are empty. */
void pager_remains_gone(struct pager *pager, uint32_t device, uint64_t tail_epoch);
/* One after the other: *at starts at 0; false at the end. */
bool pager_remains_next(const struct pager *pager, uint32_t *at, struct pager_remain *remain);
void pager_remains_init(struct pager *pager);
void pager_remains_free(struct pager *pager);

#endif
