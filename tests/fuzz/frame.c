/*
 * The frame decoder on any stream, cut anywhere. The first byte says how: its low bits the size of the pieces, its high bit that the
 * checks of the first header are to be made right, because no mutation would ever guess them.
 */
#include "proto/frame.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* The header's check over whatever it says, and the body's if the body that it announces is there. */
static void correct_checks(uint8_t *stream, size_t size) {
    uint32_t body_bytes, check;
    if (size < QUIRE_FRAME_BYTES) {
        return;
    }
    memcpy(&body_bytes, stream + 12, sizeof(body_bytes));
    if (body_bytes <= size - QUIRE_FRAME_BYTES) {
        check = (uint32_t)XXH3_64bits(stream + QUIRE_FRAME_BYTES, body_bytes);
        memcpy(stream + 32, &check, sizeof(check));
    }
    check = (uint32_t)XXH3_64bits(stream, 36);
    memcpy(stream + 36, &check, sizeof(check));
}

/* No header is waited for whose frame would be refused. */
static void check_limits(const struct quire_decoder *decoder) {
    require(!decoder->have_frame || (decoder->frame.body_bytes <= QUIRE_BODY_MAX && decoder->frame.bulk_bytes <= QUIRE_BULK_MAX));
    require(decoder->capacity_bytes <= QUIRE_FRAME_BYTES + QUIRE_BODY_MAX);
}

static void look_at(const struct quire_decoder *decoder) {
    volatile uint8_t seen = 0;
    for (uint32_t i = 0; i < decoder->frame.body_bytes; i++) {
        seen ^= quire_decoder_body(decoder)[i];
    }
    (void)seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    size_t piece_bytes = (size_t)(data[0] & 0x7f) + 1, stream_bytes = size - 1;
    uint8_t *stream = malloc(stream_bytes + 1);
    require(stream != NULL);
    memcpy(stream, data + 1, stream_bytes);
    if (data[0] & 0x80) {
        correct_checks(stream, stream_bytes);
    }
    struct quire_decoder decoder = {0};
    for (size_t at = 0; at < stream_bytes;) {
        size_t used = 0, piece = piece_bytes < stream_bytes - at ? piece_bytes : stream_bytes - at;
        enum quire_status status = quire_decoder_feed(&decoder, stream + at, piece, &used);
        require(used <= piece);
        at += used;
        check_limits(&decoder);
        if (status == QUIRE_OK) {
            look_at(&decoder);
            quire_decoder_next(&decoder);
        } else if (status == QUIRE_PENDING) {
            require(used == piece);
        } else {
            require(quire_decoder_feed(&decoder, stream, stream_bytes, &used) == status && used == 0);
            break;
        }
    }
    quire_decoder_free(&decoder);
    free(stream);
    return 0;
}
