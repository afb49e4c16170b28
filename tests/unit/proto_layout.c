/* The layout decides which KV is the same KV. Its encoding and digest are pinned; every field counts; nonsense is refused by name. */
#include "proto/layout.h"
#include "tests/unit/hex.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>
#include <math.h>

/* Four layers, the third reads the second's cache; one group with RoPE, one with a window and without V. */
static quire_layout sample(void) {
    quire_layout layout = {
        .n_layers = 4,
        .n_groups = 2,
        .block_tokens = 16,
        .kv_src = {0, 1, 1, 3},
        .group_of = {0, 1, 0, 0},
        .group =
            {
                {.n_kv_heads = 2,
                 .k_dim = 8,
                 .v_dim = 4,
                 .elem = QUIRE_F16,
                 .rope = {.pairing = QUIRE_ROPE_HALF, .applied = true, .n_dims = 4, .factor = 1.0f, .inv_freq = {1.0f, 0.5f}}},
                {.window_tokens = 32, .n_kv_heads = 1, .k_dim = 8, .elem = QUIRE_F32},
            },
    };
    for (int i = 0; i < 32; i++) {
        layout.weights_digest[i] = (uint8_t)i;
    }
    return layout;
}

static quire_layout sample_opaque(void) {
    quire_layout layout = {.block_tokens = 64, .opaque = true, .engine = "llama.cpp", .engine_format = "v3"};
    for (int i = 0; i < 32; i++) {
        layout.weights_digest[i] = (uint8_t)i;
    }
    return layout;
}

/* Bytes and digest as another program computed them from the description in layout_wire.c: stored names depend on them. */
Test(layout, golden_encoding) {
    quire_layout layout = sample();
    uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX], digest[32];
    size_t size;
    cr_assert_eq(quire_layout_encode(&layout, bytes, sizeof(bytes), &size), QUIRE_OK);
    cr_assert_hex(bytes, size,
                  "514c4159010000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f1000040002000000000100010100000300000000"
                  "000002000800040000010104000000803f0000803f0000003f20000000010008000000020000000000000000");
    cr_assert_eq(quire_layout_digest(&layout, digest), QUIRE_OK);
    cr_assert_hex(digest, 32, "cbf9484cd797fc360991aae1b5991d2079d5fd86be0bf3895c06e38af62b5048");
}

/* An opaque layout writes engine and format, and nothing of a shape even when the caller filled one in. */
Test(layout, golden_opaque_encoding) {
    quire_layout layout = sample_opaque();
    uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX], digest[32];
    size_t size;
    layout.n_layers = 30;
    layout.n_groups = 1;
    cr_assert_eq(quire_layout_encode(&layout, bytes, sizeof(bytes), &size), QUIRE_OK);
    cr_assert_hex(bytes, size,
                  "514c4159010001000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f4000096c6c616d612e637070027633");
    cr_assert_eq(quire_layout_digest(&layout, digest), QUIRE_OK);
    cr_assert_hex(digest, 32, "f4a4c755f0e93518e1c14286f494fddd35472648bac4a2c263f84f27a62425d9");
    cr_assert_eq(quire_layout_groups(&layout), 1);
    cr_assert_eq(quire_layout_window_blocks(&layout, 0), UINT32_MAX);
}

static void assert_round_trip(const quire_layout *layout) {
    static uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX], again[QUIRE_LAYOUT_WIRE_MAX];
    static quire_layout decoded;
    size_t size, again_size;
    char field[64];
    cr_assert_eq(quire_layout_encode(layout, bytes, sizeof(bytes), &size), QUIRE_OK);
    cr_assert_eq(quire_layout_decode(bytes, size, &decoded), QUIRE_OK);
    cr_assert_null(quire_layout_diff(layout, &decoded, field, sizeof(field)));
    cr_assert_eq(quire_layout_encode(&decoded, again, sizeof(again), &again_size), QUIRE_OK);
    cr_assert_eq(size, again_size);
    cr_assert_arr_eq(bytes, again, size);
    cr_assert_neq(quire_layout_decode(bytes, size - 1, &decoded), QUIRE_OK);
    cr_assert_eq(quire_layout_encode(layout, again, size - 1, &again_size), QUIRE_TOO_LARGE);
    bytes[size] = 0;
    cr_assert_eq(quire_layout_decode(bytes, size + 1, &decoded), QUIRE_INVALID);
}

/* What is encoded comes back; a byte less or more is refused. */
Test(layout, round_trip) {
    quire_layout shaped = sample(), opaque = sample_opaque();
    assert_round_trip(&shaped);
    assert_round_trip(&opaque);
}

/* The largest layout that the limits allow fits its stated bound. */
Test(layout, largest_fits_its_bound) {
    static quire_layout layout;
    layout.n_layers = QUIRE_MAX_LAYERS;
    layout.n_groups = QUIRE_MAX_GROUPS;
    layout.block_tokens = 1;
    for (uint32_t l = 0; l < QUIRE_MAX_LAYERS; l++) {
        layout.kv_src[l] = (uint16_t)l;
        layout.group_of[l] = (uint8_t)(l % QUIRE_MAX_GROUPS);
    }
    for (uint32_t g = 0; g < QUIRE_MAX_GROUPS; g++) {
        quire_group *group = &layout.group[g];
        *group = (quire_group){.n_kv_heads = QUIRE_MAX_HEADS, .k_dim = QUIRE_MAX_DIM, .v_dim = QUIRE_MAX_DIM, .elem = QUIRE_I8};
        group->rope = (quire_rope){.pairing = QUIRE_ROPE_INTERLEAVED, .n_dims = QUIRE_MAX_DIM, .factor = 0.25f};
        for (uint32_t i = 0; i < QUIRE_MAX_DIM / 2; i++) {
            group->rope.inv_freq[i] = 1.0f / (float)(i + 1);
        }
    }
    assert_round_trip(&layout);
}

/* One changed field and what it is called. */
struct change {
    const char *field;
    void (*apply)(quire_layout *layout);
};
#define CHANGE(name, statement)                                                                                                            \
    static void change_##name(quire_layout *l) { statement; }
CHANGE(digest, l->weights_digest[31] ^= 1)
CHANGE(block_tokens, l->block_tokens = 32)
CHANGE(layers, l->n_layers = 5; l->kv_src[4] = 4)
CHANGE(groups, l->n_groups = 3; l->group_of[3] = 2; l->group[2] = l->group[1])
CHANGE(kv_src, l->kv_src[2] = 0)
CHANGE(group_of, l->group_of[3] = 1)
CHANGE(window, l->group[1].window_tokens = 33)
CHANGE(heads, l->group[0].n_kv_heads = 3)
CHANGE(k_dim, l->group[1].k_dim = 9)
CHANGE(v_dim, l->group[1].v_dim = 1)
CHANGE(elem, l->group[0].elem = QUIRE_BF16)
CHANGE(pairing, l->group[0].rope.pairing = QUIRE_ROPE_INTERLEAVED)
CHANGE(applied, l->group[0].rope.applied = false)
CHANGE(n_dims, l->group[0].rope.n_dims = 2; l->group[0].rope.inv_freq[1] = 0)
CHANGE(factor, l->group[0].rope.factor = 1.5f)
CHANGE(inv_freq, l->group[0].rope.inv_freq[1] = 0.25f)
CHANGE(opaque, *l = sample_opaque())

/* A layout that differs in one field is another namespace, and the message says in which. */
Test(layout, one_field_makes_the_difference) {
    static const struct change changes[] = {
        {"weights_digest", change_digest},
        {"block_tokens", change_block_tokens},
        {"n_layers", change_layers},
        {"n_groups", change_groups},
        {"kv_src[2]", change_kv_src},
        {"group_of[3]", change_group_of},
        {"group[1].window_tokens", change_window},
        {"group[0].n_kv_heads", change_heads},
        {"group[1].k_dim", change_k_dim},
        {"group[1].v_dim", change_v_dim},
        {"group[0].elem", change_elem},
        {"group[0].rope.pairing", change_pairing},
        {"group[0].rope.applied", change_applied},
        {"group[0].rope.n_dims", change_n_dims},
        {"group[0].rope.factor", change_factor},
        {"group[0].rope.inv_freq[1]", change_inv_freq},
        {"opaque", change_opaque},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        quire_layout a = sample(), b = sample();
        uint8_t digest_a[32], digest_b[32];
        char field[64];
        changes[i].apply(&b);
        cr_assert_str_eq(quire_layout_diff(&a, &b, field, sizeof(field)), changes[i].field);
        cr_assert_eq(quire_layout_digest(&a, digest_a), QUIRE_OK);
        cr_assert_eq(quire_layout_digest(&b, digest_b), QUIRE_OK, "%s", changes[i].field);
        cr_assert(memcmp(digest_a, digest_b, 32) != 0, "%s", changes[i].field);
    }
}

Test(layout, opaque_ones_differ_by_engine_and_format) {
    quire_layout a = sample_opaque(), b = sample_opaque();
    char field[64];
    cr_assert_null(quire_layout_diff(&a, &b, field, sizeof(field)));
    b.n_layers = 7; /* does not count */
    cr_assert_null(quire_layout_diff(&a, &b, field, sizeof(field)));
    b.engine_format[1] = '4';
    cr_assert_str_eq(quire_layout_diff(&a, &b, field, sizeof(field)), "engine_format");
    b.engine[0] = 'L';
    cr_assert_str_eq(quire_layout_diff(&a, &b, field, sizeof(field)), "engine");
}

/* The group of a layer that reads another's cache does not count: nothing of it is stored. */
Test(layout, group_of_a_consumer_does_not_count) {
    quire_layout a = sample(), b = sample();
    uint8_t digest_a[32], digest_b[32];
    char field[64];
    b.group_of[2] = 1;
    cr_assert_null(quire_layout_diff(&a, &b, field, sizeof(field)));
    quire_layout_digest(&a, digest_a);
    quire_layout_digest(&b, digest_b);
    cr_assert_arr_eq(digest_a, digest_b, 32);
}

struct refusal {
    const char *word; /* what the sentence must name */
    enum quire_status status;
    void (*apply)(quire_layout *layout);
};
CHANGE(no_tokens, l->block_tokens = 0)
CHANGE(many_tokens, l->block_tokens = QUIRE_MAX_BLOCK_TOKENS + 1)
CHANGE(no_layers, l->n_layers = 0)
CHANGE(many_layers, l->n_layers = QUIRE_MAX_LAYERS + 1)
CHANGE(many_groups, l->n_groups = QUIRE_MAX_GROUPS + 1)
CHANGE(later_source, l->kv_src[1] = 3)
CHANGE(indirect_source, l->kv_src[3] = 2)
CHANGE(wild_source, l->kv_src[0] = 65535)
CHANGE(no_such_group, l->group_of[3] = 2)
CHANGE(empty_group, l->group_of[1] = 0)
CHANGE(behind_layers, l->kv_src[4] = 4)
CHANGE(no_heads, l->group[0].n_kv_heads = 0)
CHANGE(many_heads, l->group[0].n_kv_heads = QUIRE_MAX_HEADS + 1)
CHANGE(no_k, l->group[1].k_dim = 0)
CHANGE(large_v, l->group[0].v_dim = QUIRE_MAX_DIM + 1)
CHANGE(unknown_elem, l->group[0].elem = QUIRE_ELEM_COUNT)
CHANGE(unknown_pairing, l->group[0].rope.pairing = QUIRE_PAIRING_COUNT)
CHANGE(odd_dims, l->group[0].rope.n_dims = 3)
CHANGE(wide_dims, l->group[0].rope.n_dims = 10)
CHANGE(nan_factor, l->group[0].rope.factor = NAN)
CHANGE(negative_factor, l->group[0].rope.factor = -1)
CHANGE(infinite_freq, l->group[0].rope.inv_freq[0] = INFINITY)
CHANGE(negative_freq, l->group[0].rope.inv_freq[1] = -0.5f)
CHANGE(behind_freq, l->group[0].rope.inv_freq[2] = 0.25f)
CHANGE(rope_without_pairing, l->group[1].rope.factor = 1)
CHANGE(minus_zero, l->group[1].rope.factor = -0.0f)
CHANGE(huge, l->block_tokens = 1024; l->group[0].n_kv_heads = 256; l->group[0].k_dim = 1024)
CHANGE(opaque_without_engine, *l = sample_opaque(); memset(l->engine, 0, sizeof(l->engine)))
CHANGE(opaque_unterminated, *l = sample_opaque(); memset(l->engine_format, 'x', sizeof(l->engine_format)))
CHANGE(opaque_control, *l = sample_opaque(); l->engine[2] = '\n')

/* Each limit has an answer that names the field; the same layout is refused by encode and digest. */
Test(layout, nonsense_is_refused_by_name) {
    static const struct refusal refusals[] = {
        {"block_tokens", QUIRE_INVALID, change_no_tokens},
        {"block_tokens", QUIRE_TOO_LARGE, change_many_tokens},
        {"n_layers", QUIRE_INVALID, change_no_layers},
        {"n_layers", QUIRE_TOO_LARGE, change_many_layers},
        {"n_groups", QUIRE_TOO_LARGE, change_many_groups},
        {"kv_src[1]", QUIRE_INVALID, change_later_source},
        {"kv_src[3]", QUIRE_INVALID, change_indirect_source},
        {"kv_src[0]", QUIRE_INVALID, change_wild_source},
        {"group_of[3]", QUIRE_INVALID, change_no_such_group},
        {"group[1]", QUIRE_INVALID, change_empty_group},
        {"kv_src[4]", QUIRE_INVALID, change_behind_layers},
        {"group[0].n_kv_heads", QUIRE_INVALID, change_no_heads},
        {"group[0].n_kv_heads", QUIRE_TOO_LARGE, change_many_heads},
        {"group[1].k_dim", QUIRE_INVALID, change_no_k},
        {"group[0].v_dim", QUIRE_TOO_LARGE, change_large_v},
        {"group[0].elem", QUIRE_UNSUPPORTED, change_unknown_elem},
        {"group[0].rope.pairing", QUIRE_UNSUPPORTED, change_unknown_pairing},
        {"group[0].rope.n_dims", QUIRE_INVALID, change_odd_dims},
        {"group[0].rope.n_dims", QUIRE_INVALID, change_wide_dims},
        {"group[0].rope.factor", QUIRE_INVALID, change_nan_factor},
        {"group[0].rope.factor", QUIRE_INVALID, change_negative_factor},
        {"group[0].rope.inv_freq[0]", QUIRE_INVALID, change_infinite_freq},
        {"group[0].rope.inv_freq[1]", QUIRE_INVALID, change_negative_freq},
        {"group[0].rope.inv_freq[2]", QUIRE_INVALID, change_behind_freq},
        {"group[1].rope", QUIRE_INVALID, change_rope_without_pairing},
        {"group[1].rope", QUIRE_INVALID, change_minus_zero},
        {"group[0]", QUIRE_TOO_LARGE, change_huge},
        {"engine", QUIRE_INVALID, change_opaque_without_engine},
        {"engine_format", QUIRE_INVALID, change_opaque_unterminated},
        {"engine", QUIRE_INVALID, change_opaque_control},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        quire_layout layout = sample();
        char why[160] = "";
        uint8_t digest[32];
        refusals[i].apply(&layout);
        cr_assert_eq(quire_layout_check(&layout, why, sizeof(why)), refusals[i].status, "%s (case %zu)", refusals[i].word, i);
        cr_assert_eq(strncmp(why, refusals[i].word, strlen(refusals[i].word)), 0, "'%s' should begin with %s", why, refusals[i].word);
        cr_assert_eq(quire_layout_digest(&layout, digest), refusals[i].status);
        cr_assert_eq(quire_layout_check(&layout, NULL, 0), refusals[i].status);
    }
}

/* Truncated and damaged encodings: an error or a layout that encodes to exactly these bytes; nothing in between. */
Test(layout, decoding_is_total) {
    struct dice dice = dice_printed("layout");
    static uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX], again[QUIRE_LAYOUT_WIRE_MAX];
    static quire_layout decoded;
    size_t size, again_size, accepted = 0;
    for (int round = 0; round < 20000; round++) {
        quire_layout layout = round % 2 == 0 ? sample() : sample_opaque();
        quire_layout_encode(&layout, bytes, sizeof(bytes), &size);
        bytes[dice_below(&dice, size)] ^= (uint8_t)(1u << dice_below(&dice, 8));
        if (round % 5 == 0) {
            size = dice_below(&dice, size);
        }
        if (quire_layout_decode(bytes, size, &decoded) == QUIRE_OK) {
            accepted++;
            cr_assert_eq(quire_layout_encode(&decoded, again, sizeof(again), &again_size), QUIRE_OK);
            cr_assert_eq(size, again_size);
            cr_assert_arr_eq(bytes, again, size);
        }
    }
    cr_assert_gt(accepted, 1000);
}

/* A later version of the encoding is refused as such. */
Test(layout, later_version_is_unsupported) {
    quire_layout layout = sample(), decoded;
    uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX];
    size_t size;
    quire_layout_encode(&layout, bytes, sizeof(bytes), &size);
    bytes[4] = 2;
    cr_assert_eq(quire_layout_decode(bytes, size, &decoded), QUIRE_UNSUPPORTED);
    bytes[0] = 'q';
    cr_assert_eq(quire_layout_decode(bytes, size, &decoded), QUIRE_INVALID);
}

/* Sizes by hand: group 0 has layers 0 and 3, 2 heads, K 8 × 2 bytes, V 4 × 2 bytes; group 1 has layer 1, 1 head, K 8 × 4 bytes, no V. */
Test(layout, sizes) {
    quire_layout layout = sample();
    cr_assert_eq(quire_layout_groups(&layout), 2);
    cr_assert_eq(quire_layout_group_layers(&layout, 0), 2);
    cr_assert_eq(quire_layout_group_layers(&layout, 1), 1);
    cr_assert_eq(quire_layout_lane_bytes(&layout, 0, 0, 16), 256);
    cr_assert_eq(quire_layout_lane_bytes(&layout, 0, 1, 16), 128);
    cr_assert_eq(quire_layout_lane_bytes(&layout, 1, 0, 5), 160);
    cr_assert_eq(quire_layout_lane_bytes(&layout, 1, 1, 5), 0);
    quire_rect whole = quire_layout_whole(&layout, 0);
    cr_assert(whole.first_layer == 0 && whole.n_layers == 2 && whole.first_head == 0 && whole.n_heads == 2);
    cr_assert_eq(quire_layout_rect_bytes(&layout, 0, &whole, 16), 4 * (256 + 128));
    quire_rect one = {.first_layer = 1, .n_layers = 1, .first_head = 1, .n_heads = 1};
    cr_assert_eq(quire_layout_rect_bytes(&layout, 0, &one, 3), 3 * 24);
}

/* Windows are counted in whole blocks, rounded up; a group without a window needs everything. */
Test(layout, window_blocks) {
    quire_layout layout = sample();
    cr_assert_eq(quire_layout_window_blocks(&layout, 0), UINT32_MAX);
    cr_assert_eq(quire_layout_window_blocks(&layout, 1), 2);
    layout.group[1].window_tokens = 33;
    cr_assert_eq(quire_layout_window_blocks(&layout, 1), 3);
    layout.group[1].window_tokens = 1;
    cr_assert_eq(quire_layout_window_blocks(&layout, 1), 1);
    layout.group[1].window_tokens = UINT32_MAX;
    cr_assert_eq(quire_layout_window_blocks(&layout, 1), 268435456);
}
