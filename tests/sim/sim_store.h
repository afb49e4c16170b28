/* What the files that carry out the disk's wishes share: sim_store.c, which begins and ends them, sim_store_write.c, sim_store_read.c, sim_store_meta.c. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "pager/disk.h"
#include "tests/sim/sim_agenda.h"

struct sim;
struct sim_wish {
    struct sim_task task; /* memory: the bytes to be written, or the layout */
    struct pager_event event;
    uint64_t order, id; /* id: the write's, or the sync's stamp */
    uint64_t bytes;
    quire_layout *layout; /* READ: as it was when it began */
    uint64_t tag;
    bool refused;          /* WRITE: a record is none */
    uint32_t failed_syncs; /* WRITE: the device's, when the header was written */
    void (*stage)(struct sim *sim, struct sim_task *task);
};

const struct quire_log_geometry *sim_geometry(const struct sim *sim);
uint64_t sim_in_bytes(const struct sim *sim, uint64_t units);
/* A record's place in its pool; whole units of it. */
uint8_t *sim_piece_at(struct sim *sim, const struct pager_disk_piece *piece, uint64_t *bytes);
/* Of batches and footers, with the segment's header where it is to be written with them. */
uint64_t sim_asked_bytes(const struct sim *sim, const struct pager_event *event);

/* It goes on with `run`, as a task of its own, when its device has taken its time over so many bytes, and does not hang. */
void sim_wish_stage(struct sim *sim, const struct sim_wish *wish, uint64_t bytes, void (*run)(struct sim *sim, struct sim_task *task));
/* The same, to be put down by the caller. */
struct sim_wish *sim_wish_next(struct sim *sim, const struct sim_wish *wish, void (*run)(struct sim *sim, struct sim_task *task));
bool sim_wish_is_dead(struct sim *sim, const struct sim_wish *wish);
void sim_wish_end(struct sim *sim, const struct sim_wish *wish, enum quire_status status);
/* The device failed it, and is given up. */
void sim_wish_failed(struct sim *sim, const struct sim_wish *wish);

void sim_begin_write(struct sim *sim, struct sim_wish *wish);
void sim_begin_sync(struct sim *sim, struct sim_wish *wish);
void sim_begin_seal(struct sim *sim, struct sim_wish *wish);
void sim_begin_read(struct sim *sim, struct sim_wish *wish);
void sim_begin_meta(struct sim *sim, struct sim_wish *wish);

#endif
