#include "daemon/link.h"

#include <stdlib.h>
#include <unistd.h>

struct link_tx *link_tx_create(uint64_t size_bytes) {
    struct link_tx *tx = malloc(sizeof *tx + size_bytes);
    if (tx != NULL) {
        memset(tx, 0, sizeof *tx);
        tx->size_bytes = size_bytes;
    }
    return tx;
}

void link_tx_free(struct link_tx *tx) {
    for (uint32_t i = 0; i < tx->n_fds; i++) {
        close(tx->fds[i]);
    }
    free(tx);
}
