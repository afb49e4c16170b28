/* Frames: the header is pinned byte by byte, and a peer may send anything in pieces of any size. */
#include "proto/frame.h"
#include "tests/unit/hex.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

static const char body[] = "\x08\x01quire";
#define BODY_BYTES 7

static struct quire_frame sample(void) {
    return (struct quire_frame){
        .type = QUIRE_MSG_LEASE,
        .flags = 0x80000001u,
        .body_bytes = BODY_BYTES,
        .bulk_bytes = 0x100000000ull,
        .request_id = 0x1122334455667788ull,
    };
}

/* Header and body, one after the other. Returns the size. */
static size_t sample_bytes(uint8_t *out) {
    struct quire_frame frame = sample();
    quire_frame_encode(&frame, body, out);
    memcpy(out + QUIRE_FRAME_BYTES, body, BODY_BYTES);
    return QUIRE_FRAME_BYTES + BODY_BYTES;
}

/* As another program wrote it from the table in frame.h. */
Test(frame, golden_header) {
    uint8_t bytes[64];
    sample_bytes(bytes);
    cr_assert_hex(bytes, QUIRE_FRAME_BYTES, "515549520100060001000080070000000000000001000000887766554433221140894ed3412493d2");
}

/* Numbers of messages are the wire's. */
Test(frame, message_numbers) {
    cr_assert(QUIRE_MSG_ERROR == 1 && QUIRE_MSG_HELLO == 2 && QUIRE_MSG_HELLO_ACK == 3 && QUIRE_MSG_NS_OPEN == 4 && QUIRE_MSG_LEASE == 6);
    cr_assert(QUIRE_MSG_GRANTS == 7 && QUIRE_MSG_RELEASE == 8 && QUIRE_MSG_PUT == 11 && QUIRE_MSG_ADMIN_REPLY == 19 &&
              QUIRE_MSG_GOODBYE == 21);
}

Test(frame, header_round_trip) {
    uint8_t bytes[64];
    struct quire_frame frame;
    sample_bytes(bytes);
    cr_assert_eq(quire_frame_decode(bytes, &frame), QUIRE_OK);
    cr_assert(frame.major == QUIRE_PROTO_MAJOR && frame.minor == QUIRE_PROTO_MINOR && frame.type == QUIRE_MSG_LEASE);
    cr_assert(frame.flags == 0x80000001u && frame.body_bytes == BODY_BYTES && frame.bulk_bytes == 0x100000000ull);
    cr_assert_eq(frame.request_id, 0x1122334455667788ull);
}

/* Every single flipped bit of the header is noticed: as another version in the major's byte, as corrupt elsewhere. */
Test(frame, flipped_bits_are_noticed) {
    uint8_t bytes[64];
    struct quire_frame frame;
    sample_bytes(bytes);
    for (size_t bit = 0; bit < 8 * QUIRE_FRAME_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(quire_frame_decode(bytes, &frame), bit / 8 == 4 ? QUIRE_VERSION : QUIRE_CORRUPT, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Another major is refused by name, whatever else it changed; a later minor and unknown types and flags pass. */
Test(frame, versions) {
    uint8_t bytes[64];
    struct quire_frame frame = sample();
    frame.major = 2;
    quire_frame_encode(&frame, body, bytes);
    cr_assert_eq(quire_frame_decode(bytes, &frame), QUIRE_VERSION);
    frame = sample();
    frame.major = QUIRE_PROTO_MAJOR;
    frame.minor = 200;
    frame.type = 60000;
    frame.flags = UINT32_MAX;
    quire_frame_encode(&frame, body, bytes);
    cr_assert_eq(quire_frame_decode(bytes, &frame), QUIRE_OK);
    cr_assert(frame.minor == 200 && frame.type == 60000 && frame.flags == UINT32_MAX);
}

/* A well-formed header that announces too much is refused before a byte is set aside for it. */
Test(frame, announced_sizes_are_limited) {
    uint8_t bytes[64];
    struct quire_frame frame = {.type = QUIRE_MSG_PUT, .bulk_bytes = QUIRE_BULK_MAX};
    quire_frame_encode(&frame, NULL, bytes);
    cr_assert_eq(quire_frame_decode(bytes, &frame), QUIRE_OK);
    frame = (struct quire_frame){.type = QUIRE_MSG_PUT, .bulk_bytes = QUIRE_BULK_MAX + 1};
    quire_frame_encode(&frame, NULL, bytes);
    cr_assert_eq(quire_frame_decode(bytes, &frame), QUIRE_TOO_LARGE);
    uint8_t *large = calloc(1, QUIRE_BODY_MAX + 1);
    frame = (struct quire_frame){.type = QUIRE_MSG_PUT, .body_bytes = QUIRE_BODY_MAX + 1};
    quire_frame_encode(&frame, large, bytes);
    struct quire_decoder decoder = {0};
    size_t used;
    cr_assert_eq(quire_decoder_feed(&decoder, bytes, QUIRE_FRAME_BYTES, &used), QUIRE_TOO_LARGE);
    cr_assert_leq(decoder.capacity_bytes, 4096);
    quire_decoder_free(&decoder);
    free(large);
}

/* Byte by byte, the frame is there with its last byte and not before. */
Test(decoder, takes_single_bytes) {
    uint8_t bytes[64];
    size_t size = sample_bytes(bytes), used;
    struct quire_decoder decoder = {0};
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(quire_decoder_feed(&decoder, bytes + i, 1, &used), i + 1 < size ? QUIRE_PENDING : QUIRE_OK);
        cr_assert_eq(used, 1);
    }
    cr_assert_eq(decoder.frame.type, QUIRE_MSG_LEASE);
    cr_assert_arr_eq(quire_decoder_body(&decoder), body, BODY_BYTES);
    quire_decoder_free(&decoder);
}

/* It stops behind one frame and keeps its hands off the rest, until told to go on; a frame without body ends with its header. */
Test(decoder, one_frame_at_a_time) {
    uint8_t bytes[128];
    size_t size = sample_bytes(bytes), used;
    struct quire_frame empty = {.type = QUIRE_MSG_GOODBYE};
    quire_frame_encode(&empty, NULL, bytes + size);
    struct quire_decoder decoder = {0};
    cr_assert_eq(quire_decoder_feed(&decoder, bytes, size + QUIRE_FRAME_BYTES, &used), QUIRE_OK);
    cr_assert_eq(used, size);
    cr_assert_eq(quire_decoder_feed(&decoder, bytes + size, QUIRE_FRAME_BYTES, &used), QUIRE_OK, "still the same frame");
    cr_assert_eq(used, 0);
    quire_decoder_next(&decoder);
    cr_assert_eq(quire_decoder_feed(&decoder, bytes + size, QUIRE_FRAME_BYTES, &used), QUIRE_OK);
    cr_assert(used == QUIRE_FRAME_BYTES && decoder.frame.type == QUIRE_MSG_GOODBYE && decoder.frame.body_bytes == 0);
    quire_decoder_next(&decoder);
    cr_assert_eq(quire_decoder_feed(&decoder, NULL, 0, &used), QUIRE_PENDING);
    quire_decoder_free(&decoder);
}

/* A damaged body is an error of the stream, and errors stick: what follows cannot be trusted. */
Test(decoder, errors_stick) {
    uint8_t bytes[64];
    size_t size = sample_bytes(bytes), used;
    bytes[size - 1] ^= 0x10;
    struct quire_decoder decoder = {0};
    cr_assert_eq(quire_decoder_feed(&decoder, bytes, size, &used), QUIRE_CORRUPT);
    bytes[size - 1] ^= 0x10;
    cr_assert_eq(quire_decoder_feed(&decoder, bytes, size, &used), QUIRE_CORRUPT);
    cr_assert_eq(used, 0);
    quire_decoder_free(&decoder);
    memset(&decoder, 0, sizeof(decoder));
    bytes[0] ^= 1;
    cr_assert_eq(quire_decoder_feed(&decoder, bytes, size, &used), QUIRE_CORRUPT);
    quire_decoder_free(&decoder);
}

/* Memory follows what has arrived, not what was announced, and is given back behind a large frame. */
Test(decoder, holds_little) {
    uint8_t header[QUIRE_FRAME_BYTES];
    uint8_t *large = calloc(1, QUIRE_BODY_MAX);
    struct quire_frame frame = {.type = QUIRE_MSG_PUT, .body_bytes = QUIRE_BODY_MAX};
    struct quire_decoder decoder = {0};
    size_t used;
    quire_frame_encode(&frame, large, header);
    cr_assert_eq(quire_decoder_feed(&decoder, header, sizeof(header), &used), QUIRE_PENDING);
    cr_assert_leq(decoder.capacity_bytes, 4096);
    cr_assert_eq(quire_decoder_feed(&decoder, large, 100000, &used), QUIRE_PENDING);
    cr_assert_leq(decoder.capacity_bytes, 2 * 100040);
    cr_assert_eq(quire_decoder_feed(&decoder, large + 100000, QUIRE_BODY_MAX - 100000, &used), QUIRE_OK);
    cr_assert_leq(decoder.capacity_bytes, QUIRE_FRAME_BYTES + QUIRE_BODY_MAX);
    quire_decoder_next(&decoder);
    cr_assert_leq(decoder.capacity_bytes, 65536);
    quire_decoder_free(&decoder);
    free(large);
}

/* A stream of frames of random sizes, cut at random places, comes out as it went in. */
Test(decoder, any_cut_gives_the_same_frames) {
    struct dice dice = dice_printed("decoder");
    static uint8_t stream[1 << 20], payload[9000];
    size_t stream_bytes = 0, n_frames = 0, seen = 0;
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t)dice_next(&dice);
    }
    while (stream_bytes + QUIRE_FRAME_BYTES + sizeof(payload) <= sizeof(stream)) {
        uint32_t body_bytes = (uint32_t)dice_below(&dice, n_frames % 3 == 0 ? sizeof(payload) : 20);
        struct quire_frame frame = {.type = QUIRE_MSG_KEYS, .body_bytes = body_bytes, .request_id = n_frames++};
        quire_frame_encode(&frame, payload, stream + stream_bytes);
        memcpy(stream + stream_bytes + QUIRE_FRAME_BYTES, payload, body_bytes);
        stream_bytes += QUIRE_FRAME_BYTES + body_bytes;
    }
    struct quire_decoder decoder = {0};
    for (size_t at = 0; at < stream_bytes;) {
        size_t used, piece = dice_below(&dice, 3000) + 1;
        piece = piece < stream_bytes - at ? piece : stream_bytes - at;
        enum quire_status status = quire_decoder_feed(&decoder, stream + at, piece, &used);
        at += used;
        if (status == QUIRE_OK) {
            cr_assert_eq(decoder.frame.request_id, seen++);
            cr_assert_arr_eq(quire_decoder_body(&decoder), payload, decoder.frame.body_bytes);
            quire_decoder_next(&decoder);
        } else {
            cr_assert_eq(status, QUIRE_PENDING);
            cr_assert_eq(used, piece);
        }
    }
    cr_assert_eq(seen, n_frames);
    quire_decoder_free(&decoder);
}
