/*
 * Carries out what the pager wishes, on bytes, after a while and in no order: fills, seals and moves here, the disk's wishes in sim_store.c, which does
 * as daemon/disk/store.h says. Outcomes go to the server.
 */
#ifndef SIM_EXECUTOR_H
#define SIM_EXECUTOR_H

#include "tests/sim/sim_agenda.h"
#include "tests/sim/sim_config.h"

#define SIM_WRITES 512u

struct sim_wish;
struct sim_executor_device {
    bool told_lost; /* the pager was told */
    bool given_up;  /* because it hung: nothing of it is waited for */
    uint64_t hangs_until_ns;
    bool hangs_on;      /* also when all is calm */
    uint32_t in_flight; /* wishes, as in all */
    uint32_t read_errors;
    bool unsure; /* a sync failed, or a footer: not all that was written will be found */
    uint32_t failed_syncs;
    uint64_t writing[SIM_WRITES]; /* orders of those under way */
    uint32_t n_writing;
    struct sim_wish *syncs[PAGER_DISK_MAX_IN_FLIGHT]; /* that wait for them */
    uint32_t n_syncs;
};

struct sim_executor {
    struct sim_executor_device devices[SIM_MAX_DEVICES];
    uint32_t in_flight; /* wishes of the disk */
    uint64_t order;
    uint64_t slow_until_ns;
    bool meta_flying, meta_hangs; /* the latter: it was given up, and may be saved all the same */
    struct pager_disk_meta meta;  /* while it is: the pager's */
    uint8_t meta_files[QUIRE_LOG_MAX_FILES][16];
    /* What the drives and the metadata's file got in this life; and were to get and did not, or not yet: what stands behind a sync, whatever a lost drive was asked for. And what the
       wishes were that ended well. */
    uint64_t written_bytes, withheld_bytes, taken_bytes;
    bool refused; /* a write was, in this life; it may have reached the disk all the same */
};

void sim_executor_begin(struct sim *sim, const struct pager_event *event);
/* The daemon has died. */
void sim_executor_reset(struct sim *sim);

/* sim_store.c */
void sim_store_begin(struct sim *sim, const struct pager_event *event);
void sim_store_reset(struct sim *sim);

#endif
