#include "daemon/disk/device.h"

#include <stdlib.h>

uint64_t disk_locate(const struct store_set *set, uint32_t segment, uint32_t at_units, uint32_t *device) {
    uint32_t d = 0;
    while (d < set->n_files && segment >= set->segments[d]) {
        segment -= set->segments[d++];
    }
    assert(d < set->n_files && at_units < set->geometry.segment_units);
    *device = d;
    return QUIRE_LOG_FIRST_SEGMENT + disk_set_bytes(set, (uint64_t)segment * set->geometry.segment_units + at_units);
}

void disk_env_io(struct disk_env *env, struct disk_op *op, enum disk_op_type type, uint32_t device, uint64_t offset, struct iovec *iov,
                 uint32_t n_iov, void (*done)(struct disk_op *op)) {
    assert(n_iov <= DISK_OP_MAX_IOV);
    *op = (struct disk_op){.type = type, .file = env->set.file[device], .offset = offset, .iov = iov, .n_iov = n_iov, .done = done};
    for (uint32_t i = 0; i < n_iov; i++) {
        op->bytes += iov[i].iov_len;
    }
    if (env->pending == NULL) {
        env->pending = op;
    } else {
        env->pending_tail->next = op;
    }
    env->pending_tail = op;
}

void disk_env_flush(struct disk_env *env) {
    struct disk_op *list = env->pending;
    env->pending = env->pending_tail = NULL;
    if (list != NULL) {
        env->io->ops->submit(env->io, list);
    }
}

uint8_t *disk_memory(const struct store_set *set, uint64_t units) {
    return aligned_alloc(DISK_MEMORY_ALIGN, quire_align_up(quire_max_u64(disk_set_bytes(set, units), 1), DISK_MEMORY_ALIGN));
}
