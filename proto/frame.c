#include "proto/frame.h"

#include "proto/base/bytes.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <xxhash.h>

/* A buffer larger than this is given back between frames. */
#define IDLE_BYTES_MAX (64u << 10)

static uint32_t check_of(const void *bytes, size_t size) { return (uint32_t)XXH3_64bits(bytes, size); }

void quire_frame_encode(const struct quire_frame *frame, const void *body, uint8_t out[QUIRE_FRAME_BYTES]) {
    bool ours = frame->major == 0;
    quire_put_le32(out, QUIRE_FRAME_MAGIC);
    out[4] = ours ? QUIRE_PROTO_MAJOR : frame->major;
    out[5] = ours ? QUIRE_PROTO_MINOR : frame->minor;
    quire_put_le16(out + 6, frame->type);
    quire_put_le32(out + 8, frame->flags);
    quire_put_le32(out + 12, frame->body_bytes);
    quire_put_le64(out + 16, frame->bulk_bytes);
    quire_put_le64(out + 24, frame->request_id);
    quire_put_le32(out + 32, check_of(body, frame->body_bytes));
    quire_put_le32(out + 36, check_of(out, 36));
}

/* The major version stands before the check: a later major may check its header in another way, and is still to be refused by name. */
enum quire_status quire_frame_decode(const uint8_t in[QUIRE_FRAME_BYTES], struct quire_frame *frame) {
    if (quire_get_le32(in) != QUIRE_FRAME_MAGIC) {
        return QUIRE_CORRUPT;
    }
    if (in[4] != QUIRE_PROTO_MAJOR) {
        return QUIRE_VERSION;
    }
    if (quire_get_le32(in + 36) != check_of(in, 36)) {
        return QUIRE_CORRUPT;
    }
    *frame = (struct quire_frame){
        .major = in[4],
        .minor = in[5],
        .type = quire_get_le16(in + 6),
        .flags = quire_get_le32(in + 8),
        .body_bytes = quire_get_le32(in + 12),
        .bulk_bytes = quire_get_le64(in + 16),
        .request_id = quire_get_le64(in + 24),
        .body_check = quire_get_le32(in + 32),
    };
    return frame->body_bytes > QUIRE_BODY_MAX || frame->bulk_bytes > QUIRE_BULK_MAX ? QUIRE_TOO_LARGE : QUIRE_OK;
}

/* Grows with what has arrived, never with what a header claims: many idle peers that announce large bodies cost nothing. */
static enum quire_status reserve(struct quire_decoder *decoder, size_t needed_bytes) {
    if (needed_bytes <= decoder->capacity_bytes) {
        return QUIRE_OK;
    }
    size_t limit = QUIRE_FRAME_BYTES + (size_t)QUIRE_BODY_MAX;
    size_t doubled = quire_max_u64(2 * decoder->capacity_bytes, 512);
    size_t capacity = quire_min_u64(quire_max_u64(doubled, needed_bytes), limit);
    uint8_t *buffer = realloc(decoder->buffer, capacity);
    if (buffer == NULL) {
        return QUIRE_NO_MEMORY;
    }
    decoder->buffer = buffer;
    decoder->capacity_bytes = capacity;
    return QUIRE_OK;
}

/* Takes bytes until the frame being gathered has target_bytes. */
static enum quire_status gather(struct quire_decoder *decoder, size_t target_bytes, const uint8_t *bytes, size_t size, size_t *used) {
    size_t taken = quire_min_u64(target_bytes - decoder->have_bytes, size - *used);
    if (taken > 0) {
        QUIRE_FORWARD(reserve(decoder, decoder->have_bytes + taken));
        memcpy(decoder->buffer + decoder->have_bytes, bytes + *used, taken);
        decoder->have_bytes += taken;
        *used += taken;
    }
    return decoder->have_bytes == target_bytes ? QUIRE_OK : QUIRE_PENDING;
}

static enum quire_status feed(struct quire_decoder *decoder, const uint8_t *bytes, size_t size, size_t *used) {
    if (!decoder->have_frame) {
        QUIRE_FORWARD(gather(decoder, QUIRE_FRAME_BYTES, bytes, size, used));
        QUIRE_FORWARD(quire_frame_decode(decoder->buffer, &decoder->frame));
        decoder->have_frame = true;
    }
    size_t frame_bytes = QUIRE_FRAME_BYTES + (size_t)decoder->frame.body_bytes;
    bool was_complete = decoder->have_bytes == frame_bytes && decoder->frame.body_bytes > 0;
    QUIRE_FORWARD(gather(decoder, frame_bytes, bytes, size, used));
    if (!was_complete && check_of(quire_decoder_body(decoder), decoder->frame.body_bytes) != decoder->frame.body_check) {
        return QUIRE_CORRUPT;
    }
    return QUIRE_OK;
}

enum quire_status quire_decoder_feed(struct quire_decoder *decoder, const uint8_t *bytes, size_t size, size_t *used) {
    *used = 0;
    if (decoder->failed != QUIRE_OK) {
        return decoder->failed;
    }
    enum quire_status status = feed(decoder, bytes, size, used);
    if (status != QUIRE_OK && status != QUIRE_PENDING) {
        decoder->failed = status;
    }
    return status;
}

const uint8_t *quire_decoder_body(const struct quire_decoder *decoder) { return decoder->buffer + QUIRE_FRAME_BYTES; }

void quire_decoder_next(struct quire_decoder *decoder) {
    decoder->have_bytes = 0;
    decoder->have_frame = false;
    if (decoder->capacity_bytes > IDLE_BYTES_MAX) {
        free(decoder->buffer);
        decoder->buffer = NULL;
        decoder->capacity_bytes = 0;
    }
}

void quire_decoder_free(struct quire_decoder *decoder) {
    free(decoder->buffer);
    *decoder = (struct quire_decoder){0};
}
