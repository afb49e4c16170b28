/* Records: their bytes are pinned, parts fill them in any order, and an opened record has been checked in every respect. */
#include "codec/checksum.h"
#include "codec/record.h"
#include "proto/wire.h"
#include "tests/unit/codec_sample.h"
#include "tests/unit/hex.h"

#include <criterion/criterion.h>

static quire_key sample_key(void) {
    quire_key key;
    for (int i = 0; i < 32; i++) {
        key.b[i] = (uint8_t)(100 + i);
    }
    return key;
}

static const uint64_t golden_combined = 0xfe6f01a9377fd4c2;
static const char golden[] =
    "51435231010000006465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283ee702a78ba2159db4d00000000000000cc010000000100000400"
    "000003000000000000000000803e0000000000000000000000000000000000000000000000000000000000000000fe7490d41d4362aafbf20888dcffd3e000010000"
    "180000008eb7d3521bf7a80a0000000000000000400100001800000010676ce6b613bb430000000000000000800100000c0000009c7de40cdf84e51d000000000000"
    "0000c00100000c000000f8ccf44e994ebde6000000000000000000000000000000000000000000000000000000000000000000000000000000000102030405060708"
    "090a0b0c0d0e0f10111213141516171800000000000000000000000000000000000000000000000000000000000000000000000000000000191a1b1c1d1e1f202122"
    "232425262728292a2b2c2d2e2f30000000000000000000000000000000000000000000000000000000000000000000000000000000003132333435363738393a3b3c"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000003d3e3f404142434445464748";

/* One layer, two heads, K 4 and V 2 elements of two bytes, three tokens: lanes of 24, 24, 12 and 12 bytes. */
static uint8_t *golden_record(const quire_layout *layout, struct quire_record_shape *shape) {
    uint8_t payload[72];
    quire_key key = sample_key();
    for (int i = 0; i < 72; i++) {
        payload[i] = (uint8_t)(i + 1);
    }
    *shape = shape_of(layout, 3, 0);
    return sealed_record(layout, shape, &key, payload);
}

/* Every byte, header, directory, padding and payload, as another program wrote it from the description in record.h. */
Test(record, golden_bytes) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape;
    uint8_t *bytes = golden_record(&layout, &shape);
    cr_assert_eq(shape.size_bytes, 460);
    cr_assert_hex(bytes, shape.size_bytes, golden);
    free(bytes);
}

/* The combined sum that a client sends with its put. */
Test(record, golden_combined_sum) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape = shape_of(&layout, 3, 0);
    uint8_t payload[72], *bytes = dirty_bytes(shape.size_bytes);
    quire_rect whole = quire_layout_whole(&layout, 0);
    for (int i = 0; i < 72; i++) {
        payload[i] = (uint8_t)(i + 1);
    }
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 72, golden_combined), QUIRE_OK);
    free(bytes);
}

/* Sizes by hand. 2 layers × 2 heads, K 24 → 64, V 12 → 64 bytes apart; 8 entries of 24 bytes behind 128: payload at 320. */
Test(shape, lanes_in_order) {
    quire_layout layout = sample_layout(2, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape = shape_of(&layout, 3, 0);
    cr_assert(shape.n_lanes == 8 && shape.payload_offset == 320 && shape.size_bytes == 320 + 7 * 64 + 12);
    cr_assert(shape.n_layers == 2 && shape.n_heads == 2 && shape.k_lane_bytes == 24 && shape.v_lane_bytes == 12);
    uint32_t lane = 0;
    for (uint32_t layer = 0; layer < 2; layer++) {
        for (uint32_t kv = 0; kv < 2; kv++) {
            for (uint32_t head = 0; head < 2; head++, lane++) {
                cr_assert_eq(quire_record_lane(&shape, layer, kv, head), lane);
                cr_assert_eq(quire_record_lane_offset(&shape, lane), 320 + 64 * lane);
                cr_assert_eq(quire_record_lane_bytes(&shape, lane), kv == 0 ? 24 : 12);
            }
        }
    }
}

/* Without V there are only K lanes; K and V may differ in size. */
Test(shape, k_only_and_unequal) {
    quire_layout latent = sample_layout(3, 1, 576, 0, QUIRE_BF16, 16);
    struct quire_record_shape shape = shape_of(&latent, 16, 0);
    cr_assert(shape.n_lanes == 3 && shape.v_lane_bytes == 0 && shape.k_lane_bytes == 18432);
    cr_assert_eq(quire_record_lane(&shape, 2, 0, 0), 2);
    cr_assert_eq(quire_record_lane_offset(&shape, 2), 256 + 2 * 18432);
    cr_assert_eq(shape.size_bytes, 256 + 3 * 18432);
    quire_layout unequal = sample_layout(2, 3, 96, 32, QUIRE_I8, 4);
    shape = shape_of(&unequal, 4, 0); /* K 384, V 128 bytes; payload at 128 + 12·24 = 416 → 448 */
    cr_assert_eq(quire_record_lane_offset(&shape, quire_record_lane(&shape, 1, 1, 2)), 448 + 3 * (384 + 128) + 3 * 384 + 2 * 128);
}

/* An opaque block is cut into chunks, the last one shorter. */
Test(shape, opaque_chunks) {
    quire_layout layout = sample_opaque_layout();
    struct quire_record_shape shape = shape_of(&layout, 64, 2 * QUIRE_CHUNK_BYTES + 5);
    cr_assert(shape.opaque && shape.n_lanes == 3 && shape.payload_offset == 256);
    cr_assert_eq(shape.size_bytes, 256 + 2 * QUIRE_CHUNK_BYTES + 5);
    cr_assert_eq(quire_record_lane_offset(&shape, 2), 256 + 2 * QUIRE_CHUNK_BYTES);
    cr_assert_eq(quire_record_lane_bytes(&shape, 1), QUIRE_CHUNK_BYTES);
    cr_assert_eq(quire_record_lane_bytes(&shape, 2), 5);
    cr_assert_eq(shape_of(&layout, 1, QUIRE_CHUNK_BYTES).n_lanes, 1);
}

/* Sizes come from sockets: each limit has an answer. */
Test(shape, limits) {
    struct quire_record_shape shape;
    quire_layout layout = sample_layout(1, 1, 64, 64, QUIRE_F16, 16), opaque = sample_opaque_layout();
    cr_assert_eq(quire_record_shape(&layout, 0, 0, 0, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&layout, 0, 17, 0, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&layout, 1, 16, 0, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&layout, UINT32_MAX, 16, 0, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&opaque, 0, 64, 0, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&opaque, 1, 64, 100, &shape), QUIRE_INVALID);
    cr_assert_eq(quire_record_shape(&opaque, 0, 64, QUIRE_MAX_RECORD_BYTES, &shape), QUIRE_TOO_LARGE);
    cr_assert_eq(quire_record_shape(&opaque, 0, 64, UINT64_MAX, &shape), QUIRE_TOO_LARGE);
    quire_layout huge = sample_layout(QUIRE_MAX_LAYERS, QUIRE_MAX_HEADS, QUIRE_MAX_DIM, QUIRE_MAX_DIM, QUIRE_F32, QUIRE_MAX_BLOCK_TOKENS);
    cr_assert_eq(quire_record_shape(&huge, 0, QUIRE_MAX_BLOCK_TOKENS, 0, &shape), QUIRE_TOO_LARGE);
}

/* A reader who only knows how large a record is finds its shape, of any count of tokens and any opaque length; other sizes have none. */
Test(shape, follows_from_the_size) {
    struct quire_record_shape want, got;
    const quire_layout layouts[] = {sample_layout(3, 2, 33, 17, QUIRE_I8, 61), sample_layout(2, 2, 64, 0, QUIRE_F16, 16)};
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        uint32_t before = 0;
        for (uint32_t tokens = 1; tokens <= layouts[i].block_tokens; tokens++) {
            want = shape_of(&layouts[i], tokens, 0);
            cr_assert_eq(quire_record_shape_of_size(&layouts[i], 0, want.size_bytes, &got), QUIRE_OK);
            cr_assert_eq(memcmp(&want, &got, sizeof(want)), 0, "%u tokens", tokens);
            for (uint32_t size = before + 1; size < want.size_bytes; size++) {
                cr_assert_eq(quire_record_shape_of_size(&layouts[i], 0, size, &got), QUIRE_INVALID);
            }
            before = want.size_bytes;
        }
        cr_assert_eq(quire_record_shape_of_size(&layouts[i], 0, before + 1, &got), QUIRE_INVALID);
        cr_assert_eq(quire_record_shape_of_size(&layouts[i], 1, before, &got), QUIRE_INVALID);
    }
    const quire_layout opaque = sample_opaque_layout();
    static const uint32_t lengths[] = {
        1, 63, 64, QUIRE_CHUNK_BYTES - 1, QUIRE_CHUNK_BYTES, QUIRE_CHUNK_BYTES + 1, 100 * QUIRE_CHUNK_BYTES + 7};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        want = shape_of(&opaque, opaque.block_tokens, lengths[i]);
        cr_assert_eq(quire_record_shape_of_size(&opaque, 0, want.size_bytes, &got), QUIRE_OK, "%u bytes", lengths[i]);
        cr_assert_eq(memcmp(&want, &got, sizeof(want)), 0, "%u bytes", lengths[i]);
    }
    cr_assert_eq(quire_record_shape_of_size(&opaque, 0, 192, &got), QUIRE_INVALID, "a head and nothing behind it");
    cr_assert_eq(quire_record_shape_of_size(&opaque, 0, UINT32_MAX, &got), QUIRE_INVALID);
}

/* Ranks put rectangles of one record in any order; the record is the one that a single put would have made. */
Test(record, parts_make_the_whole) {
    struct dice dice = dice_printed("parts");
    quire_layout layout = sample_layout(4, 4, 10, 6, QUIRE_F16, 8);
    struct quire_record_shape shape = shape_of(&layout, 7, 0);
    quire_key key = sample_key();
    uint8_t *payload = random_payload(&dice, payload_bytes_of(&shape));
    uint8_t *whole = sealed_record(&layout, &shape, &key, payload), *parts = dirty_bytes(shape.size_bytes);
    for (int p = 3; p >= 0; p--) {
        quire_rect rect = {.first_layer = (uint16_t)(p / 2 * 2), .n_layers = 2, .first_head = (uint16_t)(p % 2 * 2), .n_heads = 2};
        uint8_t *part = dirty_bytes(payload_bytes_of(&shape));
        uint64_t checks[8];
        uint32_t n = 0, used = 0;
        for (uint32_t i = 0; i < 8; i++, n++) { /* layer, kv, head: by hand */
            uint32_t lane = quire_record_lane(&shape, rect.first_layer + i / 4, i / 2 % 2, rect.first_head + i % 2);
            uint32_t lane_bytes = quire_record_lane_bytes(&shape, lane);
            memcpy(part + used, whole + quire_record_lane_offset(&shape, lane), lane_bytes);
            checks[n] = quire_checksum(part + used, lane_bytes);
            used += lane_bytes;
        }
        cr_assert_eq(quire_record_fill_rect(parts, &shape, &rect, part, used, quire_record_combine(checks, n)), QUIRE_OK);
        free(part);
    }
    struct quire_record_header header;
    memcpy(&header, whole, sizeof(header));
    struct quire_record_facts facts = {.key = key, .layout_tag = header.layout_tag, .sequence = 77, .ancestry_error = 0.25f};
    quire_record_seal(parts, &shape, &facts);
    cr_assert_arr_eq(parts, whole, shape.size_bytes);
    free(parts);
    free(whole);
    free(payload);
}

/* A part whose bytes are not those that the client summed, of another size or outside the record, is refused. */
Test(record, wrong_parts_are_refused) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape = shape_of(&layout, 3, 0);
    uint8_t payload[72], *bytes = dirty_bytes(shape.size_bytes);
    for (int i = 0; i < 72; i++) {
        payload[i] = (uint8_t)(i + 1);
    }
    const quire_rect whole = {0, 1, 0, 2}, none = {0}, behind = {1, 1, 0, 2}, wide = {0, 1, 1, 2}, wrapped = {65535, 2, 0, 2};
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 72, golden_combined), QUIRE_OK);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 72, golden_combined + 1), QUIRE_CORRUPT);
    payload[71] ^= 1;
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 72, golden_combined), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 71, golden_combined), QUIRE_INVALID);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &whole, payload, 73, golden_combined), QUIRE_INVALID);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &none, payload, 0, 0), QUIRE_INVALID);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &behind, payload, 72, 0), QUIRE_INVALID);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &wide, payload, 72, 0), QUIRE_INVALID);
    cr_assert_eq(quire_record_fill_rect(bytes, &shape, &wrapped, payload, 144, 0), QUIRE_INVALID);
    free(bytes);
}

/* A record is opened for one layout and one key. */
Test(open, tells_what_it_is) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape;
    struct quire_record record;
    quire_key key = sample_key();
    uint8_t *bytes = golden_record(&layout, &shape);
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, NULL, &record), QUIRE_OK);
    cr_assert(record.header.sequence == 77 && record.header.n_tokens == 3 && record.header.ancestry_error == 0.25f);
    cr_assert_eq(memcmp(&record.shape, &shape, sizeof(shape)), 0);
    cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
    key.b[5] ^= 1;
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_MISMATCH);
    quire_layout other = layout;
    other.weights_digest[0] = 1;
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &other, NULL, &record), QUIRE_MISMATCH);
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes - 1, &layout, NULL, &record), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_open(bytes, 127, &layout, NULL, &record), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_open(bytes, 0, &layout, NULL, &record), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_open(bytes + 1, shape.size_bytes - 1, &layout, NULL, &record), QUIRE_INVALID);
    free(bytes);
}

/* No flipped bit of header or directory gets through, and none of the payload through verification. */
Test(open, flipped_bits_are_noticed) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape;
    struct quire_record record;
    uint8_t *bytes = golden_record(&layout, &shape);
    size_t directory_end = 128 + 4 * 24;
    for (size_t bit = 0; bit < 8 * directory_end; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(quire_record_open(bytes, shape.size_bytes, &layout, NULL, &record), QUIRE_OK, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t lane = 0; lane < 4; lane++) {
        for (uint32_t i = 0; i < quire_record_lane_bytes(&shape, lane); i++) {
            uint8_t *byte = bytes + quire_record_lane_offset(&shape, lane) + i;
            *byte ^= 4;
            cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, NULL, &record), QUIRE_OK);
            cr_assert_eq(quire_record_verify_lane(&record, lane), QUIRE_CORRUPT);
            cr_assert_eq(quire_record_verify_lane(&record, (lane + 1) % 4), QUIRE_OK);
            cr_assert_eq(quire_record_verify(&record), QUIRE_CORRUPT);
            *byte ^= 4;
        }
    }
    cr_assert_eq(quire_record_verify_lane(&record, 4), QUIRE_INVALID);
    free(bytes);
}

/* Writes the sums anew, as a forger would. */
static void reseal(uint8_t *bytes, uint32_t n_lanes) {
    uint64_t check = quire_checksum(bytes + 128, n_lanes * 24u);
    memcpy(bytes + 112, &check, 8);
    check = quire_checksum(bytes, 120);
    memcpy(bytes + 120, &check, 8);
}

/* Sums are no signature: a record whose sums are right may still lie about its sizes, and is refused. */
Test(open, forged_records_are_refused) {
    static const struct {
        size_t at;
        uint8_t value;
        enum quire_status status;
    } lies[] = {
        {4, 2, QUIRE_VERSION},               /* version */
        {6, 1, QUIRE_MISMATCH},              /* group */
        {7, 1, QUIRE_CORRUPT},               /* rung */
        {56, 0xcd, QUIRE_CORRUPT},           /* size_bytes beyond what there is */
        {56, 0xcb, QUIRE_MISMATCH},          /* size_bytes one less */
        {60, 64, QUIRE_CORRUPT},             /* payload_offset */
        {64, 5, QUIRE_MISMATCH},             /* n_lane_groups; the directory's space is the same */
        {66, 1, QUIRE_CORRUPT},              /* n_lane_groups, many */
        {68, 4, QUIRE_MISMATCH},             /* n_tokens */
        {69, 4, QUIRE_MISMATCH},             /* n_tokens, many */
        {70, 1, QUIRE_MISMATCH},             /* opaque */
        {70, 2, QUIRE_CORRUPT},              /* a flag that version 1 does not have */
        {75, 0x40, QUIRE_CORRUPT},           /* error */
        {79, 0xff, QUIRE_CORRUPT},           /* ancestry_error negative */
        {80, 1, QUIRE_CORRUPT},              /* reserved */
        {128, 0, QUIRE_CORRUPT},             /* first lane's offset, outside the payload… */
        {129, 2, QUIRE_CORRUPT},             /* … and elsewhere in it */
        {132, 25, QUIRE_CORRUPT},            /* its size */
        {128 + 20, 1, QUIRE_CORRUPT},        /* its rung */
        {128 + 16 + 3, 0x40, QUIRE_CORRUPT}, /* its error */
        {128 + 23, 1, QUIRE_CORRUPT},        /* its reserved bytes */
    };
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct quire_record_shape shape;
        struct quire_record record;
        uint8_t *bytes = golden_record(&layout, &shape);
        cr_assert(bytes[lies[i].at] != lies[i].value || lies[i].at == 128, "case %zu changes something", i);
        bytes[lies[i].at] = lies[i].at == 128 ? 64 : lies[i].value;
        reseal(bytes, 4);
        cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, NULL, &record), lies[i].status, "byte %zu", lies[i].at);
        free(bytes);
    }
}

/* An opaque block goes in and comes out whole, whatever its length; the client's sum is the one that the daemon compares. */
Test(opaque, round_trip) {
    struct dice dice = dice_printed("opaque");
    static const size_t sizes[] = {1, 240, 65535, 65536, 65537, 300000, 40 * 65536};
    quire_layout layout = sample_opaque_layout();
    quire_key key = sample_key();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct quire_record_shape shape = shape_of(&layout, 64, sizes[i]);
        uint8_t *block = random_payload(&dice, sizes[i]), *sent = dirty_bytes(sizes[i]), *out = dirty_bytes(sizes[i] + 1);
        uint8_t *record_bytes = sealed_record(&layout, &shape, &key, block), *filled = dirty_bytes(shape.size_bytes);
        uint64_t check = quire_record_check_opaque(&shape, sent, block, sizes[i]);
        cr_assert_arr_eq(sent, block, sizes[i]);
        cr_assert_eq(quire_record_fill_rect(filled, &shape, &(quire_rect){0}, sent, sizes[i], check), QUIRE_OK);
        cr_assert_eq(quire_record_fill_rect(filled, &shape, &(quire_rect){0}, sent, sizes[i], ~check), QUIRE_CORRUPT);
        cr_assert_eq(quire_record_fill_rect(filled, &shape, &(quire_rect){0}, sent, sizes[i] - 1, check), QUIRE_INVALID);
        struct quire_record record;
        size_t size = 0;
        cr_assert_eq(quire_record_open(record_bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_copy_opaque(&record, out, sizes[i] - 1, &size, true), QUIRE_TOO_LARGE);
        cr_assert_eq(size, sizes[i]);
        cr_assert_eq(quire_record_verify_opaque(&record, block), QUIRE_OK, "it lies where a wire put it");
        block[sizes[i] - 1] ^= 1;
        cr_assert_eq(quire_record_verify_opaque(&record, block), QUIRE_CORRUPT);
        block[sizes[i] - 1] ^= 1;
        for (int verify = 0; verify < 2; verify++) {
            memset(out, 0, sizes[i] + 1);
            cr_assert_eq(quire_record_copy_opaque(&record, out, sizes[i], &size, verify), QUIRE_OK);
            cr_assert_arr_eq(out, block, sizes[i]);
            cr_assert_eq(out[sizes[i]], 0);
        }
        record_bytes[shape.size_bytes - 1] ^= 1;
        cr_assert_eq(quire_record_copy_opaque(&record, out, sizes[i], &size, true), QUIRE_CORRUPT);
        cr_assert_eq(quire_record_copy_opaque(&record, out, sizes[i], &size, false), QUIRE_OK);
        free(block), free(sent), free(out), free(record_bytes), free(filled);
    }
}

/*
 * A record in memory that others may write to: any bit of header, directory or a lane that changes is seen, without a layout. Who sends one lane asks for no other: what is
 * damaged elsewhere does not keep it from that. Another block's record, another group's, and one that is shorter than it says are not it.
 */
Test(record, is_it_intact) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape;
    quire_key key = sample_key();
    uint8_t *bytes = golden_record(&layout, &shape);
    uint32_t directory_end = 128 + 4 * 24, seen = 0;
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, NULL, 0), QUIRE_OK);
    for (uint32_t bit = 0; bit < 8 * shape.size_bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum quire_status status = quire_record_intact(bytes, shape.size_bytes, 0, &key, NULL, 0);
        bool is_padding = bit / 8 >= directory_end;
        for (uint32_t lane = 0; lane < shape.n_lanes; lane++) {
            uint32_t from = quire_record_lane_offset(&shape, lane);
            is_padding &= bit / 8 < from || bit / 8 >= from + quire_record_lane_bytes(&shape, lane);
        }
        cr_assert_eq(status, is_padding ? QUIRE_OK : QUIRE_CORRUPT, "bit %u", bit);
        seen += status == QUIRE_CORRUPT;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(seen, 8 * (directory_end + 72));
    uint32_t second = quire_record_lane_offset(&shape, 1);
    const struct quire_wire_range head = {0, directory_end}, first = {256, 24}, tail = {second + 23, 1}, before = {0, second};
    bytes[second] ^= 1;
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, &head, 1), QUIRE_OK);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, &first, 1), QUIRE_OK);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, &before, 1), QUIRE_OK);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, &tail, 1), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, (struct quire_wire_range[]){first, tail}, 2), QUIRE_CORRUPT);
    bytes[second] ^= 1;
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 1, &key, NULL, 0), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes - 1, 0, &key, NULL, 0), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_intact(bytes, 127, 0, &key, NULL, 0), QUIRE_CORRUPT);
    key.b[31] ^= 1;
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, &key, NULL, 0), QUIRE_CORRUPT);
    cr_assert_eq(quire_record_intact(bytes, shape.size_bytes, 0, NULL, NULL, 0), QUIRE_OK, "nobody knows whose it is");
    free(bytes);
}
