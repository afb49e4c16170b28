/*
 * The drives, byte for byte: what is written can be read at once, and survives a crash when a sync was asked for after it had ended. What was not
 * synced may be lost, kept, or torn at borders of sectors, each write by itself, so that later ones may survive earlier ones. Bytes may rot; a sector may
 * become unreadable until it is written again; a drive may die, and be found again at the next start.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "tests/sim/sim_config.h"

#define SIM_SECTOR 512u
#define SIM_BAD_SECTORS 64u

struct sim_write {      /* not synced yet */
    uint64_t id, ended; /* ended: when, in the disk's order; 0: under way */
    uint64_t offset;
    uint32_t size;
    uint8_t *bytes;
};

struct sim_shortage { /* of room: of what is asked of the drive a part is refused */
    uint64_t until_ns;
    uint32_t writes_pct, syncs_pct;
    bool lasts; /* also when all is calm */
};

struct sim_device {
    uint8_t *now, *safe;
    uint64_t size;
    struct sim_write *writes; /* in the order in which they were begun */
    uint32_t n, capacity;
    uint64_t bad[SIM_BAD_SECTORS]; /* where sectors begin that cannot be read */
    uint32_t n_bad;
    bool dead;
    struct sim_shortage shortage;
    uint8_t file_id[16];
};

struct sim_disk {
    struct sim_device devices[SIM_MAX_DEVICES];
    uint64_t order;
    uint32_t file_ids;
    /* The metadata file: as it is, and what may be in its place after a crash. */
    uint8_t *meta, *meta_maybe;
    size_t meta_bytes, meta_maybe_bytes;
};

void sim_disk_create(struct sim *sim);
void sim_disk_destroy(struct sim_disk *disk);
/* The number by which its end is told. */
uint64_t sim_disk_write_begin(struct sim *sim, uint32_t device, uint64_t offset, const uint8_t *bytes, uint32_t size);
void sim_disk_write_end(struct sim *sim, uint32_t device, uint64_t id);
/* It fails: nothing of it was written, or a first part. */
void sim_disk_write_fail(struct sim *sim, uint32_t device, uint64_t id);
uint64_t sim_disk_sync_begin(struct sim *sim);
void sim_disk_sync_end(struct sim *sim, uint32_t device, uint64_t stamp);
/* It fails, and of what it was to make safe some will never be, whatever sync comes later, though it can be read until a crash. */
void sim_disk_sync_fail(struct sim *sim, uint32_t device, uint64_t stamp);
/* False: some of it cannot be read; then `to` is noise. */
bool sim_disk_read(const struct sim *sim, uint32_t device, uint64_t offset, uint8_t *to, uint64_t size);
/* All that was not synced meets its fate. */
void sim_disk_crash(struct sim *sim);
/* Something rots somewhere. */
void sim_disk_rot(struct sim *sim);
/* A sector somewhere cannot be read any more. */
void sim_disk_spoil(struct sim *sim);
/* The file is made anew: zeros, and another id. */
void sim_disk_format(struct sim *sim, uint32_t device);

/* Where a segment's unit lies; the device. */
uint64_t sim_disk_locate(const struct sim *sim, uint32_t segment, uint32_t at_units, uint32_t *device);

#endif
