/*
 * The files that quired writes beside those of the set: PATH.meta, PATH.snapshot, and the `.new` of each, which takes its name when it is whole.
 *
 * Somebody else's file may have such a name. Ours begin with a magic number and the set's id: only what bears one of the two, or is empty, is ever
 * replaced or removed. Both are looked at, because damage to the one must not turn our own file into a stranger's.
 */
#ifndef DAEMON_DISK_SIDECAR_H
#define DAEMON_DISK_SIDECAR_H

#include "proto/base/base.h"
#include "proto/status.h"

struct sidecar {
    const char *path;
    uint32_t magic;
    const uint8_t *set_id; /* 16 bytes; NULL: the magic alone counts */
};

/* May it be written? OK: there is nothing, or nothing in it, or it is ours. CORRUPT: `why` names it and what to do.
   SYSTEM: its drive does not tell, errno why. */
enum quire_status sidecar_check(const struct sidecar *sidecar, char *why, size_t why_bytes);
/* A new, empty file for this user alone, open for writing; one of ours makes room for it. −1: errno, EEXIST when it is not ours. */
int sidecar_create(const struct sidecar *sidecar);
/* True: there was one of ours, and it is gone. */
bool sidecar_remove(const struct sidecar *sidecar);

#endif
