/*
 * What the disk holds is found again at the start (codec/LOG.md, "Reading a set").
 *
 * First the header and the trailer of every segment, many at a time: then the pager knows each segment's state, and serving may begin.
 * After that the entries, from the highest epoch to the lowest, several segments being read ahead while one is told, a bounded number of
 * entries a turn of the loop, so that serving goes on. After a stop in good order a snapshot takes their place. A segment that was open
 * when the machine stopped has no footer: its batches are walked and every record is verified. One whose header is damaged is looked at, too,
 * for the deletions in it. Loop thread only.
 */
#ifndef DAEMON_DISK_RESTART_H
#define DAEMON_DISK_RESTART_H

#include "daemon/disk/snapshot.h"
#include "pager/log/log.h"

#define RESTART_DEPTH 64u  /* segments whose header and trailer are read at once */
#define RESTART_AHEAD 8u   /* segments whose entries are read at once */
#define RESTART_STEP 2048u /* entries told a turn */
#define RESTART_TRIES 3u   /* of a read that fails */
/* A read that fails in a way that passes (pager_is_passing) is no try: its device rests so long, twice as long the next time, up to the second. */
#define RESTART_PAUSE_NS (100 * QUIRE_NS_PER_MS)
#define RESTART_PAUSE_MAX_NS (5 * QUIRE_NS_PER_S)
/*
 * However long that lasts: a file that is taken out of use is made anew when it comes back, so want of memory that passes would cost all that it
 * holds. Whoever looks is told, again when it has lasted three times as long, and every so often in any case.
 */
#define RESTART_TELL_NS (QUIRE_NS_PER_S / 2)
#define RESTART_TELL_MAX_NS (60 * QUIRE_NS_PER_S)

struct restart;
struct restart_hooks { /* as pager/disk.h wants them, in its order */
    void (*segment)(void *ctx, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units, uint32_t n_entries);
    void (*serve)(void *ctx); /* every segment's state is told */
    /* A record that does not count, though it lies there, has a size of 0. */
    void (*entries)(void *ctx, uint32_t segment, const struct quire_log_entry *entries, uint32_t n);
    void (*blind)(void *ctx); /* there was no memory for some: nobody can tell what else the log holds */
    void (*live)(void *ctx, const struct quire_snapshot_entry *entries, uint32_t n); /* of a snapshot */
    bool (*end)(void *ctx);                                                          /* called until it is false, once a turn */
    void (*read_failed)(void *ctx, uint32_t device, int error, uint64_t now_ns);
    /* A part of the device cannot be read, tried RESTART_TRIES times: deletions may stand there. It is to be taken out of use. */
    void (*unreadable)(void *ctx, uint32_t device, int error);
    void *ctx;
};

struct restart_progress {
    uint32_t segments, looked_at;         /* of all: header and trailer */
    uint32_t to_read, read;               /* that hold something; told to the pager */
    uint32_t walked;                      /* without a footer */
    uint32_t unreadable;                  /* reads that failed */
    uint32_t put_off;                     /* reads that failed in a way that passes */
    int waits_error[QUIRE_LOG_MAX_FILES]; /* of each device: it is waited for, because of this; 0: it is not */
    uint64_t records, deletions;          /* told */
    uint64_t bad_records;                 /* left out: not whole */
    uint64_t read_bytes;
    uint64_t took_ns; /* from the beginning to the end */
    bool serving, ended;
    bool from_snapshot; /* records are told from it; false again when it turns out to be damaged */
};

enum quire_status restart_create(struct disk_env *env, const struct restart_hooks *hooks, struct restart **restart);
/* Nothing of it is under way any more: it has ended, or backend and work pool are gone. */
void restart_destroy(struct restart **restart);
/* Before it begins: entries are to come from the snapshot, which becomes its own. Should that be damaged, they come from the log after
   all. */
void restart_use_snapshot(struct restart *restart, struct snapshot *snapshot);
/* Begins; disk_env_flush sends the reads on their way. */
void restart_begin(struct restart *restart);
/* Tells the next entries, and tries again what was put off. True: there is more to tell at once. */
bool restart_turn(struct restart *restart);
/* Reads what was put off, when it is due. */
void restart_try_again(struct restart *restart);
/* When it is; UINT64_MAX: nothing was. */
uint64_t restart_deadline(const struct restart *restart);
/* A device was taken out of use: of what was read from it only deletions count. */
void restart_device_lost(struct restart *restart, uint32_t device);
/*
 * A device does not answer (disk_env_give_up): nothing more of it is waited for. Deletions that stand there stand on the others, too.
 * To be followed by its loss.
 */
void restart_device_hangs(struct restart *restart, uint32_t device);
const struct restart_progress *restart_progress(const struct restart *restart);

#endif
