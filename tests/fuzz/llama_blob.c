/* Any bytes as a state of llama.cpp (the first says whether there is V): refused, or planes that lie inside, and straightening that stays there. */
#include "client/llama/blob.h"
#include "proto/base/base.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_section(const struct kvblob_section *section, uint64_t size) {
    require(section->n_layers <= QUIRE_MAX_LAYERS);
    for (uint32_t l = 0; l < section->n_layers; l++) {
        require(quire_in_range(section->k[l].offset, section->k[l].row_bytes * section->n_cells, size));
        require(!section->has_v || quire_in_range(section->v[l].offset, section->v[l].row_bytes * section->n_cells, size));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct kvblob blob, plan;
    char why[160] = "";
    if (size == 0) {
        return 0;
    }
    const bool has_v = data[0] & 1;
    const uint8_t *bytes = data + 1;
    size--;
    if (kvblob_parse(bytes, size, has_v, &blob, why, sizeof(why)) != QUIRE_OK) {
        require(why[0] != '\0');
        return 0;
    }
    uint32_t n_cells[KVBLOB_MAX_SECTIONS] = {0};
    int32_t first_pos[KVBLOB_MAX_SECTIONS] = {0};
    for (uint32_t s = 0; s < blob.n_sections; s++) {
        check_section(&blob.section[s], size);
        n_cells[s] = blob.section[s].n_cells;
        first_pos[s] = blob.section[s].first_pos;
    }
    require(kvblob_plan(&blob, n_cells, first_pos, &plan) == QUIRE_OK);
    require(plan.size_bytes == size);
    uint8_t *rebuilt = calloc(1, size);
    require(rebuilt != NULL);
    (void)kvblob_straighten(&blob, bytes, &plan, rebuilt); /* refused when a position comes twice */
    free(rebuilt);
    (void)kvblob_self_check(bytes, size, has_v, &blob, why, sizeof(why));
    return 0;
}
