/* Any bytes as a layout: refused, or a checked layout that encodes to exactly these bytes. */
#include "proto/layout.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static quire_layout layout;
    static uint8_t again[QUIRE_LAYOUT_WIRE_MAX];
    char text[160];
    uint8_t digest[32];
    size_t again_bytes;
    if (quire_layout_decode(data, size, &layout) != QUIRE_OK) {
        return 0;
    }
    require(quire_layout_check(&layout, text, sizeof(text)) == QUIRE_OK);
    require(quire_layout_encode(&layout, again, sizeof(again), &again_bytes) == QUIRE_OK);
    require(again_bytes == size && memcmp(again, data, size) == 0);
    require(quire_layout_digest(&layout, digest) == QUIRE_OK);
    require(quire_layout_diff(&layout, &layout, text, sizeof(text)) == NULL);
    for (uint32_t group = 0; !layout.opaque && group < quire_layout_groups(&layout); group++) {
        quire_rect whole = quire_layout_whole(&layout, group);
        require(quire_layout_rect_bytes(&layout, group, &whole, layout.block_tokens) <= QUIRE_MAX_RECORD_BYTES);
        require(quire_layout_window_blocks(&layout, group) > 0);
    }
    return 0;
}
