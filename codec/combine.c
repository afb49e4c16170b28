#include "codec/combine.h"

#include "codec/checksum.h"

#include <string.h>

void quire_combine_begin(struct quire_combine *combine) {
    quire_sum_begin(combine->acc);
    combine->n_held = 0;
    combine->n_total = 0;
}

void quire_combine_add(struct quire_combine *combine, uint64_t lane_check) {
    uint64_t *held = combine->checks + QUIRE_COMBINE_KEPT;
    if (combine->n_held == QUIRE_COMBINE_HELD) {
        uint64_t summed[QUIRE_COMBINE_HELD];
        quire_sum_blocks(combine->acc, summed, held, 1, false);
        memcpy(combine->checks, summed + QUIRE_COMBINE_HELD - QUIRE_COMBINE_KEPT, QUIRE_COMBINE_KEPT * sizeof(uint64_t));
        combine->n_held = 0;
    }
    held[combine->n_held++] = lane_check;
    combine->n_total++;
}

uint64_t quire_combine_end(struct quire_combine *combine) {
    const uint64_t *held = combine->checks + QUIRE_COMBINE_KEPT;
    uint64_t total_bytes = combine->n_total * sizeof(uint64_t);
    if (total_bytes <= QUIRE_SUM_SHORT_BYTES) {
        return quire_checksum(held, total_bytes);
    }
    return quire_sum_finish(combine->acc, held, combine->n_held * sizeof(uint64_t), total_bytes);
}
