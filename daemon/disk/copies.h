/*
 * The metadata of a set, one copy beside every file in use (PATH.meta): what is left when a drive dies tells of namespaces and pins, too.
 *
 * A save writes all copies, the leader's first: the file of the lowest index that the metadata names. A file whose drive fails meanwhile is struck from the metadata,
 * and all copies are written once more: whenever a save has ended well, each file that it names has it. So it is known at a start which copy counts:
 *
 *   the highest generation       a life before has not the last word
 *   of those, the fewest files   within a life files are only taken out: a copy that names more is one that stayed behind on a drive that failed
 *   and the leader has it        else the leader may have taken out the file that tells so, and what was deleted since would be there again. It counts all
 *                                the same when the leader was replaced: that is an operator's word (daemon/disk/set.h)
 *
 * When no file is left in use, the places of all are told so: the save has ended well when none of the copies can count any more.
 *
 * A copy that only a person can make room for (a full file system, somebody else's file) fails the save when it is the leader's; of another file it is done
 * without, after the older one there was removed: a copy that stayed behind must not count.
 */
#ifndef DAEMON_DISK_COPIES_H
#define DAEMON_DISK_COPIES_H

#include "daemon/disk/set.h"

struct copies_found {
    uint32_t leader;
    bool leader_has_it;
    bool earlier;             /* of a writer that kept file 0's copy alone, also when that file was out of use */
    bool contradict;          /* there are two that are newest */
    enum quire_status status; /* of the leader's own copy; OK and not leader_has_it: it is older */
    char why[CONFIG_FILE_PATH_MAX + 300];
};

/*
 * The one that counts becomes set->meta. Not OK: there is none that is whole, `why` tells of file 0's; or they cannot be of one set.
 * Paths, set_id and n_files are known.
 */
enum quire_status copies_load(struct disk_set *set, struct copies_found *found, char *why, size_t why_bytes);

struct copies_saved {
    uint32_t lost; /* a bit a file: struck, to be taken out of use. Only when the save ended well */
    int error[QUIRE_LOG_MAX_FILES];
    uint64_t written_bytes;
};

/* Replaces the copies of all files that the metadata names; changes it by those that are lost. Takes as long as the drives: for a worker, one at a time. */
enum quire_status copies_save(struct disk_set *set, uint8_t *bytes, size_t size, struct copies_saved *saved, char *why, size_t why_bytes);

#endif
