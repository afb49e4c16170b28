/* What the store's files share: its slots. Inside daemon/disk/store*.c only. */
#ifndef DAEMON_DISK_STORE_INTERNAL_H
#define DAEMON_DISK_STORE_INTERNAL_H

#include "daemon/disk/heads.h"
#include "daemon/disk/layouts.h"
#include "daemon/disk/store.h"
#include "daemon/disk/walk.h"

#define STORE_SPANS (PAGER_DISK_MAX_RANGES + 1) /* header and directory, and each range by itself */
#define STORE_OPS 16u                           /* of a slot's own; a read that needs more brings them */
#define STORE_IOV (QUIRE_LOG_MAX_BATCH + 1)     /* header and head, and each record */
#define STORE_HEAD_BYTES (64u << 10)
#define STORE_REFUSED 8u /* so often for want of memory, and it is told */
static_assert(STORE_IOV <= DISK_OP_MAX_IOV, "a batch is one operation");
static_assert(64 + QUIRE_LOG_MAX_BATCH * sizeof(struct quire_log_entry) + QUIRE_LOG_UNIT_MAX - 1 <= STORE_HEAD_BYTES,
              "a full batch's head");

struct store_slot;
struct store_op {
    struct disk_op op;
    struct iovec iov;
    struct store_slot *slot;
};
/* Touched only where used: whoever has few wishes out pays for few. */
struct store_batch {
    _Alignas(DISK_MEMORY_ALIGN) uint8_t memory[QUIRE_LOG_UNIT_MAX + STORE_HEAD_BYTES]; /* segment header, head */
};

struct store_slot {
    struct work work;
    struct walk walk;
    struct store *store;
    struct store_slot *next; /* free, or waiting to sync */
    const struct pager_disk_wish *wish;
    uint64_t ticket;
    enum pager_event_type type;
    uint32_t n_running;    /* operations */
    uint64_t order;        /* WRITE, SYNC: as asked for */
    uint32_t n_before;     /* SYNC: writes that are to end first */
    uint32_t failed_syncs; /* WRITE, alone: the device's, when the header was written */
    enum quire_status status;
    uint8_t *record;     /* READ */
    uint32_t head_units; /* READ of a part: of header and directory, which are kept when they were verified; 0: nothing is */
    struct layouts_copy *layout;
    uint8_t *memory; /* SEAL: footer */
    size_t memory_bytes;
    struct store_op own[STORE_OPS];
    struct store_op *ops, *many; /* those in use: its own, or as many as a read needs, until it ends; NULL: there are none of these */
    struct iovec iov[STORE_IOV];
};

struct store_books {
    struct store_device told;
    uint32_t writing;
    uint32_t refused_writes, refused_syncs; /* since the last that was done: one does not tell of the other */
    uint32_t failed_syncs;
    struct store_slot *syncs; /* that wait for writes */
    uint64_t read_error_ns[STORE_READ_ERRORS];
    uint64_t n_read_errors;
};

struct store_meta { /* the metadata: put together, then saved */
    struct work work;
    uint8_t *memory; /* while it is being saved; else NULL */
    size_t memory_bytes;
    struct store_slot *slot; /* that waits; NULL: nobody does, or it was given up */
    uint64_t begun_ns;       /* to be saved; 0: it was not yet */
    enum quire_status status;
};

struct store {
    struct disk_env *env;
    struct store_meta meta;
    struct store_hooks hooks;
    struct store_pool *pools;
    uint32_t n_pools;
    struct layouts layouts;
    struct heads heads;
    struct store_slot *slots, *free_slots;
    struct store_batch *batches; /* one a slot */
    uint32_t in_flight;
    uint64_t order;
    struct store_books devices[QUIRE_LOG_MAX_FILES];
};

/* Ends a wish: its slot is free, then the pager hears of it. */
void store_end(struct store_slot *slot, enum quire_status status);
/* Queues operation i of the slot, on units of the wish's segment; a failure becomes the slot's status. */
void store_io(struct store_slot *slot, uint32_t i, enum disk_op_type type, uint32_t at_units, struct iovec *iov, uint32_t n_iov,
              void (*done)(struct disk_op *op));
/* To be called by `done` first: counts, and says whether it was the last one that the slot waits for. */
bool store_io_ended(struct disk_op *op, struct store_slot **slot);
void store_job(struct store_slot *slot, void (*run)(struct work *work), void (*done)(struct work *work));
/* The bytes of a piece, padded to units. */
uint8_t *store_piece(const struct store *store, const struct pager_disk_piece *piece, uint32_t *units);

/* One function a wish. */
void store_write(struct store_slot *slot);
void store_read(struct store_slot *slot);
void store_seal(struct store_slot *slot);
void store_sync(struct store_slot *slot);
void store_meta(struct store_slot *slot);
void store_entries(struct store_slot *slot);
/* A write to the device ended: syncs that waited for it go on. */
void store_written(struct store *store, uint32_t device, uint64_t order);

#endif
