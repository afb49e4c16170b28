/* XXH3-64 over lanes' sums as they become known, in lane order: what quire_record_combine gives for all of them at once. */
#ifndef QUIRE_COMBINE_H
#define QUIRE_COMBINE_H

#include "codec/checksum_kernel.h"

#define QUIRE_COMBINE_KEPT 8 /* the sums before the held ones: the last stripe may reach back to them */
#define QUIRE_COMBINE_HELD (QUIRE_SUM_BLOCK_BYTES / sizeof(uint64_t))

struct quire_combine {
    uint64_t acc[QUIRE_SUM_LANES];
    uint64_t checks[QUIRE_COMBINE_KEPT + QUIRE_COMBINE_HELD];
    uint64_t n_held, n_total;
};

void quire_combine_begin(struct quire_combine *combine);
void quire_combine_add(struct quire_combine *combine, uint64_t lane_check);
uint64_t quire_combine_end(struct quire_combine *combine);

#endif
