/*
 * The frame decoder on any stream, cut anywhere. The first byte says how: its low bits the size of the pieces, its high bit that the
 * checks of the first header are to be made right, because no mutation would ever guess them.
 */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static uint32_t read_le32(const uint8_t *in) { return in[0] | in[1] << 8 | in[2] << 16 | (uint32_t)in[3] << 24; }

static uint64_t read_le64(const uint8_t *in) { return read_le32(in) | (uint64_t)read_le32(in + 4) << 32; }

/* Writes the first header anew from its own fields, if the body that it announces is there. */
static void correct_checks(uint8_t *stream, size_t size) {
    if (size < QUIRE_FRAME_BYTES) {
        return;
    }
    struct quire_frame frame = {
        .major = stream[4],
        .minor = stream[5],
        .type = (uint16_t)(stream[6] | stream[7] << 8),
        .flags = read_le32(stream + 8),
        .body_bytes = read_le32(stream + 12),
        .bulk_bytes = read_le64(stream + 16),
        .request_id = read_le64(stream + 24),
    };
    if (frame.body_bytes <= size - QUIRE_FRAME_BYTES) {
        quire_frame_encode(&frame, stream + QUIRE_FRAME_BYTES, stream);
    }
}

static void look_at(const struct quire_decoder *decoder) {
    volatile uint8_t seen = 0;
    require(decoder->frame.body_bytes <= QUIRE_BODY_MAX && decoder->frame.bulk_bytes <= QUIRE_BULK_MAX);
    require(decoder->capacity_bytes <= QUIRE_FRAME_BYTES + QUIRE_BODY_MAX);
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
