#include "daemon/link.h"

#include <stdalign.h>
#include <stdlib.h>
#include <unistd.h>

struct link_tx *link_tx_create(uint32_t head_bytes, uint32_t n_segments) {
    size_t at = quire_align_up(sizeof(struct link_tx) + head_bytes, alignof(struct link_segment));
    struct link_tx *tx = malloc(at + n_segments * sizeof(struct link_segment));
    if (tx != NULL) {
        memset(tx, 0, sizeof *tx);
        tx->size_bytes = tx->head_bytes = head_bytes;
        tx->n_segments = n_segments;
        tx->segments = (struct link_segment *)(void *)((uint8_t *)tx + at);
    }
    return tx;
}

void link_tx_free(struct link_tx *tx) {
    for (uint32_t i = 0; i < tx->n_fds; i++) {
        close(tx->fds[i]);
    }
    if (tx->release != NULL) {
        tx->release(tx->held);
    }
    free(tx);
}

uint32_t link_tx_rest(const struct link_tx *tx, struct iovec *parts, uint32_t most) {
    uint32_t n = 0;
    if (tx->sent_bytes < tx->head_bytes && n < most) {
        parts[n++] = (struct iovec){(void *)(tx->bytes + tx->sent_bytes), tx->head_bytes - tx->sent_bytes};
    }
    for (uint32_t i = tx->segment; i < tx->n_segments && n < most; i++) {
        uint32_t sent = i == tx->segment ? tx->segment_sent_bytes : 0;
        parts[n++] = (struct iovec){(void *)(tx->segments[i].at + sent), tx->segments[i].bytes - sent};
    }
    return n;
}

void link_tx_sent(struct link_tx *tx, uint64_t bytes) {
    uint64_t head = tx->sent_bytes < tx->head_bytes ? quire_min_u64(bytes, tx->head_bytes - tx->sent_bytes) : 0;
    assert(bytes <= tx->size_bytes - tx->sent_bytes);
    tx->sent_bytes += bytes;
    for (uint64_t left = bytes - head; left > 0;) {
        uint32_t n = (uint32_t)quire_min_u64(left, tx->segments[tx->segment].bytes - tx->segment_sent_bytes);
        left -= n;
        tx->segment_sent_bytes += n;
        if (tx->segment_sent_bytes == tx->segments[tx->segment].bytes) {
            tx->segment++;
            tx->segment_sent_bytes = 0;
        }
    }
}

uint64_t link_tx_bulk_bytes(const struct link_tx *tx) { return tx->size_bytes - quire_max_u64(tx->sent_bytes, tx->head_bytes); }
