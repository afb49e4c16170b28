#include "daemon/disk/device.h"

#include "daemon/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

uint64_t disk_locate(const struct store_set *set, uint32_t segment, uint32_t at_units, uint32_t *device) {
    uint32_t d = 0;
    while (d < set->n_files && segment >= set->segments[d]) {
        segment -= set->segments[d++];
    }
    assert(d < set->n_files && at_units < set->geometry.segment_units);
    *device = d;
    return QUIRE_LOG_FIRST_SEGMENT + disk_set_bytes(set, (uint64_t)segment * set->geometry.segment_units + at_units);
}

bool disk_is_cut_short(const struct store_set *set, uint32_t device) {
    struct statx facts;
    uint64_t units = (uint64_t)set->segments[device] * set->geometry.segment_units;
    bool known = statx(set->fd[device], "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &facts) == 0 && (facts.stx_mask & STATX_SIZE);
    return known && facts.stx_size < QUIRE_LOG_FIRST_SEGMENT + disk_set_bytes(set, units);
}

static void op_append(struct disk_op **head, struct disk_op **tail, struct disk_op *op) {
    op->next = NULL;
    *(*head == NULL ? head : &(*tail)->next) = op;
    *tail = op;
}

static struct disk_op *op_take(struct disk_op **head) {
    struct disk_op *op = *head;
    if (op != NULL) {
        *head = op->next;
        op->next = NULL;
    }
    return op;
}

static void op_fail(struct disk_env *env, struct disk_op *op) {
    op->status = QUIRE_TIMEOUT;
    op->error = ETIMEDOUT;
    op->done_ns = loop_now_ns();
    op_append(&env->ended, &env->ended_tail, op);
}

/* The backend is done with it. */
static void op_ended(struct disk_op *op) {
    struct disk_device *device = op->device;
    *(op->older != NULL ? &op->older->younger : &device->oldest) = op->younger;
    *(op->younger != NULL ? &op->younger->older : &device->youngest) = op->older;
    device->under_way--;
    if (op->type == DISK_READ && op->status == QUIRE_OK) {
        device->reads++;
        device->read_bytes += op->bytes;
    }
    op->then(op);
}

static void op_begin(struct disk_device *device, struct disk_op *op, uint64_t now_ns) {
    op->begun_ns = now_ns;
    op->younger = NULL;
    op->older = device->youngest;
    *(device->youngest != NULL ? &device->youngest->younger : &device->oldest) = op;
    device->youngest = op;
    device->under_way++;
}

void disk_env_io(struct disk_env *env, struct disk_op *op, enum disk_op_type type, uint32_t device, uint64_t offset, struct iovec *iov,
                 uint32_t n_iov, void (*done)(struct disk_op *op)) {
    struct disk_device *d = &env->devices[device];
    assert(n_iov <= DISK_OP_MAX_IOV);
    *op = (struct disk_op){.type = type,
                           .file = env->set.file[device],
                           .offset = offset,
                           .iov = iov,
                           .n_iov = n_iov,
                           .done = op_ended,
                           .then = done,
                           .device = d};
    for (uint32_t i = 0; i < n_iov; i++) {
        op->bytes += iov[i].iov_len;
    }
    if (d->given_up) {
        op_fail(env, op);
    } else {
        op_append(&d->waiting, &d->waiting_tail, op);
        env->n_waiting++;
    }
}

void disk_env_flush(struct disk_env *env) {
    struct disk_op *list = NULL, *tail = NULL;
    if (env->n_waiting == 0) {
        return;
    }
    uint32_t share = (uint32_t)quire_max_u64(env->io->depth / env->set.n_files, 1);
    uint64_t now_ns = loop_now_ns();
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        struct disk_device *device = &env->devices[i];
        struct disk_op *op;
        while (device->under_way < share && (op = op_take(&device->waiting)) != NULL) {
            env->n_waiting--;
            op_begin(device, op, now_ns);
            op_append(&list, &tail, op);
        }
    }
    if (list != NULL) {
        env->io->ops->submit(env->io, list);
    }
}

void disk_env_give_up(struct disk_env *env, uint32_t device) {
    struct disk_device *d = &env->devices[device];
    struct disk_op *op;
    d->given_up = true;
    while ((op = op_take(&d->waiting)) != NULL) {
        env->n_waiting--;
        op_fail(env, op);
    }
}

bool disk_env_turn(struct disk_env *env) {
    struct disk_op *op = env->ended, *next;
    bool any = op != NULL;
    for (env->ended = env->ended_tail = NULL; op != NULL; op = next) { /* what fails while this goes on has its turn later */
        next = op->next;
        op->then(op);
    }
    return any;
}

uint8_t *disk_memory(const struct store_set *set, uint64_t units) {
    return aligned_alloc(DISK_MEMORY_ALIGN, quire_align_up(quire_max_u64(disk_set_bytes(set, units), 1), DISK_MEMORY_ALIGN));
}
